//! A large day, reconciled as the function does: records per second, peak memory and requests.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context;
use aws_sdk_dynamodb::types::AttributeValue;
use clap::{Args, ValueEnum};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use outbill::effects::table::PageRequest;
use outbill::stories::reconcile::{Work, reconcile};
use outbill::values::bill::BillReference;
use outbill::values::entry::{Attempt, Connection, Entry, EntryState, Origin, Part};
use outbill::values::hour::Hour;
use outbill::values::ids::{BillId, ConfigurationId, CredentialId, OrganizationId, RunId};
use outbill::values::usage_key::{Buyer, Customer, UsageKey};
use sandbox::backup::{self, Row};
use sandbox::seller::Seller;
use sandbox::{Change, Options, Sandbox, functions};
use serde_json::{Value, json};

use crate::child::{self, Child};
use crate::dispatch::PRODUCT;
use crate::process::{SELF, memory_kb};

const DAY: &str = "2025-06-10";
const SET_UP_AT: &str = "2025-06-10T00:00:00Z";
const RECONCILED_AT: &str = "2025-06-11T11:00:00Z";
const DIMENSION: &str = "m3BillTotal";
const RECORDS_PER_EVENT: usize = 25;
const HOURS: usize = 24;
/// Rows in one BatchWriteItem, and requests at once, when the day is made.
const ROWS_PER_WRITE: usize = 25;
const WRITES_AT_ONCE: usize = 8;
const QUANTITY: i64 = 7;

/// Which record of AWS's is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Event history: 50 events a request, two requests a second.
    History,
    /// CloudTrail Lake.
    Lake,
}

/// The day.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Usage records of the day; 25 make an event.
    #[arg(long, default_value_t = 1_000_000)]
    pub records: usize,
    /// Which record of AWS's is read.
    #[arg(long, value_enum, default_value_t = Source::Lake)]
    pub source: Source,
}

/// The reconciling side.
pub async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let source = plan.source.to_possible_value().context("a source")?;
    let child = Child::start()?;
    let outbill = child.outbill().await;
    let before = memory_kb(SELF, "VmRSS")?;
    let began = Instant::now();
    reconcile(&outbill, Work::Day(DAY.parse()?), RECONCILED_AT.parse()?).await?;
    let took = began.elapsed();
    let organization = child.organization()?;
    let page = PageRequest { size: 1, after: None };
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
        memory_kb(SELF, "VmHWM")? / 1024,
        before / 1024
    );
    println!("CloudTrail pages   {}", report.tally.requests);
    for (service, actions) in child.requests()? {
        for (action, count) in actions {
            println!("requests           {service} {action} {count}");
        }
    }
    Ok(())
}

/// Holds a sandbox with the day in it until it is ended.
pub async fn serve(plan: &Plan) -> anyhow::Result<()> {
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
    if plan.source == Source::Lake {
        settings["awsMarketplaceCloudtrailStoreId"] = json!("8c3d1f4e-0000-4000-8000-123456789abc");
    }
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": "large", "integrationCredentialsId": credential["id"], "configData": settings,
    });
    let configuration = seller.post("integrationconfigs", &configuration).await?;
    let id = |value: &Value| value["id"].as_str().unwrap_or_default().to_owned();
    let day = Day {
        records: plan.records,
        organization: OrganizationId::new(seller.organization())?,
        configuration: ConfigurationId::new(id(&configuration))?,
        credential: CredentialId::new(id(&credential))?,
    };
    day.meter(&sandbox)?;
    day.enter(&sandbox).await?;
    sandbox.change(Change::ClockMoved {
        to: RECONCILED_AT.parse()?,
    })?;
    child::hold(&sandbox, &seller).await
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
                let rows: anyhow::Result<Vec<Row>> = places.iter().map(|place| self.row(*place)).collect();
                backup::write(&client, &rows?).await.map_err(anyhow::Error::from_boxed)
            }
        });
        stream::iter(writes)
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect()
            .await
    }

    fn row(&self, place: usize) -> anyhow::Result<Row> {
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
        let mut row: Row = serde_dynamo::aws_sdk_dynamodb_1::to_item(&entry)?;
        let digit = hash.as_str().get(..1).unwrap_or("0");
        for (name, value) in [
            ("PK", format!("KEY#{hash}")),
            ("SK", format!("HOUR#{hour}")),
            ("workShard", format!("UNSEEN#{}#{digit}", self.organization)),
            ("workAt", format!("{hour}#{hash}")),
        ] {
            row.insert(name.to_owned(), AttributeValue::S(value));
        }
        Ok(row)
    }
}
