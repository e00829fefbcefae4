//! `events`: what integrations raised.

use axum::{Json, extract::Path};
use outbill::effects::{
    access::Permission,
    events::{Event, EventFilter},
};
use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    error::ApiError,
    page::{self, EVENTS_PAGE_MAX},
    query::Query,
};

/// The events that Outbill raises; m3ter's names.
pub(crate) const TYPES: &[&str] = &[
    "integration.validation.error",
    "integration.missingaccountmapping.error",
    "integration.authentication.error",
    "integration.perform.error",
    "integration.disabled.error",
];

/// The fields of their documents, and the kind of each.
const DOCUMENT: &[(&str, &str)] = &[
    ("new.accountId", "string"),
    ("new.destination", "string"),
    ("new.destinationId", "string"),
    ("new.entityId", "string"),
    ("new.entityType", "string"),
    ("new.error", "string"),
    ("new.id", "string"),
    ("new.integrationConfigId", "string"),
    ("new.integrationRunId", "string"),
    ("new.kind", "string"),
    ("new.message", "string"),
];

/// m3ter's categories. Outbill raises events of the second only.
pub(crate) const CATEGORIES: &[&str] = &[
    "Notification",
    INTEGRATION_EVENT,
    "IngestValidationFailure",
    "DataExportJobFailure",
];
const INTEGRATION_EVENT: &str = "IntegrationEvent";

pub(crate) async fn list(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let request = page::request(&query, EVENTS_PAGE_MAX)?;
    let known = |text: &str| CATEGORIES.iter().find(|category| **category == text).copied();
    let category = query.parsed("eventType", known, &format!("choose one of {}", CATEGORIES.join(", ")))?;
    let of_notification = query
        .text("notificationId")
        .or(query.text("notificationCode"))
        .is_some();
    // None is ever actioned, so both answers give the same list.
    query.parsed(
        "includeActioned",
        |text| text.parse::<bool>().ok(),
        "give true or false",
    )?;
    let filter = EventFilter {
        name: query.text("eventName").map(str::to_owned),
        resource_id: query.text("resourceId").map(str::to_owned),
        account_id: query.text("accountId").map(str::to_owned),
        ids: query.list("ids"),
    };
    let has_others = filter
        != EventFilter {
            ids: filter.ids.clone(),
            ..EventFilter::default()
        };
    if !filter.ids.is_empty() && (has_others || category.is_some() || of_notification) {
        return Err(ApiError::bad_request("ids: it cannot be used with other filters"));
    }
    // Nothing here is raised for a notification.
    let none = of_notification || category.is_some_and(|category| category != INTEGRATION_EVENT);
    let found = match none {
        true => page::empty(),
        false => call.outbill.events.list(&call.organization, &filter, &request).await?,
    };
    Ok(Json(page::response(&query, found, show)))
}

pub(crate) async fn retrieve(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let found = call.outbill.events.get(&call.organization, &id).await?;
    found
        .as_ref()
        .map(show)
        .map(Json)
        .ok_or_else(|| ApiError::not_found(format!("there is no event {id}")))
}

pub(crate) async fn types(call: Call) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    Ok(Json(json!({"events": TYPES})))
}

pub(crate) async fn fields(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let known = |text: &str| TYPES.iter().find(|name| **name == text).copied();
    let wanted = query.parsed("eventName", known, &format!("choose one of {}", TYPES.join(", ")))?;
    let document: Map<String, Value> = DOCUMENT
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), Value::from(*kind)))
        .collect();
    let events: Map<String, Value> = TYPES
        .iter()
        .filter(|name| wanted.is_none_or(|wanted| wanted == **name))
        .map(|name| ((*name).to_owned(), Value::Object(document.clone())))
        .collect();
    Ok(Json(json!({"events": events})))
}

fn show(event: &Event) -> Value {
    json!({
        "id": event.id,
        "eventName": event.name,
        "eventTime": event.time,
        "m3terEvent": event.m3ter_event,
        "dtActioned": null,
    })
}
