//! `POST integrationconfigs/{id}/preview`: what a bill would lead to. Nothing is written.

use axum::{Json, extract::Path};
use outbill::{
    decisions::{claim::Reason, conclusion::Outcome},
    effects::{access::Permission, m3ter::M3terError},
    stories::dispatch::preview::{self, Fate, Preview, PreviewError, PreviewedKey},
    values::{
        ids::ConfigurationId,
        message::{BillMessage, Message},
    },
};
use serde_json::Value;

use crate::{
    bills,
    body::Body,
    call::Call,
    configurations,
    error::ApiError,
    explain::{show_fixed, show_source},
    object::Object,
    show,
};

/// Takes what `POST bills` takes: a bill, a bill with its account, m3ter's event, or a reference to a bill that m3ter holds.
pub(crate) async fn preview(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    body: Result<Body, ApiError>,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageRetrieve)?;
    let missing = || configurations::missing(&id);
    let configuration = ConfigurationId::new(&id).map_err(|_| missing())?;
    let message = bill(&call, bills::message(&call, body)?.done()).await?;
    let previewed = preview::preview(&call.outbill, message, &configuration, call.now).await;
    let previewed = previewed.map_err(|error| match error {
        PreviewError::NoConfiguration(_) => missing(),
        PreviewError::Deletion => ApiError::bad_request(error.to_string()),
        PreviewError::Unavailable(_) => ApiError::not_answered(&error),
    })?;
    Ok(Json(show(&call, &configuration, &previewed)))
}

async fn bill(call: &Call, message: Value) -> Result<BillMessage, ApiError> {
    let message = match bills::read(call, message)? {
        Message::Reference { organization, bill } => {
            let fetched = call.outbill.m3ter.bill(&organization, &bill, call.now).await;
            let fetched = fetched.map_err(|error| match error {
                M3terError::Refused { .. } | M3terError::NoCredentials { .. } => {
                    ApiError::bad_request(format!("billId: {error}"))
                }
                M3terError::Unavailable { .. } | M3terError::Store(_) => ApiError::not_answered(&error),
            })?;
            let message = Object::default()
                .with("orgId", organization.as_str())
                .with("bill", fetched);
            bills::read(call, message.done())?
        }
        message => message,
    };
    match message {
        Message::Bill(message) => Ok(message),
        _ => Err(ApiError::bad_request("the body has to be a bill, or {\"bill\": …}")),
    }
}

fn show(call: &Call, configuration: &ConfigurationId, previewed: &Preview) -> Value {
    let Preview { bill, fate, keys } = previewed;
    let (eligible, outcome, errors) = match fate {
        Fate::Stopped(outcome @ Outcome::Invalid(invalid)) => {
            let errors: Vec<String> = invalid.culprits().iter().map(ToString::to_string).collect();
            (true, outcome.to_string(), errors)
        }
        Fate::Stopped(outcome) => (false, outcome.to_string(), Vec::new()),
        Fate::Stays => (true, Outcome::EqualButOther(Vec::new()).to_string(), Vec::new()),
        Fate::Counted => (true, counted(keys), Vec::new()),
    };
    Object::default()
        .with("billId", bill.reference.bill.as_str())
        .with("accountId", bill.account.as_str())
        .with("integrationConfigId", configuration.as_str())
        .with("version", bill.head.to_string())
        .with("dtPreviewed", call.now.to_string())
        .with("eligible", eligible)
        .with("reason", outcome)
        .with("validationErrors", errors)
        .with("dimensions", keys.iter().map(show_key).collect::<Vec<Value>>())
        .done()
}

fn counted(keys: &[PreviewedKey]) -> String {
    let sent: i64 = keys
        .iter()
        .flat_map(|key| key.plan.entries.iter().map(|entry| entry.quantity))
        .sum();
    format!("the bill would be counted, and {sent} units sent at once")
}

fn show_key(key: &PreviewedKey) -> Value {
    let PreviewedKey { touched, plan, .. } = key;
    let state = &plan.state;
    let (before, after) = key.units;
    let delta = state.total.saturating_sub(key.committed_before);
    let entries: Vec<Value> = plan
        .entries
        .iter()
        .map(|entry| {
            let parts = entry.parts.iter().map(|(bill, part)| (bill, part.units));
            Object::default()
                .with("hour", entry.hour.start().to_string())
                .with("quantity", entry.quantity)
                .with("parts", show::by_bill(parts))
                .done()
        })
        .collect();
    let (carry, waits) = match plan.reason {
        Reason::Carry(units) => (units, 0),
        Reason::Waits(units) => (0, units),
        Reason::Blocked
        | Reason::TriedAgain
        | Reason::InConflict
        | Reason::ConnectionFailing
        | Reason::Frozen
        | Reason::Shadow
        | Reason::Disabled
        | Reason::Disconnected => (0, delta),
        Reason::Even | Reason::Claimed => (0, 0),
    };
    show::usage_key(&touched.key, touched.dimension_name())
        .with("sources", key.sources.iter().map(show_source).collect::<Vec<Value>>())
        .with("fixed", key.fixed.iter().map(show_fixed).collect::<Vec<Value>>())
        .with("unitsBefore", before)
        .with("units", after)
        .with("totalBefore", key.total_before)
        .with("total", state.total)
        .with("committed", key.committed_before)
        .with("delta", delta)
        .with("entries", entries)
        .with("waits", waits)
        .with("carry", carry)
        .with("reason", plan.reason.to_string())
        .done()
}
