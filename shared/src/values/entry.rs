//! The ledger's rows: the entry (usage key × hour) and the state of a usage key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::amount::Units;
use super::bill::BillReference;
use super::hour::Hour;
use super::ids::{ConfigurationId, CredentialId, OrganizationId, RunId};
use super::usage_key::{KeyHash, UsageKey};

/// What is known of an entry at AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EntryState {
    /// Claimed; sent, or about to be, and no final answer yet. Committed.
    Pending,
    /// AWS gave a receipt. Committed.
    Accepted,
    /// The window closed, or AWS refused, while an earlier attempt had no answer. Committed until evidence or an operator decides.
    Unknown,
    /// AWS holds another quantity for this hour. Committed until settled.
    Conflict,
    /// CloudTrail shows what another program reported in this hour; `observed` says how much. Committed.
    Adopted,
    /// AWS refused, and every attempt was answered. Not committed.
    Refused,
    /// The window closed before any attempt could have been accepted. Not committed.
    Released,
}

impl EntryState {
    /// Whether an entry in this state counts into `committed`.
    pub fn is_committed(self) -> bool {
        match self {
            EntryState::Pending
            | EntryState::Accepted
            | EntryState::Unknown
            | EntryState::Conflict
            | EntryState::Adopted => true,
            EntryState::Refused | EntryState::Released => false,
        }
    }

    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryState::Pending => "PENDING",
            EntryState::Accepted => "ACCEPTED",
            EntryState::Unknown => "UNKNOWN",
            EntryState::Conflict => "CONFLICT",
            EntryState::Adopted => "ADOPTED",
            EntryState::Refused => "REFUSED",
            EntryState::Released => "RELEASED",
        }
    }
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a key's usage reaches AWS: which configuration's credential signs, and which product it is sent for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    pub organization: OrganizationId,
    pub credential: CredentialId,
    pub region: String,
    pub product_code: String,
}

/// Where a quantity came from, so that a later answer finds its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    pub configuration: ConfigurationId,
    pub run: RunId,
    /// The bill whose run it is.
    pub bill: BillReference,
    pub connection: Connection,
}

/// How an entry stands in the row of tries for one refused buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Attempt {
    Ordinary,
    /// The one claim in an earlier hour after `CustomerNotSubscribed`.
    EarlierHour,
}

/// One ledger row. Its hour and quantity never change once written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub key: UsageKey,
    pub hour: Hour,
    /// What Outbill sends for this hour: 1 to [`super::amount::RECORD_UNITS_MAX`]; 0 where it never sent anything and another program did.
    pub quantity: Units,
    pub state: EntryState,
    /// How the quantity divides over bills; the parts add up to it.
    pub parts: BTreeMap<BillReference, Part>,
    pub attempts_started: u32,
    pub attempts_answered: u32,
    pub attempt: Attempt,
    pub origin: Origin,
    pub claimed_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metering_record_id: Option<String>,
    /// What AWS turned out to hold for this hour, if different. An entry with it is never sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Units>,
    /// AWS's words, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the newest attempt was started, if there was more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted_at: Option<Timestamp>,
    /// The CloudTrail event that shows what AWS holds here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_event: Option<String>,
    /// Since when CloudTrail was looked at and showed nothing, although AWS gave a receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_since: Option<Timestamp>,
}

impl Entry {
    /// When the newest attempt was started.
    pub fn last_attempt_at(&self) -> Timestamp {
        self.attempted_at.unwrap_or(self.claimed_at)
    }

    /// Whether AWS gave a receipt that CloudTrail was looked at for in vain.
    pub fn is_unverified(&self) -> bool {
        self.state == EntryState::Accepted && self.seen_event.is_none() && self.unseen_since.is_some()
    }

    /// What this entry counts for in `committed`.
    pub fn committed(&self) -> Units {
        if self.state.is_committed() {
            self.observed.unwrap_or(self.quantity)
        } else {
            0
        }
    }

    /// Attempts that were started and never answered: AWS may have accepted any of them.
    pub fn attempts_unanswered(&self) -> u32 {
        self.attempts_started.saturating_sub(self.attempts_answered)
    }
}

/// Units of one bill: its part of an entry, or what of it no committed entry holds yet (negative where the bill fell).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    pub units: Units,
    /// The first instant after the bill's period: decides which month its growth belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// The state of a usage key. The residuals add up to `total - committed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyState {
    pub key: UsageKey,
    /// The first organization on the key.
    pub owner: OrganizationId,
    pub total: Units,
    pub committed: Units,
    /// Counts the writes; 0 before the first.
    pub version: i64,
    /// Units wait for an hour.
    pub dirty: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// Entries in CONFLICT.
    pub conflicts: u32,
    pub residuals: BTreeMap<BillReference, Part>,
    /// Hours that have an entry, as far back as AWS's window reaches.
    pub hours: BTreeSet<Hour>,
    /// Until when a leaving buyer's last records are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving_until: Option<Timestamp>,
    pub origin: Origin,
}

impl KeyState {
    /// The state of a key that nothing was ever counted on.
    pub fn new(key: UsageKey, origin: Origin) -> KeyState {
        KeyState {
            key,
            owner: origin.connection.organization.clone(),
            total: 0,
            committed: 0,
            version: 0,
            dirty: false,
            blocked: None,
            conflicts: 0,
            residuals: BTreeMap::new(),
            hours: BTreeSet::new(),
            leaving_until: None,
            origin,
        }
    }

    pub fn hash(&self) -> KeyHash {
        self.key.hash()
    }

    /// Whether the tick should look at this key: units wait, and nothing forbids claiming them.
    pub fn is_claimable(&self) -> bool {
        self.dirty && self.blocked.is_none() && self.conflicts == 0
    }
}
