//! Every store against a real DynamoDB engine: what is written is read, done twice is done once, and races have one winner.

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
    effects::{
        configurations::{Changed, FailureCount},
        mappings::Stored,
        runs::RunFilter,
        table::{Order, PageRequest},
    },
    values::{
        configuration::{Audit, DestinationKind, IntegrationConfiguration},
        credential::{AWS_INTEGRATION, AwsRole, IntegrationCredential},
        ids::{ConfigurationId, CredentialId, OrganizationId, RunId},
        mapping::ExternalMapping,
        run::{IntegrationRun, RunStatus},
    },
};
use serde_json::Value;
use support::{World, world};

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
    // By those who have not seen it, be it the same change at the same instant.
    for by in ["key-2", "key-3"] {
        assert_eq!(store.update(&changed, later, by).await.unwrap(), Changed::Version(2));
    }

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
        entity_version: "1".to_owned(),
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
