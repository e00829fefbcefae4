//! A comparison that cannot go on, that nobody began, or that has older cares: it ends, it is made up for, and it keeps nothing else waiting.

use end_to_end::scene::MORNING;
use end_to_end::{ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, at, bill, checks, june};
use jiff::{SignedDuration, Timestamp};
use outbill::effects::reconciliations::Marks;
use outbill::stories::reconcile;
use outbill::values::ids::OrganizationId;
use sandbox::{Change, Fault, FaultKind, Service};
use serde_json::{Value, json};

const DAY: &str = "2025-06-10";
const OTHER_AWS_ACCOUNT: &str = "222233334444";
const LAKE: &str = sandbox::functions::EVENT_DATA_STORE;

/// The clock goes on and no schedule fires.
fn unscheduled_until(scene: &Scene, to: Timestamp) {
    scene.change(Change::ClockMoved { to });
}

async fn invoke(scene: &Scene, event: &str) {
    scene.sandbox.invoke_reconcile(json!({ event: {} })).await;
}

fn gauge(scene: &Scene, name: &str) -> Option<i64> {
    let metrics = scene.sandbox.metrics();
    let series = metrics.iter().find(|series| series.name == name)?;
    series.values.last().map(|(_, value)| *value)
}

async fn closing_soon(scene: &Scene) -> usize {
    let events = scene.events().await;
    let of_kind = events.iter().filter(|(_, dto)| dto["kind"] == "WINDOW_CLOSES_SOON");
    of_kind.count()
}

async fn of_the_day(scene: &mut Scene) -> Vec<Value> {
    let mut reports = scene.reports().await;
    reports.retain(|report| report["date"] == DAY && report["scope"] == "DAY");
    reports
}

#[tokio::test]
async fn a_lease_that_is_renewed_is_taken_by_nobody_else() {
    let scene = Scene::checked().await;
    let outbill = scene.outbill().await;
    let organization = OrganizationId::new(scene.organization()).unwrap();
    let configurations = outbill.configurations.of_organization(&organization).await.unwrap();
    let now = at(MORNING);
    let asked = reconcile::ask(&outbill, &configurations[0], DAY.parse().unwrap(), None, now);
    let id = asked.await.unwrap().id;
    let after = |minutes| now + SignedDuration::from_mins(minutes);
    let (store, none) = (&outbill.reconciliations, Marks::default());
    let first = store.lease(&organization, &id, now).await.unwrap().expect("a lease");
    assert!(store.renew(&first.lease(), after(2)).await.unwrap());
    assert!(store.lease(&organization, &id, after(4)).await.unwrap().is_none());
    // A renewal is not in the way of the save that follows it, nor the save of the next renewal.
    assert!(store.save(&first, &none, after(4)).await.unwrap());
    assert!(store.renew(&first.lease(), after(5)).await.unwrap());
    let other = store.lease(&organization, &id, after(9)).await.unwrap();
    let other = other.expect("a lease that has run out");
    assert!(!store.renew(&first.lease(), after(9)).await.unwrap());
    assert!(!store.save(&first, &none, after(9)).await.unwrap());
    assert!(store.save(&other, &none, after(9)).await.unwrap());
    scene.end().await;
}

#[tokio::test]
async fn an_entry_from_before_the_store_does_not_keep_yesterday_from_being_compared() {
    // The sandbox's event data store was made with the year 2020.
    let mut scene = Scene::start_at("2019-12-29T10:02:00Z").await;
    scene = scene
        .with(checks(json!({ "awsMarketplaceCloudtrailStoreId": LAKE })))
        .await;
    let of_month = |id: &str, account: &str, from: &str, to: &str| {
        bill(id, account, 1)
            .with("startDate", from)
            .with("endDate", to)
            .with("startDateTimeUTC", format!("{from}T00:00:00Z"))
            .with("endDateTimeUTC", format!("{to}T00:00:00Z"))
    };
    scene.metering_always_fails(FaultKind::LostRequest);
    let december = of_month("december", ACME, "2019-12-01", "2020-01-01").of("101.03");
    scene.bill(&december).await;
    scene.until("2019-12-30T10:58:00Z").await;
    let unknown = [("2019-12-29T10".to_owned(), 10_103, "UNKNOWN")];
    assert_eq!(scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await, unknown);
    scene.heal();
    scene.until("2020-01-02T10:05:00Z").await;
    scene.map("Account", "other", "Customer", OTHER_AWS_ACCOUNT).await;
    let january = of_month("january", "other", "2020-01-01", "2020-02-01").of("53.03");
    scene.bill(&january).await;
    scene.until("2020-01-03T11:02:00Z").await;
    let reports = scene.reports().await;
    let yesterday = reports.iter().find(|report| report["date"] == "2020-01-02");
    let yesterday = yesterday.expect("yesterday's report");
    let line = &yesterday["dimensions"][0];
    assert_eq!(
        (&yesterday["status"], &line["logged"], &line["received"]),
        (&json!("PARTLY_CHECKED"), &json!(5_303), &json!(5_303)),
        "{yesterday:#}"
    );
    assert_eq!(yesterday["unchecked"], json!([]), "{yesterday:#}");
    assert_eq!(yesterday["discrepancies"][0]["why"], "NOT_READ", "{yesterday:#}");
    // A day from before the store is still one that cannot be checked.
    let before = scene.reconcile("2019-12-30").await;
    assert_eq!(before["status"], "NOT_CHECKED", "{before:#}");
    assert!(
        before["unchecked"].to_string().contains("made at 2020-01-01"),
        "{before:#}"
    );
    assert_eq!(scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await, unknown);
    scene.end().await;
}

#[tokio::test]
async fn a_table_that_cannot_be_read_ends_the_comparison_in_the_end_and_counts_nothing_twice() {
    /// Invocations that fail before the report says so.
    const FAILURES_MAX: i64 = 15;
    for failures in [3, FAILURES_MAX] {
        let mut scene = Scene::checked().await;
        scene.bill(&june(1, "101.03")).await;
        scene.until("2025-06-10T11:20:00Z").await;
        // The entries beside which a page's records are laid.
        let fault = Fault {
            action: Some("BatchGetItem".to_owned()),
            ..Fault::new(Service::DynamoDb, FaultKind::AccessDenied, u32::MAX)
        };
        scene.sandbox.faults(vec![fault]).unwrap();
        scene.sandbox.reconcile(Some(DAY)).await;
        // Each lease runs out before the next invocation.
        let after = |failed: i64| at("2025-06-10T11:20:00Z") + SignedDuration::from_mins(4 * failed);
        for failed in 1..failures {
            let report = scene.report().await;
            assert_eq!(report["status"], "RUNNING", "{failed} {report:#}");
            unscheduled_until(&scene, after(failed));
            invoke(&scene, "continue").await;
        }
        if failures == FAILURES_MAX {
            let report = scene.report().await;
            assert_eq!(report["status"], "NOT_CHECKED", "{report:#}");
            let told = report["unchecked"].to_string();
            for hint in [
                "the table could not be read or written",
                "BatchGetItem",
                "POST reconciliations",
            ] {
                assert!(told.contains(hint), "{hint}: {report:#}");
            }
            scene.heal();
            scene.reconcile(DAY).await;
        } else {
            scene.heal();
            unscheduled_until(&scene, after(failures));
            invoke(&scene, "continue").await;
        }
        let report = scene.report().await;
        let (counts, line) = (&report["counts"], &report["dimensions"][0]);
        assert_eq!(
            (&report["status"], &counts["events"], &line["received"]),
            (&json!("MATCHES"), &json!(1), &json!(10_103)),
            "{report:#}"
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn alarms_and_gauges_do_not_wait_for_cloudtrail() {
    let mut scene = Scene::checked().await;
    scene.metering_always_fails(FaultKind::LostRequest);
    scene.bill(&june(1, "101.03")).await;
    scene.until("2025-06-11T06:59:00Z").await;
    assert_eq!(closing_soon(&scene).await, 0);
    unscheduled_until(&scene, at("2025-06-11T07:45:00Z"));
    let silent = Fault::new(Service::CloudTrail, FaultKind::LostRequest, u32::MAX);
    scene.sandbox.faults(vec![silent]).unwrap();
    scene.sandbox.clear_requests();
    // The invocation's time is up while it waits for CloudTrail.
    let asked = async {
        while !scene.sandbox.requests().contains_key("cloudtrail") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = scene.sandbox.invoke_reconcile(json!({ "watch": {} })) => panic!("CloudTrail was not asked"),
        () = asked => {}
    }
    assert_eq!(closing_soon(&scene).await, 1);
    assert_eq!(gauge(&scene, "UnitsClosingSoon"), Some(10_103));
    scene.heal();
    scene.tick().await;
    scene.end().await;
}

#[tokio::test]
async fn an_alarm_that_fails_keeps_no_other_back() {
    let mut scene = Scene::checked().await;
    scene.map("Account", "other", "Customer", OTHER_AWS_ACCOUNT).await;
    scene.metering_always_fails(FaultKind::LostRequest);
    scene.bill(&june(1, "101.03")).await;
    scene.bill(&bill("other", "other", 1).of("53.03")).await;
    scene.until("2025-06-11T06:59:00Z").await;
    unscheduled_until(&scene, at("2025-06-11T07:45:00Z"));
    // The first row that the look writes is the first alarm; as often as the SDK asks before it gives up.
    let denied = Fault {
        action: Some("PutItem".to_owned()),
        ..Fault::new(Service::DynamoDb, FaultKind::AccessDenied, 3)
    };
    scene.sandbox.faults(vec![denied]).unwrap();
    for raised in [1, 2, 2] {
        invoke(&scene, "watch").await;
        assert_eq!(closing_soon(&scene).await, raised);
    }
    scene.tick().await;
    scene.end().await;
}

#[tokio::test]
async fn sts_that_cannot_be_asked_leaves_a_day_open_and_one_that_refuses_ends_it() {
    for (kind, while_it_lasts) in [(FaultKind::Error, "RUNNING"), (FaultKind::AccessDenied, "NOT_CHECKED")] {
        let mut scene = Scene::start().await;
        let role = json!({ "type": "AWS_INTEGRATION", "accountId": "444455556666", "roleName": "OutbillMetering" });
        let credential = scene.seller.post("integrationcredentials", &role).await.unwrap();
        let configuration = json!({
            "entityType": "Bill", "destination": "AWS", "name": "bills", "integrationCredentialsId": credential["id"],
            "configData": checks(json!({})),
        });
        scene.seller.post("integrationconfigs", &configuration).await.unwrap();
        scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
        scene.bill(&june(1, "101.03")).await;
        // Before the first reading, which would leave credentials that last.
        scene.until("2025-06-10T10:50:00Z").await;
        let outage = Fault {
            action: Some("AssumeRole".to_owned()),
            ..Fault::new(Service::Sts, kind, u32::MAX)
        };
        scene.sandbox.faults(vec![outage]).unwrap();
        let report = scene.reconcile(DAY).await;
        assert_eq!(report["status"], while_it_lasts, "{kind:?} {report:#}");
        scene.heal();
        unscheduled_until(&scene, at("2025-06-10T10:54:00Z"));
        invoke(&scene, "continue").await;
        let report = scene.report().await;
        let in_the_end = match kind {
            FaultKind::AccessDenied => "NOT_CHECKED",
            _ => "MATCHES",
        };
        assert_eq!(report["status"], in_the_end, "{kind:?} {report:#}");
        scene.end().await;
    }
}

#[tokio::test]
async fn a_day_whose_schedule_did_not_fire_is_made_up_for_by_the_hourly_look() {
    let mut scene = Scene::checked().await;
    scene.bill(&june(1, "101.03")).await;
    scene.until("2025-06-10T11:20:00Z").await;
    for (now, reports) in [
        ("2025-06-11T10:40:00Z", 0),
        ("2025-06-11T11:40:00Z", 1),
        ("2025-06-11T12:40:00Z", 1),
        ("2025-06-12T10:40:00Z", 1),
    ] {
        unscheduled_until(&scene, at(now));
        invoke(&scene, "watch").await;
        invoke(&scene, "continue").await;
        let found = of_the_day(&mut scene).await;
        assert_eq!(found.len(), reports, "{now}: {found:#?}");
        assert!(found.iter().all(|report| report["status"] == "MATCHES"), "{found:#?}");
        if now == "2025-06-11T11:40:00Z" {
            // One that was not there when the schedule was due is compared from the next day on.
            scene.configure(checks(json!({ "accountIds": ["nobody"] }))).await;
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn a_day_that_somebody_asked_for_is_not_overdue() {
    const DUE: &str = "2025-06-11T13:45:00Z";
    // What was compared before the day was over does not stand for it.
    for (asked_at, overdue) in [(None, 1), (Some("2025-06-10T12:00:00Z"), 1), (Some(DUE), 0)] {
        let mut scene = Scene::checked().await;
        scene.until("2025-06-10T11:20:00Z").await;
        if let Some(asked_at) = asked_at {
            unscheduled_until(&scene, at(asked_at));
            scene.log_in().await;
            let day = json!({ "date": DAY, "integrationConfigId": scene.configuration });
            scene
                .seller
                .post("reconciliations", &day)
                .await
                .expect("a reconciliation");
        }
        unscheduled_until(&scene, at(DUE));
        invoke(&scene, "watch").await;
        assert_eq!(gauge(&scene, "ReconciliationsOverdue"), Some(overdue), "{asked_at:?}");
        scene.end().await;
    }
}
