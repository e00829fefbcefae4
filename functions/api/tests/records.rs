//! The API as its callers see it: runs, events, bills.

mod common;

use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD};
use common::*;
use jiff::SignedDuration;
use outbill::values::{
    configuration::DestinationKind,
    ids::RunId,
    run::{IntegrationRun, RunStatus},
};
use serde_json::{Value, json};

#[tokio::test]
async fn runs_and_their_logs_are_shown() {
    let api = api().await;
    let mut runs = Vec::new();
    for (minute, bill) in [(0, "b1"), (1, "b2"), (2, "b1")] {
        let started = now() + SignedDuration::from_mins(minute);
        let run = IntegrationRun {
            id: RunId::new(api.world.outbill.ids.text(started)).unwrap(),
            organization: organization(),
            entity_type: "Bill".to_owned(),
            entity_id: bill.to_owned(),
            entity_version: "1".to_owned(),
            status: if minute == 0 {
                RunStatus::Error
            } else {
                RunStatus::Complete
            },
            destination: DestinationKind::Aws,
            destination_id: Some("c1".to_owned()),
            started,
            completed: Some(started),
            error: (minute == 0).then(|| "no mapping".to_owned()),
            external_id: None,
            replayed_from: None,
            version: 1,
        };
        api.world.outbill.runs.save(&run).await.unwrap();
        runs.push(run);
    }
    let check = async |path: &str, expect: &[usize]| {
        let page = api.good("GET", &format!("integrationruns/{path}"), Value::Null).await;
        let found: Vec<&str> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["id"].as_str().unwrap())
            .collect();
        assert_eq!(
            found,
            expect.iter().map(|at| runs[*at].id.as_str()).collect::<Vec<_>>(),
            "{path}"
        );
    };
    check("Bill/b1", &[2, 0]).await;
    check("bill/b1?order=ASC", &[0, 2]).await;
    check("destinations/c1", &[2, 1, 0]).await;
    check("destinations/c1?destination=STRIPE", &[]).await;
    check("destinations/c1?status=ERROR", &[0]).await;
    check(
        "destinations/c1?startDate=2025-06-10T10:00:00Z&endDate=2025-06-10",
        &[2, 1],
    )
    .await;
    check("Bill/latest?ids=b1,b2,b3", &[2, 1]).await;
    let id = |at: usize| json!(runs[at].id.as_str());
    assert_eq!(
        api.good("GET", "integrationruns/Bill/latest/b1", Value::Null).await["id"],
        id(2)
    );
    api.bad(404, &["b9"], "GET", "integrationruns/Bill/latest/b9", Value::Null)
        .await;
    api.bad(
        400,
        &["status", "COMPLETE"],
        "GET",
        "integrationruns/Bill/b1?status=DONE",
        Value::Null,
    )
    .await;
    api.bad(400, &["order"], "GET", "integrationruns/Bill/b1?order=UP", Value::Null)
        .await;
    api.bad(
        400,
        &["startDate"],
        "GET",
        "integrationruns/Bill/b1?startDate=soon",
        Value::Null,
    )
    .await;
    let one = api
        .good("GET", &format!("integrationruns/{}", runs[0].id), Value::Null)
        .await;
    assert_eq!((&one["status"], &one["error"]), (&json!("ERROR"), &json!("no mapping")));
    api.bad(404, &["none"], "GET", "integrationruns/none", Value::Null)
        .await;

    let entry = json!({"sent": [1]});
    api.world
        .outbill
        .runs
        .append_log(&organization(), &runs[0].id, now(), &entry)
        .await
        .unwrap();
    let log = api
        .good("GET", &format!("integrationruns/logs/{}", runs[0].id), Value::Null)
        .await;
    let payload = STANDARD.decode(log["Payload"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), json!([entry]));
    let path = format!("integrationruns/{}/replay", runs[0].id);
    let replay = json!({"orgId": ORGANIZATION, "integrationRunId": runs[0].id, "replay": true});
    assert_eq!(api.good("POST", &path, Value::Null).await, one);
    assert_eq!(api.queued(), std::slice::from_ref(&replay));
    api.good("POST", &path, json!({"remap": true})).await;
    assert_eq!(api.queued(), [with(replay, json!({"remap": true}))]);
    api.bad(400, &["flush"], "POST", &path, json!({"flush": true})).await;
    api.bad(404, &["none"], "POST", "integrationruns/none/replay", Value::Null)
        .await;
    let log = api.world.outbill.runs.log(&organization(), &runs[0].id).await.unwrap();
    assert_eq!(
        log[2]["replayAsked"],
        json!({"by": api.key.0, "at": "2025-06-10T10:00:00Z", "remap": true})
    );

    let large = json!("x".repeat(4_600_000));
    api.world
        .outbill
        .runs
        .append_log(&organization(), &runs[0].id, now(), &large)
        .await
        .unwrap();
    api.bad(
        413,
        &["log"],
        "GET",
        &format!("integrationruns/logs/{}", runs[0].id),
        Value::Null,
    )
    .await;
}

#[tokio::test]
async fn events_are_shown() {
    let api = api().await;
    let raise = async |name: &str, account: &str| {
        let event = json!({"eventData": {"newDto": {"accountId": account, "entityId": "b1"}}});
        api.world
            .outbill
            .events
            .raise(&organization(), now(), name, event)
            .await
            .unwrap()
    };
    let first = raise("integration.validation.error", "a1").await;
    let second = raise("integration.disabled.error", "a2").await;
    let check = async |query: &str, expect: &[&String]| {
        let page = api.good("GET", &format!("events?{query}"), Value::Null).await;
        let found: Vec<&Value> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| &event["id"])
            .collect();
        assert_eq!(
            found,
            expect
                .iter()
                .map(|id| json!(id))
                .collect::<Vec<_>>()
                .iter()
                .collect::<Vec<_>>(),
            "{query}"
        );
    };
    check("", &[&second, &first]).await;
    check("eventName=integration.validation.error", &[&first]).await;
    check("accountId=a2", &[&second]).await;
    check("resourceId=b1&pageSize=100", &[&second, &first]).await;
    check("eventType=IntegrationEvent", &[&second, &first]).await;
    check("eventType=Notification", &[]).await;
    check(&format!("ids={first}"), &[&first]).await;
    check("includeActioned=false", &[&second, &first]).await;
    api.bad(400, &["ids"], "GET", "events?ids=a&accountId=b", Value::Null)
        .await;
    api.bad(400, &["eventType"], "GET", "events?eventType=Other", Value::Null)
        .await;
    let one = api.good("GET", &format!("events/{first}"), Value::Null).await;
    assert_eq!(
        (&one["eventTime"], one.get("dtActioned")),
        (&json!("2025-06-10T10:00:00Z"), Some(&Value::Null))
    );
    api.bad(404, &["none"], "GET", "events/none", Value::Null).await;
    assert_eq!(
        api.good("GET", "events/types", Value::Null).await["events"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    let fields = api
        .good("GET", "events/fields?eventName=integration.disabled.error", Value::Null)
        .await;
    assert_eq!(fields["events"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_bill_is_put_on_the_queue() {
    let api = api().await;
    let bill: Value = serde_json::from_str(
        r#"{"id": "b1", "accountId": "a1", "version": 8, "currency": "USD",
                "lineItems": [{"lineItemType": "USAGE", "currency": "USD", "convertedSubtotal": 0.10}]}"#,
    )
    .unwrap();
    let check = async |body: Value, expect: Value| {
        let (status, answer) = api.call("POST", "bills", body.clone()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}: {answer}");
        assert_eq!(answer["messageId"], json!("message-1"));
        let queued: Vec<Value> = api.queued();
        assert_eq!(queued, [with(expect, json!({"sentBy": api.key.0}))]);
        queued
    };
    let message = json!({"orgId": ORGANIZATION, "bill": bill});
    let queued = check(bill.clone(), message.clone()).await;
    // The digits are those that were given.
    assert_eq!(
        queued[0]["bill"]["lineItems"][0]["convertedSubtotal"].to_string(),
        "0.10"
    );
    check(json!({"bill": bill}), message.clone()).await;
    let account = json!({"id": "a1"});
    let full = with(message.clone(), json!({"account": account}));
    check(full.clone(), full).await;
    check(json!({"billId": "b1"}), json!({"orgId": ORGANIZATION, "billId": "b1"})).await;
    let event = json!({"eventData": {"newDto": with(bill.clone(), json!({"orgId": ORGANIZATION}))}});
    let event = json!({"eventName": "billing.bill.updated", "m3terEvent": event});
    check(
        with(event.clone(), json!({"replay": true, "flush": true, "account": null})),
        event.clone(),
    )
    .await;
    let full = with(event.clone(), json!({"account": account}));
    check(full.clone(), full).await;

    let bad = async |body: Value, hint: &str| api.bad(400, &[hint], "POST", "bills", body).await;
    bad(with(event.clone(), json!({"account": "a1"})), "account: give an object").await;
    bad(with(event, json!({"account": {}})), "account").await;
    bad(json!({"bill": bill, "replay": true}), "replay").await;
    bad(
        json!({"orgId": ORGANIZATION, "integrationRunId": "r1", "replay": true}),
        "id",
    )
    .await;
    bad(json!({"bill": {"version": 1}}), "bill.id").await;
    bad(json!({"bill": "b1"}), "bill").await;
    bad(json!({"orgId": "other", "bill": bill}), "orgId").await;
    bad(with(bill.clone(), json!({"orgId": "other"})), "orgId").await;
    bad(json!([bill]), "object").await;
    bad(json!({"m3terEvent": {"eventData": {"newDto": bill}}}), "orgId").await;
    // A deletion is read from its oldDto.
    let (own, foreign) = (
        json!({"id": "x", "orgId": ORGANIZATION}),
        with(bill.clone(), json!({"orgId": "other"})),
    );
    let deletion = json!({"eventData": {"newDto": own, "oldDto": foreign}});
    let deletion = json!({"eventName": "billing.bill.deleted", "m3terEvent": deletion});
    bad(deletion, "organization of the path").await;
    bad(with(bill.clone(), json!({"currency": null})), "currency is missing").await;
    bad(
        with(bill.clone(), json!({"lineItems": [{}]})),
        "lineItems[0].convertedSubtotal is missing",
    )
    .await;

    let large = with(bill, json!({"padding": "x".repeat(1_100_000)}));
    let (status, _) = api.call("POST", "bills", large.clone()).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let queued = api.queued();
    assert_eq!(queued[0]["orgId"], json!(ORGANIZATION));
    let stored = api
        .world
        .outbill
        .bodies
        .get(queued[0]["storedBody"].as_str().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&stored).unwrap()["bill"], large);
}
