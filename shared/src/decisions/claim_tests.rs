//! Which hours a claim takes, what each holds of which bill, and what is left.

use super::*;

use crate::values::entry::{Connection, Origin};
use crate::values::ids::{BillId, ConfigurationId, CredentialId, OrganizationId, RunId};
use crate::values::samples;
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
    assert_eq!(plan.state.dirty, plan.state.total > plan.state.committed, "{now}");
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

/// What each claimed hour holds of which bill.
fn check_parts(state: &KeyState, now: &str, expect: &[(&str, &[(&str, Units)])]) {
    let plan = plan(state, now.parse().unwrap(), ConnectionHealth::Working, Hours::Ordinary).unwrap();
    let entries: Vec<(String, Vec<(String, Units)>)> = plan
        .entries
        .iter()
        .map(|entry| {
            let parts = entry.parts.iter();
            let parts = parts.map(|(reference, part)| (reference.bill.to_string(), part.units));
            (entry.hour.to_string(), parts.collect())
        })
        .collect();
    let expect: Vec<(String, Vec<(String, Units)>)> = expect
        .iter()
        .map(|(hour, parts)| {
            let parts = parts.iter().map(|(bill, units)| ((*bill).to_owned(), *units));
            ((*hour).to_owned(), parts.collect())
        })
        .collect();
    assert_eq!(entries, expect, "{now}");
}

#[test]
fn a_reason_is_told_in_words() {
    let check = |reason: Reason, part: &str| {
        let text = reason.to_string();
        assert!(text.contains(part), "{reason:?}: {text}");
    };
    check(Reason::Even, "already has what the bills owe");
    check(Reason::Carry(7), "AWS has 7 units more than the bills owe now");
    check(Reason::Blocked, "mend the cause, then change the external mapping");
    check(Reason::TriedAgain, "the next hour is tried once more");
    check(Reason::InConflict, "another quantity for an hour of this key");
    check(Reason::ConnectionFailing, "the connection to AWS is failing");
    check(Reason::Frozen, "the table was restored from a copy");
    check(Reason::Shadow, "counted, and nothing is sent");
    check(Reason::Disabled, "the configuration is disabled");
    check(Reason::Disconnected, "has no credential");
    check(Reason::Claimed, "claimed");
    check(Reason::Waits(7), "7 units wait for the next free hour");
}

#[test]
fn what_keeps_a_connection_from_anything_new_is_told_in_one_order() {
    let check = |frozen: bool, configuration: Option<(bool, bool, bool)>, failing: bool, expect: ConnectionHealth| {
        let configuration = configuration.map(|(shadow, enabled, connected)| {
            let mut configuration = samples::integration(enabled, connected.then_some("k"));
            configuration
                .config_data
                .insert("marketplaceShadow".to_owned(), shadow.into());
            configuration
        });
        let gone = configuration.is_none();
        let health = |left: bool| ConnectionHealth::of(frozen, configuration.as_ref(), left, failing);
        assert_eq!(health(false), expect, "{frozen} {configuration:?} {failing}");
        let left = if gone && !frozen {
            ConnectionHealth::Shadow
        } else {
            expect
        };
        assert_eq!(
            health(true),
            left,
            "left in shadow: {frozen} {configuration:?} {failing}"
        );
        let tries = matches!(expect, ConnectionHealth::Working | ConnectionHealth::Failing);
        assert_eq!(expect.tries_again(), tries, "{expect:?}");
    };
    for failing in [false, true] {
        check(true, None, failing, ConnectionHealth::Frozen);
        check(true, Some((true, false, false)), failing, ConnectionHealth::Frozen);
        check(false, Some((true, false, false)), failing, ConnectionHealth::Shadow);
        check(false, Some((false, false, false)), failing, ConnectionHealth::Disabled);
        check(
            false,
            Some((false, true, false)),
            failing,
            ConnectionHealth::Disconnected,
        );
    }
    check(false, Some((false, true, true)), true, ConnectionHealth::Failing);
    check(false, Some((false, true, true)), false, ConnectionHealth::Working);
    check(false, None, true, ConnectionHealth::Failing);
    check(false, None, false, ConnectionHealth::Working);
}

#[test]
fn what_hinders_a_claim_is_named_in_one_order() {
    let check = |delta: Units, blocked: bool, conflicts: u32, connection: ConnectionHealth, expect: Option<Reason>| {
        let mut state = state(0, 0, &[], &[]);
        state.blocked = blocked.then(|| "refused".into());
        state.conflicts = conflicts;
        assert_eq!(
            hindrance(&state, delta, connection),
            expect,
            "{delta} {blocked} {conflicts} {connection:?}"
        );
    };
    let (working, failing) = (ConnectionHealth::Working, ConnectionHealth::Failing);
    check(1, false, 0, working, None);
    check(1, false, 0, failing, Some(Reason::ConnectionFailing));
    check(1, false, 0, ConnectionHealth::Frozen, Some(Reason::Frozen));
    check(1, false, 0, ConnectionHealth::Shadow, Some(Reason::Shadow));
    check(1, false, 0, ConnectionHealth::Disabled, Some(Reason::Disabled));
    check(1, false, 0, ConnectionHealth::Disconnected, Some(Reason::Disconnected));
    check(1, false, 1, failing, Some(Reason::InConflict));
    check(1, true, 1, failing, Some(Reason::Blocked));
    let mut refused = state(0, 0, &[], &[]);
    refused.blocked = Some("refused".into());
    refused.lifts_after = Some("2025-07-10T10".parse().unwrap());
    assert_eq!(hindrance(&refused, 1, failing), Some(Reason::TriedAgain));
    let at = |now: &str| tried_again(refused.clone(), now.parse().unwrap());
    assert_eq!(at("2025-07-10T10:59:59Z"), refused);
    let lifted = at("2025-07-10T11:00:00Z");
    assert_eq!(hindrance(&lifted, 1, working), None);
    assert_eq!((lifted.blocked, lifted.lifts_after), (None, None));
    check(0, true, 1, failing, Some(Reason::Even));
    check(-1, true, 1, failing, Some(Reason::Carry(1)));
    check(-7, false, 0, working, Some(Reason::Carry(7)));
}

#[test]
fn a_bills_new_units_change_the_total_and_what_is_open_of_it() {
    let ends = |text: &str| text.parse::<Timestamp>().ok();
    let check = |open: Units, (before, after): (Units, Units), ends_at: Option<Timestamp>, expect: Option<Part>| {
        let before_it = state(101, 60, &[("A", open, JULY)], &[]);
        let after_it = count(&before_it, &reference("A"), before, after, ends_at).unwrap();
        assert_eq!(after_it.total, 101 - before + after);
        assert_eq!(after_it.committed, 60);
        assert_eq!(
            after_it.residuals.get(&reference("A")).copied(),
            expect,
            "{before} to {after}"
        );
    };
    let part = |units: Units, end: &str| {
        Some(Part {
            units,
            ends_at: ends(end),
        })
    };
    check(41, (53, 60), None, part(48, JULY));
    check(41, (53, 60), ends(AUGUST), part(48, AUGUST));
    check(41, (53, 5), None, part(-7, JULY));
    check(41, (53, 53), None, part(41, JULY));
    check(41, (53, 12), None, None);
    let full = state(Units::MAX, 0, &[], &[]);
    let growth =
        |before: Units, after: Units| count(&full, &reference("A"), before, after, None).map(|state| state.total);
    assert_eq!(growth(0, 1), Err(AmountError::TooLarge));
    assert_eq!(growth(Units::MIN, 1), Err(AmountError::TooLarge));
    assert_eq!(growth(7, 0), Ok(Units::MAX - 7));
    let owed = BTreeMap::from([(
        reference("A"),
        Part {
            units: Units::MAX,
            ends_at: None,
        },
    )]);
    let added = add_residual(&mut owed.clone(), &reference("A"), 1, None);
    assert_eq!(added, Err(AmountError::TooLarge));
}

#[test]
fn occupied_hours_are_remembered_for_fifty_hours() {
    let state = state(
        0,
        0,
        &[],
        &["2025-06-08T07", "2025-06-08T08", "2025-06-08T09", "2025-06-10T10"],
    );
    let kept = recent(&state, "2025-06-10T10:59:59Z".parse().unwrap());
    let kept: Vec<String> = kept.iter().map(Hour::to_string).collect();
    assert_eq!(kept, ["2025-06-08T08", "2025-06-08T09", "2025-06-10T10"]);
    let plan = plan(
        &state,
        "2025-06-10T10:59:59Z".parse().unwrap(),
        ConnectionHealth::Working,
        Hours::Ordinary,
    );
    assert_eq!(plan.unwrap().state.hours.len(), 3);
}

#[test]
fn last_months_hours_take_the_bills_that_ended_first_and_only_on_the_first() {
    let both = || state(30, 0, &[("A", 11, AUGUST), ("B", 19, JULY)], &[]);
    check_parts(
        &both(),
        "2025-07-01T00:20:00Z",
        &[("2025-06-30T23", &[("B", 19)]), ("2025-07-01T00", &[("A", 11)])],
    );
    check_parts(
        &both(),
        "2025-07-10T10:20:00Z",
        &[("2025-07-10T10", &[("A", 11), ("B", 19)])],
    );
    let without_end = state(30, 0, &[("A", 11, "none"), ("B", 19, JULY)], &[]);
    check_parts(
        &without_end,
        "2025-07-01T00:20:00Z",
        &[("2025-06-30T23", &[("B", 19)]), ("2025-07-01T00", &[("A", 11)])],
    );
    // This month's hours prefer nobody.
    let large = state(
        RECORD_UNITS_MAX + 5,
        0,
        &[("A", 5, AUGUST), ("B", RECORD_UNITS_MAX, JULY)],
        &[],
    );
    check_parts(
        &large,
        "2025-07-10T10:20:00Z",
        &[
            ("2025-07-10T10", &[("A", 5), ("B", RECORD_UNITS_MAX - 5)]),
            ("2025-07-10T09", &[("B", 5)]),
        ],
    );
    let ended = state(
        RECORD_UNITS_MAX + 5,
        0,
        &[("B", RECORD_UNITS_MAX + 5, JULY)],
        &["2025-06-30T22"],
    );
    check_parts(
        &ended,
        "2025-07-01T01:20:00Z",
        &[
            ("2025-06-30T23", &[("B", RECORD_UNITS_MAX)]),
            ("2025-06-30T21", &[("B", 5)]),
        ],
    );
}

#[test]
fn what_fell_is_set_off_where_one_entry_takes_all_and_else_stays_open() {
    let fell = state(8, 0, &[("A", 19, AUGUST), ("B", -11, AUGUST)], &[]);
    check_parts(
        &fell,
        "2025-07-10T10:20:00Z",
        &[("2025-07-10T10", &[("A", 19), ("B", -11)])],
    );
    let large = state(
        RECORD_UNITS_MAX + 5,
        0,
        &[("A", -7, AUGUST), ("B", RECORD_UNITS_MAX, AUGUST), ("C", 12, AUGUST)],
        &[],
    );
    check_parts(
        &large,
        "2025-07-10T10:20:00Z",
        &[
            ("2025-07-10T10", &[("B", RECORD_UNITS_MAX)]),
            ("2025-07-10T09", &[("A", -7), ("C", 12)]),
        ],
    );
}

#[test]
fn one_record_carries_its_most_and_only_more_takes_other_hours() {
    let of = |units: Units, hours: &[&str]| state(units, 0, &[("A", units, AUGUST)], hours);
    let now = "2025-07-10T10:20:00Z";
    check(
        &of(RECORD_UNITS_MAX, &[]),
        now,
        &[("2025-07-10T10", RECORD_UNITS_MAX)],
        Reason::Claimed,
    );
    check(
        &of(RECORD_UNITS_MAX, &["2025-07-10T10"]),
        now,
        &[],
        Reason::Waits(RECORD_UNITS_MAX),
    );
    check(
        &of(RECORD_UNITS_MAX + 1, &["2025-07-10T10"]),
        now,
        &[("2025-07-10T09", RECORD_UNITS_MAX), ("2025-07-10T08", 1)],
        Reason::Claimed,
    );
    // On the first, last month's hours take what this month's do not, but only if one record cannot.
    let first = "2025-07-01T00:20:00Z";
    check(
        &of(RECORD_UNITS_MAX, &["2025-07-01T00"]),
        first,
        &[],
        Reason::Waits(RECORD_UNITS_MAX),
    );
    check(&of(7, &["2025-07-01T00"]), first, &[], Reason::Waits(7));
    check(
        &of(2 * RECORD_UNITS_MAX + 1, &[]),
        first,
        &[
            ("2025-07-01T00", RECORD_UNITS_MAX),
            ("2025-06-30T23", RECORD_UNITS_MAX),
            ("2025-06-30T22", 1),
        ],
        Reason::Claimed,
    );
}

#[test]
fn a_leaving_buyer_takes_any_free_hour_until_the_last_records_are_due() {
    let leaving = |hours: &[&str]| {
        let mut state = state(7, 0, &[("A", 7, AUGUST)], hours);
        state.leaving_until = Some("2025-07-01T02:15:00Z".parse().unwrap());
        state
    };
    let occupied = ["2025-07-01T00", "2025-07-01T01", "2025-07-01T02"];
    check(
        &leaving(&occupied),
        "2025-07-01T02:14:59Z",
        &[("2025-06-30T23", 7)],
        Reason::Claimed,
    );
    check(&leaving(&occupied), "2025-07-01T02:15:00Z", &[], Reason::Waits(7));
    check(&leaving(&occupied), "2025-07-01T02:15:01Z", &[], Reason::Waits(7));
}

#[test]
fn a_refused_hour_is_followed_by_the_latest_free_one_before_it() {
    let check = |hours: &[&str], refused: &str, expect: Option<&str>| {
        let refused = Hours::Before(refused.parse().unwrap());
        let now = "2025-07-10T10:20:00Z".parse().unwrap();
        let plan = plan(
            &state(7, 0, &[("A", 7, AUGUST)], hours),
            now,
            ConnectionHealth::Working,
            refused,
        );
        let entries: Vec<String> = plan
            .unwrap()
            .entries
            .iter()
            .map(|entry| entry.hour.to_string())
            .collect();
        assert_eq!(entries, Vec::from_iter(expect), "{hours:?} {refused:?}");
    };
    check(&[], "2025-07-10T10", Some("2025-07-10T09"));
    check(&["2025-07-10T09"], "2025-07-10T10", Some("2025-07-10T08"));
    check(&[], "2025-07-09T12", Some("2025-07-09T11"));
    check(&[], "2025-07-09T11", None);
}

#[test]
fn an_entry_names_up_to_ninety_bills() {
    let shared = |bills: i64| {
        (0..bills).fold(state(0, 0, &[], &[]), |state, bill| {
            count(&state, &reference(&format!("B{bill:03}")), 0, 3, AUGUST.parse().ok()).unwrap()
        })
    };
    let now = "2025-07-10T10:20:00Z";
    check(&shared(90), now, &[("2025-07-10T10", 270)], Reason::Claimed);
    check(&shared(91), now, &[("2025-07-10T10", 270)], Reason::Waits(3));
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
