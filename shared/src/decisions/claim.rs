//! Which hours a key's unclaimed units go to, and how they divide over bills.
//!
//! # Invariants
//! - An hour that has an entry is never chosen again; a quantity is 1 to 2,147,483,647.
//! - What is claimed never exceeds `total - committed`; what finds no hour stays dirty.
//! - The parts of an entry add up to its quantity; the residuals that remain add up to what remains.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::values::amount::{AmountError, RECORD_UNITS_MAX, Units};
use crate::values::bill::BillReference;
use crate::values::configuration::IntegrationConfiguration;
use crate::values::entry::{KeyState, Part};
use crate::values::hour::{Hour, last_month_is_open, month_start};

/// Occupied hours older than this many hours are forgotten by the state; AWS's window is 24.
const HOURS_KEPT: usize = 50;

/// Bills that one entry divides over: with the entry and the usage report's row of each they fit one transaction of 100 actions.
const PARTS_MAX: usize = 90;

/// Why a claim is made, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// Nothing is owed beyond what is committed.
    Even,
    /// More is committed than owed: held against later growth. AWS takes nothing back.
    Carry(Units),
    /// AWS refused this key for a reason that stands.
    Blocked,
    /// AWS refused its first record, maybe for the hour's sake: the next hour's tick tries once more.
    TriedAgain,
    /// AWS holds another quantity for one of its hours; nothing is claimed until that is settled.
    InConflict,
    /// The connection is failing.
    ConnectionFailing,
    /// The table is a restored copy, and what was sent since is not known yet.
    Frozen,
    /// The configuration is in shadow: it counts and sends nothing.
    Shadow,
    /// The configuration is disabled.
    Disabled,
    /// The configuration has no credential any more.
    Disconnected,
    /// All of it found an hour.
    Claimed,
    /// So much found no hour yet and waits for the next.
    Waits(Units),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Even => f.write_str("AWS already has what the bills owe"),
            Reason::Carry(units) => write!(
                f,
                "AWS has {units} units more than the bills owe now; they are held against later growth"
            ),
            Reason::Blocked => f.write_str(
                "AWS refused this buyer or dimension, and nothing more is sent there: mend the cause, then change the external mapping or the configuration, or replay the run",
            ),
            Reason::TriedAgain => f.write_str(
                "AWS refused the first usage of this buyer and dimension, whose agreement may have begun within that hour; the next hour is tried once more",
            ),
            Reason::InConflict => f.write_str(
                "AWS holds another quantity for an hour of this key; nothing is claimed until that is settled",
            ),
            Reason::ConnectionFailing => f.write_str("the connection to AWS is failing; the units wait"),
            Reason::Frozen => f.write_str(
                "the table was restored from a copy, and what AWS was sent since is not known yet; the units wait until CloudTrail was read or an operator thaws the configuration",
            ),
            Reason::Shadow => f.write_str("the configuration is in shadow: the units are counted, and nothing is sent"),
            Reason::Disabled => f.write_str("the configuration is disabled; the units wait"),
            Reason::Disconnected => f.write_str("the configuration has no credential; the units wait"),
            Reason::Claimed => f.write_str("claimed"),
            Reason::Waits(units) => write!(f, "{units} units wait for the next free hour"),
        }
    }
}

/// Whether anything new goes to AWS on this connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionHealth {
    Working,
    Failing,
    /// The table is a restored copy.
    Frozen,
    /// The configuration only counts.
    Shadow,
    /// The configuration is disabled.
    Disabled,
    /// The configuration has no credential any more.
    Disconnected,
}

impl ConnectionHealth {
    /// What keeps the connection from taking anything new: the first that holds, in this order. Of a configuration that is gone it is known
    /// whether it was in shadow; otherwise its units go on as they are connected.
    pub fn of(
        is_frozen: bool,
        configuration: Option<&IntegrationConfiguration>,
        was_left_in_shadow: bool,
        is_failing: bool,
    ) -> ConnectionHealth {
        match configuration {
            _ if is_frozen => ConnectionHealth::Frozen,
            Some(configuration) if configuration.is_in_shadow() => ConnectionHealth::Shadow,
            None if was_left_in_shadow => ConnectionHealth::Shadow,
            Some(configuration) if !configuration.enabled => ConnectionHealth::Disabled,
            Some(configuration) if configuration.credential.is_none() => ConnectionHealth::Disconnected,
            Some(_) | None if is_failing => ConnectionHealth::Failing,
            Some(_) | None => ConnectionHealth::Working,
        }
    }

    /// Whether a buyer whom AWS refused in one hour may be tried in an earlier one. AWS has just answered, so a connection that failed before
    /// works by now.
    pub fn tries_again(self) -> bool {
        match self {
            ConnectionHealth::Working | ConnectionHealth::Failing => true,
            ConnectionHealth::Frozen
            | ConnectionHealth::Shadow
            | ConnectionHealth::Disabled
            | ConnectionHealth::Disconnected => false,
        }
    }
}

/// Which hours may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hours {
    /// The current hour, and the exceptions of the design.
    Ordinary,
    /// The latest free usable hour before this one: AWS refused the buyer in it.
    Before(Hour),
}

/// An entry to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    pub hour: Hour,
    pub quantity: Units,
    pub parts: BTreeMap<BillReference, Part>,
}

/// What a key claims, and its state after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPlan {
    pub entries: Vec<NewEntry>,
    pub state: KeyState,
    pub reason: Reason,
}

/// Sets a bill's units on a key: total and residual follow. Errors: a sum too large to count.
pub fn count(
    state: &KeyState,
    bill: &BillReference,
    before: Units,
    after: Units,
    ends_at: Option<Timestamp>,
) -> Result<KeyState, AmountError> {
    let growth = after.checked_sub(before).ok_or(AmountError::TooLarge)?;
    let mut state = state.clone();
    state.total = state.total.checked_add(growth).ok_or(AmountError::TooLarge)?;
    add_residual(&mut state.residuals, bill, growth, ends_at)?;
    Ok(state)
}

/// Gives a residual back or takes it; one of zero is not kept.
pub fn add_residual(
    residuals: &mut BTreeMap<BillReference, Part>,
    bill: &BillReference,
    units: Units,
    ends_at: Option<Timestamp>,
) -> Result<(), AmountError> {
    let known = residuals.remove(bill);
    let sum = known
        .map_or(0, |residual| residual.units)
        .checked_add(units)
        .ok_or(AmountError::TooLarge)?;
    if sum != 0 {
        let ends_at = ends_at.or(known.and_then(|residual| residual.ends_at));
        residuals.insert(bill.clone(), Part { units: sum, ends_at });
    }
    Ok(())
}

/// Decides what a key claims at `now`. Errors: a sum too large to count.
pub fn plan(
    state: &KeyState,
    now: Timestamp,
    connection: ConnectionHealth,
    hours: Hours,
) -> Result<ClaimPlan, AmountError> {
    let mut after = state.clone();
    let delta = state.total.checked_sub(state.committed).ok_or(AmountError::TooLarge)?;
    after.dirty = delta > 0;
    after.hours = recent(state, now);
    if let Some(reason) = hindrance(state, delta, connection) {
        return Ok(ClaimPlan {
            entries: Vec::new(),
            state: after,
            reason,
        });
    }
    let mut entries = Vec::new();
    let mut rest = delta;
    for (hour, most) in candidates(state, now, delta, hours)? {
        if rest == 0 {
            break;
        }
        let quantity = rest.min(most).min(RECORD_UNITS_MAX);
        if quantity <= 0 || !after.hours.insert(hour) {
            continue;
        }
        let month = hour.month_start();
        let parts = divide(&mut after.residuals, quantity, |residual| {
            residual.ends_at.is_some_and(|end| end <= month_start(now)) && month < month_start(now)
        })?;
        let quantity = parts
            .values()
            .try_fold(0, |sum: Units, part| sum.checked_add(part.units))
            .ok_or(AmountError::TooLarge)?;
        entries.push(NewEntry { hour, quantity, parts });
        rest = rest.checked_sub(quantity).ok_or(AmountError::TooLarge)?;
    }
    after.committed = state.total.checked_sub(rest).ok_or(AmountError::TooLarge)?;
    after.dirty = rest > 0;
    let reason = if rest > 0 { Reason::Waits(rest) } else { Reason::Claimed };
    Ok(ClaimPlan {
        entries,
        state: after,
        reason,
    })
}

/// The key as the tick looks at it: AWS refused its first record, for an hour that is over, and may take the next one.
pub fn tried_again(state: KeyState, now: Timestamp) -> KeyState {
    match state.lifts_after {
        Some(hour) if Hour::containing(now) > hour => KeyState {
            blocked: None,
            lifts_after: None,
            ..state
        },
        Some(_) | None => state,
    }
}

/// Why nothing of a key's `delta` is claimed, whatever the hour; none: it takes the next free one.
pub fn hindrance(state: &KeyState, delta: Units, connection: ConnectionHealth) -> Option<Reason> {
    if delta == 0 {
        Some(Reason::Even)
    } else if delta < 0 {
        Some(Reason::Carry(delta.saturating_neg()))
    } else if state.is_stopped() {
        Some(Reason::Blocked)
    } else if state.blocked.is_some() {
        Some(Reason::TriedAgain)
    } else if state.conflicts > 0 {
        Some(Reason::InConflict)
    } else {
        match connection {
            ConnectionHealth::Failing => Some(Reason::ConnectionFailing),
            ConnectionHealth::Frozen => Some(Reason::Frozen),
            ConnectionHealth::Shadow => Some(Reason::Shadow),
            ConnectionHealth::Disabled => Some(Reason::Disabled),
            ConnectionHealth::Disconnected => Some(Reason::Disconnected),
            ConnectionHealth::Working => None,
        }
    }
}

fn recent(state: &KeyState, now: Timestamp) -> std::collections::BTreeSet<Hour> {
    let oldest = std::iter::successors(Some(Hour::containing(now)), |hour| Some(hour.previous())).nth(HOURS_KEPT);
    state
        .hours
        .iter()
        .copied()
        .filter(|hour| oldest.is_none_or(|oldest| *hour >= oldest))
        .collect()
}

/// The hours to fill, in order, each with the most that may go there.
fn candidates(state: &KeyState, now: Timestamp, delta: Units, hours: Hours) -> Result<Vec<(Hour, Units)>, AmountError> {
    let current = Hour::containing(now);
    let this_month = month_start(now);
    let free = |hour: &Hour| !state.hours.contains(hour);
    let mut chosen = Vec::new();
    match hours {
        Hours::Before(refused) => {
            chosen.extend(
                Hour::usable(now)
                    .filter(|hour| *hour < refused)
                    .filter(free)
                    .map(|hour| (hour, Units::MAX))
                    .next(),
            );
        }
        Hours::Ordinary => {
            let mut share = last_month_share(state, now, delta)?;
            for hour in Hour::usable(now).filter(|hour| hour.start() < this_month).filter(free) {
                if share == 0 {
                    break;
                }
                let part = share.min(RECORD_UNITS_MAX);
                chosen.push((hour, part));
                share = share.saturating_sub(part);
            }
            let leaving = state.leaving_until.is_some_and(|until| now < until);
            let spreads = leaving || last_month_is_open(now) || delta > RECORD_UNITS_MAX;
            let this_months = Hour::usable(now).filter(|hour| hour.start() >= this_month).filter(free);
            chosen.extend(
                this_months
                    .filter(|hour| spreads || *hour == current)
                    .map(|hour| (hour, Units::MAX)),
            );
            if leaving || delta > RECORD_UNITS_MAX {
                let earlier = Hour::usable(now).filter(|hour| hour.start() < this_month).filter(free);
                let taken: Vec<Hour> = chosen.iter().map(|(hour, _)| *hour).collect();
                chosen.extend(
                    earlier
                        .filter(|hour| !taken.contains(hour))
                        .map(|hour| (hour, Units::MAX)),
                );
            }
        }
    }
    Ok(chosen)
}

/// On the 1st before 05:55: what grew on bills whose period ended with last month, and so belongs into its hours.
fn last_month_share(state: &KeyState, now: Timestamp, delta: Units) -> Result<Units, AmountError> {
    if !last_month_is_open(now) {
        return Ok(0);
    }
    let ended = state
        .residuals
        .values()
        .filter(|residual| residual.ends_at.is_some_and(|end| end <= month_start(now)));
    let growth = ended
        .map(|residual| residual.units)
        .try_fold(0, |sum: Units, units| sum.checked_add(units))
        .ok_or(AmountError::TooLarge)?;
    Ok(growth.max(0).min(delta))
}

/// Takes `quantity` out of the residuals: all of them if they add up to it, else from the positive ones, the preferred first. Less, if
/// so many bills have a part that one entry cannot name them all.
fn divide(
    residuals: &mut BTreeMap<BillReference, Part>,
    quantity: Units,
    preferred: impl Fn(&Part) -> bool,
) -> Result<BTreeMap<BillReference, Part>, AmountError> {
    let sum = residuals
        .values()
        .try_fold(0, |sum: Units, residual| sum.checked_add(residual.units))
        .ok_or(AmountError::TooLarge)?;
    if sum == quantity && residuals.len() <= PARTS_MAX {
        return Ok(std::mem::take(residuals));
    }
    let mut order: Vec<(bool, BillReference)> = residuals
        .iter()
        .map(|(bill, residual)| (!preferred(residual), bill.clone()))
        .collect();
    order.sort();
    let mut parts = BTreeMap::new();
    let mut rest = quantity;
    for (_, bill) in order {
        if parts.len() >= PARTS_MAX {
            break;
        }
        let Some(Part { units: owed, ends_at }) = residuals.get(&bill).copied() else {
            continue;
        };
        let part = owed.min(rest);
        if part > 0 {
            add_residual(residuals, &bill, part.saturating_neg(), None)?;
            parts.insert(bill, Part { units: part, ends_at });
            rest = rest.checked_sub(part).ok_or(AmountError::TooLarge)?;
        }
    }
    Ok(parts)
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
