//! The cold start of the API function.

use std::sync::Arc;

use jiff::Timestamp;
use outbill::{Environment, Outbill, outbill::sdk_config};
use tracing_subscriber::EnvFilter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let environment = Environment::read(|name| std::env::var(name).ok())?;
    let filter = EnvFilter::try_new(environment.log_filter())?;
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_current_span(false)
        .init();
    let outbill = Outbill::connect(&sdk_config().await, &environment);
    lambda_http::run(api::router(outbill, Arc::new(Timestamp::now))).await
}
