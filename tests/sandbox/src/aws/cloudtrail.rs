//! CloudTrail over HTTP: event history and CloudTrail Lake. What was recorded, and the rules of asking, are in the package `marketplace`.

use axum::response::Response;
use marketplace::MeteringError;
use marketplace::lake::Query;
use serde_json::{Value, json};

use super::identity::Caller;
use super::wire::{Protocol, WireError, json_response, read_body};
use crate::faults::FaultKind;
use crate::holdings::{Change, LakeQuery};
use crate::world::World;

//= https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_GetQueryResults.html
//# MaxQueryResults: valid range 1 to 1000
const ROWS_PER_PAGE_MAX: usize = 1000;

/// Answers an action of CloudTrail.
pub fn answer(world: &World, action: &str, caller: Option<&Caller>, body: &[u8]) -> Result<Value, WireError> {
    let Some(caller) = caller else {
        return Err(WireError {
            status: 403,
            code: "MissingAuthenticationTokenException".to_owned(),
            message: "the request is not signed".to_owned(),
        });
    };
    let request: Value = read_body(body)?;
    let text = |field: &str| {
        request
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match action {
        "LookupEvents" => world.read(|holdings| {
            let trail = holdings.marketplace.trail();
            let found = trail.lookup((&caller.region, caller.account()), &request, world.now());
            found.map_err(refused)
        }),
        "GetEventDataStore" => world.read(|holdings| {
            let store = holdings.marketplace.trail().store();
            Ok(json!({
                "EventDataStoreArn": text("EventDataStore"), "Name": "metering", "Status": store.status,
                "AdvancedEventSelectors": store.advanced_event_selectors, "MultiRegionEnabled": store.multi_region_enabled,
                "OrganizationEnabled": false, "RetentionPeriod": 366, "CreatedTimestamp": 1_577_836_800,
            }))
        }),
        "StartQuery" => {
            let statement = text("QueryStatement");
            Query::parse(&statement).map_err(refused)?;
            let id = uuid::Uuid::new_v4().to_string();
            let query = LakeQuery {
                statement,
                started: world.now(),
                looks: 0,
            };
            world.change(Change::QueryStarted { id: id.clone(), query })?;
            Ok(json!({ "QueryId": id }))
        }
        "GetQueryResults" => results(world, &text("QueryId"), &request),
        other => Err(WireError::caller(
            "UnknownOperationException",
            format!("the sandbox's CloudTrail has no {other}"),
        )),
    }
}

/// The first look finds a query running, the next its rows.
fn results(world: &World, id: &str, request: &Value) -> Result<Value, WireError> {
    let unknown = || {
        WireError::caller(
            "QueryIdNotFoundException",
            "the query ID does not exist or is no longer there",
        )
    };
    let query = world
        .read(|holdings| holdings.queries.get(id).cloned())
        .ok_or_else(unknown)?;
    if query.looks == 0 {
        world.change(Change::QueryLooked { id: id.to_owned() })?;
        return Ok(json!({ "QueryStatus": "RUNNING" }));
    }
    let parsed = Query::parse(&query.statement).map_err(refused)?;
    let asked = request.get("MaxQueryResults").and_then(Value::as_u64);
    let asked = asked
        .and_then(|asked| usize::try_from(asked).ok())
        .unwrap_or(ROWS_PER_PAGE_MAX);
    let skip: usize = match request.get("NextToken").and_then(Value::as_str) {
        None => 0,
        Some(token) => token
            .strip_prefix("row-")
            .and_then(|row| row.parse().ok())
            .ok_or_else(|| WireError::caller("InvalidNextTokenException", "the token is not valid"))?,
    };
    let (page, total, size) = world.read(|holdings| {
        let trail = holdings.marketplace.trail();
        let size = asked.clamp(1, ROWS_PER_PAGE_MAX).min(trail.page_max());
        let (page, total) = parsed.rows(trail, query.started, (skip, size));
        (page, total, size)
    });
    let mut answer = json!({
        "QueryStatus": "FINISHED", "QueryResultRows": page,
        "QueryStatistics": { "ResultsCount": page.len(), "TotalResultsCount": total },
    });
    if skip + size < total {
        answer["NextToken"] = json!(format!("row-{}", skip + size));
    }
    Ok(answer)
}

fn refused(error: MeteringError) -> WireError {
    WireError {
        status: error.http_status,
        code: error.code,
        message: error.message,
    }
}

/// How CloudTrail fails in ways of its own.
pub fn fault(kind: FaultKind, action: &str) -> Response {
    let ended = |status: &str| {
        let body = json!({ "QueryStatus": status, "ErrorMessage": "a fault was asked for" });
        json_response(Protocol::Json11, axum::http::StatusCode::OK, &body)
    };
    let error = |code: &str| WireError::caller(code, "a fault was asked for").response(Protocol::Json11);
    match (kind, action) {
        (FaultKind::QueryFailed, _) => ended("FAILED"),
        (FaultKind::QueryTimedOut, _) => ended("TIMED_OUT"),
        (FaultKind::QueryCancelled, _) => ended("CANCELLED"),
        (FaultKind::TooManyQueries, _) => error("MaxConcurrentQueriesException"),
        (_, "GetQueryResults") => error("QueryIdNotFoundException"),
        (_, _) => error("InvalidNextTokenException"),
    }
}
