//! Reads a `BatchMeterUsage` request and checks what AWS checks before it looks at any record.
//!
//! Invariant: a request that is returned has at most 25 records, each with exactly one identity, one
//! customer, a quantity in range and allocations that add up.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Map, Value};

use crate::error::MeteringError;
use crate::record::{Customer, Identity};
use crate::rules::{
    NAME_CHARACTERS_MAX, QUANTITY_MAX, REQUEST_BYTES_MAX, TAGS_PER_ALLOCATION_MAX, USAGE_ALLOCATIONS_MAX,
    USAGE_RECORDS_PER_CALL_MAX,
};

/// One usage record as it was understood, with the JSON that is echoed in the answer.
#[derive(Debug)]
pub(crate) struct Record {
    pub timestamp: Timestamp,
    pub identity: Identity,
    pub customer: Customer,
    pub dimension: String,
    pub quantity: i64,
    pub as_sent: Value,
}

/// Why a request is refused, and whether a careful program would never have sent it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub error: MeteringError,
    pub violation: Option<String>,
}

impl From<MeteringError> for Refusal {
    fn from(error: MeteringError) -> Refusal {
        Refusal { error, violation: None }
    }
}

fn violation(error: MeteringError) -> Refusal {
    Refusal {
        violation: Some(error.message.clone()),
        error,
    }
}

/// Reads the request's JSON text.
pub(crate) fn read(request_json: &str) -> Result<Vec<Record>, Refusal> {
    if request_json.len() >= REQUEST_BYTES_MAX {
        return Err(violation(MeteringError::validation(format!(
            "the request has {} bytes; it must have fewer than {REQUEST_BYTES_MAX}",
            request_json.len()
        ))));
    }
    let request: Map<String, Value> = serde_json::from_str(request_json).map_err(|error| {
        MeteringError::refused(
            "SerializationException",
            format!("the request is not a JSON object: {error}"),
        )
    })?;
    let product_code = text(&request, "ProductCode")?.filter(|code| !code.is_empty());
    let records = match request.get("UsageRecords") {
        Some(Value::Array(records)) => records,
        Some(_) | None => {
            return Err(MeteringError::validation("UsageRecords must be a list").into());
        }
    };
    if records.len() > USAGE_RECORDS_PER_CALL_MAX {
        return Err(violation(MeteringError::validation(format!(
            "UsageRecords has {} members; at most {USAGE_RECORDS_PER_CALL_MAX} are allowed",
            records.len()
        ))));
    }
    records
        .iter()
        .map(|record| read_record(record, product_code.as_deref()))
        .collect()
}

fn read_record(record: &Value, product_code: Option<&str>) -> Result<Record, Refusal> {
    let Value::Object(fields) = record else {
        return Err(MeteringError::validation("a usage record must be an object").into());
    };
    let dimension = text(fields, "Dimension")?.unwrap_or_default();
    let dimension_characters = dimension.chars().count();
    if dimension_characters == 0 || dimension_characters > NAME_CHARACTERS_MAX {
        return Err(MeteringError::validation("Dimension must have 1 to 255 characters").into());
    }
    let quantity = quantity(fields, "Quantity")?;
    check_allocations(fields, quantity)?;
    Ok(Record {
        timestamp: timestamp(fields)?,
        identity: identity(fields, product_code)?,
        customer: customer(fields)?,
        dimension,
        quantity,
        as_sent: record.clone(),
    })
}

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# Sending metering records with both ProductCode and LicenseArn for the same customer within the same hour will result in duplicate billing.
fn identity(fields: &Map<String, Value>, product_code: Option<&str>) -> Result<Identity, Refusal> {
    match (text(fields, "LicenseArn")?, product_code) {
        (Some(_), Some(_)) => Err(violation(MeteringError::validation(
            "ProductCode and LicenseArn together would bill the usage twice",
        ))),
        (Some(license), None) if license.starts_with("arn:aws") => Ok(Identity::License(license)),
        (Some(license), None) => Err(MeteringError::refused(
            "InvalidLicenseException",
            format!("LicenseArn `{license}` does not begin with arn:aws"),
        )
        .into()),
        (None, Some(code)) if code.chars().count() <= NAME_CHARACTERS_MAX => Ok(Identity::Product(code.to_owned())),
        (None, Some(_)) => Err(MeteringError::validation("ProductCode has more than 255 characters").into()),
        (None, None) => Err(MeteringError::refused(
            "InvalidProductCodeException",
            "neither ProductCode nor LicenseArn is given",
        )
        .into()),
    }
}

// The two names are exclusive, and an empty name is a name all the same: a client that fills the
// field it does not use with "" has sent both.
fn customer(fields: &Map<String, Value>) -> Result<Customer, Refusal> {
    let identifier = text(fields, "CustomerIdentifier")?;
    let account = text(fields, "CustomerAWSAccountId")?;
    let invalid = |message: &str| MeteringError::refused("InvalidCustomerIdentifierException", message);
    match (identifier, account) {
        (Some(identifier), Some(_)) if identifier.is_empty() => Err(violation(invalid(
            "CustomerIdentifier is \"\" although CustomerAWSAccountId is given: leave it out",
        ))),
        (Some(_), Some(_)) => Err(violation(invalid(
            "CustomerIdentifier and CustomerAWSAccountId are exclusive",
        ))),
        (None, Some(account))
            if !account.is_empty()
                && account.chars().count() <= NAME_CHARACTERS_MAX
                && account.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Ok(Customer::AwsAccount(account))
        }
        (None, Some(_)) => Err(MeteringError::validation("CustomerAWSAccountId must be digits").into()),
        (Some(identifier), None) if !identifier.is_empty() && identifier.chars().count() <= NAME_CHARACTERS_MAX => {
            Ok(Customer::Identifier(identifier))
        }
        (Some(_), None) | (None, None) => {
            Err(invalid("neither CustomerIdentifier nor CustomerAWSAccountId is given").into())
        }
    }
}

fn timestamp(fields: &Map<String, Value>) -> Result<Timestamp, MeteringError> {
    let invalid = || MeteringError::validation("Timestamp must be a number of epoch seconds");
    let seconds = decimal(fields, "Timestamp")?.ok_or_else(invalid)?;
    // A fraction of a second decides nothing, so the whole second before it stands for it.
    let whole = seconds.floor().to_i64().ok_or_else(invalid)?;
    Timestamp::from_second(whole).map_err(|_| invalid())
}

fn quantity(fields: &Map<String, Value>, name: &str) -> Result<i64, MeteringError> {
    let quantity = decimal(fields, name)?.unwrap_or(Decimal::ZERO);
    let invalid = || {
        MeteringError::validation(format!(
            "{name} must be a whole number from 0 to {QUANTITY_MAX}, not {quantity}"
        ))
    };
    if !quantity.fract().is_zero() {
        return Err(invalid());
    }
    quantity
        .to_i64()
        .filter(|whole| (0..=QUANTITY_MAX).contains(whole))
        .ok_or_else(invalid)
}

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecord.html
//# The sum of all UsageAllocation quantities must equal the Quantity of the UsageRecord.
fn check_allocations(fields: &Map<String, Value>, quantity_total: i64) -> Result<(), MeteringError> {
    let invalid = |message: String| MeteringError::refused("InvalidUsageAllocationsException", message);
    let allocations = match fields.get("UsageAllocations") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(allocations)) => allocations,
        Some(_) => return Err(MeteringError::validation("UsageAllocations must be a list")),
    };
    if allocations.is_empty() || allocations.len() > USAGE_ALLOCATIONS_MAX {
        return Err(invalid(format!(
            "UsageAllocations must have 1 to {USAGE_ALLOCATIONS_MAX} members"
        )));
    }
    let mut allocated_total: i64 = 0;
    let mut seen = BTreeSet::new();
    for allocation in allocations {
        let Value::Object(allocation) = allocation else {
            return Err(MeteringError::validation("a usage allocation must be an object"));
        };
        allocated_total += quantity(allocation, "AllocatedUsageQuantity")?;
        if !seen.insert(tags(allocation)?) {
            return Err(invalid("two usage allocations have the same tags".to_owned()));
        }
    }
    if allocated_total == quantity_total {
        Ok(())
    } else {
        Err(invalid(format!(
            "the allocations add up to {allocated_total}, the quantity is {quantity_total}"
        )))
    }
}

fn tags(allocation: &Map<String, Value>) -> Result<BTreeSet<(String, String)>, MeteringError> {
    let invalid = |message: &str| MeteringError::refused("InvalidTagException", message);
    let tags = match allocation.get("Tags") {
        None | Some(Value::Null) => return Ok(BTreeSet::new()),
        Some(Value::Array(tags)) => tags,
        Some(_) => return Err(MeteringError::validation("Tags must be a list")),
    };
    if tags.is_empty() || tags.len() > TAGS_PER_ALLOCATION_MAX {
        return Err(invalid("an allocation has 1 to 5 tags"));
    }
    tags.iter()
        .map(|tag| {
            let Value::Object(tag) = tag else {
                return Err(invalid("a tag must be an object"));
            };
            match (text(tag, "Key")?, text(tag, "Value")?) {
                (Some(key), Some(value)) if !key.is_empty() && !value.is_empty() => Ok((key, value)),
                _ => Err(invalid("a tag needs a Key and a Value")),
            }
        })
        .collect()
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, MeteringError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(MeteringError::refused(
            "SerializationException",
            format!("{name} must be a string"),
        )),
    }
}

// From the JSON text, never through a float.
fn decimal(fields: &Map<String, Value>, name: &str) -> Result<Option<Decimal>, MeteringError> {
    let unreadable = || MeteringError::refused("SerializationException", format!("{name} must be a number"));
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let text = number.to_string();
            text.parse::<Decimal>()
                .or_else(|_| Decimal::from_scientific(&text))
                .map(Some)
                .map_err(|_| unreadable())
        }
        Some(_) => Err(unreadable()),
    }
}
