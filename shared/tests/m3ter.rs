//! m3ter over real HTTP: tokens that end early, organizations beside each other, answers that are too large.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail in any way"
)]

mod support;

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use jiff::Timestamp;
use outbill::{
    effects::m3ter::{M3ter, M3terError},
    values::ids::{BillId, OrganizationId},
};
use serde_json::json;
use support::world;

/// The tokens that it gave, of which only the last ones are good, and the bills that it was asked for.
#[derive(Default)]
struct Given {
    tokens: Vec<String>,
    good_from: usize,
    asked: usize,
    /// Nobody may see a bill, whatever the token.
    closed: bool,
    /// Answered in the place of a bill.
    padding: usize,
}

type Shared = Arc<Mutex<Given>>;

async fn token(State(given): State<Shared>, headers: HeaderMap) -> String {
    let mut given = given.lock().unwrap();
    let token = format!("{}-{}", headers["authorization"].to_str().unwrap(), given.tokens.len());
    given.tokens.push(token.clone());
    json!({ "access_token": token, "expires_in": 18_000 }).to_string()
}

async fn bill(
    State(given): State<Shared>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let mut given = given.lock().unwrap();
    given.asked += 1;
    let bearer = headers["authorization"]
        .to_str()
        .unwrap()
        .strip_prefix("Bearer ")
        .unwrap();
    let is_good = given.tokens[given.good_from..].iter().any(|good| good == bearer);
    match is_good && !given.closed {
        true => (
            StatusCode::OK,
            json!({ "id": id, "padding": "x".repeat(given.padding) }).to_string(),
        ),
        false => (StatusCode::FORBIDDEN, json!({ "message": "Unauthorized" }).to_string()),
    }
}

struct Scene {
    m3ter: M3ter,
    given: Shared,
}

impl Scene {
    async fn start() -> Scene {
        let world = world().await;
        for organization in ["org", "other"] {
            let name = format!("outbill/{organization}/m3ter");
            let key = json!({ "accessKeyId": organization, "apiSecret": "secret" });
            world.fakes.lock().unwrap().secrets.insert(name, key.to_string());
        }
        let given = Shared::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/oauth/token", post(token))
            .route("/organizations/{organization}/bills/{bill}", get(bill))
            .with_state(Arc::clone(&given));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Scene {
            m3ter: M3ter::new(&url, world.outbill.secrets.clone()),
            given,
        }
    }

    async fn bill(&self, organization: &str) -> Result<String, M3terError> {
        let (organization, bill) = (OrganizationId::new(organization).unwrap(), BillId::new("june").unwrap());
        let found = self.m3ter.bill(&organization, &bill, Timestamp::UNIX_EPOCH).await?;
        Ok(found["id"].as_str().unwrap().to_owned())
    }

    /// Tokens given and bills asked for.
    fn counts(&self) -> (usize, usize) {
        let given = self.given.lock().unwrap();
        (given.tokens.len(), given.asked)
    }
}

#[tokio::test]
async fn a_token_that_ended_early_is_exchanged_and_the_question_asked_once_more() {
    let scene = Scene::start().await;
    assert_eq!(scene.bill("org").await.unwrap(), "june");
    scene.given.lock().unwrap().good_from = 1;
    assert_eq!(scene.bill("org").await.unwrap(), "june");
    assert_eq!(scene.counts(), (2, 3));
    // A refusal of a new token is one.
    scene.given.lock().unwrap().closed = true;
    let refused = |answer: Result<String, M3terError>| matches!(answer, Err(M3terError::Refused { status: 403, .. }));
    assert!(refused(scene.bill("org").await));
    assert_eq!(scene.counts(), (3, 5));
    assert!(refused(scene.bill("other").await));
    assert_eq!(scene.counts(), (4, 6));
}

#[tokio::test]
async fn who_asks_at_once_logs_in_once_and_organizations_keep_their_tokens() {
    let scene = Scene::start().await;
    let at_once = (0..16).map(|number| scene.bill(if number % 2 == 0 { "org" } else { "other" }));
    for answer in futures::future::join_all(at_once).await {
        assert_eq!(answer.unwrap(), "june");
    }
    assert_eq!(scene.counts(), (2, 16));
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_at_64_megabytes() {
    let scene = Scene::start().await;
    scene.given.lock().unwrap().padding = 64 * 1024 * 1024;
    let error = scene.bill("org").await.unwrap_err().to_string();
    assert!(error.contains("the answer has more than 67108864 bytes"), "{error}");
    scene.given.lock().unwrap().padding = 1024 * 1024;
    assert_eq!(scene.bill("org").await.unwrap(), "june");
}
