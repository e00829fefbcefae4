//! A worker that runs out of time ends by itself: what it sent is written down, and the rest comes again.

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use outbill::Outbill;
use outbill::values::hour::Hour;
use outbill::values::message;
use outbill::values::usage_key::KeyHash;
use sandbox::aws::Latency;
use sandbox::functions::{self, BILL_DISPATCH_TIMEOUT};
use sandbox::seller::Seller;
use sandbox::{Change, Fault, FaultKind, Options, Sandbox, Service};
use serde_json::{Value, json};

const BILLS: usize = 3;
const DIMENSION: &str = "3mgmp9q6okn47u0rgmzzjdi9k-units";

struct Stage {
    sandbox: Sandbox,
    seller: Seller,
    outbill: Outbill,
}

impl Stage {
    /// A seller with as many accounts as bills.
    async fn set(latency: Latency) -> Stage {
        let options = Options {
            start_at: "2025-06-10T10:02:00Z".parse().ok(),
            latency,
            ..Options::for_tests()
        };
        let outbill: Arc<Mutex<Option<Outbill>>> = Arc::default();
        let kept = outbill.clone();
        let sandbox = Sandbox::start(options, |surroundings| async move {
            let sdk = functions::sdk(&surroundings.aws_endpoint_url, &surroundings.region).await;
            *kept.lock().unwrap() = Some(Outbill::connect(&sdk, &functions::environment(&surroundings)));
            functions::build(surroundings).await
        })
        .await
        .unwrap();
        let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key())
            .await
            .unwrap();
        let credential = json!({ "type": "AWS_INTEGRATION", "destination": "AWS" });
        let credential = seller.post("integrationcredentials", &credential).await.unwrap();
        let configuration = json!({
            "entityType": "Bill", "destination": "AWS", "name": "bills", "integrationCredentialsId": credential["id"],
            "configData": { "splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": DIMENSION },
        });
        seller.post("integrationconfigs", &configuration).await.unwrap();
        for index in 0..BILLS {
            let mapping = json!({
                "m3terEntity": "Account", "m3terId": format!("account-{index}"),
                "externalSystem": "AWS", "externalTable": "Customer", "externalId": customer(index),
            });
            seller.post("externalmappings", &mapping).await.unwrap();
        }
        sandbox.clear_requests();
        let outbill = outbill.lock().unwrap().clone().unwrap();
        Stage {
            sandbox,
            seller,
            outbill,
        }
    }

    /// Hands over all bills in their first version, and gives how many of them are to come again.
    async fn deliver(&self, receives: u32, time: Duration) -> usize {
        self.hand_over(self.bills(1), receives, time).await
    }

    /// All bills in a version, each of 1.01 times its number.
    fn bills(&self, version: u32) -> Vec<Value> {
        let bill = |index: usize| {
            json!({
                "id": format!("bill-{index}"), "accountId": format!("account-{index}"), "version": version, "currency": "USD",
                "lineItems": [{ "lineItemType": "USAGE", "currency": "USD", "convertedSubtotal": 1.01 * f64::from(version) }],
            })
        };
        let message = |index| json!({ "orgId": self.seller.organization(), "bill": bill(index) });
        (0..BILLS).map(message).collect()
    }

    async fn hand_over(&self, bodies: Vec<Value>, receives: u32, time: Duration) -> usize {
        let mut event = SqsEvent::default();
        for (index, body) in bodies.into_iter().enumerate() {
            let mut message = SqsMessage::default();
            message.message_id = Some(format!("message-{index}"));
            message.body = Some(body.to_string());
            message.attributes = HashMap::from([("ApproximateReceiveCount".to_owned(), receives.to_string())]);
            event.records.push(message);
        }
        let answer = bill_dispatch::handle(&self.outbill, event, self.sandbox.clock().now(), time).await;
        answer.batch_item_failures.len()
    }

    /// The status of each bill's newest run.
    async fn statuses(&self) -> Vec<Value> {
        let mut statuses = Vec::new();
        for index in 0..BILLS {
            let path = format!("integrationruns/Bill/latest/bill-{index}");
            statuses.push(self.seller.get(&path).await.unwrap()["status"].clone());
        }
        statuses
    }

    fn calls(&self, service: &str) -> u64 {
        let counts = self.sandbox.requests();
        counts.get(service).map_or(0, |actions| actions.values().sum())
    }

    async fn pending(&self) -> Value {
        let pending = self.seller.get("integrationdestinations/marketplace/pending").await;
        pending.unwrap()["data"].clone()
    }

    fn billed(&self) -> Vec<i64> {
        let billed = self.sandbox.marketplace().billed();
        billed.iter().map(|row| row.quantity).collect()
    }

    fn assert_all_billed(&self) {
        assert_eq!(self.billed(), [101, 101, 101]);
    }
}

fn customer(index: usize) -> String {
    format!("{:012}", 111_122_220_000 + index)
}

#[tokio::test]
async fn what_there_is_no_time_for_is_not_begun() {
    let stage = Stage::set(Latency::None).await;
    assert_eq!(stage.deliver(1, Duration::ZERO).await, BILLS);
    assert_eq!((stage.calls("dynamodb"), stage.calls("metering")), (0, 0));
    assert_eq!(stage.deliver(2, BILL_DISPATCH_TIMEOUT).await, 0);
    stage.assert_all_billed();
    stage.sandbox.stop().await;
}

const SLOW: Latency = Latency::Of {
    dynamodb: Duration::from_millis(200),
    metering: Duration::ZERO,
    others: Duration::ZERO,
};

#[tokio::test]
async fn nothing_is_claimed_when_half_of_the_time_is_over() {
    let stage = Stage::set(SLOW).await;
    // The configurations and the manifests are read one after the other.
    assert_eq!(stage.deliver(1, Duration::from_millis(160)).await, BILLS);
    assert_eq!(stage.pending().await, json!([]));
    assert_eq!(stage.deliver(2, BILL_DISPATCH_TIMEOUT).await, 0);
    stage.assert_all_billed();
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn what_was_claimed_and_could_not_be_sent_in_time_is_sent_when_it_comes_again() {
    let stage = Stage::set(SLOW).await;
    // Six answers of the table, one after the other, come before the first call, and two before the first half is over.
    assert_eq!(stage.deliver(1, Duration::from_millis(1_340)).await, BILLS);
    assert_eq!(stage.calls("metering"), 0);
    assert_eq!(stage.pending().await.as_array().unwrap().len(), BILLS);
    assert_eq!(stage.deliver(2, BILL_DISPATCH_TIMEOUT).await, 0);
    assert_eq!(stage.calls("metering"), 1);
    assert_eq!(stage.pending().await, json!([]));
    stage.assert_all_billed();
    stage.sandbox.stop().await;
}

/// So long AWS takes to answer.
const ANSWER: Duration = Duration::from_millis(500);
const LATE: Latency = Latency::Of {
    dynamodb: Duration::ZERO,
    metering: ANSWER,
    others: Duration::ZERO,
};

#[tokio::test]
async fn a_call_that_aws_rejects_is_not_halved_when_three_quarters_of_the_time_are_over() {
    let stage = Stage::set(LATE).await;
    let bad = json!({ "badCustomers": [customer(0)] }).to_string();
    let (status, _) = common::control(&stage.sandbox, "POST", "/marketplace", &bad).await;
    assert_eq!(status, 200);
    // All three, the first two, and the first alone; the others' turns come at three answers, which is more than three quarters.
    assert_eq!(stage.deliver(1, ANSWER * 10 / 3).await, BILLS - 1);
    assert_eq!(stage.calls("metering"), 3);
    assert_eq!(stage.billed(), [0; 0]);
    // Those two in one call.
    assert_eq!(stage.deliver(2, BILL_DISPATCH_TIMEOUT).await, 0);
    assert_eq!(stage.calls("metering"), 4);
    assert_eq!(stage.billed(), [101, 101]);
    stage.sandbox.stop().await;
}

impl Stage {
    /// A seller whose bills have grown since they were metered, an hour later, before the tick. Gives the page that claims.
    async fn grown() -> (Stage, Value) {
        let stage = Stage::set(LATE).await;
        for version in [1, 2] {
            assert_eq!(stage.hand_over(stage.bills(version), 1, BILL_DISPATCH_TIMEOUT).await, 0);
        }
        assert_eq!(stage.statuses().await, ["WAITING"; BILLS]);
        let page = json!({ "flush": true, "keys": stage.ids().await });
        let to = "2025-06-10T11:02:00Z".parse().unwrap();
        stage.sandbox.change(Change::ClockMoved { to }).unwrap();
        (stage, page)
    }

    /// What `pending` calls each of its rows.
    async fn ids(&self) -> Vec<String> {
        let pending = self.pending().await;
        let ids = pending.as_array().unwrap().iter();
        ids.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn runs_that_there_was_no_time_to_tell_are_told_when_the_page_comes_again() {
    let (stage, page) = Stage::grown().await;
    // The call is begun before three quarters, and answered after seven eighths.
    assert_eq!(stage.hand_over(vec![page.clone()], 1, ANSWER * 9 / 8).await, 1);
    assert_eq!(stage.billed(), [101; 2 * BILLS]);
    assert_eq!(stage.statuses().await, ["WAITING"; BILLS]);
    let calls = stage.calls("metering");
    assert_eq!(stage.hand_over(vec![page], 2, BILL_DISPATCH_TIMEOUT).await, 0);
    assert_eq!(stage.calls("metering"), calls);
    assert_eq!(stage.statuses().await, ["COMPLETE"; BILLS]);
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn a_page_that_comes_for_the_last_time_tells_whatever_the_time_is() {
    let (stage, page) = Stage::grown().await;
    assert_eq!(stage.hand_over(vec![page], 3, ANSWER * 9 / 8).await, 0);
    assert_eq!(stage.statuses().await, ["COMPLETE"; BILLS]);
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn what_aws_refused_is_told_when_the_page_comes_again_too() {
    let (stage, page) = Stage::grown().await;
    let page = json!({ "flush": true, "keys": [page["keys"][0]] });
    let bad = json!({ "badCustomers": [customer(0), customer(1), customer(2)] }).to_string();
    let (status, _) = common::control(&stage.sandbox, "POST", "/marketplace", &bad).await;
    assert_eq!(status, 200);
    assert_eq!(stage.hand_over(vec![page.clone()], 1, ANSWER * 9 / 8).await, 1);
    assert_eq!(stage.statuses().await, ["WAITING"; BILLS]);
    assert_eq!(stage.hand_over(vec![page], 2, BILL_DISPATCH_TIMEOUT).await, 0);
    let told = stage.statuses().await;
    assert_eq!(told.iter().filter(|status| **status == "ERROR").count(), 1, "{told:?}");
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn a_page_of_entries_tells_again_too() {
    let (stage, page) = Stage::grown().await;
    let lost = Fault::new(Service::Metering, FaultKind::LostRequest, 1);
    stage.sandbox.faults(vec![lost]).unwrap();
    assert_eq!(stage.hand_over(vec![page], 3, BILL_DISPATCH_TIMEOUT).await, 0);
    let entries: Vec<(KeyHash, Hour)> = stage.ids().await.iter().map(|id| named(id)).collect();
    let pages = message::flush_pages(&[], &entries);
    assert_eq!(stage.hand_over(pages.clone(), 1, ANSWER * 9 / 8).await, 1);
    assert_eq!(stage.billed(), [101; 2 * BILLS]);
    assert_ne!(stage.statuses().await, ["COMPLETE"; BILLS]);
    assert_eq!(stage.hand_over(pages, 2, BILL_DISPATCH_TIMEOUT).await, 0);
    assert_eq!(stage.statuses().await, ["COMPLETE"; BILLS]);
    stage.sandbox.stop().await;
}

/// An entry as `pending` names it: its usage key and its hour.
fn named(id: &str) -> (KeyHash, Hour) {
    let (key, hour) = id.split_once('-').unwrap();
    (KeyHash::try_from(key.to_owned()).unwrap(), hour.parse().unwrap())
}
