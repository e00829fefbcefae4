//! `GET /`: one page that says what is where.

use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use crate::sandbox::Shared;

const TEMPLATE: &str = include_str!("page.html");

/// Puts the page in front of the API function, which answers every other path.
pub fn before(shared: &Arc<Shared>, api: Router) -> Router {
    let html = html(shared);
    Router::new()
        .route("/", get(async move || Html(html)))
        .fallback_service(api)
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
