//! A seller with as many accounts as bills, and workers that are handed the bills' messages past the queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use outbill::Outbill;
use sandbox::aws::Latency;
use sandbox::functions;
use sandbox::seller::Seller;
use sandbox::{Options, Sandbox, Surroundings};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const BILLS: usize = 3;
const DIMENSION: &str = "3mgmp9q6okn47u0rgmzzjdi9k-units";

pub struct Stage {
    pub sandbox: Sandbox,
    pub seller: Seller,
    /// A worker.
    pub outbill: Outbill,
    pub surroundings: Surroundings,
    folder: Option<TempDir>,
}

impl Stage {
    /// All is set up, and kept in memory.
    pub async fn set(latency: Latency) -> Stage {
        Stage::open(latency, None).await.set_up().await
    }

    /// The same in a folder, for [`Stage::reopened`].
    pub async fn set_in_a_folder() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        Stage::open(Latency::None, Some(folder)).await.set_up().await
    }

    /// The same seller where answers take so long. Requests are counted anew.
    pub async fn reopened(self, latency: Latency) -> Stage {
        let Stage { sandbox, folder, .. } = self;
        assert!(folder.is_some(), "what is kept in memory is gone");
        sandbox.stop().await;
        Stage::open(latency, folder).await
    }

    async fn open(latency: Latency, folder: Option<TempDir>) -> Stage {
        let options = Options {
            start_at: "2025-06-10T10:02:00Z".parse().ok(),
            data: folder.as_ref().map(|folder| folder.path().to_owned()),
            latency,
            ..Options::for_tests()
        };
        let kept: Arc<Mutex<Option<Surroundings>>> = Arc::default();
        let keep = kept.clone();
        let sandbox = Sandbox::start(options, |surroundings| async move {
            *keep.lock().unwrap() = Some(surroundings.clone());
            functions::build(surroundings).await
        })
        .await
        .unwrap();
        let surroundings = kept.lock().unwrap().clone().unwrap();
        let sdk = functions::sdk(&surroundings.aws_endpoint_url, &surroundings.region).await;
        let outbill = Outbill::connect(&sdk, &functions::environment(&surroundings));
        let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key())
            .await
            .unwrap();
        sandbox.clear_requests();
        Stage {
            sandbox,
            seller,
            outbill,
            surroundings,
            folder,
        }
    }

    async fn set_up(self) -> Stage {
        let seller = &self.seller;
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
        self.sandbox.clear_requests();
        self
    }

    /// All bills in a version: `bill-0` and so on.
    pub fn bills(&self, version: u32) -> Vec<Value> {
        (0..BILLS)
            .map(|index| self.message(&format!("bill-{index}"), &format!("account-{index}"), version))
            .collect()
    }

    /// A bill in a version, of 1.01 times its number.
    pub fn message(&self, bill: &str, account: &str, version: u32) -> Value {
        let bill = json!({
            "id": bill, "accountId": account, "version": version, "currency": "USD",
            "lineItems": [{ "lineItemType": "USAGE", "currency": "USD", "convertedSubtotal": 1.01 * f64::from(version) }],
        });
        json!({ "orgId": self.seller.organization(), "bill": bill })
    }

    /// Hands messages to a worker, and gives those that are to come again: `message-0` and so on.
    pub async fn handle(&self, worker: &Outbill, bodies: Vec<Value>, receives: u32, time: Duration) -> Vec<String> {
        let mut event = SqsEvent::default();
        for (index, body) in bodies.into_iter().enumerate() {
            let mut message = SqsMessage::default();
            message.message_id = Some(format!("message-{index}"));
            message.body = Some(body.to_string());
            message.attributes = HashMap::from([("ApproximateReceiveCount".to_owned(), receives.to_string())]);
            event.records.push(message);
        }
        let answer = bill_dispatch::handle(worker, event, self.sandbox.clock().now(), time).await;
        let again = answer.batch_item_failures.into_iter();
        again.map(|failure| failure.item_identifier).collect()
    }

    /// The status of a bill's newest run.
    pub async fn status(&self, bill: &str) -> Value {
        let path = format!("integrationruns/Bill/latest/{bill}");
        self.seller.get(&path).await.unwrap()["status"].clone()
    }

    /// The status of each bill's newest run.
    pub async fn statuses(&self) -> Vec<Value> {
        let mut statuses = Vec::new();
        for index in 0..BILLS {
            statuses.push(self.status(&format!("bill-{index}")).await);
        }
        statuses
    }

    /// Requests to a service since they were last cleared.
    pub fn calls(&self, service: &str) -> u64 {
        let counts = self.sandbox.requests();
        counts.get(service).map_or(0, |actions| actions.values().sum())
    }

    /// The quantities that AWS bills.
    pub fn billed(&self) -> Vec<i64> {
        let billed = self.sandbox.marketplace().billed();
        billed.iter().map(|row| row.quantity).collect()
    }
}

/// A bill's buyer at AWS.
pub fn customer(index: usize) -> String {
    format!("{:012}", 111_122_220_000 + index)
}
