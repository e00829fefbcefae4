//! Who may make the calls that m3ter does not have.

mod common;

use axum::{body::Body, http::Request};
use common::*;
use jiff::SignedDuration;
use outbill::effects::access::Permission;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[tokio::test]
async fn each_call_needs_its_own_permission_and_no_other() {
    let mut api = api().await;
    let all = api.key.clone();
    let key = "0123456789abcdef0123456789abcdef";
    let marketplace = "integrationdestinations/marketplace";
    use Permission::{ConfigCreate, MarketplaceUsageCreate, MarketplaceUsageRetrieve};
    let calls = [
        ("GET", format!("{marketplace}/pending"), MarketplaceUsageRetrieve),
        (
            "GET",
            format!("{marketplace}/explain?billId=b"),
            MarketplaceUsageRetrieve,
        ),
        (
            "POST",
            "integrationconfigs/none/preview".to_owned(),
            MarketplaceUsageRetrieve,
        ),
        (
            "POST",
            format!("{marketplace}/pending/{key}-2025-06-10T10/resolve"),
            MarketplaceUsageCreate,
        ),
        (
            "POST",
            format!("{marketplace}/pending/{key}/unblock"),
            MarketplaceUsageCreate,
        ),
        (
            "POST",
            "integrationconfigs/none/thaw".to_owned(),
            MarketplaceUsageCreate,
        ),
        ("POST", "integrationruns/none/replay".to_owned(), MarketplaceUsageCreate),
        ("POST", "externalmappings/import".to_owned(), ConfigCreate),
    ];
    for (method, path, needed) in calls {
        let others: Vec<Permission> = Permission::ALL
            .iter()
            .copied()
            .filter(|other| *other != needed)
            .collect();
        for (permissions, admitted) in [(vec![needed], true), (others, false)] {
            let access = &api.world.outbill.access;
            api.key = access.create_access_key(&organization(), &permissions).await.unwrap();
            api.token = api.new_token().await;
            let body = if method == "POST" { json!({}) } else { Value::Null };
            let (status, answer) = api.call(method, &path, body).await;
            let name = serde_json::to_value(needed).unwrap();
            let lacks = answer["message"]
                .as_str()
                .unwrap_or_default()
                .contains(name.as_str().unwrap());
            assert_eq!(
                (status != 403, lacks),
                (admitted, !admitted),
                "{method} {path}: {status} {answer}"
            );
        }
    }
    api.key = all;
}

fn hash(key: &str) -> String {
    Sha256::digest(key.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
async fn a_notification_key_is_exchanged_without_a_refusal() {
    let api = api().await;
    let notify = async |key: &str, expect: u16| {
        let event = json!({"eventName": "billing.bill.updated", "m3terEvent": {"eventData": {"newDto": {"id": "b1"}}}});
        let request = Request::post(format!("/organizations/{ORGANIZATION}/m3ter/events/{key}"));
        let (status, answer) = api.send(request.body(Body::from(event.to_string())).unwrap()).await;
        assert_eq!(status.as_u16(), expect, "{key} {answer}");
        let reference = json!({"orgId": ORGANIZATION, "billId": "b1"});
        let queued = if expect == 200 { vec![reference] } else { Vec::new() };
        assert_eq!(api.queued(), queued, "{key}");
    };
    let minutes = std::cell::Cell::new(0);
    let keep = async |secret: Value| {
        let name = format!("{ORGANIZATION}/webhook");
        api.world.outbill.secrets.put(&name, &secret.to_string()).await.unwrap();
        // What was read before is believed for a minute.
        minutes.set(minutes.get() + 2);
        *api.clock.lock().unwrap() = now() + SignedDuration::from_mins(minutes.get());
    };
    notify("old", 403).await;
    keep(json!({"secretSha256": [hash("old")]})).await;
    notify("old", 200).await;
    notify("new", 403).await;
    // The hash is no key.
    notify(&hash("old"), 403).await;
    keep(json!({"secretSha256": [hash("old"), hash("new")]})).await;
    notify("old", 200).await;
    notify("new", 200).await;
    keep(json!({"secretSha256": [hash("new")]})).await;
    notify("old", 403).await;
    notify("new", 200).await;
    keep(json!({"secretSha256": []})).await;
    notify("new", 403).await;
    // A secret that cannot be read admits nobody, and is nobody's fault outside.
    keep(json!({"secretSha256": hash("new")})).await;
    notify("new", 500).await;
}

#[tokio::test]
async fn only_post_notifies_and_a_large_body_is_refused_after_the_key() {
    let api = api().await;
    let path = format!("/organizations/{ORGANIZATION}/m3ter/events");
    for (method, path, expect) in [
        ("GET", path.clone(), 404),
        ("PUT", format!("{path}/key"), 404),
        ("POST", path.clone(), 403),
        ("POST", format!("{path}/key/more"), 403),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .body(Body::empty())
            .unwrap();
        let (status, answer) = api.send(request).await;
        assert_eq!(status.as_u16(), expect, "{method} {path} {answer}");
        assert!(!answer.to_string().contains("/key"), "{answer}");
    }
    let large = || Body::from(vec![b' '; 7 * 1024 * 1024]);
    let (status, _) = api
        .send(Request::post(format!("{path}/wrong")).body(large()).unwrap())
        .await;
    assert_eq!(status, 403);
    let secret = json!({"secretSha256": [hash("key")]}).to_string();
    let secrets = &api.world.outbill.secrets;
    secrets.put(&format!("{ORGANIZATION}/webhook"), &secret).await.unwrap();
    *api.clock.lock().unwrap() = now() + SignedDuration::from_mins(2);
    let (status, answer) = api
        .send(Request::post(format!("{path}/key")).body(large()).unwrap())
        .await;
    assert_eq!(status, 413, "{answer}");
    let (status, answer) = api
        .send(Request::post(format!("{path}/key")).body(Body::from("{,")).unwrap())
        .await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("column 2"), "{answer}");
}

#[tokio::test]
async fn a_bill_that_is_gone_is_named_by_what_it_was() {
    let api = api().await;
    let secret = json!({"secretSha256": [hash("key")]}).to_string();
    let secrets = &api.world.outbill.secrets;
    secrets.put(&format!("{ORGANIZATION}/webhook"), &secret).await.unwrap();
    for documents in [
        json!({"oldDto": {"id": "b1"}}),
        json!({"newDto": null, "oldDto": {"id": "b1"}}),
        json!({"newDto": {"id": "b1"}, "oldDto": null}),
    ] {
        let event = json!({"eventName": "billing.bill.deleted", "m3terEvent": {"eventData": documents}});
        let request = Request::post(format!("/organizations/{ORGANIZATION}/m3ter/events/key"));
        let (status, answer) = api.send(request.body(Body::from(event.to_string())).unwrap()).await;
        assert_eq!(status.as_u16(), 200, "{event} {answer}");
        assert_eq!(
            api.queued(),
            [json!({"orgId": ORGANIZATION, "billId": "b1"})],
            "{event}"
        );
    }
}
