//! What waited is queued, however often a call has to be repeated until all of it is.

mod common;

use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use common::*;
use outbill::{
    Outbill,
    effects::{queue::BillQueue, waiting::Awaited},
};
use serde_json::{Value, json};

/// A queue that takes so many more batches, and what it took.
struct Batches {
    left: usize,
    taken: Vec<Value>,
}

type Shared = Arc<Mutex<Batches>>;

async fn answer(State(batches): State<Shared>, body: String) -> (StatusCode, Json<Value>) {
    let batch: Value = serde_json::from_str(&body).unwrap();
    let entries = batch["Entries"].as_array().unwrap();
    let mut batches = batches.lock().unwrap();
    if batches.left == 0 {
        return (StatusCode::BAD_REQUEST, Json(json!({"__type": "OverLimit"})));
    }
    batches.left -= 1;
    for entry in entries {
        let body = entry["MessageBody"].as_str().unwrap();
        batches.taken.push(serde_json::from_str(body).unwrap());
    }
    let done = |entry: &Value| json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": ""});
    let done: Vec<Value> = entries.iter().map(done).collect();
    (StatusCode::OK, Json(json!({"Successful": done, "Failed": []})))
}

/// The API in front of such a queue.
async fn with_batches() -> (Api, Shared) {
    let batches = Arc::new(Mutex::new(Batches {
        left: usize::MAX,
        taken: Vec::new(),
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&batches));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let credentials = aws_credential_types::Credentials::for_tests();
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&url)
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
            credentials,
        ))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let mut api = api().await;
    let outbill = Outbill {
        queue: BillQueue::new(
            aws_sdk_sqs::Client::new(&sdk),
            format!("{url}/000000000000/bills"),
            api.world.outbill.bodies.clone(),
        ),
        ..api.world.outbill.clone()
    };
    let clock = Arc::clone(&api.clock);
    api.router = api::router(outbill, Arc::new(move || *clock.lock().unwrap()));
    (api, batches)
}

fn takes(batches: &Shared, left: usize) {
    batches.lock().unwrap().left = left;
}

/// The runs that were queued since the last time.
fn runs(batches: &Shared) -> Vec<String> {
    let taken = std::mem::take(&mut batches.lock().unwrap().taken);
    let run = |message: &Value| message["integrationRunId"].as_str().unwrap().to_owned();
    taken.iter().map(run).collect()
}

#[tokio::test]
async fn a_repeat_goes_on_where_the_call_before_it_ended() {
    let (api, batches) = with_batches().await;
    let made = api.good("POST", "integrationconfigs", configuration()).await;
    let id = made["id"].as_str().unwrap();
    let enable = format!("integrationconfigs/{id}/enable");
    let names = |from: usize, to: usize| -> Vec<String> { (from..to).map(|number| format!("r{number:03}")).collect() };
    for (number, run) in names(0, 250).iter().enumerate() {
        api.wait_for(&of_configuration(id), &format!("b{number:03}"), run).await;
    }
    // Ten messages a batch.
    takes(&batches, 15);
    api.bad(502, &["try again"], "POST", &enable, Value::Null).await;
    assert_eq!(runs(&batches), names(0, 150));
    takes(&batches, usize::MAX);
    api.good("POST", &enable, Value::Null).await;
    assert_eq!(
        runs(&batches),
        names(100, 250),
        "a hundred had been taken from the list"
    );
    api.good("POST", &enable, Value::Null).await;
    assert_eq!(runs(&batches), names(0, 0));
}

/// A change is stored and the queue fails; its repeat is refused with `status`, and queues what waits.
async fn check(api: &Api, batches: &Shared, what: &Awaited, status: u16, (method, path, body): (&str, &str, Value)) {
    api.wait_for(what, "b1", "r1").await;
    takes(batches, 0);
    api.bad(502, &["try again"], method, path, body.clone()).await;
    assert_eq!(runs(batches), Vec::<String>::new(), "{method} {path}");
    takes(batches, usize::MAX);
    api.bad(status, &[], method, path, body).await;
    assert_eq!(runs(batches), ["r1"], "{method} {path}");
}

#[tokio::test]
async fn a_repeat_that_is_refused_queues_what_the_first_call_could_not() {
    let (api, batches) = with_batches().await;
    let mapping = json!({
        "m3terEntity": "account", "m3terId": "a1", "externalSystem": "aws", "externalTable": "Customer",
        "externalId": "123456789012"
    });
    let of_account = of_account("a1");
    let create = ("POST", "externalmappings", mapping.clone());
    check(&api, &batches, &of_account, 400, create).await;
    let listed = api.good("GET", "externalmappings", Value::Null).await;
    let path = format!("externalmappings/{}", listed["data"][0]["id"].as_str().unwrap());
    let change = with(mapping, json!({"externalId": "111111111111", "version": 1}));
    check(&api, &batches, &of_account, 400, ("PUT", path.as_str(), change)).await;

    let role = json!({"type": "AWS_INTEGRATION", "accountId": "123456789012", "roleName": "Metering"});
    let credential = api.good("POST", "integrationcredentials", role.clone()).await;
    let connected = with(configuration(), json!({"integrationCredentialsId": credential["id"]}));
    let made = api.good("POST", "integrationconfigs", connected.clone()).await;
    let of_configuration = of_configuration(made["id"].as_str().unwrap());
    let path = format!("integrationconfigs/{}", made["id"].as_str().unwrap());
    let change = ("PUT", path.as_str(), with(connected, json!({"version": 1})));
    check(&api, &batches, &of_configuration, 400, change).await;
    let of_credential = format!("integrationcredentials/{}", credential["id"].as_str().unwrap());
    let change = ("PUT", of_credential.as_str(), with(role, json!({"version": 1})));
    check(&api, &batches, &of_configuration, 400, change).await;
    // What waits for a configuration that is gone would wait for ever.
    check(
        &api,
        &batches,
        &of_configuration,
        404,
        ("DELETE", path.as_str(), Value::Null),
    )
    .await;
}
