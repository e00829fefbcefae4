//! What a run says in the end: its status, whether it counts as a failure, and which event it raises.

use std::fmt;

use super::advance::Standing;
use super::claim::Reason;
use super::eligibility::Refusal;
use super::validation::Invalid;
use super::verdict::ConnectionRefusal;
use crate::values::entry::EntryState;
use crate::values::run::RunStatus;

/// m3ter's names of the events that an integration raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegrationEvent {
    Validation,
    MissingAccountMapping,
    Authentication,
    Perform,
    Disabled,
}

impl IntegrationEvent {
    pub fn name(self) -> &'static str {
        match self {
            IntegrationEvent::Validation => "integration.validation.error",
            IntegrationEvent::MissingAccountMapping => "integration.missingaccountmapping.error",
            IntegrationEvent::Authentication => "integration.authentication.error",
            IntegrationEvent::Perform => "integration.perform.error",
            IntegrationEvent::Disabled => "integration.disabled.error",
        }
    }
}

/// How one usage key fared in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyOutcome {
    /// `<productCode>-<dimension>`.
    pub dimension: String,
    pub claim: Reason,
    pub entries: Vec<EntryOutcome>,
}

/// How one entry fared.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryOutcome {
    pub hour: String,
    pub quantity: i64,
    pub state: EntryState,
    pub connection: Option<ConnectionRefusal>,
    /// Why the key takes nothing more, where this entry's answer blocked it.
    pub blocked: Option<String>,
    /// Whether the next hour's tick lifts that block.
    pub tried_again: bool,
    pub reason: Option<String>,
}

/// How a bill fared with one configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The configuration does not send it.
    Refused(Refusal),
    /// Something is wrong with it; nothing of it changed.
    Invalid(Invalid),
    /// An older version, or one of a deleted bill.
    Ignored(Standing),
    /// An equal version that would count otherwise now.
    EqualButOther(Vec<KeyOutcome>),
    /// Another worker carried on with a newer version.
    Overtaken,
    /// Counted, and sent as far as it could be.
    Metered(Vec<KeyOutcome>),
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Conclusion {
    pub status: RunStatus,
    pub error: Option<String>,
    pub event: Option<IntegrationEvent>,
    pub tally: Tally,
}

/// What a run does to the configuration's row of successive failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tally {
    /// A completed run ends the row.
    Reset,
    /// Neither a success nor a failure.
    Unchanged,
    /// A failure, counted once per bill and cause.
    Failure { cause: String },
}

impl Outcome {
    /// Why nothing of the bill was sent, by name; none: it was counted.
    pub fn skipped(&self) -> Option<&'static str> {
        match self {
            Outcome::Refused(refusal) => Some(refusal.name()),
            Outcome::Invalid(_) => Some("INVALID"),
            Outcome::Ignored(Standing::Older(_)) => Some("OLDER_VERSION"),
            Outcome::Ignored(Standing::Incomparable(_)) => Some("INCOMPARABLE_VERSION"),
            Outcome::Ignored(Standing::Deleted) => Some("DELETED"),
            Outcome::Overtaken => Some("OVERTAKEN"),
            Outcome::Ignored(Standing::First | Standing::Newer | Standing::Equal)
            | Outcome::EqualButOther(_)
            | Outcome::Metered(_) => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Refused(refusal) => write!(f, "not sent: {refusal}"),
            Outcome::Invalid(invalid) => write!(f, "nothing of this bill was changed: {invalid}"),
            Outcome::Ignored(Standing::Older(newest)) => {
                write!(f, "ignored: {newest} of this bill was handled already")
            }
            Outcome::Ignored(Standing::Incomparable(newest)) => {
                write!(
                    f,
                    "ignored: the newest known is {newest}, and the two kinds cannot be told older from newer"
                )
            }
            Outcome::Ignored(Standing::Deleted) => f.write_str("ignored: the bill was deleted"),
            Outcome::Ignored(Standing::First | Standing::Newer | Standing::Equal) => f.write_str("ignored"),
            Outcome::EqualButOther(_) => f.write_str(
                "the same version would count otherwise now; it stays as it was counted until the run is replayed",
            ),
            Outcome::Overtaken => f.write_str("a newer version of the bill was handled meanwhile"),
            Outcome::Metered(keys) => match keys.len() {
                0 => f.write_str("the bill has nothing to meter"),
                1 => f.write_str("metered on one dimension"),
                several => write!(f, "metered on {several} dimensions"),
            },
        }
    }
}

/// Concludes a run.
pub fn conclude(outcome: &Outcome) -> Conclusion {
    let quiet = |status: RunStatus| Conclusion {
        status,
        error: None,
        event: None,
        tally: Tally::Unchanged,
    };
    match outcome {
        Outcome::Refused(Refusal::Disabled) => Conclusion {
            error: Some(outcome.to_string()),
            ..quiet(RunStatus::Disabled)
        },
        // A configuration is made before it is connected: what comes in between is no failure of it, and waits.
        Outcome::Refused(Refusal::NoCredential) => Conclusion {
            error: Some(outcome.to_string()),
            event: Some(IntegrationEvent::Authentication),
            ..quiet(RunStatus::AuthFailed)
        },
        Outcome::Refused(
            Refusal::NotAmongAccounts | Refusal::RestrictedAccount | Refusal::NotApproved | Refusal::FilteredOut,
        )
        | Outcome::Ignored(_)
        | Outcome::Overtaken => quiet(RunStatus::Complete),
        Outcome::Invalid(invalid) => {
            let event = if invalid.lacks_account_mapping() {
                IntegrationEvent::MissingAccountMapping
            } else {
                IntegrationEvent::Validation
            };
            failure(RunStatus::Error, event, outcome.to_string(), invalid.cause())
        }
        Outcome::EqualButOther(keys) | Outcome::Metered(keys) => metered(keys),
    }
}

/// `cause` is what repeats: it names no amounts and no hours, so that a bill which fails anew each hour counts once.
fn failure(status: RunStatus, event: IntegrationEvent, error: String, cause: String) -> Conclusion {
    Conclusion {
        status,
        tally: Tally::Failure { cause },
        error: Some(error),
        event: Some(event),
    }
}

/// The worst of all keys decides.
fn metered(keys: &[KeyOutcome]) -> Conclusion {
    let entries = || {
        keys.iter()
            .flat_map(|key| key.entries.iter().map(move |entry| (key, entry)))
    };
    let told = |key: &KeyOutcome, entry: &EntryOutcome| {
        let reason = entry.reason.as_deref().unwrap_or("no reason was given");
        format!(
            "{} units of {} for hour {}: {} ({reason})",
            entry.quantity, key.dimension, entry.hour, entry.state
        )
    };
    if let Some((key, entry)) = entries().find(|(_, entry)| entry.connection.is_some()) {
        let (status, event) = match entry.connection {
            Some(ConnectionRefusal::Access) => (RunStatus::AuthFailed, IntegrationEvent::Authentication),
            Some(ConnectionRefusal::Product | ConnectionRefusal::Request) | None => {
                (RunStatus::Error, IntegrationEvent::Perform)
            }
        };
        let reason = entry.reason.clone().unwrap_or_default();
        let error = format!(
            "AWS refuses the connection: {reason}. {} units of {} for hour {} are kept and sent again unchanged while AWS still takes them",
            entry.quantity, key.dimension, entry.hour
        );
        return Conclusion {
            status,
            tally: Tally::Failure { cause: reason },
            error: Some(error),
            event: Some(event),
        };
    }
    let failed = |entry: &EntryOutcome| match entry.state {
        EntryState::Refused | EntryState::Unknown | EntryState::Conflict | EntryState::Released => true,
        EntryState::Pending | EntryState::Accepted | EntryState::Adopted => false,
    };
    // A refused entry whose units were claimed anew and accepted in an earlier hour is history, not a failure.
    let mended = |key: &KeyOutcome| {
        key.entries
            .last()
            .is_some_and(|entry| entry.state == EntryState::Accepted)
    };
    let failures: Vec<(&KeyOutcome, &EntryOutcome)> =
        entries().filter(|(key, entry)| failed(entry) && !mended(key)).collect();
    if !failures.is_empty() {
        let error: Vec<String> = failures.iter().map(|(key, entry)| told(key, entry)).collect();
        let cause: Vec<String> = failures
            .iter()
            .map(|(key, entry)| format!("{} {}", key.dimension, entry.state))
            .collect();
        if failures.iter().all(|(_, entry)| entry.tried_again) {
            return Conclusion {
                status: RunStatus::AwaitingRetry,
                error: Some(format!("{}. The units are kept", error.join("; "))),
                event: None,
                tally: Tally::Unchanged,
            };
        }
        let way_out = match entries().any(|(_, entry)| entry.blocked.is_some()) {
            true => {
                ". The units are kept and nothing more is sent there: mend the cause, then change the external mapping or the configuration, or replay the run"
            }
            false => "",
        };
        return failure(
            RunStatus::Error,
            IntegrationEvent::Perform,
            format!("{}{way_out}", error.join("; ")),
            cause.join("; "),
        );
    }
    let hindered = |reason: Reason| match reason {
        Reason::Blocked | Reason::InConflict => true,
        Reason::TriedAgain
        | Reason::ConnectionFailing
        | Reason::Frozen
        | Reason::Shadow
        | Reason::Disabled
        | Reason::Disconnected
        | Reason::Even
        | Reason::Carry(_)
        | Reason::Claimed
        | Reason::Waits(_) => false,
    };
    if let Some(key) = keys.iter().find(|key| hindered(key.claim)) {
        let error = format!("{}: {}; the bill's units are kept and wait", key.dimension, key.claim);
        return Conclusion {
            status: RunStatus::Error,
            error: Some(error),
            event: None,
            tally: Tally::Unchanged,
        };
    }
    let pending = entries().any(|(_, entry)| entry.state == EntryState::Pending);
    let stands = |key: &&KeyOutcome| {
        let kept = [
            Reason::TriedAgain,
            Reason::ConnectionFailing,
            Reason::Frozen,
            Reason::Disabled,
            Reason::Disconnected,
        ];
        kept.contains(&key.claim)
    };
    let standing = keys.iter().find(stands);
    if pending || standing.is_some() {
        // What a failing connection says is AWS's, and with the entry that met it.
        let kept = standing.filter(|key| key.claim != Reason::ConnectionFailing);
        let error = entries()
            .find_map(|(_, entry)| entry.reason.clone())
            .or_else(|| kept.map(|key| format!("{}: {}", key.dimension, key.claim)));
        return Conclusion {
            status: RunStatus::AwaitingRetry,
            error,
            event: None,
            tally: Tally::Unchanged,
        };
    }
    let waits = keys.iter().any(|key| matches!(key.claim, Reason::Waits(_)));
    let status = if waits { RunStatus::Waiting } else { RunStatus::Complete };
    Conclusion {
        status,
        error: None,
        event: None,
        tally: Tally::Reset,
    }
}

#[cfg(test)]
#[path = "conclusion_tests.rs"]
mod tests;
