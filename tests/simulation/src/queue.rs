//! The bill queue of a history.

use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use serde_json::json;

/// A message of the queue.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) id: u64,
    pub(crate) body: Arc<str>,
    pub(crate) receives: u32,
}

/// What a worker is handed.
pub(crate) fn event(batch: &[Queued]) -> anyhow::Result<SqsEvent> {
    let record = |queued: &Queued| {
        json!({
            "messageId": queued.id.to_string(), "body": &*queued.body, "messageAttributes": {},
            "attributes": { "ApproximateReceiveCount": queued.receives.to_string() },
        })
    };
    Ok(serde_json::from_value(
        json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() }),
    )?)
}
