//! The bill-dispatch function: an SQS batch in, the messages to deliver again out.
//!
//! Thin on purpose: everything that decides is in `outbill::stories::dispatch`.

use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use jiff::Timestamp;
use outbill::Outbill;
use outbill::stories::dispatch::{Delivery, Disposition, dispatch};

/// Handles one batch at `now`, within `time`. A message without an id cannot be named in the answer; SQS makes none.
pub async fn handle(outbill: &Outbill, event: SqsEvent, now: Timestamp, time: Duration) -> SqsBatchResponse {
    let deliveries: Vec<Delivery> = event.records.into_iter().map(delivery).collect();
    let dispositions = dispatch(outbill, &deliveries, now, time).await;
    let again = dispositions
        .into_iter()
        .filter(|(_, disposition)| *disposition == Disposition::Retry);
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = again.map(|(id, _)| failure(id)).collect();
    response
}

fn delivery(message: aws_lambda_events::sqs::SqsMessage) -> Delivery {
    let receives = message
        .attributes
        .get("ApproximateReceiveCount")
        .and_then(|count| count.parse().ok());
    Delivery {
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        receives: receives.unwrap_or(1),
    }
}

fn failure(id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    failure
}
