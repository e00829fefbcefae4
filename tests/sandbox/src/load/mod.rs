//! Many bills at once, with and without faults: is every bill metered exactly, and what does it take?
//!
//! The seller has a buyer for every two bills, so that bills share usage keys. First all bills come, some of their messages twice and in any
//! order; an hour later every tenth buyer's bills are recalculated, and the clock runs on until nothing waits. Both bills of a buyer rise or fall
//! together, so what must be billed depends on no order: the higher of the two totals.
//!
//! The same work is done twice in one process, so that the two columns can be compared: first calmly, then with [`Weather`] until all is billed.

pub(crate) mod plan;
mod print;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::demo::Verdict;
use crate::faults::Weather;
use crate::laws::{Ledger, Rest};
use crate::queues::QueueName;
use crate::requests::Counts;
use crate::seller::Seller;
use crate::{Change, Message, Options, Sandbox, functions};
use plan::Plan;

const STARTS_AT: &str = "2025-06-10T10:02:00Z";
/// Calls of the API that prepare the seller, at once.
const SET_UP_AT_ONCE: usize = 8;
/// Hours after which nothing may wait any more.
const HOURS_MAX: usize = 6;
/// How often progress and memory are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const WORKERS: usize = 4;

/// What `load` is told.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// How many bills
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub bills: u32,
    /// Dimensions of each bill
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub dimensions: u16,
    /// The part of all requests to AWS that fails, from 0 to 0.5
    #[arg(long, default_value_t = 0.05, value_parser = part)]
    pub faults: f64,
    /// Seeds amounts, order and faults
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    // Where more than half of all requests fail, even ten deliveries are too few for some messages.
    if (0.0..=0.5).contains(&part) {
        Ok(part)
    } else {
        Err(format!("{text} is not between 0 and 0.5"))
    }
}

/// What one pass over the work took.
#[derive(Debug)]
struct Pass {
    requests: Counts,
    /// Requests that met a fault.
    faults: u64,
    took: Duration,
    /// Usage records that AWS holds.
    records: u64,
    /// The most resident memory that was seen, where the system tells.
    memory_bytes: Option<u64>,
    dead_letters: usize,
    /// What is not billed as it must be, and broken laws; in words.
    wrong: Vec<String>,
}

/// Does the work twice and prints both. Errors: the sandbox itself.
pub async fn run(options: &LoadOptions) -> Result<Verdict, Box<dyn std::error::Error + Send + Sync>> {
    let plan = Plan::new(options);
    println!(
        "{} bills of {} buyers in {} dimensions, and {} recalculated an hour later, handled by {WORKERS} workers of one process.",
        options.bills, plan.buyers, options.dimensions, plan.recalculated
    );
    let calm = pass(&plan, Weather::fine(), "without faults").await?;
    let rough = Weather::new(options.faults, options.seed);
    let rough = pass(&plan, rough, &format!("{} % faults", options.faults * 100.0)).await?;
    print::passes(&plan, options.faults, &calm, &rough);
    Ok(if calm.is_right() && rough.is_right() {
        Verdict::AllHeld
    } else {
        Verdict::Broken
    })
}

impl Pass {
    fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.dead_letters == 0
    }
}

async fn pass(plan: &Plan, weather: Weather, name: &str) -> Result<Pass, Box<dyn std::error::Error + Send + Sync>> {
    let options = Options {
        start_at: STARTS_AT.parse().ok(),
        workers: WORKERS,
        ..Options::for_tests()
    };
    let sandbox = Sandbox::start(options, functions::build).await?;
    set_up(&sandbox, plan, name, json!({})).await?;
    let watch = Watch::start(&sandbox, plan, name);
    sandbox.clear_requests();
    sandbox.shared.faults.set_weather(weather);
    let begun = Instant::now();
    send(&sandbox, plan.first_messages(sandbox.access_key()))?;
    next_hour(&sandbox).await?;
    send(&sandbox, plan.second_messages(sandbox.access_key()))?;
    for _ in 0..HOURS_MAX {
        next_hour(&sandbox).await?;
        if billed(&sandbox) == plan.owed() {
            break;
        }
    }
    let took = begun.elapsed();
    let faults = sandbox.shared.faults.set_weather(Weather::fine());
    let memory_bytes = watch.stop().await;
    // A receipt that was lost in the last hour comes with the next tick.
    next_hour(&sandbox).await?;
    let wrong = wrong(&sandbox, plan).await?;
    let pass = Pass {
        requests: sandbox.requests(),
        faults,
        took,
        records: sandbox
            .shared
            .world
            .read(|holdings| holdings.marketplace.held().count() as u64),
        memory_bytes,
        dead_letters: sandbox.dead_letters().len(),
        wrong,
    };
    sandbox.stop().await;
    Ok(pass)
}

/// A configuration with these settings more, and mappings of all products and buyers, through the API as a seller would make them.
pub(crate) async fn set_up(
    sandbox: &Sandbox,
    plan: &Plan,
    name: &str,
    mut settings: Value,
) -> Result<(), crate::seller::CallError> {
    settings["splitUsageLineItems"] = json!("ITEM_PER_PRODUCT");
    let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key()).await?;
    let credential = json!({ "type": "AWS_INTEGRATION", "destination": "AWS", "name": "the functions' own role" });
    let credential = seller.post("integrationcredentials", &credential).await?;
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": "AWS Marketplace", "integrationCredentialsId": credential["id"],
        "configData": settings,
    });
    seller.post("integrationconfigs", &configuration).await?;
    let mappings = plan.mappings();
    let bar = bar(mappings.len() as u64, &format!("{name}: mappings"));
    let made = futures::stream::iter(mappings).map(|mapping| {
        let (seller, bar) = (&seller, &bar);
        async move {
            let made = seller.post("externalmappings", &mapping).await;
            bar.inc(1);
            made
        }
    });
    let answers: Vec<Result<Value, _>> = made.buffer_unordered(SET_UP_AT_ONCE).collect().await;
    bar.finish_and_clear();
    answers.into_iter().try_for_each(|answer| answer.map(drop))
}

fn send(sandbox: &Sandbox, bodies: Vec<String>) -> Result<(), crate::journal::JournalError> {
    let now = sandbox.clock().now();
    let sent = bodies.into_iter().map(|body| Change::MessageSent {
        queue: QueueName::Bills,
        message: Message::new(body, BTreeMap::default(), now),
    });
    sandbox.shared.world.decide(|_| (sent.collect(), ()))
}

/// Everything that is queued is handled, then the hour's tick.
async fn next_hour(sandbox: &Sandbox) -> Result<(), crate::schedules::AdvanceError> {
    sandbox.advance(SignedDuration::from_hours(1)).await
}

fn billed(sandbox: &Sandbox) -> i64 {
    let sum = |holdings: &crate::holdings::Holdings| {
        let held = holdings.marketplace.held().filter(|(_, held)| held.billed);
        held.map(|(_, held)| held.quantity).sum()
    };
    sandbox.shared.world.read(sum)
}

/// Every usage key against what must be billed, and every law of the ledger.
async fn wrong(sandbox: &Sandbox, plan: &Plan) -> Result<Vec<String>, Box<dyn std::error::Error + Send + Sync>> {
    let mut billed: BTreeMap<(String, String), i64> = BTreeMap::new();
    for row in sandbox.marketplace().billed() {
        *billed.entry((row.customer, row.dimension)).or_default() += row.quantity;
    }
    let mut wrong = Vec::new();
    for (key, owed) in plan.owed_by_key() {
        let units = billed.remove(&key).unwrap_or_default();
        if units != owed {
            wrong.push(format!(
                "buyer {} owes {owed} in {} and is billed {units}",
                key.0, key.1
            ));
        }
    }
    wrong.extend(
        billed
            .into_keys()
            .map(|(buyer, dimension)| format!("buyer {buyer} is billed in {dimension} and owes nothing there")),
    );
    let sdk = functions::sdk(&sandbox.addresses().aws, functions::REGION).await;
    let client = aws_sdk_dynamodb::Client::new(&sdk);
    let ledger = Ledger::read(&client, &sandbox.marketplace()).await?;
    for law in ledger.laws(Rest::Quiet) {
        wrong.extend(law.violations.into_iter().map(|how| format!("{}: {how}", law.text)));
    }
    Ok(wrong)
}

/// Shows progress and notes the most memory, until it is stopped.
struct Watch {
    is_over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
    memory_bytes: Arc<AtomicU64>,
}

impl Watch {
    fn start(sandbox: &Sandbox, plan: &Plan, name: &str) -> Watch {
        let (is_over, memory_bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, most) = (is_over.clone(), memory_bytes.clone());
        let world = sandbox.shared.world.clone();
        let bar = bar(
            u64::try_from(plan.owed()).unwrap_or_default(),
            &format!("{name}: units billed"),
        );
        let task = tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK_EVERY).await;
                let units: i64 = world.read(|holdings| {
                    let held = holdings.marketplace.held().filter(|(_, held)| held.billed);
                    held.map(|(_, held)| held.quantity).sum()
                });
                bar.set_position(u64::try_from(units).unwrap_or_default());
                most.fetch_max(resident_bytes().unwrap_or_default(), Ordering::Relaxed);
            }
            bar.finish_and_clear();
        });
        Watch {
            is_over,
            task,
            memory_bytes,
        }
    }

    async fn stop(self) -> Option<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.task.await;
        Some(self.memory_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }
}

pub(crate) fn bar(length: u64, name: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = "{msg} {bar:30} {pos}/{len}, {elapsed}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(name.to_owned());
    bar
}

/// What this process holds in memory, where Linux tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
