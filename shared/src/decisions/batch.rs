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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::amount::Units;
    use crate::values::entry::EntryState;
    use crate::values::samples::{BUYER, connection, entry};
    use crate::values::usage_key::Customer;

    const CODE: ProductName = ProductName::Code;
    const LICENSE: ProductName = ProductName::License;

    fn buyer(name: ProductName) -> Buyer {
        match name {
            ProductName::Code => Buyer::Product {
                product_code: "prod".to_owned(),
                customer: Customer::AwsAccountId(BUYER.to_owned()),
            },
            ProductName::License => Buyer::License {
                license_arn: "arn:aws:license-manager::294406891311:license:l-1".to_owned(),
                customer_aws_account_id: BUYER.to_owned(),
            },
        }
    }

    #[test]
    fn a_licence_names_the_product_by_itself() {
        assert_eq!(product_name(&buyer(CODE)), CODE);
        assert_eq!(product_name(&buyer(LICENSE)), LICENSE);
    }

    #[test]
    fn a_call_has_one_connection_one_product_name_and_at_most_25_records() {
        /// A connection, a product name, and the quantities under them.
        type Call = (&'static str, ProductName, Vec<Units>);
        let check = |given: &[Call], expect: &[Call]| {
            let entries = given.iter().flat_map(|(credential, name, quantities)| {
                quantities.iter().map(|quantity| {
                    let mut entry = entry("2025-06-10T10", EntryState::Pending, &[("A", *quantity)]);
                    entry.origin.connection = connection(credential);
                    entry.key.buyer = buyer(*name);
                    entry
                })
            });
            let found: Vec<(Connection, ProductName, Vec<Units>)> = calls(entries.collect(), |entry: &Entry| entry)
                .into_iter()
                .map(|(connection, name, call)| (connection, name, call.iter().map(|entry| entry.quantity).collect()))
                .collect();
            let expect: Vec<(Connection, ProductName, Vec<Units>)> = expect
                .iter()
                .map(|(credential, name, quantities)| (connection(credential), *name, quantities.clone()))
                .collect();
            assert_eq!(found, expect, "{given:?}");
        };
        let records = |quantities: std::ops::RangeInclusive<Units>| quantities.collect::<Vec<Units>>();
        check(&[], &[]);
        check(&[("k", CODE, records(1..=1))], &[("k", CODE, records(1..=1))]);
        check(&[("k", CODE, records(1..=25))], &[("k", CODE, records(1..=25))]);
        check(
            &[("k", CODE, records(1..=26))],
            &[("k", CODE, records(1..=25)), ("k", CODE, records(26..=26))],
        );
        check(
            &[("k", CODE, records(1..=51))],
            &[
                ("k", CODE, records(1..=25)),
                ("k", CODE, records(26..=50)),
                ("k", CODE, records(51..=51)),
            ],
        );
        check(
            &[
                ("l", LICENSE, vec![2]),
                ("k", LICENSE, vec![3]),
                ("k", CODE, vec![5]),
                ("l", LICENSE, vec![7]),
                ("k", CODE, vec![11]),
            ],
            &[
                ("k", CODE, vec![5, 11]),
                ("k", LICENSE, vec![3]),
                ("l", LICENSE, vec![2, 7]),
            ],
        );
    }
}
