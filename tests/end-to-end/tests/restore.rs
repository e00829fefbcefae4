//! The table restored from a copy: nothing is claimed or sent until what AWS was sent since is in the ledger again.

use end_to_end::set_up::map;
use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, acme, and, bill, checks, dimension, june, per_bill, per_product, usage,
};
use sandbox::FaultKind;
use sandbox::backup::Backup;
use serde_json::{Value, json};

const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";
const TWELVE: &str = "2025-06-10T12";

/// Metered in two hours and copied; then metered in a third, which the copy does not know.
async fn with_a_gap(settings: Value) -> (Scene, Backup) {
    let mut scene = Scene::start().await.with(settings).await;
    scene.bill(&june(1, "101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&june(2, "150.00")).await;
    scene.until("2025-06-10T11:45:00Z").await;
    let backup = scene.back_up().await;
    scene.until("2025-06-10T12:02:00Z").await;
    scene.bill(&june(3, "200.00")).await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 4_897), acme(TWELVE, 5_000)]);
    scene.until("2025-06-10T12:30:00Z").await;
    (scene, backup)
}

async fn newest_restore(scene: &mut Scene) -> Value {
    let reports = scene.reports().await;
    let newest = reports.into_iter().find(|report| report["scope"] == "RESTORE");
    newest.expect("a report of the restore")
}

async fn pending(scene: &Scene) -> Vec<Value> {
    let listed = scene.seller.get("integrationdestinations/marketplace/pending").await;
    listed.expect("a list")["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_restored_table_claims_nothing_until_cloudtrail_has_shown_what_it_lacks() {
    let (mut scene, backup) = with_a_gap(checks(json!({}))).await;
    scene.restore(&backup).await;
    let calls = scene.metering_calls();
    // The bill comes again, and a newer version of it: both are counted, and by the copy 50.00 and more were never sent.
    scene.bill_unwatched(&june(3, "200.00")).await;
    scene.bill_unwatched(&june(4, "210.00")).await;
    scene
        .assert_run("june", "AWAITING_RETRY", "the table was restored from a copy")
        .await;
    let waiting = pending(&scene).await;
    assert_eq!(
        (&waiting[0]["state"], &waiting[0]["units"]),
        (&json!("FROZEN"), &json!(6_000))
    );
    assert!(waiting[0]["wayOut"].as_str().unwrap().contains("thaw"), "{waiting:#?}");
    // Ticks, the hourly look and the daily comparison pass; nothing is sent.
    scene.until_unwatched("2025-06-10T15:39:00Z").await;
    assert_eq!(scene.metering_calls(), calls);
    let report = newest_restore(&mut scene).await;
    assert!(
        report["unchecked"][0].as_str().unwrap().contains("read again after"),
        "{report:#}"
    );
    // Three hours after the copy was first used CloudTrail says enough.
    scene.until_unwatched("2025-06-10T15:40:00Z").await;
    let report = newest_restore(&mut scene).await;
    assert_eq!(
        (&report["status"], &report["unchecked"]),
        (&json!("MATCHES"), &json!([])),
        "{report:#}"
    );
    assert_eq!(scene.metering_calls(), calls);
    scene.until("2025-06-10T16:02:00Z").await;
    scene.assert_billed(&[
        acme(TEN, 10_103),
        acme(ELEVEN, 4_897),
        acme(TWELVE, 5_000),
        acme("2025-06-10T16", 1_000),
    ]);
    // It is a table of its own from now on, also for processes that start anew.
    scene.bill(&june(5, "220.00")).await;
    scene.until("2025-06-10T17:02:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 22_000);
    assert_eq!(pending(&scene).await, [] as [Value; 0]);
    let told: Vec<Value> = scene
        .events()
        .await
        .into_iter()
        .map(|(_, dto)| dto["kind"].clone())
        .collect();
    assert_eq!(
        told.iter().filter(|kind| **kind == "TABLE_RESTORED").count(),
        1,
        "{told:?}"
    );
    scene.end().await;
}

#[tokio::test]
async fn what_the_copy_had_pending_is_never_sent_again_because_it_may_have_been_claimed_elsewhere() {
    let mut scene = Scene::start().await.with(checks(json!({}))).await;
    scene.bill(&june(1, "101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.metering_always_fails(FaultKind::Throttle);
    scene.bill(&june(2, "150.00")).await;
    let backup = scene.back_up().await;
    // Since the copy, AWS refuses the entry; the buyer signs again, and the units are claimed in the next hour.
    scene.heal();
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.tick().await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await.last().unwrap().2,
        "REFUSED"
    );
    scene.subscribed(ACME_AWS_ACCOUNT, true);
    scene.until("2025-06-10T12:02:00Z").await;
    scene.replay("june").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(TWELVE, 4_897)]);
    scene.until("2025-06-10T12:30:00Z").await;
    scene.restore(&backup).await;
    scene.until_unwatched("2025-06-10T15:45:00Z").await;
    // The window of 11:00 is open still, and the copy says that its entry was never answered.
    scene.until("2025-06-10T17:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(TWELVE, 4_897)]);
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [
            (TEN.to_owned(), 10_103, "ACCEPTED"),
            (ELEVEN.to_owned(), 4_897, "UNKNOWN"),
            (TWELVE.to_owned(), 0, "ADOPTED")
        ]
    );
    // Later growth goes on from there, once somebody or 72 hours have said that the entry is not at AWS.
    let undecided = pending(&scene).await;
    let entry = undecided.iter().find(|open| open["state"] == "UNKNOWN");
    let id = entry.expect("an undecided entry")["id"].as_str().unwrap();
    let decision = json!({ "as": "RELEASED", "reason": "the usage report of the 10th does not have it" });
    let path = format!("integrationdestinations/marketplace/pending/{id}/resolve");
    scene.seller.post(&path, &decision).await.expect("resolved");
    scene.bill(&june(3, "160.00")).await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 16_000);
    scene.end().await;
}

#[tokio::test]
async fn without_cloudtrail_only_an_operator_thaws_it() {
    let (mut scene, backup) = with_a_gap(per_bill()).await;
    scene.restore(&backup).await;
    scene.bill_unwatched(&june(3, "200.00")).await;
    scene.until_unwatched("2025-06-11T12:30:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 20_000);
    let configuration = format!("integrationconfigs/{}", scene.configuration);
    let path = format!("{configuration}/thaw");
    scene.log_in().await;
    let since = async |scene: &Scene| scene.seller.get(&configuration).await.expect("one")["frozenSince"].clone();
    assert_eq!(since(&scene).await, json!("2025-06-10T12:30:00Z"));
    Scene::assert_refused(scene.seller.post(&path, &json!({})).await, 400, &["reason"]);
    Scene::assert_refused(
        scene
            .seller
            .post("integrationconfigs/none/thaw", &json!({ "reason": "seen" }))
            .await,
        404,
        &["none"],
    );
    // Whoever thaws it without looking bills the gap twice, and it was said; here somebody took the lost hour back by a lower bill.
    let reason = json!({ "reason": "AWS's usage report has 50.00 more than the copy; the bill was credited" });
    let thawed = scene.seller.post(&path, &reason).await.expect("thawed");
    assert_eq!(thawed["thawed"]["by"], json!(scene.sandbox.access_key().access_key_id));
    assert_eq!(thawed["entriesInDoubt"], json!([]));
    assert_eq!(since(&scene).await, json!(null));
    Scene::assert_refused(scene.seller.post(&path, &reason).await, 400, &["is not frozen"]);
    scene.bill_unwatched(&june(4, "160.00")).await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 21_000);
    scene.end_unwatched().await;
}

#[tokio::test]
async fn usage_of_a_mapping_that_the_copy_does_not_know_keeps_it_frozen() {
    let settings = and(per_product(), json!({ "awsMarketplaceCloudtrailChecks": true }));
    let mut scene = Scene::start().await.with(settings).await;
    let of = |id: &str, product: &str, version: i64| bill(id, ACME, version).line(usage("10.07").product(product));
    scene
        .map("Product", "product-1", "Dimension", &dimension("seats"))
        .await;
    scene.bill(&of("june", "product-1", 1)).await;
    let backup = scene.back_up().await;
    scene
        .map("Product", "product-2", "Dimension", &dimension("disks"))
        .await;
    scene.bill(&of("july", "product-2", 1)).await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "disks", TEN, 1_007),
        (ACME_AWS_ACCOUNT, "seats", TEN, 1_007),
    ]);
    scene.until("2025-06-10T10:30:00Z").await;
    scene.restore(&backup).await;
    scene.until_unwatched("2025-06-10T14:45:00Z").await;
    let report = newest_restore(&mut scene).await;
    assert!(
        report["unchecked"][0]
            .as_str()
            .unwrap()
            .contains("shows 1 records that nothing"),
        "{report:#}"
    );
    // The mapping is made again; the next look adopts what was sent by it.
    map(
        &scene.seller,
        "Product",
        "product-2",
        "Dimension",
        &dimension("disks"),
        None,
    )
    .await;
    scene.until_unwatched("2025-06-10T15:45:00Z").await;
    scene.bill(&of("july", "product-2", 2)).await;
    scene.until("2025-06-10T16:02:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, "disks"), 1_007);
    scene.end().await;
}
