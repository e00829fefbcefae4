//! Cold start of the reconcile function.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use outbill::{Environment, Outbill};
use reconcile::Event;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is left of an invocation's time when it stops: progress is durable, and the next invocation goes on from it.
const TIME_LEFT: Duration = Duration::from_secs(15);

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
    let handler = service_fn(|event: LambdaEvent<Event>| async move {
        let time = event.context.deadline().duration_since(std::time::SystemTime::now());
        let time = time.unwrap_or_default().saturating_sub(TIME_LEFT);
        let work = reconcile::handle(outbill, event.payload, Timestamp::now());
        match tokio::time::timeout(time, work).await {
            // The runtime logs what it gets with `{:?}`, which of the SDK's errors is the whole answer: it gets words.
            Ok(done) => done.map_err(|error| Error::from(format!("{:#}", anyhow::Error::new(error)))),
            Err(_) => {
                tracing::info!("the time of this invocation is up; the next one goes on");
                Ok(())
            }
        }
    });
    lambda_runtime::run(handler).await
}
