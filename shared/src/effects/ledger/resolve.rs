//! What an operator decides by hand: an entry that AWS's answer left open, a key that AWS's refusal blocked.
//!
//! # Races
//! - A decision and AWS's late answer: both are conditional on the entry as it was read, so one is decided anew on what the other wrote. A
//!   receipt that comes after a decision still counts ([`crate::decisions::verdict::transition`]).
//! - Two operators: the second finds what the first decided; the same decision changes nothing, another one is refused.

use jiff::Timestamp;

use super::record::{Evidence, TRIES_MAX};
use super::{Applied, KeyChange, Ledger, LedgerError};
use crate::decisions::verdict::{self, Settled};
use crate::values::entry::{ByHand, Entry, KeyState, Resolution};
use crate::values::hour::Hour;
use crate::values::ids::OrganizationId;
use crate::values::usage_key::KeyHash;

/// How a decision about an entry ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// The entry as it is now.
    Done(Box<Entry>),
    /// The entry was like that already.
    Already(Box<Entry>),
    /// There is nothing to decide.
    Settled(Settled),
    /// The organization has no such entry.
    Missing,
}

/// How lifting a block ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unblocked {
    /// It is lifted.
    Done(Box<KeyState>),
    /// There is none.
    NotBlocked(Box<KeyState>),
    /// The organization has no such key.
    Missing,
}

impl Ledger {
    /// Settles an entry as an operator says.
    pub async fn resolve(
        &self,
        organization: &OrganizationId,
        (key, hour): (&KeyHash, Hour),
        resolution: &Resolution,
        now: Timestamp,
    ) -> Result<Resolved, LedgerError> {
        for _ in 0..TRIES_MAX {
            let entry = self.entry(key, hour).await?;
            let Some(entry) = entry.filter(|entry| entry.organization() == organization) else {
                return Ok(Resolved::Missing);
            };
            let transition = match verdict::resolved(&entry, resolution.verdict) {
                Ok(Some(transition)) => transition,
                Ok(None) => return Ok(Resolved::Already(Box::new(entry))),
                Err(settled) => return Ok(Resolved::Settled(settled)),
            };
            let evidence = Evidence::Operator(resolution);
            if let Some(recorded) = self.settle(entry, &transition, evidence, now).await? {
                return Ok(Resolved::Done(Box::new(recorded.entry)));
            }
        }
        Err(LedgerError::Contended {
            key: key.clone(),
            tries: TRIES_MAX,
        })
    }

    /// Lets a key claim again although what blocked it has not changed in Outbill.
    pub async fn unblock(
        &self,
        organization: &OrganizationId,
        key: &KeyHash,
        by_hand: &ByHand,
    ) -> Result<Unblocked, LedgerError> {
        for _ in 0..TRIES_MAX {
            let state = self.state(key).await?;
            let Some(state) = state.filter(|state| state.owner == *organization) else {
                return Ok(Unblocked::Missing);
            };
            if state.blocked.is_none() {
                return Ok(Unblocked::NotBlocked(Box::new(state)));
            }
            let after = KeyState {
                blocked: None,
                lifts_after: None,
                unblocked: Some(by_hand.clone()),
                ..state.clone()
            };
            let change = KeyChange {
                known_version: state.version,
                state: after.clone(),
                units: None,
                entries: Vec::new(),
            };
            let Applied { outdated, .. } = self.apply(None, vec![change], by_hand.at).await?;
            if outdated.is_empty() {
                return Ok(Unblocked::Done(Box::new(after)));
            }
        }
        Err(LedgerError::Contended {
            key: key.clone(),
            tries: TRIES_MAX,
        })
    }
}
