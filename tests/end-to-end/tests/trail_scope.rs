//! Whose evidence counts: CloudTrail of the account that metered, the date of the configuration that counts, and the word of an operator.

use end_to_end::{ACME, ACME_AWS_ACCOUNT, DIMENSION, GLOBEX, GLOBEX_AWS_ACCOUNT, Scene, and, bill, message, per_bill};
use sandbox::FaultKind;
use serde_json::{Value, json};

const TEN: &str = "2025-06-10T10";

fn for_account(account: &str, more: Value) -> Value {
    let checked = json!({ "awsMarketplaceCloudtrailChecks": true, "accountIds": [account] });
    and(and(per_bill(), checked), more)
}

/// A configuration that meters in an account of AWS's by a role.
async fn configured_in(scene: &Scene, aws_account: &str, settings: Value) -> String {
    let role = json!({ "type": "AWS_INTEGRATION", "accountId": aws_account, "roleName": "OutbillMetering" });
    let credential = scene.seller.post("integrationcredentials", &role).await.unwrap();
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": aws_account, "integrationCredentialsId": credential["id"],
        "configData": settings,
    });
    let made = scene.seller.post("integrationconfigs", &configuration).await.unwrap();
    made["id"].as_str().unwrap().to_owned()
}

/// A bill whose first attempt fails like this and whose second is refused, so that nobody knows what AWS holds.
async fn unknown(scene: &mut Scene, kind: FaultKind) {
    let june = message::updated(scene.organization(), &bill("june", ACME, 1).of("101.03"));
    scene.metering_fails(&[kind]);
    let again = scene.deliver([june]).await;
    assert_eq!(again.len(), 1);
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.deliver(again).await;
    scene.subscribed(ACME_AWS_ACCOUNT, true);
}

async fn states(scene: &Scene) -> Vec<(String, i64, &'static str)> {
    scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await
}

#[tokio::test]
async fn the_silence_of_one_account_releases_nothing_that_another_metered() {
    let mut scene = Scene::start().await;
    scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
    scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
    let gone = configured_in(&scene, "444455556666", for_account(ACME, json!({}))).await;
    scene.configuration = configured_in(&scene, "555566667777", for_account(GLOBEX, json!({}))).await;
    // Records of the other account, shown before and after.
    scene.bill(&bill("globex", GLOBEX, 1).of("1.00")).await;
    scene.until("2025-06-10T10:12:00Z").await;
    unknown(&mut scene, FaultKind::LostAnswer).await;
    scene
        .seller
        .delete(&format!("integrationconfigs/{gone}"))
        .await
        .unwrap();
    assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "UNKNOWN")]);
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("globex", GLOBEX, 2).of("2.00")).await;
    scene.until("2025-06-13T11:30:00Z").await;
    assert_eq!(states(&scene).await, [(TEN.to_owned(), 10_103, "UNKNOWN")]);
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_103);
    scene.end().await;
}

#[tokio::test]
async fn another_configuration_s_date_adopts_nothing_on_a_key() {
    let mut scene = Scene::start().await;
    scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
    let since = |from: &str| json!({ "marketplaceAdoptFrom": from });
    scene
        .configure(for_account(GLOBEX, since("2025-06-01T00:00:00Z")))
        .await;
    scene.configuration = scene.configure(for_account(ACME, since("2025-06-10T11:00:00Z"))).await;
    scene.until("2025-06-10T11:05:00Z").await;
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 500);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-11T11:30:00Z").await;
    let found: Vec<Value> = scene
        .reports()
        .await
        .iter()
        .flat_map(|report| report["discrepancies"].as_array().cloned().unwrap_or_default())
        .map(|found| found["why"].clone())
        .collect();
    assert!(
        !found.is_empty() && found.iter().all(|why| why == "BEFORE_ADOPTION"),
        "{found:?}"
    );
    scene.bill(&bill("june", ACME, 2).of("201.03")).await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 20_103 + 500);
    scene.end().await;
}

#[tokio::test]
async fn what_an_operator_calls_accepted_is_not_sent_again() {
    let mut scene = Scene::start().await.with(for_account(ACME, json!({}))).await;
    scene.until("2025-06-10T12:30:00Z").await;
    unknown(&mut scene, FaultKind::LostRequest).await;
    let pending = "integrationdestinations/marketplace/pending";
    let listed = scene.seller.get(pending).await.unwrap();
    let entry = listed["data"][0]["id"].as_str().unwrap();
    let decision = json!({ "as": "ACCEPTED", "reason": "AWS bills it under the buyer's other account" });
    let resolved = scene
        .seller
        .post(&format!("{pending}/{entry}/resolve"), &decision)
        .await
        .unwrap();
    assert_eq!(resolved["state"], json!("ACCEPTED"));
    let calls = scene.metering_calls();
    scene.until("2025-06-11T12:30:00Z").await;
    assert_eq!(scene.metering_calls(), calls);
    assert_eq!(scene.billed(), []);
    // Of an operator's word AWS knows nothing.
    scene.end_unwatched().await;
}

#[tokio::test]
async fn a_receipt_that_comes_after_its_day_was_looked_at_is_looked_for_the_day_after() {
    let mut scene = Scene::start().await.with(for_account(ACME, json!({}))).await;
    scene.until("2025-06-10T20:05:00Z").await;
    scene.metering_always_fails(FaultKind::LostRequest);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-11T12:30:00Z").await;
    scene.heal();
    scene.cloudtrail(json!({ "drop": 1 }));
    scene.until("2025-06-11T14:00:00Z").await;
    assert_eq!(states(&scene).await, [("2025-06-10T20".to_owned(), 10_103, "ACCEPTED")]);
    let reports = scene.reports().await;
    assert!(
        reports.iter().all(|report| report["discrepancies"] == json!([])),
        "{reports:#?}"
    );
    scene.until("2025-06-12T11:30:00Z").await;
    let report = scene.report().await;
    assert_eq!(report["date"], json!("2025-06-11"), "{report:#}");
    assert_eq!(
        report["discrepancies"][0]["hour"],
        json!("2025-06-10T20:00:00Z"),
        "{report:#}"
    );
    scene.end().await;
}

#[tokio::test]
async fn a_late_receipt_of_the_last_hour_of_a_day_is_looked_for_as_well() {
    let mut scene = Scene::start().await.with(for_account(ACME, json!({}))).await;
    scene.until("2025-06-10T22:20:00Z").await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    // The tick at one past claims hour 23.
    scene.until("2025-06-10T22:59:00Z").await;
    scene.metering_always_fails(FaultKind::LostRequest);
    scene.until("2025-06-11T14:00:00Z").await;
    scene.heal();
    scene.cloudtrail(json!({ "drop": 1 }));
    scene.until("2025-06-12T11:30:00Z").await;
    let report = scene.report().await;
    let found = &report["discrepancies"];
    assert_eq!(
        report["discrepanciesByReason"],
        json!({ "RECEIPT_UNSEEN_LONG": 1 }),
        "{report:#}"
    );
    assert_eq!(found[0]["hour"], json!("2025-06-10T23:00:00Z"), "{report:#}");
    assert_eq!(found[0]["amendment"]["kind"], json!("MARK_UNVERIFIED"), "{report:#}");
    scene.end().await;
}

#[tokio::test]
async fn a_credential_keeps_its_account_while_what_it_metered_is_not_settled() {
    let mut scene = Scene::start().await;
    scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
    scene.configuration = configured_in(&scene, "444455556666", for_account(ACME, json!({}))).await;
    unknown(&mut scene, FaultKind::LostAnswer).await;
    let known = scene
        .seller
        .get(&format!("integrationconfigs/{}", scene.configuration))
        .await
        .unwrap();
    let path = format!(
        "integrationcredentials/{}",
        known["integrationCredentialsId"].as_str().unwrap()
    );
    let moved = |account: &str| json!({ "type": "AWS_INTEGRATION", "accountId": account, "roleName": "OutbillMetering", "version": 1 });
    let refused = scene.seller.put(&path, &moved("555566667777")).await;
    Scene::assert_refused(refused, 400, &["accountId", "new credential"]);
    scene.seller.put(&path, &moved("444455556666")).await.unwrap();
    scene.end().await;
}
