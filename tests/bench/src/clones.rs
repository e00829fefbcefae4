//! Many bills in a table, each as if it had been sent: the rows that one bill left, again and again under other names.

use std::collections::HashMap;
use std::slice::from_ref;

use anyhow::Context;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::stream::{self, StreamExt, TryStreamExt};
use outbill::Outbill;
use outbill::values::ids::OrganizationId;
use outbill::values::usage_key::{Buyer, Customer, UsageKey};
use sandbox::backup::{self, Row};
use sandbox::functions;

use crate::child::Child;
use crate::dispatch::{self, PRODUCT, dimension};

/// Clones that are written at once.
const AT_ONCE: usize = 8;
/// Clones of one task, so that few rows are in memory.
const CLONES_PER_WRITE: usize = 20;
/// Characters of an id that are its own; the rest is a clone's number.
const OWN_CHARACTERS: usize = 24;
/// Unlike any that a backlog has.
const SAMPLE: usize = 900_000_000;

/// The rows that name one bill, its account, its buyer or its usage key, and those that belong to them.
#[derive(Debug)]
pub struct Sample {
    /// Ids that Outbill made for it: of runs, of a mapping.
    ids: Vec<String>,
    pub rows: Vec<Row>,
}

/// The bill whose rows are taken.
pub fn sample_bill() -> usize {
    SAMPLE
}

/// The child, and Outbill before it, with the account mapped of the bill whose rows are taken.
pub async fn begin() -> anyhow::Result<(Child, Outbill, OrganizationId)> {
    let child = Child::start()?;
    let (outbill, organization) = (child.outbill().await, child.organization()?);
    dispatch::map(SAMPLE..SAMPLE + 1, &outbill, from_ref(&organization)).await?;
    Ok((child, outbill, organization))
}

impl Sample {
    /// Takes them from the child's table.
    pub async fn take(child: &Child) -> anyhow::Result<Sample> {
        let table = backup::make(child.text("aws"))
            .await
            .map_err(anyhow::Error::from_boxed)?;
        let rows = table.into_rows();
        let names = names(SAMPLE, &[])?;
        let has = |text: &str, names: &[String]| names.iter().any(|name| text.contains(name.as_str()));
        let is_named = |row: &&Row| has(&format!("{row:?}"), &names);
        let ids: Vec<String> = rows
            .iter()
            .filter(is_named)
            .filter(|row| !has(text(row, "PK"), &names) && !has(text(row, "SK"), &names))
            // A log lies under its run's id.
            .filter(|row| !text(row, "PK").contains("#LOG#"))
            .map(|row| text(row, "SK").to_owned())
            .collect();
        let names = [names.clone(), ids.clone()].concat();
        let rows: Vec<Row> = rows
            .into_iter()
            .filter(|row| has(&format!("{row:?}"), &names))
            .collect();
        anyhow::ensure!(!ids.is_empty() && rows.len() > ids.len(), "the bill left no rows");
        Ok(Sample { ids, rows })
    }

    /// The rows of another bill.
    fn of(&self, bill: usize) -> anyhow::Result<Vec<Row>> {
        let (own, others) = (names(SAMPLE, &self.ids)?, names(bill, &self.ids)?);
        let digits = [key(SAMPLE)?, key(bill)?].map(|key| key.get(..1).unwrap_or_default().to_owned());
        let renamed = |row: &Row| -> Row {
            let mut row: Row = row
                .iter()
                .map(|(name, value)| (name.clone(), renamed(value, &own, &others)))
                .collect();
            // The work index is sharded by the first digit of a key.
            if let Some(AttributeValue::S(shard)) = row.get_mut("workShard")
                && let Some(start) = shard.strip_suffix(&format!("#{}", digits[0]))
            {
                *shard = format!("{start}#{}", digits[1]);
            }
            row
        };
        Ok(self.rows.iter().map(renamed).collect())
    }

    /// Writes the rows of so many more bills.
    pub async fn write(&self, child: &Child, bills: std::ops::Range<usize>) -> anyhow::Result<()> {
        let client = Client::new(&functions::sdk(child.text("aws"), functions::REGION).await);
        let bar = dispatch::bar(bills.len(), "bills in the table");
        let bills: Vec<usize> = bills.collect();
        let writes = bills.chunks(CLONES_PER_WRITE).map(|bills| {
            let (client, bar) = (client.clone(), &bar);
            async move {
                let rows: anyhow::Result<Vec<Vec<Row>>> = bills.iter().map(|bill| self.of(*bill)).collect();
                backup::write(&client, &rows?.concat())
                    .await
                    .map_err(anyhow::Error::from_boxed)?;
                bar.inc(u64::try_from(bills.len())?);
                anyhow::Ok(())
            }
        });
        stream::iter(writes)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        bar.finish_and_clear();
        Ok(())
    }
}

/// What names a bill, in an order that is the same for all.
fn names(bill: usize, ids: &[String]) -> anyhow::Result<Vec<String>> {
    let mut names = vec![
        format!("bill-{bill}"),
        format!("account-{bill}"),
        dispatch::customer(bill),
        key(bill)?,
    ];
    for id in ids {
        let own = id.get(..OWN_CHARACTERS).context("an id of Outbill's")?;
        names.push(match bill {
            SAMPLE => id.clone(),
            bill => format!("{own}{bill:012x}"),
        });
    }
    Ok(names)
}

/// The usage key of a bill's first dimension.
fn key(bill: usize) -> anyhow::Result<String> {
    let key = UsageKey {
        region: functions::REGION.to_owned(),
        buyer: Buyer::Product {
            product_code: PRODUCT.to_owned(),
            customer: Customer::AwsAccountId(dispatch::customer(bill)),
        },
        dimension: dimension(0),
    };
    Ok(key.hash().as_str().to_owned())
}

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name)
        .and_then(|value| value.as_s().ok())
        .map_or("", String::as_str)
}

fn renamed(value: &AttributeValue, own: &[String], others: &[String]) -> AttributeValue {
    let rename = |text: &str| {
        own.iter()
            .zip(others)
            .fold(text.to_owned(), |text, (own, other)| text.replace(own, other))
    };
    match value {
        AttributeValue::S(text) => AttributeValue::S(rename(text)),
        AttributeValue::L(values) => {
            AttributeValue::L(values.iter().map(|value| renamed(value, own, others)).collect())
        }
        AttributeValue::M(fields) => {
            let fields = fields.iter();
            let fields: HashMap<String, AttributeValue> = fields
                .map(|(name, value)| (rename(name), renamed(value, own, others)))
                .collect();
            AttributeValue::M(fields)
        }
        other => other.clone(),
    }
}
