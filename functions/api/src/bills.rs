//! `POST bills`: a bill, put on the queue.
//!
//! What cannot be read is refused here, by field, before it is queued. The message is made anew from what is known of the body, so that nothing in it becomes a replay, a cut-over or a tick.

use axum::{Json, http::StatusCode};
use outbill::{
    effects::{access::Permission, queue::BillQueue},
    values::{ids::BillId, message::Message},
};
use serde_json::{Map, Value, json};

use crate::{
    body::{Body, Fields},
    call::Call,
    error::ApiError,
    object::Object,
};

pub(crate) async fn create(call: Call, body: Result<Body, ApiError>) -> Result<(StatusCode, Json<Value>), ApiError> {
    call.needs(Permission::MarketplaceUsageCreate)?;
    // The run's log keeps the message, and with it who sent it.
    let message = message(&call, body)?.with("sentBy", call.by.as_str()).done();
    let text = message.to_string();
    let message = match BillQueue::fits(&text) {
        true => {
            read(&call, message.clone())?;
            message
        }
        // Megabytes, of which there is no second copy: from here on the text is enough.
        false => {
            read(&call, message)?;
            let id = call
                .outbill
                .bodies
                .put(Some(&call.organization), call.now, &text)
                .await?;
            of_organization(&call).with("storedBody", id).done()
        }
    };
    let message_id = call.outbill.queue.send(&message).await?;
    tracing::info!(
        access_key.id = call.by,
        message.id = message_id,
        "A bill was taken from the API."
    );
    let answer = json!({
        "message": "the bill is queued; its runs (integrationruns/Bill/{id}) say what became of it",
        "messageId": message_id,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// `{"orgId"?, "bill", "account"?}`, m3ter's event `{"eventName", "m3terEvent", "account"?}`, a reference `{"orgId"?, "billId"}`,
/// or a bill as it is. A bill may have megabytes: it goes from the body into the message without being copied.
pub(crate) fn message(call: &Call, body: Result<Body, ApiError>) -> Result<Object, ApiError> {
    let Body(body) =
        body.map_err(|error| error.if_too_large("give {\"billId\": …} instead, and the bill is fetched from m3ter"))?;
    let Value::Object(given) = body else {
        return Err(ApiError::bad_request(
            "the body has to be a JSON object: a bill, or {\"bill\": …}",
        ));
    };
    if given.contains_key("m3terEvent") {
        return event(call, given);
    }
    if given.contains_key("billId") && !given.contains_key("id") {
        let mut fields = Fields::of_call(call, Value::Object(given), &["billId"])?;
        let id = fields.required("billId");
        check_id(&mut fields, "billId", &id);
        fields.done()?;
        return Ok(of_organization(call).with("billId", id));
    }
    let mut fields = match given.contains_key("bill") {
        true => Fields::of_call(call, Value::Object(given), &["bill", "account"])?,
        false => Fields::of("", Object::default().with("bill", given).done(), &["bill"], &[])?,
    };
    let bill = fields.object("bill");
    let account = fields.object("account");
    match &bill {
        Some(bill) => check_bill(call, &mut fields, "bill", bill),
        None => fields.refuse("bill", "it is missing; give m3ter's bill"),
    }
    fields.done()?;
    Ok(of_organization(call).maybe("bill", bill).maybe("account", account))
}

fn of_organization(call: &Call) -> Object {
    Object::default().with("orgId", call.organization.as_str())
}

/// What bill-dispatch will read in a message. Whichever part of the body names the bill, it is one of the caller's own organization.
pub(crate) fn read(call: &Call, message: Value) -> Result<Message, ApiError> {
    let message = Message::from_json(message).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let organization = match &message {
        Message::Bill(bill) => &bill.change.bill().organization,
        Message::Reference { organization, .. } => organization,
        Message::Unreadable(bill) => return Err(ApiError::bad_request(bill.error.to_string())),
        _ => return Err(ApiError::bad_request("the body has to be a bill, or {\"bill\": …}")),
    };
    if *organization != call.organization {
        return Err(ApiError::bad_request(
            "m3terEvent.eventData: newDto and oldDto have to be of the organization of the path",
        ));
    }
    Ok(message)
}

fn event(call: &Call, mut given: Map<String, Value>) -> Result<Object, ApiError> {
    let event = given.remove("m3terEvent").unwrap_or_default();
    let name = given.remove("eventName").unwrap_or_default();
    let account = Object::default().maybe("account", given.remove("account"));
    let mut fields = Fields::of("", account.done(), &["account"], &[])?;
    let account = fields.object("account");
    let bill = |side: &str| {
        event
            .get("eventData")
            .and_then(|data| data.get(side))
            .and_then(Value::as_object)
    };
    match bill("newDto").or(bill("oldDto")) {
        Some(bill) if bill.contains_key("orgId") => check_bill(call, &mut fields, "m3terEvent.eventData", bill),
        Some(_) => fields.refuse("m3terEvent.eventData", "the bill's orgId is missing"),
        None => fields.refuse("m3terEvent.eventData", "give m3ter's event with newDto or oldDto"),
    }
    fields.done()?;
    let message = Object::default().with("eventName", name).with("m3terEvent", event);
    Ok(message.maybe("account", account))
}

fn check_bill(call: &Call, fields: &mut Fields, name: &str, bill: &Map<String, Value>) {
    check_id(
        fields,
        &format!("{name}.id"),
        bill.get("id").and_then(Value::as_str).unwrap_or_default(),
    );
    let organization = bill.get("orgId").filter(|organization| !organization.is_null());
    if organization.is_some_and(|organization| organization.as_str() != Some(call.organization.as_str())) {
        fields.refuse(&format!("{name}.orgId"), "it has to be the organization of the path");
    }
}

fn check_id(fields: &mut Fields, name: &str, id: &str) {
    if let Err(error) = BillId::new(id) {
        fields.refuse(name, &format!("{error}; give the bill's id"));
    }
}
