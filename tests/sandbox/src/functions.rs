//! The functions that the program runs.

use std::sync::Arc;

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use axum::Router;
use axum::http::StatusCode;
use futures::FutureExt;

use crate::seam::{BuildError, Functions, Surroundings};

/// Functions for a sandbox of stand-ins alone: every message fails, the API says so.
pub async fn build(_surroundings: Surroundings) -> Result<Functions, BuildError> {
    Ok(Functions {
        dispatch: Arc::new(|event, _now| async move { all_failed(&event) }.boxed()),
        api: Router::new().fallback(async || (StatusCode::SERVICE_UNAVAILABLE, "this sandbox runs the stand-ins only")),
    })
}

fn all_failed(event: &SqsEvent) -> SqsBatchResponse {
    let mut answer = SqsBatchResponse::default();
    answer.batch_item_failures = event
        .records
        .iter()
        .map(|record| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = record.message_id.clone().unwrap_or_default();
            failure
        })
        .collect();
    answer
}
