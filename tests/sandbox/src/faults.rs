//! Faults that a test asks for: which calls to a stand-in fail, and how.
//!
//! Faults are kept in memory only: a restart is healthy.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// AWS Marketplace metering.
    Metering,
    /// DynamoDB.
    DynamoDb,
    /// SQS.
    Sqs,
    /// Secrets Manager.
    SecretsManager,
    /// STS.
    Sts,
    /// SES.
    Ses,
    /// m3ter.
    M3ter,
    /// CloudTrail.
    CloudTrail,
}

impl Service {
    /// The name in controls and counts.
    pub fn as_str(self) -> &'static str {
        match self {
            Service::Metering => "metering",
            Service::DynamoDb => "dynamodb",
            Service::Sqs => "sqs",
            Service::SecretsManager => "secretsmanager",
            Service::Sts => "sts",
            Service::Ses => "ses",
            Service::M3ter => "m3ter",
            Service::CloudTrail => "cloudtrail",
        }
    }
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Answered as throttled; no effect.
    Throttle,
    /// Answered as an internal error; no effect.
    Error,
    /// Answered as access denied; no effect.
    AccessDenied,
    /// The connection closes without an answer; no effect.
    LostRequest,
    /// The connection closes without an answer; the call took effect.
    LostAnswer,
    /// Metering only: the later half of the records, rounded up, comes back unprocessed.
    Unprocessed,
    /// CloudTrail only: a query ends as failed.
    QueryFailed,
    /// CloudTrail only: a query ends as timed out.
    QueryTimedOut,
    /// CloudTrail only: a query ends as cancelled.
    QueryCancelled,
    /// CloudTrail only: pages and results are gone.
    Expired,
    /// CloudTrail only: ten queries run already.
    TooManyQueries,
    /// DynamoDB only: a transaction is cancelled by a `TransactionConflict`, which the engine itself
    /// never does; other actions pass.
    Conflict,
}

/// A fault and how often it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Whose calls fail.
    pub service: Service,
    /// How they fail.
    pub kind: FaultKind,
    /// How many calls fail.
    pub times: u32,
    /// Only calls of this action, for example `TransactWriteItems`; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// How many calls pass first.
    #[serde(default)]
    pub after: u32,
}

/// A fault that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kind: `{kind}` exists for {only} only, not for {}", service.as_str())]
pub struct FaultError {
    kind: &'static str,
    only: &'static str,
    service: Service,
}

impl Fault {
    /// A fault that hits the next calls of a service.
    pub fn new(service: Service, kind: FaultKind, times: u32) -> Fault {
        Fault {
            service,
            kind,
            times,
            action: None,
            after: 0,
        }
    }

    /// Refuses a kind that its service does not know.
    pub fn check(&self) -> Result<(), FaultError> {
        let (kind, only, known) = match self.kind {
            FaultKind::Unprocessed => ("unprocessed", "metering", self.service == Service::Metering),
            FaultKind::Conflict => ("conflict", "dynamodb", self.service == Service::DynamoDb),
            FaultKind::QueryFailed => ("query-failed", "cloudtrail", self.service == Service::CloudTrail),
            FaultKind::QueryTimedOut => ("query-timed-out", "cloudtrail", self.service == Service::CloudTrail),
            FaultKind::QueryCancelled => ("query-cancelled", "cloudtrail", self.service == Service::CloudTrail),
            FaultKind::Expired => ("expired", "cloudtrail", self.service == Service::CloudTrail),
            FaultKind::TooManyQueries => ("too-many-queries", "cloudtrail", self.service == Service::CloudTrail),
            FaultKind::Throttle
            | FaultKind::Error
            | FaultKind::AccessDenied
            | FaultKind::LostRequest
            | FaultKind::LostAnswer => return Ok(()),
        };
        if known {
            Ok(())
        } else {
            Err(FaultError {
                kind,
                only,
                service: self.service,
            })
        }
    }
}

/// The faults that are still to happen.
#[derive(Debug, Default)]
pub struct Faults {
    faults: Mutex<Vec<Fault>>,
}

impl Faults {
    /// Replaces all faults; an empty list heals everything.
    pub fn set(&self, faults: Vec<Fault>) -> Result<(), FaultError> {
        faults.iter().try_for_each(Fault::check)?;
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        Ok(())
    }

    /// The faults that are left.
    pub fn left(&self) -> Vec<Fault> {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter(|fault| fault.times > 0)
            .cloned()
            .collect()
    }

    /// Uses up the first fault that hits this call, if one does.
    pub fn hit(&self, service: Service, action: &str) -> Option<FaultKind> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        for fault in faults.iter_mut() {
            let is_meant = fault.service == service
                && fault.action.as_deref().is_none_or(|meant| meant == action)
                && match fault.kind {
                    FaultKind::Conflict => action == "TransactWriteItems",
                    FaultKind::QueryFailed | FaultKind::QueryTimedOut | FaultKind::QueryCancelled => {
                        action == "GetQueryResults"
                    }
                    FaultKind::TooManyQueries => action == "StartQuery",
                    FaultKind::Throttle
                    | FaultKind::Error
                    | FaultKind::AccessDenied
                    | FaultKind::LostRequest
                    | FaultKind::LostAnswer
                    | FaultKind::Unprocessed
                    | FaultKind::Expired => true,
                };
            if !is_meant || fault.times == 0 {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            fault.times -= 1;
            return Some(fault.kind);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_its_action_after_some_calls_and_so_many_times() {
        let faults = Faults::default();
        faults
            .set(vec![Fault {
                action: Some("PutItem".to_owned()),
                after: 1,
                ..Fault::new(Service::DynamoDb, FaultKind::Throttle, 2)
            }])
            .unwrap();
        let hits: Vec<bool> = [
            (Service::DynamoDb, "GetItem"),
            (Service::Sqs, "PutItem"),
            (Service::DynamoDb, "PutItem"),
            (Service::DynamoDb, "PutItem"),
            (Service::DynamoDb, "PutItem"),
            (Service::DynamoDb, "PutItem"),
        ]
        .into_iter()
        .map(|(service, action)| faults.hit(service, action).is_some())
        .collect();
        assert_eq!(hits, [false, false, false, true, true, false]);
        assert!(faults.left().is_empty());
    }

    #[test]
    fn a_kind_that_the_service_does_not_know_is_refused() {
        let fault = Fault::new(Service::Sqs, FaultKind::Unprocessed, 1);
        assert_eq!(
            Faults::default().set(vec![fault]).unwrap_err().to_string(),
            "kind: `unprocessed` exists for metering only, not for sqs"
        );
    }
}
