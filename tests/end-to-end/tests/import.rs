//! The AWS mappings that m3ter has are copied, page by page, as often as one likes, and nothing is overwritten.

use end_to_end::{ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, bill, dimension, per_bill, set_up};
use serde_json::{Value, json};

const IMPORT: &str = "externalmappings/import";

fn mapping(id: &str, entity: &str, m3ter_id: &str, table: &str, external_id: &str) -> Value {
    json!({
        "id": id, "version": 1, "dtCreated": "2025-06-01T09:00:00.000Z", "m3terEntity": entity, "m3terId": m3ter_id,
        "externalSystem": "AWS", "externalTable": table, "externalId": external_id,
    })
}

/// Imports to the end with pages of a size; gives every answer.
async fn import(scene: &Scene, size: usize) -> Vec<Value> {
    let mut answers = Vec::new();
    let mut after = String::new();
    loop {
        let answer = scene
            .seller
            .post(&format!("{IMPORT}?pageSize={size}{after}"), &json!({}))
            .await;
        let answer = answer.expect("an answer");
        let next = answer["nextToken"].as_str().map(str::to_owned);
        assert_eq!(answer["done"], json!(next.is_none()));
        answers.push(answer);
        match next {
            Some(token) => after = format!("&nextToken={token}"),
            None => return answers,
        }
    }
}

#[tokio::test]
async fn mappings_are_copied_page_by_page_and_the_bill_that_waited_is_sent() {
    let mut scene = Scene::start().await;
    scene.configuration = scene.configure(per_bill()).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.assert_run("june", "ERROR", "has no external mapping").await;
    let mut stripe = mapping("m-0", "Account", ACME, "Customer", "cus_1");
    stripe["externalSystem"] = json!("Stripe");
    let aws = [
        mapping("m-1", "Account", ACME, "Customer", ACME_AWS_ACCOUNT),
        mapping("m-2", "Product", "gold", "Dimension", &dimension("metal")),
        mapping("m-3", "Aggregation", "storage", "Dimension", &dimension("storage")),
        mapping("m-4", "CompoundAggregation", "peak", "Dimension", &dimension("peak")),
        mapping("m-5", "Account", "globex", "Customer", "444455556666"),
    ];
    scene.m3ter_has_mappings(&[stripe]);
    scene.m3ter_has_mappings(&aws);
    let answers = import(&scene, 2).await;
    let created: Vec<i64> = answers.iter().filter_map(|answer| answer["created"].as_i64()).collect();
    assert_eq!(created, [2, 2, 1]);
    let so_far = |read: i64, created: i64, unchanged: i64, conflicts: i64| json!({ "read": read, "created": created, "unchanged": unchanged, "conflicts": conflicts });
    assert_eq!(answers[1]["soFar"], so_far(4, 4, 0, 0));
    assert_eq!(answers[2]["soFar"], so_far(5, 5, 0, 0));
    scene.rest().await;
    scene.assert_run("june", "COMPLETE", "").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_103);
    // Again: nothing changes.
    let again = import(&scene, 200).await;
    assert_eq!((again.len(), &again[0]["soFar"]), (1, &so_far(5, 0, 5, 0)));
    let listed = scene.seller.get("externalmappings").await.expect("a list");
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(5));
    scene.end().await;
}

#[tokio::test]
async fn what_differs_or_cannot_be_used_is_listed_and_not_overwritten() {
    let mut scene = Scene::ready().await;
    let mut linked = mapping("m-2", "Account", "globex", "Customer", "444455556666");
    linked["integrationConfigId"] = json!("m3ters-own");
    let mut linked_here = mapping("m-3", "Account", "initech", "Customer", "555566667777");
    linked_here["integrationConfigId"] = json!(scene.configuration);
    scene.m3ter_has_mappings(&[
        mapping("m-1", "Account", ACME, "Customer", "999988887777"),
        linked,
        linked_here,
        mapping("m-4", "Account", "hooli", "Customer", "1234-5678-9012"),
        mapping("m-5", "Product", "gold", "Dimension", "no dimension"),
        mapping("m-6", "Meter", "gold", "Dimension", &dimension("metal")),
    ]);
    let answers = import(&scene, 200).await;
    let [answer] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert_eq!(
        (&answer["read"], &answer["created"]),
        (&json!(6), &json!(1)),
        "{answer:#}"
    );
    let conflicts = answer["conflicts"].as_array().expect("conflicts");
    let reason = |id: &str| {
        let conflict = conflicts.iter().find(|conflict| conflict["m3ter"]["id"] == id);
        conflict.unwrap_or_else(|| panic!("{id}: {answer:#}"))["reason"]
            .as_str()
            .expect("a reason")
            .to_owned()
    };
    assert_eq!(conflicts.len(), 5);
    assert!(reason("m-1").contains(ACME_AWS_ACCOUNT) && reason("m-1").contains("999988887777"));
    assert!(reason("m-2").contains("m3ters-own"));
    assert!(reason("m-4").contains("externalId"));
    assert!(reason("m-5").contains("no dimension"));
    assert!(reason("m-6").contains("m3terEntity"));
    let existing = conflicts
        .iter()
        .find(|conflict| conflict["m3ter"]["id"] == "m-1")
        .expect("it");
    assert_eq!(existing["existing"]["externalId"], json!(ACME_AWS_ACCOUNT));
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_103);
    scene.end().await;
}

#[tokio::test]
async fn bad_calls_are_refused_and_m3ters_refusal_is_told() {
    let scene = Scene::ready().await;
    for (query, hint) in [
        ("?pageSize=0", "pageSize"),
        ("?pageSize=201", "pageSize"),
        ("?nextToken=AAAA", "nextToken"),
    ] {
        let answer = scene.seller.post(&format!("{IMPORT}{query}"), &json!({})).await;
        Scene::assert_refused(answer, 400, &[hint]);
    }
    let answer = scene.seller.post(IMPORT, &json!({ "overwrite": true })).await;
    Scene::assert_refused(answer, 400, &["overwrite"]);
    let other = scene.other_organization("other-organization").await;
    set_up::configure(&other, "bills", &per_bill()).await;
    Scene::assert_refused(
        other.post(IMPORT, &json!({})).await,
        400,
        &["other-organization/m3ter", "apiSecret"],
    );
    scene.end().await;
}
