//! List prices as parameters: each has a name, a unit, where it was read and when, and can be given anew.
//!
//! AWS's pricing pages fill in their numbers by a script, so that most of them could be read only where somebody had written them down. Those that
//! were not read on a page of AWS's are marked; look them up before money hangs on them.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde::Serialize;

/// How sure a price is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Read {
    /// On AWS's own page, or in a dated transcript of it.
    AtAws,
    /// Elsewhere, as AWS's: not confirmed.
    Elsewhere,
    /// On the command line.
    Given,
}

/// A price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Price {
    pub name: &'static str,
    /// US dollars for one.
    pub usd: Decimal,
    /// Of what.
    pub unit: &'static str,
    /// AWS's page.
    pub page: &'static str,
    pub read: Read,
    /// When, as a month.
    pub at: &'static str,
}

const DYNAMODB: &str = "https://aws.amazon.com/dynamodb/pricing/on-demand/";
const LAMBDA: &str = "https://aws.amazon.com/lambda/pricing/";
const SQS: &str = "https://aws.amazon.com/sqs/pricing/";
const API_GATEWAY: &str = "https://aws.amazon.com/api-gateway/pricing/";
const CLOUDWATCH: &str = "https://aws.amazon.com/cloudwatch/pricing/";
const SECRETS_MANAGER: &str = "https://aws.amazon.com/secrets-manager/pricing/";
const EVENTBRIDGE: &str = "https://aws.amazon.com/eventbridge/pricing/";
const CLOUDTRAIL: &str = "https://aws.amazon.com/cloudtrail/pricing/";

/// us-east-1, without free tiers, discounts and volume steps. Amounts are texts, so that no float ever holds them.
const LIST: [(&str, &str, &str, &str, Read, &str); 16] = [
    (
        "dynamodb-write-units",
        "0.000000625",
        "write request unit",
        DYNAMODB,
        Read::Elsewhere,
        "2025-07",
    ),
    (
        "dynamodb-read-units",
        "0.000000125",
        "read request unit",
        DYNAMODB,
        Read::Elsewhere,
        "2025-07",
    ),
    (
        "dynamodb-storage",
        "0.25",
        "GB and month",
        DYNAMODB,
        Read::AtAws,
        "undated",
    ),
    (
        "dynamodb-backup",
        "0.20",
        "GB and month",
        DYNAMODB,
        Read::Elsewhere,
        "undated",
    ),
    (
        "lambda-requests",
        "0.0000002",
        "invocation",
        LAMBDA,
        Read::Elsewhere,
        "2024",
    ),
    (
        "lambda-gb-seconds",
        "0.0000133334",
        "GB-second, arm64",
        LAMBDA,
        Read::Elsewhere,
        "2024",
    ),
    ("sqs-requests", "0.0000004", "request", SQS, Read::Elsewhere, "2026-06"),
    (
        "api-gateway-requests",
        "0.000001",
        "request",
        API_GATEWAY,
        Read::AtAws,
        "2026-09",
    ),
    (
        "cloudwatch-log-bytes",
        "0.50",
        "GB",
        CLOUDWATCH,
        Read::Elsewhere,
        "2026-06",
    ),
    (
        "cloudwatch-metrics",
        "0.30",
        "metric and month",
        CLOUDWATCH,
        Read::Elsewhere,
        "2026-02",
    ),
    (
        "cloudwatch-alarms",
        "0.10",
        "alarm and month",
        CLOUDWATCH,
        Read::Elsewhere,
        "undated",
    ),
    (
        "cloudwatch-dashboards",
        "3.00",
        "dashboard and month",
        CLOUDWATCH,
        Read::Elsewhere,
        "2026-06",
    ),
    (
        "secrets-manager-secrets",
        "0.40",
        "secret and month",
        SECRETS_MANAGER,
        Read::AtAws,
        "2026-09",
    ),
    (
        "secrets-manager-calls",
        "0.000005",
        "call",
        SECRETS_MANAGER,
        Read::AtAws,
        "2026-09",
    ),
    (
        "scheduler-invocations",
        "0.000001",
        "invocation",
        EVENTBRIDGE,
        Read::Elsewhere,
        "undated",
    ),
    (
        "cloudtrail-lookups",
        "0",
        "LookupEvents call",
        CLOUDTRAIL,
        Read::Elsewhere,
        "undated",
    ),
];

/// A price that is given: `name=dollars`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    name: &'static str,
    usd: Decimal,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Given, String> {
        let (name, usd) = text
            .split_once('=')
            .ok_or("give NAME=DOLLARS, such as sqs-requests=0.0000004")?;
        let known: Vec<&'static str> = LIST.iter().map(|price| price.0).collect();
        let name = known.iter().find(|known| **known == name);
        let name = *name.ok_or_else(|| format!("there is no such price; choose one of {}", known.join(", ")))?;
        let usd: Decimal = usd
            .parse()
            .map_err(|_| format!("{usd:?} is no decimal number of dollars"))?;
        match usd.is_sign_negative() {
            true => Err("a price is not negative".to_owned()),
            false => Ok(Given { name, usd }),
        }
    }
}

/// All prices, those that are given in place of the listed ones.
pub fn prices(given: &[Given]) -> Vec<Price> {
    let price =
        |(name, usd, unit, page, read, at): &(&'static str, &str, &'static str, &'static str, Read, &'static str)| {
            let given = given.iter().rfind(|given| given.name == *name);
            Price {
                name,
                usd: given.map_or_else(|| usd.parse().unwrap_or_default(), |given| given.usd),
                unit,
                page,
                read: given.map_or(*read, |_| Read::Given),
                at,
            }
        };
    LIST.iter().map(price).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_price_is_a_number_and_can_be_given() {
        for price in prices(&[]) {
            assert_eq!(
                price.usd.is_zero(),
                price.name == "cloudtrail-lookups",
                "{}",
                price.name
            );
            let given: Given = format!("{}=7.5", price.name).parse().unwrap();
            let found = prices(&[given])
                .into_iter()
                .find(|found| found.name == price.name)
                .unwrap();
            assert_eq!((found.usd.to_string().as_str(), found.read), ("7.5", Read::Given));
        }
        for bad in ["sqs-requests", "sqs=1", "sqs-requests=x", "sqs-requests=-1"] {
            assert!(bad.parse::<Given>().is_err(), "{bad}");
        }
    }
}
