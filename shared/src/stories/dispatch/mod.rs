//! A batch of messages from the bill queue: decide → claim → submit → record, then the runs.
//!
//! ```text
//! message ─ receive ─ bill ─┐
//! tick's page ──── flush ───┼─ claims ─ settle (submit, record) ─ finish (runs, events, tallies)
//! leaving buyer ── flush ───┘
//! sweep ────────── sweep ──▶ references to bills, back onto the queue
//! ```
//!
//! Claims of all messages of a batch are submitted together. A message that cannot be finished is left on the queue (`Disposition::Retry`);
//! one that nobody can read goes to the dead-letter queue with its reason; neither holds up the others, and a panic counts as the former.
//! So does what there is no time for: a bill is fetched from m3ter in the first quarter of the invocation's time, a message begun in the first
//! half, nothing sent in the last quarter, which is kept for writing down what AWS said. A worker that is killed first forgets it, and all that it
//! sent goes again.

mod awaited;
mod batch;
mod bill;
mod deletion;
mod finish;
mod flush;
mod keys;
mod late;
mod log;
pub mod preview;
mod receive;
mod settle;
mod sweep;
mod unreadable;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;

use crate::Outbill;
use crate::effects::freeze::Look;
use crate::effects::ledger::LedgerError;
use crate::effects::m3ter::M3terError;
use crate::effects::table::StoreError;
use crate::values::bill::BillReference;
use crate::values::ids::RunId;
use crate::values::metric::Metric;

use batch::{Batch, EntryName, Progress, Time};

/// Messages that are prepared at once. Those of one bill are handled in their order.
const MESSAGES_AT_ONCE_MAX: usize = 16;

/// Messages that are handled together: as many as Lambda hands over. Of more at once, a worker would hold all that they say at a time.
const MESSAGES_TOGETHER_MAX: usize = 100;

/// One message as it was delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: String,
    pub body: String,
    /// How often the queue has delivered it, this time included.
    pub receives: u32,
}

/// What the queue should do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Delete it: all it asked for is durable.
    Done,
    /// Deliver it again.
    Retry,
}

/// Why a message could not be finished now. All of these are tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DispatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    M3ter(#[from] M3terError),
    #[error("bill {bill} changed under each of {tries} tries")]
    BillContended { bill: String, tries: usize },
    #[error("dimension {dimension} of the buyer became another organization's meanwhile")]
    KeyTaken { dimension: String },
    #[error("half of the function's time was over before the message was begun")]
    NoTime,
    #[error("seven eighths of the function's time were over before the runs of other bills were told")]
    NoTimeToTell,
    #[error("handling the message panicked: {0}")]
    Panic(String),
}

/// Handles a batch within `time`, after which the process may be ended. Never fails as a whole: each message has its disposition, in the order
/// of the deliveries.
pub fn dispatch<'a>(
    outbill: &'a Outbill,
    deliveries: &'a [Delivery],
    now: Timestamp,
    time: Duration,
) -> BoxFuture<'a, Vec<(String, Disposition)>> {
    let time = Time::of(time);
    async move {
        let mut dispositions = Vec::new();
        for some in deliveries.chunks(MESSAGES_TOGETHER_MAX) {
            let batch = Batch::new(outbill, Look::AndNote, now, time);
            dispositions.extend(handle(&batch, some).await);
        }
        dispositions
    }
    .boxed()
}

async fn handle(batch: &Batch<'_>, deliveries: &[Delivery]) -> Vec<(String, Disposition)> {
    if !batch.begins() {
        tracing::warn!(
            messages = deliveries.len(),
            "Messages were not begun, because half of the function's time was over; the queue brings them again."
        );
        return deliveries
            .iter()
            .map(|delivery| (delivery.id.clone(), Disposition::Retry))
            .collect();
    }
    let mut progress: Vec<Progress> = prepare(batch, deliveries).await;
    let of_other_runs: Vec<BTreeSet<EntryName>> = progress.iter().map(Progress::of_other_runs).collect();
    let comes_again = |delivery: &Delivery| delivery.receives < finish::QUEUE_REPEATS_MAX;
    let again = deliveries.iter().zip(&of_other_runs);
    let again: BTreeSet<&EntryName> = again
        .filter(|(delivery, _)| comes_again(delivery))
        .flat_map(|(_, entries)| entries)
        .collect();
    let settled = isolated(settle::settle(batch, &mut progress)).await;
    let settled = settled.and_then(|outcome| outcome);
    let own: BTreeSet<RunId> = progress
        .iter()
        .flat_map(|progress| progress.runs.iter().map(|draft| draft.run.clone()))
        .collect();
    // The claims are durable and pending; without their outcome a message that made some is delivered again.
    let is_settled = settled.is_ok();
    let finishing = progress.into_iter().enumerate();
    let finishing = finishing.filter(|(_, progress)| is_settled || !progress.has_claims());
    let nothing = settle::Settled::default();
    let outcome = settled.as_ref().unwrap_or(&nothing);
    let finished: BTreeMap<usize, Disposition> = finish::finish(batch, deliveries, finishing, outcome)
        .await
        .into_iter()
        .collect();
    let disposition = |place: usize| finished.get(&place).copied().unwrap_or(Disposition::Retry);
    let untold = match &settled {
        Ok(settled) => late::late(batch, &own, &again, settled).await,
        Err(error) => {
            report_of_batch(
                "the claims of a batch were not sent; its messages are delivered again",
                error,
            );
            BTreeSet::new()
        }
    };
    batch.emit();
    let dispositions = deliveries.iter().zip(&of_other_runs).enumerate();
    let dispositions = dispositions.map(|(place, (delivery, entries))| {
        let disposition = match comes_again(delivery) && !entries.is_disjoint(&untold) {
            true => Disposition::Retry,
            false => disposition(place),
        };
        (delivery.id.clone(), disposition)
    });
    dispositions.collect()
}

/// Reads and claims: messages of one bill in their order, others at once.
async fn prepare(batch: &Batch<'_>, deliveries: &[Delivery]) -> Vec<Progress> {
    let mut lanes: BTreeMap<String, Vec<(usize, receive::Received)>> = BTreeMap::new();
    let mut reading = Vec::new();
    for delivery in deliveries {
        reading.push(isolated(receive::receive(batch, delivery)));
    }
    let read: Vec<_> = stream::iter(reading).buffered(MESSAGES_AT_ONCE_MAX).collect().await;
    for (index, received) in read.into_iter().enumerate() {
        let received = received
            .and_then(|outcome| outcome)
            .unwrap_or_else(receive::Received::Failed);
        if received.bill().is_some() {
            batch.measure(|measured| measured.add(Metric::BillsReceived, 1));
        }
        let lane = received.lane().unwrap_or_else(|| format!("message {index}"));
        lanes.entry(lane).or_default().push((index, received));
    }
    let first =
        |lane: &'_ Vec<(usize, receive::Received)>| lane.first().and_then(|(_, received)| received.bill().cloned());
    let bills: Vec<BillReference> = lanes.values().filter_map(first).collect();
    if bills.len() > 1 {
        batch.read_manifests(&bills.iter().collect::<Vec<_>>()).await;
    }
    let running = lanes.into_values().map(|lane| async move {
        let mut finished = Vec::new();
        for (index, received) in lane {
            let mut progress = Progress::default();
            let repeats = deliveries.get(index).is_some_and(|delivery| delivery.receives > 1);
            let work = async {
                match batch.begins() {
                    true => receive::work(batch, received, repeats, &mut progress).await,
                    false => Err(DispatchError::NoTime),
                }
            };
            if let Err(error) = isolated(work).await.and_then(|outcome| outcome) {
                progress.failed = Some(error);
            }
            finished.push((index, progress));
        }
        finished
    });
    let mut finished: Vec<(usize, Progress)> = stream::iter(running)
        .buffer_unordered(MESSAGES_AT_ONCE_MAX)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .flatten()
        .collect();
    finished.sort_by_key(|(index, _)| *index);
    finished.into_iter().map(|(_, progress)| progress).collect()
}

/// A panic of one message must not take the others with it: it becomes an error of that message alone.
async fn isolated<'a, T: 'a>(work: impl Future<Output = T> + Send + 'a) -> Result<T, DispatchError> {
    AssertUnwindSafe(work.boxed()).catch_unwind().await.map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        DispatchError::Panic(text.unwrap_or_else(|| "without a message".to_owned()))
    })
}

fn report(message: &str, error: &DispatchError) {
    tracing::error!(
        message.id = message,
        error = chain(error),
        "a message could not be finished and is delivered again"
    );
}

/// What failed beside a batch's messages, and what follows from it.
fn report_of_batch(what: &'static str, error: &DispatchError) {
    tracing::error!(error = chain(error), "{what}");
}

/// The whole chain of causes, once.
fn chain(error: &DispatchError) -> String {
    let mut chain = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        chain = format!("{chain}: {error}");
        cause = error.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_own_message() {
        let outcome = isolated(async {
            if true {
                panic!("lost the thread")
            }
        })
        .await;
        assert!(matches!(outcome, Err(DispatchError::Panic(text)) if text == "lost the thread"));
        assert!(isolated(async { 7 }).await.is_ok_and(|seven| seven == 7));
    }
}
