//! The usage report: which bills are in it, and that a page of it fits into one answer of Lambda's.

mod common;

use std::{collections::HashMap, sync::Arc};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use common::*;
use outbill::{
    Outbill,
    decisions::advance::{self, Advance},
    effects::{
        ledger::Ledger,
        table::{self, Table},
        usage::Usage,
    },
    values::{
        bill::{BillReference, Head},
        ids::{AccountId, BillId, ConfigurationId},
        manifest::Manifest,
    },
};
use serde_json::Value;

//= https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
//# Invocation payload (request and response): 6 MB each for synchronous
const PAYLOAD_BYTES_MAX: usize = 6_000_000;
const REPORT: &str = "integrationdestinations/marketplace/usageReport";

/// The API in front of a table that the test writes as it likes.
async fn with_table() -> (Api, Client) {
    let database = dynoxide::Database::memory().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(dynoxide::server::serve_on(listener, database));
    let configuration = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(url)
        .credentials_provider(aws_credential_types::Credentials::for_tests())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(configuration);
    let definition = table::definition().unwrap().table_name("usage");
    definition.send_with(&client).await.unwrap();
    let mut api = api().await;
    let outbill = Outbill {
        usage: Usage::new(Table::new(client.clone(), "usage")),
        ..api.world.outbill.clone()
    };
    let clock = Arc::clone(&api.clock);
    api.router = api::router(outbill, Arc::new(move || *clock.lock().unwrap()));
    (api, client)
}

async fn put(client: &Client, row: &[(&str, &str)]) {
    let text = |(name, value): &(&str, &str)| ((*name).to_owned(), AttributeValue::S((*value).to_owned()));
    let mut row: HashMap<String, AttributeValue> = row.iter().map(text).collect();
    row.insert("units".to_owned(), AttributeValue::N("7".to_owned()));
    let request = client.put_item().table_name("usage").set_item(Some(row));
    request.send().await.unwrap();
}

/// A bill with the usage of so many dimensions, each of which has a name of 100 kB.
async fn bill(client: &Client, number: usize, dimensions: usize) {
    let id = format!("bill-{number}");
    let place = format!("2025-06-0{number}T10:00:00Z#{id}");
    let list = format!("ORG#{ORGANIZATION}#BILLS");
    let row = [
        ("PK", list.as_str()),
        ("SK", place.as_str()),
        ("bill", id.as_str()),
        ("account", "a1"),
    ];
    put(client, &row).await;
    let partition = format!("BILL#{ORGANIZATION}#{id}");
    for dimension in 0..dimensions {
        let (place, name) = (
            format!("USAGE#{dimension:03}"),
            format!("{dimension:02}").repeat(50_000),
        );
        let row = [
            ("PK", partition.as_str()),
            ("SK", place.as_str()),
            ("dimension", name.as_str()),
            ("hour", "2025-06-10T10"),
        ];
        put(client, &row).await;
    }
}

/// The bills of a page, in a row.
fn bills(page: &Value) -> String {
    let bills = page["data"].as_array().unwrap().iter();
    let bills: Vec<&str> = bills.map(|bill| bill["billId"].as_str().unwrap()).collect();
    bills.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_before_it_is_too_large() {
    let (api, client) = with_table().await;
    // Newest first: 7, 6, 5, …; 3 alone is more than a page may have.
    for (number, dimensions) in [(1, 15), (2, 0), (3, 45), (4, 15), (5, 15), (6, 15), (7, 15)] {
        bill(&client, number, dimensions).await;
    }
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let page = api.good("GET", &format!("{REPORT}{token}"), Value::Null).await;
        assert!(page.to_string().len() < PAYLOAD_BYTES_MAX);
        pages.push(bills(&page));
        match page["nextToken"].as_str() {
            Some(next) => token = format!("?nextToken={next}"),
            None => break,
        }
    }
    assert_eq!(pages, ["bill-7 bill-6", "bill-5 bill-4", "bill-3", "bill-2 bill-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_that_was_deleted_before_it_was_metered_is_reported_nowhere() {
    let (api, client) = with_table().await;
    let ledger = Ledger::new(Table::new(client, "usage"));
    let account = AccountId::new("a1").unwrap();
    let owner = ConfigurationId::new("c1").unwrap();
    for (id, owner) in [("metered", Some(owner)), ("deleted", None)] {
        let (organization, bill) = (organization(), BillId::new(id).unwrap());
        let bill = BillReference { organization, bill };
        let deleted = advance::delete(None, &bill, Head::Version(1), Some(&account), now());
        let Advance::Changed { manifest, .. } = deleted else {
            panic!("the deletion of {id} changed nothing")
        };
        let manifest = Manifest { owner, ..*manifest };
        assert!(ledger.advance(&manifest).await.unwrap());
    }
    for (query, expect) in [
        ("", "metered"),
        ("?accountId=a1", "metered"),
        ("?billId=metered", "metered"),
        ("?billId=metered&accountId=a2", ""),
        ("?billId=deleted", ""),
        ("?billId=deleted&accountId=a1", ""),
        ("?billId=unknown", ""),
    ] {
        let page = api.good("GET", &format!("{REPORT}{query}"), Value::Null).await;
        assert_eq!(bills(&page), expect, "{query}");
    }
}
