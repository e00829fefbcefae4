//! The laws of the ledger, checked on what the table and AWS Marketplace really hold.
//!
//! Read from the rows as they lie there: whoever wrote them, they have to add up.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use marketplace::{Customer, Identity, Marketplace};
use outbill::values::bill::BillReference;
use outbill::values::entry::{Entry, EntryState, KeyState};
use outbill::values::manifest::Manifest;
use outbill::values::usage_key::{self, Buyer, KeyHash};

use crate::functions::TABLE;

type Item = std::collections::HashMap<String, AttributeValue>;

/// A law and what breaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Law {
    /// In words.
    pub text: &'static str,
    /// Each violation, in words; none: the law held.
    pub violations: Vec<String>,
}

/// One usage key with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct KeyReport {
    /// Its state.
    pub state: KeyState,
    /// Its entries, oldest first.
    pub entries: Vec<Entry>,
    /// What each bill counts on it.
    pub bills: BTreeMap<BillReference, i64>,
    /// What AWS holds for it and bills, all hours together; other programs' records included.
    pub billed: i64,
    /// The part of it that other programs reported.
    pub billed_by_others: i64,
}

/// Everything that the laws are about.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// Keys by the hash that names their partition.
    pub keys: BTreeMap<KeyHash, KeyReport>,
    /// Bills.
    pub manifests: Vec<Manifest>,
    violations: Vec<String>,
    unexplained: Vec<String>,
}

/// Whether everything that was under way has ended, so that the strict laws apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Messages or entries may be under way.
    Moving,
    /// The queue is empty, the faults are over, and the tick has run.
    Quiet,
}

/// A law about one key.
#[derive(Debug)]
pub struct KeyLaw {
    /// In words.
    pub text: &'static str,
    /// How a key breaks it, in words.
    pub broken: fn(&KeyReport) -> Option<String>,
}

/// AWS holds nothing else of ours.
pub const HELD_IS_ENTERED: &str = "every record that AWS holds is an entry, with its quantity";
/// AWS's own rules.
pub const NOTHING_FORBIDDEN: &str = "nothing was sent that AWS's documents forbid";
/// Manifest and keys agree.
pub const MANIFESTS_HOLD: &str = "a bill's units are on its keys as its manifest says";

/// What holds for every key at every instant.
pub const KEY_LAWS: &[KeyLaw] = &[
    KeyLaw {
        text: "what is committed is the sum of the entries",
        broken: |key| {
            let sum: i64 = key.entries.iter().map(Entry::committed).sum();
            (sum != key.state.committed)
                .then(|| format!("{} is committed, but the entries add up to {sum}", key.state.committed))
        },
    },
    KeyLaw {
        text: "what is owed is the sum over the bills",
        broken: |key| {
            let sum: i64 = key.bills.values().sum();
            (sum != key.state.total).then(|| format!("the total is {}, but the bills add up to {sum}", key.state.total))
        },
    },
    KeyLaw {
        text: "what no entry holds is known bill by bill",
        broken: |key| {
            let sum: i64 = key.state.residuals.values().map(|part| part.units).sum();
            let delta = key.state.total - key.state.committed;
            (sum != delta).then(|| format!("{delta} units are open, but the bills' open parts add up to {sum}"))
        },
    },
    KeyLaw {
        text: "the parts of an entry add up to its quantity",
        broken: |key| {
            let odd = key
                .entries
                .iter()
                .find(|entry| entry.parts.values().map(|part| part.units).sum::<i64>() != entry.quantity)?;
            Some(format!(
                "hour {}: {} units do not divide as said",
                odd.hour, odd.quantity
            ))
        },
    },
    KeyLaw {
        text: "no buyer pays more than is committed",
        broken: |key| {
            let own = key.billed_own();
            (own > key.state.committed)
                .then(|| format!("{own} units are billed, but {} are committed", key.state.committed))
        },
    },
];

/// What holds besides once messages, answers and ticks are through.
pub const KEY_LAWS_AT_REST: &[KeyLaw] = &[
    KeyLaw {
        text: "every accepted unit is billed, and no other that could not be",
        broken: |key| {
            let sum = |states: &[EntryState]| -> i64 {
                let of = |entry: &&Entry| states.contains(&entry.state);
                key.entries.iter().filter(of).map(|entry| entry.quantity).sum()
            };
            let accepted = sum(&[EntryState::Accepted]);
            // AWS may hold what nobody knows of, and what it called a duplicate of itself.
            let possible = accepted + sum(&[EntryState::Unknown, EntryState::Conflict]);
            let own = key.billed_own();
            (own < accepted || own > possible).then(|| {
                format!("{own} units are billed, but {accepted} were accepted, and {possible} could have been")
            })
        },
    },
    KeyLaw {
        text: "at rest, everything owed is billed, unless the key says why not",
        broken: |key| {
            let explained = key.state.blocked.is_some()
                || key.state.conflicts > 0
                || key.entries.iter().any(|entry| entry.state == EntryState::Unknown);
            let own = key.billed_own();
            // What another program reported counts as sent.
            let billed = own + key.adopted();
            (billed < key.state.total && !explained)
                .then(|| format!("{} units are owed, but only {billed} are billed", key.state.total))
        },
    },
];

/// Why the ledger could not be read.
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

impl KeyReport {
    /// A key from the rows of its partition; none: it has no state yet. Nothing is known of AWS.
    pub fn of(rows: Vec<Item>) -> Result<Option<KeyReport>, ReadError> {
        let mut state: Option<KeyState> = None;
        let mut entries: Vec<Entry> = Vec::new();
        let mut bills = BTreeMap::new();
        for row in rows {
            let sk = attribute(&row, "SK")?;
            if sk == "STATE" {
                state = Some(serde_dynamo::aws_sdk_dynamodb_1::from_item(row)?);
            } else if sk.starts_with("HOUR#") {
                entries.push(serde_dynamo::aws_sdk_dynamodb_1::from_item(row)?);
            } else if let Some(bill) = sk.strip_prefix("BILL#") {
                let units = row.get("units").and_then(|units| units.as_n().ok());
                let units = units.ok_or("a bill's row has no units")?.parse()?;
                bills.insert(BillReference::try_from(bill.to_owned())?, units);
            }
        }
        entries.sort_by_key(|entry| entry.hour);
        Ok(state.map(|state| KeyReport {
            state,
            entries,
            bills,
            billed: 0,
            billed_by_others: 0,
        }))
    }

    /// What AWS bills of what Outbill sent.
    pub fn billed_own(&self) -> i64 {
        self.billed - self.billed_by_others
    }

    /// What another program reported and Outbill counts as sent.
    pub fn adopted(&self) -> i64 {
        let adopted = self.entries.iter().filter(|entry| entry.state == EntryState::Adopted);
        adopted.map(Entry::committed).sum()
    }

    /// The key as people know it.
    pub fn name(&self) -> String {
        format!("{} of {}", self.state.key.dimension, self.state.key.buyer.customer())
    }
}

impl Ledger {
    /// Reads the whole table, and sets what AWS holds beside it.
    pub async fn read(client: &aws_sdk_dynamodb::Client, marketplace: &Marketplace) -> Result<Ledger, ReadError> {
        Ledger::of(scan(client).await?, marketplace)
    }

    /// The ledger of these rows, with what AWS holds beside it.
    pub fn of(rows: Vec<Item>, marketplace: &Marketplace) -> Result<Ledger, ReadError> {
        let mut partitions: BTreeMap<KeyHash, Vec<Item>> = BTreeMap::new();
        let mut manifests = Vec::new();
        for row in rows {
            let (pk, sk) = (attribute(&row, "PK")?, attribute(&row, "SK")?);
            if let Some(hash) = pk.strip_prefix("KEY#") {
                partitions
                    .entry(KeyHash::try_from(hash.to_owned())?)
                    .or_default()
                    .push(row);
            } else if pk.starts_with("BILL#") && sk == "MANIFEST" {
                manifests.push(serde_dynamo::aws_sdk_dynamodb_1::from_item(row)?);
            }
        }
        let mut keys: BTreeMap<KeyHash, KeyReport> = BTreeMap::new();
        for (hash, rows) in partitions {
            if let Some(key) = KeyReport::of(rows)? {
                keys.insert(hash, key);
            }
        }
        let mut ledger = Ledger {
            keys,
            manifests,
            violations: marketplace.violations().to_vec(),
            unexplained: Vec::new(),
        };
        ledger.compare(marketplace);
        Ok(ledger)
    }

    /// Sets what AWS holds beside the entries.
    fn compare(&mut self, marketplace: &Marketplace) {
        for (record, held) in marketplace.held() {
            let hash = hash_of(record);
            let told = || {
                format!(
                    "AWS holds {} of {} for {} at {}",
                    held.quantity,
                    record.dimension,
                    record.customer.as_str(),
                    record.hour
                )
            };
            // An account signed what Outbill sent; other programs are known by a name.
            let ours = usage_key::is_aws_account_id(&held.reported_by);
            let Some(key) = self.keys.get_mut(&hash) else {
                if ours {
                    self.unexplained
                        .push(format!("{}, and the ledger has no such key", told()));
                }
                continue;
            };
            if held.billed {
                key.billed += held.quantity;
            }
            let entry = key.entries.iter().find(|entry| entry.hour.start() == record.hour);
            // What Outbill sent before the table was restored from a copy that does not know it counts like another program's.
            let adopted = |entry: &&Entry| entry.state == EntryState::Adopted && entry.observed == Some(held.quantity);
            if !ours || entry.as_ref().is_some_and(adopted) {
                key.billed_by_others += held.quantity;
                continue;
            }
            match entry {
                Some(entry) if entry.quantity == held.quantity => {}
                Some(entry) => self
                    .unexplained
                    .push(format!("{}, but the entry says {}", told(), entry.quantity)),
                None => self
                    .unexplained
                    .push(format!("{}, and the ledger has no entry for the hour", told())),
            }
        }
    }

    /// Every law with its violations.
    pub fn laws(&self, rest: Rest) -> Vec<Law> {
        let mut laws: Vec<Law> = KEY_LAWS.iter().map(|law| self.law(law)).collect();
        laws.extend([
            Law {
                text: HELD_IS_ENTERED,
                violations: self.unexplained.clone(),
            },
            Law {
                text: NOTHING_FORBIDDEN,
                violations: self.violations.clone(),
            },
            Law {
                text: MANIFESTS_HOLD,
                violations: self.manifest_violations(rest),
            },
        ]);
        if rest == Rest::Quiet {
            laws.extend(KEY_LAWS_AT_REST.iter().map(|law| self.law(law)));
        }
        laws
    }

    fn law(&self, law: &KeyLaw) -> Law {
        let broken = |key: &KeyReport| (law.broken)(key).map(|what| format!("{}: {what}", key.name()));
        Law {
            text: law.text,
            violations: self.keys.values().filter_map(broken).collect(),
        }
    }

    fn manifest_violations(&self, rest: Rest) -> Vec<String> {
        if rest == Rest::Moving {
            return Vec::new();
        }
        let mut violations = Vec::new();
        for manifest in &self.manifests {
            let Ok(units) = manifest.units_by_key() else {
                violations.push(format!("bill {}: the units cannot be added up", manifest.bill.bill));
                continue;
            };
            for (hash, expect) in units {
                let found = self
                    .keys
                    .get(&hash)
                    .and_then(|key| key.bills.get(&manifest.bill))
                    .copied()
                    .unwrap_or_default();
                if found != expect {
                    violations.push(format!(
                        "bill {}: {expect} units by the manifest, {found} on the key",
                        manifest.bill.bill
                    ));
                }
            }
        }
        violations
    }
}

/// The ledger's name for a key of AWS's.
pub fn hash_of(record: &marketplace::UsageKey) -> KeyHash {
    let customer = record.customer.as_str().to_owned();
    let buyer = match (&record.identity, &record.customer) {
        (Identity::License(license_arn), _) => Buyer::License {
            license_arn: license_arn.clone(),
            customer_aws_account_id: customer,
        },
        (Identity::Product(product_code), Customer::AwsAccount(_)) => Buyer::Product {
            product_code: product_code.clone(),
            customer: usage_key::Customer::AwsAccountId(customer),
        },
        (Identity::Product(product_code), Customer::Identifier(_)) => Buyer::Product {
            product_code: product_code.clone(),
            customer: usage_key::Customer::Identifier(customer),
        },
    };
    outbill::values::usage_key::UsageKey {
        region: record.region.clone(),
        buyer,
        dimension: record.dimension.clone(),
    }
    .hash()
}

fn attribute(item: &Item, name: &str) -> Result<String, ReadError> {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    Ok(value.ok_or_else(|| format!("a row has no {name}"))?.clone())
}

async fn scan(client: &aws_sdk_dynamodb::Client) -> Result<Vec<Item>, ReadError> {
    let mut items = Vec::new();
    let mut start = None;
    loop {
        let page = client
            .scan()
            .table_name(TABLE)
            .consistent_read(true)
            .set_exclusive_start_key(start)
            .send()
            .await?;
        items.extend(page.items.unwrap_or_default());
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(items);
        }
    }
}
