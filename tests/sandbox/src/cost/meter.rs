//! What is counted around the functions: invocations, their milliseconds, the messages of each batch, and the bytes of their logs.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use futures::FutureExt;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::functions;
use crate::seam::{BuildError, Functions, Surroundings};

/// Messages that one ReceiveMessage or DeleteMessageBatch takes.
const MESSAGES_PER_REQUEST: u64 = 10;
/// What the functions log by default, without the stand-ins of the same process.
const FILTER: &str = "info,dynoxide=off,sandbox=off,marketplace=off";

/// The invocations of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invocations {
    pub count: u64,
    /// Wall time, each invocation rounded up to a millisecond, as Lambda bills it.
    pub milliseconds: u64,
}

/// What the functions were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invoked {
    pub bill_dispatch: Invocations,
    pub api: Invocations,
    pub reconcile: Invocations,
    /// Messages that the bill queue gave.
    pub messages: u64,
    /// ReceiveMessage calls that gave them, and as many DeleteMessageBatch calls.
    pub batches_of_ten: u64,
}

/// Counts around the functions.
#[derive(Debug, Default)]
pub(super) struct Meter {
    invoked: Mutex<Invoked>,
    /// Held while messages gather, as they do in SQS's batching window.
    pub(super) gathering: tokio::sync::Mutex<()>,
}

impl Meter {
    pub(super) fn invoked(&self) -> Invoked {
        *self.invoked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clear(&self) {
        *self.invoked.lock().unwrap_or_else(PoisonError::into_inner) = Invoked::default();
    }

    fn note(&self, took: Duration, of: fn(&mut Invoked) -> &mut Invocations) {
        let mut invoked = self.invoked.lock().unwrap_or_else(PoisonError::into_inner);
        let one = of(&mut invoked);
        one.count += 1;
        one.milliseconds += u64::try_from(took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
    }

    fn note_messages(&self, messages: usize) {
        let mut invoked = self.invoked.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = messages as u64;
        invoked.messages += messages;
        invoked.batches_of_ten += messages.div_ceil(MESSAGES_PER_REQUEST);
    }
}

/// The functions with a meter around them.
pub(super) async fn metered(surroundings: Surroundings, meter: Arc<Meter>) -> Result<Functions, BuildError> {
    let Functions {
        dispatch,
        reconcile,
        api,
    } = functions::build(surroundings).await?;
    let (around_dispatch, around_reconcile) = (meter.clone(), meter.clone());
    Ok(Functions {
        dispatch: Arc::new(move |event, now| {
            let (dispatch, meter) = (dispatch.clone(), around_dispatch.clone());
            async move {
                let gathered = meter.gathering.lock().await;
                meter.note_messages(event.records.len());
                let begun = Instant::now();
                let answer = dispatch(event, now).await;
                meter.note(begun.elapsed(), |invoked| &mut invoked.bill_dispatch);
                drop(gathered);
                answer
            }
            .boxed()
        }),
        reconcile: Arc::new(move |event, now| {
            let (reconcile, meter) = (reconcile.clone(), around_reconcile.clone());
            async move {
                let begun = Instant::now();
                let answer = reconcile(event, now).await;
                meter.note(begun.elapsed(), |invoked| &mut invoked.reconcile);
                answer
            }
            .boxed()
        }),
        api: api.layer(from_fn(move |request: Request, next: Next| {
            let meter = meter.clone();
            async move {
                let begun = Instant::now();
                let answer = next.run(request).await;
                meter.note(begun.elapsed(), |invoked| &mut invoked.api);
                answer
            }
        })),
    })
}

/// Lines and bytes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Logged {
    pub lines: u64,
    pub bytes: u64,
}

/// Counts what the functions log, in the form in which they log it on AWS.
#[derive(Debug, Clone, Default)]
pub(super) struct LogMeter(Arc<(AtomicU64, AtomicU64)>);

impl LogMeter {
    /// The process's one. A process has one log; the first to ask decides where it goes.
    pub(super) fn of_process() -> LogMeter {
        static METER: OnceLock<LogMeter> = OnceLock::new();
        let meter = METER.get_or_init(|| {
            let meter = LogMeter::default();
            let log = tracing_subscriber::fmt()
                .json()
                .without_time()
                .with_env_filter(EnvFilter::new(FILTER))
                .with_writer(meter.clone());
            // Where another log was set before, nothing is counted, which the lines then show.
            let _ = log.try_init();
            meter
        });
        meter.clone()
    }

    pub(super) fn logged(&self) -> Logged {
        Logged {
            lines: self.0.0.load(Ordering::Relaxed),
            bytes: self.0.1.load(Ordering::Relaxed),
        }
    }
}

impl io::Write for LogMeter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let ends = line.iter().filter(|byte| **byte == b'\n').count();
        self.0.0.fetch_add(ends as u64, Ordering::Relaxed);
        self.0.1.fetch_add(line.len() as u64, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogMeter {
    type Writer = LogMeter;

    fn make_writer(&'a self) -> LogMeter {
        self.clone()
    }
}
