//! The API function: m3ter's integration API, so that m3ter's own SDKs work when they are pointed here, and Outbill's additions to it.
//!
//! Every success is 200 (a bill that was queued: 202), every error `{"message"}`. All but `POST /oauth/token` and `GET /openapi.json` needs a
//! token of the organization in the path; without one, or with another organization's, everything is 403, whether it exists or not.

mod bills;
mod body;
mod call;
mod calls;
mod configurations;
mod credentials;
mod error;
mod events;
mod mappings;
mod names;
mod openapi;
mod options;
mod page;
mod query;
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
    calls::all()
        .into_iter()
        .fold(Router::new(), |router, call| router.route(&call.path, call.handler))
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
        .layer(middleware::from_fn_with_state(app.clone(), call::authorize))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

async fn no_such_call(method: Method, uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is no call {method} {}", uri.path()))
}
