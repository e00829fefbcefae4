//! What is far back in a list is found: m3ter's SDKs take an empty page for the end, whatever its token says.

mod common;

use common::*;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

/// More than are looked at for a page that has something.
const NEWER: usize = 2_001;

async fn raise(api: &Api, name: &str) -> String {
    let event = json!({"eventData": {"newDto": {"entityId": "b1"}}});
    let raised = api
        .world
        .outbill
        .events
        .raise(&organization(), now(), name, event)
        .await;
    raised.unwrap()
}

fn ids(page: &Value) -> Vec<String> {
    let events = page["data"].as_array().unwrap().iter();
    events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_what_is_older_than_everything_on_the_first_page() {
    let api = api().await;
    let oldest = raise(&api, "integration.validation.error").await;
    let newer = (0..NEWER).map(|_| raise(&api, "integration.perform.error"));
    let newer: Vec<String> = stream::iter(newer).buffer_unordered(32).collect().await;
    let filter = "events?eventName=integration.validation.error";
    let page = api.good("GET", filter, Value::Null).await;
    assert_eq!(ids(&page), [oldest.as_str()]);
    // What there is ends the page: the way on is in its token.
    let newest = newer.iter().max().unwrap();
    let page = api.good("GET", "events?pageSize=1", Value::Null).await;
    assert_eq!(
        (ids(&page), page["nextToken"].is_string()),
        (vec![newest.clone()], true)
    );

    // Named ones are read by their ids, newest first.
    let named = format!("events?ids={oldest},none,{newest},{oldest}&pageSize=1");
    let page = api.good("GET", &named, Value::Null).await;
    assert_eq!(ids(&page), [newest.as_str()]);
    let token = page["nextToken"].as_str().unwrap();
    let page = api
        .good("GET", &format!("{named}&nextToken={token}"), Value::Null)
        .await;
    assert_eq!((ids(&page), page.get("nextToken")), (vec![oldest], None));
    let far_too_long = format!("events?ids={}", "x".repeat(3_000));
    assert_eq!(api.good("GET", &far_too_long, Value::Null).await, json!({"data": []}));
}
