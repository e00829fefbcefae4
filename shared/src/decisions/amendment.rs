//! What an amendment makes of an entry and its key.
//!
//! # Invariants
//! - An hour and a quantity never change: what AWS turned out to hold is `observed`.
//! - `committed` stays the sum over the entries, and the residuals add up to `total - committed`.
//! - A receipt is never taken back: an ACCEPTED entry stays ACCEPTED.
//! - Nothing is sent from here. A key that owes more than is committed becomes dirty, and the ordinary claim does the rest.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::claim::add_residual;
use super::comparison::Amendment;
use crate::values::amount::{AmountError, Units};
use crate::values::entry::{Attempt, Entry, EntryState, KeyState};
use crate::values::trail::Observation;

/// An entry and its key after an amendment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amended {
    pub entry: Entry,
    /// The key's state; none: it does not change.
    pub state: Option<KeyState>,
}

/// The entry of an hour in which another program reported: Outbill never sends it.
pub fn adopted(state: &KeyState, seen: &Observation, now: Timestamp) -> Entry {
    Entry {
        key: state.key.clone(),
        hour: seen.hour,
        quantity: 0,
        state: EntryState::Adopted,
        parts: BTreeMap::new(),
        attempts_started: 0,
        attempts_answered: 0,
        attempt: Attempt::Ordinary,
        origin: state.origin.clone(),
        claimed_at: now,
        metering_record_id: seen.metering_record_id.clone(),
        observed: Some(seen.quantity),
        reason: Some("another program reported it".to_owned()),
        resolution: None,
        attempted_at: None,
        seen_event: Some(seen.event.clone()),
        unseen_since: None,
    }
}

/// Adopts a record into its key. Errors: a sum too large to count.
pub fn adopt(state: &KeyState, seen: &Observation, now: Timestamp) -> Result<Amended, AmountError> {
    let entry = adopted(state, seen, now);
    let mut state = state.clone();
    commit(&mut state, seen.quantity)?;
    state.hours.insert(seen.hour);
    state.dirty = state.total > state.committed;
    Ok(Amended {
        entry,
        state: Some(state),
    })
}

/// Amends an entry. `seen` is what CloudTrail shows, if it shows the record at all. Errors: a sum too large to count.
pub fn amend(
    entry: &Entry,
    state: &KeyState,
    amendment: Amendment,
    seen: Option<&Observation>,
    reason: &str,
    now: Timestamp,
) -> Result<Amended, AmountError> {
    let seen_event = seen.map(|seen| seen.event.clone()).or_else(|| entry.seen_event.clone());
    let id = seen.and_then(|seen| seen.metering_record_id.clone());
    let shown = Entry {
        seen_event,
        unseen_since: None,
        metering_record_id: entry.metering_record_id.clone().or(id),
        ..entry.clone()
    };
    let reason = Some(reason.to_owned());
    let mut after = state.clone();
    let entry_after = match amendment {
        // An hour that has an entry cannot be adopted; the decision on the row never says so.
        Amendment::None | Amendment::Adopt(_) => entry.clone(),
        Amendment::Verify => shown,
        Amendment::MarkUnverified => Entry {
            unseen_since: entry.unseen_since.or(Some(now)),
            ..entry.clone()
        },
        Amendment::Accept => {
            recommit(&mut after, entry)?;
            Entry {
                state: EntryState::Accepted,
                reason,
                ..shown
            }
        }
        Amendment::Observe(units) => {
            recommit(&mut after, entry)?;
            let more = units.checked_sub(entry.quantity).ok_or(AmountError::TooLarge)?;
            commit(&mut after, more)?;
            Entry {
                state: observed_state(entry.state),
                observed: Some(units),
                reason,
                ..shown
            }
        }
        Amendment::Release => {
            move_parts(&mut after, entry, 1)?;
            Entry {
                state: EntryState::Released,
                reason,
                ..entry.clone()
            }
        }
    };
    if entry.state == EntryState::Conflict && entry_after.state != EntryState::Conflict {
        after.conflicts = after.conflicts.saturating_sub(1);
    }
    after.dirty = after.total > after.committed;
    Ok(Amended {
        entry: entry_after,
        state: (after != *state).then_some(after),
    })
}

/// An entry whose hour holds another quantity is not sent again: it stands for what is there. A receipt stays one.
fn observed_state(state: EntryState) -> EntryState {
    match state {
        EntryState::Accepted => EntryState::Accepted,
        EntryState::Pending
        | EntryState::Unknown
        | EntryState::Conflict
        | EntryState::Adopted
        | EntryState::Refused
        | EntryState::Released => EntryState::Adopted,
    }
}

/// Takes an entry's quantity again that had been given back.
fn recommit(state: &mut KeyState, entry: &Entry) -> Result<(), AmountError> {
    match entry.state.is_committed() {
        true => Ok(()),
        false => move_parts(state, entry, -1),
    }
}

/// `sign` 1 gives the entry's quantity back to the bills, -1 takes it again.
pub fn move_parts(state: &mut KeyState, entry: &Entry, sign: Units) -> Result<(), AmountError> {
    let committed = entry
        .quantity
        .checked_mul(sign)
        .and_then(|moved| state.committed.checked_sub(moved));
    state.committed = committed.ok_or(AmountError::TooLarge)?;
    for (bill, part) in &entry.parts {
        let units = part.units.checked_mul(sign).ok_or(AmountError::TooLarge)?;
        add_residual(&mut state.residuals, bill, units, part.ends_at)?;
    }
    Ok(())
}

/// Commits units that no bill's part says anything of: bills that wait for an hour take them first, the rest is the key's newest bill's.
/// Fewer than nothing: AWS holds less than was sent, and the newest bill waits for the rest.
fn commit(state: &mut KeyState, units: Units) -> Result<(), AmountError> {
    state.committed = state.committed.checked_add(units).ok_or(AmountError::TooLarge)?;
    let mut rest = units;
    for (bill, part) in state.residuals.clone() {
        let taken = part.units.min(rest);
        if taken > 0 {
            add_residual(&mut state.residuals, &bill, taken.saturating_neg(), None)?;
            rest = rest.saturating_sub(taken);
        }
    }
    let newest = state.origin.bill.clone();
    add_residual(&mut state.residuals, &newest, rest.saturating_neg(), None)
}

#[cfg(test)]
#[path = "amendment_tests.rs"]
mod tests;
