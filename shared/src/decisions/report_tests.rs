use super::*;

fn discrepancy(
    why: Why,
    amendment: Amendment,
    logged: Option<(EntryState, Units)>,
    received: Option<Units>,
) -> Discrepancy {
    let at: Timestamp = "2025-06-10T10:05:00Z".parse().unwrap();
    Discrepancy {
        dimension: "p-d".into(),
        customer: "111122223333".into(),
        key: KeyHash::try_from("0".repeat(32)).unwrap(),
        hour: "2025-06-10T10".parse().unwrap(),
        logged: logged.map(|(state, quantity)| Logged {
            state,
            quantity,
            observed: None,
            metering_record_id: None,
            last_attempt_at: at,
        }),
        received: received.map(|quantity| Received {
            quantity,
            event_id: "e".into(),
            at,
            metering_record_id: None,
        }),
        amendment,
        why,
        reason: why.to_string(),
        at,
        key_after: Some(KeyAfter {
            total: 11,
            committed: 7,
            delta: 4,
        }),
    }
}

fn report(status: Status, tally: Tally, unchecked: &[&str]) -> Reconciliation {
    Reconciliation {
        id: "r".into(),
        organization: OrganizationId::new("o").unwrap(),
        configuration: ConfigurationId::new("c").unwrap(),
        date: "2025-06-10".parse().unwrap(),
        scope: Scope::Day,
        asked_by: None,
        status,
        created: "2025-06-11T11:00:00Z".parse().unwrap(),
        completed: "2025-06-11T11:00:01Z".parse().ok(),
        unchecked: unchecked.iter().map(|reason| (*reason).to_owned()).collect(),
        tally,
        progress: None,
    }
}

#[test]
fn only_what_was_checked_and_agrees_reads_as_a_match() {
    let check = |unchecked: &[&str], events: u64, listed: &[Discrepancy], expect: Status| {
        let unchecked: Vec<String> = unchecked.iter().map(|reason| (*reason).to_owned()).collect();
        let tally = Tally {
            events,
            ..Tally::default()
        };
        assert_eq!(
            conclude(&unchecked, &tally, listed),
            expect,
            "{unchecked:?} {events} {listed:?}"
        );
    };
    let found = |why, amendment| discrepancy(why, amendment, Some((EntryState::Unknown, 7)), Some(7));
    check(&[], 0, &[], Status::Matches);
    check(&[], 3, &[], Status::Matches);
    check(&["no store"], 0, &[], Status::NotChecked);
    check(&["an element is missing"], 3, &[], Status::PartlyChecked);
    check(&[], 3, &[found(Why::AnswerLost, Amendment::Accept)], Status::Corrected);
    check(&[], 3, &[found(Why::NotAtAws, Amendment::Release)], Status::Corrected);
    check(
        &[],
        3,
        &[found(Why::ReceiptUnseen, Amendment::MarkUnverified)],
        Status::Differs,
    );
    check(&[], 3, &[found(Why::BeforeAdoption, Amendment::None)], Status::Differs);
    check(&[], 3, &[found(Why::Contradiction, Amendment::None)], Status::Differs);
    let more_than_listed = Tally {
        events: 3,
        unlisted: 1,
        ..Tally::default()
    };
    let listed = [found(Why::AnswerLost, Amendment::Accept)];
    assert_eq!(conclude(&[], &more_than_listed, &listed), Status::Differs);
    for why in [
        Why::TooSoon,
        Why::NoControl,
        Why::Hidden,
        Why::NotRead,
        Why::ConflictOpen,
    ] {
        let listed = [found(Why::AnswerLost, Amendment::Accept), found(why, Amendment::None)];
        check(&[], 3, &listed, Status::PartlyChecked);
    }
}

#[test]
fn a_line_says_what_was_logged_received_and_corrected() {
    let date = "2025-06-10".parse().unwrap();
    let check = |found: Discrepancy, expect: (Units, Units, Units)| {
        let mut tally = Tally::default();
        tally.differ(&found, date);
        let line = tally.dimensions["p-d"];
        assert_eq!((line.logged, line.received, line.corrected), expect, "{found:?}");
        let mut of_another_day = Tally::default();
        of_another_day.differ(&found, "2025-06-09".parse().unwrap());
        assert!(of_another_day.dimensions.is_empty() && of_another_day.discrepancies.len() == 1);
    };
    use EntryState::*;
    check(
        discrepancy(Why::AnswerLost, Amendment::Accept, Some((Pending, 7)), Some(7)),
        (0, 7, 7),
    );
    check(
        discrepancy(Why::ForeignReporter, Amendment::Adopt(5), None, Some(5)),
        (0, 5, 5),
    );
    check(
        discrepancy(Why::OtherQuantity, Amendment::Observe(5), Some((Accepted, 7)), Some(5)),
        (7, 5, -2),
    );
    check(
        discrepancy(Why::ReceiptUnseen, Amendment::MarkUnverified, Some((Accepted, 7)), None),
        (7, 0, 0),
    );
    check(
        discrepancy(Why::BeforeAdoption, Amendment::None, None, Some(5)),
        (0, 5, 0),
    );
    check(
        discrepancy(Why::NotAtAws, Amendment::Release, Some((Unknown, 7)), None),
        (0, 0, 0),
    );
}

#[test]
fn the_page_says_both_sides_and_why() {
    let found = discrepancy(
        Why::AnswerLost,
        Amendment::Accept,
        Some((EntryState::Unknown, 7)),
        Some(7),
    );
    let mut tally = Tally {
        events: 2,
        ..Tally::default()
    };
    tally.agree("p-d", 13);
    tally.differ(&found, "2025-06-10".parse().unwrap());
    let corrective = Corrective {
        hour: "2025-06-11T11".parse().unwrap(),
        quantity: 4,
        state: EntryState::Accepted,
    };
    let shown = Shown {
        found,
        corrective: Some(corrective),
    };
    let page = text(&report(Status::Corrected, tally.clone(), &[]), &[shown]);
    for expect in [
        "CORRECTED: the ledger and CloudTrail differed, and the ledger was amended",
        "p-d                    13              20               7               7",
        "ledger      7 units, UNKNOWN",
        "CloudTrail  7 units, accepted at 2025-06-10T10:05:00Z (event e)",
        "its answer was lost",
        "11 owed, 7 committed: 4 units are sent with the next claim",
        "sent since  4 units for hour 2025-06-11T11:00Z: ACCEPTED",
    ] {
        assert!(page.contains(expect), "{page}\nlacks {expect}");
    }
    let page = text(
        &report(Status::NotChecked, Tally::default(), &["the store is stopped"]),
        &[],
    );
    assert!(page.contains("nothing could be checked, so this is no match"), "{page}");
    assert!(
        page.contains("- the store is stopped") && page.contains("None were found in what was checked"),
        "{page}"
    );
}

#[test]
fn the_corrective_entry_is_the_first_that_was_claimed_after_the_amendment() {
    let entry = |hour: &str, claimed_at: &str| Entry {
        hour: hour.parse().unwrap(),
        claimed_at: claimed_at.parse().unwrap(),
        ..crate::decisions::comparison::tests::entry(EntryState::Accepted, 4)
    };
    // The discrepancy was found at 10:05 on the 10th.
    let before = entry("2025-06-10T09", "2025-06-10T09:05:00Z");
    let first = entry("2025-06-10T11", "2025-06-10T10:05:00Z");
    let second = entry("2025-06-10T12", "2025-06-10T12:02:00Z");
    let of_another_program = Entry {
        attempts_started: 0,
        ..entry("2025-06-10T08", "2025-06-10T10:05:00Z")
    };
    let check = |found: &Discrepancy, entries: &[&Entry], expect: Option<&str>| {
        let entries: Vec<Entry> = entries.iter().map(|entry| (*entry).clone()).collect();
        let hour = found.corrective(&entries).map(|corrective| corrective.hour.to_string());
        assert_eq!(hour.as_deref(), expect);
    };
    let owed = discrepancy(Why::NotAtAws, Amendment::Release, Some((EntryState::Unknown, 7)), None);
    check(&owed, &[], None);
    check(&owed, &[&before, &of_another_program], None);
    check(
        &owed,
        &[&of_another_program, &before, &second, &first],
        Some("2025-06-10T11"),
    );
    let carried = Discrepancy {
        key_after: Some(KeyAfter {
            total: 7,
            committed: 7,
            delta: 0,
        }),
        ..owed.clone()
    };
    check(&carried, &[&first], None);
    let not_amended = Discrepancy {
        amendment: Amendment::None,
        ..owed
    };
    check(&not_amended, &[&first], None);
}

#[test]
fn a_status_is_final_once_nothing_is_left_to_do_and_a_discrepancy_amended_once_something_was_done() {
    let is_final = Status::ALL.map(|status| (status.name(), status.is_final()));
    let expect = [
        ("WAITING", false),
        ("RUNNING", false),
        ("MATCHES", true),
        ("CORRECTED", true),
        ("DIFFERS", true),
        ("PARTLY_CHECKED", true),
        ("NOT_CHECKED", true),
    ];
    assert_eq!(is_final, expect);
    let found = |amendment| discrepancy(Why::AnswerLost, amendment, None, Some(7));
    assert!(found(Amendment::Accept).is_amended() && !found(Amendment::None).is_amended());
}

#[test]
fn the_page_says_what_is_carried_what_is_even_what_is_unlisted_and_what_was_read() {
    let page = |delta: Units, unlisted: u64| {
        let found = Discrepancy {
            key_after: Some(KeyAfter {
                total: 7,
                committed: 7 - delta,
                delta,
            }),
            ..discrepancy(Why::OtherQuantity, Amendment::Observe(5), None, Some(5))
        };
        let tally = Tally {
            unlisted,
            requests: 17,
            ..Tally::default()
        };
        let shown = Shown {
            found,
            corrective: None,
        };
        text(&report(Status::Corrected, tally, &[]), &[shown])
    };
    let check = |page: &str, has: &str, lacks: &str| {
        assert!(page.contains(has) && !page.contains(lacks), "{page}");
    };
    check(
        &page(-3, 0),
        "3 units are carried against later growth",
        "are sent with",
    );
    check(&page(0, 0), "nothing more is to be sent", "and 0 more");
    check(&page(4, 2), "… and 2 more", "carried");
    let requests = format!("  {:42} {:>9}", "requests to CloudTrail", 17);
    check(&page(0, 0), &requests, "… and");
}
