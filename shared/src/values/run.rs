//! An integration run: one bill event, tried for one configuration.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    configuration::DestinationKind,
    ids::{OrganizationId, RunId},
};

/// Where a run stands. m3ter's own list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(
    missing_docs,
    reason = "the variants are m3ter's words; where a run gets one is said where it is made"
)]
pub enum RunStatus {
    Waiting,
    Started,
    Complete,
    Error,
    AwaitingRetry,
    AuthFailed,
    AccountingPeriodClosed,
    InvoiceAlreadyPaid,
    Disabled,
    TimeoutLimitExceeded,
    RateLimitRetry,
}

/// A text that is no status of m3ter's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a status; the known ones are {known}", known = RunStatus::names())]
pub struct RunStatusError(String);

impl RunStatus {
    /// Every status, in m3ter's order.
    pub const ALL: &'static [RunStatus] = &[
        RunStatus::Waiting,
        RunStatus::Started,
        RunStatus::Complete,
        RunStatus::Error,
        RunStatus::AwaitingRetry,
        RunStatus::AuthFailed,
        RunStatus::AccountingPeriodClosed,
        RunStatus::InvoiceAlreadyPaid,
        RunStatus::Disabled,
        RunStatus::TimeoutLimitExceeded,
        RunStatus::RateLimitRetry,
    ];

    /// m3ter's name.
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Waiting => "WAITING",
            RunStatus::Started => "STARTED",
            RunStatus::Complete => "COMPLETE",
            RunStatus::Error => "ERROR",
            RunStatus::AwaitingRetry => "AWAITING_RETRY",
            RunStatus::AuthFailed => "AUTH_FAILED",
            RunStatus::AccountingPeriodClosed => "ACCOUNTING_PERIOD_CLOSED",
            RunStatus::InvoiceAlreadyPaid => "INVOICE_ALREADY_PAID",
            RunStatus::Disabled => "DISABLED",
            RunStatus::TimeoutLimitExceeded => "TIMEOUT_LIMIT_EXCEEDED",
            RunStatus::RateLimitRetry => "RATE_LIMIT_RETRY",
        }
    }

    fn names() -> String {
        RunStatus::ALL
            .iter()
            .map(|known| known.name())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RunStatus {
    type Err = RunStatusError;
    fn from_str(text: &str) -> Result<RunStatus, RunStatusError> {
        let known = RunStatus::ALL.iter().find(|known| known.name() == text);
        known.copied().ok_or_else(|| RunStatusError(text.to_owned()))
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationRun {
    /// Its id; ordered by creation.
    pub id: RunId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// What kind of thing was sent: `Bill`.
    pub entity_type: String,
    /// The bill's id.
    pub entity_id: String,
    /// The version of the bill that it ran for, as text that sorts.
    pub entity_version: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Where it was sent.
    pub destination: DestinationKind,
    /// The configuration that it ran for.
    pub destination_id: Option<String>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended; none while it is under way or waits.
    pub completed: Option<Timestamp>,
    /// Why it did not complete.
    pub error: Option<String>,
    /// What the destination calls the bill, where it does.
    pub external_id: Option<String>,
    /// The run whose bill this one sent again.
    pub replayed_from: Option<RunId>,
    /// One more with each change. A change is kept only if it is not older than what is stored.
    pub version: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_as_m3ter_does() {
        assert_eq!(RunStatus::ALL.len(), 11);
        for known in RunStatus::ALL {
            assert_eq!(known.name().parse(), Ok(*known));
            assert_eq!(serde_json::to_string(known).unwrap(), format!("\"{known}\""));
        }
        assert!(
            "DONE"
                .parse::<RunStatus>()
                .unwrap_err()
                .to_string()
                .contains("WAITING, STARTED")
        );
    }
}
