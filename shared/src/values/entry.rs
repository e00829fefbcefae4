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

/// What an operator says AWS holds of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// The units are billed, or what AWS holds stands for them: nothing is sent for them any more.
    Accepted,
    /// AWS does not hold them: they go to the next free hour.
    Released,
}

impl Verdict {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Accepted => "ACCEPTED",
            Verdict::Released => "RELEASED",
        }
    }
}

/// Who did something by hand, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ByHand {
    /// The id of the access key.
    pub by: String,
    pub at: Timestamp,
    pub reason: String,
}

/// An operator's decision about an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    pub verdict: Verdict,
    pub decided: ByHand,
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
    /// What an operator decided where AWS's answer left it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
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
    /// Whose it is.
    pub fn organization(&self) -> &OrganizationId {
        &self.origin.connection.organization
    }

    /// Whether AWS's answer is still outstanding, or left open what AWS holds.
    pub fn is_open(&self) -> bool {
        match self.state {
            EntryState::Pending | EntryState::Unknown | EntryState::Conflict => true,
            EntryState::Accepted | EntryState::Adopted | EntryState::Refused | EntryState::Released => false,
        }
    }

    /// Whether an answer or an operator has to settle it; sending it again does not.
    pub fn waits_for_a_decision(&self) -> bool {
        self.is_open() && self.state != EntryState::Pending
    }

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
    /// The hour of the first record on this key, which AWS refused: the block is lifted once, by a later hour's tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifts_after: Option<Hour>,
    /// Entries in CONFLICT.
    pub conflicts: u32,
    pub residuals: BTreeMap<BillReference, Part>,
    /// Hours that have an entry, as far back as AWS's window reaches.
    pub hours: BTreeSet<Hour>,
    /// Until when a leaving buyer's last records are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving_until: Option<Timestamp>,
    /// Who lifted a block by hand last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unblocked: Option<ByHand>,
    pub origin: Origin,
}

/// A usage key with all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHistory {
    pub state: KeyState,
    /// What each bill counts on it.
    pub bills: BTreeMap<BillReference, Units>,
    /// Oldest hour first.
    pub entries: Vec<Entry>,
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
            lifts_after: None,
            conflicts: 0,
            residuals: BTreeMap::new(),
            hours: BTreeSet::new(),
            leaving_until: None,
            unblocked: None,
            origin,
        }
    }

    pub fn hash(&self) -> KeyHash {
        self.key.hash()
    }

    /// Whether it is blocked until somebody mends what AWS refused.
    pub fn is_stopped(&self) -> bool {
        self.blocked.is_some() && self.lifts_after.is_none()
    }

    /// Whether the tick should look at this key: units wait, and nothing forbids claiming them.
    pub fn is_claimable(&self) -> bool {
        self.dirty && !self.is_stopped() && self.conflicts == 0
    }

    /// Whether AWS has other than what the bills owe, or takes nothing more here.
    pub fn is_open(&self) -> bool {
        self.total != self.committed || self.blocked.is_some() || self.conflicts > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{entry, key, organization, origin};
    use super::*;

    #[test]
    fn an_entry_is_unverified_if_a_receipt_was_looked_for_in_vain() {
        let unverified = Entry {
            unseen_since: Some(Timestamp::UNIX_EPOCH),
            ..entry("2025-06-10T10", EntryState::Accepted, &[("A", 7)])
        };
        let check = |entry: Entry, expect: bool| assert_eq!(entry.is_unverified(), expect, "{entry:?}");
        check(unverified.clone(), true);
        check(
            Entry {
                unseen_since: None,
                ..unverified.clone()
            },
            false,
        );
        check(
            Entry {
                seen_event: Some("e".into()),
                ..unverified.clone()
            },
            false,
        );
        check(
            Entry {
                state: EntryState::Unknown,
                ..unverified
            },
            false,
        );
    }

    #[test]
    fn a_state_says_whether_an_entry_counts_and_who_settles_it() {
        use EntryState::*;
        let check = |state: EntryState, name: &str, committed: bool, open: bool, waits_for_a_decision: bool| {
            let entry = entry("2025-06-10T10", state, &[("A", 7)]);
            assert_eq!((state.as_str(), state.to_string().as_str()), (name, name));
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("{name:?}"));
            assert_eq!(
                (state.is_committed(), entry.is_open(), entry.waits_for_a_decision()),
                (committed, open, waits_for_a_decision),
                "{name}"
            );
        };
        check(Pending, "PENDING", true, true, false);
        check(Accepted, "ACCEPTED", true, false, false);
        check(Unknown, "UNKNOWN", true, true, true);
        check(Conflict, "CONFLICT", true, true, true);
        check(Refused, "REFUSED", false, false, false);
        check(Released, "RELEASED", false, false, false);
    }

    #[test]
    fn a_verdict_is_written_as_it_is_stored() {
        for (verdict, name) in [(Verdict::Accepted, "ACCEPTED"), (Verdict::Released, "RELEASED")] {
            assert_eq!(verdict.as_str(), name);
            assert_eq!(serde_json::to_string(&verdict).unwrap(), format!("{name:?}"));
        }
    }

    #[test]
    fn what_aws_turned_out_to_hold_counts_in_place_of_what_was_sent() {
        let check = |state: EntryState, observed: Option<Units>, expect: Units| {
            let entry = Entry {
                observed,
                ..entry("2025-06-10T10", state, &[("A", 7)])
            };
            assert_eq!(entry.committed(), expect, "{state} {observed:?}");
        };
        check(EntryState::Accepted, None, 7);
        check(EntryState::Accepted, Some(5), 5);
        check(EntryState::Accepted, Some(0), 0);
        check(EntryState::Conflict, Some(11), 11);
        check(EntryState::Refused, None, 0);
        check(EntryState::Released, Some(5), 0);
    }

    #[test]
    fn attempts_without_an_answer_are_counted() {
        let check = |started: u32, answered: u32, expect: u32| {
            let entry = Entry {
                attempts_started: started,
                attempts_answered: answered,
                ..entry("2025-06-10T10", EntryState::Pending, &[("A", 7)])
            };
            assert_eq!(
                entry.attempts_unanswered(),
                expect,
                "{started} started, {answered} answered"
            );
        };
        check(0, 0, 0);
        check(1, 0, 1);
        check(5, 2, 3);
        check(5, 5, 0);
    }

    #[test]
    fn an_entry_belongs_to_the_organization_whose_credential_signs() {
        let mut entry = entry("2025-06-10T10", EntryState::Pending, &[("A", 7)]);
        entry.origin.connection.organization = OrganizationId::new("signer").unwrap();
        assert_eq!(entry.organization().as_str(), "signer");
    }

    #[test]
    fn a_key_may_be_claimed_or_is_open_by_its_units_its_block_and_its_conflicts() {
        let check = |(total, committed): (Units, Units), blocked: bool, conflicts: u32, claimable: bool, open: bool| {
            let mut state = KeyState::new(key("users"), origin());
            state.total = total;
            state.committed = committed;
            state.dirty = total > committed;
            state.blocked = blocked.then(|| "refused".to_owned());
            state.conflicts = conflicts;
            assert_eq!(
                (state.is_claimable(), state.is_open()),
                (claimable, open),
                "{committed} of {total}, blocked {blocked}, {conflicts} conflicts"
            );
        };
        check((7, 7), false, 0, false, false);
        check((7, 5), false, 0, true, true);
        check((5, 7), false, 0, false, true);
        check((7, 5), true, 0, false, true);
        check((7, 5), false, 1, false, true);
        check((7, 7), true, 0, false, true);
        check((7, 7), false, 1, false, true);
        check((7, 7), true, 2, false, true);
    }

    #[test]
    fn a_new_key_has_nothing_and_belongs_to_the_organization_that_made_it() {
        let state = KeyState::new(key("users"), origin());
        assert_eq!(state.owner, organization());
        assert_eq!(state.hash(), key("users").hash());
        assert_eq!((state.total, state.committed, state.version), (0, 0, 0));
        assert!(!state.is_open() && state.residuals.is_empty() && state.hours.is_empty());
    }
}
