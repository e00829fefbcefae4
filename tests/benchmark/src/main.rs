//! Reconciles a large day from the sandbox and prints records per second, peak memory and requests.
//!
//! Two processes, so that the memory of one is not the other's: a child holds the sandbox with the day in it, this one reconciles as the
//! function does. `cargo run --release -p benchmark -- --records 1000000 --source lake`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use clap::{Parser, ValueEnum};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use outbill::effects::metrics::Metrics;
use outbill::stories::reconcile::{Work, reconcile};
use outbill::values::bill::BillReference;
use outbill::values::entry::{Attempt, Connection, Entry, EntryState, Origin, Part};
use outbill::values::hour::Hour;
use outbill::values::ids::{BillId, ConfigurationId, CredentialId, OrganizationId, RunId};
use outbill::values::usage_key::{Buyer, Customer, UsageKey};
use outbill::{Environment, Outbill};
use sandbox::seller::Seller;
use sandbox::{Change, Options, Sandbox, functions};
use serde_json::{Value, json};

const DAY: &str = "2025-06-10";
const SET_UP_AT: &str = "2025-06-10T00:00:00Z";
const RECONCILED_AT: &str = "2025-06-11T11:00:00Z";
const PRODUCT: &str = "3mgmp9q6okn47u0rgmzzjdi9k";
const DIMENSION: &str = "m3BillTotal";
const RECORDS_PER_EVENT: usize = 25;
const HOURS: usize = 24;
/// Rows in one BatchWriteItem, and requests at once, when the day is made.
const ROWS_PER_WRITE: usize = 25;
const WRITES_AT_ONCE: usize = 8;
const QUANTITY: i64 = 7;

/// Which record of AWS's is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// Event history: 50 events a request, two requests a second.
    History,
    /// CloudTrail Lake.
    Lake,
}

/// What is measured.
#[derive(Debug, Parser)]
struct Arguments {
    /// Usage records of the day; 25 make an event.
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Which record of AWS's is read.
    #[arg(long, value_enum, default_value_t = Source::Lake)]
    source: Source,
    /// Hold the sandbox: what the program starts itself with.
    #[arg(long, hide = true)]
    serve: bool,
}

/// The child process; dropping it ends it.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        // A child that has ended already needs no ending.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = match arguments.serve {
        true => tokio::runtime::Builder::new_multi_thread(),
        // As the function runs.
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    match arguments.serve {
        true => runtime.block_on(serve(&arguments)),
        false => runtime.block_on(measure(&arguments)),
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let source = arguments.source.to_possible_value().context("a source")?;
    let child = Command::new(std::env::current_exe()?)
        .args([
            "--serve",
            "--records",
            &arguments.records.to_string(),
            "--source",
            source.get_name(),
        ])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut child = Served(child);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().context("the child's output")?).read_line(&mut line)?;
    let told: Value = serde_json::from_str(&line).context("the child did not get ready")?;
    let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
    let sdk = functions::sdk(&text("aws"), functions::REGION).await;
    let environment = Environment {
        table: functions::TABLE.to_owned(),
        bill_queue_url: text("queue"),
        secret_prefix: "outbill/".to_owned(),
        m3ter_base_url: text("m3ter"),
        alert_sender: String::new(),
        log: "warn".to_owned(),
    };
    let outbill = Outbill {
        metrics: Metrics::new(&environment.secret_prefix, Arc::new(|_| ())),
        ..Outbill::connect(&sdk, &environment)
    };
    let before = memory("VmRSS")?;
    let began = Instant::now();
    reconcile(&outbill, Work::Day(DAY.parse()?), RECONCILED_AT.parse()?).await?;
    let took = began.elapsed();
    let organization = OrganizationId::new(text("organization"))?;
    let page = outbill::effects::table::PageRequest { size: 1, after: None };
    let reports = outbill.reconciliations.list(&organization, &page, |_| true).await?;
    let report = reports.items.first().context("a report")?;
    anyhow::ensure!(report.status.name() == "MATCHES", "the report says {report:?}");
    let seconds = took.as_secs_f64();
    println!("records            {}", report.tally.records);
    println!("events             {}", report.tally.events);
    println!("source             {}", source.get_name());
    println!("seconds            {seconds:.1}");
    println!("records per second {:.0}", report.tally.records as f64 / seconds);
    println!(
        "peak memory        {} MB ({} MB before)",
        memory("VmHWM")? / 1024,
        before / 1024
    );
    println!("CloudTrail pages   {}", report.tally.requests);
    let requests: Value = serde_json::from_str(&ask(&text("controls"))?)?;
    for (service, actions) in requests.as_object().into_iter().flatten() {
        for (action, count) in actions.as_object().into_iter().flatten() {
            println!("requests           {service} {action} {count}");
        }
    }
    Ok(())
}

/// `GET /requests` of the controls.
fn ask(controls: &str) -> anyhow::Result<String> {
    use std::io::{Read, Write};
    let address = controls.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(
        stream,
        "GET /requests HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned())
}

/// A line of this process's status, in kB.
fn memory(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("peak memory is read from Linux's /proc")?;
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .context("a line of the status")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

/// Holds a sandbox with the day in it until it is ended.
async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let options = Options {
        start_at: Some(SET_UP_AT.parse()?),
        ..Options::for_tests()
    };
    let sandbox = Sandbox::start(options, functions::build).await?;
    let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key()).await?;
    let credential = json!({ "type": "AWS_INTEGRATION", "destination": "AWS", "name": "own role" });
    let credential = seller.post("integrationcredentials", &credential).await?;
    let mut settings = json!({
        "splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": format!("{PRODUCT}-{DIMENSION}"),
        "awsMarketplaceCloudtrailChecks": true,
    });
    if arguments.source == Source::Lake {
        settings["awsMarketplaceCloudtrailStoreId"] = json!("8c3d1f4e-0000-4000-8000-123456789abc");
    }
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": "large", "integrationCredentialsId": credential["id"], "configData": settings,
    });
    let configuration = seller.post("integrationconfigs", &configuration).await?;
    let id = |value: &Value| value["id"].as_str().unwrap_or_default().to_owned();
    let day = Day {
        records: arguments.records,
        organization: OrganizationId::new(seller.organization())?,
        configuration: ConfigurationId::new(id(&configuration))?,
        credential: CredentialId::new(id(&credential))?,
    };
    day.meter(&sandbox)?;
    day.enter(&sandbox).await?;
    sandbox.change(Change::ClockMoved {
        to: RECONCILED_AT.parse()?,
    })?;
    sandbox.clear_requests();
    let addresses = sandbox.addresses();
    println!(
        "{}",
        json!({
            "aws": addresses.aws, "m3ter": addresses.m3ter, "controls": addresses.controls, "organization": day.organization,
            "queue": sandbox::aws::queue_url(&addresses.aws, sandbox::queues::QueueName::Bills),
        })
    );
    std::future::pending::<()>().await;
    Ok(())
}

/// The day that is made.
struct Day {
    records: usize,
    organization: OrganizationId,
    configuration: ConfigurationId,
    credential: CredentialId,
}

impl Day {
    /// A record's buyer and hour: hour by hour, as Outbill meters.
    fn record(&self, place: usize) -> anyhow::Result<(String, Timestamp)> {
        let buyers = self.records.div_ceil(HOURS);
        let start: Timestamp = SET_UP_AT.parse()?;
        let hour = start + SignedDuration::from_hours(i64::try_from(place / buyers)?);
        Ok((format!("{:012}", 100_000_000_000_usize + place % buyers), hour))
    }

    /// AWS accepts every record, and CloudTrail records every call.
    fn meter(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        let places: Vec<usize> = (0..self.records).collect();
        for call in places.chunks(RECORDS_PER_EVENT) {
            let mut now = Timestamp::MIN;
            let mut records = Vec::new();
            for place in call {
                let (customer, hour) = self.record(*place)?;
                now = now.max(hour + SignedDuration::from_mins(2));
                records.push(json!({
                    "Timestamp": hour.as_second(), "Dimension": DIMENSION, "CustomerAWSAccountId": customer, "Quantity": QUANTITY,
                }));
            }
            sandbox.change(Change::Metered {
                region: functions::REGION.to_owned(),
                account: sandbox::aws::HOME_ACCOUNT.to_owned(),
                request_json: json!({ "ProductCode": PRODUCT, "UsageRecords": records }).to_string(),
                now,
                leave_unprocessed: false,
            })?;
        }
        Ok(())
    }

    /// The ledger has an accepted entry for every record.
    async fn enter(&self, sandbox: &Sandbox) -> anyhow::Result<()> {
        let sdk = functions::sdk(&sandbox.addresses().aws, functions::REGION).await;
        let client = aws_sdk_dynamodb::Client::new(&sdk);
        let places: Vec<usize> = (0..self.records).collect();
        let writes = places.chunks(ROWS_PER_WRITE).map(|places| {
            let client = client.clone();
            async move {
                let rows: anyhow::Result<Vec<WriteRequest>> = places.iter().map(|place| self.row(*place)).collect();
                let request = client.batch_write_item().request_items(functions::TABLE, rows?);
                let answer = request.send().await?;
                anyhow::ensure!(
                    answer.unprocessed_items.is_none_or(|left| left.is_empty()),
                    "rows were left"
                );
                Ok(())
            }
        });
        stream::iter(writes)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect()
            .await
    }

    fn row(&self, place: usize) -> anyhow::Result<WriteRequest> {
        let (customer, at) = self.record(place)?;
        let bill = BillReference {
            organization: self.organization.clone(),
            bill: BillId::new(format!("bill-{customer}"))?,
        };
        let part = Part {
            units: QUANTITY,
            ends_at: None,
        };
        let entry = Entry {
            key: UsageKey {
                region: functions::REGION.to_owned(),
                buyer: Buyer::Product {
                    product_code: PRODUCT.to_owned(),
                    customer: Customer::AwsAccountId(customer),
                },
                dimension: DIMENSION.to_owned(),
            },
            hour: Hour::containing(at),
            quantity: QUANTITY,
            state: EntryState::Accepted,
            parts: BTreeMap::from([(bill.clone(), part)]),
            attempts_started: 1,
            attempts_answered: 1,
            attempt: Attempt::Ordinary,
            origin: Origin {
                configuration: self.configuration.clone(),
                run: RunId::new("run")?,
                bill,
                connection: Connection {
                    organization: self.organization.clone(),
                    credential: self.credential.clone(),
                    region: functions::REGION.to_owned(),
                    product_code: PRODUCT.to_owned(),
                },
            },
            claimed_at: at + SignedDuration::from_mins(1),
            metering_record_id: Some(format!("record-{place}")),
            observed: None,
            reason: None,
            resolution: None,
            attempted_at: None,
            seen_event: None,
            unseen_since: None,
        };
        let (hash, hour) = (entry.key.hash(), entry.hour);
        let mut row: std::collections::HashMap<String, AttributeValue> =
            serde_dynamo::aws_sdk_dynamodb_1::to_item(&entry)?;
        let digit = hash.as_str().get(..1).unwrap_or("0");
        for (name, value) in [
            ("PK", format!("KEY#{hash}")),
            ("SK", format!("HOUR#{hour}")),
            ("workShard", format!("UNSEEN#{}#{digit}", self.organization)),
            ("workAt", format!("{hour}#{hash}")),
        ] {
            row.insert(name.to_owned(), AttributeValue::S(value));
        }
        let put = PutRequest::builder().set_item(Some(row)).build()?;
        Ok(WriteRequest::builder().put_request(put).build())
    }
}
