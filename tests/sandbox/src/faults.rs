//! Faults that a test asks for: which calls to a stand-in fail, and how.
//!
//! Faults are kept in memory only: a restart is healthy.

use std::sync::{Mutex, PoisonError};

use fastrand::Rng;
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
    /// Answered with a 503 under a name that the service's model does not have; no effect.
    UnmodelledError,
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
            | FaultKind::UnmodelledError
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

/// Random faults: each call fails with the same chance, in one of the ways that its service knows.
#[derive(Debug)]
pub struct Weather {
    part: f64,
    random: Rng,
    hits: u64,
}

impl Weather {
    /// Nothing fails.
    pub fn fine() -> Weather {
        Weather::new(0.0, 0)
    }

    /// So great a part of all calls fails.
    pub fn new(part: f64, seed: u64) -> Weather {
        Weather {
            part,
            random: Rng::with_seed(seed),
            hits: 0,
        }
    }

    fn hit(&mut self, service: Service, action: &str) -> Option<FaultKind> {
        if self.random.f64() >= self.part {
            return None;
        }
        self.hits += 1;
        let kinds = [
            FaultKind::Throttle,
            FaultKind::Error,
            FaultKind::LostRequest,
            FaultKind::LostAnswer,
        ];
        let own = match service {
            Service::Metering => Some(FaultKind::Unprocessed),
            Service::DynamoDb if action == "TransactWriteItems" => Some(FaultKind::Conflict),
            _ => None,
        };
        kinds
            .into_iter()
            .chain(own)
            .nth(self.random.usize(..kinds.len() + usize::from(own.is_some())))
    }
}

impl Default for Weather {
    fn default() -> Weather {
        Weather::fine()
    }
}

/// The faults that are still to happen.
#[derive(Debug, Default)]
pub struct Faults {
    faults: Mutex<Vec<Fault>>,
    weather: Mutex<Weather>,
}

impl Faults {
    /// Replaces all faults; an empty list heals everything.
    pub fn set(&self, faults: Vec<Fault>) -> Result<(), FaultError> {
        faults.iter().try_for_each(Fault::check)?;
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        Ok(())
    }

    /// Changes the weather; gives how many calls the one before has hit.
    pub fn set_weather(&self, weather: Weather) -> u64 {
        std::mem::replace(
            &mut *self.weather.lock().unwrap_or_else(PoisonError::into_inner),
            weather,
        )
        .hits
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
                    | FaultKind::UnmodelledError
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
        drop(faults);
        let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        weather.hit(service, action)
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
    fn in_bad_weather_about_the_part_that_was_asked_for_fails() {
        let faults = Faults::default();
        assert!((0..1_000).all(|_| faults.hit(Service::Sqs, "SendMessage").is_none()));
        faults.set_weather(Weather::new(0.1, 3));
        let hits: Vec<FaultKind> = (0..10_000)
            .filter_map(|_| faults.hit(Service::Metering, "BatchMeterUsage"))
            .collect();
        assert!((800..1_200).contains(&hits.len()), "{}", hits.len());
        assert!(hits.contains(&FaultKind::Unprocessed) && !hits.contains(&FaultKind::Conflict));
        assert_eq!(faults.set_weather(Weather::fine()), hits.len() as u64);
        assert!((0..1_000).all(|_| faults.hit(Service::Metering, "BatchMeterUsage").is_none()));
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
