//! What the buyers owe, reckoned from the bills alone.
//!
//! An independent restatement of the billing rule: sum `convertedSubtotal` over the included lines
//! of each source, divide the cumulative sum by the unit price, round once with halves away from
//! zero. A key owes the sum of what its bills owe.
//!
//! AWS takes nothing back, so what ends up billed is not what is owed last but the highest total a
//! key ever owed: [`Reckoning::highest`].
//!
//! Invariants: money is a decimal read from JSON text; a missing amount is an error, never zero; a
//! failed [`Reckoning::bill`] changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What counts as one source of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Split {
    /// The whole bill.
    ItemPerBill,
    /// Each product.
    ItemPerProduct,
    /// Each aggregation, simple or compound.
    ItemPerAggregation,
}

/// The rules by which bills become units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// What counts as one source.
    pub split: Split,
    /// Line item types that do not count.
    #[serde(default)]
    pub excluded_line_item_types: BTreeSet<String>,
    /// The price of one unit. Default: 0.01, so that a unit is a cent.
    #[serde(default = "unit_price_default", with = "rust_decimal_text")]
    pub unit_price: Decimal,
    /// The dimension of the whole bill, for [`Split::ItemPerBill`].
    #[serde(default)]
    pub bill_dimension: Option<String>,
    /// The dimension of non-zero lines that name no source, for the other splits.
    #[serde(default)]
    pub default_dimension: Option<String>,
    /// Product or aggregation id to dimension.
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    /// m3ter account id to buyer.
    pub buyers: BTreeMap<String, String>,
}

fn unit_price_default() -> Decimal {
    Decimal::new(1, 2)
}

/// A buyer's dimension: what a total is owed for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The customer as the rules name it.
    pub buyer: String,
    /// The dimension as the rules name it.
    pub dimension: String,
}

/// Why a bill cannot be reckoned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReckoningError {
    /// The bill has no such field, or it has another type.
    #[error("the bill's {0} is missing or not what it should be")]
    Field(&'static str),
    /// The rules name no buyer for the account.
    #[error("no buyer is given for account {0}")]
    Buyer(String),
    /// The rules name no dimension for the source.
    #[error("no dimension is given for {0}")]
    Dimension(String),
    /// A total left the range of whole numbers.
    #[error("a total is out of range")]
    Range,
}

/// The bills so far and what they owe.
#[derive(Debug, Clone)]
pub struct Reckoning {
    rules: Rules,
    owed_by_bill: BTreeMap<String, BTreeMap<Key, i64>>,
    highest: BTreeMap<Key, i64>,
}

impl Reckoning {
    /// No bills yet.
    pub fn new(rules: Rules) -> Reckoning {
        Reckoning {
            rules,
            owed_by_bill: BTreeMap::new(),
            highest: BTreeMap::new(),
        }
    }

    /// A bill was made or made anew: it owes what this version says and no longer what an earlier
    /// one said. The caller gives the versions in the order in which they count.
    pub fn bill(&mut self, bill: &Value) -> Result<(), ReckoningError> {
        let id = text(bill, "id").ok_or(ReckoningError::Field("id"))?;
        let owed = owed_by(bill, &self.rules)?;
        self.owed_by_bill.insert(id.to_owned(), owed);
        self.raise_highest();
        Ok(())
    }

    /// A bill was deleted: it owes nothing.
    pub fn delete(&mut self, bill_id: &str) {
        self.owed_by_bill.remove(bill_id);
        self.raise_highest();
    }

    /// What all bills owe now, per key.
    pub fn owed(&self) -> BTreeMap<Key, i64> {
        let mut totals = BTreeMap::new();
        for (key, units) in self.owed_by_bill.values().flatten() {
            *totals.entry(key.clone()).or_insert(0) += units;
        }
        totals
    }

    /// The highest total each key ever owed: what AWS has billed in the end.
    pub fn highest(&self) -> &BTreeMap<Key, i64> {
        &self.highest
    }

    fn raise_highest(&mut self) {
        for (key, total) in self.owed() {
            let highest = self.highest.entry(key).or_insert(0);
            *highest = total.max(*highest);
        }
    }
}

/// The units one version of one bill owes, per key.
pub fn owed_by(bill: &Value, rules: &Rules) -> Result<BTreeMap<Key, i64>, ReckoningError> {
    let account = text(bill, "accountId").ok_or(ReckoningError::Field("accountId"))?;
    let lines = match bill.get("lineItems") {
        Some(Value::Array(lines)) => lines,
        Some(_) | None => return Err(ReckoningError::Field("lineItems")),
    };
    // Money per source first: it is rounded once, on the source's whole sum.
    let mut money: BTreeMap<Source, Decimal> = BTreeMap::new();
    for line in lines {
        let line_type = text(line, "lineItemType").ok_or(ReckoningError::Field("lineItemType"))?;
        if rules.excluded_line_item_types.contains(line_type) {
            continue;
        }
        let amount = amount(line).ok_or(ReckoningError::Field("convertedSubtotal"))?;
        let source = source_of(line, rules.split);
        if source == Source::Unnamed && amount.is_zero() {
            continue;
        }
        *money.entry(source).or_default() += amount;
    }
    let mut owed = BTreeMap::new();
    for (source, sum) in money {
        let dimension = dimension_of(&source, rules)?;
        let buyer = rules
            .buyers
            .get(account)
            .ok_or_else(|| ReckoningError::Buyer(account.to_owned()))?;
        let key = Key {
            buyer: buyer.clone(),
            dimension,
        };
        *owed.entry(key).or_insert(0) += units(sum, rules.unit_price)?;
    }
    Ok(owed)
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Bill,
    Named(String),
    Unnamed,
}

fn source_of(line: &Value, split: Split) -> Source {
    let named = match split {
        Split::ItemPerBill => return Source::Bill,
        Split::ItemPerProduct => text(line, "productId"),
        Split::ItemPerAggregation => text(line, "compoundAggregationId").or_else(|| text(line, "aggregationId")),
    };
    named.map_or(Source::Unnamed, |name| Source::Named(name.to_owned()))
}

fn dimension_of(source: &Source, rules: &Rules) -> Result<String, ReckoningError> {
    let (dimension, description) = match source {
        Source::Bill => (rules.bill_dimension.as_ref(), "the bill"),
        Source::Named(name) => (rules.dimensions.get(name), name.as_str()),
        Source::Unnamed => (rules.default_dimension.as_ref(), "lines without a source"),
    };
    dimension
        .cloned()
        .ok_or_else(|| ReckoningError::Dimension(description.to_owned()))
}

fn units(sum: Decimal, unit_price: Decimal) -> Result<i64, ReckoningError> {
    sum.checked_div(unit_price)
        .map(|units| units.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero))
        .and_then(|units| units.to_i64())
        .ok_or(ReckoningError::Range)
}

fn amount(line: &Value) -> Option<Decimal> {
    let text = match line.get("convertedSubtotal")? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    text.parse().or_else(|_| Decimal::from_scientific(&text)).ok()
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str().filter(|text| !text.is_empty())
}

mod rust_decimal_text {
    use rust_decimal::Decimal;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(price: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(price)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
