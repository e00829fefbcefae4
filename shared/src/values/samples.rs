//! Small valid values for this crate's tests, each named by what tells it apart from its like.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::amount::{self, Units};
use super::bill::{Bill, BillReference, BillStatus, Head, LineItem};
use super::configuration::{Audit, BILL, DestinationKind, IntegrationConfiguration};
use super::entry::{Attempt, Connection, Entry, EntryState, Origin, Part};
use super::ids::{AccountId, BillId, ConfigurationId, CredentialId, OrganizationId, RunId};
use super::line_item_type::LineItemType;
use super::manifest::{Manifest, SplitKind, TouchedKey};
use super::marketplace_configuration::MarketplaceConfiguration;
use super::usage_key::{Buyer, Customer, UsageKey};

pub(crate) const BUYER: &str = "111122223333";

pub(crate) fn organization() -> OrganizationId {
    OrganizationId::new("org").unwrap()
}

pub(crate) fn configuration() -> ConfigurationId {
    ConfigurationId::new("configuration").unwrap()
}

pub(crate) fn account() -> AccountId {
    AccountId::new("account").unwrap()
}

pub(crate) fn reference(bill: &str) -> BillReference {
    BillReference {
        organization: organization(),
        bill: BillId::new(bill).unwrap(),
    }
}

/// The buyer of product `prod` on one of its dimensions.
pub(crate) fn key(dimension: &str) -> UsageKey {
    UsageKey {
        region: "us-east-1".to_owned(),
        buyer: Buyer::Product {
            product_code: "prod".to_owned(),
            customer: Customer::AwsAccountId(BUYER.to_owned()),
        },
        dimension: dimension.to_owned(),
    }
}

pub(crate) fn connection(credential: &str) -> Connection {
    Connection {
        organization: organization(),
        credential: CredentialId::new(credential).unwrap(),
        region: "us-east-1".to_owned(),
        product_code: "prod".to_owned(),
    }
}

pub(crate) fn origin() -> Origin {
    Origin {
        configuration: configuration(),
        run: RunId::new("run").unwrap(),
        bill: reference("A"),
        connection: connection("credential"),
    }
}

/// An entry of dimension `users` whose quantity is the sum of its parts.
pub(crate) fn entry(hour: &str, state: EntryState, parts: &[(&str, Units)]) -> Entry {
    let part = |units: Units| Part { units, ends_at: None };
    Entry {
        key: key("users"),
        hour: hour.parse().unwrap(),
        quantity: parts.iter().map(|(_, units)| units).sum(),
        state,
        parts: parts
            .iter()
            .map(|(bill, units)| (reference(bill), part(*units)))
            .collect(),
        attempts_started: 1,
        attempts_answered: 0,
        attempt: Attempt::Ordinary,
        origin: origin(),
        claimed_at: Timestamp::UNIX_EPOCH,
        metering_record_id: None,
        observed: None,
        reason: None,
        resolution: None,
        attempted_at: None,
        seen_event: None,
        unseen_since: None,
    }
}

pub(crate) fn decimal(text: &str) -> Decimal {
    amount::decimal(text).unwrap()
}

pub(crate) fn usage_line(money: &str) -> LineItem {
    LineItem {
        id: None,
        kind: LineItemType::Usage,
        product: None,
        aggregation: None,
        amount: decimal(money),
    }
}

/// A pending bill `A` in dollars.
pub(crate) fn bill(line_items: Vec<LineItem>) -> Bill {
    Bill {
        reference: reference("A"),
        account: account(),
        head: Head::Version(1),
        status: BillStatus::Pending,
        currency: "USD".to_owned(),
        start_date: None,
        ends_at: None,
        line_items,
    }
}

/// The manifest of bill `A` on dimensions of product `prod`; nothing counts on them yet.
pub(crate) fn manifest(dimensions: &[&str]) -> Manifest {
    let touched = |dimension: &&str| {
        let key = key(dimension);
        let product_code = "prod".to_owned();
        (key.hash(), TouchedKey { key, product_code })
    };
    Manifest {
        bill: reference("A"),
        head: Head::Version(1),
        deleted: false,
        owner: Some(configuration()),
        account: Some(account()),
        start_date: None,
        ends_at: None,
        split: SplitKind::ItemPerProduct,
        sources: BTreeMap::new(),
        fixed: Vec::new(),
        keys: dimensions.iter().map(touched).collect(),
        revision: 1,
        first_seen: Timestamp::UNIX_EPOCH,
    }
}

/// A configuration with these settings; one bill per product and one cent a unit unless they say otherwise.
/// A configuration without settings.
pub(crate) fn integration(enabled: bool, credential: Option<&str>) -> IntegrationConfiguration {
    IntegrationConfiguration {
        id: configuration(),
        organization: organization(),
        version: 1,
        name: None,
        entity_type: BILL.to_owned(),
        entity_id: None,
        destination: DestinationKind::Aws,
        destination_id: None,
        config_data: Map::new(),
        credential: credential.map(|id| CredentialId::new(id).unwrap()),
        enabled,
        audit: Audit::new(Timestamp::UNIX_EPOCH, "key"),
        failures: BTreeSet::new(),
    }
}

pub(crate) fn marketplace(settings: &[(&str, Value)]) -> MarketplaceConfiguration {
    let mut given = Map::new();
    given.insert("splitUsageLineItems".to_owned(), "ITEM_PER_PRODUCT".into());
    for (key, value) in settings {
        given.insert((*key).to_owned(), value.clone());
    }
    MarketplaceConfiguration::parse(&given).unwrap()
}
