//! Which usage key each source's money goes to: the buyer and the dimensions, from the external mappings.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::totals::{Place, SourceTotal, Totals};
use super::validation::{Culprit, EntityReference, Invalid};
use crate::values::dimension::MarketplaceDimension;
use crate::values::ids::{AccountId, ConfigurationId};
use crate::values::manifest::Source;
use crate::values::mapping::{AGGREGATION, AWS, COMPOUND_AGGREGATION, CUSTOMER, ExternalMapping, LICENSE, PRODUCT};
use crate::values::marketplace_configuration::{MappingScope, MarketplaceConfiguration};
use crate::values::usage_key::{Buyer, Customer, UsageKey, is_aws_account_id};

/// Where one source goes, and with how much money.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub key: UsageKey,
    pub product_code: String,
    pub money: Decimal,
}

/// The mappings that a bill needs, by entity.
pub type Mappings = BTreeMap<EntityReference, Vec<ExternalMapping>>;

/// The entities whose mappings [`targets`] wants.
pub fn needed(account: &AccountId, totals: &BTreeMap<Source, SourceTotal>) -> Vec<EntityReference> {
    let mapped = totals.values().filter_map(|total| match &total.place {
        Place::Mapped(entity) => Some(entity.clone()),
        Place::Dimension(_) => None,
    });
    std::iter::once(EntityReference::account(account))
        .chain(mapped)
        .collect()
}

/// The entities whose mapping a source may have come from. An aggregation's source does not say which of the two kinds it is.
pub fn entities(source: &Source) -> Vec<EntityReference> {
    let named = |entity: &'static str, id: &str| EntityReference {
        entity,
        id: id.to_owned(),
    };
    match source.as_str().split_once(':') {
        Some(("product", id)) => vec![named(PRODUCT, id)],
        Some(("aggregation", id)) => vec![named(AGGREGATION, id), named(COMPOUND_AGGREGATION, id)],
        Some(_) | None => Vec::new(),
    }
}

/// Finds buyer and dimension of every source. Errors: what is wrong with the totals, and every mapping that is missing or unreadable.
pub fn targets(
    account: &AccountId,
    totals: &Totals,
    mappings: &Mappings,
    configuration: &ConfigurationId,
    marketplace: &MarketplaceConfiguration,
) -> Result<BTreeMap<Source, Target>, Invalid> {
    let lookup = Lookup {
        mappings,
        configuration,
        scope: marketplace.mappings,
    };
    let mut culprits = totals.culprits.clone();
    let buyer = lookup.buyer(account).map_err(|culprit| culprits.push(culprit)).ok();
    let mut targets = BTreeMap::new();
    for (source, total) in &totals.by_source {
        let dimension = match &total.place {
            Place::Dimension(dimension) => Ok(dimension.clone()),
            Place::Mapped(entity) => lookup.dimension(entity),
        };
        match (dimension, &buyer) {
            (Ok(dimension), Some(buyer)) => {
                let buyer = buyer.of_product(&dimension);
                let key = UsageKey {
                    region: marketplace.metering_region.clone(),
                    buyer,
                    dimension: dimension.key().to_owned(),
                };
                targets.insert(
                    source.clone(),
                    Target {
                        key,
                        product_code: dimension.product_code().to_owned(),
                        money: total.money,
                    },
                );
            }
            (Ok(_), None) => {}
            (Err(culprit), _) => culprits.push(culprit),
        }
    }
    culprits.extend(shared_license(account, &targets));
    match Invalid::of(culprits) {
        None => Ok(targets),
        Some(invalid) => Err(invalid),
    }
}

/// Two products that are metered on one dimension under one licence: it is of one of them, and the other's money would go there as well.
fn shared_license(account: &AccountId, targets: &BTreeMap<Source, Target>) -> Option<Culprit> {
    let mut firsts: BTreeMap<&UsageKey, (&Source, &Target)> = BTreeMap::new();
    let mut with_money = targets.iter().filter(|(_, target)| !target.money.is_zero());
    with_money.find_map(|(source, target)| {
        let (first_source, first) = *firsts.entry(&target.key).or_insert((source, target));
        (first.product_code != target.product_code).then(|| Culprit::SharedLicense {
            dimension: target.key.dimension.clone(),
            products: Box::new([first.product_code.clone(), target.product_code.clone()]),
            sources: Box::new([first_source.clone(), source.clone()]),
            account: EntityReference::account(account),
        })
    })
}

/// A buyer before the product is known.
enum BuyerMapping {
    License { license_arn: String, account_id: String },
    Customer(Customer),
}

impl BuyerMapping {
    fn of_product(&self, dimension: &MarketplaceDimension) -> Buyer {
        match self {
            BuyerMapping::License {
                license_arn,
                account_id,
            } => Buyer::License {
                license_arn: license_arn.clone(),
                customer_aws_account_id: account_id.clone(),
            },
            BuyerMapping::Customer(customer) => Buyer::Product {
                product_code: dimension.product_code().to_owned(),
                customer: customer.clone(),
            },
        }
    }
}

struct Lookup<'a> {
    mappings: &'a Mappings,
    configuration: &'a ConfigurationId,
    scope: MappingScope,
}

impl Lookup<'_> {
    /// A mapping linked to this configuration wins over an unlinked one; one linked to another configuration is never used.
    fn usable(&self, entity: &EntityReference, admits: impl Fn(&ExternalMapping) -> bool) -> Vec<&ExternalMapping> {
        let candidates = || {
            let all = self.mappings.get(entity).into_iter().flatten();
            all.filter(|mapping| mapping.external_system.eq_ignore_ascii_case(AWS))
                .filter(|mapping| admits(mapping))
        };
        let linked: Vec<_> = candidates()
            .filter(|mapping| mapping.configuration.as_ref() == Some(self.configuration))
            .collect();
        match self.scope {
            MappingScope::LinkedFirst if linked.is_empty() => {
                candidates().filter(|mapping| mapping.configuration.is_none()).collect()
            }
            MappingScope::LinkedFirst | MappingScope::LinkedOnly => linked,
        }
    }

    fn in_table(&self, entity: &EntityReference, table: &str) -> Option<&str> {
        let found = self.usable(entity, |mapping| mapping.external_table.eq_ignore_ascii_case(table));
        found.first().map(|mapping| mapping.external_id.as_str())
    }

    fn buyer(&self, account: &AccountId) -> Result<BuyerMapping, Culprit> {
        let entity = EntityReference::account(account);
        let customer = self.in_table(&entity, CUSTOMER);
        match (self.in_table(&entity, LICENSE), customer) {
            (Some(license_arn), Some(account_id)) if is_aws_account_id(account_id) => Ok(BuyerMapping::License {
                license_arn: license_arn.to_owned(),
                account_id: account_id.to_owned(),
            }),
            (Some(license_arn), other) => Err(Culprit::BadMapping {
                entity,
                external_id: license_arn.to_owned(),
                reason: match other {
                    Some(customer) => format!(
                        "a licence needs the buyer's 12-digit AWS account id in table Customer, which holds {customer:?}"
                    ),
                    None => {
                        "a licence needs the buyer's 12-digit AWS account id in table Customer, which holds nothing"
                            .to_owned()
                    }
                },
            }),
            (None, Some(customer)) => Ok(BuyerMapping::Customer(Customer::from_external_id(customer))),
            (None, None) => Err(Culprit::MissingMapping(entity)),
        }
    }

    fn dimension(&self, entity: &EntityReference) -> Result<MarketplaceDimension, Culprit> {
        let found = self.usable(entity, |_| true);
        let Some(first) = found.first() else {
            return Err(Culprit::MissingMapping(entity.clone()));
        };
        let bad = |reason: String| Culprit::BadMapping {
            entity: entity.clone(),
            external_id: first.external_id.clone(),
            reason,
        };
        if let Some(other) = found.iter().find(|mapping| mapping.external_id != first.external_id) {
            return Err(bad(format!(
                "another mapping of it names {:?}; only one dimension can take its money",
                other.external_id
            )));
        }
        first
            .external_id
            .parse::<MarketplaceDimension>()
            .map_err(|error| bad(error.to_string()))
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
