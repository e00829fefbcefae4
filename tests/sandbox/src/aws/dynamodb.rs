//! DynamoDB: an embedded engine with its own HTTP server, to which requests are passed as they are.
//!
//! The engine enforces DynamoDB's limits itself (400 KB an item, 100 actions and 4 MB a
//! transaction); `tests/limits.rs` makes sure that it does.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{self, HeaderMap, StatusCode};
use axum::response::Response;
use dynoxide::Database;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

use super::tokens::{Done, Tokens, Turn};
use super::wire::{Protocol, WireError, json_response};

//# DescribeTable: ItemCount and TableSizeBytes are updated approximately every six hours
const COUNTED_EVERY: SignedDuration = SignedDuration::from_hours(6);
const DESCRIBE_TABLE: &str = "DescribeTable";
const TRANSACT_WRITE_ITEMS: &str = ".TransactWriteItems";

/// The running engine.
#[derive(Debug)]
pub struct Engine {
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<(), String>>,
    client: EngineClient,
}

/// Where the engine listens; clones share their connections.
#[derive(Debug, Clone)]
pub struct EngineClient {
    url: String,
    http: reqwest::Client,
    /// The engine goes through all rows for one answer.
    described: Arc<Mutex<Described>>,
    tokens: Arc<Tokens>,
}

/// Answers to DescribeTable by what was asked, and when they were given.
type Described = HashMap<Bytes, (Timestamp, http::Response<Bytes>)>;

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The database file cannot be used.
    #[error("the database cannot be opened: {0}")]
    Database(String),
    /// The engine's own port.
    #[error("the database engine found no free port")]
    Port(#[source] std::io::Error),
    /// The client of the engine.
    #[error("the database engine cannot be reached")]
    Client(#[source] reqwest::Error),
}

impl Engine {
    /// Starts the engine on a file, or in memory without one.
    pub async fn start(file: Option<&Path>) -> Result<Engine, EngineError> {
        let database = match file {
            Some(file) => Database::new(&file.to_string_lossy()),
            None => Database::memory(),
        }
        .map_err(|error| EngineError::Database(error.to_string()))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(EngineError::Port)?;
        let address = listener.local_addr().map_err(EngineError::Port)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, async move {
            // An error means that the sender is gone, which is a stop as well.
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(EngineError::Client)?;
        Ok(Engine {
            stop: Some(stop),
            serving,
            client: EngineClient {
                url: format!("http://{address}/"),
                http,
                described: Arc::default(),
                tokens: Arc::default(),
            },
        })
    }

    /// A client of the engine.
    pub fn client(&self) -> EngineClient {
        self.client.clone()
    }

    /// Its own address, past all that stands before it.
    pub fn url(&self) -> &str {
        &self.client.url
    }

    /// Stops the engine and waits until it has closed its file.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // Idle connections of the client would keep the engine waiting.
        drop(self.client);
        let _ = self.serving.await;
    }
}

impl EngineClient {
    /// Passes a request on and the answer back.
    pub async fn forward(&self, headers: &HeaderMap, body: Bytes) -> Response {
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let is_transaction = target.is_some_and(|target| target.ends_with(TRANSACT_WRITE_ITEMS));
        let turn = match is_transaction {
            true => self.tokens.turn(&body, Instant::now()).await,
            false => Turn::Any,
        };
        let answer = match turn {
            Turn::Any => self.answer(headers, body).await,
            Turn::Again(answer) => Ok(answer),
            Turn::Mismatch => return mismatch(),
            Turn::First { asked, mut turn } => {
                let (engine, headers) = (self.clone(), headers.clone());
                // It is noted as done even if nobody waits for the answer any more.
                let done = tokio::spawn(async move {
                    let answer = engine.answer(&headers, asked.clone()).await;
                    *turn = answer.as_ref().ok().and_then(|answer| Done::of(asked, answer));
                    answer
                });
                match done.await {
                    Ok(answer) => answer,
                    Err(error) => return unanswered(&error),
                }
            }
        };
        match answer {
            Ok(answer) => answer.map(Body::from),
            Err(error) => unanswered(&error),
        }
    }

    /// Passes on what is asked of a table itself, one after the other. A table is counted anew as seldom as by DynamoDB.
    pub async fn forward_of_table(&self, action: &str, headers: &HeaderMap, body: Bytes, now: Timestamp) -> Response {
        let mut described = self.described.lock().await;
        if action != DESCRIBE_TABLE {
            described.clear();
            return self.forward(headers, body).await;
        }
        if let Some((at, answer)) = described.get(&body)
            && now.duration_since(*at) < COUNTED_EVERY
        {
            return answer.clone().map(Body::from);
        }
        match self.answer(headers, body.clone()).await {
            Ok(answer) => {
                if answer.status().is_success() {
                    described.insert(body, (now, answer.clone()));
                }
                answer.map(Body::from)
            }
            Err(error) => unanswered(&error),
        }
    }

    async fn answer(&self, headers: &HeaderMap, body: Bytes) -> Result<http::Response<Bytes>, reqwest::Error> {
        let mut request = self.http.post(&self.url).body(body);
        for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value.as_bytes());
            }
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let passed: Vec<_> = ["content-type", "x-amz-crc32", "x-amzn-requestid"]
            .into_iter()
            .filter_map(|name| Some((name, answer.headers().get(name)?.clone())))
            .collect();
        let mut response = http::Response::new(answer.bytes().await?);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in passed {
            response.headers_mut().insert(name, value);
        }
        Ok(response)
    }
}

fn unanswered(error: &dyn std::error::Error) -> Response {
    WireError {
        status: 500,
        code: "InternalServerError".to_owned(),
        message: format!("the database engine did not answer: {error}"),
    }
    .response(Protocol::Json10)
}

fn mismatch() -> Response {
    let message = "Another transaction was done with this ClientRequestToken.";
    WireError::caller("IdempotentParameterMismatchException", message).response(Protocol::Json10)
}

/// A transaction cancelled because another one touched its items.
pub fn conflict(body: &[u8]) -> Response {
    let actions = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|request| Some(request.get("TransactItems")?.as_array()?.len()))
        .unwrap_or(1);
    let reasons = vec!["TransactionConflict"; actions];
    let codes: Vec<Value> = reasons
        .iter()
        .map(|code| json!({"Code": code, "Message": "Transaction is ongoing for the item"}))
        .collect();
    json_response(
        Protocol::Json10,
        StatusCode::BAD_REQUEST,
        &json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "message": format!(
                "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
                reasons.join(", ")
            ),
            "CancellationReasons": codes,
        }),
    )
}
