//! A connection that AWS refuses, and one that cannot be asked for.

use end_to_end::{ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, acme, at, bill, per_bill};
use sandbox::{Change, Fault, FaultKind, Service};
use serde_json::json;

const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";

#[tokio::test]
async fn access_denied_keeps_the_entry_and_claims_nothing_new_until_aws_answers_again() {
    let mut scene = Scene::ready().await;
    scene.map("Account", "other", "Customer", "222233334444").await;
    scene.metering_always_fails(FaultKind::AccessDenied);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .assert_run(
            "june",
            "AUTH_FAILED",
            "AWS refuses the connection: AWS says AccessDeniedException",
        )
        .await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [(TEN.to_owned(), 10_103, "PENDING")]
    );
    let calls = scene.metering_calls();
    scene.bill(&bill("july", "other", 1).of("53.03")).await;
    scene.assert_run("july", "AWAITING_RETRY", "").await;
    assert_eq!(
        scene.metering_calls(),
        calls,
        "nothing is tried on a connection that fails"
    );
    assert!(scene.key("222233334444", DIMENSION).await.entries.is_empty());
    scene.heal();
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), ("222233334444", DIMENSION, ELEVEN, 5_303)]);
    for id in ["june", "july"] {
        scene.assert_run(id, "COMPLETE", "").await;
    }
    let events: Vec<String> = scene.events().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(events, ["integration.authentication.error"]);
    scene.end().await;
}

#[tokio::test]
async fn sts_that_cannot_be_asked_says_nothing_about_the_connection() {
    let mut scene = Scene::start().await;
    let role = json!({ "type": "AWS_INTEGRATION", "accountId": "444455556666", "roleName": "OutbillMetering" });
    let credential = scene.seller.post("integrationcredentials", &role).await.unwrap();
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": "bills", "integrationCredentialsId": credential["id"], "configData": per_bill(),
    });
    let configuration = scene.seller.post("integrationconfigs", &configuration).await.unwrap();
    scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
    // As often as the SDK asks before it gives up.
    let outage = Fault {
        action: Some("AssumeRole".to_owned()),
        ..Fault::new(Service::Sts, FaultKind::Error, 3)
    };
    scene.sandbox.faults(vec![outage]).unwrap();
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.assert_run("june", "COMPLETE", "").await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    assert_eq!(scene.events().await, []);
    let now = format!("integrationconfigs/{}", configuration["id"].as_str().unwrap());
    let now = scene.seller.get(&now).await.unwrap();
    assert_eq!(now["enabled"], json!(true), "{now}");
    scene.end().await;
}

#[tokio::test]
async fn every_version_that_came_while_a_connection_failed_is_told() {
    let mut scene = Scene::ready().await;
    scene.metering_always_fails(FaultKind::AccessDenied);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    for (version, amount) in [(2, "103.07"), (3, "107.11")] {
        scene.bill(&bill("june", ACME, version).of(amount)).await;
        scene.assert_run("june", "AWAITING_RETRY", "").await;
    }
    scene.heal();
    scene.until("2025-06-10T12:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme("2025-06-10T12", 608)]);
    let runs = scene.runs("june").await;
    let statuses: Vec<&str> = runs.iter().map(|run| run.status.as_str()).collect();
    assert_eq!(statuses, ["COMPLETE", "COMPLETE", "COMPLETE"]);
    scene.end().await;
}

#[tokio::test]
async fn a_later_version_does_not_end_a_run_whose_own_entry_has_no_answer() {
    let mut scene = Scene::ready().await;
    scene.metering_always_fails(FaultKind::LostRequest);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T10:50:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    // What has gathered is claimed before the entry goes again.
    let to = at("2025-06-10T11:00:30Z");
    scene.change(Change::ClockMoved { to });
    scene.heal();
    let key = scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state.hash();
    let again = scene.deliver([json!({ "flush": true, "keys": [key] })]).await;
    assert_eq!(again, [""; 0]);
    scene.assert_billed(&[acme(ELEVEN, 204)]);
    let statuses = async |scene: &Scene| {
        let runs = scene.runs("june").await;
        runs.into_iter().map(|run| run.status).collect::<Vec<String>>()
    };
    assert_eq!(statuses(&scene).await, ["COMPLETE", "AWAITING_RETRY"]);
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    assert_eq!(statuses(&scene).await, ["COMPLETE", "COMPLETE"]);
    scene.end().await;
}
