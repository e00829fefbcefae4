//! What a hundred bills cost in requests, in one batch. `cargo test -p sandbox --test hundred_bills -- --nocapture` prints the figures.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use jiff::SignedDuration;
use sandbox::requests::Counts;
use sandbox::seller::Seller;
use sandbox::{Dispatch, Options, Sandbox, functions};
use serde_json::{Value, json};

const BILLS: usize = 100;

/// A kind of request, how many of it, and why.
type Asked = (&'static str, u64, &'static str);

/// What is asked of DynamoDB for a hundred bills that were metered before, in a process that has just started. More dimensions make more look-ups
/// of products and more receipts, and nothing else. A change that spends more fails here; one that spends less is written down here.
fn asked(queries: u64, transactions: u64) -> [Asked; 7] {
    [
        (
            "BatchGetItem",
            101,
            "a bill's usage keys and its units on them; once the manifests of all bills",
        ),
        ("BatchWriteItem", 4, "the runs' logs, 25 at once"),
        ("DescribeTable", 1, "whether the table is a restored copy"),
        ("GetItem", 1, "the credential"),
        ("PutItem", 100, "a run"),
        (
            "Query",
            queries,
            "an account's mappings; once the configurations, each product's mapping, failing connections, the table's identity",
        ),
        (
            "TransactWriteItems",
            transactions,
            "a manifest's new head with the claims of its keys; receipts, 50 or more at once",
        ),
    ]
}

fn bill(organization: &str, index: usize, version: i64, dimensions: usize, cents: usize) -> String {
    let amount: Value = serde_json::from_str(&format!("{}.{:02}", cents / 100, cents % 100)).unwrap();
    let line = |product: usize| json!({ "lineItemType": "USAGE", "productId": format!("product-{product}"), "currency": "USD", "convertedSubtotal": amount });
    let lines: Vec<Value> = (0..dimensions).map(line).collect();
    let bill = json!({
        "id": format!("bill-{index}"), "accountId": format!("account-{index}"), "version": version, "currency": "USD",
        "startDate": "2025-06-01", "endDateTimeUTC": "2025-07-01T00:00:00Z", "lineItems": lines,
    });
    json!({ "orgId": organization, "bill": bill }).to_string()
}

fn batch(bodies: impl Iterator<Item = String>) -> SqsEvent {
    let message = |(index, body): (usize, String)| {
        let mut message = SqsMessage::default();
        message.message_id = Some(format!("message-{index}"));
        message.body = Some(body);
        message.attributes = HashMap::from([("ApproximateReceiveCount".to_owned(), "1".to_owned())]);
        message
    };
    let mut event = SqsEvent::default();
    event.records = bodies.enumerate().map(message).collect();
    event
}

fn print(title: &str, counts: &Counts, why: &[Asked]) {
    println!("{title}");
    for (service, actions) in counts {
        for (action, count) in actions {
            let why = why
                .iter()
                .find(|(name, _, _)| name == action)
                .map_or("", |(_, _, why)| why);
            println!("  {service:<10} {action:<20} {count:>5}  {why}");
        }
    }
    let asked: u64 = counts["dynamodb"].values().sum();
    println!("  of DynamoDB in all              {asked:>5}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_bills_of_one_dimension_in_one_batch() {
    hundred(1, 4, &asked(104, 102)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_bills_of_ten_dimensions_in_one_batch() {
    hundred(10, 40, &asked(113, 120)).await;
}

/// Sends the bills and, an hour later, newer versions of them.
async fn hundred(dimensions: usize, metering_calls: u64, expect: &[Asked]) {
    let options = Options {
        start_at: "2025-06-10T10:02:00Z".parse().ok(),
        ..Options::for_tests()
    };
    let dispatch: Arc<Mutex<Option<Dispatch>>> = Arc::default();
    let kept = dispatch.clone();
    let sandbox = Sandbox::start(options, |surroundings| async move {
        let functions = functions::build(surroundings).await?;
        *kept.lock().unwrap() = Some(functions.dispatch.clone());
        Ok(functions)
    })
    .await
    .unwrap();
    let dispatch = dispatch.lock().unwrap().clone().unwrap();
    let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key())
        .await
        .unwrap();
    let credential = json!({ "type": "AWS_INTEGRATION", "destination": "AWS" });
    let credential = seller.post("integrationcredentials", &credential).await.unwrap();
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": "bills", "integrationCredentialsId": credential["id"],
        "configData": { "splitUsageLineItems": "ITEM_PER_PRODUCT" },
    });
    seller.post("integrationconfigs", &configuration).await.unwrap();
    let map = async |entity: &str, id: String, table: &str, external_id: String| {
        let mapping = json!({ "m3terEntity": entity, "m3terId": id, "externalSystem": "AWS", "externalTable": table, "externalId": external_id });
        seller.post("externalmappings", &mapping).await.unwrap();
    };
    for product in 0..dimensions {
        let dimension = format!("3mgmp9q6okn47u0rgmzzjdi9k-units-{product}");
        map("Product", format!("product-{product}"), "Dimension", dimension).await;
    }
    for index in 0..BILLS {
        map(
            "Account",
            format!("account-{index}"),
            "Customer",
            format!("{:012}", 111_122_220_000 + index),
        )
        .await;
    }

    let mut owed = 0;
    for (version, title) in [(1, "100 new bills"), (2, "the same bills, an hour later")] {
        let title = format!("{title}, dimensions of each: {dimensions}");
        sandbox.clear_requests();
        let cents = |index: usize| 101 * usize::try_from(version).unwrap() + 2 * index + 1;
        owed = dimensions * (0..BILLS).map(cents).sum::<usize>();
        let bodies = (0..BILLS).map(|index| bill(seller.organization(), index, version, dimensions, cents(index)));
        let answer = dispatch(batch(bodies), sandbox.clock().now()).await;
        assert!(answer.batch_item_failures.is_empty(), "{answer:?}");
        let counts = sandbox.requests();
        print(&title, &counts, expect);
        assert_eq!(counts["metering"]["BatchMeterUsage"], metering_calls);
        if version == 2 {
            let asked: Vec<(&str, u64)> = counts["dynamodb"]
                .iter()
                .map(|(action, count)| (action.as_str(), *count))
                .collect();
            let expect: Vec<(&str, u64)> = expect.iter().map(|(action, count, _)| (*action, *count)).collect();
            assert_eq!(asked, expect);
        }
        sandbox.advance(SignedDuration::from_hours(1)).await.unwrap();
    }
    let billed: i64 = sandbox
        .marketplace()
        .billed()
        .iter()
        .map(|billed| billed.quantity)
        .sum();
    assert_eq!(billed, i64::try_from(owed).unwrap());
}
