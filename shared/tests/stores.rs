//! Every store against a real DynamoDB engine: what is written is read, done twice is done once, and races have one winner.

mod support;

use jiff::{SignedDuration, Timestamp};
use outbill::{
    effects::{
        access::{AccessError, Permission},
        configurations::{Changed, FailureCount},
        events::EventFilter,
        mail::Mailed,
        mappings::Stored,
        runs::RunFilter,
        table::{Order, PageRequest, StoreError},
    },
    values::{
        configuration::{Audit, DestinationKind, IntegrationConfiguration},
        credential::{AWS_INTEGRATION, AwsRole, IntegrationCredential},
        ids::{BillId, ConfigurationId, CredentialId, OrganizationId, RunId},
        mapping::ExternalMapping,
        run::{IntegrationRun, RunStatus},
    },
};
use serde_json::{Value, json};
use support::{DEAD, World, world};

fn now() -> Timestamp {
    "2025-06-10T10:00:00Z".parse().unwrap()
}

fn organization() -> OrganizationId {
    OrganizationId::new("396d788d-5174-4e8b-9d69-a41f4671fc33").unwrap()
}

fn whole(size: usize) -> PageRequest {
    PageRequest { size, after: None }
}

fn configuration(world: &World) -> IntegrationConfiguration {
    let config_data: Value =
        serde_json::from_str(r#"{"splitUsageLineItems": "ITEM_PER_PRODUCT", "marketplaceUnitPrice": 0.010}"#).unwrap();
    IntegrationConfiguration {
        id: ConfigurationId::new(world.outbill.ids.text(now())).unwrap(),
        organization: organization(),
        version: 1,
        name: Some("bills".to_owned()),
        entity_type: "Bill".to_owned(),
        entity_id: None,
        destination: DestinationKind::Aws,
        destination_id: None,
        config_data: config_data.as_object().unwrap().clone(),
        credential: Some(CredentialId::new("c1").unwrap()),
        enabled: true,
        audit: Audit::new(now(), "key-1"),
        failures: Default::default(),
    }
}

#[tokio::test]
async fn configurations_are_kept_listed_and_changed() {
    let world = world().await;
    let store = &world.outbill.configurations;
    let all: Vec<_> = (0..5).map(|_| configuration(&world)).collect();
    for made in &all {
        store.create(made).await.unwrap();
        store.create(made).await.unwrap();
    }
    assert_eq!(store.of_organization(&organization()).await.unwrap(), all);
    assert_eq!(
        store.get(&organization(), &all[0].id).await.unwrap().as_ref(),
        Some(&all[0])
    );

    let first = store.list(&organization(), &whole(2), |_| true).await.unwrap();
    assert_eq!(first.items, [all[4].clone(), all[3].clone()]);
    let page = PageRequest {
        size: 3,
        after: first.next,
    };
    let second = store.list(&organization(), &page, |_| true).await.unwrap();
    assert_eq!(second.items, [all[2].clone(), all[1].clone(), all[0].clone()]);
    assert_eq!(second.next, None);
    let wanted = all[1].id.clone();
    let filtered = store
        .list(&organization(), &whole(1), |found| found.id == wanted)
        .await
        .unwrap();
    assert_eq!((filtered.items.len(), filtered.next), (1, None));

    let later = now() + SignedDuration::from_mins(1);
    let changed = IntegrationConfiguration {
        name: None,
        credential: None,
        ..all[0].clone()
    };
    let Changed::Done(updated) = store.update(&changed, later, "key-2").await.unwrap() else {
        panic!()
    };
    assert_eq!((updated.version, &updated.name, &updated.credential), (2, &None, &None));
    assert_eq!((updated.audit.last_modified, updated.audit.created), (later, now()));
    // The same again, as after a lost answer; then by someone who has not seen it.
    assert_eq!(
        store.update(&changed, later, "key-2").await.unwrap(),
        Changed::Done(updated)
    );
    assert_eq!(
        store.update(&changed, later, "key-3").await.unwrap(),
        Changed::Version(2)
    );

    assert!(store.delete(&organization(), &all[0].id).await.unwrap().is_some());
    assert!(store.delete(&organization(), &all[0].id).await.unwrap().is_none());
    assert_eq!(store.update(&changed, later, "key-2").await.unwrap(), Changed::Missing);
    assert_eq!(store.enable(&organization(), &all[0].id).await.unwrap(), None);
}

#[tokio::test]
async fn failures_count_by_cause_and_disabling_has_one_winner() {
    let world = world().await;
    let store = &world.outbill.configurations;
    let made = configuration(&world);
    store.create(&made).await.unwrap();
    let count = async |cause: &str| store.count_failure(&organization(), &made.id, cause).await.unwrap();
    assert_eq!(
        count("bill-1 no mapping").await,
        FailureCount {
            total: 1,
            counted: true
        }
    );
    assert_eq!(
        count("bill-1 no mapping").await,
        FailureCount {
            total: 1,
            counted: false
        }
    );
    assert_eq!(
        count(&"x".repeat(5_000)).await,
        FailureCount {
            total: 2,
            counted: true
        }
    );
    assert_eq!(
        count(&"x".repeat(5_000)).await,
        FailureCount {
            total: 2,
            counted: false
        }
    );
    store.reset_failures(&organization(), &made.id).await.unwrap();
    store.reset_failures(&organization(), &made.id).await.unwrap();
    assert_eq!(
        count("bill-2").await,
        FailureCount {
            total: 1,
            counted: true
        }
    );

    let owner = organization();
    let disable = || store.disable(&owner, &made.id);
    let won = futures::future::join_all((0..4).map(|_| disable())).await;
    assert_eq!(won.into_iter().filter(|won| *won.as_ref().unwrap()).count(), 1);
    assert_eq!(
        count("bill-3").await,
        FailureCount {
            total: 1,
            counted: false
        }
    );

    // A user who has not seen the disabling changes the settings: it stays disabled.
    let Changed::Done(updated) = store.update(&made, now(), "key-2").await.unwrap() else {
        panic!()
    };
    assert!(!updated.enabled && updated.failures.len() == 1);
    let enabled = store.enable(&organization(), &made.id).await.unwrap().unwrap();
    assert!(enabled.enabled && enabled.failures.is_empty());
    assert!(disable().await.unwrap());
    let gone = ConfigurationId::new("none").unwrap();
    assert!(!store.disable(&organization(), &gone).await.unwrap());
    let missing = store.count_failure(&organization(), &gone, "x").await.unwrap();
    assert_eq!(
        missing,
        FailureCount {
            total: 0,
            counted: false
        }
    );
    assert_eq!(store.get(&organization(), &gone).await.unwrap(), None);
}

fn mapping(world: &World, entity: &str, m3ter_id: &str, external_id: &str) -> ExternalMapping {
    ExternalMapping {
        id: world.outbill.ids.text(now()),
        organization: organization(),
        version: 1,
        m3ter_entity: entity.to_owned(),
        m3ter_id: m3ter_id.to_owned(),
        external_system: "AWS".to_owned(),
        external_table: if entity == "Account" { "Customer" } else { "Dimension" }.to_owned(),
        external_id: external_id.to_owned(),
        configuration: None,
        audit: Audit::new(now(), "key-1"),
    }
}

#[tokio::test]
async fn mappings_are_found_from_both_sides() {
    let world = world().await;
    let store = &world.outbill.mappings;
    let buyer = mapping(&world, "Account", "a1", "123456789012");
    let product = mapping(&world, "Product", "p1", "abc-users");
    for made in [&buyer, &product] {
        assert_eq!(store.create(made).await.unwrap(), Stored::Done((*made).clone()));
        assert_eq!(store.create(made).await.unwrap(), Stored::Done((*made).clone()));
    }
    let second = ExternalMapping {
        external_id: "999999999999".to_owned(),
        ..mapping(&world, "account", "a1", "")
    };
    let second = ExternalMapping {
        external_table: "customer".to_owned(),
        ..second
    };
    assert_eq!(store.create(&second).await.unwrap(), Stored::Exists(buyer.clone()));
    let linked = ConfigurationId::new("configuration-1").unwrap();
    let linked = ExternalMapping {
        configuration: Some(linked),
        ..mapping(&world, "Account", "a1", "999999999999")
    };
    assert_eq!(store.create(&linked).await.unwrap(), Stored::Done(linked.clone()));

    let found = store.of_entity(&organization(), "ACCOUNT", "a1").await.unwrap();
    assert_eq!(found.len(), 2);
    let things = [("Product", "p1"), ("Account", "nobody"), ("Account", "a1")];
    let found = store.of_entities(&organization(), &things).await.unwrap();
    assert_eq!(
        found.iter().map(|found| found.m3ter_id.as_str()).collect::<Vec<_>>(),
        ["p1", "a1", "a1"]
    );
    let owner = organization();
    let by_external = |id: &'static str| store.page_of_external(&owner, ("aws", "Customer", id), &EVERY);
    assert_eq!(
        by_external("123456789012").await.unwrap().items,
        std::slice::from_ref(&buyer)
    );

    // Another id and another product: the old rows are gone.
    let later = now() + SignedDuration::from_mins(1);
    let moved = ExternalMapping {
        external_id: "111111111111".to_owned(),
        m3ter_id: "a2".to_owned(),
        ..buyer.clone()
    };
    let Stored::Done(updated) = store.update(&moved, later, "key-2").await.unwrap() else {
        panic!()
    };
    assert_eq!(updated.version, 2);
    assert!(by_external("123456789012").await.unwrap().items.is_empty());
    assert_eq!(
        by_external("111111111111").await.unwrap().items,
        std::slice::from_ref(&updated)
    );
    assert_eq!(
        store.of_entity(&organization(), "Account", "a1").await.unwrap(),
        std::slice::from_ref(&linked)
    );
    assert_eq!(
        store.of_entity(&organization(), "Account", "a2").await.unwrap(),
        std::slice::from_ref(&updated)
    );
    assert_eq!(store.update(&moved, later, "key-2").await.unwrap(), Stored::Version(2));
    let same_kind = ExternalMapping {
        m3ter_id: "a2".to_owned(),
        configuration: None,
        ..linked.clone()
    };
    assert_eq!(
        store.update(&same_kind, later, "key-2").await.unwrap(),
        Stored::Exists(updated.clone())
    );

    assert_eq!(
        store.delete(&organization(), &updated.id).await.unwrap(),
        Some(updated.clone())
    );
    assert_eq!(store.delete(&organization(), &updated.id).await.unwrap(), None);
    assert!(
        store
            .of_entity(&organization(), "Account", "a2")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.update(&updated, later, "key-2").await.unwrap(), Stored::Missing);
    let list = store
        .list(&organization(), &EVERY, |found| found.m3ter_entity == "Product")
        .await
        .unwrap();
    assert_eq!(list.items, [product]);
}

const EVERY: PageRequest = PageRequest { size: 100, after: None };

#[tokio::test]
async fn a_credential_keeps_its_external_id_to_itself() {
    let world = world().await;
    let store = &world.outbill.credentials;
    let made = IntegrationCredential {
        id: CredentialId::new(world.outbill.ids.text(now())).unwrap(),
        organization: organization(),
        version: 1,
        credential_type: AWS_INTEGRATION.to_owned(),
        destination: DestinationKind::Aws,
        name: None,
        aws: Some(AwsRole::new("123456789012", "Metering", "external-1").unwrap()),
        audit: Audit::new(now(), "key-1"),
    };
    store.create(&made).await.unwrap();
    assert_eq!(store.get(&organization(), &made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(
        store.list(&organization(), &EVERY).await.unwrap().items,
        std::slice::from_ref(&made)
    );
    let renamed = AwsRole::new("123456789012", "Other", "ignored").unwrap();
    let changed = IntegrationCredential {
        aws: Some(renamed),
        ..made.clone()
    };
    let Changed::Done(updated) = store.update(&changed, now(), "key-1").await.unwrap() else {
        panic!()
    };
    let role = updated.aws.unwrap();
    assert_eq!(
        (role.role_name.as_str(), role.external_id.as_str()),
        ("Other", "external-1")
    );
    assert_eq!(
        store.update(&changed, now(), "key-2").await.unwrap(),
        Changed::Version(2)
    );
    assert!(store.delete(&organization(), &made.id).await.unwrap().is_some());
    assert!(store.get(&organization(), &made.id).await.unwrap().is_none());
    assert!(world.fakes.lock().unwrap().secrets.is_empty());
}

#[tokio::test]
async fn runs_are_listed_and_never_go_back() {
    let world = world().await;
    let store = &world.outbill.runs;
    let run = |minute: i64, bill: &str, version: i64, status: RunStatus| IntegrationRun {
        id: RunId::new(world.outbill.ids.text(now() + SignedDuration::from_mins(minute))).unwrap(),
        organization: organization(),
        entity_type: "Bill".to_owned(),
        entity_id: bill.to_owned(),
        status,
        destination: DestinationKind::Aws,
        destination_id: Some("configuration-1".to_owned()),
        started: now() + SignedDuration::from_mins(minute),
        completed: None,
        error: None,
        external_id: None,
        replayed_from: None,
        version,
    };
    let runs: Vec<_> = (0..6)
        .map(|n| run(n, if n % 2 == 0 { "b1" } else { "b2" }, 1, RunStatus::Started))
        .collect();
    for run in &runs {
        store.save(run).await.unwrap();
    }
    let done = IntegrationRun {
        status: RunStatus::Complete,
        version: 2,
        completed: Some(now()),
        ..runs[0].clone()
    };
    store.save(&done).await.unwrap();
    store.save(&runs[0]).await.unwrap();
    assert_eq!(store.get(&organization(), &done.id).await.unwrap(), Some(done.clone()));
    assert_eq!(
        store.latest(&organization(), "Bill", "b1").await.unwrap(),
        Some(runs[4].clone())
    );
    assert_eq!(store.latest(&organization(), "Bill", "b9").await.unwrap(), None);

    let ids = |found: Vec<IntegrationRun>| found.into_iter().map(|run| run.id).collect::<Vec<_>>();
    let check = async |filter: RunFilter, expect: &[usize]| {
        let (mut found, mut page) = (Vec::new(), whole(2));
        loop {
            let part = store
                .list_by_destination(&organization(), "configuration-1", &filter, &page)
                .await
                .unwrap();
            found.extend(part.items);
            match part.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        assert_eq!(
            ids(found),
            expect.iter().map(|at| runs[*at].id.clone()).collect::<Vec<_>>()
        );
    };
    check(RunFilter::all(), &[5, 4, 3, 2, 1, 0]).await;
    check(
        RunFilter {
            order: Order::Ascending,
            ..RunFilter::all()
        },
        &[0, 1, 2, 3, 4, 5],
    )
    .await;
    check(
        RunFilter {
            status: Some(RunStatus::Complete),
            ..RunFilter::all()
        },
        &[0],
    )
    .await;
    let (after, until) = (Some(runs[1].started), Some(runs[3].started));
    check(
        RunFilter {
            started_after: after,
            started_until: until,
            ..RunFilter::all()
        },
        &[3, 2],
    )
    .await;
    let of_bill = store
        .list_by_entity(&organization(), ("Bill", "b2"), &RunFilter::all(), &EVERY)
        .await
        .unwrap();
    assert_eq!(
        ids(of_bill.items),
        [runs[5].id.clone(), runs[3].id.clone(), runs[1].id.clone()]
    );
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
        let found = store.list(&organization(), &filter, &EVERY).await.unwrap();
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
    const WHAT: &str = "MAPPING#Account#a1";
    let put = async |bill: &BillId, id: &str, head: &str| {
        store.put(&organization(), WHAT, bill, &run(id), head).await.unwrap();
    };
    put(&bill, "r1", "0001").await;
    put(&bill, "r3", "0003").await;
    put(&bill, "r2", "0002").await;
    put(&other, "r4", "0001").await;
    let waiting = store.take(&organization(), WHAT).await.unwrap();
    assert_eq!(waiting, [(bill.clone(), run("r3")), (other.clone(), run("r4"))]);
    put(&bill, "r5", "0005").await;
    store.remove(&organization(), WHAT, &bill, &run("r3")).await.unwrap();
    store.remove(&organization(), WHAT, &other, &run("r4")).await.unwrap();
    store.remove(&organization(), WHAT, &other, &run("r4")).await.unwrap();
    assert_eq!(store.take(&organization(), WHAT).await.unwrap(), [(bill, run("r5"))]);
    assert!(store.take(&organization(), "CONFIG#1").await.unwrap().is_empty());
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
