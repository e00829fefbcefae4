//! What public implementations of metering get wrong. Each test is one mistake; its first line says what the buyer was billed elsewhere.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, acme, and, bill, dimension, message, per_bill, per_product, usage,
};
use sandbox::{Fault, FaultKind, Service};
use serde_json::{Value, json};

const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";

/// Elsewhere: 20,206 instead of 10,103. The hour was read from the clock at each attempt, so the repeat was another hour's usage.
#[tokio::test]
async fn a_repeat_in_the_next_hour_is_not_new_usage() {
    let mut scene = Scene::start_at("2025-06-10T10:59:50Z").await.with(per_bill()).await;
    let event = message::updated(scene.organization(), &bill("june", ACME, 1).of("101.03"));
    // The head is written with the claim; every transaction after that fails.
    let fault = Fault {
        action: Some("TransactWriteItems".to_owned()),
        after: 1,
        ..Fault::new(Service::DynamoDb, FaultKind::Error, u32::MAX)
    };
    scene.sandbox.faults(vec![fault]).unwrap();
    let again = scene.deliver([event]).await;
    assert_eq!(
        again.len(),
        1,
        "the receipt could not be written, so the message comes again"
    );
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.heal();
    scene.until("2025-06-10T11:00:30Z").await;
    assert!(scene.deliver(again).await.is_empty());
    assert_eq!(scene.metering_calls(), 2);
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

/// Elsewhere: 10 of 20 records. The call was answered with 200, and nobody read the list of what it left out.
#[tokio::test]
async fn what_aws_left_unprocessed_is_sent_again() {
    let mut scene = Scene::start().await.with(per_product()).await;
    let mut june = bill("june", ACME, 1);
    for product in 0..20 {
        let name = format!("product-{product}");
        scene.map("Product", &name, "Dimension", &dimension(&name)).await;
        june = june.line(usage("101.03").product(&name));
    }
    scene.metering_fails(&[FaultKind::Unprocessed, FaultKind::Unprocessed]);
    scene.bill(&june).await;
    let billed = scene.billed();
    assert_eq!(billed.len(), 20);
    assert!(billed.iter().all(|row| row.3 == 10_103), "{billed:?}");
    scene.end().await;
}

/// Elsewhere: 0 instead of 10,103. An exception parked the record for good: no repeat, no dead letter, no alarm.
#[tokio::test]
async fn an_outage_of_hours_parks_nothing() {
    let mut scene = Scene::ready().await;
    scene.metering_always_fails(FaultKind::AccessDenied);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.assert_run("june", "AUTH_FAILED", "AccessDenied").await;
    let raised = scene.events().await;
    assert!(
        raised
            .iter()
            .any(|(name, _)| name == "integration.authentication.error"),
        "{raised:?}"
    );
    scene.until("2025-06-10T16:02:00Z").await;
    scene.assert_billed(&[]);
    scene.heal();
    scene.until("2025-06-10T17:02:00Z").await;
    // Still in the hour that was claimed.
    scene.assert_billed(&[acme(TEN, 10_103)]);
    assert!(scene.dead_letters().is_empty());
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

/// Elsewhere: 10,103 instead of 15,107. What grew within the hour was sent for the same hour, refused as a duplicate, and forgotten.
#[tokio::test]
async fn growth_within_an_hour_is_sent_in_the_next() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T10:40:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("151.07")).await;
    assert_eq!(scene.metering_calls(), 1, "nothing is sent for an hour that is taken");
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 5_004)]);
    scene.end().await;
}

/// Elsewhere: 20,206 instead of 10,103. The job ran again before the first message was handled, and queued the same usage anew.
#[tokio::test]
async fn a_job_that_runs_again_too_early_adds_nothing() {
    let mut scene = Scene::ready().await;
    let organization = scene.organization().to_owned();
    let event = message::updated(&organization, &bill("june", ACME, 1).of("101.03")).to_string();
    let tick = json!({ "flush": true }).to_string();
    let growth = message::updated(&organization, &bill("june", ACME, 2).of("103.07")).to_string();
    scene
        .send_together([&event, &event, &tick, &tick, &growth, &growth, &tick, &event])
        .await;
    scene.until("2025-06-10T11:00:30Z").await;
    scene.send_together([&tick, &tick, &growth, &tick]).await;
    scene.until("2025-06-10T12:02:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_307);
    scene.end().await;
}

/// Elsewhere: 0 of 61 records. A customer with more dimensions than a call takes made the whole call fail, every time.
#[tokio::test]
async fn a_buyer_may_have_more_dimensions_than_a_call_takes() {
    let mut scene = Scene::start().await.with(per_product()).await;
    let mut june = bill("june", ACME, 1);
    for product in 0..61 {
        let name = format!("product-{product}");
        scene.map("Product", &name, "Dimension", &dimension(&name)).await;
        june = june.line(usage("101.03").product(&name));
    }
    scene.sandbox.clear_requests();
    scene.bill(&june).await;
    assert_eq!((scene.billed().len(), scene.metering_calls()), (61, 3));
    scene.end().await;
}

/// Elsewhere: 0 instead of 10,103, and "success" in the log. Credentials were missing, which was logged and then forgotten.
#[tokio::test]
async fn what_could_not_be_signed_is_no_success() {
    let mut scene = Scene::ready().await;
    let path = format!("integrationconfigs/{}", scene.configuration);
    let known = scene.seller.get(&path).await.unwrap();
    let fields = ["entityType", "destination", "name", "configData", "version"];
    let known_fields: Value = fields
        .iter()
        .map(|field| ((*field).to_owned(), known[*field].clone()))
        .collect();
    let changed = scene.seller.put(&path, &known_fields).await.unwrap();
    assert_eq!(changed["authorized"], json!(false), "{changed}");
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let run = scene.run("june").await;
    assert_ne!(run.status, "COMPLETE", "{}", run.json);
    assert!(run.error.contains("credential"), "{}", run.json);
    scene.assert_billed(&[]);
    let credential = json!({ "type": "AWS_INTEGRATION", "destination": "AWS", "name": "the functions' own role" });
    let credential = scene.seller.post("integrationcredentials", &credential).await.unwrap();
    let connected = json!({ "integrationCredentialsId": credential["id"], "version": changed["version"] });
    let connected = and(known_fields, connected);
    scene.seller.put(&path, &connected).await.unwrap();
    scene.rest().await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.end().await;
}

/// Elsewhere: 7 instead of 10,103. `DuplicateRecord` was read as "already sent"; the hour held somebody else's record.
#[tokio::test]
async fn a_duplicate_is_no_receipt() {
    let mut scene = Scene::ready().await;
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 7);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .assert_run("june", "ERROR", "another quantity for this hour")
        .await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [(TEN.to_owned(), 10_103, "CONFLICT")]
    );
    scene.end().await;
}

/// Elsewhere: 0 instead of 10. The four tenths of a cent of every window were cut off.
#[tokio::test]
async fn parts_of_a_unit_are_rounded_once_on_the_running_total() {
    let mut scene = Scene::ready().await;
    for (version, hour) in (1..=24).zip(10..) {
        let thousandths = 4 * version;
        let amount = format!("0.{thousandths:03}");
        scene.bill(&bill("june", ACME, version).of(&amount)).await;
        let next = hour + 1;
        let (day, hour) = (10 + next / 24, next % 24);
        scene.until(&format!("2025-06-{day}T{hour:02}:02:00Z")).await;
    }
    // 9.6 cents.
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10);
    scene.end().await;
}

/// Elsewhere: 16,407 instead of 12,007. The fall was skipped, and the rise after it was billed on top of what had been billed before.
#[tokio::test]
async fn a_rise_after_a_fall_is_billed_above_the_highest_only() {
    let mut scene = Scene::ready().await;
    for (version, amount, hour) in [
        (1, "101.03", 11),
        (2, "57.03", 12),
        (3, "101.03", 13),
        (4, "120.07", 14),
    ] {
        scene.bill(&bill("june", ACME, version).of(amount)).await;
        scene.until(&format!("2025-06-10T{hour}:02:00Z")).await;
    }
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 12_007);
    scene.end().await;
}

/// Elsewhere: 0 instead of 10,103. The client's model did not know the error's name, so a passing failure was final.
#[tokio::test]
async fn an_error_that_nobody_has_heard_of_is_passing() {
    let mut scene = Scene::ready().await;
    scene.metering_fails(&[FaultKind::UnmodelledError; 3]);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.assert_run("june", "COMPLETE", "").await;
    assert!(scene.dead_letters().is_empty());
    scene.end().await;
}

/// Elsewhere: 20,206 instead of 10,103. CloudTrail was late, the day's total seemed short, and the "missing" amount went into a new hour.
#[tokio::test]
async fn an_event_that_is_merely_late_is_not_missing() {
    for seconds_late in [15 * 60, 3 * 60 * 60, 2 * 24 * 60 * 60] {
        let settings = and(per_bill(), json!({ "awsMarketplaceCloudtrailChecks": true }));
        let mut scene = Scene::start_at("2025-06-10T22:50:00Z").await.with(settings).await;
        scene.cloudtrail(json!({ "delaySeconds": seconds_late }));
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        // The previous day is compared at 11:00, the last time when the event has come at last.
        scene.until("2025-06-13T12:02:00Z").await;
        scene.assert_billed(&[acme("2025-06-10T22", 10_103)]);
        assert_eq!(
            scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
            [("2025-06-10T22".to_owned(), 10_103, "ACCEPTED")]
        );
        scene.end().await;
    }
}
