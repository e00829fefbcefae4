//! What several calls show.

use outbill::values::{
    amount::Units,
    bill::BillReference,
    configuration::Audit,
    entry::{Entry, Part},
    usage_key::{Buyer, UsageKey},
};
use serde_json::{Map, Value, json};

use crate::object::Object;

/// m3ter's audit fields, with id and version.
pub(crate) fn audited(id: &str, version: i64, audit: &Audit) -> Object {
    Object::default()
        .with("id", id)
        .with("version", version)
        .with("dtCreated", audit.created.to_string())
        .with("dtLastModified", audit.last_modified.to_string())
        .with("createdBy", audit.created_by.as_str())
        .with("lastModifiedBy", audit.last_modified_by.as_str())
}

/// Names in a row, of which there may be thousands.
pub(crate) fn some_of<T: AsRef<str>>(names: impl ExactSizeIterator<Item = T>) -> String {
    const NAMED_MAX: usize = 20;
    let more = names.len().saturating_sub(NAMED_MAX);
    let named: Vec<T> = names.take(NAMED_MAX).collect();
    let named = named.iter().map(T::as_ref).collect::<Vec<_>>().join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A usage key as people know it.
pub(crate) fn usage_key(key: &UsageKey, dimension: String) -> Object {
    let license = match &key.buyer {
        Buyer::License { license_arn, .. } => Some(license_arn.as_str()),
        Buyer::Product { .. } => None,
    };
    Object::default()
        .with("dimension", dimension)
        .with("customer", key.buyer.customer())
        .maybe("licenseArn", license)
        .with("region", key.region.as_str())
}

/// Units by bill.
pub(crate) fn by_bill<'a>(bills: impl Iterator<Item = (&'a BillReference, Units)>) -> Value {
    let units = bills.map(|(bill, units)| (bill.bill.as_str().to_owned(), Value::from(units)));
    Value::Object(units.collect::<Map<String, Value>>())
}

/// The same, of parts.
pub(crate) fn parts<'a>(parts: impl IntoIterator<Item = (&'a BillReference, &'a Part)>) -> Value {
    by_bill(parts.into_iter().map(|(bill, part)| (bill, part.units)))
}

/// `<usage key>-<hour>`.
pub(crate) fn entry_id(entry: &Entry) -> String {
    format!("{}-{}", entry.key.hash(), entry.hour)
}

/// An entry with what is known of it.
pub(crate) fn entry(entry: &Entry) -> Object {
    let resolution = entry.resolution.as_ref().map(|resolution| {
        json!({
            "as": resolution.verdict.as_str(),
            "by": resolution.decided.by,
            "at": resolution.decided.at,
            "reason": resolution.decided.reason,
        })
    });
    Object::default()
        .with("id", entry_id(entry))
        .with("state", entry.state.as_str())
        .with("hour", entry.hour.start().to_string())
        .with("quantity", entry.quantity)
        .maybe("observed", entry.observed)
        .with("parts", parts(&entry.parts))
        .with("refusedFrom", entry.hour.closes_at().to_string())
        .with("dtClaimed", entry.claimed_at.to_string())
        .with("integrationRunId", entry.origin.run.as_str())
        .with("integrationConfigId", entry.origin.configuration.as_str())
        .maybe("meteringRecordId", entry.metering_record_id.as_deref())
        .maybe("resolution", resolution)
}
