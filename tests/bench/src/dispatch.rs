//! A backlog of bills, dispatched by one worker in batches of a hundred, as SQS hands them to one environment of the function.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use futures::stream::{self, StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use outbill::Outbill;
use outbill::values::configuration::Audit;
use outbill::values::ids::OrganizationId;
use outbill::values::mapping::ExternalMapping;
use sandbox::aws::Latency;
use sandbox::seller::Seller;
use sandbox::{Change, Options, Sandbox, functions};
use serde_json::{Value, json};

use crate::baseline;
use crate::child::{self, Child, Counts};
use crate::figures::{self, Figure, Goal, spread};
use crate::process::{SELF, cpu, memory_kb};

/// The product of the listing.
pub const PRODUCT: &str = "3mgmp9q6okn47u0rgmzzjdi9k";
const STARTS_AT: &str = "2025-06-10T10:02:00Z";
/// SQS hands the function at most so many messages.
pub const MESSAGES_PER_BATCH: usize = 100;
const MAPPINGS_AT_ONCE: usize = 16;
const LOOKS_AT_THE_CLOCK_EVERY: Duration = Duration::from_millis(200);
const RECORDS_PER_CALL: f64 = 25.0;
/// What AWS takes from an account and region.
const RECORDS_PER_SECOND: f64 = 250.0;
const REGIONS: [&str; 4] = ["us-east-1", "eu-west-1", "ap-southeast-1", "us-west-2"];

/// The backlog, and the delays of what stands in for AWS.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Bills of the backlog
    #[arg(long, default_value_t = 10_000)]
    pub bills: usize,
    /// Dimensions of each
    #[arg(long, default_value_t = 3)]
    pub dimensions: usize,
    /// Regions that the bills are metered in, each with AWS's quota and an organization of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub regions: u8,
    /// Bills that the straightforward design sends, one record a call
    #[arg(long, default_value_t = 40)]
    pub baseline_bills: usize,
    /// Invocations of one bill
    #[arg(long, default_value_t = 500, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub single: usize,
    /// Delay of DynamoDB's answers, in milliseconds
    #[arg(long, default_value_t = 5)]
    pub dynamodb_ms: u64,
    /// The same of AWS Marketplace's metering
    #[arg(long, default_value_t = 60)]
    pub metering_ms: u64,
    /// The same of everything else
    #[arg(long, default_value_t = 20)]
    pub others_ms: u64,
    /// Compare with the straightforward design, in the same run
    #[arg(long)]
    pub baseline: bool,
    /// Where the figures go as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl Plan {
    /// Bills of one dimension, and no delays.
    pub fn without_delays() -> Plan {
        Plan {
            bills: 0,
            dimensions: 1,
            regions: 1,
            baseline_bills: 0,
            single: 0,
            dynamodb_ms: 0,
            metering_ms: 0,
            others_ms: 0,
            baseline: false,
            json: None,
        }
    }
}

/// A version of a bill.
#[derive(Debug, Clone, Copy)]
pub struct Bill {
    pub number: usize,
    pub version: u32,
    /// Of each dimension.
    pub subtotal: u32,
}

impl Bill {
    /// Its first version.
    pub fn first(number: usize) -> Bill {
        Bill {
            number,
            version: 1,
            subtotal: 7,
        }
    }
}

/// When all of it happens.
pub fn now() -> anyhow::Result<Timestamp> {
    Ok(STARTS_AT.parse()?)
}

/// The buyer of a bill.
pub fn customer(bill: usize) -> String {
    format!("{:012}", 100_000_000_000_usize + bill)
}

/// A dimension of the listing.
pub fn dimension(number: usize) -> String {
    format!("units-{number}")
}

/// The child's side: a seller with a configuration and the products' mappings, from `start_at` on or from now.
pub async fn serve(plan: &Plan, start_at: Option<Timestamp>) -> anyhow::Result<()> {
    serve_with(plan, start_at, None).await
}

/// The same where AWS takes only so many metering calls a second.
pub async fn serve_with(
    plan: &Plan,
    start_at: Option<Timestamp>,
    metering_per_second: Option<u32>,
) -> anyhow::Result<()> {
    let millis = Duration::from_millis;
    let options = Options {
        start_at,
        metering_per_second,
        // The worker is the other process.
        workers: 0,
        latency: Latency::Of {
            dynamodb: millis(plan.dynamodb_ms),
            metering: millis(plan.metering_ms),
            others: millis(plan.others_ms),
        },
        ..Options::for_tests()
    };
    let sandbox = Arc::new(Sandbox::start(options, functions::build).await?);
    if start_at.is_none() {
        tokio::spawn(keep_time(Arc::clone(&sandbox)));
    }
    let first = Seller::log_in(&sandbox.addresses().api, sandbox.access_key()).await?;
    for (number, region) in REGIONS.iter().take(plan.regions.into()).enumerate() {
        match number {
            0 => set_up(&first, plan, region).await?,
            number => set_up(&another(&sandbox, number).await?, plan, region).await?,
        }
    }
    child::hold(&sandbox, &first).await
}

/// The functions' own programs go by the machine's clock, and the sandbox's stands still: at the next full hour AWS would say that their records lie
/// ahead.
async fn keep_time(sandbox: Arc<Sandbox>) -> anyhow::Result<()> {
    loop {
        sandbox.change(Change::ClockMoved { to: Timestamp::now() })?;
        tokio::time::sleep(LOOKS_AT_THE_CLOCK_EVERY).await;
    }
}

/// The organization of another region.
fn organization(number: usize) -> anyhow::Result<OrganizationId> {
    Ok(OrganizationId::new(format!("organization-{number}"))?)
}

/// Its seller.
async fn another(sandbox: &Sandbox, number: usize) -> anyhow::Result<Seller> {
    let addresses = sandbox.addresses();
    let access = child::connect(&addresses.aws, &addresses.m3ter).await.access;
    let seller = Seller::of_another(&addresses.api, &access, &organization(number)?).await;
    seller.map_err(anyhow::Error::from_boxed)
}

async fn set_up(seller: &Seller, plan: &Plan, region: &str) -> anyhow::Result<()> {
    let credential = json!({ "type": "AWS_INTEGRATION", "destination": "AWS", "name": "own role" });
    let credential = seller.post("integrationcredentials", &credential).await?;
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": "backlog", "integrationCredentialsId": credential["id"],
        "configData": { "splitUsageLineItems": "ITEM_PER_PRODUCT", "marketplaceMeteringRegion": region },
    });
    seller.post("integrationconfigs", &configuration).await?;
    for number in 0..plan.dimensions {
        let mapping = json!({
            "m3terEntity": "Product", "m3terId": format!("product-{number}"), "externalSystem": "AWS", "externalTable": "Dimension",
            "externalId": format!("{PRODUCT}-{}", dimension(number)),
        });
        seller.post("externalmappings", &mapping).await?;
    }
    Ok(())
}

/// The worker's side.
pub async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let child = Child::start()?;
    let outbill = child.outbill().await;
    let mut organizations = vec![child.organization()?];
    for number in 1..plan.regions.into() {
        organizations.push(organization(number)?);
    }
    map(0..plan.bills + plan.single, &outbill, &organizations).await?;
    let single_from = plan.bills;
    child.clear_requests()?;
    let memory_before = memory_kb(SELF, "VmRSS")?;

    let bar = bar(plan.bills, "bills dispatched");
    let (begun, cpu_before) = (Instant::now(), cpu()?);
    let mut batches = Vec::new();
    let places: Vec<usize> = (0..plan.bills).collect();
    for batch in places.chunks(MESSAGES_PER_BATCH) {
        batches.push(invoke(plan, &outbill, &organizations, batch).await?);
        bar.inc(u64::try_from(batch.len())?);
    }
    let (took, used) = (begun.elapsed(), cpu()?.saturating_sub(cpu_before));
    bar.finish_and_clear();
    let peak_kb = memory_kb(SELF, "VmHWM")?;
    let counts = child.requests()?;
    let records = plan.bills * plan.dimensions;
    let billed: Value = serde_json::from_str(&child.control("GET", "/marketplace", "")?)?;
    let billed = billed["billed"].as_array().map_or(0, Vec::len);
    anyhow::ensure!(
        billed == records,
        "{records} usage records are owed, and AWS holds {billed}"
    );

    let cpu_before = cpu()?;
    let mut singles = Vec::new();
    for bill in single_from..single_from + plan.single {
        singles.push(invoke(plan, &outbill, &organizations, &[bill]).await?);
    }
    let single_cpu = cpu()?.saturating_sub(cpu_before);

    let rate = as_f64(records) / took.as_secs_f64();
    let calls = count(&counts, "metering");
    let mut figures = vec![
        Figure {
            name: "usage records per second, one worker".into(),
            value: rate,
            unit: "records/s",
            places: 0,
            of: format!(
                "{records} in {:.1} s; batches of 100 bills: {}",
                took.as_secs_f64(),
                spread(&mut batches)
            ),
            goal: Some(Goal::AtLeast(RECORDS_PER_SECOND * f64::from(plan.regions))),
        },
        Figure {
            name: "BatchMeterUsage calls over records / 25".into(),
            value: calls / (as_f64(records) / RECORDS_PER_CALL),
            unit: "ratio",
            places: 3,
            of: format!("{calls} calls"),
            goal: Some(Goal::AtMost(1.05)),
        },
        Figure {
            name: "DynamoDB requests per bill".into(),
            value: count(&counts, "dynamodb") / as_f64(plan.bills),
            unit: "requests",
            places: 2,
            of: told(&counts, "dynamodb"),
            goal: Some(Goal::AtMost(if plan.dimensions == 1 { 8.0 } else { 12.0 })),
        },
        Figure {
            name: "processor time per bill in a batch".into(),
            value: used.as_secs_f64() * 1e3 / as_f64(plan.bills),
            unit: "ms",
            places: 2,
            of: format!(
                "{:.0} % of one processor",
                100.0 * used.as_secs_f64() / took.as_secs_f64()
            ),
            goal: None,
        },
        Figure {
            name: "processor time of an invocation of one bill".into(),
            value: single_cpu.as_secs_f64() * 1e3 / as_f64(plan.single),
            unit: "ms",
            places: 2,
            of: spread(&mut singles),
            goal: Some(Goal::AtMost(1.0)),
        },
        Figure {
            name: "peak memory of the worker".into(),
            value: figures::megabytes(peak_kb),
            unit: "MB",
            places: 1,
            of: format!("{:.1} MB before the backlog", figures::megabytes(memory_before)),
            goal: Some(Goal::AtMost(30.0)),
        },
    ];
    if plan.baseline {
        let (records, took) = baseline::run(plan, &child).await?;
        let straightforward = as_f64(records) / took.as_secs_f64();
        figures.push(Figure {
            name: "the straightforward design".into(),
            value: straightforward,
            unit: "records/s",
            places: 1,
            of: format!("{records} in {:.1} s, one a call", took.as_secs_f64()),
            goal: None,
        });
        figures.push(Figure {
            name: "times the straightforward design".into(),
            value: rate / straightforward,
            unit: "ratio",
            places: 1,
            of: "both in this run".to_owned(),
            goal: Some(Goal::AtLeast(20.0)),
        });
    }
    figures::print(&figures);
    figures::keep(&figures, plan.json.as_deref())
}

/// Bills take turns.
fn of(bill: usize, organizations: &[OrganizationId]) -> anyhow::Result<&OrganizationId> {
    let place = bill.checked_rem(organizations.len()).context("an organization")?;
    organizations.get(place).context("an organization")
}

/// Every bill has an account of its own, and every account a buyer.
pub async fn map(bills: Range<usize>, outbill: &Outbill, organizations: &[OrganizationId]) -> anyhow::Result<()> {
    let bar = bar(bills.len(), "accounts mapped");
    let now = now()?;
    let mappings = bills.map(|bill| {
        let bar = &bar;
        async move {
            let mapping = ExternalMapping {
                id: outbill.ids.text(now),
                organization: of(bill, organizations)?.clone(),
                m3ter_entity: "Account".to_owned(),
                m3ter_id: format!("account-{bill}"),
                external_system: "AWS".to_owned(),
                external_table: "Customer".to_owned(),
                external_id: customer(bill),
                configuration: None,
                version: 1,
                audit: Audit::new(now, "bench"),
            };
            outbill.mappings.create(&mapping).await?;
            bar.inc(1);
            anyhow::Ok(())
        }
    });
    stream::iter(mappings)
        .buffer_unordered(MAPPINGS_AT_ONCE)
        .try_collect::<()>()
        .await?;
    bar.finish_and_clear();
    Ok(())
}

/// One invocation of the function's handler with these bills.
pub async fn invoke(
    plan: &Plan,
    outbill: &Outbill,
    organizations: &[OrganizationId],
    bills: &[usize],
) -> anyhow::Result<Duration> {
    let month = month(now()?);
    let mut messages = Vec::new();
    for bill in bills {
        let organization = of(*bill, organizations)?;
        messages.push(message(plan.dimensions, month, organization, Bill::first(*bill)));
    }
    handle(outbill, messages, now()?).await
}

/// One invocation of the function's handler.
pub async fn handle(outbill: &Outbill, messages: Vec<SqsMessage>, now: Timestamp) -> anyhow::Result<Duration> {
    let mut event = SqsEvent::default();
    event.records = messages;
    let begun = Instant::now();
    let answer = bill_dispatch::handle(outbill, event, now, functions::BILL_DISPATCH_TIMEOUT).await;
    let took = begun.elapsed();
    anyhow::ensure!(answer.batch_item_failures.is_empty(), "messages failed: {answer:?}");
    Ok(took)
}

/// The first day of an instant's month.
pub fn month(instant: Timestamp) -> Date {
    instant.to_zoned(TimeZone::UTC).date().first_of_month()
}

/// A bill of a month, as SQS brings it.
pub fn message(dimensions: usize, month: Date, organization: &OrganizationId, bill: Bill) -> SqsMessage {
    let Bill {
        number: bill,
        version,
        subtotal,
    } = bill;
    let line = |number: usize| json!({ "lineItemType": "USAGE", "productId": format!("product-{number}"), "currency": "USD", "convertedSubtotal": subtotal });
    let lines: Vec<Value> = (0..dimensions).map(line).collect();
    let end = month.last_of_month().saturating_add(1.day());
    let body = json!({ "orgId": organization, "bill": {
        "id": format!("bill-{bill}"), "accountId": format!("account-{bill}"), "version": version, "currency": "USD", "startDate": month,
        "endDateTimeUTC": format!("{end}T00:00:00Z"), "lineItems": lines,
    }});
    let mut message = SqsMessage::default();
    message.message_id = Some(format!("message-{bill}"));
    message.body = Some(body.to_string());
    message.attributes = HashMap::from([("ApproximateReceiveCount".to_owned(), "1".to_owned())]);
    message
}

/// The progress of long work.
pub fn bar(count: usize, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX));
    let style = format!("{{bar:30}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left");
    bar.set_style(ProgressStyle::with_template(&style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// The requests of a service.
pub fn count(counts: &Counts, service: &str) -> f64 {
    let all: u64 = counts.get(service).map_or(0, |actions| actions.values().sum());
    f64::from(u32::try_from(all).unwrap_or(u32::MAX))
}

/// The requests of a service, in words.
pub fn told(counts: &Counts, service: &str) -> String {
    let actions = counts.get(service).into_iter().flatten();
    let actions: Vec<String> = actions.map(|(action, count)| format!("{count} {action}")).collect();
    actions.join(", ")
}

/// For ratios.
pub fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
