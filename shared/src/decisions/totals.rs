//! A bill's money by source: what is excluded is dropped, the rest is added up as decimals and never rounded here.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::validation::{Culprit, EntityReference};
use crate::values::amount;
use crate::values::bill::{Aggregation, Bill, LineItem};
use crate::values::dimension::MarketplaceDimension;
use crate::values::manifest::Source;
use crate::values::mapping::{AGGREGATION, COMPOUND_AGGREGATION, PRODUCT};
use crate::values::marketplace_configuration::{MarketplaceConfiguration, Split};

/// Where a source's dimension is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// In the configuration.
    Dimension(MarketplaceDimension),
    /// In the external mapping of a product or an aggregation.
    Mapped(EntityReference),
}

/// The money of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceTotal {
    pub money: Decimal,
    pub place: Place,
    /// The lines that add up to it: places in the bill's `lineItems`, from 0.
    pub lines: Vec<usize>,
}

/// A bill, added up as far as it can be.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    pub by_source: BTreeMap<Source, SourceTotal>,
    /// What is wrong. With any of these nothing of the bill is sent; the sources tell whether their mappings are there as well, so that
    /// everything is named at once.
    pub culprits: Vec<Culprit>,
}

/// Adds up a bill by the configuration's split. Culprits: another currency than the listing's; a line without what the split needs and no
/// default dimension; a sum that no decimal holds.
pub fn totals(bill: &Bill, marketplace: &MarketplaceConfiguration) -> Totals {
    let mut culprits = Vec::new();
    if bill.currency != marketplace.currency {
        culprits.push(Culprit::Currency {
            bill: bill.currency.clone(),
            listing: marketplace.currency.clone(),
        });
    }
    let mut amounts: BTreeMap<Source, (Place, Vec<(usize, Decimal)>)> = BTreeMap::new();
    let mut homeless: Vec<(usize, Decimal)> = Vec::new();
    let counted = |(_, line): &(usize, &LineItem)| {
        !marketplace.excluded_line_item_types.contains(&line.kind) && !line.amount.is_zero()
    };
    for (index, line) in bill.line_items.iter().enumerate().filter(counted) {
        let placed = place(line, &marketplace.split).or_else(|| {
            marketplace
                .default_dimension
                .clone()
                .map(|dimension| (Source::without_home(), Place::Dimension(dimension)))
        });
        match placed {
            Some((source, place)) => amounts
                .entry(source)
                .or_insert((place, Vec::new()))
                .1
                .push((index, line.amount)),
            None => homeless.push((index, line.amount)),
        }
    }
    if !homeless.is_empty() {
        let money = amount::sum(homeless.iter().map(|(_, money)| *money)).unwrap_or(Decimal::MAX);
        let (needed, split) = needed(&marketplace.split);
        culprits.push(Culprit::NoDefaultDimension {
            lines: homeless.into_iter().map(|(index, _)| index).collect(),
            money,
            needed,
            split,
        });
    }
    let mut totals = BTreeMap::new();
    for (source, (place, lines)) in amounts {
        match amount::sum(lines.iter().map(|(_, amount)| *amount)) {
            Ok(money) => {
                let lines = lines.into_iter().map(|(index, _)| index).collect();
                totals.insert(source, SourceTotal { money, place, lines });
            }
            Err(error) => culprits.push(Culprit::Amount {
                source_of_units: source.as_str().to_owned(),
                error,
            }),
        }
    }
    Totals {
        by_source: totals,
        culprits,
    }
}

fn place(line: &LineItem, split: &Split) -> Option<(Source, Place)> {
    match split {
        Split::PerBill(dimension) => Some((Source::bill(), Place::Dimension(dimension.clone()))),
        Split::PerProduct => line.product.as_ref().map(|id| {
            (
                Source::product(id),
                Place::Mapped(EntityReference {
                    entity: PRODUCT,
                    id: id.clone(),
                }),
            )
        }),
        Split::PerAggregation => line.aggregation.as_ref().map(|aggregation| {
            let (entity, id) = match aggregation {
                Aggregation::Simple(id) => (AGGREGATION, id),
                Aggregation::Compound(id) => (COMPOUND_AGGREGATION, id),
            };
            (
                Source::aggregation(id),
                Place::Mapped(EntityReference { entity, id: id.clone() }),
            )
        }),
    }
}

/// The field of a line that a split needs, and the split's name.
fn needed(split: &Split) -> (&'static str, &'static str) {
    match split {
        Split::PerBill(_) => ("bill", "ITEM_PER_BILL"),
        Split::PerProduct => ("productId", "ITEM_PER_PRODUCT"),
        Split::PerAggregation => ("aggregationId or compoundAggregationId", "ITEM_PER_AGGREGATION"),
    }
}

#[cfg(test)]
#[path = "totals_tests.rs"]
mod tests;
