//! What the buyers pay, and usage that another program reports.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::marketplace::Marketplace;
use crate::record::{Customer, Held, Identity, UsageKey};
use crate::rules::{QUANTITY_MAX, hour_of};

/// How far into its hour another program reports, unless it is said.
const FOREIGN_CALL_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// The seller's account, from which other programs report as well.
const SELLER_ACCOUNT: &str = "123456789012";

/// One accepted record: what one buyer pays for one dimension and hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Billed {
    /// The metering region.
    pub region: String,
    /// The legacy identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_code: Option<String>,
    /// The identity by licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_arn: Option<String>,
    /// Account id or identifier.
    pub customer: String,
    /// The dimension's API name.
    pub dimension: String,
    /// The start of the UTC hour.
    pub hour: Timestamp,
    /// Whole units.
    pub quantity: i64,
    /// The receipt.
    pub metering_record_id: String,
}

/// Usage that another program of the seller reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForeignUsage {
    /// The metering region.
    pub region: String,
    /// The legacy identity; exactly one identity is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_code: Option<String>,
    /// The identity by licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_arn: Option<String>,
    /// Twelve digits are an account id, all else an identifier.
    pub customer: String,
    /// The dimension's API name.
    pub dimension: String,
    /// Any instant of the hour.
    pub hour: Timestamp,
    /// Whole units.
    pub quantity: i64,
    /// When the other program called; absent: five minutes into the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Ignored, so that a row of the report can be sent back as it is.
    #[serde(default, skip_serializing)]
    pub metering_record_id: Option<String>,
}

/// What became of foreign usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignUsageOutcome {
    /// `Success`, or `DuplicateRecord` if the hour already holds another quantity.
    pub status: String,
    /// The receipt, for `Success`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metering_record_id: Option<String>,
}

/// Foreign usage that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignUsageError {
    /// None or both identities.
    #[error("give exactly one of productCode and licenseArn")]
    Identity,
    /// Out of AWS's range.
    #[error("quantity must be between 0 and {QUANTITY_MAX}, not {0}")]
    Quantity(i64),
}

impl Marketplace {
    /// Every accepted record in the order of its key. A zero is listed too: it occupies its hour.
    pub fn billed(&self) -> Vec<Billed> {
        self.held()
            .filter(|(_, held)| held.billed)
            .map(|(key, held)| row(key, held))
            .collect()
    }

    /// Another program reports usage. First write wins as always; the window is not looked at, so
    /// that a test can place a record wherever the other program could have written it in time.
    pub fn foreign_usage(&mut self, usage: &ForeignUsage) -> Result<ForeignUsageOutcome, ForeignUsageError> {
        let identity = match (&usage.license_arn, &usage.product_code) {
            (Some(license), None) => Identity::License(license.clone()),
            (None, Some(product)) => Identity::Product(product.clone()),
            (Some(_), Some(_)) | (None, None) => return Err(ForeignUsageError::Identity),
        };
        if !(0..=QUANTITY_MAX).contains(&usage.quantity) {
            return Err(ForeignUsageError::Quantity(usage.quantity));
        }
        let key = UsageKey {
            region: usage.region.clone(),
            identity,
            customer: Customer::named(&usage.customer),
            dimension: usage.dimension.clone(),
            hour: hour_of(usage.hour),
        };
        let (region, at) = (key.region.clone(), usage.at.unwrap_or(key.hour + FOREIGN_CALL_AFTER));
        let request = foreign_request(&key, usage.quantity);
        let held = self.write(key, usage.quantity, true, "another program");
        let (status, receipt) = if held.quantity == usage.quantity && held.billed {
            ("Success", Some(held.metering_record_id.clone()))
        } else {
            ("DuplicateRecord", None)
        };
        let result =
            json!({ "UsageRecord": request["UsageRecords"][0], "Status": status, "MeteringRecordId": receipt });
        let answer = Ok(json!({ "Results": [result], "UnprocessedRecords": [] }));
        self.trail
            .record((&region, SELLER_ACCOUNT, at), &request.to_string(), &answer);
        Ok(ForeignUsageOutcome {
            status: status.to_owned(),
            metering_record_id: receipt,
        })
    }
}

/// The call of another program as it would have come.
fn foreign_request(key: &UsageKey, quantity: i64) -> Value {
    let mut record = json!({ "Timestamp": key.hour.as_second(), "Dimension": key.dimension, "Quantity": quantity });
    match &key.customer {
        Customer::AwsAccount(id) => record["CustomerAWSAccountId"] = json!(id),
        Customer::Identifier(id) => record["CustomerIdentifier"] = json!(id),
    }
    match &key.identity {
        Identity::License(license) => {
            record["LicenseArn"] = json!(license);
            json!({ "UsageRecords": [record] })
        }
        Identity::Product(product) => json!({ "ProductCode": product, "UsageRecords": [record] }),
    }
}

fn row(key: &UsageKey, held: &Held) -> Billed {
    let (license_arn, product_code) = match &key.identity {
        Identity::License(license) => (Some(license.clone()), None),
        Identity::Product(product) => (None, Some(product.clone())),
    };
    Billed {
        region: key.region.clone(),
        product_code,
        license_arn,
        customer: key.customer.as_str().to_owned(),
        dimension: key.dimension.clone(),
        hour: key.hour,
        quantity: held.quantity,
        metering_record_id: held.metering_record_id.clone(),
    }
}
