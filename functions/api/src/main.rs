//! The cold start of the API function.

use std::sync::Arc;

use jiff::Timestamp;
use outbill::{Environment, Outbill, outbill::sdk_config};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let environment = Environment::read(|name| std::env::var(name).ok())
        .map_err(|error| format!("the function's environment is incomplete: {error}"))?;
    let filter: Targets = environment
        .log_filter()
        .parse()
        .map_err(|error| format!("OUTBILL_LOG is no list of levels and targets: {error}"))?;
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().json().with_current_span(false))
        .with(filter)
        .init();
    let outbill = Outbill::connect(&sdk_config().await, &environment);
    lambda_http::run(api::router(outbill, Arc::new(Timestamp::now))).await
}
