//! The controls: what a person or a test does to the world around the functions. JSON in and out.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use marketplace::trail::TrailChange;
use marketplace::{BuyerStatement, ForeignUsage, SwitchChange};
use outbill::effects::access::Permission;
use outbill::values::ids::OrganizationId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::backup;
use crate::faults::Fault;
use crate::functions;
use crate::holdings::Change;
use crate::journal::JournalError;
use crate::queue::drain;
use crate::sandbox::{SendError, Shared};
use crate::schedules::AdvanceError;

/// What the controls work on.
#[derive(Debug, Clone)]
pub struct Controls {
    pub(crate) shared: Arc<Shared>,
}

/// What a control takes: m3ter's stand-in is filled with bills of 10,000 lines, some ten megabytes each.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The controls as a router.
pub fn router(controls: Controls) -> Router {
    Router::new()
        .route("/access-key", get(access_key).post(make_access_key))
        .route("/webhook", get(webhook))
        .route("/clock", get(clock).post(move_clock))
        .route("/queue", get(queue).post(send))
        .route("/backup", post(back_up))
        .route("/restore", post(restore))
        .route("/tick/flush", post(flush))
        .route("/tick/sweep", post(sweep))
        .route("/tick/reconcile", post(reconcile))
        .route("/marketplace", get(marketplace).post(change_marketplace))
        .route("/foreign-usage", post(foreign_usage))
        .route("/buyers", post(buyers))
        .route("/faults", get(faults).post(set_faults))
        .route("/cloudtrail", get(cloudtrail).post(change_cloudtrail))
        .route("/metrics", get(metrics))
        .route("/requests", get(requests).delete(clear_requests))
        .route("/dead-letters", get(dead_letters))
        .route("/outbox", get(outbox))
        .route("/m3ter", get(m3ter).post(fill_m3ter))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(controls.clone(), allow_page))
        .with_state(controls)
}

/// The page at the API's address reads the controls from within a browser; other pages may not.
async fn allow_page(State(controls): State<Controls>, request: Request, next: Next) -> Response {
    let page = &controls.shared.addresses.api;
    let origin = request.headers().get(ORIGIN).filter(|origin| {
        let same_machine = page.replace("127.0.0.1", "localhost");
        *origin == page.as_str() || *origin == same_machine.as_str()
    });
    let origin = origin.cloned();
    let mut response = next.run(request).await;
    if let Some(origin) = origin {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

/// A control that did not do what was asked.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn bad(message: impl Into<String>) -> Refusal {
        Refusal {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"message": self.message}).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Refusal {
        Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: error.to_string(),
        }
    }
}

impl From<AdvanceError> for Refusal {
    fn from(error: AdvanceError) -> Refusal {
        match error {
            AdvanceError::Backwards { .. } => Refusal::bad(error.to_string()),
            AdvanceError::Journal(error) => error.into(),
        }
    }
}

type Answer = Result<Json<Value>, Refusal>;

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match path.as_str() {
            "." => Refusal::bad(inner.to_string()),
            path => Refusal::bad(format!("{path}: {inner}")),
        }
    })?;
    deserializer.end().map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(value)
}

async fn unknown() -> Refusal {
    Refusal {
        status: StatusCode::NOT_FOUND,
        message: "no such control; the page at the API's address lists them".to_owned(),
    }
}

async fn wrong_method() -> Refusal {
    Refusal {
        status: StatusCode::METHOD_NOT_ALLOWED,
        message: "this control has another method; the page at the API's address lists them".to_owned(),
    }
}

async fn access_key(State(controls): State<Controls>) -> Json<Value> {
    Json(json!(controls.shared.access_key))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedAccessKey {
    org_id: Option<OrganizationId>,
    #[serde(default = "every_permission")]
    permissions: Vec<Permission>,
}

fn every_permission() -> Vec<Permission> {
    Permission::ALL.to_vec()
}

async fn make_access_key(State(controls): State<Controls>, body: Bytes) -> Answer {
    let wanted: WantedAccessKey = read(&body)?;
    let ready =
        OrganizationId::new(&*controls.shared.access_key.org_id).map_err(|error| Refusal::bad(error.to_string()))?;
    let organization = wanted.org_id.unwrap_or(ready);
    let made = functions::make_access_key(&controls.shared.addresses.aws, &organization, &wanted.permissions).await;
    let made = made.map_err(bad_gateway)?;
    Ok(Json(json!(made)))
}

async fn webhook(State(controls): State<Controls>) -> Json<Value> {
    let (key, api) = (&controls.shared.access_key, &controls.shared.addresses.api);
    let webhook = key.webhook_key();
    let url = format!("{api}/organizations/{}/m3ter/events/{webhook}", key.org_id);
    Json(json!({"key": webhook, "url": url}))
}

async fn clock(State(controls): State<Controls>) -> Json<Value> {
    Json(json!({"now": controls.shared.world.now()}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClockMove {
    now: Option<Timestamp>,
    advance_seconds: Option<i64>,
}

async fn move_clock(State(controls): State<Controls>, body: Bytes) -> Answer {
    let request: ClockMove = read(&body)?;
    let world = &controls.shared.world;
    let to = match (request.now, request.advance_seconds) {
        (Some(now), None) => now,
        (None, Some(seconds)) if seconds >= 0 => world
            .now()
            .checked_add(SignedDuration::from_secs(seconds))
            .map_err(|_| Refusal::bad("advanceSeconds: that is after the end of time"))?,
        (None, Some(_)) => {
            return Err(Refusal::bad("advanceSeconds: the clock never goes backwards"));
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::bad("give either now or advanceSeconds"));
        }
    };
    controls.shared.advance_to(to).await?;
    Ok(Json(json!({"now": world.now()})))
}

async fn queue(State(controls): State<Controls>) -> Json<Value> {
    let messages: Vec<Value> = controls.shared.world.read(|holdings| {
        holdings
            .bills
            .messages()
            .map(
                |message| json!({"messageId": message.id, "body": message.body, "receiveCount": message.receive_count}),
            )
            .collect()
    });
    Json(json!({"messages": messages}))
}

async fn send(State(controls): State<Controls>, body: Bytes) -> Answer {
    // The text goes on the queue as it is, so that unreadable messages can be tried too.
    let body = String::from_utf8(body.to_vec()).map_err(|_| Refusal::bad("the message is not UTF-8 text"))?;
    if body.is_empty() {
        return Err(Refusal::bad("the message is empty"));
    }
    let handled = controls.shared.send(body).await.map_err(|error| match error {
        SendError::Refused(_) => Refusal::bad(error.to_string()),
        SendError::Journal(error) => error.into(),
    })?;
    Ok(Json(json!(handled)))
}

async fn back_up(State(controls): State<Controls>) -> Answer {
    let shared = &controls.shared;
    drain(&shared.world).await;
    let mut kept = shared.backup.lock().await;
    let made = backup::make(&shared.addresses.aws).await.map_err(bad_gateway)?;
    let rows = made.rows();
    *kept = Some(made);
    Ok(Json(json!({"at": shared.world.now(), "rows": rows})))
}

async fn restore(State(controls): State<Controls>) -> Answer {
    let shared = &controls.shared;
    drain(&shared.world).await;
    let kept = shared.backup.lock().await;
    let backup = kept
        .as_ref()
        .ok_or_else(|| Refusal::bad("there is no copy of the table in this process; POST /backup makes one"))?;
    backup::restore(&shared.addresses.aws, backup)
        .await
        .map_err(bad_gateway)?;
    Ok(Json(json!({"rows": backup.rows()})))
}

fn bad_gateway(error: impl ToString) -> Refusal {
    Refusal {
        status: StatusCode::BAD_GATEWAY,
        message: error.to_string(),
    }
}

async fn flush(State(controls): State<Controls>) -> Answer {
    controls.shared.flush().await?;
    Ok(Json(json!({"handled": true})))
}

async fn sweep(State(controls): State<Controls>) -> Answer {
    controls.shared.sweep().await?;
    Ok(Json(json!({"handled": true})))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reconciled {
    date: Option<jiff::civil::Date>,
}

async fn reconcile(State(controls): State<Controls>, body: Bytes) -> Answer {
    let wanted: Reconciled = match body.is_empty() {
        true => Reconciled::default(),
        false => read(&body)?,
    };
    let date = wanted.date.map(|date| date.to_string());
    controls.shared.reconcile(date.as_deref()).await;
    Ok(Json(json!({"handled": true})))
}

async fn cloudtrail(State(controls): State<Controls>) -> Json<Value> {
    let world = &controls.shared.world;
    Json(world.read(|holdings| holdings.marketplace.trail().behaviour()))
}

async fn change_cloudtrail(State(controls): State<Controls>, body: Bytes) -> Answer {
    let change: TrailChange = read(&body)?;
    let world = &controls.shared.world;
    world.change(Change::TrailChanged { change })?;
    Ok(Json(world.read(|holdings| holdings.marketplace.trail().behaviour())))
}

async fn marketplace(State(controls): State<Controls>) -> Json<Value> {
    Json(controls.shared.world.read(|holdings| {
        let marketplace = &holdings.marketplace;
        json!({
            "billed": marketplace.billed(),
            "violations": marketplace.violations(),
            "switches": marketplace.switches(),
        })
    }))
}

async fn change_marketplace(State(controls): State<Controls>, body: Bytes) -> Answer {
    let switches: SwitchChange = read(&body)?;
    let world = &controls.shared.world;
    world.change(Change::SwitchesChanged { switches })?;
    Ok(Json(world.read(|holdings| json!(holdings.marketplace.switches()))))
}

async fn foreign_usage(State(controls): State<Controls>, body: Bytes) -> Answer {
    let mut usage: ForeignUsage = read(&body)?;
    usage.at = usage.at.or(Some(controls.shared.world.now()));
    let outcome = controls.shared.world.decide(|holdings| {
        // Tried on a copy: what cannot be understood must not reach the journal.
        match holdings.marketplace.clone().foreign_usage(&usage) {
            Ok(outcome) => (vec![Change::ForeignUsageReported { usage: usage.clone() }], Ok(outcome)),
            Err(error) => (Vec::new(), Err(Refusal::bad(error.to_string()))),
        }
    })??;
    Ok(Json(json!(outcome)))
}

async fn buyers(State(controls): State<Controls>, body: Bytes) -> Answer {
    let statement: BuyerStatement = read(&body)?;
    let answer = json!(statement);
    controls.shared.world.change(Change::BuyerStated { statement })?;
    Ok(Json(answer))
}

async fn faults(State(controls): State<Controls>) -> Json<Value> {
    Json(json!(controls.shared.faults.left()))
}

async fn set_faults(State(controls): State<Controls>, body: Bytes) -> Answer {
    let wanted: Vec<Fault> = read(&body)?;
    controls
        .shared
        .faults
        .set(wanted)
        .map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(Json(json!(controls.shared.faults.left())))
}

async fn metrics(State(controls): State<Controls>) -> Json<Value> {
    Json(json!(controls.shared.metrics()))
}

async fn requests(State(controls): State<Controls>) -> Json<Value> {
    Json(json!(controls.shared.requests.counts()))
}

async fn clear_requests(State(controls): State<Controls>) -> Json<Value> {
    controls.shared.requests.clear();
    Json(json!({}))
}

async fn dead_letters(State(controls): State<Controls>) -> Json<Value> {
    let letters: Vec<Value> = controls.shared.world.read(|holdings| {
        holdings
            .dead_letters
            .messages()
            .map(|letter| {
                let reason = letter
                    .attributes
                    .get("reason")
                    .and_then(|attribute| attribute.string_value.as_deref());
                json!({
                    "messageId": letter.id, "body": letter.body, "reason": reason,
                    "attributes": letter.attributes, "sentAt": letter.sent_at,
                    "receiveCount": letter.receive_count,
                })
            })
            .collect()
    });
    Json(json!({"deadLetters": letters}))
}

async fn outbox(State(controls): State<Controls>) -> Json<Value> {
    Json(controls.shared.world.read(|holdings| json!({"mails": holdings.outbox})))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entities {
    #[serde(default)]
    bills: Vec<Value>,
    #[serde(default)]
    accounts: Vec<Value>,
    #[serde(default)]
    external_mappings: Vec<Value>,
}

async fn m3ter(State(controls): State<Controls>) -> Json<Value> {
    Json(controls.shared.world.read(|holdings| {
        json!({
            "bills": holdings.m3ter.bills.values().collect::<Vec<_>>(),
            "accounts": holdings.m3ter.accounts.values().collect::<Vec<_>>(),
            "externalMappings": holdings.m3ter.mappings.values().collect::<Vec<_>>(),
        })
    }))
}

async fn fill_m3ter(State(controls): State<Controls>, body: Bytes) -> Answer {
    let entities: Entities = read(&body)?;
    let bills = with_ids("bills", entities.bills)?;
    let accounts = with_ids("accounts", entities.accounts)?;
    let mappings = with_ids("externalMappings", entities.external_mappings)?;
    let answer = json!({"bills": bills.len(), "accounts": accounts.len(), "externalMappings": mappings.len()});
    let change = Change::M3terFilled {
        bills,
        accounts,
        mappings,
    };
    controls.shared.world.change(change)?;
    Ok(Json(answer))
}

fn with_ids(list: &str, entities: Vec<Value>) -> Result<Vec<(String, Value)>, Refusal> {
    entities
        .into_iter()
        .enumerate()
        .map(|(index, entity)| match entity.get("id").and_then(Value::as_str) {
            Some(id) => Ok((id.to_owned(), entity)),
            None => Err(Refusal::bad(format!("{list}[{index}].id: must be a text"))),
        })
        .collect()
}
