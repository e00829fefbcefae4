//! A bill's manifest: its newest version, who owns it, and every usage key that it ever touched.
//!
//! Invariant: a key once in `keys` stays there, at 0 units when the bill counts nothing on it any more. So a deletion, or a source that
//! vanished, always finds what has to be taken back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::amount::{AmountError, Units};
use super::bill::{BillReference, Head};
use super::ids::{AccountId, ConfigurationId};
use super::usage_key::{KeyHash, UsageKey};

/// What a bill counts on a key, by the split.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Source(String);

impl Source {
    /// The whole bill.
    pub fn bill() -> Source {
        Source("bill".to_owned())
    }
    /// One product.
    pub fn product(id: &str) -> Source {
        Source(format!("product:{id}"))
    }
    /// One aggregation, simple or compound.
    pub fn aggregation(id: &str) -> Source {
        Source(format!("aggregation:{id}"))
    }
    /// Lines that name neither the product nor the aggregation that the split needs.
    pub fn without_home() -> Source {
        Source("default".to_owned())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which of the three splits the sources of a manifest come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SplitKind {
    ItemPerBill,
    ItemPerProduct,
    ItemPerAggregation,
}

/// Where a source's money goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    pub key: KeyHash,
    pub unit_price: Decimal,
    /// Cumulative, rounded once. Negative where credits exceed charges, or where more was fixed elsewhere than the source owes now.
    pub units: Units,
    /// Money of this source that a cut-over left with other keys.
    #[serde(default)]
    pub deducted: Decimal,
}

/// Units that a cut-over fixed on a key: AWS holds them and takes nothing back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fixed {
    pub key: KeyHash,
    pub unit_price: Decimal,
    pub units: Units,
}

/// A key as the manifest names it: the usage key and the product that its dimension belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TouchedKey {
    pub key: UsageKey,
    pub product_code: String,
}

impl TouchedKey {
    /// `<productCode>-<dimension>`, as the usage report names it.
    pub fn dimension_name(&self) -> String {
        format!("{}-{}", self.product_code, self.key.dimension)
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub bill: BillReference,
    pub head: Head,
    /// A deleted bill: no update passes.
    pub deleted: bool,
    /// The one configuration that owns the bill; none for a deletion of a bill that was never metered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<ConfigurationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    pub split: SplitKind,
    pub sources: BTreeMap<Source, Placement>,
    #[serde(default)]
    pub fixed: Vec<Fixed>,
    pub keys: BTreeMap<KeyHash, TouchedKey>,
    /// Counts the writes: the guard on the head. 0 before the first.
    pub revision: i64,
    /// When the bill was first metered; the usage report lists by it.
    pub first_seen: Timestamp,
}

impl Manifest {
    /// The bill's units on every key it ever touched.
    pub fn units_by_key(&self) -> Result<BTreeMap<KeyHash, Units>, AmountError> {
        let mut units: BTreeMap<KeyHash, Units> = self.keys.keys().map(|key| (key.clone(), 0)).collect();
        let active = self.sources.values().map(|placement| (&placement.key, placement.units));
        let fixed = self.fixed.iter().map(|fixed| (&fixed.key, fixed.units));
        for (key, more) in active.chain(fixed) {
            let sum = units.entry(key.clone()).or_default();
            *sum = sum.checked_add(more).ok_or(AmountError::TooLarge)?;
        }
        Ok(units)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{decimal, key, manifest};
    use super::*;

    #[test]
    fn a_source_says_what_it_counts() {
        for (source, name) in [
            (Source::bill(), "bill"),
            (Source::product("p1"), "product:p1"),
            (Source::aggregation("a1"), "aggregation:a1"),
            (Source::without_home(), "default"),
        ] {
            assert_eq!(source.as_str(), name);
            assert_eq!(serde_json::to_string(&source).unwrap(), format!("{name:?}"));
        }
    }

    #[test]
    fn a_key_is_named_as_its_mapping_names_it() {
        let names: Vec<String> = manifest(&["users"])
            .keys
            .values()
            .map(TouchedKey::dimension_name)
            .collect();
        assert_eq!(names, ["prod-users"]);
    }

    #[test]
    fn every_key_ever_touched_has_its_units() {
        let check =
            |sources: &[(&str, &str, Units)], fixed: &[(&str, Units)], expect: Result<[Units; 2], AmountError>| {
                let mut manifest = manifest(&["users", "seats"]);
                for (source, dimension, units) in sources {
                    let placement = Placement {
                        key: key(dimension).hash(),
                        unit_price: decimal("0.01"),
                        units: *units,
                        deducted: Decimal::ZERO,
                    };
                    manifest.sources.insert(Source::product(source), placement);
                }
                manifest.fixed = fixed
                    .iter()
                    .map(|(dimension, units)| Fixed {
                        key: key(dimension).hash(),
                        unit_price: decimal("0.01"),
                        units: *units,
                    })
                    .collect();
                let of = |units: &BTreeMap<KeyHash, Units>, dimension: &str| units[&key(dimension).hash()];
                let found = manifest.units_by_key();
                assert_eq!(
                    found.map(|units| [of(&units, "users"), of(&units, "seats")]),
                    expect,
                    "{sources:?} {fixed:?}"
                );
            };
        check(&[], &[], Ok([0, 0]));
        check(&[("A", "users", 101)], &[], Ok([101, 0]));
        check(&[("A", "users", 101), ("B", "users", 103)], &[], Ok([204, 0]));
        check(&[("A", "users", 101), ("B", "seats", -7)], &[], Ok([101, -7]));
        check(&[("A", "users", 101)], &[("users", 13), ("seats", 17)], Ok([114, 17]));
        check(&[], &[("seats", 17), ("seats", 19)], Ok([0, 36]));
        check(
            &[("A", "users", Units::MAX)],
            &[("users", 1)],
            Err(AmountError::TooLarge),
        );
    }
}
