//! The API over a real table engine: m3ter's protocol, call by call.

#![allow(dead_code, reason = "each test program uses a part of it")]

#[path = "../../../../shared/tests/support/mod.rs"]
pub mod support;

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use jiff::Timestamp;
use outbill::{
    decisions::validation::EntityReference,
    effects::{access::Permission, ledger::Ledger, waiting::Awaited},
    values::{
        bill::BillReference,
        ids::{AccountId, BillId, ConfigurationId, OrganizationId, RunId},
    },
};
use serde_json::{Value, json};
use support::{World, world};
use tower::ServiceExt;

pub const ORGANIZATION: &str = "396d788d-5174-4e8b-9d69-a41f4671fc33";

pub struct Api {
    pub world: World,
    pub router: Router,
    pub clock: Arc<Mutex<Timestamp>>,
    pub token: String,
    pub key: (String, String),
}

pub fn now() -> Timestamp {
    "2025-06-10T10:00:00Z".parse().unwrap()
}

pub fn organization() -> OrganizationId {
    OrganizationId::new(ORGANIZATION).unwrap()
}

pub async fn api() -> Api {
    let mut world = world().await;
    world.outbill.ledger = Ledger::new(world.outbill.table.clone());
    let key = world
        .outbill
        .access
        .create_access_key(&organization(), Permission::ALL)
        .await
        .unwrap();
    let clock = Arc::new(Mutex::new(now()));
    let of_call = Arc::clone(&clock);
    let router = api::router(world.outbill.clone(), Arc::new(move || *of_call.lock().unwrap()));
    let mut api = Api {
        world,
        router,
        clock,
        token: String::new(),
        key,
    };
    api.token = api.new_token().await;
    api
}

impl Api {
    pub async fn new_token(&self) -> String {
        let basic = STANDARD.encode(format!("{}:{}", self.key.0, self.key.1));
        let request = Request::post("/oauth/token")
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/json")
            .body(Body::from(r#"{"grant_type":"client_credentials"}"#))
            .unwrap();
        let (status, body) = self.send(request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(
            (&body["token_type"], &body["expires_in"]),
            (&json!("Bearer"), &json!(18_000))
        );
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}")),
        )
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/organizations/{ORGANIZATION}/{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .body(if body.is_null() {
                Body::empty()
            } else {
                Body::from(body.to_string())
            });
        self.send(request.unwrap()).await
    }

    pub async fn good(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}: {answer}");
        answer
    }

    pub async fn bad(&self, status: u16, hints: &[&str], method: &str, path: &str, body: Value) {
        let (found, answer) = self.call(method, path, body).await;
        assert_eq!(found.as_u16(), status, "{method} {path}: {answer}");
        let message = answer["message"].as_str().unwrap();
        assert_eq!(answer.as_object().unwrap().len(), 1);
        for hint in hints {
            assert!(message.contains(hint), "{hint:?} is not in {message:?}");
        }
    }

    pub fn queued(&self) -> Vec<Value> {
        let messages: Vec<_> = self.world.fakes.lock().unwrap().messages.drain(..).collect();
        messages
            .into_iter()
            .map(|(_, body, _)| serde_json::from_str(&body).unwrap())
            .collect()
    }

    pub async fn wait_for(&self, what: &Awaited, bill: &str, run: &str) {
        let (organization, bill) = (organization(), BillId::new(bill).unwrap());
        let (bill, run) = (BillReference { organization, bill }, RunId::new(run).unwrap());
        self.world.outbill.waiting.put(&bill, what, &run, "1").await.unwrap();
    }
}

pub fn of_configuration(id: &str) -> Awaited {
    Awaited::Configuration(ConfigurationId::new(id).unwrap())
}

pub fn of_account(id: &str) -> Awaited {
    Awaited::MappingOf(EntityReference::account(&AccountId::new(id).unwrap()))
}

pub fn configuration() -> Value {
    json!({
        "entityType": "Bill", "destination": "Aws", "name": "bills",
        "configData": {"splitUsageLineItems": "ITEM_PER_PRODUCT", "accountFilter": "address.country == UK"}
    })
}

pub fn without(mut value: Value, fields: &[&str]) -> Value {
    fields
        .iter()
        .for_each(|field| drop(value.as_object_mut().unwrap().remove(*field)));
    value
}

pub fn with(mut value: Value, fields: Value) -> Value {
    value
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    value
}
