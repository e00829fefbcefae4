//! Every row of the amendment table: the ledger and CloudTrail before, the ledger after, and what the next bill would send.

use super::*;
use crate::decisions::claim;
use crate::decisions::comparison::tests::{at, entry, key, origin, reading, seen, stance};
use crate::decisions::comparison::{KeyOwner, Why, absent, shown, unexplained};
use crate::values::entry::Part;

/// A key whose one bill owes `total`, with this entry.
fn state(total: Units, entry: Option<&Entry>) -> KeyState {
    let mut state = claim::count(&KeyState::new(key(), origin()), &origin().bill, 0, total, None).unwrap();
    state.version = 3;
    if let Some(entry) = entry {
        state.hours.insert(entry.hour);
        state.conflicts = u32::from(entry.state == EntryState::Conflict);
        if entry.state.is_committed() {
            move_parts(&mut state, entry, -1).unwrap();
        }
    }
    state.dirty = state.total > state.committed;
    state
}

fn add_up(amended: &Amended, before: &KeyState, others: Units) {
    let after = amended.state.as_ref().unwrap_or(before);
    let residuals: Units = after.residuals.values().map(|part: &Part| part.units).sum();
    assert_eq!(residuals, after.total - after.committed);
    assert_eq!(after.committed, amended.entry.committed() + others);
    assert_eq!(after.dirty, after.total > after.committed);
}

/// What the bill's next version, which owes `total`, would send.
fn next_delta(state: &KeyState, total: Units) -> Units {
    let counted = claim::count(state, &origin().bill, state.total, total, None).unwrap();
    counted.total - counted.committed
}

#[test]
fn every_row_of_the_amendment_table() {
    use EntryState::*;
    struct Row {
        ledger: Option<EntryState>,
        cloudtrail: Option<Units>,
        why: Why,
        state: EntryState,
        observed: Option<Units>,
        /// What is committed before and after.
        committed: (Units, Units),
        /// What the next bill of 20 would send before and after; below zero it is carried.
        next: (Units, Units),
    }
    // The bill owes 11; the entry is of 7.
    let row = |ledger, cloudtrail, why, state, observed, committed, next| Row {
        ledger,
        cloudtrail,
        why,
        state,
        observed,
        committed,
        next,
    };
    let rows = [
        row(Some(Accepted), Some(7), Why::Agreed, Accepted, None, (7, 7), (13, 13)),
        row(
            Some(Pending),
            Some(7),
            Why::AnswerLost,
            Accepted,
            None,
            (7, 7),
            (13, 13),
        ),
        row(
            Some(Unknown),
            Some(7),
            Why::AnswerLost,
            Accepted,
            None,
            (7, 7),
            (13, 13),
        ),
        row(
            Some(Conflict),
            Some(7),
            Why::DuplicateOfItself,
            Accepted,
            None,
            (7, 7),
            (13, 13),
        ),
        row(
            Some(Refused),
            Some(7),
            Why::TakenAfterAll,
            Accepted,
            None,
            (0, 7),
            (20, 13),
        ),
        row(
            Some(Released),
            Some(7),
            Why::TakenAfterAll,
            Accepted,
            None,
            (0, 7),
            (20, 13),
        ),
        row(
            Some(Accepted),
            None,
            Why::ReceiptUnseenLong,
            Accepted,
            None,
            (7, 7),
            (13, 13),
        ),
        row(Some(Unknown), None, Why::NotAtAws, Released, None, (7, 0), (13, 20)),
        row(
            Some(Accepted),
            Some(5),
            Why::OtherQuantity,
            Accepted,
            Some(5),
            (7, 5),
            (13, 15),
        ),
        row(
            Some(Pending),
            Some(9),
            Why::OtherQuantity,
            Adopted,
            Some(9),
            (7, 9),
            (13, 11),
        ),
        row(
            Some(Unknown),
            Some(5),
            Why::OtherQuantity,
            Adopted,
            Some(5),
            (7, 5),
            (13, 15),
        ),
        row(
            Some(Conflict),
            Some(23),
            Why::OtherQuantity,
            Adopted,
            Some(23),
            (7, 23),
            (13, -3),
        ),
        row(
            Some(Refused),
            Some(5),
            Why::OtherQuantity,
            Adopted,
            Some(5),
            (0, 5),
            (20, 15),
        ),
        row(
            Some(Released),
            Some(0),
            Why::OtherQuantity,
            Adopted,
            Some(0),
            (0, 0),
            (20, 20),
        ),
        row(None, Some(5), Why::ForeignReporter, Adopted, Some(5), (0, 5), (20, 15)),
        row(
            None,
            Some(23),
            Why::ForeignReporter,
            Adopted,
            Some(23),
            (0, 23),
            (20, -3),
        ),
    ];
    let now = at("2025-06-14T00:00:00Z");
    for row in rows {
        let before = row.ledger.map(|state| entry(state, 7));
        let known = state(11, before.as_ref());
        let shows = row.cloudtrail.map(seen);
        let told = format!("{:?} {:?}", row.ledger, row.cloudtrail);
        assert_eq!(known.committed, row.committed.0, "{told}");
        let (found, amended) = match (&before, &shows) {
            (Some(before), shows) => {
                let found = match shows {
                    Some(shows) => shown(before, shows, &stance()),
                    None => absent(before, &reading(&["2025-06-10T09:10:00Z", "2025-06-10T10:50:00Z"]), now),
                };
                let amended = amend(before, &known, found.amendment, shows.as_ref(), "why", now).unwrap();
                // The same evidence once more amends nothing.
                if let (Some(shows), Some(after)) = (shows, &amended.state) {
                    let again = shown(&amended.entry, shows, &stance());
                    assert_eq!(again.amendment, Amendment::None, "{told}");
                    let twice = amend(&amended.entry, after, again.amendment, Some(shows), "why", now).unwrap();
                    assert_eq!((&twice.entry, twice.state), (&amended.entry, None), "{told}");
                }
                (found, amended)
            }
            (None, Some(shows)) => {
                let found = unexplained(shows, KeyOwner::Own, &stance());
                (found, adopt(&known, shows, now).unwrap())
            }
            (None, None) => continue,
        };
        let after = amended.state.clone().unwrap_or_else(|| known.clone());
        assert_eq!(found.why, row.why, "{told}");
        assert_eq!(
            (amended.entry.state, amended.entry.observed),
            (row.state, row.observed),
            "{told}"
        );
        assert_eq!(after.committed, row.committed.1, "{told}");
        assert_eq!((next_delta(&known, 20), next_delta(&after, 20)), row.next, "{told}");
        assert_eq!(after.conflicts, 0, "{told}");
        assert_eq!(
            amended.entry.quantity,
            if row.ledger.is_some() { 7 } else { 0 },
            "{told}"
        );
        assert!(after.hours.contains(&amended.entry.hour), "{told}");
        add_up(&amended, &known, 0);
    }
}

#[test]
fn adopted_units_are_taken_from_bills_that_wait_before_the_newest_carries_the_rest() {
    let mut known = state(11, None);
    let other = crate::values::bill::BillReference {
        bill: crate::values::ids::BillId::new("a").unwrap(),
        ..origin().bill
    };
    known = claim::count(&known, &other, 0, 3, None).unwrap();
    let amended = adopt(&known, &seen(17), at("2025-06-11T11:00:00Z")).unwrap();
    add_up(&amended, &known, 0);
    let left = amended.state.unwrap().residuals;
    let units: Vec<(String, Units)> = left
        .iter()
        .map(|(bill, part)| (bill.bill.to_string(), part.units))
        .collect();
    assert_eq!(units, [("b".to_owned(), -3)]);
}

#[test]
fn an_amended_entry_says_why_and_what_showed_it() {
    let now = at("2025-06-14T00:00:00Z");
    let check = |before: &Entry, amendment: Amendment, shows: Option<&Observation>, expect: &Entry| {
        let amended = amend(before, &state(11, Some(before)), amendment, shows, "why", now).unwrap();
        assert_eq!(&amended.entry, expect, "{amendment:?}");
    };
    let seen = seen(7);
    let unverified = Entry {
        unseen_since: Some(at("2025-06-11T11:00:00Z")),
        ..entry(EntryState::Accepted, 7)
    };
    let verified = Entry {
        unseen_since: None,
        seen_event: Some("e".to_owned()),
        ..unverified.clone()
    };
    check(&unverified, Amendment::Verify, Some(&seen), &verified);
    // Marked once: since when is not forgotten.
    check(&unverified, Amendment::MarkUnverified, None, &unverified);
    let marked = Entry {
        unseen_since: Some(now),
        ..entry(EntryState::Accepted, 7)
    };
    check(
        &entry(EntryState::Accepted, 7),
        Amendment::MarkUnverified,
        None,
        &marked,
    );
    let unknown = entry(EntryState::Unknown, 7);
    let reason = Some("why".to_owned());
    let accepted = Entry {
        state: EntryState::Accepted,
        metering_record_id: Some("m".to_owned()),
        seen_event: Some("e".to_owned()),
        reason: reason.clone(),
        ..unknown.clone()
    };
    check(&unknown, Amendment::Accept, Some(&seen), &accepted);
    let observed = Entry {
        state: EntryState::Adopted,
        observed: Some(5),
        ..accepted
    };
    check(&unknown, Amendment::Observe(5), Some(&seen), &observed);
    let released = Entry {
        state: EntryState::Released,
        reason,
        ..unknown.clone()
    };
    check(&unknown, Amendment::Release, None, &released);
}

#[test]
fn a_key_is_dirty_only_if_it_owes_more_and_keeps_the_conflicts_of_other_entries() {
    let now = at("2025-06-14T00:00:00Z");
    let adopted = adopt(&state(5, None), &seen(5), now).unwrap();
    assert!(!adopted.state.unwrap().dirty, "nothing more is owed");
    let refused = entry(EntryState::Refused, 7);
    let known = KeyState {
        conflicts: 1,
        ..state(7, Some(&refused))
    };
    let amended = amend(&refused, &known, Amendment::Accept, Some(&seen(7)), "why", now).unwrap();
    let after = amended.state.unwrap();
    assert_eq!((after.dirty, after.conflicts), (false, 1));
}
