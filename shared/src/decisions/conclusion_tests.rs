//! How each outcome ends a run: status, event, row of failures, and the words for it.

use super::*;
use crate::decisions::validation::{Culprit, EntityReference};
use crate::values::bill::Head;

const HOUR: &str = "2025-06-10T10";

/// An entry without anything that went wrong.
fn entry(quantity: i64, state: EntryState) -> EntryOutcome {
    EntryOutcome {
        hour: HOUR.to_owned(),
        quantity,
        state,
        connection: None,
        blocked: None,
        tried_again: false,
        reason: None,
    }
}

fn because(reason: &str, entry: EntryOutcome) -> EntryOutcome {
    EntryOutcome {
        reason: Some(reason.to_owned()),
        ..entry
    }
}

fn refused_by_connection(kind: ConnectionRefusal, reason: &str) -> EntryOutcome {
    EntryOutcome {
        connection: Some(kind),
        ..because(reason, entry(101, EntryState::Pending))
    }
}

fn key(dimension: &str, claim: Reason, entries: &[EntryOutcome]) -> KeyOutcome {
    KeyOutcome {
        dimension: dimension.to_owned(),
        claim,
        entries: entries.to_vec(),
    }
}

fn failure_of(cause: &str) -> Tally {
    Tally::Failure {
        cause: cause.to_owned(),
    }
}

fn check(outcome: &Outcome, status: RunStatus, event: Option<IntegrationEvent>, tally: Tally, error: Option<&str>) {
    let conclusion = conclude(outcome);
    let expect = Conclusion {
        status,
        error: error.map(str::to_owned),
        event,
        tally,
    };
    assert_eq!(conclusion, expect, "{outcome:?}");
}

#[test]
fn the_events_are_m3ters() {
    for (event, name) in [
        (IntegrationEvent::Validation, "integration.validation.error"),
        (
            IntegrationEvent::MissingAccountMapping,
            "integration.missingaccountmapping.error",
        ),
        (IntegrationEvent::Authentication, "integration.authentication.error"),
        (IntegrationEvent::Perform, "integration.perform.error"),
        (IntegrationEvent::Disabled, "integration.disabled.error"),
    ] {
        assert_eq!(event.name(), name);
    }
}

#[test]
fn every_outcome_is_told_in_words() {
    let check = |outcome: Outcome, expect: &str| assert_eq!(outcome.to_string(), expect, "{outcome:?}");
    let metered = |count: usize| Outcome::Metered(vec![key("prod-users", Reason::Claimed, &[]); count]);
    check(
        Outcome::Refused(Refusal::NotAmongAccounts),
        "not sent: the account is not among accountIds",
    );
    check(
        Outcome::Invalid(Invalid::one(Culprit::Configuration("accountIds: bad".to_owned()))),
        "nothing of this bill was changed: the configuration cannot be used: accountIds: bad",
    );
    check(
        Outcome::Ignored(Standing::Older(Head::Version(7))),
        "ignored: version 7 of this bill was handled already",
    );
    check(
        Outcome::Ignored(Standing::Incomparable(Head::Version(7))),
        "ignored: the newest known is version 7, and the two kinds cannot be told older from newer",
    );
    check(Outcome::Ignored(Standing::Deleted), "ignored: the bill was deleted");
    for standing in [Standing::First, Standing::Newer, Standing::Equal] {
        check(Outcome::Ignored(standing), "ignored");
    }
    check(
        Outcome::EqualButOther(Vec::new()),
        "the same version would count otherwise now; it stays as it was counted until the run is replayed",
    );
    check(Outcome::Overtaken, "a newer version of the bill was handled meanwhile");
    check(metered(0), "the bill has nothing to meter");
    check(metered(1), "metered on one dimension");
    check(metered(2), "metered on 2 dimensions");
}

#[test]
fn what_a_configuration_does_not_want_is_complete_and_what_it_cannot_send_is_not() {
    let refused = |refusal: Refusal, status: RunStatus, event: Option<IntegrationEvent>, tally: Tally, told: bool| {
        let outcome = Outcome::Refused(refusal);
        let text = outcome.to_string();
        check(&outcome, status, event, tally, told.then_some(text.as_str()));
    };
    refused(Refusal::Disabled, RunStatus::Disabled, None, Tally::Unchanged, true);
    refused(
        Refusal::NoCredential,
        RunStatus::AuthFailed,
        Some(IntegrationEvent::Authentication),
        Tally::Unchanged,
        true,
    );
    for refusal in [
        Refusal::NotAmongAccounts,
        Refusal::RestrictedAccount,
        Refusal::NotApproved,
        Refusal::FilteredOut,
    ] {
        refused(refusal, RunStatus::Complete, None, Tally::Unchanged, false);
    }
    for outcome in [
        Outcome::Ignored(Standing::Older(Head::Version(7))),
        Outcome::Ignored(Standing::Deleted),
        Outcome::Overtaken,
    ] {
        check(&outcome, RunStatus::Complete, None, Tally::Unchanged, None);
    }
}

#[test]
fn an_invalid_bill_is_a_failure_and_an_unknown_buyer_has_its_own_event() {
    let missing = |entity: &'static str| {
        Culprit::MissingMapping(EntityReference {
            entity,
            id: "x".to_owned(),
        })
    };
    for (culprit, event) in [
        (missing("Account"), IntegrationEvent::MissingAccountMapping),
        (missing("Product"), IntegrationEvent::Validation),
    ] {
        let invalid = Invalid::one(culprit);
        let outcome = Outcome::Invalid(invalid.clone());
        check(
            &outcome,
            RunStatus::Error,
            Some(event),
            failure_of(&invalid.cause()),
            Some(&format!("nothing of this bill was changed: {invalid}")),
        );
    }
}

#[test]
fn keys_that_fare_well_complete_the_run_or_wait() {
    let accepted = [entry(101, EntryState::Accepted)];
    let pending = [entry(103, EntryState::Pending)];
    let check_keys = |keys: Vec<KeyOutcome>, status: RunStatus, tally: Tally, error: Option<&str>| {
        check(&Outcome::Metered(keys.clone()), status, None, tally.clone(), error);
        check(&Outcome::EqualButOther(keys), status, None, tally, error);
    };
    check_keys(Vec::new(), RunStatus::Complete, Tally::Reset, None);
    for claim in [Reason::Claimed, Reason::Even, Reason::Carry(7)] {
        let keys = vec![key("prod-users", claim, &accepted)];
        check_keys(keys, RunStatus::Complete, Tally::Reset, None);
    }
    check_keys(
        vec![
            key("prod-users", Reason::Claimed, &accepted),
            key("prod-seats", Reason::Waits(7), &[]),
        ],
        RunStatus::Waiting,
        Tally::Reset,
        None,
    );
    check_keys(
        vec![key("prod-users", Reason::Claimed, &pending)],
        RunStatus::AwaitingRetry,
        Tally::Unchanged,
        None,
    );
    check_keys(
        vec![
            key("prod-users", Reason::Claimed, &accepted),
            key(
                "prod-seats",
                Reason::Waits(7),
                &[because("AWS says ThrottlingException", pending[0].clone())],
            ),
        ],
        RunStatus::AwaitingRetry,
        Tally::Unchanged,
        Some("AWS says ThrottlingException"),
    );
    check_keys(
        vec![key("prod-users", Reason::ConnectionFailing, &[])],
        RunStatus::AwaitingRetry,
        Tally::Unchanged,
        None,
    );
    for kept in [
        Reason::TriedAgain,
        Reason::Frozen,
        Reason::Disabled,
        Reason::Disconnected,
    ] {
        check_keys(
            vec![key("prod-users", kept, &[])],
            RunStatus::AwaitingRetry,
            Tally::Unchanged,
            Some(&format!("prod-users: {kept}")),
        );
    }
    check_keys(
        vec![key("prod-users", Reason::Shadow, &[])],
        RunStatus::Complete,
        Tally::Reset,
        None,
    );
}

#[test]
fn a_key_that_takes_nothing_is_an_error_but_no_new_failure() {
    for claim in [Reason::Blocked, Reason::InConflict] {
        let keys = vec![
            key("prod-users", Reason::Claimed, &[entry(101, EntryState::Pending)]),
            key("prod-seats", claim, &[]),
        ];
        check(
            &Outcome::Metered(keys),
            RunStatus::Error,
            None,
            Tally::Unchanged,
            Some(&format!("prod-seats: {claim}; the bill's units are kept and wait")),
        );
    }
}

#[test]
fn an_entry_that_failed_fails_the_run_unless_its_units_were_accepted_later() {
    let failed = |keys: Vec<KeyOutcome>, cause: &str, error: &str| {
        check(
            &Outcome::Metered(keys),
            RunStatus::Error,
            Some(IntegrationEvent::Perform),
            failure_of(cause),
            Some(error),
        );
    };
    for state in [
        EntryState::Refused,
        EntryState::Unknown,
        EntryState::Conflict,
        EntryState::Released,
    ] {
        failed(
            vec![key("prod-users", Reason::Claimed, &[entry(101, state)])],
            &format!("prod-users {state}"),
            &format!("101 units of prod-users for hour 2025-06-10T10: {state} (no reason was given)"),
        );
    }
    let refused = || because("AWS says no", entry(101, EntryState::Refused));
    failed(
        vec![
            key("prod-users", Reason::Claimed, &[refused()]),
            key("prod-seats", Reason::Claimed, &[entry(103, EntryState::Accepted)]),
            key("prod-disks", Reason::Claimed, &[entry(107, EntryState::Unknown)]),
        ],
        "prod-users REFUSED; prod-disks UNKNOWN",
        "101 units of prod-users for hour 2025-06-10T10: REFUSED (AWS says no); \
         107 units of prod-disks for hour 2025-06-10T10: UNKNOWN (no reason was given)",
    );
    let blocking = EntryOutcome {
        blocked: Some("AWS says no".to_owned()),
        ..refused()
    };
    failed(
        vec![key("prod-users", Reason::Blocked, &[blocking])],
        "prod-users REFUSED",
        "101 units of prod-users for hour 2025-06-10T10: REFUSED (AWS says no). The units are kept and nothing more is sent there: \
         mend the cause, then change the external mapping or the configuration, or replay the run",
    );
    // Refused in one hour and accepted in an earlier one: the last word counts.
    let accepted = || entry(101, EntryState::Accepted);
    let mended = vec![key("prod-users", Reason::Claimed, &[refused(), accepted()])];
    check(&Outcome::Metered(mended), RunStatus::Complete, None, Tally::Reset, None);
    failed(
        vec![key("prod-users", Reason::Claimed, &[accepted(), refused()])],
        "prod-users REFUSED",
        "101 units of prod-users for hour 2025-06-10T10: REFUSED (AWS says no)",
    );
}

#[test]
fn a_refused_connection_is_told_before_all_else_and_keeps_the_units() {
    let check = |kind: ConnectionRefusal, status: RunStatus, event: IntegrationEvent| {
        let keys = vec![
            key("prod-seats", Reason::Claimed, &[entry(103, EntryState::Refused)]),
            key(
                "prod-users",
                Reason::Claimed,
                &[refused_by_connection(kind, "AccessDeniedException")],
            ),
        ];
        check(
            &Outcome::Metered(keys),
            status,
            Some(event),
            failure_of("AccessDeniedException"),
            Some(
                "AWS refuses the connection: AccessDeniedException. 101 units of prod-users for hour 2025-06-10T10 are kept and sent again \
                 unchanged while AWS still takes them",
            ),
        );
    };
    check(
        ConnectionRefusal::Access,
        RunStatus::AuthFailed,
        IntegrationEvent::Authentication,
    );
    check(ConnectionRefusal::Product, RunStatus::Error, IntegrationEvent::Perform);
    check(ConnectionRefusal::Request, RunStatus::Error, IntegrationEvent::Perform);
}

#[test]
fn what_is_not_sent_is_counted_by_its_reason() {
    let invalid = Invalid::one(Culprit::Configuration("bad".to_owned()));
    let check = |outcome: Outcome, expect: Option<&str>| assert_eq!(outcome.skipped(), expect, "{outcome}");
    for (refusal, name) in [
        (Refusal::Disabled, "DISABLED"),
        (Refusal::NoCredential, "NO_CREDENTIAL"),
        (Refusal::NotAmongAccounts, "NOT_AMONG_ACCOUNTS"),
        (Refusal::RestrictedAccount, "RESTRICTED_ACCOUNT"),
        (Refusal::NotApproved, "NOT_APPROVED"),
        (Refusal::FilteredOut, "FILTERED_OUT"),
    ] {
        check(Outcome::Refused(refusal), Some(name));
    }
    check(Outcome::Invalid(invalid), Some("INVALID"));
    let head = Head::Version(7);
    check(Outcome::Ignored(Standing::Older(head)), Some("OLDER_VERSION"));
    check(
        Outcome::Ignored(Standing::Incomparable(head)),
        Some("INCOMPARABLE_VERSION"),
    );
    check(Outcome::Ignored(Standing::Deleted), Some("DELETED"));
    check(Outcome::Overtaken, Some("OVERTAKEN"));
    check(Outcome::Metered(Vec::new()), None);
    check(Outcome::EqualButOther(Vec::new()), None);
}
