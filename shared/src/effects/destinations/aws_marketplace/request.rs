//! An entry as a usage record.

use aws_sdk_marketplacemetering::error::BuildError;
use aws_sdk_marketplacemetering::types::UsageRecord;
use aws_smithy_types::DateTime;

use crate::values::entry::Entry;
use crate::values::usage_key::{Buyer, Customer};

/// The record of an entry. `Timestamp` is the hour's start, so a repeat is the same to the byte. The empty `CustomerIdentifier` is what the
/// SDK's required field is given where the buyer is named by account id; [`super::exchange::Wire`] takes it out before the request is signed.
pub(super) fn usage_record(entry: &Entry) -> Result<UsageRecord, BuildError> {
    let quantity = i32::try_from(entry.quantity)
        .map_err(|_| BuildError::invalid_field("quantity", "it is more than a usage record carries"))?;
    let record = UsageRecord::builder()
        .timestamp(DateTime::from_secs(entry.hour.epoch_seconds()))
        .dimension(&entry.key.dimension)
        .quantity(quantity);
    let record = match &entry.key.buyer {
        Buyer::License {
            license_arn,
            customer_aws_account_id,
        } => record
            .license_arn(license_arn)
            .customer_aws_account_id(customer_aws_account_id)
            .customer_identifier(""),
        Buyer::Product {
            customer: Customer::AwsAccountId(id),
            ..
        } => record.customer_aws_account_id(id).customer_identifier(""),
        Buyer::Product {
            customer: Customer::Identifier(id),
            ..
        } => record.customer_identifier(id),
    };
    record.build()
}
