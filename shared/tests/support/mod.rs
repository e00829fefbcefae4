//! A table, secrets and queues to test on: DynamoDB from an embedded engine, the other two as small as the tests need them.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use axum::{Json, Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use outbill::{Environment, Outbill, effects::table};
use serde_json::{Value, json};

pub const QUEUE: &str = "bills";
pub const DEAD: &str = "dead";

#[derive(Default)]
pub struct Fakes {
    pub secrets: BTreeMap<String, String>,
    /// Queue name, body, and the attribute `reason` if there is one.
    pub messages: Vec<(String, String, Option<String>)>,
    /// The next batch fails for its first message.
    pub fail_in_batch: usize,
}

#[derive(Clone)]
pub struct World {
    pub outbill: Outbill,
    pub fakes: Arc<Mutex<Fakes>>,
}

pub async fn world() -> World {
    let database = dynoxide::Database::memory().unwrap();
    let dynamodb = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dynamodb_url = format!("http://{}", dynamodb.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(dynamodb, database));

    let fakes = Arc::new(Mutex::new(Fakes::default()));
    let others = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let others_url = format!("http://{}", others.local_addr().unwrap());
    let app = Router::new().route("/", post(answer)).with_state(fakes.clone());
    tokio::spawn(async move { axum::serve(others, app).await.unwrap() });

    let sdk = sdk(&others_url);
    let client = aws_sdk_dynamodb::Client::from_conf(
        aws_sdk_dynamodb::config::Builder::from(&sdk)
            .endpoint_url(&dynamodb_url)
            .build(),
    );
    table::definition()
        .unwrap()
        .table_name("outbill")
        .send_with(&client)
        .await
        .unwrap();
    let environment = Environment::read(|name| match name {
        "OUTBILL_TABLE" => Some("outbill".to_owned()),
        "OUTBILL_BILL_QUEUE_URL" => Some(format!("{others_url}/000000000000/{QUEUE}")),
        _ => None,
    });
    let mut connected = Outbill::connect(&sdk, &environment.unwrap());
    connected = with_table(connected, client, &others_url);
    World {
        outbill: connected,
        fakes,
    }
}

/// The SDK takes one endpoint for all services; the table has its own.
fn with_table(connected: Outbill, client: aws_sdk_dynamodb::Client, others_url: &str) -> Outbill {
    use outbill::effects::{
        attempts::Attempts, bodies::Bodies, configurations::Configurations, credentials::Credentials, events::Events,
        freeze::Freeze, mappings::Mappings, queue::BillQueue, runs::Runs, table::Table, waiting::Waiting,
    };
    let table = Table::new(client, "outbill");
    let ids = connected.ids.clone();
    let bodies = Bodies::new(table.clone(), ids.clone());
    let sqs = aws_sdk_sqs::Client::new(&sdk(others_url));
    Outbill {
        attempts: Attempts::new(table.clone()),
        configurations: Configurations::new(table.clone()),
        freeze: Freeze::new(table.clone()),
        mappings: Mappings::new(table.clone()),
        credentials: Credentials::new(table.clone(), connected.secrets.clone()),
        runs: Runs::new(table.clone(), ids.clone()),
        events: Events::new(table.clone(), ids),
        waiting: Waiting::new(table.clone()),
        queue: BillQueue::new(sqs, format!("{others_url}/000000000000/{QUEUE}"), bodies.clone()),
        bodies,
        table,
        ..connected
    }
}

fn sdk(url: &str) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new().build_http();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
            Credentials::for_tests(),
        ))
        .http_client(http)
        .build()
}

async fn answer(
    State(fakes): State<Arc<Mutex<Fakes>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Json<Value>) {
    let target = headers.get("x-amz-target").unwrap().to_str().unwrap().to_owned();
    let input: Value = serde_json::from_slice(&body).unwrap();
    let mut fakes = fakes.lock().unwrap();
    let (service, action) = target.split_once('.').unwrap();
    let outcome = match service {
        "secretsmanager" => secrets(&mut fakes, action, &input),
        "AmazonSQS" => queues(&mut fakes, action, &input),
        _ => Err("UnknownService"),
    };
    match outcome {
        Ok(output) => (StatusCode::OK, HeaderMap::new(), Json(output)),
        Err(kind) => (
            StatusCode::BAD_REQUEST,
            HeaderMap::new(),
            Json(json!({"__type": kind, "message": kind})),
        ),
    }
}

fn secrets(fakes: &mut Fakes, action: &str, input: &Value) -> Result<Value, &'static str> {
    let name = input
        .get("SecretId")
        .or(input.get("Name"))
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    let given = input.get("SecretString").and_then(Value::as_str).map(str::to_owned);
    let exists = fakes.secrets.contains_key(&name);
    match (action, exists) {
        ("CreateSecret", true) => Err("ResourceExistsException"),
        ("CreateSecret", false) | ("PutSecretValue", true) => {
            fakes.secrets.insert(name, given.unwrap());
            Ok(json!({}))
        }
        ("GetSecretValue", true) if input["VersionStage"] == "AWSPREVIOUS" => Err("ResourceNotFoundException"),
        ("GetSecretValue", true) => {
            Ok(json!({"SecretString": fakes.secrets[&name], "VersionId": "version-1", "CreatedDate": 0}))
        }
        ("DeleteSecret", true) => {
            fakes.secrets.remove(&name);
            Ok(json!({}))
        }
        (_, false) => Err("ResourceNotFoundException"),
        (_, true) => Err("UnknownAction"),
    }
}

fn queues(fakes: &mut Fakes, action: &str, input: &Value) -> Result<Value, &'static str> {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let queue = text(input, "QueueUrl").rsplit('/').next().unwrap().to_owned();
    match action {
        "SendMessage" => {
            let reason = input["MessageAttributes"]["reason"]["StringValue"]
                .as_str()
                .map(str::to_owned);
            let size = text(input, "MessageBody").len() + reason.as_deref().map_or(0, |reason| reason.len() + 12);
            if size > 1024 * 1024 {
                return Err("InvalidMessageContents");
            }
            fakes.messages.push((queue, text(input, "MessageBody"), reason));
            Ok(json!({"MessageId": "message-1", "MD5OfMessageBody": ""}))
        }
        "SendMessageBatch" => {
            let (mut done, mut failed) = (Vec::new(), Vec::new());
            let entries = input["Entries"].as_array().unwrap();
            assert!(entries.len() <= 10);
            for entry in entries {
                if fakes.fail_in_batch > 0 {
                    fakes.fail_in_batch -= 1;
                    failed.push(json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"}));
                    continue;
                }
                fakes.messages.push((queue.clone(), text(entry, "MessageBody"), None));
                done.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": ""}));
            }
            Ok(json!({"Successful": done, "Failed": failed}))
        }
        "GetQueueAttributes" => {
            let policy = json!({"deadLetterTargetArn": format!("arn:aws:sqs:us-east-1:000000000000:{DEAD}")});
            Ok(json!({"Attributes": {"RedrivePolicy": policy.to_string()}}))
        }
        "GetQueueUrl" => {
            Ok(json!({"QueueUrl": format!("http://queues.test/000000000000/{}", text(input, "QueueName"))}))
        }
        _ => Err("UnknownAction"),
    }
}
