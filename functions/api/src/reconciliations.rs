//! `reconciliations`: what AWS recorded beside what the ledger says, day by day, and a comparison now.

use axum::{
    Json,
    extract::Path,
    http::{
        HeaderMap,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use jiff::civil::Date;
use outbill::{
    decisions::report::{self, Corrective, Reconciliation, Scope, Shown, Status},
    effects::access::Permission,
    stories::reconcile::{self, DAYS_BACK_MAX},
    values::{configuration::IntegrationConfiguration, ids::ConfigurationId},
};
use serde_json::{Map, Value, json};

use crate::{
    body::{Body, Fields},
    call::Call,
    error::ApiError,
    object::Object,
    page::{self, EVENTS_PAGE_MAX},
    query::Query,
};

/// The names of [`Status`].
pub(crate) const STATUSES: &[&str] = &[
    "WAITING",
    "RUNNING",
    "MATCHES",
    "CORRECTED",
    "DIFFERS",
    "PARTLY_CHECKED",
    "NOT_CHECKED",
];

/// A page of reports, newest first, without their discrepancies.
pub(crate) async fn list(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageRetrieve)?;
    let request = page::request(&query, EVENTS_PAGE_MAX)?;
    let date = query.parsed(
        "date",
        |text| text.parse::<Date>().ok(),
        "give a date such as 2025-06-10",
    )?;
    let configuration = query.text("integrationConfigId").map(str::to_owned);
    let known = Status::ALL.map(Status::name).join(", ");
    let status = |text: &str| Status::ALL.into_iter().find(|status| status.name() == text);
    let status = query.parsed("status", status, &format!("choose one of {known}"))?;
    let wanted = |found: &Reconciliation| {
        date.is_none_or(|date| found.date == date)
            && configuration
                .as_ref()
                .is_none_or(|id| found.configuration.as_str() == id)
            && status.is_none_or(|status| found.status == status)
    };
    let found = call
        .outbill
        .reconciliations
        .list(&call.organization, &request, wanted)
        .await?;
    Ok(Json(page::response(&query, found, show)))
}

/// Asks for a day to be compared: `{"date", "integrationConfigId"}`. It begins within a minute; its report says how it goes.
pub(crate) async fn create(call: Call, body: Body) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageCreate)?;
    let Body(body) = body;
    let mut fields = Fields::of_call(&call, body, &["date", "integrationConfigId"])?;
    let date = match fields.required("date") {
        text if text.is_empty() => None,
        _ => fields.parsed("date", |text| {
            text.parse::<Date>().map_err(|_| "give a date such as 2025-06-10")
        }),
    };
    if date.is_some_and(|date| !reconcile::is_within_reach(date, call.now)) {
        let problem = format!("CloudTrail keeps {DAYS_BACK_MAX} days: give one of them, and none that has not begun");
        fields.refuse("date", &problem);
    }
    let id = fields.required("integrationConfigId");
    let configuration = configuration(&call, &id).await?;
    if !id.is_empty() {
        match &configuration {
            None => fields.refuse("integrationConfigId", "there is no such configuration"),
            Some(configuration) if !checks(configuration) => fields.refuse(
                "integrationConfigId",
                "this configuration does not check CloudTrail: set awsMarketplaceCloudtrailChecks to true first",
            ),
            Some(_) => {}
        }
    }
    fields.done()?;
    let (Some(date), Some(configuration)) = (date, configuration) else {
        return Err(ApiError::bad_request("give date and integrationConfigId"));
    };
    let opened = reconcile::ask(&call.outbill, &configuration, date, Some(&call.by), call.now).await?;
    tracing::info!(
        access_key.id = call.by,
        reconciliation.id = opened.id,
        "A day is to be compared with CloudTrail."
    );
    Ok(Json(show(&opened)))
}

async fn configuration(call: &Call, id: &str) -> Result<Option<IntegrationConfiguration>, ApiError> {
    match ConfigurationId::new(id) {
        Ok(id) => Ok(call.outbill.configurations.get(&call.organization, &id).await?),
        Err(_) => Ok(None),
    }
}

fn checks(configuration: &IntegrationConfiguration) -> bool {
    configuration
        .marketplace()
        .is_ok_and(|settings| settings.cloudtrail.is_some())
}

/// One report: as JSON, or as a page for people by `Accept` or `format`.
pub(crate) async fn retrieve(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    call.needs(Permission::MarketplaceUsageRetrieve)?;
    let format = format(&query, &headers)?;
    let shown = reconcile::shown(&call.outbill, &call.organization, &id).await?;
    let (found, listed) = shown.ok_or_else(|| ApiError::not_found(format!("there is no reconciliation {id}")))?;
    let typed = |kind: &'static str, page: String| ([(CONTENT_TYPE, kind)], page).into_response();
    Ok(match format {
        Format::Json => {
            let discrepancies: Vec<Value> = listed.iter().map(show_discrepancy).collect();
            Json(described(&found).with("discrepancies", discrepancies).done()).into_response()
        }
        Format::Text => typed("text/plain; charset=utf-8", report::text(&found, &listed)),
        Format::Html => typed("text/html; charset=utf-8", html(&found, &listed)),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Text,
    Html,
}

fn format(query: &Query, headers: &HeaderMap) -> Result<Format, ApiError> {
    let named = |text: &str| match text {
        "json" => Some(Format::Json),
        "text" => Some(Format::Text),
        "html" => Some(Format::Html),
        _ => None,
    };
    if let Some(format) = query.parsed("format", named, "choose json, text or html")? {
        return Ok(format);
    }
    let accepted = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // The first that is known decides; m3ter's SDKs accept JSON, a browser HTML.
    let kinds = accepted
        .split(',')
        .map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let known = |kind: &str| match kind {
        "text/plain" => Some(Format::Text),
        "text/html" => Some(Format::Html),
        "application/json" | "*/*" => Some(Format::Json),
        _ => None,
    };
    Ok(kinds.filter_map(known).next().unwrap_or(Format::Json))
}

fn html(found: &Reconciliation, listed: &[Shown]) -> String {
    let text = report::text(found, listed);
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Reconciliation of {}</title>\n<pre>{text}</pre>\n</html>\n",
        found.date
    )
}

fn show(found: &Reconciliation) -> Value {
    described(found).done()
}

fn described(found: &Reconciliation) -> Object {
    let tally = &found.tally;
    let line = |(dimension, line): (&String, &report::Line)| {
        json!({
            "dimension": dimension, "date": found.date, "logged": line.logged, "received": line.received,
            "difference": line.difference(), "corrected": line.corrected,
        })
    };
    let mut counts = serde_json::to_value(tally).unwrap_or_default();
    let mut by_reason = Value::Object(Map::new());
    if let Some(counts) = counts.as_object_mut() {
        counts.remove("dimensions");
        by_reason = counts.remove("discrepancies").unwrap_or_default();
    }
    let scope = match found.scope {
        Scope::Day => "DAY",
        Scope::Window => "WINDOW",
        Scope::Restore => "RESTORE",
    };
    Object::default()
        .with("id", found.id.as_str())
        .with("integrationConfigId", found.configuration.as_str())
        .with("date", found.date.to_string())
        .with("scope", scope)
        .with("status", found.status.name())
        .with("dtCreated", found.created.to_string())
        .with("requestedBy", found.asked_by.as_deref())
        .with("unchecked", found.unchecked.clone())
        .with("dimensions", tally.dimensions.iter().map(line).collect::<Vec<Value>>())
        .with("discrepanciesByReason", by_reason)
        .with("counts", counts)
        .maybe("dtCompleted", found.completed.map(|completed| completed.to_string()))
}

fn show_discrepancy(discrepancy: &Shown) -> Value {
    let found = &discrepancy.found;
    let mut shown = serde_json::to_value(found).unwrap_or_default();
    if let Some(shown) = shown.as_object_mut() {
        shown.remove("key");
        shown.insert("hour".to_owned(), json!(format!("{}:00:00Z", found.hour)));
        if let Some(Corrective { hour, quantity, state }) = discrepancy.corrective {
            let corrective = json!({ "hour": format!("{hour}:00:00Z"), "quantity": quantity, "state": state });
            shown.insert("corrective".to_owned(), corrective);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_described() {
        assert_eq!(STATUSES, Status::ALL.map(Status::name));
    }
}
