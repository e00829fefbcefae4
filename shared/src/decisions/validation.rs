//! What is wrong with a bill as a configuration would send it: every culprit at once, each with the way out.

use std::fmt;

use rust_decimal::Decimal;

use crate::values::amount::{AmountError, Units};
use crate::values::bill::BillError;
use crate::values::ids::{AccountId, ConfigurationId, OrganizationId};
use crate::values::manifest::Source;
use crate::values::mapping::{ACCOUNT, AWS_ENTITIES};
use crate::values::usage_key::UsageKey;

/// Culprits named in one message; the rest are counted.
const CULPRITS_SHOWN_MAX: usize = 20;

/// A m3ter entity that an external mapping is looked up for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityReference {
    /// `Account`, `Product`, `Aggregation` or `CompoundAggregation`.
    pub entity: &'static str,
    pub id: String,
}

impl EntityReference {
    pub fn account(id: &AccountId) -> EntityReference {
        EntityReference {
            entity: ACCOUNT,
            id: id.as_str().to_owned(),
        }
    }

    /// By the names that a mapping has, in their one spelling. None: nothing that is sent to AWS is looked up by such an entity.
    pub fn of_mapping(entity: &str, id: &str) -> Option<EntityReference> {
        let entity = AWS_ENTITIES.iter().find(|known| **known == entity)?;
        Some(EntityReference {
            entity,
            id: id.to_owned(),
        })
    }
}

impl fmt::Display for EntityReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.entity, self.id)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Culprit {
    #[error("{0} has no external mapping to AWS; create one and the bill is sent again by itself")]
    MissingMapping(EntityReference),
    #[error(
        "the external mapping of {entity} is {external_id:?}: {reason}; correct the mapping and the bill is sent again by itself"
    )]
    BadMapping {
        entity: EntityReference,
        external_id: String,
        reason: String,
    },
    #[error("{0}; correct it in m3ter, and its next version is sent by itself")]
    Unreadable(BillError),
    #[error(
        "currency: the bill is in {bill}, but the listing is in {listing}; bill the account in {listing}, or set marketplaceCurrency to the listing's currency"
    )]
    Currency { bill: String, listing: String },
    #[error("{lines}, which {split} needs; set marketplaceDefaultDimension to say where such lines go", lines = lines_text(lines, *money, needed))]
    NoDefaultDimension {
        /// Places in the bill's `lineItems`, from 0.
        lines: Vec<usize>,
        money: Decimal,
        /// The field that they lack.
        needed: &'static str,
        /// The setting that needs it.
        split: &'static str,
    },
    #[error("{source_of_units}: {error}")]
    Amount {
        source_of_units: String,
        error: AmountError,
    },
    #[error("the configuration cannot be used: {0}")]
    Configuration(String),
    #[error("accountFilter needs account {account}, which could not be had: {reason}")]
    Account { account: AccountId, reason: String },
    #[error(
        "the bill belongs to configuration {owner}; two configurations of one destination would charge it twice. Take the account out of one of them, and the bill is sent by itself"
    )]
    OwnedByConfiguration { owner: ConfigurationId },
    #[error("products {} would both be metered on dimension {dimension} under the account's one licence, which is of one product; correct the product's mapping, or give each product an account of its own with its own licence", products.join(" and "))]
    SharedLicense {
        dimension: String,
        products: Box<[String; 2]>,
        sources: Box<[Source; 2]>,
        account: EntityReference,
    },
    #[error("dimension {dimension} of buyer {buyer} is metered by organization {owner}; two organizations on one buyer and dimension cannot be told apart at AWS",
        dimension = key.dimension, buyer = key.buyer.customer())]
    OwnedByOrganization { key: Box<UsageKey>, owner: OrganizationId },
    #[error(
        "{source} has {units} units at AWS under dimension {from}, which AWS does not take back, and would now go to {to}; restore the mapping, the split or the unit price, or replay the run with remap to cut over",
        source = source_of_units.as_str()
    )]
    Held {
        source_of_units: Source,
        units: Units,
        from: String,
        to: String,
    },
}

/// Lines that are named one by one; the rest are counted.
const LINES_SHOWN_MAX: usize = 5;

fn lines_text(lines: &[usize], money: Decimal, needed: &str) -> String {
    let shown: Vec<String> = lines
        .iter()
        .take(LINES_SHOWN_MAX)
        .map(|index| format!("lineItems[{index}]"))
        .collect();
    let shown = shown.join(", ");
    match (lines.len(), lines.len().saturating_sub(LINES_SHOWN_MAX)) {
        (1, _) => format!("{shown} of {money} has no {needed}"),
        (_, 0) => format!("{shown} of {money} together have no {needed}"),
        (_, more) => format!("{shown} and {more} more of {money} together have no {needed}"),
    }
}

/// Everything that is wrong with one bill for one configuration. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    culprits: Vec<Culprit>,
}

impl Invalid {
    /// `None` if nothing is wrong.
    pub fn of(culprits: Vec<Culprit>) -> Option<Invalid> {
        if culprits.is_empty() {
            None
        } else {
            Some(Invalid { culprits })
        }
    }

    pub fn one(culprit: Culprit) -> Invalid {
        Invalid {
            culprits: vec![culprit],
        }
    }

    pub fn culprits(&self) -> &[Culprit] {
        &self.culprits
    }

    /// The entities whose mapping, once made or mended, lets the bill pass.
    pub fn waits_for(&self) -> impl Iterator<Item = &EntityReference> {
        self.culprits.iter().filter_map(|culprit| match culprit {
            Culprit::MissingMapping(entity)
            | Culprit::BadMapping { entity, .. }
            | Culprit::SharedLicense { account: entity, .. } => Some(entity),
            Culprit::Unreadable(_)
            | Culprit::Currency { .. }
            | Culprit::NoDefaultDimension { .. }
            | Culprit::Amount { .. }
            | Culprit::Configuration(_)
            | Culprit::Account { .. }
            | Culprit::OwnedByConfiguration { .. }
            | Culprit::OwnedByOrganization { .. }
            | Culprit::Held { .. } => None,
        })
    }

    /// The sources that cannot go where their mapping says: AWS holds units of them under another key, or the licence there is of one product.
    pub fn held(&self) -> impl Iterator<Item = &Source> {
        self.culprits.iter().flat_map(|culprit| match culprit {
            Culprit::Held { source_of_units, .. } => std::slice::from_ref(source_of_units),
            Culprit::SharedLicense { sources, .. } => sources.as_slice(),
            _ => &[],
        })
    }

    /// The configurations that own the bill.
    pub fn owners(&self) -> impl Iterator<Item = &ConfigurationId> {
        self.culprits.iter().filter_map(|culprit| match culprit {
            Culprit::OwnedByConfiguration { owner } => Some(owner),
            _ => None,
        })
    }

    /// The culprits without amounts: the same as long as the same is wrong.
    pub fn cause(&self) -> String {
        let cause = |culprit: &Culprit| match culprit {
            Culprit::NoDefaultDimension { needed, .. } => format!("no {needed} and no default dimension"),
            Culprit::Held {
                source_of_units, to, ..
            } => format!("{} is held from {to}", source_of_units.as_str()),
            Culprit::Amount { source_of_units, .. } => format!("the amount of {source_of_units}"),
            other => other.to_string(),
        };
        self.culprits.iter().map(cause).collect::<Vec<_>>().join("; ")
    }

    /// Whether the bill itself cannot be read: then no mapping and no configuration makes it pass, only its next version.
    pub fn is_unreadable(&self) -> bool {
        self.culprits
            .iter()
            .any(|culprit| matches!(culprit, Culprit::Unreadable(_)))
    }

    /// Whether the buyer itself is unknown: m3ter has an event of its own for it.
    pub fn lacks_account_mapping(&self) -> bool {
        self.culprits
            .iter()
            .any(|culprit| matches!(culprit, Culprit::MissingMapping(entity) if entity.entity == ACCOUNT))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, culprit) in self.culprits.iter().take(CULPRITS_SHOWN_MAX).enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{culprit}")?;
        }
        match self.culprits.len().saturating_sub(CULPRITS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more of the same kind"),
        }
    }
}

#[cfg(test)]
#[path = "validation_tests.rs"]
mod tests;
