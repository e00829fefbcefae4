//! AWS's answer, read. Exhaustive where money is decided: what is not clearly an answer is unknown.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_marketplacemetering::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_marketplacemetering::operation::batch_meter_usage::{BatchMeterUsageError, BatchMeterUsageOutput};
use aws_sdk_marketplacemetering::types::{UsageRecord, UsageRecordResultStatus};
use aws_smithy_runtime_api::http::Response;
use jiff::Timestamp;

use super::Called;
use crate::decisions::verdict::{Answer, BadRecord, ConnectionRefusal};
use crate::effects::aws::signing::{Unsigned, chain, unsigned};
use crate::effects::ledger::Claim;
use crate::values::entry::Entry;
use crate::values::usage_key::{Buyer, Customer};

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

/// The answers, in the order of the claims.
fn answers(output: &BatchMeterUsageOutput, claims: &[Claim]) -> Vec<Answer> {
    let mut results: BTreeMap<RecordName, _> = BTreeMap::new();
    for result in output.results() {
        let names = result.usage_record().into_iter().flat_map(record_names);
        results.extend(names.map(|name| (name, result)));
    }
    let unprocessed: BTreeSet<RecordName> = output.unprocessed_records().iter().flat_map(record_names).collect();
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
    claims.iter().map(answer).collect()
}

//= https://docs.aws.amazon.com/marketplace/latest/userguide/saas-code-examples.html
//# an answer may name the buyer by CustomerIdentifier and CustomerAWSAccountId, whichever of them the request had
fn record_names(record: &UsageRecord) -> impl Iterator<Item = RecordName> {
    let customers = [Some(record.customer_identifier()), record.customer_aws_account_id()];
    let customers = customers.into_iter().flatten().filter(|customer| !customer.is_empty());
    customers.map(|customer| {
        (
            customer.to_owned(),
            record.license_arn().unwrap_or_default().to_owned(),
            record.dimension().to_owned(),
            record.timestamp().secs(),
        )
    })
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
            Called::Throttled { reason: message }
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
        _ if status == 429 => Called::Throttled { reason: message },
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_credential_types::provider::error::CredentialsError;
    use aws_sdk_marketplacemetering::error::{ConnectorError, ErrorMetadata};
    use aws_sdk_sts::operation::assume_role::AssumeRoleError;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn response(status: u16) -> Response {
        Response::new(status.try_into().unwrap(), SdkBody::empty())
    }

    fn code(code: &str) -> ErrorMetadata {
        ErrorMetadata::builder().code(code).build()
    }

    /// What metering says of a call.
    fn said(name: &str, status: u16) -> CallError {
        CallError::service_error(BatchMeterUsageError::generic(code(name)), response(status))
    }

    /// A call that there were no credentials for.
    fn without(credentials: CredentialsError) -> CallError {
        CallError::dispatch_failure(ConnectorError::other(credentials.into(), None))
    }

    /// What STS says of the role.
    fn sts(name: &str, status: u16) -> CredentialsError {
        let error = AssumeRoleError::generic(code(name));
        CredentialsError::provider_error(SdkError::service_error(error, response(status)))
    }

    #[test]
    fn a_call_is_throttled_only_if_metering_says_so() {
        let check = |error: CallError, expect: fn(&Called) -> bool| {
            let called = refusal(&error, None);
            assert!(expect(&called), "{error:?}\n{called:?}");
        };
        let throttled = |called: &Called| matches!(called, Called::Throttled { .. });
        check(said("ThrottlingException", 400), throttled);
        check(said("TooManyRequestsException", 429), throttled);
        check(said("Unheard", 429), throttled);
        // Metering was never asked, so it throttled nothing.
        let not_taken = |called: &Called| matches!(called, Called::All(Answer::NotTaken { .. }));
        check(without(sts("Throttling", 400)), not_taken);
        check(without(sts("ServiceUnavailable", 503)), not_taken);
        let late = CredentialsError::provider_timed_out(Duration::from_secs(5));
        check(without(late), not_taken);
        let refused = |called: &Called| {
            matches!(
                called,
                Called::All(Answer::ConnectionRefused {
                    kind: ConnectionRefusal::Access,
                    ..
                })
            )
        };
        check(without(sts("AccessDenied", 403)), refused);
        check(said("InternalServiceErrorException", 500), |called| {
            matches!(called, Called::All(Answer::Unknown { .. }))
        });
    }
}
