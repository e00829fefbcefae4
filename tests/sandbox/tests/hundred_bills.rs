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
/// 100 records in calls of 25.
const METERING_CALLS: u64 = 4;

fn bill(organization: &str, index: usize, version: i64, cents: usize) -> String {
    let amount: Value = serde_json::from_str(&format!("{}.{:02}", cents / 100, cents % 100)).unwrap();
    let line =
        json!({ "lineItemType": "USAGE", "productId": "product", "currency": "USD", "convertedSubtotal": amount });
    let bill = json!({
        "id": format!("bill-{index}"), "accountId": format!("account-{index}"), "version": version, "currency": "USD",
        "startDate": "2025-06-01", "endDateTimeUTC": "2025-07-01T00:00:00Z", "lineItems": [line],
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

fn print(title: &str, counts: &Counts) {
    println!("{title}");
    for (service, actions) in counts {
        for (action, count) in actions {
            println!("  {service:<15} {action:<20} {count:>5}");
        }
    }
    println!(
        "  dynamodb in all                      {:>5}",
        counts.get("dynamodb").map_or(0, |actions| actions.values().sum())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_bills_in_one_batch() {
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
    map(
        "Product",
        "product".to_owned(),
        "Dimension",
        "3mgmp9q6okn47u0rgmzzjdi9k-units".to_owned(),
    )
    .await;
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
        sandbox.clear_requests();
        let cents = |index: usize| 101 * usize::try_from(version).unwrap() + 2 * index + 1;
        owed = (0..BILLS).map(cents).sum();
        let bodies = (0..BILLS).map(|index| bill(seller.organization(), index, version, cents(index)));
        let answer = dispatch(batch(bodies), sandbox.clock().now()).await;
        assert!(answer.batch_item_failures.is_empty(), "{answer:?}");
        let counts = sandbox.requests();
        print(title, &counts);
        assert_eq!(counts["metering"]["BatchMeterUsage"], METERING_CALLS);
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
