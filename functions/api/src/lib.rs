//! The API function: m3ter's integration API, so that m3ter's own SDKs work when they are pointed here, and Outbill's additions to it.
//!
//! Every success is 200 (a bill that was queued: 202), every error `{"message"}`. All that is not `POST /oauth/token` needs a token of the
//! organization in the path; without one, or with another organization's, everything is 403, whether it exists or not.

mod bills;
mod body;
mod call;
mod configurations;
mod credentials;
mod error;
mod events;
mod mappings;
mod options;
mod page;
mod query;
mod reconciliations;
mod requeue;
mod runs;
mod token;
mod usage_report;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Method, Uri},
    middleware,
    routing::{get, post},
};
use jiff::Timestamp;
use outbill::Outbill;

use crate::error::ApiError;

/// Gives the time of a call.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

//= https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
//# Invocation payload (request and response): 6 MB each for synchronous
/// The most that a request's body may hold.
pub const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;

/// What every handler is given.
#[derive(Clone)]
pub(crate) struct App {
    outbill: Outbill,
    clock: Clock,
}

/// The whole API over `outbill`; `clock` is asked once per call.
pub fn router(outbill: Outbill, clock: Clock) -> Router {
    let app = App { outbill, clock };
    let organization = Router::new()
        .route(
            "/integrationconfigs",
            get(configurations::list).post(configurations::create),
        )
        .route("/integrationconfigs/available", get(options::available))
        .route("/integrationconfigs/available/systems", get(options::systems))
        .route(
            "/integrationconfigs/available/{system}/entities",
            get(options::entities),
        )
        .route(
            "/integrationconfigs/available/{system}/auth/{entity}",
            get(options::auth),
        )
        .route("/integrationconfigs/values/{system}/{option}", get(options::values))
        .route("/integrationconfigs/entity/{entity}", get(configurations::by_entity))
        .route(
            "/integrationconfigs/{id}",
            get(configurations::retrieve)
                .put(configurations::update)
                .delete(configurations::delete),
        )
        .route("/integrationconfigs/{id}/enable", post(configurations::enable))
        .route(
            "/integrationcredentials",
            get(credentials::list).post(credentials::create),
        )
        .route(
            "/integrationcredentials/{id}",
            get(credentials::retrieve)
                .put(credentials::update)
                .delete(credentials::delete),
        )
        .route("/externalmappings", get(mappings::list).post(mappings::create))
        .route(
            "/externalmappings/{id}",
            get(mappings::retrieve).put(mappings::update).delete(mappings::delete),
        )
        .route("/externalmappings/external/{entity}/{id}", get(mappings::by_m3ter))
        .route(
            "/externalmappings/externalid/{system}/{table}/{id}",
            get(mappings::by_external),
        )
        .route("/externalmappingconfiguration", get(mappings::configuration))
        .route(
            "/externalmappingconfiguration/values/{destination}/{entity}",
            get(mappings::values),
        )
        .route(
            "/externalmappingconfiguration/values/{destination}/{entity}/{credential}",
            get(mappings::values),
        )
        .route("/integrationruns/{kind}", get(runs::retrieve))
        .route("/integrationruns/{kind}/{id}", get(runs::by_entity))
        .route("/integrationruns/{id}/replay", post(runs::replay))
        .route("/integrationruns/{kind}/latest", get(runs::latest_of_several))
        .route("/integrationruns/{kind}/latest/{id}", get(runs::latest))
        .route("/integrationruns/destinations/{id}", get(runs::by_destination))
        .route("/integrationruns/logs/{id}", get(runs::log))
        .route(
            "/integrationdestinations/marketplace/usageReport",
            get(usage_report::list),
        )
        .route(
            "/reconciliations",
            get(reconciliations::list).post(reconciliations::create),
        )
        .route("/reconciliations/{id}", get(reconciliations::retrieve))
        .route("/events", get(events::list))
        .route("/events/types", get(events::types))
        .route("/events/fields", get(events::fields))
        .route("/events/{id}", get(events::retrieve))
        .route("/bills", post(bills::create));
    Router::new()
        .route("/oauth/token", post(token::issue))
        .nest("/organizations/{organization}", organization)
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
        .layer(middleware::from_fn_with_state(app.clone(), call::authorize))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

async fn no_such_call(method: Method, uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is no call {method} {}", uri.path()))
}
