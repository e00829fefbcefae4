//! What AWS de-duplicates on, without the hour: metering region, buyer and dimension.
//!
//! Neither organization nor credential is part of it, because AWS knows neither. The ledger's partition is a hash of it, so AWS's rule
//! (first write wins for a buyer, dimension and hour) is a local constraint as well.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A buyer as a usage record names one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Buyer {
    /// Concurrent agreements: the licence names product and agreement; no product code is sent.
    License {
        license_arn: String,
        customer_aws_account_id: String,
    },
    /// One agreement per product: the product code and the customer.
    Product { product_code: String, customer: Customer },
}

/// The two ways to name a customer beside a product code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Customer {
    /// 12 digits: `CustomerAWSAccountId`.
    AwsAccountId(String),
    /// The legacy `CustomerIdentifier` of ResolveCustomer.
    Identifier(String),
}

const AWS_ACCOUNT_ID_DIGITS: usize = 12;

/// Whether the text is an AWS account id: 12 digits.
pub fn is_aws_account_id(text: &str) -> bool {
    text.len() == AWS_ACCOUNT_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl Customer {
    /// 12 digits are an AWS account id, anything else the legacy identifier.
    pub fn from_external_id(text: &str) -> Customer {
        if is_aws_account_id(text) {
            Customer::AwsAccountId(text.to_owned())
        } else {
            Customer::Identifier(text.to_owned())
        }
    }
}

impl Buyer {
    /// The customer's account id or identifier, as AWS writes it.
    pub fn customer(&self) -> &str {
        match self {
            Buyer::License {
                customer_aws_account_id,
                ..
            } => customer_aws_account_id,
            Buyer::Product {
                customer: Customer::AwsAccountId(id) | Customer::Identifier(id),
                ..
            } => id,
        }
    }
}

/// A usage key. See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageKey {
    pub region: String,
    pub buyer: Buyer,
    /// The dimension's API name, without the product code.
    pub dimension: String,
}

/// The name of a usage key's partition: 32 hexadecimal digits of a SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(String);

/// A text that is no key hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a usage key's hash of {KEY_HASH_CHARACTERS} hexadecimal digits")]
pub struct KeyHashError(String);

const KEY_HASH_CHARACTERS: usize = 32;

impl UsageKey {
    /// The partition of this key. Fields are separated by a byte that none of them can hold.
    pub fn hash(&self) -> KeyHash {
        let (form, first, second) = match &self.buyer {
            Buyer::License {
                license_arn,
                customer_aws_account_id,
            } => ("license", license_arn, customer_aws_account_id),
            Buyer::Product {
                product_code,
                customer: Customer::AwsAccountId(id),
            } => ("account", product_code, id),
            Buyer::Product {
                product_code,
                customer: Customer::Identifier(id),
            } => ("identifier", product_code, id),
        };
        let text = [self.region.as_str(), form, first, second, &self.dimension].join("\u{0}");
        let digest = Sha256::digest(text.as_bytes());
        KeyHash(
            digest
                .iter()
                .take(KEY_HASH_CHARACTERS / 2)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

impl KeyHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyHashError;
    fn try_from(text: String) -> Result<Self, KeyHashError> {
        let is_hash = text.len() == KEY_HASH_CHARACTERS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash {
            Ok(Self(text))
        } else {
            Err(KeyHashError(text))
        }
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> String {
        hash.0
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_key_makes_another_hash() {
        let license = |arn: &str, account: &str| Buyer::License {
            license_arn: arn.into(),
            customer_aws_account_id: account.into(),
        };
        let product = |code: &str, customer: &str| Buyer::Product {
            product_code: code.into(),
            customer: Customer::from_external_id(customer),
        };
        let key = |region: &str, buyer: Buyer, dimension: &str| UsageKey {
            region: region.into(),
            buyer,
            dimension: dimension.into(),
        };
        let hashes = std::collections::BTreeSet::from([
            key("us-east-1", product("p", "111122223333"), "d").hash(),
            key("us-west-2", product("p", "111122223333"), "d").hash(),
            key("us-east-1", product("q", "111122223333"), "d").hash(),
            key("us-east-1", product("p", "ifAPi5AcF3"), "d").hash(),
            key("us-east-1", product("p", "111122223333"), "e").hash(),
            key("us-east-1", license("p", "111122223333"), "d").hash(),
            key(
                "us-east-1",
                license("arn:aws:license-manager::111122223333:license:l-1", "111122223333"),
                "d",
            )
            .hash(),
        ]);
        assert_eq!(hashes.len(), 7);
        assert!(
            hashes
                .iter()
                .all(|hash| KeyHash::try_from(hash.to_string()).as_ref() == Ok(hash))
        );
    }
}
