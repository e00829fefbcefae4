//! Cold start of the bill-dispatch function.

use anyhow::Context;
use aws_lambda_events::sqs::SqsEvent;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use outbill::{Environment, Outbill};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment =
        Environment::read(|name| std::env::var(name).ok()).context("the function's environment is incomplete")?;
    let filter =
        tracing_subscriber::EnvFilter::try_new(environment.log_filter()).context("OUTBILL_LOG is no tracing filter")?;
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .without_time()
        .init();
    let outbill = Outbill::connect(&outbill::outbill::sdk_config().await, &environment);
    let handler = service_fn(|event: LambdaEvent<SqsEvent>| async {
        Ok::<_, Error>(bill_dispatch::handle(&outbill, event.payload, Timestamp::now()).await)
    });
    lambda_runtime::run(handler).await
}
