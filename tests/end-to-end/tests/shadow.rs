//! Shadow: bills are counted beside another program that meters them, and nothing is sent until the seller switches over.

use end_to_end::{ACME, ACME_AWS_ACCOUNT, DIMENSION, GLOBEX_LICENSE, Scene, and, june, per_bill};
use sandbox::{Change, FaultKind};
use serde_json::{Value, json};

const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";

fn settings(shadow: bool) -> Value {
    let more = json!({ "awsMarketplaceCloudtrailChecks": true, "marketplaceShadow": shadow, "marketplaceAdoptFrom": "2025-06-01T00:00:00Z" });
    and(per_bill(), more)
}

async fn pending(scene: &Scene) -> Vec<Value> {
    let listed = scene.seller.get("integrationdestinations/marketplace/pending").await;
    listed.expect("a list")["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn a_shadow_counts_the_same_bills_and_sends_nothing() {
    let mut scene = Scene::start().await.with(settings(true)).await;
    scene.bill(&june(1, "101.03")).await;
    scene.bill(&june(2, "150.00")).await;
    scene.until("2025-06-10T12:02:00Z").await;
    assert_eq!((scene.metering_calls(), scene.billed()), (0, Vec::new()));
    assert_eq!(scene.run("june").await.status, "COMPLETE");
    let would_be = pending(&scene).await;
    assert_eq!(would_be.len(), 1);
    assert_eq!(
        (&would_be[0]["state"], &would_be[0]["units"], &would_be[0]["parts"]),
        (&json!("SHADOW"), &json!(15_000), &json!({ "june": 15_000 }))
    );
    // Whoever lifts it without another program beside it sends all of it.
    scene.reconfigure(settings(false)).await;
    scene.tick().await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T12", 15_000)]);
    scene.end().await;
}

#[tokio::test]
async fn the_switch_from_another_program_bills_nothing_twice() {
    let mut scene = Scene::start().await.with(settings(true)).await;
    // The other program reports; the shadow counts the same bill, and the hourly looks and the daily comparison adopt what was reported.
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 10_103);
    scene.bill(&june(1, "101.03")).await;
    scene.until("2025-06-10T11:10:00Z").await;
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, ELEVEN, 4_800);
    scene.bill(&june(2, "150.00")).await;
    scene.until("2025-06-11T11:30:00Z").await;
    // What is left is where the two differ: the other program reported one unit price too few.
    let different = pending(&scene).await;
    assert_eq!(
        (
            &different[0]["state"],
            &different[0]["units"],
            &different[0]["committed"]
        ),
        (&json!("SHADOW"), &json!(97), &json!(14_903))
    );
    // The other program stops, and the shadow is lifted: only the difference goes.
    scene.reconfigure(settings(false)).await;
    scene.until("2025-06-11T12:02:00Z").await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, DIMENSION, TEN, 10_103),
        (ACME_AWS_ACCOUNT, DIMENSION, ELEVEN, 4_800),
        (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-11T12", 97),
    ]);
    assert_eq!(pending(&scene).await, [] as [Value; 0]);
    scene.end().await;
}

#[tokio::test]
async fn what_a_shadow_counted_is_not_sent_when_it_is_deleted() {
    let mut scene = Scene::start().await.with(settings(true)).await;
    scene.bill(&june(1, "101.03")).await;
    let path = format!("integrationconfigs/{}", scene.configuration);
    let known = scene.seller.get(&path).await.unwrap();
    scene.seller.delete(&path).await.unwrap();
    scene.until("2025-06-10T12:02:00Z").await;
    assert_eq!((scene.metering_calls(), scene.billed()), (0, Vec::new()));
    let left = pending(&scene).await;
    assert_eq!(
        (&left[0]["state"], &left[0]["units"]),
        (&json!("SHADOW"), &json!(10_103))
    );
    assert!(
        left[0]["wayOut"].as_str().unwrap().contains("deleted in shadow"),
        "{left:#?}"
    );
    // Nothing is sent with its credential any more, and a bill that another configuration sends takes its units along.
    let credential = known["integrationCredentialsId"].as_str().unwrap();
    let credential = format!("integrationcredentials/{credential}");
    scene.seller.delete(&credential).await.unwrap();
    scene.configure(settings(false)).await;
    scene.bill(&june(2, "150.00")).await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T12", 15_000)]);
    scene.end().await;
}

#[tokio::test]
async fn a_buyer_who_is_refused_after_the_switch_to_shadow_is_not_tried_in_an_earlier_hour() {
    for license in [false, true] {
        let mut scene = Scene::start().await.with(settings(false)).await;
        let left = "2025-06-10T10:50:00Z";
        if license {
            scene.map("Account", ACME, "License", GLOBEX_LICENSE).await;
            scene.switch(json!({ "licensePeriods": [{ "licenseArn": GLOBEX_LICENSE, "until": left }] }));
        } else {
            scene.switch(json!({ "subscriptionJudged": "usageHour" }));
            let statement = json!({ "customer": ACME_AWS_ACCOUNT, "subscribed": false, "from": left });
            let statement = serde_json::from_value(statement).unwrap();
            scene.change(Change::BuyerStated { statement });
        }
        scene.bill(&june(1, "101.03")).await;
        scene.until("2025-06-10T11:02:00Z").await;
        // Pending when the shadow begins, refused after it; what the shadow counts is another program's to send.
        scene.metering_always_fails(FaultKind::Throttle);
        scene.bill(&june(2, "103.07")).await;
        scene.reconfigure(settings(true)).await;
        scene.bill(&june(3, "150.00")).await;
        scene.heal();
        scene.tick().await;
        let of_ten = (ACME_AWS_ACCOUNT, DIMENSION, TEN, 10_103);
        scene.assert_billed(&[of_ten]);
        assert_eq!(
            scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
            [
                (TEN.to_owned(), 10_103, "ACCEPTED"),
                (ELEVEN.to_owned(), 204, "REFUSED")
            ]
        );
        assert_eq!(pending(&scene).await[0]["units"], 4_897);
        // Lifted, it is: the latest free hour in which the buyer had his agreement.
        scene.reconfigure(settings(false)).await;
        scene.until("2025-06-10T12:02:00Z").await;
        scene.assert_billed(&[of_ten, (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T09", 4_897)]);
        scene.end().await;
    }
}
