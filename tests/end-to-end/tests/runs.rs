//! What the seller is told: runs, events, the configuration that is disabled, and the mail about it.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, acme, and, bill, dimension, message, per_bill, per_product, set_up, usage,
};
use outbill::values::message::flush_pages;
use sandbox::{Fault, FaultKind, Service};
use serde_json::json;

const TEN: &str = "2025-06-10T10";
const USERS: [&str; 2] = ["billing@seller.example", "ops@seller.example"];

/// A configuration that mails two people when it is disabled.
async fn with_users() -> Scene {
    let settings = and(per_bill(), json!({ "integrationDisabledNotificationUsers": USERS }));
    Scene::start().await.with(settings).await
}

/// So many bills of accounts that nobody mapped.
async fn fail(scene: &mut Scene, numbers: std::ops::Range<u32>) {
    let organization = scene.organization().to_owned();
    let bad = |number| bill(&format!("bad-{number}"), &format!("nobody-{number}"), 1).of("7.01");
    let events: Vec<_> = numbers
        .map(|number| message::updated(&organization, &bad(number)))
        .collect();
    scene.send_together(events).await;
}

/// Maps the accounts of [`fail`].
async fn map_all(scene: &Scene, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let (account, customer) = (format!("nobody-{number}"), format!("5000000000{number:02}"));
        set_up::map(&scene.seller, "Account", &account, "Customer", &customer, None).await;
    }
}

async fn is_enabled(scene: &Scene) -> bool {
    let path = format!("integrationconfigs/{}", scene.configuration);
    scene.seller.get(&path).await.unwrap()["enabled"] == json!(true)
}

#[tokio::test]
async fn a_run_keeps_the_bill_and_the_configuration_of_its_moment() {
    let mut scene = Scene::ready().await;
    let june = bill("june", ACME, 1).of("101.03");
    let event = message::updated(scene.organization(), &june);
    scene.send(event.clone()).await;
    let first = scene.run("june").await;
    scene
        .reconfigure(and(per_bill(), json!({ "excludedLineItemTypes": ["AD_HOC"] })))
        .await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    let second = scene.run("june").await;
    let (before, after) = (scene.log(&first.id).await, scene.log(&second.id).await);
    assert_eq!(before[0]["input"], event);
    let settings = |log: &[serde_json::Value]| {
        (
            log[0]["configuration"]["version"].clone(),
            log[0]["configuration"]["configData"].clone(),
        )
    };
    assert_eq!(settings(&before), (json!(1), per_bill()));
    assert_eq!(
        settings(&after),
        (
            json!(2),
            and(per_bill(), json!({ "excludedLineItemTypes": ["AD_HOC"] }))
        )
    );
    assert_eq!(
        before[0]["keys"],
        json!([{
            "dimension": dimension(DIMENSION), "claim": "claimed", "reason": "CLAIMED",
            "entries": [{ "hour": TEN, "quantity": 10_103, "state": "ACCEPTED", "reason": null }],
        }])
    );
    for field in ["entityType", "entityId", "destination", "destinationId"] {
        let expect = match field {
            "entityType" => json!("Bill"),
            "entityId" => json!("june"),
            "destination" => json!("AWS"),
            _ => json!(scene.configuration),
        };
        assert_eq!(second.json[field], expect, "{field}");
    }
    scene.end().await;
}

#[tokio::test]
async fn each_kind_of_failure_raises_its_event_about_its_run() {
    let mut scene = Scene::start().await.with(per_product()).await;
    scene
        .map("Product", "product-1", "Dimension", &dimension("seats"))
        .await;
    scene.map("Account", "other", "Customer", "222233334444").await;
    let line = || usage("101.03").product("product-1");
    scene
        .bill(&bill("validation", ACME, 1).line(line()).with("currency", "EUR"))
        .await;
    scene.bill(&bill("unmapped", "nobody", 1).line(line())).await;
    scene.switch(json!({ "badDimensions": ["seats"] }));
    scene.bill(&bill("perform", ACME, 1).line(line())).await;
    scene.switch(json!({ "badDimensions": [] }));
    scene.reconfigure(per_product()).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.metering_fails(&[FaultKind::AccessDenied]);
    scene.bill(&bill("authentication", "other", 1).line(line())).await;
    let expect = [
        ("validation", "integration.validation.error"),
        ("unmapped", "integration.missingaccountmapping.error"),
        ("perform", "integration.perform.error"),
        ("authentication", "integration.authentication.error"),
    ];
    let events = scene.events().await;
    for (id, name) in expect {
        let about = |event: &&(String, serde_json::Value)| event.1["entityId"] == json!(id) && event.0 == name;
        let (_, dto) = events
            .iter()
            .find(about)
            .unwrap_or_else(|| panic!("{id} {name}: {events:#?}"));
        let runs = scene.runs(id).await;
        let run = runs
            .iter()
            .find(|run| dto["integrationRunId"] == json!(run.id))
            .unwrap();
        assert_eq!(dto["integrationConfigId"], json!(scene.configuration));
        assert!(!dto["error"].as_str().unwrap().is_empty(), "{}", run.json);
    }
    scene.heal();
    scene.until("2025-06-10T12:02:00Z").await;
    scene.end().await;
}

#[tokio::test]
async fn a_configuration_without_a_credential_sends_nothing_until_it_has_one() {
    let mut scene = Scene::ready().await;
    let path = format!("integrationconfigs/{}", scene.configuration);
    let mut known = scene.seller.get(&path).await.unwrap();
    let credential = known["integrationCredentialsId"].clone();
    let put = |known: &serde_json::Value, credential: &serde_json::Value| {
        json!({
            "entityType": "Bill", "destination": "AWS", "name": known["name"], "configData": known["configData"],
            "version": known["version"], "integrationCredentialsId": credential,
        })
    };
    scene
        .seller
        .put(&path, &put(&known, &serde_json::Value::Null))
        .await
        .unwrap();
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .assert_run("june", "AUTH_FAILED", "the configuration has no credential")
        .await;
    scene.assert_billed(&[]);
    known = scene.seller.get(&path).await.unwrap();
    scene.seller.put(&path, &put(&known, &credential)).await.unwrap();
    scene.rest().await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn twenty_failures_in_a_row_disable_the_configuration_and_enabling_sends_what_waited() {
    let mut scene = with_users().await;
    fail(&mut scene, 0..19).await;
    assert!(is_enabled(&scene).await && scene.sandbox.outbox().is_empty());
    fail(&mut scene, 19..20).await;
    assert!(!is_enabled(&scene).await);
    let mails = scene.sandbox.outbox();
    assert_eq!(
        (mails.len(), mails[0].to.as_slice()),
        (1, &USERS.map(str::to_owned)[..])
    );
    assert_eq!(mails[0].subject, "Integration AWS Marketplace bills was disabled");
    assert!(
        mails[0].body.contains("Account nobody-19 has no external mapping"),
        "{}",
        mails[0].body
    );
    let disabled = |events: Vec<(String, serde_json::Value)>| {
        events
            .iter()
            .filter(|(name, _)| name == "integration.disabled.error")
            .count()
    };
    assert_eq!(disabled(scene.events().await), 1);
    // More failures and good bills alike wait now, and nobody is told again.
    fail(&mut scene, 20..22).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .assert_run("june", "DISABLED", "enable it and the bill is sent by itself")
        .await;
    scene.assert_billed(&[]);
    assert_eq!((scene.sandbox.outbox().len(), disabled(scene.events().await)), (1, 1));
    map_all(&scene, 0..22).await;
    scene.rest().await;
    scene.assert_billed(&[]);
    scene.enable().await;
    assert!(is_enabled(&scene).await);
    assert_eq!(scene.billed().len(), 23);
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_103);
    scene.assert_run("bad-21", "COMPLETE", "").await;
    scene.end().await;
}

#[tokio::test]
async fn a_completed_run_ends_the_row_of_failures() {
    let mut scene = with_users().await;
    fail(&mut scene, 0..19).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    fail(&mut scene, 19..38).await;
    assert!(is_enabled(&scene).await);
    fail(&mut scene, 38..39).await;
    assert!(!is_enabled(&scene).await);
    scene.end().await;
}

#[tokio::test]
async fn a_completed_run_ends_the_row_also_within_one_batch() {
    let mut scene = with_users().await;
    let organization = scene.organization().to_owned();
    let bad = |number: u32| {
        message::updated(
            &organization,
            &bill(&format!("bad-{number}"), &format!("nobody-{number}"), 1).of("7.01"),
        )
    };
    let good = message::updated(&organization, &bill("june", ACME, 1).of("101.03"));
    let events: Vec<_> = (0..15).map(bad).chain([good]).chain((15..30).map(bad)).collect();
    scene.send_together(events).await;
    assert!(is_enabled(&scene).await);
    fail(&mut scene, 30..35).await;
    assert!(!is_enabled(&scene).await);
    scene.end().await;
}

#[tokio::test]
async fn one_bill_that_keeps_failing_disables_nothing() {
    let mut scene = with_users().await;
    let organization = scene.organization().to_owned();
    let same = (1..=25).map(|version| message::updated(&organization, &bill("bad", "nobody", version).of("7.01")));
    scene.send_together(same.collect::<Vec<_>>()).await;
    // Nor do bills on a key that is blocked.
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    let blocked = |number: i64| bill(&format!("blocked-{number}"), ACME, 1).of("7.01");
    scene.bill(&blocked(0)).await;
    scene.until("2025-06-10T11:02:00Z").await;
    let more = (1..25).map(|number| message::updated(&organization, &blocked(number)));
    scene.send_together(more.collect::<Vec<_>>()).await;
    assert!(is_enabled(&scene).await && scene.sandbox.outbox().is_empty());
    scene
        .assert_run("blocked-24", "ERROR", "nothing more is sent there")
        .await;
    scene.end().await;
}

#[tokio::test]
async fn a_disabled_configuration_claims_nothing_new_but_sends_what_it_has_claimed() {
    let mut scene = with_users().await;
    scene.map("Account", "other", "Customer", "222233334444").await;
    scene.bill(&bill("other-1", "other", 1).of("53.03")).await;
    scene.bill(&bill("other-1", "other", 2).of("59.09")).await;
    scene.metering_always_fails(FaultKind::LostRequest);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    fail(&mut scene, 0..20).await;
    assert!(!is_enabled(&scene).await);
    scene.heal();
    scene.until("2025-06-10T11:02:00Z").await;
    // June's claim goes out; what other-1 has waiting is not claimed.
    scene.assert_billed(&[acme(TEN, 10_103), ("222233334444", DIMENSION, TEN, 5_303)]);
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene
        .assert_run("june", "DISABLED", "the configuration is disabled")
        .await;
    // The cause is mended first: otherwise what waited would fail again, and disable it again.
    map_all(&scene, 0..20).await;
    scene.enable().await;
    scene.until("2025-06-10T12:02:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_307);
    assert_eq!(scene.paid("222233334444", DIMENSION), 5_909);
    scene.end().await;
}

#[tokio::test]
async fn a_mail_that_cannot_be_sent_disables_all_the_same() {
    let mut scene = with_users().await;
    let faults = json!([{ "service": "ses", "kind": "access-denied", "times": 1000 }]);
    scene.sandbox.faults(serde_json::from_value(faults).unwrap()).unwrap();
    fail(&mut scene, 0..20).await;
    assert!(!is_enabled(&scene).await && scene.sandbox.outbox().is_empty());
    let names: Vec<String> = scene.events().await.into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"integration.disabled.error".to_owned()), "{names:?}");
    scene.end().await;
}

#[tokio::test]
async fn a_bill_regenerated_four_times_an_hour_leaves_no_run_waiting_for_ever() {
    let mut scene = Scene::ready().await;
    for (version, instant, amount) in [
        (1, "2025-06-10T10:05:00Z", "101.03"),
        (2, "2025-06-10T10:20:00Z", "103.07"),
        (3, "2025-06-10T10:35:00Z", "107.03"),
        (4, "2025-06-10T10:50:00Z", "109.03"),
    ] {
        scene.until(instant).await;
        scene.bill(&bill("june", ACME, version).of(amount)).await;
    }
    scene.until("2025-06-10T11:02:00Z").await;
    let waiting: Vec<_> = scene
        .runs("june")
        .await
        .into_iter()
        .filter(|run| run.status != "COMPLETE")
        .collect();
    assert!(waiting.is_empty(), "{waiting:#?}");
    scene.end().await;
}

#[tokio::test]
async fn a_run_of_two_dimensions_ends_when_the_second_worker_has_told_it() {
    let mut scene = Scene::start().await.with(per_product()).await;
    let dimensions = [("product-1", "seats"), ("product-2", "calls")];
    for (product, name) in dimensions {
        scene.map("Product", product, "Dimension", &dimension(name)).await;
    }
    for (version, seats, calls) in [(1, "101.03", "53.07"), (2, "103.05", "59.09")] {
        let seats = usage(seats).product("product-1");
        let calls = usage(calls).product("product-2");
        scene.bill(&bill("june", ACME, version).line(seats).line(calls)).await;
    }
    scene.assert_run("june", "WAITING", "").await;
    // Before the tick, which would take both keys in one batch.
    scene.until("2025-06-10T11:00:30Z").await;
    for (place, (_, name)) in dimensions.into_iter().enumerate() {
        scene.assert_run("june", "WAITING", "").await;
        let key = scene.key(ACME_AWS_ACCOUNT, name).await.state.hash();
        assert!(scene.deliver(flush_pages(&[key], &[])).await.is_empty(), "page {place}");
    }
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

#[tokio::test]
async fn a_run_that_could_not_be_told_is_told_when_the_page_comes_again() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.05")).await;
    scene.assert_run("june", "WAITING", "").await;
    scene.until("2025-06-10T11:00:30Z").await;
    // As often as the SDK asks before it gives up: what AWS said is recorded, and the run is not.
    let outage = Fault {
        action: Some("PutItem".to_owned()),
        ..Fault::new(Service::DynamoDb, FaultKind::Error, 3)
    };
    scene.sandbox.faults(vec![outage]).unwrap();
    scene.tick().await;
    scene.assert_billed(&[acme(TEN, 10_103), acme("2025-06-10T11", 202)]);
    scene.until("2025-06-10T11:30:00Z").await;
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}
