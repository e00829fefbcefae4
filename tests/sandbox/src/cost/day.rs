//! A seller's day, played and counted.
//!
//! All bills are recalculated at once, so many times a day, as m3ter's bill jobs do, and each grows. m3ter notifies of each; the bill is fetched.
//! Twelve hours before the count begins make the bills old acquaintances and the day before one that the reconciliation of 11:00 has to read.
//! Schedules run as the template has them: the ticks, the sweeps and the looks of every hour by the clock, and `continue` once a minute.

use std::sync::Arc;

use futures::StreamExt;
use jiff::SignedDuration;
use serde::Serialize;
use serde_json::{Value, json};

use super::meter::{Invoked, LogMeter, Logged, Meter, metered};
use crate::aws::Latency;
use crate::consumption::ByAction;
use crate::functions;
use crate::load::{bar, plan::Plan, set_up};
use crate::requests::Counts;
use crate::seller::Seller;
use crate::{Change, Options, Sandbox};

const STARTS_AT: &str = "2025-06-10T00:00:30Z";
const HOURS: u32 = 24;
const WARM_UP_HOURS: u32 = 12;
/// The hourly look of the sandbox is one `continue`.
const CONTINUES_PER_HOUR: u32 = 59;
/// Notifications that m3ter sends at once.
const NOTIFIED_AT_ONCE: usize = 8;

/// What was counted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    pub dynamodb: ByAction,
    /// Requests by service and action, as the sandbox counts them.
    pub requests: Counts,
    pub invoked: Invoked,
    /// The functions' logs, without the metrics.
    pub log: Logged,
    /// Lines of metrics.
    pub metrics: Logged,
    /// Custom metrics: each name with each set of dimensions.
    pub series: u64,
    pub secrets: u64,
    /// Bytes of the table and its indexes, after and before.
    pub table_bytes: (u64, u64),
    /// Usage records that AWS took.
    pub records: u64,
    /// What is wrong; in words.
    pub wrong: Vec<String>,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Plays a day with so many recalculations of all bills; 0 is a day without any.
pub(super) async fn play(plan: &Plan, recalculations: u32, latency: Latency) -> Result<Counted, Failed> {
    let log = LogMeter::of_process();
    let meter = Arc::new(Meter::default());
    let options = Options {
        start_at: STARTS_AT.parse().ok(),
        latency,
        ..Options::for_tests()
    };
    let around = meter.clone();
    let sandbox = Sandbox::start(options, |surroundings| metered(surroundings, around)).await?;
    set_up(&sandbox, plan, "cost", json!({"awsMarketplaceCloudtrailChecks": true})).await?;
    sandbox.shared.consumption.switch_on();
    let mut begin = Begin::default();
    let bar = bar(
        u64::from(WARM_UP_HOURS + HOURS),
        &format!("{recalculations} recalculations: hours"),
    );
    let mut version = 0;
    for hour in 0..WARM_UP_HOURS + HOURS {
        if hour == WARM_UP_HOURS {
            begin = Begin::of(&sandbox, &log).await?;
            sandbox.clear_requests();
            sandbox.shared.consumption.clear();
            meter.clear();
        }
        if recalculations > 0 && hour.is_multiple_of(HOURS / recalculations) {
            version += 1;
            recalculate(&sandbox, plan, version, &meter).await?;
        }
        for _ in 0..CONTINUES_PER_HOUR {
            sandbox.invoke_reconcile(json!({"continue": {}})).await;
        }
        sandbox.advance(SignedDuration::from_hours(1)).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let end = Begin::of(&sandbox, &log).await?;
    let since = |after: Logged, before: Logged| Logged {
        lines: after.lines - before.lines,
        bytes: after.bytes - before.bytes,
    };
    let counted = Counted {
        dynamodb: sandbox.shared.consumption.by_action(),
        requests: sandbox.requests(),
        invoked: meter.invoked(),
        log: since(end.log, begin.log),
        metrics: since(end.metrics, begin.metrics),
        series: sandbox.shared.cloudwatch.custom() as u64,
        secrets: sandbox.shared.world.read(|holdings| holdings.secrets.len()) as u64,
        table_bytes: (end.table_bytes, begin.table_bytes),
        records: end.records - begin.records,
        wrong: wrong(&sandbox, plan, version),
    };
    sandbox.stop().await;
    Ok(counted)
}

/// What goes on growing, at one instant.
#[derive(Debug, Default)]
struct Begin {
    log: Logged,
    metrics: Logged,
    table_bytes: u64,
    records: u64,
}

impl Begin {
    async fn of(sandbox: &Sandbox, log: &LogMeter) -> Result<Begin, Failed> {
        let (lines, bytes) = sandbox.shared.cloudwatch.logged();
        let begin = Begin {
            log: log.logged(),
            metrics: Logged { lines, bytes },
            table_bytes: table_bytes(sandbox).await?,
            records: sandbox
                .shared
                .world
                .read(|holdings| holdings.marketplace.held().count()) as u64,
        };
        Ok(begin)
    }
}

/// m3ter has a new version of every bill, and tells of each. What is told gathers, as in SQS's batching window.
async fn recalculate(sandbox: &Sandbox, plan: &Plan, version: u32, meter: &Meter) -> Result<(), Failed> {
    let key = sandbox.access_key();
    let now = sandbox.clock().now();
    let bills: Vec<(String, Value)> = (0..plan.bills)
        .map(|bill| plan.grown(&key.org_id, bill, version, now))
        .collect();
    sandbox.change(Change::M3terFilled {
        bills: bills.clone(),
        accounts: Vec::new(),
        mappings: Vec::new(),
    })?;
    let seller = Seller::log_in(&sandbox.addresses().api, key).await?;
    let gathering = meter.gathering.lock().await;
    let told = futures::stream::iter(bills).map(|(id, _)| {
        let (seller, key) = (&seller, key.webhook_key());
        async move {
            let event =
                json!({"eventName": "billing.bill.updated", "m3terEvent": {"eventData": {"newDto": {"id": id}}}});
            seller.notify_by_path(&key, &event).await
        }
    });
    let answers: Vec<Result<Value, _>> = told.buffer_unordered(NOTIFIED_AT_ONCE).collect().await;
    answers.into_iter().try_for_each(|answer| answer.map(drop))?;
    drop(gathering);
    sandbox.drain().await;
    Ok(())
}

/// Every unit is billed, and nothing was given up: a day that went wrong says nothing of what one costs.
fn wrong(sandbox: &Sandbox, plan: &Plan, version: u32) -> Vec<String> {
    let billed: i64 = sandbox.marketplace().billed().iter().map(|row| row.quantity).sum();
    let owed = if version == 0 { 0 } else { plan.grown_units(version) };
    let mut wrong = Vec::new();
    if billed != owed {
        wrong.push(format!("{billed} units are billed of {owed}"));
    }
    match sandbox.dead_letters().len() {
        0 => {}
        letters => wrong.push(format!("{letters} messages were given up")),
    }
    wrong
}

/// As they are now: asked as the functions ask, they are six hours old.
async fn table_bytes(sandbox: &Sandbox) -> Result<u64, Failed> {
    let sdk = functions::sdk(sandbox.engine_url(), functions::REGION).await;
    let client = aws_sdk_dynamodb::Client::new(&sdk);
    let described = client.describe_table().table_name(functions::TABLE).send().await?;
    let table = described.table().ok_or("the table is not described")?;
    let indexes = table
        .global_secondary_indexes()
        .iter()
        .filter_map(|index| index.index_size_bytes());
    let bytes: i64 = table.table_size_bytes().into_iter().chain(indexes).sum();
    Ok(u64::try_from(bytes)?)
}
