//! `integrationruns`: what was tried for which bill, and the log of each.

use axum::{Json, extract::Path};
use base64::{Engine, engine::general_purpose::STANDARD};
use outbill::{
    effects::{access::Permission, runs::RunFilter, table::Order},
    values::{
        ids::RunId,
        run::{IntegrationRun, RunStatus},
    },
};
use serde_json::{Value, json};

use crate::{
    body::{Fields, MaybeBody},
    call::Call,
    error::ApiError,
    names,
    object::Object,
    page::{self, PAGE_MAX},
    query::{Edge, Query},
};

/// What of Lambda's 6 MB is left for a log when JSON and headers are taken off.
const LOG_BYTES_MAX: usize = 5_900_000;
/// Who makes and changes runs.
const OUTBILL: &str = "outbill";
/// Bills asked for at once.
const IDS_MAX: usize = 200;

pub(crate) async fn by_entity(
    call: Call,
    Path((_, kind, id)): Path<(String, String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let (filter, request) = (filter(&query)?, page::request(&query, PAGE_MAX)?);
    let entity = (names::entity_type(&kind)?, id.as_str());
    let found = call
        .outbill
        .runs
        .list_by_entity(&call.organization, entity, &filter, &request)
        .await?;
    Ok(Json(page::response(&query, found, show)))
}

pub(crate) async fn by_destination(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let (filter, request) = (filter(&query)?, page::request(&query, PAGE_MAX)?);
    let destination = names::asked(&query, "destination", names::destination)?;
    // Nothing was ever sent to another destination.
    let found = match names::is_sent_to(destination) {
        true => {
            call.outbill
                .runs
                .list_by_destination(&call.organization, &id, &filter, &request)
                .await?
        }
        false => page::empty(),
    };
    Ok(Json(page::response(&query, found, show)))
}

pub(crate) async fn latest(
    call: Call,
    Path((_, kind, id)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let found = call
        .outbill
        .runs
        .latest(&call.organization, names::entity_type(&kind)?, &id)
        .await?;
    found
        .as_ref()
        .map(show)
        .map(Json)
        .ok_or_else(|| ApiError::not_found(format!("{kind} {id} has no integration run")))
}

/// m3ter declares one object for several ids. This is both: the first run's fields, and all of them in `data`.
pub(crate) async fn latest_of_several(
    call: Call,
    Path((_, kind)): Path<(String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let kind = names::entity_type(&kind)?;
    let ids = query.list("ids");
    if ids.is_empty() || ids.len() > IDS_MAX {
        return Err(ApiError::bad_request(format!("ids: give 1 to {IDS_MAX} ids")));
    }
    let mut data = Vec::new();
    for id in ids {
        data.extend(
            call.outbill
                .runs
                .latest(&call.organization, kind, &id)
                .await?
                .as_ref()
                .map(show),
        );
    }
    let mut fields = data.first().and_then(Value::as_object).cloned().unwrap_or_default();
    fields.insert("data".to_owned(), Value::Array(data));
    Ok(Json(Value::Object(fields)))
}

pub(crate) async fn retrieve(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    Ok(Json(show(&stored(&call, &id).await?)))
}

/// The whole log as a JSON list, in base64, under m3ter's capital `Payload`.
pub(crate) async fn log(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let run = stored(&call, &id).await?;
    let log = call.outbill.runs.log(&call.organization, &run.id).await?;
    let payload = STANDARD.encode(Value::Array(log).to_string());
    if payload.len() > LOG_BYTES_MAX {
        return Err(ApiError::too_large(
            "the log is larger than a response can be; read it from the table",
        ));
    }
    Ok(Json(json!({"Payload": payload})))
}

/// Queues the run's bill once more; `{"remap": true}` also cuts it over to the keys that it would go to now. Answers with the run as it is.
pub(crate) async fn replay(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    MaybeBody(body): MaybeBody,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageCreate)?;
    let remap = match body {
        None => false,
        Some(body) => {
            let mut fields = Fields::of_call(&call, body, &["remap"])?;
            let remap = fields.flag("remap") == Some(true);
            fields.done()?;
            remap
        }
    };
    let run = stored(&call, &id).await?;
    let asked = json!({"replayAsked": {"by": call.by, "at": call.now, "remap": remap}});
    call.outbill
        .runs
        .append_log(&call.organization, &run.id, call.now, &asked)
        .await?;
    let message = Object::default()
        .with("orgId", call.organization.as_str())
        .with("integrationRunId", run.id.as_str())
        .with("replay", true)
        .maybe("remap", remap.then_some(true));
    call.outbill.queue.send(&message.done()).await?;
    Ok(Json(show(&run)))
}

fn filter(query: &Query) -> Result<RunFilter, ApiError> {
    let known: Vec<&str> = RunStatus::ALL.iter().map(|status| status.name()).collect();
    let status = query.parsed(
        "status",
        |text| text.parse().ok(),
        &format!("choose one of {}", known.join(", ")),
    )?;
    let order = |text: &str| match text {
        "ASC" => Some(Order::Ascending),
        "DESC" => Some(Order::Descending),
        _ => None,
    };
    Ok(RunFilter {
        status,
        started_after: query.instant("startDate", Edge::Start)?,
        started_until: query.instant("endDate", Edge::End)?,
        order: query
            .parsed("order", order, "choose ASC or DESC")?
            .unwrap_or(Order::Descending),
    })
}

async fn stored(call: &Call, id: &str) -> Result<IntegrationRun, ApiError> {
    let missing = || ApiError::not_found(format!("there is no integration run {id}"));
    let id = RunId::new(id).map_err(|_| missing())?;
    call.outbill
        .runs
        .get(&call.organization, &id)
        .await?
        .ok_or_else(missing)
}

fn show(run: &IntegrationRun) -> Value {
    let started = run.started.to_string();
    let completed = run.completed.map(|instant| instant.to_string());
    Object::default()
        .with("id", run.id.as_str())
        .with("version", run.version)
        .with("dtCreated", started.as_str())
        .with("dtLastModified", completed.as_deref().unwrap_or(&started))
        .with("createdBy", OUTBILL)
        .with("lastModifiedBy", OUTBILL)
        .with("entityType", run.entity_type.as_str())
        .with("entityId", run.entity_id.as_str())
        .with("dtStarted", started.as_str())
        .maybe("dtCompleted", completed.as_deref())
        .with("status", run.status.name())
        .with("destination", run.destination.name())
        .maybe("destinationId", run.destination_id.as_deref())
        .maybe("error", run.error.as_deref())
        .maybe("externalId", run.external_id.as_deref())
        .with(
            "replayedFromIntegrationRunId",
            run.replayed_from.as_ref().map(RunId::as_str),
        )
        .done()
}
