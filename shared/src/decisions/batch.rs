//! Which entries travel in one BatchMeterUsage call.

use std::collections::BTreeMap;

use crate::values::entry::{Connection, Entry};
use crate::values::usage_key::Buyer;

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# BatchMeterUsage can process up to 25 UsageRecords at a time
/// The most usage records of one call. With every field at its longest they stay far below the 1 MB that a request may have.
pub const USAGE_RECORDS_PER_CALL_MAX: usize = 25;

/// How the calls of a product name it. The two never share a call, because a product code beside a licence bills twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProductName {
    /// `ProductCode` of the request.
    Code,
    /// `LicenseArn` of each record; no product code is sent.
    License,
}

/// How a buyer's calls name the product.
pub fn product_name(buyer: &Buyer) -> ProductName {
    match buyer {
        Buyer::License { .. } => ProductName::License,
        Buyer::Product { .. } => ProductName::Code,
    }
}

/// Groups by connection and product name, then cuts into calls.
pub fn calls<T>(items: Vec<T>, entry: impl Fn(&T) -> &Entry) -> Vec<(Connection, ProductName, Vec<T>)> {
    let mut groups: BTreeMap<(Connection, ProductName), Vec<T>> = BTreeMap::new();
    for item in items {
        let group = (
            entry(&item).origin.connection.clone(),
            product_name(&entry(&item).key.buyer),
        );
        groups.entry(group).or_default().push(item);
    }
    let mut calls = Vec::new();
    for ((connection, name), items) in groups {
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let call = items.by_ref().take(USAGE_RECORDS_PER_CALL_MAX).collect();
            calls.push((connection.clone(), name, call));
        }
    }
    calls
}
