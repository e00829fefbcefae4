//! `integrationconfigs/{id}/thaw`: an operator lets a configuration of a restored table claim again.

use axum::{Json, extract::Path};
use outbill::{
    effects::access::Permission,
    stories::reconcile::{self, ReconcileError},
};
use serde_json::{Value, json};

use crate::{body::Body, by_hand, call::Call, configurations, error::ApiError, show};

/// `{"reason"}`: whoever says so knows what AWS was sent since the copy, or takes the risk that some of it is billed twice.
pub(crate) async fn thaw(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageCreate)?;
    let by = by_hand::read(&call, body)?;
    let configuration = configurations::stored(&call, &id).await?.id;
    let thawed = reconcile::thaw(&call.outbill, &call.organization, &configuration, Some(&by), call.now).await;
    let doubted = thawed
        .map_err(|error| match error {
            ReconcileError::Store(error) => ApiError::from(error),
            ReconcileError::Ledger(error) => ApiError::from(error),
            ReconcileError::Trail(_) | ReconcileError::Taken(_) => ApiError::not_answered(&error),
        })?
        .ok_or_else(|| {
            ApiError::bad_request(format!(
                "integration configuration {id} is not frozen: it claims and sends what its bills owe"
            ))
        })?;
    Ok(Json(json!({
        "integrationConfigId": configuration,
        "thawed": {"by": by.by, "at": by.at, "reason": by.reason},
        "entriesInDoubt": doubted.iter().map(show::entry_id).collect::<Vec<String>>(),
    })))
}
