//! AWS's answer, read. Exhaustive where money is decided: what is not clearly an answer is unknown.

use std::collections::BTreeMap;
use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_marketplacemetering::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_marketplacemetering::operation::batch_meter_usage::{BatchMeterUsageError, BatchMeterUsageOutput};
use aws_sdk_marketplacemetering::types::{UsageRecord, UsageRecordResultStatus};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::http::Response;
use jiff::Timestamp;

use super::Called;
use crate::decisions::verdict::{Answer, BadRecord, ConnectionRefusal};
use crate::effects::ledger::Claim;
use crate::values::entry::Entry;
use crate::values::usage_key::{Buyer, Customer};

/// How the SDK begins to say that it waited for credentials in vain; the error has no public type.
const IDENTITY_IS_LATE: &str = "identity resolver timed out";

type CallError = SdkError<BatchMeterUsageError, Response>;

/// What a result is matched by: (customer, licence, dimension, epoch second). Never by its place.
type RecordName = (String, String, String, i64);

pub(super) fn read(
    answer: Result<BatchMeterUsageOutput, CallError>,
    claims: &[Claim],
    aws_now: Option<Timestamp>,
) -> Called {
    match answer {
        Ok(output) => Called::Answered(answers(&output, claims)),
        Err(error) => refusal(&error, aws_now),
    }
}

fn answers(output: &BatchMeterUsageOutput, claims: &[Claim]) -> Vec<(Claim, Answer)> {
    let results: BTreeMap<RecordName, _> = output
        .results()
        .iter()
        .filter_map(|result| Some((record_name(result.usage_record()?), result)))
        .collect();
    let unprocessed: Vec<RecordName> = output.unprocessed_records().iter().map(record_name).collect();
    let answer = |claim: &Claim| {
        let name = entry_name(claim.entry());
        let Some(result) = results.get(&name) else {
            return if unprocessed.contains(&name) {
                Answer::NotTaken {
                    reason: "AWS left the record unprocessed".to_owned(),
                }
            } else {
                Answer::Unknown {
                    reason: "AWS's answer does not mention the record".to_owned(),
                }
            };
        };
        let echoed = result.usage_record().and_then(UsageRecord::quantity).map(i64::from);
        match (result.status(), result.metering_record_id()) {
            (Some(UsageRecordResultStatus::Success), Some(id))
                if echoed.is_none_or(|echoed| echoed == claim.entry().quantity) =>
            {
                Answer::Success {
                    metering_record_id: id.to_owned(),
                }
            }
            // A success for another quantity than the one that was sent: the hour is occupied by something else.
            (Some(UsageRecordResultStatus::Success), Some(_)) | (Some(UsageRecordResultStatus::DuplicateRecord), _) => {
                Answer::DuplicateRecord
            }
            (Some(UsageRecordResultStatus::CustomerNotSubscribed), _) => Answer::CustomerNotSubscribed,
            (Some(UsageRecordResultStatus::Success), None) => Answer::Unknown {
                reason: "AWS says Success without a metering record id".to_owned(),
            },
            (Some(other), _) => Answer::Unknown {
                reason: format!("AWS answers with the unknown status {}", other.as_str()),
            },
            (None, _) => Answer::Unknown {
                reason: "AWS's answer has no status for the record".to_owned(),
            },
        }
    };
    claims.iter().map(|claim| (claim.clone(), answer(claim))).collect()
}

fn record_name(record: &UsageRecord) -> RecordName {
    let customer = record
        .customer_aws_account_id()
        .filter(|id| !id.is_empty())
        .unwrap_or_else(|| record.customer_identifier());
    let license = record.license_arn().unwrap_or_default();
    (
        customer.to_owned(),
        license.to_owned(),
        record.dimension().to_owned(),
        record.timestamp().secs(),
    )
}

fn entry_name(entry: &Entry) -> RecordName {
    let license = match &entry.key.buyer {
        Buyer::License { license_arn, .. } => license_arn.as_str(),
        Buyer::Product {
            customer: Customer::AwsAccountId(_) | Customer::Identifier(_),
            ..
        } => "",
    };
    (
        entry.key.buyer.customer().to_owned(),
        license.to_owned(),
        entry.key.dimension.clone(),
        entry.hour.epoch_seconds(),
    )
}

/// The names are compared, not the SDK's types, so that an error which the SDK does not model is judged by what AWS calls it.
fn refusal(error: &CallError, aws_now: Option<Timestamp>) -> Called {
    if let Some(unsigned) = unsigned(error) {
        let message = format!("no credentials: {}", chain(error));
        return Called::All(match unsigned {
            Unsigned::ForNow => Answer::NotTaken { reason: message },
            Unsigned::Refused => Answer::ConnectionRefused {
                kind: ConnectionRefusal::Access,
                message,
            },
        });
    }
    let SdkError::ServiceError(service) = error else {
        return Called::All(match error {
            SdkError::ConstructionFailure(_) => Answer::ConnectionRefused {
                kind: ConnectionRefusal::Request,
                message: format!("the request could not be made: {}", chain(error)),
            },
            _ => Answer::Unknown {
                reason: format!("no answer from AWS: {}", chain(error)),
            },
        });
    };
    let status = service.raw().status().as_u16();
    let code = service.err().code().unwrap_or_default();
    let message = match service.err().message() {
        Some(message) => format!("AWS says {code}: {message}"),
        None => format!("AWS says {code} (HTTP {status})"),
    };
    let rejected = |kind: BadRecord| Called::Rejected {
        kind,
        message: message.clone(),
        aws_now,
    };
    let connection = |kind: ConnectionRefusal| {
        Called::All(Answer::ConnectionRefused {
            kind,
            message: message.clone(),
        })
    };
    match code {
        "TimestampOutOfBoundsException" => rejected(BadRecord::Timestamp),
        "InvalidUsageDimensionException" => rejected(BadRecord::Dimension),
        "InvalidCustomerIdentifierException" => rejected(BadRecord::Customer),
        "InvalidLicenseException" => rejected(BadRecord::License),
        "InvalidTagException" | "InvalidUsageAllocationsException" => rejected(BadRecord::Tag),
        "ThrottlingException" | "TooManyRequestsException" | "RequestLimitExceeded" | "SlowDown" => {
            Called::All(Answer::NotTaken { reason: message })
        }
        "InvalidProductCodeException" => connection(ConnectionRefusal::Product),
        "DisabledApiException"
        | "AccessDeniedException"
        | "AccessDenied"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "OptInRequired"
        | "NotAuthorized" => connection(ConnectionRefusal::Access),
        _ if status == 429 => Called::All(Answer::NotTaken { reason: message }),
        _ if status == 401 || status == 403 => connection(ConnectionRefusal::Access),
        // InternalServiceErrorException is one of these whatever its status is.
        _ if status >= 500
            || code.is_empty()
            || code.starts_with("Internal")
            || code.starts_with("ServiceUnavailable") =>
        {
            Called::All(Answer::Unknown { reason: message })
        }
        _ => connection(ConnectionRefusal::Request),
    }
}

/// Why a call could not be signed, so that nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// AWS cannot be asked for the role now, which says nothing about the connection.
    ForNow,
    /// AWS refuses the role.
    Refused,
}

/// Whether a call failed because it could not be signed, and why; `None`: it was signed.
pub(crate) fn unsigned(error: &(dyn Error + 'static)) -> Option<Unsigned> {
    let causes = || causes(error);
    let is_late = causes().any(|cause| {
        matches!(cause.downcast_ref(), Some(CredentialsError::ProviderTimedOut(_)))
            || cause.to_string().starts_with(IDENTITY_IS_LATE)
    });
    if !is_late && !causes().any(|cause| cause.is::<CredentialsError>()) {
        return None;
    }
    let mut assuming = causes().filter_map(|cause| cause.downcast_ref::<SdkError<AssumeRoleError, Response>>());
    Some(match is_late || assuming.any(passes) {
        true => Unsigned::ForNow,
        false => Unsigned::Refused,
    })
}

/// An error, and what is behind it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

/// Whether STS may answer otherwise in a moment.
fn passes(error: &SdkError<AssumeRoleError, Response>) -> bool {
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            status >= 500 || status == 429 || service.err().code().is_some_and(|code| code.contains("Throttl"))
        }
        _ => true,
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = causes(error).map(ToString::to_string).collect();
    said.dedup();
    said.join(": ")
}
