//! m3ter's notifications are hints, and the sweep finds what no notification told of. Neither bills what m3ter does not hold.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, Bill, DIMENSION, GLOBEX, GLOBEX_AWS_ACCOUNT, Scene, acme, bill, message, per_bill,
};
use jiff::SignedDuration;
use sandbox::{Fault, FaultKind, Service};
use serde_json::{Value, json};

const TEN: &str = "2025-06-10T10";

/// A bill as m3ter holds it: it says when it was made and changed.
fn held(bill: &Bill, changed: &str) -> Value {
    let dated = bill
        .clone()
        .with("dtCreated", "2025-06-01T00:00:00Z")
        .with("billDate", "2025-07-01");
    dated.with("dtLastModified", changed).json()
}

fn payload(name: &str) -> Value {
    let text = match name {
        "m3ter-notification.json" => include_str!("../../../events/m3ter-notification.json"),
        _ => include_str!("../../../events/sweep.json"),
    };
    serde_json::from_str(text).expect("JSON")
}

fn webhook_key(scene: &Scene) -> String {
    scene.sandbox.access_key().webhook_key()
}

fn listings(scene: &Scene) -> u64 {
    let counts = scene.sandbox.requests();
    counts
        .get("m3ter")
        .and_then(|actions| actions.get("ListBills"))
        .copied()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_notification_bills_what_m3ter_holds_and_nothing_that_it_says_itself() {
    let mut scene = Scene::ready().await;
    let key = webhook_key(&scene);
    scene.m3ter_has(
        &[held(&bill("june", ACME, 2).of("101.03"), "2025-06-10T10:01:00Z")],
        &[],
    );
    let told = scene
        .seller
        .notify(&key, &payload("m3ter-notification.json"))
        .await
        .expect("taken");
    assert!(told["messageId"].is_string(), "{told}");
    scene.rest().await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    // Forged: a higher version with another amount. m3ter says what is true.
    let forged = message::updated(scene.organization(), &bill("june", ACME, 9).of("99999.99"));
    scene.seller.notify_by_path(&key, &forged).await.expect("taken");
    // Forged: a bill that is not there.
    let forged = message::updated(scene.organization(), &bill("invented", ACME, 1).of("7.01"));
    scene.seller.notify(&key, &forged).await.expect("taken");
    // Forged: a deletion. m3ter still holds the bill.
    let forged = message::deleted(scene.organization(), &bill("june", ACME, 9).of("7.01"));
    scene.seller.notify(&key, &forged).await.expect("taken");
    scene.rest().await;
    scene.until("2025-06-10T12:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    assert_eq!(scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state.total, 10_103);
    let letters = scene.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(
        letters[0].1.contains("bill invented") && letters[0].1.contains("404"),
        "{letters:?}"
    );
    scene.end().await;
}

#[tokio::test]
async fn a_bad_key_is_refused_and_other_events_are_acknowledged() {
    let scene = Scene::ready().await;
    let key = webhook_key(&scene);
    let event = payload("m3ter-notification.json");
    let other = scene.other_organization("other-organization").await;
    let secret = scene.sandbox.access_key().api_secret.clone();
    for bad in ["", "nothing", &key[1..], &format!("{key}x"), &secret] {
        Scene::assert_refused(scene.seller.notify(bad, &event).await, 403, &["key"]);
        if !bad.is_empty() {
            Scene::assert_refused(scene.seller.notify_by_path(bad, &event).await, 403, &["key"]);
        }
    }
    // One organization's key is nothing to another, and an organization without a key takes no notification.
    Scene::assert_refused(other.notify(&key, &event).await, 403, &["key"]);
    // Whoever has a token but not the key is refused as well, and the key is no token.
    let tried = scene.seller.post("m3ter/events", &event).await;
    Scene::assert_refused(tried, 403, &["key"]);
    for ignored in [
        json!({ "eventName": "configuration.account.updated", "m3terEvent": {} }),
        json!({ "eventName": "flush", "flush": true }),
        json!({ "eventName": "x", "orgId": scene.organization(), "integrationRunId": "r", "replay": true, "remap": true }),
        json!({ "eventName": "x", "sweep": true }),
    ] {
        let answer = scene.seller.notify(&key, &ignored).await.expect("acknowledged");
        assert!(answer["messageId"].is_null(), "{ignored} {answer}");
    }
    let bad: [(Value, &str); 6] = [
        (json!({}), "eventName"),
        (json!([1]), "eventName"),
        (json!({ "flush": true }), "eventName"),
        (json!({ "eventName": "billing.bill.updated" }), "id"),
        (
            json!({ "eventName": "billing.bill.updated", "m3terEvent": { "eventData": { "newDto": { "id": "a#b" } } } }),
            "id",
        ),
        (message::updated("another", &bill("june", ACME, 1)), "orgId"),
    ];
    for (event, hint) in bad {
        Scene::assert_refused(scene.seller.notify(&key, &event).await, 400, &[hint]);
    }
    assert_eq!((scene.sandbox.queue().len(), scene.dead_letters().len()), (0, 0));
    assert!(scene.billed().is_empty());
    scene.end().await;
}

#[tokio::test]
async fn a_bill_whose_notification_was_lost_is_found_within_the_hour() {
    let mut scene = Scene::ready().await;
    scene.m3ter_has(
        &[held(&bill("june", ACME, 1).of("101.03"), "2025-06-10T10:10:00Z")],
        &[],
    );
    scene.until("2025-06-10T10:40:59Z").await;
    assert!(scene.billed().is_empty());
    scene.until("2025-06-10T10:41:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    // The next version's is lost as well.
    scene.m3ter_has(
        &[held(&bill("june", ACME, 2).of("103.07"), "2025-06-10T11:10:00Z")],
        &[],
    );
    scene.until("2025-06-10T12:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme("2025-06-10T11", 204)]);
    // What is known is not fetched again, though the sweeps overlap.
    assert_eq!(scene.runs("june").await.len(), 2);
    assert_eq!(scene.dead_letters(), []);
    scene.end().await;
}

#[tokio::test]
async fn what_changed_before_the_configuration_was_made_is_not_swept() {
    let mut scene = Scene::ready().await;
    let old = held(&bill("may", ACME, 7).of("53.03"), "2025-06-10T10:01:59Z");
    let long_ago = bill("last-year", ACME, 1).of("7.01").with("billDate", "2024-07-01");
    let long_ago = long_ago.with("dtLastModified", "2025-06-10T10:20:00Z").json();
    scene.m3ter_has(&[old, long_ago], &[]);
    scene.sweep().await;
    scene.until("2025-06-10T13:02:00Z").await;
    assert!(scene.billed().is_empty());
    scene.end().await;
}

#[tokio::test]
async fn a_sweep_goes_through_every_page_and_moves_on_only_at_the_end() {
    let mut scene = Scene::ready().await;
    // Newest first: bill-204 is on the first page, bill-001 on the third. What did not change is gone through and left alone.
    let changed = [(204, "11.03"), (99, "13.07"), (50, "17.01"), (1, "19.03")];
    let bills: Vec<Value> = (0..205)
        .map(|index| {
            let amount = changed
                .iter()
                .find(|(changed, _)| *changed == index)
                .map(|(_, amount)| *amount);
            let at = amount.map_or("2025-06-01T00:00:00Z", |_| "2025-06-10T10:10:00Z");
            held(
                &bill(&format!("bill-{index:03}"), ACME, 1).of(amount.unwrap_or("97.01")),
                at,
            )
        })
        .collect();
    scene.m3ter_has(&bills, &[]);
    // The second page is not answered, however often it is asked for.
    let fault = Fault {
        action: Some("ListBills".to_owned()),
        after: 1,
        ..Fault::new(Service::M3ter, FaultKind::Error, u32::MAX)
    };
    scene.sandbox.faults(vec![fault]).expect("faults");
    scene.sweep().await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 1_103);
    scene.heal();
    scene.sandbox.clear_requests();
    scene.until("2025-06-10T11:42:00Z").await;
    assert_eq!(listings(&scene), 6, "three pages a sweep");
    scene.until("2025-06-10T13:02:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 1_103 + 1_307 + 1_701 + 1_903);
    scene.end().await;
}

#[tokio::test]
async fn an_organization_that_cannot_be_asked_holds_up_no_other() {
    let mut scene = Scene::ready().await;
    // Another organization without m3ter's key.
    let other = scene.other_organization("other-organization").await;
    end_to_end::set_up::configure(&other, "bills", &per_bill()).await;
    end_to_end::set_up::map(&other, "Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT, None).await;
    let mut june = held(&bill("june", ACME, 1).of("101.03"), "2025-06-10T10:10:00Z");
    june["orgId"] = json!(scene.organization());
    scene.m3ter_has(&[june], &[]);
    scene.sweep().await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    assert_eq!(scene.dead_letters(), []);
    // m3ter refuses this one's key: that is said, and the next sweep asks from where the last good one began.
    let fault = Fault {
        action: Some("ListBills".to_owned()),
        // With the token that it has, and with a new one.
        ..Fault::new(Service::M3ter, FaultKind::AccessDenied, 2)
    };
    scene.sandbox.faults(vec![fault]).expect("faults");
    let mut june = held(&bill("june", ACME, 2).of("103.07"), "2025-06-10T10:20:00Z");
    june["orgId"] = json!(scene.organization());
    scene.m3ter_has(&[june], &[]);
    scene.send(payload("sweep.json")).await;
    let letters = scene.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].1.contains("could not be listed"), "{letters:?}");
    scene
        .sandbox
        .advance(SignedDuration::from_hours(3))
        .await
        .expect("later");
    scene.rest().await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_307);
    scene.end().await;
}
