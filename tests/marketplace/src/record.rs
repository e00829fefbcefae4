//! The key by which AWS recognises a record, and what it holds under it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a buyer is named. The same buyer under two names is two customers to AWS.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Customer {
    /// `CustomerAWSAccountId`.
    AwsAccount(String),
    /// `CustomerIdentifier`, the legacy form.
    Identifier(String),
}

impl Customer {
    /// The account id or identifier.
    pub fn as_str(&self) -> &str {
        match self {
            Customer::AwsAccount(name) | Customer::Identifier(name) => name,
        }
    }

    /// A customer from a bare name: twelve digits are an account id, all else an identifier.
    pub fn named(name: &str) -> Customer {
        if name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_digit()) {
            Customer::AwsAccount(name.to_owned())
        } else {
            Customer::Identifier(name.to_owned())
        }
    }
}

/// What the record is billed under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Identity {
    /// `LicenseArn`, which names product and agreement.
    License(String),
    /// `ProductCode`, the legacy form.
    Product(String),
}

/// What AWS removes duplicates on.
///
/// The account that signs the call is not part of it: neither is anything else that a program could
/// vary to be billed twice.
//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecordResult.html
//# A previously metered UsageRecord had the same customer, dimension, and time, but a different quantity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageKey {
    /// The metering region: each keeps its own records.
    pub region: String,
    /// Licence or product.
    pub identity: Identity,
    /// The buyer.
    pub customer: Customer,
    /// The dimension's API name.
    pub dimension: String,
    /// The start of the UTC hour.
    pub hour: Timestamp,
}

/// What AWS holds under a key. It never changes: the first write wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Whole units.
    pub quantity: i64,
    /// The receipt.
    pub metering_record_id: String,
    /// `false` for the record of a buyer who was not subscribed, where such a record takes the hour.
    pub billed: bool,
    /// Which program wrote it: the account that signed the call, or a name given to foreign usage.
    pub reported_by: String,
}
