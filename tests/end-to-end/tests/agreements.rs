//! A buyer's agreement begins or ends within an hour, or is not there: which hour takes the usage, and when a person is needed.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, GLOBEX, GLOBEX_AWS_ACCOUNT, GLOBEX_LICENSE, Scene, acme, bill, per_bill,
};
use sandbox::{Change, FaultKind};
use serde_json::json;

const NINE: &str = "2025-06-10T09";
const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";
const TWELVE: &str = "2025-06-10T12";

fn entry(hour: &str, quantity: i64, state: &'static str) -> (String, i64, &'static str) {
    (hour.to_owned(), quantity, state)
}

/// A seller whose account is mapped to a buyer, by this mapping.
async fn mapped_to(customer: &str) -> (Scene, String) {
    let mut scene = Scene::start().await;
    scene.configuration = scene.configure(per_bill()).await;
    let mapping = scene.map("Account", ACME, "Customer", customer).await;
    (scene, mapping)
}

#[tokio::test]
async fn a_buyer_never_accepted_is_tried_once_more_then_blocked_and_a_mapping_update_brings_the_money() {
    for occupies in [false, true] {
        let (mut scene, mapping) = mapped_to(ACME_AWS_ACCOUNT).await;
        scene.switch(json!({ "refusedCustomerOccupiesHour": occupies }));
        scene.subscribed(ACME_AWS_ACCOUNT, false);
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        scene
            .assert_run(
                "june",
                "AWAITING_RETRY",
                "the next hour is tried once more). The units are kept",
            )
            .await;
        assert_eq!(scene.events().await, [], "a new buyer is nothing to tell anybody of");
        scene.bill(&bill("june", ACME, 2).of("103.07")).await;
        scene
            .assert_run("june", "AWAITING_RETRY", "the next hour is tried once more")
            .await;
        scene.until("2025-06-10T11:02:00Z").await;
        scene
            .assert_run("june", "ERROR", "The units are kept and nothing more is sent there")
            .await;
        assert_eq!(scene.events().await.len(), 1);
        scene.bill(&bill("june", ACME, 3).of("104.09")).await;
        scene
            .assert_run("june", "ERROR", "AWS refused this buyer or dimension")
            .await;
        scene.until("2025-06-10T12:02:00Z").await;
        assert_eq!(
            scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
            [entry(TEN, 10_103, "REFUSED"), entry(ELEVEN, 10_307, "REFUSED")]
        );
        assert_eq!(scene.metering_calls(), 2);
        scene.subscribed(ACME_AWS_ACCOUNT, true);
        scene.change_mapping(&mapping, ACME_AWS_ACCOUNT).await;
        scene.assert_run("june", "COMPLETE", "").await;
        scene.assert_billed(&[acme(TWELVE, 10_409)]);
        scene.end().await;
    }
}

/// The buyer's agreement begins or ends at an instant, by the product code or by a licence.
fn agreement(scene: &Scene, license: bool, begins: bool, at: &str) {
    if license {
        let bound = if begins { "from" } else { "until" };
        return scene.switch(json!({ "licensePeriods": [{ "licenseArn": GLOBEX_LICENSE, bound: at }] }));
    }
    agreement_of(scene, GLOBEX_AWS_ACCOUNT, begins, at);
}

fn agreement_of(scene: &Scene, customer: &str, begins: bool, at: &str) {
    scene.switch(json!({ "subscriptionJudged": "usageHour" }));
    let statement = json!({ "customer": customer, "subscribed": begins, "from": at });
    let statement = serde_json::from_value(statement).unwrap();
    scene.change(Change::BuyerStated { statement });
}

async fn of_globex(license: bool) -> Scene {
    let mut scene = Scene::ready().await;
    if license {
        scene.map("Account", GLOBEX, "License", GLOBEX_LICENSE).await;
    }
    scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
    scene
}

#[tokio::test]
async fn a_buyer_whose_agreement_began_within_the_hour_is_metered_in_the_next() {
    for license in [false, true] {
        let mut scene = of_globex(license).await;
        agreement(&scene, license, true, "2025-06-10T10:20:00Z");
        scene.until("2025-06-10T10:25:00Z").await;
        scene.bill(&bill("june", GLOBEX, 1).of("101.03")).await;
        scene
            .assert_run(
                "june",
                "AWAITING_RETRY",
                "the next hour is tried once more). The units are kept",
            )
            .await;
        scene.assert_billed(&[]);
        scene.until("2025-06-10T11:02:00Z").await;
        scene.assert_run("june", "COMPLETE", "").await;
        scene.assert_billed(&[(GLOBEX_AWS_ACCOUNT, DIMENSION, ELEVEN, 10_103)]);
        assert_eq!(scene.events().await, []);
        scene.end().await;
    }
}

#[tokio::test]
async fn every_run_of_the_first_hour_ends_when_the_next_one_is_accepted() {
    let mut scene = Scene::ready().await;
    scene.map("Account", "child", "Customer", ACME_AWS_ACCOUNT).await;
    agreement_of(&scene, ACME_AWS_ACCOUNT, true, "2025-06-10T10:20:00Z");
    scene.until("2025-06-10T10:25:00Z").await;
    // Another bill of the same buyer, recalculations, one of them to the same amount.
    for (id, account, version, amount) in [
        ("june", ACME, 1, "101.03"),
        ("other", "child", 1, "7.01"),
        ("june", ACME, 2, "103.07"),
        ("june", ACME, 3, "103.07"),
        ("other", "child", 2, "7.01"),
    ] {
        scene.bill(&bill(id, account, version).of(amount)).await;
    }
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(ELEVEN, 11_008)]);
    for id in ["june", "other"] {
        let runs = scene.runs(id).await;
        let open: Vec<_> = runs.iter().filter(|run| run.status != "COMPLETE").collect();
        assert!(open.is_empty(), "{open:#?}");
    }
    scene.end().await;
}

#[tokio::test]
async fn the_last_usage_of_an_agreement_that_ended_within_the_hour_goes_to_the_latest_free_hour_before() {
    for license in [false, true] {
        let mut scene = of_globex(license).await;
        scene.bill(&bill("june", GLOBEX, 1).of("101.03")).await;
        agreement(&scene, license, false, "2025-06-10T10:50:00Z");
        scene.until("2025-06-10T11:02:00Z").await;
        scene.bill(&bill("june", GLOBEX, 2).of("103.07")).await;
        scene.assert_run("june", "COMPLETE", "").await;
        let globex = |hour, units| (GLOBEX_AWS_ACCOUNT, DIMENSION, hour, units);
        scene.assert_billed(&[globex(TEN, 10_103), globex(NINE, 204)]);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_buyer_who_left_within_the_hour_is_claimed_once_in_the_latest_free_hour_before() {
    let mut scene = Scene::ready().await;
    scene.switch(json!({ "subscriptionJudged": "usageHour" }));
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let left = json!({ "customer": ACME_AWS_ACCOUNT, "subscribed": false, "from": "2025-06-10T10:50:00Z" });
    let statement = serde_json::from_value(left).unwrap();
    scene.change(Change::BuyerStated { statement });
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    // Refused for 11:00, accepted for 9:00: 10:00 is taken.
    scene.assert_run("june", "COMPLETE", "").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(NINE, 204)]);
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [
            entry(NINE, 204, "ACCEPTED"),
            entry(TEN, 10_103, "ACCEPTED"),
            entry(ELEVEN, 204, "REFUSED")
        ]
    );
    scene.end().await;
}

#[tokio::test]
async fn a_buyer_whose_earlier_hour_is_refused_too_is_blocked() {
    for occupies in [false, true] {
        let (mut scene, mapping) = mapped_to(ACME_AWS_ACCOUNT).await;
        scene.switch(json!({ "refusedCustomerOccupiesHour": occupies }));
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        scene.until("2025-06-10T11:02:00Z").await;
        scene.subscribed(ACME_AWS_ACCOUNT, false);
        scene.bill(&bill("june", ACME, 2).of("103.07")).await;
        scene.assert_run("june", "ERROR", "CustomerNotSubscribed").await;
        scene.until("2025-06-10T12:02:00Z").await;
        assert_eq!(
            scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
            [
                entry(NINE, 204, "REFUSED"),
                entry(TEN, 10_103, "ACCEPTED"),
                entry(ELEVEN, 204, "REFUSED")
            ]
        );
        assert!(scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state.blocked.is_some());
        scene.subscribed(ACME_AWS_ACCOUNT, true);
        scene.change_mapping(&mapping, ACME_AWS_ACCOUNT).await;
        scene.assert_billed(&[acme(TEN, 10_103), acme(TWELVE, 204)]);
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_mended_between_the_two_refusals_is_taken_before_the_second() {
    for second in ["101.03", "103.07"] {
        let (mut scene, mapping) = mapped_to("999988887777").await;
        scene.subscribed("999988887777", false);
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        scene.bill(&bill("june", ACME, 2).of(second)).await;
        // It was the wrong buyer.
        scene.change_mapping(&mapping, ACME_AWS_ACCOUNT).await;
        scene.until("2025-06-10T12:02:00Z").await;
        let units = if second == "101.03" { 10_103 } else { 10_307 };
        scene.assert_billed(&[acme(TEN, units)]);
        scene.assert_run("june", "COMPLETE", "").await;
        assert_eq!(scene.key("999988887777", DIMENSION).await.state.total, 0);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_second_refusal_beside_a_record_that_goes_again_stays_told() {
    let mut scene = Scene::ready().await;
    scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
    scene.subscribed(GLOBEX_AWS_ACCOUNT, false);
    scene.bill(&bill("june", GLOBEX, 1).of("101.03")).await;
    scene.bill(&bill("other", ACME, 1).of("7.01")).await;
    scene.bill(&bill("other", ACME, 2).of("9.01")).await;
    // Both wait for the tick; of its page one record is refused for good, and the other left unprocessed, so that the page comes again.
    scene.metering_fails(&[FaultKind::Unprocessed; 6]);
    scene.until("2025-06-10T11:02:00Z").await;
    let refused = "The units are kept and nothing more is sent there";
    scene.assert_run("june", "ERROR", refused).await;
    scene.assert_run("other", "COMPLETE", "").await;
    scene.until("2025-06-10T12:02:00Z").await;
    scene.assert_run("june", "ERROR", refused).await;
    assert_eq!(scene.events().await.len(), 1);
    scene.end().await;
}
