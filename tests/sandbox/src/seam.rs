//! Where the functions are plugged in.
//!
//! The sandbox knows no function by name: it is given something that handles a batch of messages and
//! something that answers HTTP, built by a closure that is told where everything is.

use std::sync::Arc;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use axum::Router;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use crate::clock::Clock;
use crate::holdings::AccessKey;
use crate::metrics::CloudWatch;

/// Handles a batch of messages at an instant. A panic fails the whole batch.
pub type Dispatch = Arc<dyn Fn(SqsEvent, Timestamp) -> BoxFuture<'static, SqsBatchResponse> + Send + Sync>;

/// Handles a schedule's event for reconciliation at an instant. The error is in words.
pub type Reconcile = Arc<dyn Fn(Value, Timestamp) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A reconcile function that does nothing, for tests of everything else.
pub fn no_reconcile() -> Reconcile {
    Arc::new(|_, _| Box::pin(async { Ok(()) }))
}

/// The functions under test.
#[derive(Clone)]
pub struct Functions {
    /// The function behind the bill queue.
    pub dispatch: Dispatch,
    /// The function behind the schedules of reconciliation.
    pub reconcile: Reconcile,
    /// The function behind the API; it answers every path but `/`.
    pub api: Router,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Functions").finish_non_exhaustive()
    }
}

/// Where everything is, for the closure that builds the functions.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The endpoint of every AWS service (`AWS_ENDPOINT_URL`).
    pub aws_endpoint_url: String,
    /// The region to call; the stand-ins take any.
    pub region: String,
    /// The bill queue.
    pub bill_queue_url: String,
    /// The dead-letter queue.
    pub dead_letter_queue_url: String,
    /// m3ter's base URL.
    pub m3ter_base_url: String,
    /// The virtual clock: the only time a function may be given.
    pub clock: Clock,
    /// The access key that must work from the start; the same after a restart with the same folder.
    pub access_key: AccessKey,
    /// Where a function's log goes, as far as CloudWatch makes metrics of it.
    pub cloudwatch: Arc<CloudWatch>,
}

/// Why the functions cannot be built.
pub type BuildError = Box<dyn std::error::Error + Send + Sync>;
