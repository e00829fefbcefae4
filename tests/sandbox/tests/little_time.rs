//! A worker that runs out of time ends by itself: what it sent is written down, and the rest comes again.

mod common;

use std::time::Duration;

use common::stage::{BILLS, Stage, customer};
use outbill::values::hour::Hour;
use outbill::values::message;
use outbill::values::usage_key::KeyHash;
use outbill::{Environment, Outbill};
use sandbox::aws::Latency;
use sandbox::functions::{self, BILL_DISPATCH_TIMEOUT};
use sandbox::{Change, Fault, FaultKind, Service};
use serde_json::{Value, json};

impl Stage {
    /// Hands over all bills in their first version, and gives how many of them are to come again.
    async fn deliver(&self, receives: u32, time: Duration) -> usize {
        self.hand_over(self.bills(1), receives, time).await
    }

    async fn hand_over(&self, bodies: Vec<Value>, receives: u32, time: Duration) -> usize {
        self.handle(&self.outbill, bodies, receives, time).await.len()
    }

    async fn pending(&self) -> Value {
        let pending = self.seller.get("integrationdestinations/marketplace/pending").await;
        pending.unwrap()["data"].clone()
    }

    fn assert_all_billed(&self) {
        assert_eq!(self.billed(), [101, 101, 101]);
    }
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

/// So long the table takes to answer. What is asked while nothing is timed is asked of a table that answers at once.
const TABLE_ANSWER: Duration = Duration::from_secs(1);
const SLOW: Latency = Latency::Of {
    dynamodb: TABLE_ANSWER,
    metering: Duration::ZERO,
    others: Duration::ZERO,
};

#[tokio::test]
async fn nothing_is_claimed_when_half_of_the_time_is_over() {
    let stage = Stage::set_in_a_folder().await.reopened(SLOW).await;
    // The configurations and the manifests are read one after the other.
    assert_eq!(stage.deliver(1, TABLE_ANSWER * 4 / 5).await, BILLS);
    let stage = stage.reopened(Latency::None).await;
    assert_eq!(stage.pending().await, json!([]));
    assert_eq!(stage.deliver(2, BILL_DISPATCH_TIMEOUT).await, 0);
    stage.assert_all_billed();
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn what_was_claimed_and_could_not_be_sent_in_time_is_sent_when_it_comes_again() {
    let stage = Stage::set_in_a_folder().await.reopened(SLOW).await;
    // Half of the time is three and a half answers of the table: two, one after the other, come before a message is begun. Three quarters are five
    // and a quarter: at least six come before the first call.
    assert_eq!(stage.deliver(1, TABLE_ANSWER * 7).await, BILLS);
    assert_eq!(stage.calls("metering"), 0);
    let stage = stage.reopened(Latency::None).await;
    assert_eq!(stage.pending().await.as_array().unwrap().len(), BILLS);
    assert_eq!(stage.deliver(2, BILL_DISPATCH_TIMEOUT).await, 0);
    assert_eq!(stage.calls("metering"), 1);
    assert_eq!(stage.pending().await, json!([]));
    stage.assert_all_billed();
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn bills_that_m3ter_does_not_give_keep_no_other_from_being_sent() {
    let stage = Stage::set(Latency::None).await;
    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sdk = functions::sdk(&stage.surroundings.aws_endpoint_url, &stage.surroundings.region).await;
    let worker = Outbill::connect(
        &sdk,
        &Environment {
            m3ter_base_url: format!("http://{}", silent.local_addr().unwrap()),
            ..functions::environment(&stage.surroundings)
        },
    );
    // One more than are fetched at once.
    let mut messages = vec![json!({ "orgId": stage.seller.organization(), "billId": "asked-for" }); 17];
    messages.extend(stage.bills(1));
    let again = stage.handle(&worker, messages, 1, Duration::from_secs(16)).await;
    let asked_for: Vec<String> = (0..17).map(|place| format!("message-{place}")).collect();
    assert_eq!(again, asked_for);
    stage.assert_all_billed();
    stage.sandbox.stop().await;
}

/// So long AWS takes to answer. All that is done besides may take half of it.
const ANSWER: Duration = Duration::from_millis(2_500);
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
