//! What the tests of input share: a sandbox with a seller at a fixed hour, the payloads of `events/`, and what to ask afterwards.
//!
//! A payload names [`ORGANIZATION`] wherever m3ter would name the seller's; [`Kit::payload`] puts the sandbox's own there.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use outbill::Outbill;
use sandbox::{Options, Sandbox, Surroundings, functions};
use serde_json::{Value, json};

/// The seller's organization in every payload.
pub const ORGANIZATION: &str = "5c1f0a52-3b8e-4f6e-9a39-6d2f4a7f0001";
/// The buyer's account in every payload but the unmapped one.
pub const ACCOUNT: &str = "6f0d7a1e-52c4-4d0b-9d0f-2b8f6a1c0001";
/// The bill of the good payloads.
pub const BILL: &str = "b17d3c40-9a55-4c07-8e21-0f4b7c9d0001";
/// The product of their lines.
pub const PRODUCT: &str = "a2c5e8f1-0b37-4d62-9c14-7e3d5f6b0001";
/// What their first line was measured by.
pub const AGGREGATION: &str = "d94b1e27-6c80-4a3f-b5d2-1a7c8e0f0001";
/// What their second line was measured by.
pub const COMPOUND_AGGREGATION: &str = "d94b1e27-6c80-4a3f-b5d2-1a7c8e0f0002";
/// AWS's product code.
pub const PRODUCT_CODE: &str = "5wq8xk2m7rj4nv1tz9dh3bcf6";
/// Where the clock stands.
pub const NOW: &str = "2025-06-10T10:05:00Z";

/// A sandbox with a logged-in seller.
pub struct Kit {
    pub sandbox: Sandbox,
    pub surroundings: Surroundings,
    http: reqwest::Client,
    token: String,
}

/// A payload of `events/` as it is written.
pub fn event(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Kit {
    /// An empty sandbox: an access key, and nothing set up.
    pub async fn empty() -> Kit {
        let (sender, receiver) = std::sync::mpsc::channel();
        let options = Options {
            start_at: Some(NOW.parse().expect("NOW is an instant")),
            ..Options::for_tests()
        };
        let sandbox = Sandbox::start(options, move |surroundings| {
            sender.send(surroundings.clone()).expect("the test waits for it");
            functions::build(surroundings)
        })
        .await
        .expect("the sandbox starts");
        let surroundings = receiver.recv().expect("the functions were built");
        let mut kit = Kit {
            sandbox,
            surroundings,
            http: reqwest::Client::new(),
            token: String::new(),
        };
        kit.log_in().await;
        kit
    }

    /// With a credential, a configuration with these settings, and the buyer's mapping.
    pub async fn with(config_data: Value) -> Kit {
        let kit = Kit::empty().await;
        kit.configure(config_data).await;
        kit.post("externalmappings", &kit.payload("mapping-of-account.json"))
            .await;
        kit
    }

    /// With the split by product, and the product's mapping too.
    pub async fn per_product() -> Kit {
        let kit = Kit::with(json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" })).await;
        kit.post("externalmappings", &kit.payload("mapping-of-product.json"))
            .await;
        kit
    }

    /// Gets a new token: one lasts five hours.
    pub async fn log_in(&mut self) {
        let url = format!("{}/oauth/token", self.sandbox.addresses().api);
        let key = self.sandbox.access_key();
        let request = self
            .http
            .post(url)
            .basic_auth(&key.access_key_id, Some(&key.api_secret));
        let request = request.json(&json!({ "grant_type": "client_credentials" }));
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        self.token = answer["access_token"].as_str().expect("a token").to_owned();
    }

    /// A credential and a configuration; gives the configuration's id.
    pub async fn configure(&self, config_data: Value) -> String {
        let credential = self
            .post("integrationcredentials", &self.payload("credential.json"))
            .await;
        let configuration = json!({
            "entityType": "Bill", "destination": "AWS", "name": "AWS Marketplace bills",
            "integrationCredentialsId": credential["id"], "configData": config_data,
        });
        let made = self.post("integrationconfigs", &configuration).await;
        text(&made["id"])
    }

    /// A mapping of something of m3ter's to a dimension of the product.
    pub async fn map(&self, entity: &str, id: &str, dimension: &str) {
        let mapping = json!({
            "m3terEntity": entity, "m3terId": id, "externalSystem": "AWS", "externalTable": "Dimension",
            "externalId": format!("{PRODUCT_CODE}-{dimension}"),
        });
        self.post("externalmappings", &mapping).await;
        self.sandbox.drain().await;
    }

    /// The organization of the sandbox.
    pub fn organization(&self) -> &str {
        &self.sandbox.access_key().org_id
    }

    /// A payload of `events/` with the sandbox's organization.
    pub fn payload(&self, name: &str) -> Value {
        let text = event(name).replace(ORGANIZATION, self.organization());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A call; the status and the body.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let url = format!(
            "{}/organizations/{}/{path}",
            self.sandbox.addresses().api,
            self.organization()
        );
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    /// A GET that has to succeed.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A POST that has to succeed.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call("POST", path, Some(body)).await;
        assert!(status == 200 || status == 202, "{path}: {status}: {answer}");
        answer
    }

    /// The message of a refusal with 400.
    pub async fn refused(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, 400, "{path}: {answer}");
        text(&answer["message"])
    }

    /// A control.
    pub async fn control(&self, method: &str, path: &str, body: String) -> Value {
        let url = format!("{}{path}", self.sandbox.addresses().controls);
        let request = self.http.request(method.parse().expect("a method"), url).body(body);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    /// A message for the bill queue, as text; whether it ended as a dead letter.
    pub async fn send_text(&self, body: impl Into<String>) -> bool {
        let answer = self.control("POST", "/queue", body.into()).await;
        answer["deadLettered"]
            .as_bool()
            .unwrap_or_else(|| panic!("the queue answers {answer}"))
    }

    /// The same from JSON.
    pub async fn send(&self, message: &Value) -> bool {
        self.send_text(message.to_string()).await
    }

    /// The newest run of a bill.
    pub async fn run(&self, bill: &str) -> Value {
        self.get(&format!("integrationruns/Bill/latest/{bill}")).await
    }

    /// All runs of a bill.
    pub async fn runs(&self, bill: &str) -> Vec<Value> {
        list(&self.get(&format!("integrationruns/Bill/{bill}")).await["data"])
    }

    /// What a run kept.
    pub async fn log(&self, run: &str) -> Vec<Value> {
        let answer = self.get(&format!("integrationruns/logs/{run}")).await;
        let text = STANDARD.decode(text(&answer["Payload"])).expect("base64");
        list(&serde_json::from_slice(&text).expect("JSON"))
    }

    /// Reason and body of every dead letter.
    pub async fn dead_letters(&self) -> Vec<(String, String)> {
        let answer = self.control("GET", "/dead-letters", String::new()).await;
        let letters = list(&answer["deadLetters"]);
        letters
            .iter()
            .map(|letter| (text(&letter["reason"]), text(&letter["body"])))
            .collect()
    }

    /// Calls of `BatchMeterUsage` so far.
    pub fn metering_calls(&self) -> u64 {
        self.sandbox
            .requests()
            .get("metering")
            .map_or(0, |calls| calls.values().sum())
    }

    /// What AWS bills: dimension, hour, quantity.
    pub fn billed(&self) -> Vec<(String, Timestamp, i64)> {
        let billed = self.sandbox.marketplace().billed();
        billed
            .iter()
            .map(|billed| (billed.dimension.clone(), billed.hour, billed.quantity))
            .collect()
    }

    /// The units that AWS bills on a dimension.
    pub fn units(&self, dimension: &str) -> i64 {
        let billed = self.billed();
        billed
            .iter()
            .filter(|(on, _, _)| on == dimension)
            .map(|(_, _, units)| units)
            .sum()
    }

    /// Outbill itself, connected as the sandbox's functions are.
    pub async fn outbill(&self) -> Outbill {
        let sdk = functions::sdk(&self.surroundings.aws_endpoint_url, &self.surroundings.region).await;
        Outbill::connect(&sdk, &functions::environment(&self.surroundings))
    }

    /// The API function outside of any server.
    pub async fn api(&self) -> axum::Router {
        let clock = self.sandbox.clock();
        api::router(self.outbill().await, std::sync::Arc::new(move || clock.now()))
    }
}

/// A JSON text.
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// A JSON list.
pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).clone()
}

/// Asserts that a text says all of this.
#[track_caller]
pub fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text}\n… does not say: {part}");
    }
}
