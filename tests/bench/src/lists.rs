//! Lists of the API beside what the database engine takes for the same page: a report of a bill with many entries, and many runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_sdk_dynamodb::types::AttributeValue;
use clap::Args;
use outbill::effects::table::DESTINATION_INDEX;
use outbill::values::hour::Hour;
use sandbox::backup::{self, Row};
use sandbox::functions;
use serde_json::Value;

use crate::child::Counts;
use crate::clones::{self, Sample};
use crate::dispatch::{self, as_f64, count};
use crate::figures::{self, Figure, Goal, spread, within};

/// Runs of a page, the most that the API gives.
const RUNS_PER_PAGE: i32 = 200;

/// How long the lists are.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Entries of the bill that is reported
    #[arg(long, default_value_t = 1_000)]
    pub entries: usize,
    /// Runs that are listed
    #[arg(long, default_value_t = 10_000)]
    pub runs: usize,
    /// How often each list is read
    #[arg(long, default_value_t = 20)]
    pub times: usize,
    /// Where the figures go as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The child's side.
pub async fn serve() -> anyhow::Result<()> {
    dispatch::serve(&dispatch::Plan::without_delays(), None).await
}

/// Makes the lists, and reads them.
pub async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let (child, outbill, organization) = clones::begin().await?;
    let now = jiff::Timestamp::now();
    let bill = dispatch::Bill::first(clones::sample_bill());
    let message = dispatch::message(1, dispatch::month(now), &organization, bill);
    dispatch::handle(&outbill, vec![message], now).await?;
    let sample = Sample::take(&child).await?;
    let client = aws_sdk_dynamodb::Client::new(&functions::sdk(child.text("aws"), functions::REGION).await);
    let text = |row: &Row, name: &str| {
        row.get(name)
            .and_then(|value| value.as_s().ok().cloned())
            .unwrap_or_default()
    };

    let usage = sample.rows.iter().find(|row| text(row, "SK").starts_with("USAGE#"));
    let usage = usage.context("a row of the report")?;
    let mut rows = Vec::new();
    let mut hour = Hour::containing(now);
    for _ in 1..plan.entries {
        let (known, earlier) = (hour.to_string(), hour.previous().to_string());
        let last = rows.last().unwrap_or(usage);
        rows.push(renamed(last, &known, &earlier));
        hour = hour.previous();
    }
    let run = sample.rows.iter().find(|row| text(row, "PK").ends_with("#RUN"));
    let run = run.context("a run")?;
    let id = text(run, "SK");
    let (destination, configuration) = (text(run, "destinationKey"), text(run, "destinationId"));
    let start = id.get(..24).context("a run's id")?;
    rows.extend((1..plan.runs).map(|number| renamed(run, &id, &format!("{start}{number:012x}"))));
    backup::write(&client, &rows).await.map_err(anyhow::Error::from_boxed)?;

    let bill = text(usage, "PK");
    let http = reqwest::Client::new();
    let path = |rest: &str| format!("{}/organizations/{organization}/{rest}", child.text("api"));
    let ask = async |url: &str| -> anyhow::Result<(Duration, Value)> {
        let begun = Instant::now();
        let request = http.get(url).bearer_auth(child.text("token"));
        let bytes = request.send().await?.error_for_status()?.bytes().await?;
        let took = begun.elapsed();
        Ok((took, serde_json::from_slice(&bytes)?))
    };

    let report = path(&format!(
        "integrationdestinations/marketplace/usageReport?billId=bill-{}",
        clones::sample_bill()
    ));
    // The signing key is read once.
    ask(&report).await?;
    child.clear_requests()?;
    let (mut ours, mut engines) = (Vec::new(), Vec::new());
    for _ in 0..plan.times {
        let (took, answer) = ask(&report).await?;
        ours.push(took);
        let usage = answer.pointer("/data/0/reportedUsage").and_then(Value::as_object);
        let hours = usage.into_iter().flat_map(|usage| usage.values());
        let hours: usize = hours.filter_map(Value::as_object).map(|hours| hours.len()).sum();
        anyhow::ensure!(hours == plan.entries, "{hours} hours were reported");
    }
    let requests = child.requests()?;
    for _ in 0..plan.times {
        let begun = Instant::now();
        let query = client.query().table_name(functions::TABLE).consistent_read(true);
        let found = query
            .key_condition_expression("PK = :bill AND begins_with(SK, :usage)")
            .expression_attribute_values(":bill", AttributeValue::S(bill.clone()))
            .expression_attribute_values(":usage", AttributeValue::S("USAGE#".to_owned()))
            .send()
            .await?;
        engines.push(begun.elapsed());
        anyhow::ensure!(found.count() == i32::try_from(plan.entries)?, "{} rows", found.count());
    }
    let mut figures = Vec::from(compared(
        "usage report of a bill",
        &format!("{} entries", plan.entries),
        (&mut ours, &mut engines),
        &requests,
    ));

    child.clear_requests()?;
    let (mut ours, mut engines) = (Vec::new(), Vec::new());
    for _ in 0..plan.times.div_ceil(10) {
        let mut next = String::new();
        let mut listed = 0;
        loop {
            let token = urlencoding::encode(&next);
            let url = path(&format!(
                "integrationruns/destinations/{configuration}?pageSize={RUNS_PER_PAGE}{}",
                if next.is_empty() {
                    String::new()
                } else {
                    format!("&nextToken={token}")
                }
            ));
            let (took, answer) = ask(&url).await?;
            ours.push(took);
            listed += answer["data"].as_array().map_or(0, Vec::len);
            match answer["nextToken"].as_str() {
                Some(token) => token.clone_into(&mut next),
                None => break,
            }
        }
        anyhow::ensure!(listed == plan.runs, "{listed} runs were listed");
    }
    let requests = child.requests()?;
    for _ in 0..plan.times.div_ceil(10) {
        let mut from = None;
        loop {
            let begun = Instant::now();
            let query = client
                .query()
                .table_name(functions::TABLE)
                .index_name(DESTINATION_INDEX);
            let found = query
                .key_condition_expression("destinationKey = :destination")
                .expression_attribute_values(":destination", AttributeValue::S(destination.clone()))
                .scan_index_forward(false)
                .limit(RUNS_PER_PAGE)
                .set_exclusive_start_key(from)
                .send()
                .await?;
            engines.push(begun.elapsed());
            from = found.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
    }
    figures.extend(compared(
        "a page of runs",
        &format!("{} runs, {RUNS_PER_PAGE} a page", plan.runs),
        (&mut ours, &mut engines),
        &requests,
    ));
    figures::print(&figures);
    figures::keep(&figures, plan.json.as_deref())
}

fn compared(
    what: &str,
    of: &str,
    (ours, engines): (&mut [Duration], &mut [Duration]),
    requests: &Counts,
) -> [Figure; 2] {
    let pages = as_f64(ours.len());
    [
        Figure {
            name: format!("{what}: p99 over the engine's").into(),
            value: within(ours, 99) / within(engines, 99),
            unit: "ratio",
            places: 2,
            of: format!("{of}; API {}; engine {}", spread(ours), spread(engines)),
            goal: Some(Goal::AtMost(3.0)),
        },
        Figure {
            name: format!("{what}: DynamoDB requests").into(),
            value: count(requests, "dynamodb") / pages,
            unit: "a page",
            places: 2,
            of: format!("{pages} pages: {}", dispatch::told(requests, "dynamodb")),
            goal: None,
        },
    ]
}

/// A row with another text in every field that has it.
fn renamed(row: &Row, from: &str, to: &str) -> Row {
    let rename = |value: &AttributeValue| match value {
        AttributeValue::S(text) => AttributeValue::S(text.replace(from, to)),
        other => other.clone(),
    };
    row.iter().map(|(name, value)| (name.clone(), rename(value))).collect()
}
