//! DynamoDB's limits and failures, which the embedded engine and the gate before it share out.

mod common;

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use common::{sandbox, table};
use sandbox::{Fault, FaultKind, Service};

fn put(key: &str, bytes: usize) -> TransactWriteItem {
    let put = Put::builder()
        .table_name("outbill")
        .item("PK", AttributeValue::S(key.to_owned()))
        .item("text", AttributeValue::S("x".repeat(bytes)))
        .build()
        .unwrap();
    TransactWriteItem::builder().put(put).build()
}

#[tokio::test]
async fn dynamodb_enforces_its_limits() {
    let sandbox = sandbox().await;
    let client = table(&sandbox).await;
    for (name, items, is_accepted) in [
        ("100 actions", vec![1; 100], true),
        ("101 actions", vec![1; 101], false),
        ("an item of 400 KB", vec![409_600], false),
        ("just below 400 KB", vec![409_000], true),
        ("4 MB", vec![400_000; 11], false),
    ] {
        let actions = items
            .iter()
            .enumerate()
            .map(|(index, bytes)| put(&index.to_string(), *bytes))
            .collect();
        let answer = client
            .transact_write_items()
            .set_transact_items(Some(actions))
            .send()
            .await;
        assert_eq!(answer.is_ok(), is_accepted, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn dynamodb_conflicts_and_loses_answers_on_request() {
    let sandbox = sandbox().await;
    let client = table(&sandbox).await;
    sandbox
        .faults(vec![
            Fault::new(Service::DynamoDb, FaultKind::Conflict, 1),
            Fault {
                action: Some("TransactWriteItems".to_owned()),
                ..Fault::new(Service::DynamoDb, FaultKind::LostAnswer, 1)
            },
        ])
        .unwrap();
    let write = async || client.transact_write_items().transact_items(put("key", 1)).send().await;
    let count = async || client.scan().table_name("outbill").send().await.unwrap().count();
    let error = write().await.unwrap_err().into_service_error();
    assert!(error.is_transaction_canceled_exception(), "{error:?}");
    assert_eq!(count().await, 0);
    assert!(write().await.unwrap_err().raw_response().is_none());
    assert_eq!(count().await, 1);
}
