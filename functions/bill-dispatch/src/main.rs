//! Cold start of the bill-dispatch function.

use std::time::SystemTime;

use anyhow::Context;
use aws_lambda_events::sqs::SqsEvent;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use outbill::{Environment, Outbill};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment =
        Environment::read(|name| std::env::var(name).ok()).context("the function's environment is incomplete")?;
    let filter: Targets = environment
        .log_filter()
        .parse()
        .context("OUTBILL_LOG is no list of levels and targets")?;
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().json().without_time())
        .with(filter)
        .init();
    let outbill = Outbill::connect(&outbill::outbill::sdk_config().await, &environment);
    let outbill = &outbill;
    let handler = service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = event.context.deadline();
        let time = deadline.duration_since(SystemTime::now()).unwrap_or_default();
        Ok::<_, Error>(bill_dispatch::handle(outbill, event.payload, Timestamp::now(), time).await)
    });
    lambda_runtime::run(handler).await
}
