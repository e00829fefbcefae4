//! The event source, the schedules and the controls.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use common::{NOW, control, sandbox, sandbox_with, sdk};
use jiff::{SignedDuration, Timestamp};
use sandbox::{Fault, FaultKind, Handled, Options, Service};
use serde_json::json;

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

#[tokio::test]
async fn a_message_is_repeated_until_it_is_handled_or_given_up() {
    let tries = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
    let counted = tries.clone();
    let sandbox = sandbox_with(Options::for_tests(), move |body, _| {
        let count = {
            let mut tries = counted.lock().unwrap();
            let count = tries.entry(body.to_owned()).or_insert(0);
            *count += 1;
            *count
        };
        match body {
            "\"third time\"" => count == 3,
            "\"panics once\"" => {
                assert!(count > 1, "on purpose");
                true
            }
            body => body != "\"never\"",
        }
    })
    .await;
    for (message, tries_expected, handled, dead_lettered) in [
        ("at once", 1, true, false),
        ("third time", 3, true, false),
        ("panics once", 2, true, false),
        ("never", 10, false, true),
    ] {
        assert_eq!(
            sandbox.send(&json!(message)).await.unwrap(),
            Handled { handled, dead_lettered },
            "{message}"
        );
        let tried = tries.lock().unwrap()[&format!("\"{message}\"")];
        assert_eq!(tried, tries_expected, "{message}");
    }
    let (_, letters) = control(&sandbox, "GET", "/dead-letters", "").await;
    assert_eq!(letters["deadLetters"][0]["reason"], "received 10 times");
    assert!(sandbox.queue().is_empty());
}

#[tokio::test]
async fn batches_hold_at_most_100_messages_and_all_are_handled() {
    let handled = Arc::new(AtomicU32::new(0));
    let counter = handled.clone();
    let sandbox = sandbox_with(Options::for_tests(), move |_, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        true
    })
    .await;
    let client = aws_sdk_sqs::Client::new(&sdk(&sandbox).await);
    for _ in 0..25 {
        let mut batch = client
            .send_message_batch()
            .queue_url("http://localhost/1/outbill-bills");
        for id in 0..10 {
            batch = batch.entries(
                aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder()
                    .id(id.to_string())
                    .message_body("\"x\"")
                    .build()
                    .unwrap(),
            );
        }
        batch.send().await.unwrap();
    }
    sandbox.drain().await;
    assert_eq!(handled.load(Ordering::SeqCst), 250);
}

#[tokio::test]
async fn the_clock_stops_at_every_tick() {
    let ticks = Arc::new(Mutex::new(Vec::new()));
    let seen = ticks.clone();
    let sandbox = sandbox_with(Options::for_tests(), move |body, now| {
        assert_eq!(body, r#"{"flush":true}"#);
        seen.lock().unwrap().push(now.to_string());
        true
    })
    .await;
    sandbox.advance(SignedDuration::from_hours(2)).await.unwrap();
    assert_eq!(*ticks.lock().unwrap(), ["2026-03-10T11:01:00Z", "2026-03-10T12:01:00Z"]);
    assert_eq!(sandbox.clock().now(), at("2026-03-10T12:30:00Z"));
    let error = sandbox.advance_to(at(NOW)).await.unwrap_err().to_string();
    assert!(error.starts_with("now: the clock is at"), "{error}");
    sandbox.flush().await.unwrap();
    assert_eq!(ticks.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_delayed_message_is_handled_at_its_instant() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    let sandbox = sandbox_with(Options::for_tests(), move |body, now| {
        kept.lock().unwrap().push((body.to_owned(), now.to_string()));
        true
    })
    .await;
    aws_sdk_sqs::Client::new(&sdk(&sandbox).await)
        .send_message()
        .queue_url("http://localhost/1/outbill-bills")
        .message_body("later")
        .delay_seconds(90)
        .send()
        .await
        .unwrap();
    sandbox.drain().await;
    assert!(seen.lock().unwrap().is_empty());
    sandbox.advance(SignedDuration::from_mins(5)).await.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        [("later".to_owned(), "2026-03-10T10:31:30Z".to_owned())]
    );
}

#[tokio::test]
async fn controls_answer_and_name_what_is_wrong() {
    let sandbox = sandbox().await;
    for (method, path, body, status, message) in [
        ("POST", "/clock", r#"{"advanceSeconds":60}"#, 200, ""),
        (
            "POST",
            "/clock",
            r#"{"advanceSeconds":"x"}"#,
            400,
            "advanceSeconds: invalid type",
        ),
        ("POST", "/clock", r#"{"advanceSeconds":-1}"#, 400, "advanceSeconds:"),
        ("POST", "/clock", r#"{"now":"2020-01-01T00:00:00Z"}"#, 400, "now:"),
        ("POST", "/clock", "{}", 400, "give either now or advanceSeconds"),
        ("POST", "/clock", r#"{"noon":1}"#, 400, "noon: unknown field"),
        (
            "POST",
            "/faults",
            r#"[{"service":"metering","kind":"error","times":1}]"#,
            200,
            "",
        ),
        (
            "POST",
            "/faults",
            r#"[{"service":"metering","kind":"error"}]"#,
            400,
            "[0]: missing field `times`",
        ),
        (
            "POST",
            "/faults",
            r#"[{"service":"mail","kind":"error","times":1}]"#,
            400,
            "[0].service: unknown variant",
        ),
        (
            "POST",
            "/faults",
            r#"[{"service":"sqs","kind":"unprocessed","times":1}]"#,
            400,
            "kind:",
        ),
        ("POST", "/faults", "[]", 200, ""),
        (
            "POST",
            "/marketplace",
            r#"{"identicalRepeat":"DuplicateRecord"}"#,
            200,
            "",
        ),
        (
            "POST",
            "/marketplace",
            r#"{"identicalRepeat":"Maybe"}"#,
            400,
            "identicalRepeat: unknown variant",
        ),
        (
            "POST",
            "/buyers",
            r#"{"customer":"111122223333","subscribed":false}"#,
            200,
            "",
        ),
        (
            "POST",
            "/buyers",
            r#"{"customer":"111122223333"}"#,
            400,
            "missing field `subscribed`",
        ),
        (
            "POST",
            "/foreign-usage",
            r#"{"region":"us-east-1","customer":"c","dimension":"d","hour":"2026-03-10T10:00:00Z","quantity":3}"#,
            400,
            "give exactly one of",
        ),
        (
            "POST",
            "/foreign-usage",
            r#"{"region":"us-east-1","productCode":"p","customer":"c","dimension":"d","hour":"2026-03-10T10:00:00Z","quantity":3}"#,
            200,
            "",
        ),
        ("POST", "/m3ter", r#"{"bills":[{"id":1}]}"#, 400, "bills[0].id:"),
        ("POST", "/queue", "", 400, "the message is empty"),
        ("POST", "/queue", "not json", 200, ""),
        ("POST", "/tick/flush", "", 200, ""),
        ("POST", "/tick/sweep", "", 200, ""),
        ("GET", "/webhook", "", 200, ""),
        ("POST", "/tick/reconcile", "{\"date\":\"yesterday\"}", 400, "date"),
        ("POST", "/cloudtrail", "{\"delay\":3}", 400, "delay"),
        ("GET", "/access-key", "", 200, ""),
        ("GET", "/requests", "", 200, ""),
        ("DELETE", "/requests", "", 200, ""),
        ("GET", "/outbox", "", 200, ""),
        ("GET", "/nowhere", "", 404, "no such control"),
        ("PUT", "/clock", "", 405, "this control has another method"),
    ] {
        let (answered, answer) = control(&sandbox, method, path, body).await;
        assert_eq!(answered, status, "{method} {path} {body}: {answer}");
        let said = answer["message"].as_str().unwrap_or_default();
        assert!(said.starts_with(message), "{method} {path} {body}: {said}");
    }
    let (_, marketplace) = control(&sandbox, "GET", "/marketplace", "").await;
    assert_eq!(marketplace["billed"][0]["quantity"], 3);
}

#[tokio::test]
async fn the_page_and_the_api_share_an_address() {
    let sandbox = sandbox().await;
    let read = async |path: &str| {
        reqwest::get(format!("{}{path}", sandbox.addresses().api))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let page = read("/").await;
    assert!(page.contains(&sandbox.access_key().api_secret));
    assert!(!page.contains("{{"), "every place is filled");
    assert_eq!(read("/organizations").await, "the API");
    // The page's script reads the controls; a page from elsewhere may not.
    let url = format!("{}/clock", sandbox.addresses().controls);
    for (origin, allowed) in [
        (sandbox.addresses().api.clone(), true),
        (sandbox.addresses().api.replace("127.0.0.1", "localhost"), true),
        ("http://page.example".to_owned(), false),
        (sandbox.addresses().aws.clone(), false),
    ] {
        let answer = reqwest::Client::new()
            .get(&url)
            .header("origin", &origin)
            .send()
            .await
            .unwrap();
        let header = answer.headers().get("access-control-allow-origin");
        assert_eq!(
            header.map(|value| value.to_str().unwrap()),
            allowed.then_some(origin.as_str())
        );
    }
}

#[tokio::test]
async fn m3ter_serves_what_it_was_given_to_those_with_a_token() {
    let sandbox = sandbox().await;
    let entities = r#"{"bills":[{"id":"b","orgId":"o","amount":0.1000000000000000055}],"accounts":[{"id":"a"}]}"#;
    control(&sandbox, "POST", "/m3ter", entities).await;
    let http = reqwest::Client::new();
    let url = &sandbox.addresses().m3ter;
    let token: serde_json::Value = http
        .post(format!("{url}/oauth/token"))
        .basic_auth("key", Some("secret"))
        .json(&json!({"grant_type": "client_credentials"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = token["access_token"].as_str().unwrap();
    for (path, token, status) in [
        ("/organizations/o/bills/b", token, 200),
        ("/organizations/o/accounts/a", token, 200),
        ("/organizations/other/bills/b", token, 404),
        ("/organizations/o/bills/none", token, 404),
        ("/organizations/o/bills/b", "wrong", 403),
    ] {
        let answer = http
            .get(format!("{url}{path}"))
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        if path == "/organizations/o/bills/b" && status == 200 {
            let text = answer.text().await.unwrap();
            assert!(text.contains("0.1000000000000000055"), "{text}");
        }
    }
    sandbox
        .faults(vec![Fault::new(Service::M3ter, FaultKind::LostRequest, 1)])
        .unwrap();
    let lost = http.get(format!("{url}/organizations/o/bills/b")).send();
    assert!(lost.await.is_err());
}
