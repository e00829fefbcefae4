//! `POST m3ter/events`: m3ter's notification that a bill changed. It needs no token, but a key of its own, in the header or as the last part of
//! the path: m3ter's webhook destinations have room for a URL, not for a header.
//!
//! A notification is only a hint. Of all that it says the bill's id alone is taken, and the bill is fetched from m3ter; so a forged one can
//! bill nothing, and nothing in it becomes a deletion, a replay, a cut-over or a tick.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
};
use outbill::values::ids::{BillId, OrganizationId};
use serde_json::{Value, json};

use crate::{
    App,
    body::{Raw, read_json},
    error::ApiError,
};

/// The header that may carry the key.
pub(crate) const KEY_HEADER: &str = "x-outbill-key";
const BILL_EVENTS: &str = "billing.bill.";

pub(crate) async fn with_header(
    State(app): State<App>,
    Path(organization): Path<String>,
    headers: HeaderMap,
    body: Result<Raw, ApiError>,
) -> Result<Json<Value>, ApiError> {
    let key = headers.get(KEY_HEADER).and_then(|value| value.to_str().ok());
    notified(&app, &organization, key.unwrap_or_default(), body).await
}

pub(crate) async fn with_path(
    State(app): State<App>,
    Path((organization, key)): Path<(String, String)>,
    body: Result<Raw, ApiError>,
) -> Result<Json<Value>, ApiError> {
    notified(&app, &organization, &key, body).await
}

async fn notified(
    app: &App,
    organization: &str,
    key: &str,
    body: Result<Raw, ApiError>,
) -> Result<Json<Value>, ApiError> {
    let denied = || {
        ApiError::forbidden(format!(
            "give the key of this organization's notifications, as the header {KEY_HEADER} or as the last part of the path"
        ))
    };
    let organization = OrganizationId::new(organization).map_err(|_| denied())?;
    if key.is_empty() || !app.outbill.webhooks.admits(&organization, key, (app.clock)()).await? {
        return Err(denied());
    }
    let Raw(body) = body?;
    let notification = read_json(None, &body)?.unwrap_or_default();
    let answer = match hinted(&organization, &notification)? {
        None => json!({"message": "nothing is to be done: only events of bills are of use here"}),
        Some(bill) => {
            let reference = json!({"orgId": organization, "billId": bill});
            let message_id = app.outbill.queue.send(&reference).await?;
            tracing::info!(message.id = message_id, bill.id = %bill, "A notification told of a bill.");
            json!({
                "message": "the bill is fetched from m3ter; its runs (integrationruns/Bill/{id}) say what became of it",
                "messageId": message_id,
            })
        }
    };
    Ok(Json(answer))
}

/// The bill that a notification is about; none: it is about something else. Errors: a bill event without the bill's id, or of another
/// organization.
fn hinted(organization: &OrganizationId, notification: &Value) -> Result<Option<BillId>, ApiError> {
    let name = notification.get("eventName").and_then(Value::as_str);
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(ApiError::bad_request("eventName: it is missing; give m3ter's event"));
    };
    if !name.starts_with(BILL_EVENTS) {
        return Ok(None);
    }
    let side = |side: &str| {
        let dto = notification.pointer(&format!("/m3terEvent/eventData/{side}"));
        // A bill that is gone may have a newDto of null.
        dto.filter(|dto| !dto.is_null())
    };
    let bill = side("newDto").or(side("oldDto")).unwrap_or(&Value::Null);
    let other = bill.get("orgId").and_then(Value::as_str);
    if other.is_some_and(|other| other != organization.as_str()) {
        return Err(ApiError::bad_request(
            "m3terEvent.eventData: the bill's orgId has to be the organization of the path",
        ));
    }
    let id = bill.get("id").and_then(Value::as_str).unwrap_or_default();
    BillId::new(id)
        .map(Some)
        .map_err(|error| ApiError::bad_request(format!("m3terEvent.eventData: the bill's id: {error}")))
}
