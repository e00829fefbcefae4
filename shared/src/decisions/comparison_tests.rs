use super::*;
use crate::values::bill::BillReference;
use crate::values::entry::{Attempt, Connection, Origin, Part};
use crate::values::ids::{BillId, ConfigurationId, CredentialId, RunId};
use crate::values::usage_key::{Buyer, Customer, UsageKey};

pub(in crate::decisions) fn key() -> UsageKey {
    UsageKey {
        region: "us-east-1".into(),
        buyer: Buyer::Product {
            product_code: "p".into(),
            customer: Customer::AwsAccountId("111122223333".into()),
        },
        dimension: "d".into(),
    }
}

pub(in crate::decisions) fn origin() -> Origin {
    let organization = OrganizationId::new("o").unwrap();
    let bill = BillReference {
        organization: organization.clone(),
        bill: BillId::new("b").unwrap(),
    };
    Origin {
        configuration: ConfigurationId::new("c").unwrap(),
        run: RunId::new("x").unwrap(),
        bill,
        connection: Connection {
            organization,
            credential: CredentialId::new("k").unwrap(),
            region: "us-east-1".into(),
            product_code: "p".into(),
        },
    }
}

pub(in crate::decisions) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Claimed at 10:05 on the 10th, for hour 10.
pub(in crate::decisions) fn entry(state: EntryState, quantity: Units) -> Entry {
    let origin = origin();
    let part = Part {
        units: quantity,
        ends_at: None,
    };
    Entry {
        key: key(),
        hour: "2025-06-10T10".parse().unwrap(),
        quantity,
        state,
        parts: std::collections::BTreeMap::from([(origin.bill.clone(), part)]),
        attempts_started: 1,
        attempts_answered: 0,
        attempt: Attempt::Ordinary,
        origin,
        claimed_at: at("2025-06-10T10:05:00Z"),
        metering_record_id: (state == EntryState::Accepted).then(|| "m".to_owned()),
        observed: None,
        reason: None,
        resolution: None,
        attempted_at: None,
        seen_event: None,
        unseen_since: None,
    }
}

pub(in crate::decisions) fn seen(quantity: Units) -> Observation {
    Observation {
        other_key: None,
        key: key(),
        product_code: Some("p".into()),
        hour: "2025-06-10T10".parse().unwrap(),
        quantity,
        metering_record_id: Some("m".into()),
        event: "e".into(),
        at: at("2025-06-10T10:05:01Z"),
    }
}

pub(in crate::decisions) fn stance() -> Stance {
    Stance {
        organization: OrganizationId::new("o").unwrap(),
        adopt_from: at("2025-06-01T00:00:00Z"),
    }
}

/// All of June was read, and records of ours were shown at these minutes.
pub(in crate::decisions) fn reading(controls: &[&str]) -> Reading {
    Reading {
        stretches: vec![Stretch {
            from: at("2025-06-01T00:00:00Z"),
            until: at("2025-07-01T00:00:00Z"),
        }],
        controls: controls.iter().map(|control| minute(at(control))).collect(),
        hidden: BTreeSet::new(),
    }
}

#[test]
fn what_cloudtrail_shows_counts_from_every_state() {
    use Amendment::*;
    use EntryState::*;
    let check = |entry: Entry, quantity: Units, amendment: Amendment, why: Why| {
        let found = shown(&entry, &seen(quantity), &stance());
        assert_eq!(
            (found.amendment, found.why),
            (amendment, why),
            "{} {quantity}",
            entry.state
        );
    };
    check(entry(Accepted, 7), 7, Verify, Why::Agreed);
    check(entry(Pending, 7), 7, Accept, Why::AnswerLost);
    check(entry(Unknown, 7), 7, Accept, Why::AnswerLost);
    check(entry(Conflict, 7), 7, Accept, Why::DuplicateOfItself);
    check(entry(Refused, 7), 7, Accept, Why::TakenAfterAll);
    check(entry(Released, 7), 7, Accept, Why::TakenAfterAll);
    for state in [Accepted, Pending, Unknown, Conflict, Refused, Released] {
        check(entry(state, 7), 5, Observe(5), Why::OtherQuantity);
        check(entry(state, 7), 0, Observe(0), Why::OtherQuantity);
        let foreign = Entry {
            origin: Origin {
                connection: Connection {
                    organization: OrganizationId::new("another").unwrap(),
                    ..origin().connection
                },
                ..origin()
            },
            ..entry(state, 7)
        };
        check(foreign, 7, None, Why::OtherOrganization);
    }
    // A second look, and a second event about the same record.
    let noted = |event: &str| Entry {
        seen_event: Some(event.into()),
        ..entry(Accepted, 7)
    };
    check(noted("e"), 7, None, Why::Agreed);
    check(noted("another event"), 7, None, Why::Agreed);
    check(noted("e"), 5, None, Why::Contradiction);
    let adopted = Entry {
        observed: Some(5),
        seen_event: Some("e".into()),
        ..entry(Adopted, 7)
    };
    check(adopted.clone(), 5, None, Why::Agreed);
    check(adopted, 7, None, Why::Contradiction);
}

#[test]
fn a_record_without_an_entry_is_adopted_where_the_key_is_ours_and_not_before_its_time() {
    let check = |adopt_from: &str, owner: KeyOwner, amendment: Amendment, why: Why| {
        let stance = Stance {
            adopt_from: at(adopt_from),
            ..stance()
        };
        let found = unexplained(&seen(5), owner, &stance);
        assert_eq!((found.amendment, found.why), (amendment, why), "{adopt_from} {owner:?}");
    };
    let early = "2025-06-10T10:30:00Z";
    check(early, KeyOwner::Own, Amendment::Adopt(5), Why::ForeignReporter);
    check(
        "2025-06-10T11:00:00Z",
        KeyOwner::Own,
        Amendment::None,
        Why::BeforeAdoption,
    );
    check(early, KeyOwner::Other, Amendment::None, Why::OtherOrganization);
    check(early, KeyOwner::Nobody, Amendment::None, Why::NotOurs);
    let state = KeyState::new(key(), origin());
    let other = Stance {
        organization: OrganizationId::new("another").unwrap(),
        ..stance()
    };
    assert_eq!(owner(&stance(), Some(&state), || false), KeyOwner::Own);
    assert_eq!(owner(&other, Some(&state), || true), KeyOwner::Other);
    assert_eq!(owner(&stance(), None, || true), KeyOwner::Own);
    assert_eq!(owner(&stance(), None, || false), KeyOwner::Nobody);
}

#[test]
fn silence_says_something_only_where_a_record_would_have_been_shown() {
    use EntryState::*;
    let check = |entry: Entry, reading: &Reading, now: &str, amendment: Amendment, why: Why| {
        let found = absent(&entry, reading, at(now));
        assert_eq!(
            (found.amendment, found.why),
            (amendment, why),
            "{} at {now}",
            entry.state
        );
    };
    let controlled = reading(&["2025-06-10T09:10:00Z", "2025-06-10T10:50:00Z"]);
    // 72 hours after the last attempt, at 10:05 on the 10th.
    let (before, after) = ("2025-06-13T10:04:59Z", "2025-06-13T10:05:00Z");
    check(entry(Unknown, 7), &controlled, before, Amendment::None, Why::TooSoon);
    check(entry(Unknown, 7), &controlled, after, Amendment::Release, Why::NotAtAws);
    check(entry(Unknown, 7), &reading(&[]), after, Amendment::None, Why::NoControl);
    // The entry was claimed and tried at 10:05: its event is one of 10:00 to 10:25.
    for (controls, why) in [
        // None is shown after it, or none before.
        (vec!["09:05"], Why::NoControl),
        (vec!["09:05", "10:05", "10:25"], Why::NoControl),
        (vec!["11:05"], Why::NoControl),
        (vec!["10:00", "11:05"], Why::NoControl),
        (vec!["09:05", "10:26"], Why::NotAtAws),
        (vec!["09:59", "11:05"], Why::NotAtAws),
        // One of them has to be within an hour of the last attempt.
        (vec!["09:04", "11:06"], Why::NoControl),
        (vec!["09:04", "11:05"], Why::NotAtAws),
        // Three hours without any may hide an outage.
        (vec!["07:25", "10:26"], Why::NoControl),
        (vec!["07:26", "10:26"], Why::NotAtAws),
        (vec!["07:00", "10:00", "13:01"], Why::NoControl),
        (vec!["07:00", "10:00", "13:00"], Why::NotAtAws),
    ] {
        let controls: Vec<String> = controls.iter().map(|time| format!("2025-06-10T{time}:00Z")).collect();
        let controls: Vec<&str> = controls.iter().map(String::as_str).collect();
        let found = absent(&entry(Unknown, 7), &reading(&controls), at(after));
        assert_eq!(found.why, why, "{controls:?}");
    }
    // The newest attempt counts, for the wait and for the control.
    let tried_again = Entry {
        attempted_at: Some(at("2025-06-11T09:00:00Z")),
        ..entry(Unknown, 7)
    };
    check(tried_again.clone(), &controlled, after, Amendment::None, Why::TooSoon);
    check(
        tried_again,
        &controlled,
        "2025-06-14T09:00:00Z",
        Amendment::None,
        Why::NoControl,
    );
    // Not everything of the time was read, or could be.
    let cut = Reading {
        stretches: vec![Stretch {
            from: at("2025-06-10T10:01:00Z"),
            until: at("2025-07-01T00:00:00Z"),
        }],
        ..controlled.clone()
    };
    check(entry(Unknown, 7), &cut, after, Amendment::None, Why::NotRead);
    let hidden = Reading {
        hidden: BTreeSet::from([minute(at("2025-06-10T10:20:00Z"))]),
        ..controlled.clone()
    };
    check(entry(Unknown, 7), &hidden, after, Amendment::None, Why::Hidden);
    // A receipt is never taken back.
    let long = "2025-09-01T00:00:00Z";
    check(
        entry(Accepted, 7),
        &controlled,
        "2025-06-10T10:34:59Z",
        Amendment::None,
        Why::TooSoon,
    );
    check(
        entry(Accepted, 7),
        &controlled,
        "2025-06-10T10:35:00Z",
        Amendment::MarkUnverified,
        Why::ReceiptUnseen,
    );
    check(
        entry(Accepted, 7),
        &controlled,
        long,
        Amendment::MarkUnverified,
        Why::ReceiptUnseenLong,
    );
    check(
        entry(Accepted, 7),
        &hidden,
        long,
        Amendment::MarkUnverified,
        Why::Hidden,
    );
    check(
        entry(Accepted, 7),
        &Reading::default(),
        long,
        Amendment::None,
        Why::NotRead,
    );
    let marked = Entry {
        unseen_since: Some(at("2025-06-11T11:00:00Z")),
        ..entry(Accepted, 7)
    };
    check(marked, &controlled, long, Amendment::None, Why::ReceiptUnseenLong);
    check(
        entry(Conflict, 7),
        &controlled,
        long,
        Amendment::None,
        Why::ConflictOpen,
    );
    for state in [Pending, Refused, Released, Adopted] {
        check(entry(state, 7), &controlled, long, Amendment::None, Why::Agreed);
    }
}

#[test]
fn every_reason_has_a_name_and_says_whether_somebody_has_to_look() {
    let all = [
        (Why::Agreed, "AGREED", false, false),
        (Why::AnswerLost, "ANSWER_LOST", true, false),
        (Why::TakenAfterAll, "TAKEN_AFTER_ALL", true, true),
        (Why::DuplicateOfItself, "DUPLICATE_OF_ITSELF", true, false),
        (Why::OtherQuantity, "OTHER_QUANTITY", true, false),
        (Why::Contradiction, "CONTRADICTION", true, true),
        (Why::ForeignReporter, "FOREIGN_REPORTER", true, false),
        (Why::BeforeAdoption, "BEFORE_ADOPTION", true, false),
        (Why::OtherOrganization, "OTHER_ORGANIZATION", false, false),
        (Why::NotOurs, "NOT_OURS", false, false),
        (Why::ReceiptUnseen, "RECEIPT_UNSEEN", true, false),
        (Why::ReceiptUnseenLong, "RECEIPT_UNSEEN_LONG", true, true),
        (Why::NotAtAws, "NOT_AT_AWS", true, false),
        (Why::TooSoon, "TOO_SOON", true, false),
        (Why::NoControl, "NO_CONTROL", true, false),
        (Why::Hidden, "HIDDEN", true, false),
        (Why::NotRead, "NOT_READ", true, false),
        (Why::ConflictOpen, "CONFLICT_OPEN", true, false),
    ];
    for (why, name, is_discrepancy, is_alarm) in all {
        assert_eq!(
            (why.name(), why.is_discrepancy(), why.is_alarm()),
            (name, is_discrepancy, is_alarm)
        );
        assert_eq!(serde_json::to_string(&why).unwrap(), format!("{name:?}"));
    }
}

#[test]
fn what_is_observed_is_verified_once_and_a_verified_receipt_is_never_missed() {
    let observed = Entry {
        observed: Some(5),
        ..entry(EntryState::Adopted, 7)
    };
    let found = shown(&observed, &seen(5), &stance());
    assert_eq!((found.amendment, found.why), (Amendment::Verify, Why::Agreed));
    let verified = Entry {
        seen_event: Some("e".into()),
        ..entry(EntryState::Accepted, 7)
    };
    let found = absent(&verified, &reading(&[]), at("2025-09-01T00:00:00Z"));
    assert_eq!((found.amendment, found.why), (Amendment::None, Why::Agreed));
}

#[test]
fn what_is_read_for_an_entry_reaches_to_the_records_around_it() {
    let stretch = |from: &str, until: &str| Stretch {
        from: at(from),
        until: at(until),
    };
    let tried_again = Entry {
        attempted_at: Some(at("2025-06-10T12:02:00Z")),
        ..entry(EntryState::Unknown, 7)
    };
    assert_eq!(
        stretch_of(&tried_again),
        stretch("2025-06-10T10:00:00Z", "2025-06-10T12:22:00Z")
    );
    assert_eq!(
        evidence_of(&tried_again),
        stretch("2025-06-10T07:00:00Z", "2025-06-10T15:22:00Z")
    );
    // A receipt came soon after its attempt: five minutes more are enough to miss it.
    let read = Reading {
        stretches: vec![stretch("2025-06-10T10:00:00Z", "2025-06-10T10:10:00Z")],
        ..Reading::default()
    };
    let found = absent(&entry(EntryState::Accepted, 7), &read, at("2025-06-10T11:00:00Z"));
    assert_eq!(found.why, Why::ReceiptUnseen);
}
