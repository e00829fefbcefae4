//! A sandbox with a toy function, and AWS's own clients pointed at it.

#![allow(dead_code, reason = "every test program uses another part")]

pub mod stage;

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use futures::FutureExt;
use jiff::Timestamp;
use sandbox::{BuildError, Functions, Options, Sandbox, Surroundings};
use serde_json::Value;

pub const NOW: &str = "2026-03-10T10:30:00Z";

/// A sandbox around a closure that says for each message whether it was handled.
pub async fn sandbox_with(
    options: Options,
    handle: impl Fn(&str, Timestamp) -> bool + Send + Sync + 'static,
) -> Sandbox {
    let handle = Arc::new(handle);
    let options = Options {
        start_at: Some(NOW.parse().unwrap()),
        ..options
    };
    let build = move |_: Surroundings| async move {
        Ok::<_, BuildError>(Functions {
            dispatch: Arc::new(move |event: SqsEvent, now| {
                let handle = handle.clone();
                async move {
                    let mut answer = SqsBatchResponse::default();
                    for record in event.records {
                        if !handle(record.body.as_deref().unwrap(), now) {
                            let mut failure = BatchItemFailure::default();
                            failure.item_identifier = record.message_id.unwrap();
                            answer.batch_item_failures.push(failure);
                        }
                    }
                    answer
                }
                .boxed()
            }),
            reconcile: sandbox::no_reconcile(),
            api: axum::Router::new().fallback(async || "the API"),
        })
    };
    Sandbox::start(options, build).await.unwrap()
}

/// A sandbox in memory whose function handles everything.
pub async fn sandbox() -> Sandbox {
    sandbox_with(Options::for_tests(), |_, _| true).await
}

/// The configuration of every SDK client: no repeats, so that a fault is seen.
pub async fn sdk(sandbox: &Sandbox) -> SdkConfig {
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(&sandbox.addresses().aws)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .load()
        .await
}

/// Calls a control.
pub async fn control(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .request(
            method.parse().unwrap(),
            format!("{}{path}", sandbox.addresses().controls),
        )
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (status, body)
}

/// A client of a table `outbill` with the key `PK`.
pub async fn table(sandbox: &Sandbox) -> aws_sdk_dynamodb::Client {
    let client = aws_sdk_dynamodb::Client::new(&sdk(sandbox).await);
    client
        .create_table()
        .table_name("outbill")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(
            AttributeDefinition::builder()
                .attribute_name("PK")
                .attribute_type(ScalarAttributeType::S)
                .build()
                .unwrap(),
        )
        .key_schema(
            KeySchemaElement::builder()
                .attribute_name("PK")
                .key_type(KeyType::Hash)
                .build()
                .unwrap(),
        )
        .send()
        .await
        .unwrap();
    client
}
