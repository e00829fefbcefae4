//! The API function: m3ter's integration API, so that m3ter's own SDKs work when they are pointed here, and Outbill's additions to it.
//!
//! Every success is 200 (a bill that was queued: 202), every error `{"message"}`. All but `POST /oauth/token`, `GET /openapi.json` and m3ter's
//! notifications needs a token of the organization in the path; without one, or with another organization's, everything is 403, whether it
//! exists or not.

mod bills;
mod body;
mod by_hand;
mod call;
mod calls;
mod configurations;
mod credentials;
mod error;
mod events;
mod explain;
mod import;
mod mappings;
mod names;
mod notifications;
mod object;
mod openapi;
mod options;
mod page;
mod pending;
mod preview;
mod query;
mod reconciliations;
mod requeue;
mod runs;
mod show;
mod thaw;
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

use crate::{calls::Access, error::ApiError};

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
    let (guarded, open): (Vec<_>, Vec<_>) = calls::all()
        .into_iter()
        .partition(|call| matches!(call.access, Access::Token(_)));
    let guarded = guarded
        .into_iter()
        .fold(Router::new(), |router, call| router.route(&call.path, call.handler))
        .fallback(no_such_call)
        .method_not_allowed_fallback(no_such_call)
        .layer(middleware::from_fn_with_state(app.clone(), call::authorize));
    open.into_iter()
        .fold(guarded, |router, call| {
            router.route(&call.path, call.handler.fallback(no_such_method))
        })
        .layer(middleware::from_fn(call::readable))
        .layer(middleware::from_fn(call::named))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// Says nothing of the path, which may end in a key.
async fn no_such_method(method: Method) -> ApiError {
    ApiError::not_found(format!("this call is not made by {method}"))
}

async fn no_such_call(method: Method, uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is no call {method} {}", uri.path()))
}
