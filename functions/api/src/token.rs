//! `POST /oauth/token`: an access key, as HTTP Basic, for a token. The body is a form or JSON; m3ter's SDKs send JSON.
//!
//! m3ter's Python SDK asks for a token before every call, so a good one costs no look-up while its key is remembered.

use std::convert::Infallible;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{
        HeaderMap,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName},
        request::Parts,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use lambda_http::request::RequestContext;
use outbill::{Outbill, effects::access::TOKEN_SECONDS};
use serde_json::{Value, json};

use crate::{
    App,
    body::{Raw, read_json},
    error::ApiError,
};

//= RFC 6749, section 5.1
//# The authorization server MUST include the HTTP "Cache-Control" response header field with a value of "no-store"
const NOT_KEPT: &str = "no-store";

/// The content type of a form.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) async fn issue(
    State(app): State<App>,
    Address(address): Address,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<([(HeaderName, &'static str); 1], Json<Value>), ApiError> {
    let now = (app.clock)();
    if let Some(seconds) = app.outbill.attempts.wait_seconds(&address, now) {
        return Err(too_many(seconds));
    }
    let error = match exchange(&app.outbill, &headers, &body, now).await {
        Ok(token) => {
            let answer =
                json!({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": null});
            return Ok(([(CACHE_CONTROL, NOT_KEPT)], Json(answer)));
        }
        Err(error) => error,
    };
    if error.is_forbidden() {
        match app.outbill.attempts.failed(&address, now).await {
            Ok(Some(seconds)) => return Err(too_many(seconds)),
            Ok(None) => {}
            // The caller is refused all the same.
            Err(error) => tracing::warn!(reason = %error, "A failed request for a token could not be counted."),
        }
    }
    Err(error)
}

async fn exchange(outbill: &Outbill, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<String, ApiError> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (id, secret) = header.and_then(credentials).ok_or_else(|| {
        ApiError::forbidden("give the access key: Authorization: Basic base64(<access key id>:<api secret>)")
    })?;
    let content_type = headers.get(CONTENT_TYPE);
    let is_form = content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with(FORM));
    let grant_type = match is_form {
        true => form_field(&String::from_utf8_lossy(body), "grant_type"),
        false => {
            let json = read_json(content_type, body)?.unwrap_or_default();
            json.get("grant_type").and_then(Value::as_str).map(str::to_owned)
        }
    };
    if grant_type.as_deref() != Some("client_credentials") {
        return Err(ApiError::bad_request(
            "grant_type: give client_credentials, as a form or as JSON",
        ));
    }
    Ok(outbill.access.issue(&id, &secret, now).await?)
}

fn too_many(seconds: i64) -> ApiError {
    ApiError::too_many(
        format!("too many requests for a token have failed; correct the access key and try again in {seconds} seconds"),
        seconds,
    )
}

/// Where the caller is, as API Gateway says; nothing where there is no gateway, so that all callers count together.
pub(crate) struct Address(String);

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Address, Infallible> {
        let address = match parts.extensions.get::<RequestContext>() {
            Some(RequestContext::ApiGatewayV2(context)) => context.http.source_ip.clone(),
            _ => None,
        };
        Ok(Address(address.unwrap_or_default()))
    }
}

fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    (!id.is_empty()).then(|| (id.to_owned(), secret.to_owned()))
}

fn form_field(form: &str, name: &str) -> Option<String> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs
        .into_iter()
        .find(|(given, _)| *given == name)
        .map(|(_, value)| value.replace('+', " "))?;
    urlencoding::decode(&value).ok().map(|value| value.into_owned())
}
