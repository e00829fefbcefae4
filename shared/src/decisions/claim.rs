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
    /// AWS holds another quantity for one of its hours; nothing is claimed until that is settled.
    InConflict,
    /// The connection is failing.
    ConnectionFailing,
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
            Reason::InConflict => f.write_str(
                "AWS holds another quantity for an hour of this key; nothing is claimed until that is settled",
            ),
            Reason::ConnectionFailing => f.write_str("the connection to AWS is failing; the units wait"),
            Reason::Claimed => f.write_str("claimed"),
            Reason::Waits(units) => write!(f, "{units} units wait for the next free hour"),
        }
    }
}

/// Whether AWS takes anything on this connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionHealth {
    Working,
    Failing,
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

/// Why nothing of a key's `delta` is claimed, whatever the hour; none: it takes the next free one.
pub fn hindrance(state: &KeyState, delta: Units, connection: ConnectionHealth) -> Option<Reason> {
    if delta == 0 {
        Some(Reason::Even)
    } else if delta < 0 {
        Some(Reason::Carry(delta.saturating_neg()))
    } else if state.blocked.is_some() {
        Some(Reason::Blocked)
    } else if state.conflicts > 0 {
        Some(Reason::InConflict)
    } else {
        match connection {
            ConnectionHealth::Failing => Some(Reason::ConnectionFailing),
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
mod tests {
    use super::*;

    use crate::values::entry::{Connection, Origin};
    use crate::values::ids::{BillId, ConfigurationId, CredentialId, OrganizationId, RunId};
    use crate::values::usage_key::{Buyer, Customer, UsageKey};
    use proptest::prelude::*;

    fn reference(bill: &str) -> BillReference {
        BillReference {
            organization: OrganizationId::new("o").unwrap(),
            bill: BillId::new(bill).unwrap(),
        }
    }

    fn state(total: Units, committed: Units, residuals: &[(&str, Units, &str)], hours: &[&str]) -> KeyState {
        let organization = OrganizationId::new("o").unwrap();
        let key = UsageKey {
            region: "us-east-1".into(),
            buyer: Buyer::Product {
                product_code: "p".into(),
                customer: Customer::AwsAccountId("111122223333".into()),
            },
            dimension: "d".into(),
        };
        let connection = Connection {
            organization: organization.clone(),
            credential: CredentialId::new("k").unwrap(),
            region: "us-east-1".into(),
            product_code: "p".into(),
        };
        let origin = Origin {
            configuration: ConfigurationId::new("c").unwrap(),
            run: RunId::new("r").unwrap(),
            bill: reference("A"),
            connection,
        };
        let mut state = KeyState::new(key, origin);
        state.total = total;
        state.committed = committed;
        state.hours = hours.iter().map(|hour| hour.parse().unwrap()).collect();
        for (bill, units, ends) in residuals {
            add_residual(&mut state.residuals, &reference(bill), *units, ends.parse().ok()).unwrap();
        }
        state
    }

    fn check(state: &KeyState, now: &str, expect: &[(&str, Units)], reason: Reason) {
        let plan = plan(state, now.parse().unwrap(), ConnectionHealth::Working, Hours::Ordinary).unwrap();
        let entries: Vec<(String, Units)> = plan
            .entries
            .iter()
            .map(|entry| (entry.hour.to_string(), entry.quantity))
            .collect();
        let expect: Vec<(String, Units)> = expect
            .iter()
            .map(|(hour, quantity)| ((*hour).to_owned(), *quantity))
            .collect();
        assert_eq!((entries, plan.reason), (expect, reason), "{now}");
    }

    const JULY: &str = "2025-07-01T00:00:00Z";
    const AUGUST: &str = "2025-08-01T00:00:00Z";

    #[test]
    fn the_current_hour_or_none() {
        let grown = state(107, 0, &[("A", 107, JULY)], &[]);
        check(
            &grown,
            "2025-06-10T10:20:00Z",
            &[("2025-06-10T10", 107)],
            Reason::Claimed,
        );
        let taken = state(107, 100, &[("A", 7, JULY)], &["2025-06-10T10"]);
        check(&taken, "2025-06-10T10:20:00Z", &[], Reason::Waits(7));
        check(&taken, "2025-06-10T11:00:00Z", &[("2025-06-10T11", 7)], Reason::Claimed);
        check(&state(5, 5, &[], &[]), "2025-06-10T10:20:00Z", &[], Reason::Even);
        check(
            &state(5, 12, &[("A", -7, JULY)], &[]),
            "2025-06-10T10:20:00Z",
            &[],
            Reason::Carry(7),
        );
    }

    #[test]
    fn on_the_first_last_month_takes_its_own_share() {
        let both = state(30, 0, &[("A", 19, JULY), ("B", 11, AUGUST)], &["2025-06-30T23"]);
        check(
            &both,
            "2025-07-01T05:54:59Z",
            &[("2025-06-30T22", 19), ("2025-07-01T05", 11)],
            Reason::Claimed,
        );
        check(&both, "2025-07-01T05:55:00Z", &[("2025-07-01T05", 30)], Reason::Claimed);
        let fell = state(8, 0, &[("A", 19, JULY), ("B", -11, AUGUST)], &[]);
        check(&fell, "2025-07-01T01:00:00Z", &[("2025-06-30T23", 8)], Reason::Claimed);
        let new_month = state(11, 0, &[("B", 11, AUGUST)], &["2025-07-01T02"]);
        check(
            &new_month,
            "2025-07-01T02:30:00Z",
            &[("2025-07-01T01", 11)],
            Reason::Claimed,
        );
    }

    #[test]
    fn what_one_record_cannot_carry_is_spread() {
        let large = state(
            2 * RECORD_UNITS_MAX + 5,
            0,
            &[("A", 2 * RECORD_UNITS_MAX + 5, AUGUST)],
            &["2025-07-10T10"],
        );
        check(
            &large,
            "2025-07-10T10:20:00Z",
            &[
                ("2025-07-10T09", RECORD_UNITS_MAX),
                ("2025-07-10T08", RECORD_UNITS_MAX),
                ("2025-07-10T07", 5),
            ],
            Reason::Claimed,
        );
        let huge = state(30 * RECORD_UNITS_MAX, 0, &[("A", 30 * RECORD_UNITS_MAX, AUGUST)], &[]);
        let plan = plan(
            &huge,
            "2025-07-10T10:20:00Z".parse().unwrap(),
            ConnectionHealth::Working,
            Hours::Ordinary,
        )
        .unwrap();
        assert_eq!(
            (plan.entries.len(), plan.reason, plan.state.dirty),
            (24, Reason::Waits(6 * RECORD_UNITS_MAX), true)
        );
    }

    #[test]
    fn a_leaving_buyer_and_a_refused_one_take_earlier_hours() {
        let mut leaving = state(7, 0, &[("A", 7, AUGUST)], &["2025-07-10T10"]);
        leaving.leaving_until = Some("2025-07-10T11:15:00Z".parse().unwrap());
        check(
            &leaving,
            "2025-07-10T10:20:00Z",
            &[("2025-07-10T09", 7)],
            Reason::Claimed,
        );
        check(
            &leaving,
            "2025-07-10T11:15:00Z",
            &[("2025-07-10T11", 7)],
            Reason::Claimed,
        );
        let refused = state(7, 0, &[("A", 7, AUGUST)], &["2025-07-10T10", "2025-07-10T09"]);
        let before = Hours::Before("2025-07-10T10".parse().unwrap());
        let plan = plan(
            &refused,
            "2025-07-10T10:20:00Z".parse().unwrap(),
            ConnectionHealth::Working,
            before,
        )
        .unwrap();
        assert_eq!(
            plan.entries.first().map(|entry| entry.hour.to_string()),
            Some("2025-07-10T08".to_owned())
        );
    }

    #[test]
    fn more_bills_than_one_entry_can_name_are_claimed_hour_by_hour() {
        let mut shared = state(0, 0, &[], &[]);
        for bill in 0..100 {
            shared = count(&shared, &reference(&format!("B{bill:03}")), 0, 3, AUGUST.parse().ok()).unwrap();
        }
        check(
            &shared,
            "2025-07-10T10:20:00Z",
            &[("2025-07-10T10", 270)],
            Reason::Waits(30),
        );
    }

    #[test]
    fn nothing_is_claimed_where_nothing_may_be() {
        let mut blocked = state(7, 0, &[("A", 7, AUGUST)], &[]);
        blocked.blocked = Some("refused".into());
        check(&blocked, "2025-07-10T10:20:00Z", &[], Reason::Blocked);
        let mut conflict = state(7, 0, &[("A", 7, AUGUST)], &[]);
        conflict.conflicts = 1;
        check(&conflict, "2025-07-10T10:20:00Z", &[], Reason::InConflict);
        let plan = plan(
            &state(7, 0, &[], &[]),
            "2025-07-10T10:20:00Z".parse().unwrap(),
            ConnectionHealth::Failing,
            Hours::Ordinary,
        )
        .unwrap();
        assert_eq!((plan.reason, plan.state.dirty), (Reason::ConnectionFailing, true));
    }

    proptest! {
        #[test]
        fn parts_and_residuals_always_add_up(
            units in prop::collection::vec((-5_000_000_000_i64..5_000_000_000, prop::bool::ANY), 1..6),
            committed in 0_i64..1000,
            minute in 0_i64..(33 * 24 * 60),
            occupied in prop::collection::btree_set(0_i64..40, 0..30),
            leaving in prop::bool::ANY,
        ) {
            let now = "2025-06-29T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute);
            let mut state = state(0, 0, &[], &[]);
            for (index, (units, ended)) in units.iter().enumerate() {
                let end = if *ended { JULY } else { AUGUST };
                state = count(&state, &reference(&format!("B{index}")), 0, *units, end.parse().ok()).unwrap();
            }
            state.total += committed;
            state.committed += committed;
            state.hours = occupied.iter().map(|hours| Hour::containing(now - jiff::SignedDuration::from_hours(*hours))).collect();
            state.leaving_until = leaving.then(|| now + jiff::SignedDuration::from_hours(1));
            let plan = plan(&state, now, ConnectionHealth::Working, Hours::Ordinary).unwrap();
            let sum = |residuals: &BTreeMap<BillReference, Part>| residuals.values().map(|residual| residual.units).sum::<Units>();
            let claimed: Units = plan.entries.iter().map(|entry| entry.quantity).sum();
            prop_assert_eq!(plan.state.committed, state.committed + claimed);
            prop_assert_eq!(sum(&plan.state.residuals), plan.state.total - plan.state.committed);
            prop_assert_eq!(plan.state.dirty, plan.state.total > plan.state.committed);
            for entry in &plan.entries {
                prop_assert!(entry.hour.is_usable(now) && !state.hours.contains(&entry.hour));
                prop_assert!((1..=RECORD_UNITS_MAX).contains(&entry.quantity));
                prop_assert_eq!(entry.parts.values().map(|part| part.units).sum::<Units>(), entry.quantity);
            }
            let hours: std::collections::BTreeSet<Hour> = plan.entries.iter().map(|entry| entry.hour).collect();
            prop_assert_eq!(hours.len(), plan.entries.len());
        }
    }
}
