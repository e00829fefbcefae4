//! What AWS has not accepted is listed with its way out, and what an operator decides about it is sent, or not, as decided.

use end_to_end::{ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, acme, bill, dimension, per_bill};
use sandbox::{Fault, FaultKind, Service};
use serde_json::{Value, json};

const PENDING: &str = "integrationdestinations/marketplace/pending";
const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";

/// Everything that is listed, page by page.
async fn pending(scene: &Scene, page_size: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = scene
            .seller
            .get(&format!("{PENDING}?pageSize={page_size}{after}"))
            .await;
        let page = page.expect("a list");
        let data = page["data"].as_array().expect("data").clone();
        assert!(data.len() <= page_size);
        found.extend(data);
        match page["nextToken"].as_str() {
            Some(token) => after = format!("&nextToken={token}"),
            None => return found,
        }
    }
}

/// Kind, state and units of everything that is listed.
async fn told(scene: &Scene) -> Vec<(String, String, i64)> {
    let text = |item: &Value, field: &str| item[field].as_str().expect("a text").to_owned();
    let told = |item: &Value| {
        (
            text(item, "kind"),
            text(item, "state"),
            item["units"].as_i64().expect("units"),
        )
    };
    let mut told: Vec<_> = pending(scene, 200).await.iter().map(told).collect();
    told.sort();
    told
}

fn row(kind: &str, state: &str, units: i64) -> (String, String, i64) {
    (kind.to_owned(), state.to_owned(), units)
}

async fn id_of(scene: &Scene, state: &str) -> String {
    let found = pending(scene, 200).await;
    let item = found.iter().find(|item| item["state"] == state);
    item.expect("something in that state")["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// An entry whose outcome is not known: AWS took it or not, answered nothing, and then refused a repeat.
async fn unknown(fault: FaultKind) -> Scene {
    let mut scene = Scene::ready().await;
    scene.metering_always_fails(fault);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.switch(json!({ "badDimensions": [DIMENSION] }));
    scene.heal();
    scene.tick().await;
    scene.switch(json!({ "badDimensions": [] }));
    scene
}

#[tokio::test]
async fn what_is_sent_waits_carries_or_is_blocked_is_listed_page_by_page() {
    let mut scene = Scene::ready().await;
    assert_eq!(told(&scene).await, []);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    assert_eq!(told(&scene).await, []);
    // Grown within the hour: it waits for the next.
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    assert_eq!(told(&scene).await, [row("KEY", "WAITS", 204)]);
    // Fallen: a carry.
    scene.bill(&bill("june", ACME, 3).of("97.01")).await;
    assert_eq!(told(&scene).await, [row("KEY", "CARRY", -402)]);
    // Another buyer, who is refused: blocked.
    scene.map("Account", "other", "Customer", "222233334444").await;
    scene.switch(json!({ "badCustomers": ["222233334444"] }));
    scene.bill(&bill("others", "other", 1).of("53.03")).await;
    // A third, whom AWS does not answer.
    scene.map("Account", "third", "Customer", "333344445555").await;
    scene.metering_always_fails(FaultKind::Error);
    scene.bill(&bill("thirds", "third", 1).of("59.11")).await;
    let expected = [
        row("ENTRY", "PENDING", 5_911),
        row("KEY", "BLOCKED", 5_303),
        row("KEY", "CARRY", -402),
    ];
    assert_eq!(told(&scene).await, expected);
    let all = pending(&scene, 200).await;
    for size in 1..=3 {
        assert_eq!(pending(&scene, size).await, all, "{size}");
    }
    let entry = all.iter().find(|item| item["kind"] == "ENTRY").expect("an entry");
    assert_eq!(entry["dimension"], json!(dimension(DIMENSION)));
    assert_eq!(entry["customer"], json!("333344445555"));
    assert_eq!(entry["hour"], json!("2025-06-10T10:00:00Z"));
    assert_eq!(entry["refusedFrom"], json!("2025-06-11T10:00:00Z"));
    assert_eq!(entry["parts"], json!({ "thirds": 5_911 }));
    let blocked = all.iter().find(|item| item["state"] == "BLOCKED").expect("a key");
    let reason = blocked["reason"].as_str().expect("a reason");
    assert!(reason.contains("InvalidCustomerIdentifierException"), "{reason}");
    scene.heal();
    scene.tick().await;
    assert_eq!(told(&scene).await, expected[1..]);
    scene.end().await;
}

#[tokio::test]
async fn what_a_key_owes_beside_a_conflict_is_listed_with_it() {
    let mut scene = Scene::ready().await;
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 7);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    let expected = [row("ENTRY", "CONFLICT", 10_103), row("KEY", "IN_CONFLICT", 204)];
    assert_eq!(told(&scene).await, expected);
    scene.end().await;
}

#[tokio::test]
async fn what_a_disabled_configuration_or_a_failing_connection_keeps_is_said_to_wait_for_that() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    // AWS refuses the connection for another bill; its entry is claimed and goes again.
    scene.map("Account", "other", "Customer", "222233334444").await;
    scene.metering_fails(&[FaultKind::AccessDenied]);
    scene.bill(&bill("others", "other", 1).of("53.03")).await;
    let expected = [row("ENTRY", "PENDING", 5_303), row("KEY", "CONNECTION_FAILING", 204)];
    assert_eq!(told(&scene).await, expected);
    scene.tick().await;
    assert_eq!(told(&scene).await, [row("KEY", "WAITS", 204)]);
    // Twenty failures in a row disable the configuration.
    for number in 0..20 {
        let bad = bill(&format!("bad-{number}"), &format!("nobody-{number}"), 1);
        scene.bill(&bad.of("7.01")).await;
    }
    assert_eq!(told(&scene).await, [row("KEY", "CONFIGURATION_DISABLED", 204)]);
    for number in 0..20 {
        let account = format!("nobody-{number}");
        scene.map("Account", &account, "Customer", "555566667777").await;
    }
    scene.enable().await;
    scene.until("2025-06-10T11:02:00Z").await;
    assert_eq!(told(&scene).await, []);
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_307);
    scene.end().await;
}

#[tokio::test]
async fn another_organization_sees_and_decides_nothing() {
    let scene = unknown(FaultKind::LostRequest).await;
    let entry = id_of(&scene, "UNKNOWN").await;
    let other = scene.other_organization("other-organization").await;
    assert_eq!(other.get(PENDING).await.expect("a list")["data"], json!([]));
    let decision = json!({ "as": "RELEASED", "reason": "not mine" });
    Scene::assert_refused(
        other.post(&format!("{PENDING}/{entry}/resolve"), &decision).await,
        404,
        &[&entry],
    );
    let (key, _) = entry.split_once('-').expect("an entry's id");
    let reason = json!({ "reason": "not mine" });
    Scene::assert_refused(
        other.post(&format!("{PENDING}/{key}/unblock"), &reason).await,
        404,
        &[key],
    );
    Scene::assert_refused(
        other
            .get("integrationdestinations/marketplace/explain?billId=june")
            .await,
        404,
        &["june"],
    );
    assert_eq!(told(&scene).await, [row("ENTRY", "UNKNOWN", 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn an_entry_that_an_operator_releases_is_claimed_and_sent_in_the_ordinary_way() {
    let mut scene = unknown(FaultKind::LostRequest).await;
    assert_eq!(told(&scene).await, [row("ENTRY", "UNKNOWN", 10_103)]);
    let path = format!("{PENDING}/{}/resolve", id_of(&scene, "UNKNOWN").await);
    scene.until("2025-06-10T11:02:00Z").await;
    let decision = json!({ "as": "RELEASED", "reason": "AWS's console shows no usage for 10:00" });
    let resolved = scene.seller.post(&path, &decision).await.expect("resolved");
    assert_eq!(resolved["state"], json!("RELEASED"));
    assert_eq!(resolved["resolution"]["as"], json!("RELEASED"));
    assert_eq!(
        resolved["resolution"]["by"],
        json!(scene.sandbox.access_key().access_key_id)
    );
    assert_eq!(resolved["resolution"]["reason"], decision["reason"]);
    scene.rest().await;
    scene.assert_billed(&[acme(ELEVEN, 10_103)]);
    assert_eq!(told(&scene).await, []);
    // Again, after an answer that was lost: nothing changes. Otherwise: too late.
    assert_eq!(scene.seller.post(&path, &decision).await.expect("the same"), resolved);
    let other = json!({ "as": "ACCEPTED", "reason": "it was there after all" });
    Scene::assert_refused(
        scene.seller.post(&path, &other).await,
        400,
        &["operator has already decided"],
    );
    scene.rest().await;
    scene.assert_billed(&[acme(ELEVEN, 10_103)]);
    let log = scene.log(&scene.runs("june").await.last().expect("a run").id).await;
    assert!(
        log.iter().any(|record| record["resolved"]["as"] == "RELEASED"),
        "{log:?}"
    );
    scene.end().await;
}

#[tokio::test]
async fn an_entry_that_an_operator_accepts_is_reported_and_never_sent_again() {
    let mut scene = unknown(FaultKind::LostAnswer).await;
    let path = format!("{PENDING}/{}/resolve", id_of(&scene, "UNKNOWN").await);
    let decision = json!({ "as": "ACCEPTED", "reason": "AWS's usage report has 10,103 at 10:00" });
    let resolved = scene.seller.post(&path, &decision).await.expect("resolved");
    assert_eq!(resolved["state"], json!("ACCEPTED"));
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    assert_eq!(told(&scene).await, []);
    let report = scene
        .seller
        .get("integrationdestinations/marketplace/usageReport")
        .await;
    let reported = &report.expect("a report")["data"][0]["reportedUsage"][dimension(DIMENSION)];
    assert_eq!(
        *reported,
        json!({ "2025-06-10T10:00:00Z": 10_103, "2025-06-10T11:00:00Z": 204 })
    );
    scene.end().await;
}

#[tokio::test]
async fn a_conflict_is_settled_either_way() {
    for (verdict, billed) in [
        ("ACCEPTED", vec![acme(TEN, 7), acme(ELEVEN, 204)]),
        ("RELEASED", vec![acme(TEN, 7), acme(ELEVEN, 10_307)]),
    ] {
        let mut scene = Scene::ready().await;
        scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 7);
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        scene.until("2025-06-10T11:02:00Z").await;
        scene.bill(&bill("june", ACME, 2).of("103.07")).await;
        let path = format!("{PENDING}/{}/resolve", id_of(&scene, "CONFLICT").await);
        let decision = json!({ "as": verdict, "reason": "7 were ours by hand" });
        scene.seller.post(&path, &decision).await.expect("resolved");
        scene.rest().await;
        scene.assert_billed(&billed);
        assert_eq!(scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state.conflicts, 0);
        assert_eq!(told(&scene).await, []);
        // Accepted here means that the buyer pays otherwise, which the laws of the ledger know nothing of.
        match verdict {
            "RELEASED" => scene.end().await,
            _ => scene.end_unwatched().await,
        }
    }
}

#[tokio::test]
async fn a_receipt_that_comes_after_a_release_counts() {
    // The first answer is only late: AWS had taken the entry. The identical repeat that proves it comes after the decision.
    let mut scene = Scene::ready().await;
    scene.metering_always_fails(FaultKind::LostAnswer);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let path = format!("{PENDING}/{}/resolve", id_of(&scene, "PENDING").await);
    let decision = json!({ "as": "RELEASED", "reason": "too soon" });
    Scene::assert_refused(scene.seller.post(&path, &decision).await, 400, &["still being sent"]);
    scene.heal();
    scene.tick().await;
    Scene::assert_refused(
        scene.seller.post(&path, &decision).await,
        400,
        &["ACCEPTED by AWS's own answer"],
    );
    // What AWS said itself an operator may repeat; nothing is written for it.
    let agreed = json!({ "as": "ACCEPTED", "reason": "as AWS says" });
    let same = scene.seller.post(&path, &agreed).await.expect("the same");
    assert_eq!(
        (&same["state"], &same["resolution"]),
        (&json!("ACCEPTED"), &Value::Null)
    );
    scene.rest().await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn of_two_operators_who_decide_at_once_one_decides() {
    let mut scene = unknown(FaultKind::LostRequest).await;
    let path = format!("{PENDING}/{}/resolve", id_of(&scene, "UNKNOWN").await);
    let seller = scene.seller.clone();
    let decide = |verdict: &str| {
        let (seller, path) = (seller.clone(), path.clone());
        let decision = json!({ "as": verdict, "reason": format!("as {verdict}") });
        async move { seller.post(&path, &decision).await }
    };
    let answers = tokio::join!(
        decide("ACCEPTED"),
        decide("RELEASED"),
        decide("ACCEPTED"),
        decide("RELEASED")
    );
    let answers = [answers.0, answers.1, answers.2, answers.3];
    let (done, late): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(
        (done.len(), late.len()),
        (2, 2),
        "the same decision twice, and the other one too late"
    );
    for answer in late {
        Scene::assert_refused(answer, 400, &["operator has already decided"]);
    }
    let done: Vec<Value> = done.into_iter().flatten().collect();
    assert_eq!(done[0]["resolution"]["as"], done[1]["resolution"]["as"]);
    scene.rest().await;
    let key = scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state;
    let committed = if done[0]["state"] == "ACCEPTED" { 10_103 } else { 0 };
    // Released in its own hour, which is taken: the units wait for the next.
    assert_eq!((key.total, key.committed), (10_103, committed));
    scene.until("2025-06-10T11:02:00Z").await;
    if committed == 0 {
        scene.assert_billed(&[acme(ELEVEN, 10_103)]);
        scene.end().await;
    } else {
        // Of an operator's word AWS knows nothing.
        scene.assert_billed(&[]);
        scene.end_unwatched().await;
    }
}

#[tokio::test]
async fn a_decision_whose_transaction_s_answer_was_lost_counts_once() {
    let mut scene = unknown(FaultKind::LostRequest).await;
    let path = format!("{PENDING}/{}/resolve", id_of(&scene, "UNKNOWN").await);
    let lost = Fault {
        action: Some("TransactWriteItems".to_owned()),
        ..Fault::new(Service::DynamoDb, FaultKind::LostAnswer, 1)
    };
    scene.sandbox.faults(vec![lost.clone()]).expect("faults");
    let decision = json!({ "as": "RELEASED", "reason": "not there" });
    let resolved = scene.seller.post(&path, &decision).await.expect("resolved");
    assert_eq!(resolved["state"], json!("RELEASED"));
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(ELEVEN, 10_103)]);
    // The same for a block.
    scene.map("Account", "other", "Customer", "222233334444").await;
    scene.switch(json!({ "badCustomers": ["222233334444"] }));
    scene.bill(&bill("others", "other", 1).of("53.03")).await;
    let path = format!("{PENDING}/{}/unblock", id_of(&scene, "BLOCKED").await);
    scene.switch(json!({ "badCustomers": [] }));
    scene.sandbox.faults(vec![lost]).expect("faults");
    scene
        .seller
        .post(&path, &json!({ "reason": "signed" }))
        .await
        .expect("unblocked");
    scene.until("2025-06-10T12:02:00Z").await;
    assert_eq!(scene.paid("222233334444", DIMENSION), 5_303);
    scene.end().await;
}

#[tokio::test]
async fn a_block_that_an_operator_lifts_lets_the_money_through_or_is_set_again() {
    let mut scene = Scene::start().await.with(per_bill()).await;
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    // The first refusal may be the hour's.
    assert_eq!(told(&scene).await, [row("KEY", "WAITS", 10_103)]);
    let waits = &pending(&scene, 200).await[0];
    assert!(
        waits["reason"]
            .as_str()
            .unwrap()
            .ends_with("the next hour is tried once more"),
        "{waits}"
    );
    scene.until("2025-06-10T11:02:00Z").await;
    assert_eq!(told(&scene).await, [row("KEY", "BLOCKED", 10_103)]);
    let path = format!("{PENDING}/{}/unblock", id_of(&scene, "BLOCKED").await);
    // Nothing was mended: AWS refuses again.
    scene.until("2025-06-10T12:02:00Z").await;
    let reason = json!({ "reason": "the buyer says the agreement is signed" });
    scene.seller.post(&path, &reason).await.expect("unblocked");
    scene.rest().await;
    assert_eq!(told(&scene).await, [row("KEY", "BLOCKED", 10_103)]);
    assert!(scene.billed().is_empty());
    // Now it is.
    scene.subscribed(ACME_AWS_ACCOUNT, true);
    scene.until("2025-06-10T13:02:00Z").await;
    let unblocked = scene.seller.post(&path, &reason).await.expect("unblocked");
    assert_eq!(
        unblocked["unblocked"]["by"],
        json!(scene.sandbox.access_key().access_key_id)
    );
    scene.rest().await;
    scene.assert_billed(&[acme("2025-06-10T13", 10_103)]);
    assert_eq!(told(&scene).await, []);
    scene.seller.post(&path, &reason).await.expect("the same again");
    Scene::assert_refused(
        scene.seller.post(&path, &json!({ "reason": "another" })).await,
        400,
        &["not blocked"],
    );
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_name() {
    let scene = unknown(FaultKind::LostRequest).await;
    let entry = id_of(&scene, "UNKNOWN").await;
    let resolve = format!("{PENDING}/{entry}/resolve");
    let cases = [
        (json!({}), vec!["as: ", "reason: "]),
        (
            json!({ "as": "BILLED", "reason": "x" }),
            vec!["as: ", "ACCEPTED", "RELEASED"],
        ),
        (json!({ "as": "RELEASED", "reason": "" }), vec!["reason: "]),
        (
            json!({ "as": "RELEASED", "reason": "x".repeat(1_001) }),
            vec!["reason: ", "1000"],
        ),
        (
            json!({ "as": "RELEASED", "reason": "x", "quantity": 7 }),
            vec!["quantity", "unknown"],
        ),
        (json!({ "as": 1, "reason": ["x"] }), vec!["as: ", "reason: "]),
    ];
    for (body, hints) in cases {
        Scene::assert_refused(scene.seller.post(&resolve, &body).await, 400, &hints);
    }
    let decision = json!({ "as": "RELEASED", "reason": "x" });
    for id in [
        "nothing",
        "0123-2025-06-10T10",
        "00000000000000000000000000000000-2025-06-10T10",
    ] {
        Scene::assert_refused(
            scene.seller.post(&format!("{PENDING}/{id}/resolve"), &decision).await,
            404,
            &[id],
        );
    }
    Scene::assert_refused(
        scene
            .seller
            .post(&format!("{PENDING}/nothing/unblock"), &json!({ "reason": "x" }))
            .await,
        404,
        &["nothing"],
    );
    for size in ["0", "201", "-1", "x"] {
        Scene::assert_refused(
            scene.seller.get(&format!("{PENDING}?pageSize={size}")).await,
            400,
            &["pageSize"],
        );
    }
    Scene::assert_refused(
        scene.seller.get(&format!("{PENDING}?nextToken=AAAA")).await,
        400,
        &["nextToken"],
    );
    assert_eq!(told(&scene).await, [row("ENTRY", "UNKNOWN", 10_103)]);
    scene.end().await;
}
