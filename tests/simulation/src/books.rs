//! The laws, looked at after every request that could break one.
//!
//! Read from the rows and from AWS, never from the code that wrote them. The laws of one key are those of [`sandbox::laws`]; here are the
//! ones that need a memory.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use marketplace::{Customer, Identity, Marketplace, UsageKey};
use outbill::values::entry::EntryState;
use outbill::values::hour::Hour;
use outbill::values::usage_key::KeyHash;
use sandbox::laws::{
    HELD_IS_ENTERED, KEY_LAWS, KEY_LAWS_AT_REST, KeyReport, Ledger, MANIFESTS_HOLD, NOTHING_FORBIDDEN, Rest, hash_of,
};
use serde_json::Value;

use crate::engine::Engine;
use crate::network::Caller;

/// An entry is written once.
pub const NEVER_CHANGES: &str = "an entry's hour and quantity never change";
/// The claim comes first.
pub const SENT_IS_ENTERED: &str = "every record that is sent is an entry, with its quantity, before it is sent";
/// Nothing beyond what was owed.
pub const NEVER_ABOVE: &str = "no more is committed than was ever owed";
/// Answers are not forgotten.
pub const RECEIPT_IS_KEPT: &str = "a receipt that reached a worker is in the ledger when it ends";
/// The end of reconciliation.
pub const EVIDENCE_SETTLES: &str = "at rest, no entry that CloudTrail shows is unknown, in conflict or pending";
/// The end.
pub const OWED_IS_COUNTED: &str = "at rest, the ledger owes what the newest bills owe";
/// The end.
pub const NOTHING_IS_LEFT: &str = "at rest, nothing is queued, dead, pending or waiting without a reason";
/// The end.
pub const REPEATS_CHANGE_NOTHING: &str = "at rest, every message can come again without an effect at AWS";

/// The laws in the order of the report.
pub fn laws() -> Vec<&'static str> {
    let mut laws: Vec<&'static str> = KEY_LAWS.iter().map(|law| law.text).collect();
    laws.extend([
        NEVER_CHANGES,
        NEVER_ABOVE,
        SENT_IS_ENTERED,
        HELD_IS_ENTERED,
        NOTHING_FORBIDDEN,
        RECEIPT_IS_KEPT,
        MANIFESTS_HOLD,
    ]);
    laws.extend(KEY_LAWS_AT_REST.iter().map(|law| law.text));
    laws.extend([
        EVIDENCE_SETTLES,
        OWED_IS_COUNTED,
        NOTHING_IS_LEFT,
        REPEATS_CHANGE_NOTHING,
    ]);
    laws
}

/// A law that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which, in words.
    pub law: &'static str,
    /// How.
    pub how: String,
}

#[derive(Debug)]
struct Book {
    report: KeyReport,
    highest_total: i64,
    quantities: BTreeMap<Hour, i64>,
}

/// What is known of every key, and what was broken.
#[derive(Debug, Default)]
pub struct Books {
    books: BTreeMap<KeyHash, Book>,
    receipts: BTreeMap<Caller, BTreeSet<(KeyHash, Hour)>>,
    violations: Vec<Violation>,
}

impl Books {
    /// What was broken so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Notes that a law is broken.
    pub fn broken(&mut self, law: &'static str, how: impl Into<String>) {
        let how = how.into();
        self.violations.push(Violation { law, how });
    }

    /// A write to the table is done: the keys that it names are looked at.
    pub fn written(&mut self, engine: &Engine, marketplace: &Marketplace, body: &Value) -> anyhow::Result<()> {
        for key in keys_written(body) {
            self.look(engine, marketplace, &key)?;
        }
        Ok(())
    }

    fn look(&mut self, engine: &Engine, marketplace: &Marketplace, key: &KeyHash) -> anyhow::Result<()> {
        let rows = engine.partition(&format!("KEY#{}", key.as_str()))?;
        let Some(mut report) = KeyReport::of(rows).map_err(|error| anyhow::anyhow!("{error}"))? else {
            return Ok(());
        };
        bill(&mut report, key, marketplace);
        let known = self.books.remove(key);
        let highest_total = known
            .as_ref()
            .map_or(0, |book| book.highest_total)
            .max(report.state.total);
        let quantities: BTreeMap<Hour, i64> = report
            .entries
            .iter()
            .map(|entry| (entry.hour, entry.quantity))
            .collect();
        for (hour, quantity) in known.iter().flat_map(|book| &book.quantities) {
            let now = quantities.get(hour);
            if now != Some(quantity) {
                self.broken(
                    NEVER_CHANGES,
                    format!("{}: hour {hour} had {quantity}, and has {now:?}", report.name()),
                );
            }
        }
        // What another program reported was never owed, and counts all the same.
        if report.state.committed > highest_total + report.adopted() {
            let committed = report.state.committed;
            self.broken(
                NEVER_ABOVE,
                format!(
                    "{}: {committed} units are committed, but at most {highest_total} were owed",
                    report.name()
                ),
            );
        }
        self.check(&report);
        let book = Book {
            report,
            highest_total,
            quantities,
        };
        self.books.insert(key.clone(), book);
        Ok(())
    }

    fn check(&mut self, report: &KeyReport) {
        for law in KEY_LAWS {
            if let Some(how) = (law.broken)(report) {
                self.broken(law.text, format!("{}: {how}", report.name()));
            }
        }
    }

    /// Usage records are about to arrive at AWS.
    pub fn sent(&mut self, region: &str, body: &Value) {
        for (key, hour, quantity) in records(region, body) {
            let entered = self
                .books
                .get(&key)
                .and_then(|book| book.quantities.get(&hour))
                .copied();
            if entered != Some(quantity) {
                self.broken(
                    SENT_IS_ENTERED,
                    format!("{quantity} units are sent for {hour}, and the entry is {entered:?}"),
                );
            }
        }
    }

    /// AWS answered: what it holds is looked at.
    pub fn metered(&mut self, marketplace: &Marketplace, region: &str, body: &Value) {
        for (key, _, _) in records(region, body) {
            let Some(book) = self.books.get_mut(&key) else { continue };
            let report = &mut book.report;
            bill(report, &key, marketplace);
            let report = report.clone();
            self.check(&report);
        }
    }

    /// A worker is told of receipts.
    pub fn told(&mut self, caller: Caller, region: &str, answer: &Value) {
        let results = answer.get("Results").and_then(Value::as_array);
        for result in results.into_iter().flatten() {
            if result.get("Status").and_then(Value::as_str) == Some("Success")
                && let Some((key, hour, _)) = result.get("UsageRecord").and_then(|sent| record(region, None, sent))
            {
                self.receipts.entry(caller).or_default().insert((key, hour));
            }
        }
    }

    /// A worker's invocation is over. `calm`: it was not killed, and the table did all that it asked.
    pub fn ended(&mut self, caller: Caller, calm: Calm) {
        let receipts = self.receipts.remove(&caller).unwrap_or_default();
        if calm == Calm::No {
            return;
        }
        for (key, hour) in receipts {
            let entry = self
                .books
                .get(&key)
                .and_then(|book| book.report.entries.iter().find(|entry| entry.hour == hour));
            let state = entry.map(|entry| entry.state);
            if state != Some(EntryState::Accepted) {
                self.broken(
                    RECEIPT_IS_KEPT,
                    format!("hour {hour} has a receipt, and its entry is {state:?}"),
                );
            }
        }
    }

    /// The end: the whole table against the whole of AWS.
    pub fn at_rest(&mut self, engine: &Engine, marketplace: &Marketplace) -> anyhow::Result<Ledger> {
        let ledger = Ledger::of(engine.rows()?, marketplace).map_err(|error| anyhow::anyhow!("{error}"))?;
        for law in ledger.laws(Rest::Quiet) {
            for how in law.violations {
                self.broken(law.text, how);
            }
        }
        Ok(ledger)
    }
}

/// Whether an invocation was left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calm {
    Yes,
    No,
}

fn bill(report: &mut KeyReport, key: &KeyHash, marketplace: &Marketplace) {
    (report.billed, report.billed_by_others) = (0, 0);
    for (held_key, held) in marketplace.held() {
        if held.billed && hash_of(held_key) == *key {
            report.billed += held.quantity;
            if !outbill::values::usage_key::is_aws_account_id(&held.reported_by) {
                report.billed_by_others += held.quantity;
            }
        }
    }
}

fn keys_written(body: &Value) -> BTreeSet<KeyHash> {
    let mut keys = BTreeSet::new();
    let mut note = |row: Option<&Value>| {
        let pk = row
            .and_then(|row| row.get("PK"))
            .and_then(|pk| pk.get("S"))
            .and_then(Value::as_str);
        if let Some(Ok(key)) = pk
            .and_then(|pk| pk.strip_prefix("KEY#"))
            .map(|hash| KeyHash::try_from(hash.to_owned()))
        {
            keys.insert(key);
        }
    };
    note(body.get("Item"));
    note(body.get("Key"));
    for action in body
        .get("TransactItems")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for kind in ["Put", "Update", "Delete"] {
            note(action.get(kind).and_then(|action| action.get("Item")));
            note(action.get(kind).and_then(|action| action.get("Key")));
        }
    }
    keys
}

/// The records of a request, each with the key and the hour that AWS reads from it.
fn records(region: &str, body: &Value) -> Vec<(KeyHash, Hour, i64)> {
    let product = body.get("ProductCode").and_then(Value::as_str);
    let records = body.get("UsageRecords").and_then(Value::as_array);
    records
        .into_iter()
        .flatten()
        .filter_map(|sent| record(region, product, sent))
        .collect()
}

fn record(region: &str, product: Option<&str>, sent: &Value) -> Option<(KeyHash, Hour, i64)> {
    let text = |name: &str| sent.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let identity = match text("LicenseArn") {
        Some(license) => Identity::License(license.to_owned()),
        None => Identity::Product(product.unwrap_or(crate::seller::PRODUCT).to_owned()),
    };
    let customer = text("CustomerAWSAccountId").or(text("CustomerIdentifier"))?;
    let seconds = sent.get("Timestamp")?.to_string().parse::<f64>().ok()?;
    let hour = marketplace::hour_of(Timestamp::from_second(seconds as i64).ok()?);
    let key = UsageKey {
        region: region.to_owned(),
        identity,
        customer: Customer::named(customer),
        dimension: text("Dimension")?.to_owned(),
        hour,
    };
    Some((hash_of(&key), Hour::containing(hour), sent.get("Quantity")?.as_i64()?))
}
