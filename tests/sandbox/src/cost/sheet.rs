//! From counts to money: what a day without bills counts is there in any case, the rest belongs to the bills.

use rust_decimal::Decimal;
use serde::Serialize;

use super::day::Counted;
use super::prices::Price;
use crate::requests::Counts;

/// The memory that the template gives each function.
pub const FUNCTION_MEGABYTES: u64 = 512;
/// Long polls of an idle queue in a day: five pollers, each for 20 seconds. So Lambda is known to begin; it was not measured.
const IDLE_POLLS_PER_DAY: u64 = 5 * 86_400 / 20;
/// Messages that EventBridge Scheduler puts on the queue in a day: a tick and a sweep each hour.
const SCHEDULED_MESSAGES_PER_DAY: u64 = 48;
/// Invocations by schedules in a day: those, `continue` each minute, the look each hour, the daily comparison.
const SCHEDULED_PER_DAY: u64 = SCHEDULED_MESSAGES_PER_DAY + 1_440 + 24 + 1;
/// What CloudWatch Logs adds to each line.
const BYTES_PER_LINE: u64 = 26;
/// What Lambda itself logs of an invocation: START, END and REPORT.
const PLATFORM_LINES: u64 = 3;
const PLATFORM_BYTES: u64 = 400;
/// A line of the API's access log, as the template has it.
const ACCESS_LINE_BYTES: u64 = 330;
/// Alarms that the template makes.
pub const ALARMS: u64 = 19;
const DASHBOARDS: u64 = 1;
const GIGABYTE: u64 = 1_000_000_000;
const DAYS_PER_MONTH: u64 = 30;

/// One line of the sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub service: &'static str,
    pub what: &'static str,
    /// By 1,000 bills in a day.
    pub per_thousand: Decimal,
    /// In a day without bills.
    pub per_day: Decimal,
    /// In a month in any case, beside the days.
    pub per_month: Decimal,
    pub price: Price,
    /// Dollars by 1,000 bills and day.
    pub usd_per_thousand: Decimal,
    /// Dollars in a month of so many bills.
    pub usd_per_month: Decimal,
}

/// The sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sheet {
    pub lines: Vec<Line>,
    /// Bills that are open all month.
    pub bills_per_month: u64,
    pub usd_per_thousand: Decimal,
    pub usd_per_month: Decimal,
    /// Of it, what is paid without any bill.
    pub usd_per_month_idle: Decimal,
}

/// What of a day costs money; every quantity in the unit of its price.
struct Quantities {
    write_units: Decimal,
    read_units: Decimal,
    table_gigabytes: Decimal,
    invocations: u64,
    gigabyte_seconds: Decimal,
    sqs_requests: u64,
    api_requests: u64,
    log_gigabytes: Decimal,
    secret_calls: u64,
    lookups: u64,
}

impl Quantities {
    fn of(counted: &Counted) -> Quantities {
        let invoked = &counted.invoked;
        let functions = [invoked.bill_dispatch, invoked.api, invoked.reconcile];
        let invocations = functions.iter().map(|function| function.count).sum();
        let milliseconds: u64 = functions.iter().map(|function| function.milliseconds).sum();
        let lines = counted.log.lines + counted.metrics.lines + PLATFORM_LINES * invocations + invoked.api.count;
        let bytes = counted.log.bytes
            + counted.metrics.bytes
            + PLATFORM_BYTES * invocations
            + ACCESS_LINE_BYTES * invoked.api.count
            + BYTES_PER_LINE * lines;
        let (after, before) = counted.table_bytes;
        Quantities {
            write_units: counted.dynamodb.values().map(|consumed| consumed.write_units).sum(),
            read_units: counted.dynamodb.values().map(|consumed| consumed.read_units).sum(),
            table_gigabytes: (Decimal::from(after) - Decimal::from(before)) / Decimal::from(GIGABYTE),
            invocations,
            gigabyte_seconds: Decimal::from(milliseconds * FUNCTION_MEGABYTES) / Decimal::from(1_000 * 1_024),
            sqs_requests: calls(&counted.requests, "sqs") + 2 * invoked.batches_of_ten,
            api_requests: invoked.api.count,
            log_gigabytes: Decimal::from(bytes) / Decimal::from(GIGABYTE),
            secret_calls: calls(&counted.requests, "secretsmanager"),
            lookups: calls(&counted.requests, "cloudtrail"),
        }
    }
}

fn calls(requests: &Counts, service: &str) -> u64 {
    requests.get(service).map_or(0, |actions| actions.values().sum())
}

/// A line before it has a price.
struct Row {
    service: &'static str,
    what: &'static str,
    price: &'static str,
    busy: Decimal,
    idle: Decimal,
    per_month: u64,
}

impl Sheet {
    /// The sheet of a day with `bills`, beside the same day without.
    pub fn of(busy: &Counted, idle: &Counted, bills: u32, prices: &[Price], bills_per_month: u64) -> Sheet {
        let thousands = Decimal::from(bills_per_month) / Decimal::ONE_THOUSAND;
        let days = Decimal::from(DAYS_PER_MONTH);
        let mut lines = Vec::new();
        for row in rows(busy, idle) {
            let Some(price) = prices.iter().find(|price| price.name == row.price) else {
                continue;
            };
            let per_thousand = (row.busy - row.idle) * Decimal::ONE_THOUSAND / Decimal::from(bills.max(1));
            let per_month = Decimal::from(row.per_month);
            let in_month = (per_thousand * thousands + row.idle) * days + per_month;
            lines.push(Line {
                service: row.service,
                what: row.what,
                per_thousand,
                per_day: row.idle,
                per_month,
                price: price.clone(),
                usd_per_thousand: per_thousand * price.usd,
                usd_per_month: in_month * price.usd,
            });
        }
        let idle_usd = |line: &Line| (line.per_day * days + line.per_month) * line.price.usd;
        Sheet {
            usd_per_thousand: lines.iter().map(|line| line.usd_per_thousand).sum(),
            usd_per_month: lines.iter().map(|line| line.usd_per_month).sum(),
            usd_per_month_idle: lines.iter().map(idle_usd).sum(),
            bills_per_month,
            lines,
        }
    }
}

/// Every service that the stack pays for, in the order of a bill's way.
fn rows(busy: &Counted, idle: &Counted) -> Vec<Row> {
    let (of_busy, of_idle) = (Quantities::of(busy), Quantities::of(idle));
    let day = |service, what, price, quantity: fn(&Quantities) -> Decimal, in_any_case: u64| Row {
        service,
        what,
        price,
        busy: quantity(&of_busy) + Decimal::from(in_any_case),
        idle: quantity(&of_idle) + Decimal::from(in_any_case),
        per_month: 0,
    };
    let month = |service, what, price, quantity: u64| Row {
        service,
        what,
        price,
        busy: Decimal::ZERO,
        idle: Decimal::ZERO,
        per_month: quantity,
    };
    let polls = IDLE_POLLS_PER_DAY + SCHEDULED_MESSAGES_PER_DAY;
    vec![
        day(
            "API Gateway",
            "requests",
            "api-gateway-requests",
            |of| of.api_requests.into(),
            0,
        ),
        day(
            "SQS",
            "requests, idle polls among them",
            "sqs-requests",
            |of| of.sqs_requests.into(),
            polls,
        ),
        day(
            "Lambda",
            "invocations",
            "lambda-requests",
            |of| of.invocations.into(),
            0,
        ),
        day("Lambda", "GB-seconds", "lambda-gb-seconds", |of| of.gigabyte_seconds, 0),
        day(
            "DynamoDB",
            "write request units",
            "dynamodb-write-units",
            |of| of.write_units,
            0,
        ),
        day(
            "DynamoDB",
            "read request units",
            "dynamodb-read-units",
            |of| of.read_units,
            0,
        ),
        day(
            "DynamoDB",
            "GB that are added",
            "dynamodb-storage",
            |of| of.table_gigabytes,
            0,
        ),
        day(
            "DynamoDB",
            "GB that are backed up",
            "dynamodb-backup",
            |of| of.table_gigabytes,
            0,
        ),
        day(
            "CloudWatch",
            "GB of logs",
            "cloudwatch-log-bytes",
            |of| of.log_gigabytes,
            0,
        ),
        month(
            "CloudWatch",
            "custom metrics",
            "cloudwatch-metrics",
            busy.series.max(idle.series),
        ),
        month("CloudWatch", "alarms", "cloudwatch-alarms", ALARMS),
        month("CloudWatch", "dashboards", "cloudwatch-dashboards", DASHBOARDS),
        day(
            "Secrets Manager",
            "calls",
            "secrets-manager-calls",
            |of| of.secret_calls.into(),
            0,
        ),
        month(
            "Secrets Manager",
            "secrets",
            "secrets-manager-secrets",
            busy.secrets.max(idle.secrets),
        ),
        day(
            "EventBridge Scheduler",
            "invocations",
            "scheduler-invocations",
            |_| Decimal::ZERO,
            SCHEDULED_PER_DAY,
        ),
        day(
            "CloudTrail",
            "LookupEvents calls",
            "cloudtrail-lookups",
            |of| of.lookups.into(),
            0,
        ),
    ]
}
