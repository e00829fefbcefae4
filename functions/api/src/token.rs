//! `POST /oauth/token`: an access key, as HTTP Basic, for a token. The body is a form or JSON; m3ter's SDKs send JSON.

use axum::{
    Json,
    extract::State,
    http::{
        HeaderMap,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use outbill::effects::access::TOKEN_SECONDS;
use serde_json::{Value, json};

use crate::{App, body::Raw, error::ApiError};

pub(crate) async fn issue(State(app): State<App>, headers: HeaderMap, Raw(body): Raw) -> Result<Json<Value>, ApiError> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default();
    let basic = header(AUTHORIZATION).and_then(credentials);
    let (id, secret) = basic.ok_or_else(|| {
        ApiError::forbidden("give the access key: Authorization: Basic base64(<access key id>:<api secret>)")
    })?;
    let grant_type = if content_type.starts_with("application/x-www-form-urlencoded") {
        form_field(&String::from_utf8_lossy(&body), "grant_type")
    } else {
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        json.get("grant_type").and_then(Value::as_str).map(str::to_owned)
    };
    if grant_type.as_deref() != Some("client_credentials") {
        return Err(ApiError::bad_request(
            "grant_type: give client_credentials, as a form or as JSON",
        ));
    }
    let token = app.outbill.access.issue(&id, &secret, (app.clock)()).await?;
    Ok(Json(
        json!({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": null}),
    ))
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
