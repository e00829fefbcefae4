//! CloudTrail beside the ledger: what is repaired, what is only said, and what is never done.

use end_to_end::{ACME_AWS_ACCOUNT, DIMENSION, Scene, acme, and, bill, checks, june, per_bill};
use sandbox::{Fault, FaultKind, Service};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";
const DAY: &str = "2025-06-10";
const OTHER_AWS_ACCOUNT: &str = "222233334444";
/// Comparisons that are interrupted side by side, each in a sandbox of its own.
const INTERRUPTED_TOGETHER: u32 = 4;
const LAKE: &str = sandbox::functions::EVENT_DATA_STORE;

async fn states(scene: &Scene) -> Vec<(String, i64, &'static str)> {
    scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await
}

#[track_caller]
fn assert_report(report: &Value, status: &str, logged: i64, received: i64, corrected: i64, reasons: &[&str]) {
    let line = &report["dimensions"][0];
    let number = |field: &str| line[field].as_i64().unwrap_or_default();
    let found = (
        report["status"].as_str().unwrap(),
        number("logged"),
        number("received"),
        number("corrected"),
    );
    assert_eq!(found, (status, logged, received, corrected), "{report:#}");
    let listed = report["discrepancies"].as_array().unwrap();
    let mut told: Vec<&str> = listed.iter().map(|one| one["why"].as_str().unwrap()).collect();
    told.sort();
    assert_eq!(told, reasons, "{report:#}");
    assert!(
        listed
            .iter()
            .all(|one| one["reason"].as_str().is_some_and(|reason| reason.len() > 20))
    );
}

/// An answer that stays lost until the window has closed.
async fn lost_for_good(scene: &mut Scene, kind: FaultKind) {
    scene.metering_always_fails(kind);
    scene.bill(&june(1, "101.03")).await;
}

#[tokio::test]
async fn an_answer_that_was_lost_for_good_is_repaired_at_eleven() {
    let mut scene = Scene::checked().await;
    // So late that no hourly look finds it.
    scene.cloudtrail(json!({ "delaySeconds": 88_000 }));
    lost_for_good(&mut scene, FaultKind::LostAnswer).await;
    scene.until("2025-06-11T10:58:00Z").await;
    assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "UNKNOWN")]);
    scene.until("2025-06-11T11:00:00Z").await;
    assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "ACCEPTED")]);
    let report = scene.report().await;
    assert_report(&report, "CORRECTED", 0, 10_103, 10_103, &["ANSWER_LOST"]);
    scene.heal();
    scene.bill(&june(2, "103.07")).await;
    scene.assert_billed(&[acme(TEN, 10_103), acme("2025-06-11T11", 204)]);
    // The same day again, by hand: nothing is left to amend, and the sides agree.
    let report = scene.reconcile(DAY).await;
    assert_report(&report, "MATCHES", 10_103, 10_103, 0, &[]);
    scene.end().await;
}

#[tokio::test]
async fn a_conflict_is_settled_within_the_hour_in_which_cloudtrail_shows_the_other_record() {
    let mut scene = Scene::checked().await;
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 7);
    scene.bill(&june(1, "101.03")).await;
    assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "CONFLICT")]);
    scene.until("2025-06-10T11:02:00Z").await;
    let key = scene.key(ACME_AWS_ACCOUNT, DIMENSION).await;
    assert_eq!((key.entries[0].observed, key.state.conflicts), (Some(7), 0));
    assert_eq!(
        states(&scene).await,
        [
            (TEN.to_owned(), 10_103, "ADOPTED"),
            (ELEVEN.to_owned(), 10_096, "ACCEPTED")
        ]
    );
    scene.assert_billed(&[acme(TEN, 7), acme(ELEVEN, 10_096)]);
    // The look says what it did; the day before is compared at eleven.
    let scopes: Vec<Value> = scene
        .reports()
        .await
        .iter()
        .map(|report| report["scope"].clone())
        .collect();
    assert_eq!(scopes, ["DAY", "WINDOW"]);
    scene.end().await;
}

#[tokio::test]
async fn what_another_program_reported_is_adopted_once_and_not_before_its_time() {
    for (adopt_from, adopts) in [("2025-06-10T10:30:00Z", true), ("2025-06-10T11:00:00Z", false)] {
        let mut scene = Scene::start()
            .await
            .with(checks(json!({ "marketplaceAdoptFrom": adopt_from })))
            .await;
        scene.until("2025-06-10T11:05:00Z").await;
        scene.bill(&june(1, "101.03")).await;
        scene.cloudtrail(json!({ "duplicates": true }));
        scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 500);
        scene.foreign_usage(ACME_AWS_ACCOUNT, "unmapped", TEN, 11);
        scene.until("2025-06-10T12:10:00Z").await;
        let report = scene.reconcile(DAY).await;
        let reasons = if adopts {
            ["FOREIGN_REPORTER"]
        } else {
            ["BEFORE_ADOPTION"]
        };
        let (status, corrected) = if adopts { ("CORRECTED", 500) } else { ("DIFFERS", 0) };
        assert_report(&report, status, 10_103, 10_603, corrected, &reasons);
        assert_eq!(report["counts"]["recordsNotOurs"], 1, "{report:#}");
        assert_eq!(report["counts"]["eventsRepeated"], 2, "{report:#}");
        let report = scene.reconcile(DAY).await;
        let logged = if adopts { 10_603 } else { 10_103 };
        assert_eq!(report["dimensions"][0]["logged"], logged, "{report:#}");
        // What was adopted reduces the next growth.
        scene.bill(&june(2, "108.03")).await;
        let billed = scene.paid(ACME_AWS_ACCOUNT, DIMENSION);
        assert_eq!(billed, if adopts { 10_803 } else { 11_303 });
        if adopts {
            scene.end().await;
        }
    }
}

#[tokio::test]
async fn usage_on_a_key_that_no_bill_has_reached_yet_is_adopted_for_the_first_bill() {
    let mut scene = Scene::checked().await;
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 500);
    scene.until("2025-06-10T10:30:00Z").await;
    scene.reconcile(DAY).await;
    scene.bill(&june(1, "101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 500), acme(ELEVEN, 9_603)]);
    scene.end().await;
}

#[tokio::test]
async fn a_receipt_that_cloudtrail_does_not_show_is_sent_again_and_never_released() {
    for repeat in ["Success", "DuplicateRecord"] {
        let mut scene = Scene::checked().await;
        scene.switch(json!({ "identicalRepeat": repeat }));
        scene.cloudtrail(json!({ "drop": 1 }));
        scene.bill(&june(1, "101.03")).await;
        scene.until("2025-06-10T10:39:00Z").await;
        let report = scene.reconcile(DAY).await;
        // Without one event of that time, nobody can say that CloudTrail would show it.
        assert_report(&report, "NOT_CHECKED", 10_103, 0, 0, &["RECEIPT_UNSEEN"]);
        assert_eq!(scene.metering_calls(), 2, "{repeat}");
        let metrics = scene.sandbox.metrics();
        let reported = metrics.iter().filter(|series| series.name == "UnitsReported");
        let reported: Vec<i64> = reported
            .flat_map(|series| &series.values)
            .map(|(_, units)| *units)
            .collect();
        assert_eq!(reported, [10_103], "{repeat}");
        assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "ACCEPTED")], "{repeat}");
        scene.assert_billed(&[acme(TEN, 10_103)]);
        if repeat == "Success" {
            // The repeat is shown, and that is evidence.
            scene.until("2025-06-10T10:59:00Z").await;
            let report = scene.reconcile(DAY).await;
            assert_report(&report, "MATCHES", 10_103, 10_103, 0, &[]);
        } else {
            // Nothing is ever shown: it stays, and after a day somebody is told.
            scene.until("2025-06-11T11:01:00Z").await;
            assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "ACCEPTED")]);
            let kinds: Vec<Value> = scene
                .events()
                .await
                .into_iter()
                .map(|(_, dto)| dto["kind"].clone())
                .collect();
            assert!(kinds.contains(&json!("RECEIPT_UNSEEN_LONG")), "{kinds:?}");
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn an_unknown_entry_is_released_after_72_hours_between_records_that_are_shown() {
    for (is_before, is_after) in [(true, true), (true, false), (false, true)] {
        let mut scene = Scene::checked().await;
        scene.map("Account", "other", "Customer", OTHER_AWS_ACCOUNT).await;
        if is_before {
            scene.bill(&bill("other", "other", 1).of("53.03")).await;
        }
        scene.until("2025-06-10T10:40:00Z").await;
        // AWS never hears of the first attempt, and refuses the second.
        scene.metering_fails(&[FaultKind::LostRequest]);
        scene.subscribed(ACME_AWS_ACCOUNT, false);
        scene.bill(&june(1, "101.03")).await;
        scene.subscribed(ACME_AWS_ACCOUNT, true);
        assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "UNKNOWN")]);
        scene.until("2025-06-10T11:20:00Z").await;
        if is_after {
            scene.bill(&bill("other", "other", 2).of("59.03")).await;
        }
        scene.until("2025-06-13T10:30:00Z").await;
        scene.reconcile("2025-06-12").await;
        assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "UNKNOWN")]);
        scene.until("2025-06-13T10:50:00Z").await;
        let report = scene.reconcile("2025-06-12").await;
        let listed = report["discrepancies"].as_array().unwrap();
        let told: Vec<&Value> = listed
            .iter()
            .filter(|one| one["customer"] == ACME_AWS_ACCOUNT)
            .map(|one| &one["why"])
            .collect();
        if is_before && is_after {
            assert_eq!(told, ["NOT_AT_AWS"], "{report:#}");
            let released = listed.iter().find(|one| one["why"] == "NOT_AT_AWS").unwrap();
            let sent = json!({ "hour": "2025-06-13T10:00:00Z", "quantity": 10_103, "state": "ACCEPTED" });
            assert_eq!(released["corrective"], sent, "{report:#}");
            scene.assert_billed(&[
                acme("2025-06-13T10", 10_103),
                (OTHER_AWS_ACCOUNT, DIMENSION, TEN, 5_303),
                (OTHER_AWS_ACCOUNT, DIMENSION, ELEVEN, 600),
            ]);
        } else {
            assert_eq!(told, ["NO_CONTROL"], "{report:#}");
            assert_eq!(report["status"], "PARTLY_CHECKED");
            assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 0);
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn both_sources_give_the_same_result_whatever_fails_on_the_way() {
    let lake = json!({ "awsMarketplaceCloudtrailStoreId": LAKE });
    let fault = |kind, after| Fault {
        after,
        ..Fault::new(Service::CloudTrail, kind, 1)
    };
    let cases: [(Value, Vec<Fault>); 4] = [
        (json!({}), vec![]),
        (
            json!({}),
            vec![
                fault(FaultKind::Throttle, 0),
                fault(FaultKind::Expired, 1),
                fault(FaultKind::Error, 0),
            ],
        ),
        (lake.clone(), vec![]),
        (
            lake,
            vec![
                fault(FaultKind::TooManyQueries, 0),
                fault(FaultKind::QueryFailed, 0),
                fault(FaultKind::QueryTimedOut, 1),
                fault(FaultKind::Expired, 8),
            ],
        ),
    ];
    for (settings, faults) in cases {
        let mut scene = Scene::start().await.with(checks(settings.clone())).await;
        scene.cloudtrail(json!({ "pageMax": 2, "duplicates": true }));
        scene.metering_fails(&[FaultKind::LostAnswer]);
        scene.bill(&june(1, "101.03")).await;
        scene.bill(&june(2, "103.07")).await;
        scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T09", 500);
        scene.until("2025-06-10T11:20:00Z").await;
        let told = format!("{settings} {faults:?}");
        scene.sandbox.faults(faults).unwrap();
        // What failed is continued.
        scene.sandbox.reconcile(Some(DAY)).await;
        for minutes in 1..4 {
            scene.until(&format!("2025-06-10T11:2{}:00Z", minutes * 2)).await;
            scene.sandbox.invoke_reconcile(json!({ "continue": {} })).await;
        }
        let report = scene.report().await;
        assert_report(&report, "DIFFERS", 10_307, 10_807, 0, &["BEFORE_ADOPTION"]);
        assert_eq!(report["counts"]["events"], 4, "{told} {report:#}");
        assert_eq!(report["counts"]["eventsRepeated"], 4, "{told} {report:#}");
        assert_eq!(report["counts"]["recordsRepeated"], 1, "{told} {report:#}");
        scene.end().await;
    }
}

#[tokio::test]
async fn a_day_that_could_not_be_checked_never_reads_as_a_match() {
    let mut scene = Scene::start()
        .await
        .with(checks(json!({ "awsMarketplaceCloudtrailStoreId": LAKE })))
        .await;
    let healthy = scene.configure(checks(json!({ "accountIds": ["nobody"] }))).await;
    scene.bill(&june(1, "101.03")).await;
    scene.until("2025-06-10T11:20:00Z").await;
    let store = |status: &str, selectors: Value| json!({ "store": { "status": status, "multiRegionEnabled": true, "advancedEventSelectors": selectors } });
    let management = json!([{ "FieldSelectors": [{ "Field": "eventCategory", "Equals": ["Management"] }] }]);
    let data = json!([{ "FieldSelectors": [{ "Field": "eventCategory", "Equals": ["Data"] }] }]);
    let cases = [
        (
            store("STOPPED_INGESTION", management.clone()),
            None,
            "NOT_CHECKED",
            "STOPPED_INGESTION",
        ),
        (store("ENABLED", data), None, "NOT_CHECKED", "selectors"),
        (
            store("ENABLED", management),
            Some(Fault::new(Service::CloudTrail, FaultKind::AccessDenied, 5)),
            "NOT_CHECKED",
            "AccessDeniedException",
        ),
    ];
    for (change, fault, status, reason) in cases {
        scene.cloudtrail(change);
        scene.sandbox.faults(fault.into_iter().collect()).unwrap();
        scene.sandbox.reconcile(Some(DAY)).await;
        let reports = scene.reports().await;
        let of = |id: &str| {
            reports
                .iter()
                .find(|report| report["integrationConfigId"] == id)
                .unwrap()
                .clone()
        };
        let (report, other) = (of(&scene.configuration), of(&healthy));
        let left = scene.sandbox.requests();
        assert_eq!(report["status"], status, "{left:?} {report:#}");
        assert!(report["unchecked"].to_string().contains(reason), "{report:#}");
        // One configuration's failure does not stop another's.
        assert_eq!(other["status"], "MATCHES", "{other:#}");
    }
    scene.heal();
    // Left out because of its size: the call's keys cannot be checked.
    scene.cloudtrail(json!({ "elementBytesMax": 10 }));
    scene.bill(&june(2, "103.07")).await;
    scene.until("2025-06-10T12:20:00Z").await;
    scene.sandbox.reconcile(Some(DAY)).await;
    let reports = scene.reports().await;
    let report = reports
        .iter()
        .find(|report| report["integrationConfigId"] == scene.configuration.as_str())
        .unwrap();
    assert_eq!(report["status"], "PARTLY_CHECKED", "{report:#}");
    assert_eq!(report["counts"]["eventsHidden"], 1, "{report:#}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_in_parallel_or_interrupted_anywhere_it_amends_once() {
    let mut interrupted_at = 0;
    loop {
        let next = interrupted_at..interrupted_at + INTERRUPTED_TOGETHER;
        let running: JoinSet<bool> = next.map(interrupted).collect();
        let reached = running.join_all().await;
        interrupted_at += INTERRUPTED_TOGETHER;
        if reached.contains(&false) {
            break;
        }
    }
    assert!(
        interrupted_at >= 20,
        "only {interrupted_at} requests were there to be interrupted"
    );
}

/// A day that is compared twice in parallel after its first comparison was killed at a request. False: it has fewer requests.
async fn interrupted(at: u32) -> bool {
    let settings = checks(json!({ "awsMarketplaceCloudtrailStoreId": LAKE }));
    let mut scene = Scene::start().await.with(settings).await;
    // Several pages of one stretch, so that it is also interrupted between what is written of one of them.
    scene.cloudtrail(json!({ "pageMax": 1 }));
    scene.bill(&june(1, "101.03")).await;
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T11", 500);
    scene.until("2025-06-10T12:20:00Z").await;
    scene.sandbox.clear_requests();
    // The table answers nothing from this request on; the SDK's own repeats fail with it.
    let fault = Fault {
        after: at,
        ..Fault::new(Service::DynamoDb, FaultKind::LostAnswer, u32::MAX)
    };
    scene.sandbox.faults(vec![fault]).unwrap();
    let requests = || -> u64 {
        let counts = scene.sandbox.requests();
        counts.get("dynamodb").map_or(0, |actions| actions.values().sum())
    };
    // Killed when it repeats the request whose answer was lost, which has had its effect by then.
    let repeats = async {
        while requests() < u64::from(at) + 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = scene.sandbox.reconcile(Some(DAY)) => {}
        () = repeats => {}
    }
    let requests = requests();
    scene.heal();
    // Its lease has run out.
    scene.until("2025-06-10T12:30:00Z").await;
    tokio::join!(
        scene.sandbox.invoke_reconcile(json!({ "continue": {} })),
        scene.sandbox.invoke_reconcile(json!({ "continue": {} }))
    );
    tokio::join!(scene.sandbox.reconcile(Some(DAY)), scene.sandbox.reconcile(Some(DAY)));
    let reports = scene.reports().await;
    let of_the_day = reports
        .iter()
        .filter(|report| report["date"] == DAY && report["scope"] == "DAY");
    for report in of_the_day.clone() {
        let told = format!("interrupted at {at}: {report:#}");
        assert_eq!(report["dimensions"][0]["received"], 10_603, "{told}");
        assert!(
            ["MATCHES", "CORRECTED"].contains(&report["status"].as_str().unwrap()),
            "{told}"
        );
    }
    assert!(of_the_day.count() >= 2, "interrupted at {at}");
    let key = scene.key(ACME_AWS_ACCOUNT, DIMENSION).await;
    assert_eq!(
        (key.state.total, key.state.committed),
        (10_103, 10_603),
        "interrupted at {at}"
    );
    scene.end().await;
    requests > u64::from(at)
}

#[tokio::test]
async fn a_schedule_that_dies_before_its_report_is_there_is_made_good_by_its_repeat() {
    let mut scene = Scene::checked().await;
    scene.until("2025-06-11T10:50:00Z").await;
    // The day is claimed for the schedule; the report cannot be written.
    let fault = Fault {
        action: Some("PutItem".to_owned()),
        after: 1,
        ..Fault::new(Service::DynamoDb, FaultKind::Error, u32::MAX)
    };
    scene.sandbox.faults(vec![fault]).unwrap();
    scene.sandbox.invoke_reconcile(json!({ "daily": {} })).await;
    scene.heal();
    let of_the_day = |reports: Vec<Value>| reports.iter().filter(|report| report["date"] == DAY).count();
    assert_eq!(of_the_day(scene.reports().await), 0);
    for _ in 0..2 {
        scene.sandbox.invoke_reconcile(json!({ "daily": {} })).await;
        assert_eq!(of_the_day(scene.reports().await), 1);
    }
    scene.end().await;
}

#[tokio::test]
async fn the_api_asks_lists_and_shows() {
    let mut scene = Scene::checked().await;
    let unchecked = scene
        .configure(and(per_bill(), json!({ "accountIds": ["nobody"] })))
        .await;
    scene.bill(&june(1, "101.03")).await;
    scene.until("2025-06-10T11:20:00Z").await;
    let id = scene.configuration.clone();
    for (body, expect) in [
        (json!({}), "date: it is missing"),
        (
            json!({ "date": "yesterday", "integrationConfigId": id }),
            "date: give a date such as",
        ),
        (
            json!({ "date": "2025-06-11", "integrationConfigId": id }),
            "date: CloudTrail keeps 90 days",
        ),
        (
            json!({ "date": "2025-03-11", "integrationConfigId": id }),
            "date: CloudTrail keeps 90 days",
        ),
        (
            json!({ "date": DAY, "integrationConfigId": "x" }),
            "integrationConfigId: there is no such configuration",
        ),
        (
            json!({ "date": DAY, "integrationConfigId": unchecked }),
            "set awsMarketplaceCloudtrailChecks to true",
        ),
        (
            json!({ "date": DAY, "integrationConfigId": id, "day": 1 }),
            "day: this field is unknown",
        ),
    ] {
        let refused = scene
            .seller
            .post("reconciliations", &body)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(expect), "{body}: {refused}");
    }
    let asked = json!({ "date": DAY, "integrationConfigId": id });
    let asked = scene
        .seller
        .post("reconciliations", &asked)
        .await
        .expect("a reconciliation");
    let path = format!("reconciliations/{}", asked["id"].as_str().unwrap());
    let report = scene.seller.get(&path).await.unwrap();
    assert_report(&report, "MATCHES", 10_103, 10_103, 0, &[]);
    for (query, expect) in [
        ("?date=2025-06-10", 1),
        ("?status=MATCHES&date=2025-06-10", 1),
        ("?status=DIFFERS", 0),
        ("?date=2025-06-08", 0),
    ] {
        let listed = scene.seller.get(&format!("reconciliations{query}")).await.unwrap();
        assert_eq!(listed["data"].as_array().unwrap().len(), expect, "{query}");
    }
    let text = scene.seller.get_text(&format!("{path}?format=text")).await.unwrap();
    assert!(
        text.starts_with("Reconciliation of 2025-06-10 with CloudTrail") && text.contains("MATCHES"),
        "{text}"
    );
    let html = scene.seller.get_text(&format!("{path}?format=html")).await.unwrap();
    assert!(html.starts_with("<!doctype html>"), "{html}");
    assert!(scene.seller.get(&format!("{path}?format=pdf")).await.is_err());
    let other = scene.other_organization("another").await;
    assert!(other.get(&path).await.unwrap_err().to_string().contains("404"));
    scene.end().await;
}

#[tokio::test]
async fn money_whose_window_closes_within_three_hours_is_an_alarm_once() {
    let mut scene = Scene::checked().await;
    lost_for_good(&mut scene, FaultKind::LostRequest).await;
    let alarms = async |scene: &Scene| {
        let events = scene.events().await;
        events
            .into_iter()
            .filter(|(_, dto)| dto["kind"] == "WINDOW_CLOSES_SOON")
            .map(|(_, dto)| dto)
            .collect::<Vec<Value>>()
    };
    scene.until("2025-06-11T06:59:00Z").await;
    assert_eq!(alarms(&scene).await, Vec::<Value>::new());
    scene.until("2025-06-11T08:41:00Z").await;
    let raised = alarms(&scene).await;
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert_eq!(
        (&raised[0]["closesAt"], &raised[0]["quantity"]),
        (&json!("2025-06-11T10:00:00Z"), &json!(10_103))
    );
    assert!(raised[0]["message"].as_str().unwrap().contains("AWS takes them until"));
    scene.heal();
    scene.tick().await;
    scene.end().await;
}
