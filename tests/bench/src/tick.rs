//! The tick at one past the hour over many keys that have something left to claim, by several workers on one quota.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use clap::Args;
use futures::future;
use indicatif::ProgressBar;
use jiff::Timestamp;
use outbill::Outbill;
use outbill::values::message;
use sandbox::functions;
use serde_json::{Value, json};

use crate::clones::{self, Sample};
use crate::dispatch::{self, as_f64, count};
use crate::figures::{self, Figure, Goal};
use crate::process::{SELF, cpu, memory_kb};

const METERED_AT: &str = "2025-06-10T10:02:00Z";
const GROWN_AT: &str = "2025-06-10T10:05:00Z";
const TICKS_AT: &str = "2025-06-10T11:02:00Z";
const HOUR_SECONDS: f64 = 3600.0;
/// AWS's quota of calls a second.
const CALLS_PER_SECOND: u32 = 10;
/// SQS hands the function at most so many messages, ten in a request.
const MESSAGES_PER_BATCH: usize = 100;
const MESSAGES_PER_RECEIVE: i32 = 10;

/// How much waits, and who works.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Usage keys with something left to claim
    #[arg(long, default_value_t = 240_000)]
    pub keys: usize,
    /// Workers, each with clients and a pace of its own
    #[arg(long, default_value_t = 4)]
    pub workers: usize,
    /// Where the figures go as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The child's side: at the tick, with AWS's quota.
pub async fn serve() -> anyhow::Result<()> {
    let backlog = dispatch::Plan {
        dynamodb_ms: 5,
        metering_ms: 60,
        others_ms: 20,
        ..dispatch::Plan::without_delays()
    };
    dispatch::serve_with(&backlog, Some(TICKS_AT.parse()?), Some(CALLS_PER_SECOND)).await
}

/// Makes the keys, and drains them.
pub async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let (child, outbill, organization) = clones::begin().await?;
    let month = dispatch::month(METERED_AT.parse()?);
    for (version, subtotal, now) in [(1, 7, METERED_AT), (2, 20, GROWN_AT)] {
        let bill = dispatch::Bill {
            number: clones::sample_bill(),
            version,
            subtotal,
        };
        let message = dispatch::message(1, month, &organization, bill);
        dispatch::handle(&outbill, vec![message], now.parse()?).await?;
    }
    // The bill whose rows are taken is one of them.
    Sample::take(&child).await?.write(&child, 1..plan.keys).await?;
    child.clear_requests()?;

    let now: Timestamp = TICKS_AT.parse()?;
    let begun = Instant::now();
    let mut message = SqsMessage::default();
    message.message_id = Some("tick".to_owned());
    message.body = Some(json!({ "flush": true }).to_string());
    dispatch::handle(&outbill, vec![message], now).await?;
    let listed = begun.elapsed();
    let cpu_before = cpu()?;
    let bar = dispatch::bar(plan.keys, "keys drained");
    let mut workers = Vec::new();
    for _ in 0..plan.workers {
        workers.push(Worker {
            outbill: child.outbill().await,
            sqs: aws_sdk_sqs::Client::new(&functions::sdk(child.text("aws"), functions::REGION).await),
            queue: child.text("queue").to_owned(),
            now,
        });
    }
    let drained = future::try_join_all(workers.iter().map(|worker| worker.drain(&bar))).await?;
    let took = begun.elapsed();
    bar.finish_and_clear();
    let used = cpu()?.saturating_sub(cpu_before);
    let counts = child.requests()?;
    let marketplace: Value = serde_json::from_str(&child.control("GET", "/marketplace", "")?)?;
    let billed = marketplace["billed"].as_array().map_or(0, Vec::len);
    // The sample had its first record before. What three deliveries of a page do not get through waits for the next tick.
    let left = (plan.keys + 1)
        .checked_sub(billed)
        .context("AWS holds more than is owed")?;
    let letters: Value = serde_json::from_str(&child.control("GET", "/dead-letters", "")?)?;
    anyhow::ensure!(letters["deadLetters"] == json!([]), "dead letters: {letters}");

    let again = counts
        .get("sqs")
        .and_then(|actions| actions.get("ChangeMessageVisibility"));
    let again = again.copied().unwrap_or_default();
    let calls = count(&counts, "metering");
    let least = as_f64(plan.keys.div_ceil(25));
    let mut shares: Vec<usize> = drained.iter().map(|worker| worker.pages).collect();
    shares.sort_unstable();
    let batches: Vec<Duration> = drained.into_iter().flat_map(|worker| worker.batches).collect();
    let figures = [
        Figure {
            name: "keys drained by the tick".into(),
            value: took.as_secs_f64(),
            unit: "s",
            places: 0,
            of: format!(
                "{} keys by {} workers; {:.1} s for the list of them; {:.0} records a second",
                plan.keys,
                plan.workers,
                listed.as_secs_f64(),
                as_f64(plan.keys) / took.as_secs_f64()
            ),
            goal: Some(Goal::AtMost(HOUR_SECONDS)),
        },
        Figure {
            name: "keys left for the next tick".into(),
            value: as_f64(left),
            unit: "keys",
            places: 0,
            of: format!("{} messages came again", again),
            goal: Some(Goal::AtMost(0.0)),
        },
        Figure {
            name: "BatchMeterUsage calls over keys / 25".into(),
            value: calls / least,
            unit: "ratio",
            places: 3,
            of: format!("{calls} calls, the throttled ones among them"),
            goal: None,
        },
        Figure {
            name: "the slowest worker's pages".into(),
            value: as_f64(shares.first().copied().unwrap_or_default()),
            unit: "pages",
            places: 0,
            of: format!("pages of {} keys by worker: {shares:?}", message::FLUSH_PAGE_MAX),
            goal: None,
        },
        Figure {
            name: "DynamoDB requests per key".into(),
            value: count(&counts, "dynamodb") / as_f64(plan.keys),
            unit: "requests",
            places: 2,
            of: dispatch::told(&counts, "dynamodb"),
            goal: None,
        },
        Figure {
            name: "processor time per key".into(),
            value: used.as_secs_f64() * 1e3 / as_f64(plan.keys),
            unit: "ms",
            places: 2,
            of: String::new(),
            goal: None,
        },
        Figure {
            name: "the slowest batch".into(),
            value: batches.iter().max().copied().unwrap_or_default().as_secs_f64(),
            unit: "s",
            places: 1,
            of: format!("{} batches; Lambda ends one that takes longer", batches.len()),
            goal: Some(Goal::AtMost(functions::BILL_DISPATCH_TIMEOUT.as_secs_f64())),
        },
        Figure {
            name: "peak memory of all workers".into(),
            value: figures::megabytes(memory_kb(SELF, "VmHWM")?),
            unit: "MB",
            places: 1,
            of: "batches of a hundred pages".to_owned(),
            goal: None,
        },
    ];
    figures::print(&figures);
    figures::keep(&figures, plan.json.as_deref())
}

/// An environment of the function, with Lambda's poller before it.
struct Worker {
    outbill: Outbill,
    sqs: aws_sdk_sqs::Client,
    queue: String,
    now: Timestamp,
}

/// What a worker did.
#[derive(Debug, Default)]
struct Drained {
    pages: usize,
    batches: Vec<Duration>,
}

impl Worker {
    /// Takes batches until the queue is empty. A message that failed comes again.
    async fn drain(&self, bar: &ProgressBar) -> anyhow::Result<Drained> {
        let mut drained = Drained::default();
        loop {
            let batch = self.receive().await?;
            if batch.is_empty() {
                return Ok(drained);
            }
            let begun = Instant::now();
            let mut event = SqsEvent::default();
            event.records = batch.iter().map(|(message, _)| message.clone()).collect();
            let answer = bill_dispatch::handle(&self.outbill, event, self.now, functions::BILL_DISPATCH_TIMEOUT).await;
            drained.batches.push(begun.elapsed());
            let failed: Vec<&str> = answer
                .batch_item_failures
                .iter()
                .map(|failure| failure.item_identifier.as_str())
                .collect();
            for (message, receipt) in &batch {
                let id = message.message_id.as_deref().unwrap_or_default();
                if failed.contains(&id) {
                    let again = self.sqs.change_message_visibility().queue_url(&self.queue);
                    again.receipt_handle(receipt).visibility_timeout(0).send().await?;
                    continue;
                }
                let delete = self.sqs.delete_message().queue_url(&self.queue);
                delete.receipt_handle(receipt).send().await?;
                drained.pages += 1;
                let page: Value = serde_json::from_str(message.body.as_deref().unwrap_or_default())?;
                bar.inc(page["keys"].as_array().map_or(0, Vec::len).try_into()?);
            }
        }
    }

    async fn receive(&self) -> anyhow::Result<Vec<(SqsMessage, String)>> {
        let mut batch = Vec::new();
        while batch.len() < MESSAGES_PER_BATCH {
            let receive = self.sqs.receive_message().queue_url(&self.queue);
            let receive = receive.message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
            let received = receive.max_number_of_messages(MESSAGES_PER_RECEIVE).send().await?;
            let received = received.messages.unwrap_or_default();
            if received.is_empty() {
                break;
            }
            for message in received {
                let mut record = SqsMessage::default();
                record.message_id = message.message_id;
                record.body = message.body;
                let attributes = message.attributes.unwrap_or_default().into_iter();
                record.attributes = attributes
                    .map(|(name, value)| (name.as_str().to_owned(), value))
                    .collect();
                batch.push((record, message.receipt_handle.context("a receipt")?));
            }
        }
        Ok(batch)
    }
}
