//! What a folder keeps, and what stops a sandbox from starting.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use common::{NOW, control, sandbox_with, sdk, table};
use jiff::{SignedDuration, Timestamp};
use sandbox::{Options, StartError};
use serde_json::json;
use tokio::sync::Notify;

/// A thousand times what a server that is cut off takes to end.
const LETS_GO_WITHIN: Duration = Duration::from_secs(1);

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

#[tokio::test]
async fn a_folder_keeps_everything_and_belongs_to_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options {
        data: Some(folder.path().to_owned()),
        ..Options::for_tests()
    };
    let sandbox = sandbox_with(options(), |_, _| false).await;
    let key = sandbox.access_key().clone();
    sandbox.advance(SignedDuration::from_secs(60)).await.unwrap();
    let usage = r#"{"region":"us-east-1","productCode":"p","customer":"c","dimension":"d","hour":"2026-03-10T10:00:00Z","quantity":3}"#;
    control(&sandbox, "POST", "/foreign-usage", usage).await;
    sandbox.send(&json!("given up")).await.unwrap();
    aws_sdk_secretsmanager::Client::new(&sdk(&sandbox).await)
        .create_secret()
        .name("secret")
        .secret_string("value")
        .send()
        .await
        .unwrap();
    let bill = r#"{"bills":[{"id":"b","amount":0.1000000000000000055}]}"#;
    control(&sandbox, "POST", "/m3ter", bill).await;
    table(&sandbox)
        .await
        .put_item()
        .table_name("outbill")
        .item("PK", AttributeValue::S("kept".to_owned()))
        .send()
        .await
        .unwrap();
    let second = sandbox::Sandbox::start(options(), sandbox::functions::build).await;
    assert!(matches!(second.unwrap_err(), StartError::InUse(_)));
    sandbox.stop().await;

    let again = sandbox_with(options(), |_, _| true).await;
    assert_eq!(again.access_key(), &key);
    assert_eq!(again.clock().now(), at(NOW) + SignedDuration::from_secs(60));
    assert_eq!(again.marketplace().billed()[0].quantity, 3);
    assert_eq!(again.dead_letters()[0].body, "\"given up\"");
    let secret = aws_sdk_secretsmanager::Client::new(&sdk(&again).await)
        .get_secret_value()
        .secret_id("secret")
        .send()
        .await
        .unwrap();
    assert_eq!(secret.secret_string(), Some("value"));
    let (_, m3ter) = control(&again, "GET", "/m3ter", "").await;
    assert_eq!(m3ter["bills"][0]["amount"].to_string(), "0.1000000000000000055");
    let items = aws_sdk_dynamodb::Client::new(&sdk(&again).await)
        .scan()
        .table_name("outbill")
        .send()
        .await
        .unwrap();
    assert_eq!(items.count(), 1);
}

#[tokio::test]
async fn a_message_that_was_being_handled_comes_again_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options {
        data: Some(folder.path().to_owned()),
        ..Options::for_tests()
    };
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let build = |_| async move {
        Ok(sandbox::Functions {
            dispatch: Arc::new(move |_, _| {
                begins.notify_one();
                Box::pin(std::future::pending())
            }),
            reconcile: sandbox::no_reconcile(),
            api: axum::Router::new(),
        })
    };
    let sandbox = sandbox::Sandbox::start(options(), build).await.unwrap();
    let message = json!("in flight");
    tokio::select! {
        handled = sandbox.send(&message) => panic!("{handled:?}"),
        () = begun.notified() => {}
    }
    assert_eq!(sandbox.queue()[0].receive_count, 1);
    drop(sandbox);
    // The servers that were cut off let go of the folder in their own time.
    tokio::time::sleep(LETS_GO_WITHIN).await;

    let handled = Arc::new(AtomicU32::new(0));
    let counter = handled.clone();
    let again = sandbox_with(options(), move |body, _| {
        assert_eq!(body, "\"in flight\"");
        counter.fetch_add(1, Ordering::SeqCst);
        true
    })
    .await;
    assert_eq!(handled.load(Ordering::SeqCst), 1);
    assert!(again.queue().is_empty());
}

#[tokio::test]
async fn a_taken_port_and_a_bad_folder_are_named() {
    let taken = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = tempfile::NamedTempFile::new().unwrap();
    for (options, expected) in [
        (
            Options {
                port,
                ..Options::for_tests()
            },
            format!("port {port} cannot be used"),
        ),
        (
            Options {
                port: 65535,
                ..Options::for_tests()
            },
            "port 65535 is too high".to_owned(),
        ),
        (
            Options {
                data: Some(file.path().to_owned()),
                ..Options::for_tests()
            },
            format!("the folder {} cannot be used", file.path().display()),
        ),
    ] {
        let error = sandbox::Sandbox::start(options, sandbox::functions::build)
            .await
            .unwrap_err();
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}
