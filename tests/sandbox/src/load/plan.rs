//! What is sent, and what must be billed for it.

use fastrand::Rng;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::LoadOptions;
use crate::holdings::AccessKey;

const PRODUCT_CODE: &str = "3mgmp9q6okn47u0rgmzzjdi9k";
/// Bills of one buyer.
const BILLS_PER_BUYER: u32 = 2;
/// Every so manieth buyer's bills are recalculated.
const RECALCULATED_OF: u32 = 10;
/// Cents by which each further version of a bill grows.
const GROWTH_CENTS: i64 = 1_009;
/// Every so manieth message comes twice.
const REPEATED_OF: u32 = 20;

/// The work, said by numbers: bill `b` belongs to buyer `b / 2`.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) bills: u32,
    pub(super) buyers: u32,
    pub(super) dimensions: u16,
    pub(super) recalculated: u32,
    seed: u64,
}

/// Which of its two calculations a bill is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

impl Plan {
    pub(crate) fn new(options: &LoadOptions) -> Plan {
        let mut plan = Plan {
            bills: options.bills,
            buyers: options.bills.div_ceil(BILLS_PER_BUYER),
            dimensions: options.dimensions,
            recalculated: 0,
            seed: options.seed,
        };
        plan.recalculated = plan.second_bills().count() as u32;
        plan
    }

    /// What the API is told: buyers and dimensions.
    pub(super) fn mappings(&self) -> Vec<Value> {
        let mapping = |entity: &str, id: String, table: &str, external_id: String| {
            json!({
                "m3terEntity": entity, "m3terId": id, "externalSystem": "AWS", "externalTable": table, "externalId": external_id,
            })
        };
        let dimensions = (0..self.dimensions).map(|dimension| {
            let id = format!("{PRODUCT_CODE}-{}", dimension_name(dimension));
            mapping("Product", dimension_name(dimension), "Dimension", id)
        });
        let buyers = (0..self.buyers).map(|buyer| mapping("Account", account(buyer), "Customer", customer(buyer)));
        dimensions.chain(buyers).collect()
    }

    /// The first version of every bill, some messages twice, in an order of their own.
    pub(super) fn first_messages(&self, key: &AccessKey) -> Vec<String> {
        self.messages(key, 0..self.bills, Version::First)
    }

    /// The second version of those that are recalculated.
    pub(super) fn second_messages(&self, key: &AccessKey) -> Vec<String> {
        self.messages(key, self.second_bills(), Version::Second)
    }

    /// Units of all keys together, in the end.
    pub(super) fn owed(&self) -> i64 {
        self.owed_by_key().map(|(_, units)| units).sum()
    }

    /// Units of each (customer, dimension), in the end. A fall is carried, so the higher version counts.
    pub(super) fn owed_by_key(&self) -> impl Iterator<Item = ((String, String), i64)> {
        (0..self.buyers).flat_map(move |buyer| {
            (0..self.dimensions).map(move |dimension| {
                let bills = buyer * BILLS_PER_BUYER..((buyer + 1) * BILLS_PER_BUYER).min(self.bills);
                let total = |version| {
                    bills
                        .clone()
                        .map(|bill| self.cents(bill, dimension, version))
                        .sum::<i64>()
                };
                let owed = total(Version::First).max(total(Version::Second));
                ((customer(buyer), dimension_name(dimension)), owed)
            })
        })
    }

    fn second_bills(&self) -> impl Iterator<Item = u32> + use<> {
        (0..self.bills).filter(|bill| is_recalculated(bill / BILLS_PER_BUYER))
    }

    fn messages(&self, key: &AccessKey, bills: impl Iterator<Item = u32>, version: Version) -> Vec<String> {
        let mut random = Rng::with_seed(self.seed.wrapping_add(version as u64));
        let mut bodies = Vec::new();
        for bill in bills {
            let body = self.body(key, bill, version);
            if random.u32(..REPEATED_OF) == 0 {
                bodies.push(body.clone());
            }
            bodies.push(body);
        }
        random.shuffle(&mut bodies);
        bodies
    }

    fn body(&self, key: &AccessKey, bill: u32, version: Version) -> String {
        let number = match version {
            Version::First => 1,
            Version::Second => 2,
        };
        let bill = self.document(bill, number, |dimension| self.cents(bill, dimension, version));
        json!({ "orgId": key.org_id, "bill": bill }).to_string()
    }

    /// A bill that grows with each version, from 1 on, as m3ter holds it: its id and itself.
    pub(crate) fn grown(&self, organization: &str, bill: u32, version: u32, now: Timestamp) -> (String, Value) {
        let mut document = self.document(bill, version, |dimension| self.grown_cents(bill, dimension, version));
        document["orgId"] = json!(organization);
        document["billDate"] = json!("2025-06-01");
        document["dtLastModified"] = json!(now);
        (bill_id(bill), document)
    }

    /// Units of all bills at a version of [`Plan::grown`].
    pub(crate) fn grown_units(&self, version: u32) -> i64 {
        let dimensions = 0..self.dimensions;
        let of_bill = |bill| {
            dimensions
                .clone()
                .map(move |dimension| self.grown_cents(bill, dimension, version))
        };
        (0..self.bills).flat_map(of_bill).sum()
    }

    fn grown_cents(&self, bill: u32, dimension: u16, version: u32) -> i64 {
        self.cents(bill, dimension, Version::First) + i64::from(version.saturating_sub(1)) * GROWTH_CENTS
    }

    fn document(&self, bill: u32, version: u32, cents: impl Fn(u16) -> i64) -> Value {
        let lines: Vec<Value> = (0..self.dimensions)
            .map(|dimension| {
                let cents = cents(dimension);
                // The text of a JSON number: no float ever holds it.
                let amount: Value = serde_json::from_str(&format!("{}.{:02}", cents / 100, cents % 100)).unwrap_or_default();
                json!({
                    "lineItemType": "USAGE", "productId": dimension_name(dimension), "currency": "USD", "convertedSubtotal": amount,
                })
            })
            .collect();
        json!({
            "id": bill_id(bill), "accountId": account(bill / BILLS_PER_BUYER), "version": version, "currency": "USD",
            "startDate": "2025-06-01", "endDateTimeUTC": "2025-07-01T00:00:00Z", "lineItems": lines,
        })
    }

    /// An amount of its own for each bill and dimension. A buyer's bills are recalculated in one direction.
    fn cents(&self, bill: u32, dimension: u16, version: Version) -> i64 {
        let place = u64::from(bill) << 16 | u64::from(dimension);
        let first = i64::from(Rng::with_seed(self.seed ^ place.wrapping_mul(0x9E37_79B9_7F4A_7C15)).u32(100..100_000));
        let buyer = bill / BILLS_PER_BUYER;
        match version {
            Version::Second if is_recalculated(buyer) && (buyer / RECALCULATED_OF).is_multiple_of(2) => {
                first + GROWTH_CENTS
            }
            Version::Second if is_recalculated(buyer) => first - 97,
            Version::First | Version::Second => first,
        }
    }
}

fn is_recalculated(buyer: u32) -> bool {
    buyer.is_multiple_of(RECALCULATED_OF)
}

fn bill_id(bill: u32) -> String {
    format!("bill-{bill}")
}

fn account(buyer: u32) -> String {
    format!("account-{buyer}")
}

fn customer(buyer: u32) -> String {
    format!("{:012}", 300_000_000_000_u64 + u64::from(buyer))
}

fn dimension_name(dimension: u16) -> String {
    format!("dimension-{dimension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_the_higher_of_both_calculations() {
        let plan = Plan::new(&LoadOptions {
            bills: 21,
            dimensions: 2,
            faults: 0.0,
            seed: 7,
        });
        assert_eq!((plan.buyers, plan.recalculated), (11, 3));
        let owed: Vec<i64> = plan.owed_by_key().map(|(_, units)| units).collect();
        assert_eq!(owed.len(), 22);
        let cents = |bill, version| plan.cents(bill, 0, version);
        // Buyer 0 rises, buyer 1 stays, buyer 10 (with one bill only) falls.
        assert_eq!(owed[0], cents(0, Version::First) + cents(1, Version::First) + 2 * 1_009);
        assert_eq!(owed[2], cents(2, Version::First) + cents(3, Version::First));
        assert_eq!(owed[20], cents(20, Version::First));
        assert_eq!(cents(20, Version::Second), cents(20, Version::First) - 97);
        assert_eq!(plan.owed(), owed.iter().sum::<i64>());
    }
}
