//! Logs, events, messages, tokens and mail on a real DynamoDB engine.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail in any way"
)]

mod support;

use jiff::{SignedDuration, Timestamp};
use outbill::{
    decisions::validation::EntityReference,
    effects::{
        access::{AccessError, Permission},
        events::EventFilter,
        mail::Mailed,
        table::{PageRequest, StoreError},
        waiting::Awaited,
    },
    values::{
        bill::BillReference,
        ids::{AccountId, BillId, ConfigurationId, OrganizationId, RunId},
    },
};
use serde_json::{Value, json};
use support::{DEAD, world};

fn now() -> Timestamp {
    "2025-06-10T10:00:00Z".parse().unwrap()
}

fn organization() -> OrganizationId {
    OrganizationId::new("396d788d-5174-4e8b-9d69-a41f4671fc33").unwrap()
}

fn whole(size: usize) -> PageRequest {
    PageRequest { size, after: None }
}

#[tokio::test]
async fn logs_and_bodies_may_be_larger_than_a_row() {
    let world = world().await;
    let run = RunId::new("run-1").unwrap();
    let large = json!({"payload": "ö".repeat(500_000), "amount": 0.1});
    let entries = [json!({"configuration": 1}), large.clone(), json!([1, 2])];
    for entry in &entries {
        world
            .outbill
            .runs
            .append_log(&organization(), &run, now(), entry)
            .await
            .unwrap();
    }
    assert_eq!(world.outbill.runs.log(&organization(), &run).await.unwrap(), entries);
    assert!(
        world
            .outbill
            .runs
            .log(&organization(), &RunId::new("run-2").unwrap())
            .await
            .unwrap()
            .is_empty()
    );
    let text = large.to_string();
    let id = world
        .outbill
        .bodies
        .put(Some(&organization()), now(), &text)
        .await
        .unwrap();
    assert_eq!(world.outbill.bodies.get(&id).await.unwrap(), Some(text));
    assert_eq!(world.outbill.bodies.get("none").await.unwrap(), None);
}

#[tokio::test]
async fn events_are_filtered() {
    let world = world().await;
    let store = &world.outbill.events;
    let raise = async |name: &str, entity: &str, account: &str| {
        let event = json!({"eventData": {"newDto": {"entityId": entity, "accountId": account}}});
        store.raise(&organization(), now(), name, event).await.unwrap()
    };
    let first = raise("integration.validation.error", "b1", "a1").await;
    let second = raise("integration.perform.error", "b2", "a1").await;
    let check = async |filter: EventFilter, expect: &[&String]| {
        let found = store.list(&organization(), &filter, &whole(100)).await.unwrap();
        assert_eq!(found.items.iter().map(|event| &event.id).collect::<Vec<_>>(), expect);
    };
    check(EventFilter::default(), &[&second, &first]).await;
    let name = Some("integration.validation.error".to_owned());
    check(
        EventFilter {
            name,
            ..EventFilter::default()
        },
        &[&first],
    )
    .await;
    check(
        EventFilter {
            resource_id: Some("b2".to_owned()),
            ..EventFilter::default()
        },
        &[&second],
    )
    .await;
    check(
        EventFilter {
            account_id: Some("a1".to_owned()),
            ..EventFilter::default()
        },
        &[&second, &first],
    )
    .await;
    check(
        EventFilter {
            ids: vec![first.clone()],
            ..EventFilter::default()
        },
        &[&first],
    )
    .await;
    assert_eq!(store.get(&organization(), &first).await.unwrap().unwrap().time, now());
}

#[tokio::test]
async fn the_newest_run_waits() {
    let world = world().await;
    let store = &world.outbill.waiting;
    let (bill, other) = (BillId::new("b1").unwrap(), BillId::new("b2").unwrap());
    let run = |id: &str| RunId::new(id).unwrap();
    let what = Awaited::MappingOf(EntityReference::account(&AccountId::new("a1").unwrap()));
    let put = async |bill: &BillId, id: &str, head: &str| {
        let (organization, bill) = (organization(), bill.clone());
        let bill = BillReference { organization, bill };
        store.put(&bill, &what, &run(id), head).await.unwrap();
    };
    put(&bill, "r1", "0001").await;
    put(&bill, "r3", "0003").await;
    put(&bill, "r2", "0002").await;
    put(&other, "r4", "0001").await;
    let waiting = store.list(&organization(), &what).await.unwrap();
    assert_eq!(waiting, [(bill.clone(), run("r3")), (other.clone(), run("r4"))]);
    put(&bill, "r5", "0005").await;
    store.remove(&organization(), &what, &bill, &run("r3")).await.unwrap();
    store.remove(&organization(), &what, &other, &run("r4")).await.unwrap();
    store.remove(&organization(), &what, &other, &run("r4")).await.unwrap();
    assert_eq!(store.list(&organization(), &what).await.unwrap(), [(bill, run("r5"))]);
    let other = Awaited::Configuration(ConfigurationId::new("a1").unwrap());
    assert!(store.list(&organization(), &other).await.unwrap().is_empty());
}

#[tokio::test]
async fn messages_are_queued_whole_and_dead_letters_keep_their_reason() {
    let world = world().await;
    let queue = &world.outbill.queue;
    assert_eq!(queue.send(&json!({"flush": true})).await.unwrap(), "message-1");
    world.fakes.lock().unwrap().fail_in_batch = 3;
    let messages: Vec<Value> = (0..23).map(|n| json!({"n": n})).collect();
    queue.send_all(&messages).await.unwrap();
    let mut sent: Vec<String> = world
        .fakes
        .lock()
        .unwrap()
        .messages
        .drain(..)
        .map(|(_, body, _)| body)
        .skip(1)
        .collect();
    sent.sort();
    let mut expect: Vec<String> = messages.iter().map(Value::to_string).collect();
    expect.sort();
    assert_eq!(sent, expect);
    let too_large = json!({"body": "x".repeat(1_100_000)});
    assert!(matches!(queue.send(&too_large).await, Err(StoreError::TooLarge { .. })));

    let long_reason = "why ".repeat(10_000);
    let check = async |body: &str, reason: &str| {
        queue.dead_letter(now(), body, reason).await.unwrap();
        let (queue, body, reason) = world.fakes.lock().unwrap().messages.pop().unwrap();
        assert_eq!(queue, DEAD);
        (body, reason.unwrap())
    };
    assert_eq!(
        check("not json", "no JSON").await,
        ("not json".to_owned(), "no JSON".to_owned())
    );
    let almost = "x".repeat(1024 * 1024 - 1_000);
    let (body, reason) = check(&almost, &long_reason).await;
    assert_eq!((body.len(), reason.len()), (almost.len(), 988));
    let full = "x".repeat(1024 * 1024);
    let (body, reason) = check(&full, "does not fit").await;
    assert_eq!(reason, "does not fit");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        world
            .outbill
            .bodies
            .get(body["storedBody"].as_str().unwrap())
            .await
            .unwrap(),
        Some(full)
    );
}

#[tokio::test]
async fn a_token_is_good_for_five_hours() {
    let world = world().await;
    let access = &world.outbill.access;
    let permissions = [Permission::ConfigRetrieve];
    let (id, secret) = access.create_access_key(&organization(), &permissions).await.unwrap();
    let token = access.issue(&id, &secret, now()).await.unwrap();
    let caller = access.verify(&token, now()).await.unwrap();
    assert_eq!(
        (caller.access_key_id.as_str(), &caller.organization),
        (id.as_str(), &organization())
    );
    assert_eq!(caller.permissions, permissions);
    let check = async |token: &str, seconds: i64, good: bool| {
        let verified = access.verify(token, now() + SignedDuration::from_secs(seconds)).await;
        assert_eq!(verified.is_ok(), good, "{seconds} {token}");
    };
    check(&token, 17_999, true).await;
    check(&token, 18_000, false).await;
    check(&token[..token.len() - 2], 0, false).await;
    check("", 0, false).await;
    check("a.b.c", 0, false).await;
    let (header, rest) = token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    check(&format!("{header}.e30.{signature}"), 0, false).await;
    assert!(matches!(
        access.issue(&id, "wrong", now()).await,
        Err(AccessError::Denied)
    ));
    assert!(matches!(
        access.issue("nobody", &secret, now()).await,
        Err(AccessError::Denied)
    ));
    // Nothing of the secret is kept.
    assert!(
        world
            .fakes
            .lock()
            .unwrap()
            .secrets
            .values()
            .all(|kept| !kept.contains(&secret))
    );
}

#[tokio::test]
async fn without_a_sender_no_mail_is_sent() {
    let world = world().await;
    let mailed = world
        .outbill
        .mailer
        .send(&["a@b.example".to_owned()], "subject", "text")
        .await
        .unwrap();
    assert_eq!(mailed, Mailed::NoSender);
}
