//! `GET /`: one page that says what is where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{Html, Response};
use axum::routing::get;
use serde_json::json;

use crate::sandbox::Shared;

const TEMPLATE: &str = include_str!("page.html");

/// Puts the page in front of the API function, which answers every other path.
pub fn before(shared: &Arc<Shared>, api: Router) -> Router {
    let html = html(shared);
    Router::new()
        .route("/", get(async move || Html(html)))
        .fallback_service(api)
        .layer(middleware::from_fn_with_state(shared.clone(), begin_at_once))
        .layer(middleware::from_fn_with_state(shared.clone(), count_failures))
}

/// API Gateway counts the answers that say that the server failed.
async fn count_failures(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status().is_server_error() {
        let now = shared.world.now();
        shared
            .cloudwatch
            .put("AWS/ApiGateway", "5xx", ("ApiId", "outbill"), now, 1);
    }
    response
}

/// In AWS a schedule begins what was asked for within a minute. The sandbox's clock stands still, so it begins at once.
async fn begin_at_once(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let asks = request.method() == Method::POST && request.uri().path().ends_with("/reconciliations");
    let response = next.run(request).await;
    if asks && response.status().is_success() {
        shared.invoke(json!({ "continue": {} })).await;
    }
    response
}

fn html(shared: &Shared) -> String {
    let key = &shared.access_key;
    let addresses = &shared.addresses;
    [
        ("{{api}}", &addresses.api),
        ("{{aws}}", &addresses.aws),
        ("{{m3ter}}", &addresses.m3ter),
        ("{{controls}}", &addresses.controls),
        ("{{organization}}", &key.org_id),
        ("{{access-key}}", &key.access_key_id),
        ("{{secret}}", &key.api_secret),
    ]
    .into_iter()
    .fold(TEMPLATE.to_owned(), |page, (place, value)| page.replace(place, value))
}
