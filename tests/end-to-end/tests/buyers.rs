//! The three ways in which AWS knows a buyer, as they go over the wire.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, GLOBEX, GLOBEX_AWS_ACCOUNT, GLOBEX_LICENSE, INITECH, INITECH_CUSTOMER, PRODUCT,
    Scene, bill, dimension, per_product, usage,
};
use serde_json::json;

/// 2025-06-10T10:00:00Z.
const TIMESTAMP: i64 = 1_749_549_600;

#[tokio::test]
async fn each_identity_is_sent_as_aws_wants_it_and_the_run_shows_the_exact_request() {
    let mut scene = Scene::ready().await;
    scene.map("Account", GLOBEX, "License", GLOBEX_LICENSE).await;
    scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
    scene.map("Account", INITECH, "Customer", INITECH_CUSTOMER).await;
    let cases = [
        (
            ACME,
            "101.03",
            json!({ "ProductCode": PRODUCT, "UsageRecords": [{
                "Timestamp": TIMESTAMP, "CustomerAWSAccountId": ACME_AWS_ACCOUNT, "Dimension": DIMENSION, "Quantity": 10_103,
            }] }),
        ),
        (
            GLOBEX,
            "53.03",
            json!({ "UsageRecords": [{
                "Timestamp": TIMESTAMP, "CustomerAWSAccountId": GLOBEX_AWS_ACCOUNT, "LicenseArn": GLOBEX_LICENSE,
                "Dimension": DIMENSION, "Quantity": 5_303,
            }] }),
        ),
        (
            INITECH,
            "29.03",
            json!({ "ProductCode": PRODUCT, "UsageRecords": [{
                "Timestamp": TIMESTAMP, "CustomerIdentifier": INITECH_CUSTOMER, "Dimension": DIMENSION, "Quantity": 2_903,
            }] }),
        ),
    ];
    for (account, amount, request) in cases {
        scene.bill(&bill(account, account, 1).of(amount)).await;
        assert_eq!(scene.requests_of(account).await, [request], "{account}");
        let log = scene.log(&scene.run(account).await.id).await;
        let exchange = &log[0]["exchanges"][0];
        assert_eq!(exchange["status"], 200);
        assert_eq!(exchange["response"]["Results"][0]["Status"], "Success", "{exchange}");
    }
    assert!(scene.sandbox.marketplace().violations().is_empty());
    scene.end().await;
}

#[tokio::test]
async fn a_buyer_whom_aws_answers_by_both_of_his_names_is_known_by_the_one_that_he_is_mapped_by() {
    let mut scene = Scene::checked().await;
    scene.map("Account", INITECH, "Customer", INITECH_CUSTOMER).await;
    scene.switch(json!({ "echoesBothIdentities": true }));
    for (account, amount) in [(ACME, "101.03"), (INITECH, "29.03")] {
        scene.bill(&bill(account, account, 1).of(amount)).await;
        scene.assert_run(account, "COMPLETE", "").await;
    }
    scene.until("2025-06-11T11:30:00Z").await;
    let report = scene.report().await;
    assert_eq!(
        (&report["status"], &report["discrepancies"]),
        (&json!("MATCHES"), &json!([])),
        "{report:#}"
    );
    let ledger = scene.ledger().await;
    let customers: Vec<&str> = ledger.keys.values().map(|key| key.state.key.buyer.customer()).collect();
    assert_eq!(customers.len(), 2, "{customers:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_licence_and_a_product_code_never_share_a_call() {
    let mut scene = Scene::ready().await;
    scene.map("Account", GLOBEX, "License", GLOBEX_LICENSE).await;
    scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
    let organization = scene.organization().to_owned();
    let event = |account: &str, amount: &str| {
        end_to_end::message::updated(&organization, &bill(account, account, 1).of(amount))
    };
    scene
        .send_together([event(ACME, "101.03"), event(GLOBEX, "53.03")])
        .await;
    assert_eq!(scene.metering_calls(), 2);
    for (account, has_code) in [(ACME, true), (GLOBEX, false)] {
        let requests = scene.requests_of(account).await;
        assert_eq!(
            (requests.len(), requests[0]["UsageRecords"].as_array().unwrap().len()),
            (1, 1)
        );
        assert_eq!(requests[0].get("ProductCode").is_some(), has_code, "{account}");
        assert_eq!(
            requests[0]["UsageRecords"][0].get("LicenseArn").is_none(),
            has_code,
            "{account}"
        );
    }
    assert!(scene.sandbox.marketplace().violations().is_empty());
    scene.end().await;
}

#[tokio::test]
async fn a_licence_without_the_buyer_s_account_is_an_error_until_it_is_mapped() {
    let mut scene = Scene::ready().await;
    scene.map("Account", GLOBEX, "License", GLOBEX_LICENSE).await;
    scene.bill(&bill("june", GLOBEX, 1).of("53.03")).await;
    scene
        .assert_run(
            "june",
            "ERROR",
            "a licence needs the buyer's 12-digit AWS account id in table Customer",
        )
        .await;
    scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
    scene.assert_billed(&[(GLOBEX_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 5_303)]);
    scene.end().await;
}

/// More keys than a transaction of DynamoDB holds.
const SIXTY: usize = 60;

/// A bill of sixty products, and the mapping of its buyer, Acme.
async fn sixty_products() -> (Scene, String) {
    let mut scene = Scene::start().await;
    let mapping = scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
    scene.configure(per_product()).await;
    for index in 0..SIXTY {
        let (product, name) = (format!("product-{index}"), dimension(&format!("units-{index}")));
        scene.map("Product", &product, "Dimension", &name).await;
    }
    (scene, mapping)
}

fn of_sixty_products(version: i64, amount: &str) -> end_to_end::Bill {
    (0..SIXTY).fold(bill("june", ACME, version), |bill, index| {
        bill.line(usage(amount).product(&format!("product-{index}")))
    })
}

fn paid_in_all(scene: &Scene, customer: &str) -> Vec<i64> {
    (0..SIXTY)
        .map(|index| scene.paid(customer, &format!("units-{index}")))
        .collect()
}

#[tokio::test]
async fn a_bill_of_sixty_dimensions_goes_to_the_right_buyer_when_the_mapping_is_corrected() {
    let (mut scene, mapping) = sixty_products().await;
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.bill(&of_sixty_products(1, "1.01")).await;
    scene
        .assert_run("june", "AWAITING_RETRY", "CustomerNotSubscribed")
        .await;
    scene.change_mapping(&mapping, GLOBEX_AWS_ACCOUNT).await;
    scene.assert_run("june", "COMPLETE", "").await;
    assert_eq!(paid_in_all(&scene, GLOBEX_AWS_ACCOUNT), [101; SIXTY]);
    assert!(scene.dead_letters().is_empty());
    scene.end().await;
}

#[tokio::test]
async fn a_cut_over_of_sixty_dimensions_takes_what_is_not_at_aws_along() {
    let (mut scene, mapping) = sixty_products().await;
    scene.bill(&of_sixty_products(1, "1.01")).await;
    scene.bill(&of_sixty_products(2, "1.07")).await;
    scene.change_mapping(&mapping, GLOBEX_AWS_ACCOUNT).await;
    scene.remap("june").await;
    scene.until("2025-06-10T12:02:00Z").await;
    assert_eq!(paid_in_all(&scene, ACME_AWS_ACCOUNT), [101; SIXTY]);
    assert_eq!(paid_in_all(&scene, GLOBEX_AWS_ACCOUNT), [6; SIXTY]);
    scene.bill(&of_sixty_products(3, "1.17")).await;
    scene.until("2025-06-10T14:02:00Z").await;
    assert_eq!(paid_in_all(&scene, ACME_AWS_ACCOUNT), [101; SIXTY]);
    assert_eq!(paid_in_all(&scene, GLOBEX_AWS_ACCOUNT), [16; SIXTY]);
    scene.end().await;
}
