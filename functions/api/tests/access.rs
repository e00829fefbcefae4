//! Who may call: tokens that are not good, permissions, and how often one may fail.

mod common;

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, Request, Response},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use common::*;
use http_body_util::BodyExt;
use jiff::SignedDuration;
use lambda_http::request::RequestContext;
use outbill::{
    Outbill,
    effects::{access::Permission, attempts::Attempts},
    values::ids::OrganizationId,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

const OWN: &str = "integrationconfigs";

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// RFC 2104, written out: what a forger has who does not have the key.
fn hmac_sha256(key: &[u8], text: &str) -> String {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let hash = |pad: u8, rest: &[u8]| {
        let mut hash = Sha256::new();
        hash.update(block.map(|byte| byte ^ pad));
        hash.update(rest);
        hash.finalize()
    };
    URL_SAFE_NO_PAD.encode(hash(0x5c, &hash(0x36, text.as_bytes())))
}

#[tokio::test]
async fn a_token_that_outbill_did_not_sign_is_worth_nothing() {
    let api = api().await;
    let [header, claims, signature] = api.token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let more = with(
        decoded(claims),
        json!({"orgId": "other", "permissions": ["CONFIG_RETRIEVE"]}),
    );
    let none = with(decoded(header), json!({"alg": "none"}));
    let other_kind = with(decoded(header), json!({"alg": "HS512"}));
    let other_key = with(decoded(header), json!({"kid": "another"}));
    let no_key = without(decoded(header), &["kid"]);
    let forged = |header: &Value, claims: &Value| {
        let text = format!("{}.{}", encoded(header), encoded(claims));
        let signature = hmac_sha256(b"guess", &text);
        format!("{text}.{signature}")
    };
    let long_lived = with(decoded(claims), json!({"exp": i64::MAX}));
    for token in [
        format!("{header}.{}.{signature}", encoded(&more)),
        format!("{}.{claims}.", encoded(&none)),
        format!("{}.{claims}.{signature}", encoded(&none)),
        format!("{}.{claims}.{signature}", encoded(&other_kind)),
        forged(&decoded(header), &decoded(claims)),
        forged(&other_key, &decoded(claims)),
        forged(&no_key, &decoded(claims)),
        format!("{header}.{}.{signature}", encoded(&long_lived)),
        format!("{header}.{claims}"),
        String::new(),
    ] {
        let (status, body) = as_caller(&api, &token, OWN).await;
        assert_eq!(status, 403, "{token} {body}");
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    }
    assert_eq!(as_caller(&api, &api.token, OWN).await.0, 200);
    *api.clock.lock().unwrap() = now() + SignedDuration::from_secs(18_000);
    let (status, body) = as_caller(&api, &api.token, OWN).await;
    assert_eq!(status, 403);
    assert!(body["message"].as_str().unwrap().contains("expired"), "{body}");
}

#[tokio::test]
async fn another_organization_looks_like_none() {
    let mut api = api().await;
    let made = api.good("POST", OWN, configuration()).await;
    let path = format!("{OWN}/{}", made["id"].as_str().unwrap());
    let other = OrganizationId::new("other").unwrap();
    let access = &api.world.outbill.access;
    api.key = access.create_access_key(&other, Permission::ALL).await.unwrap();
    let foreign = api.new_token().await;
    let existing = as_caller(&api, &foreign, &path).await;
    let unknown = {
        let request = Request::get("/organizations/nobody/integrationconfigs/x")
            .header("authorization", format!("Bearer {foreign}"));
        let (status, body) = api.send(request.body(Body::empty()).unwrap()).await;
        (status.as_u16(), body)
    };
    assert_eq!(existing.0, 403);
    assert_eq!(
        existing, unknown,
        "what exists elsewhere is not told from what does not"
    );
}

#[tokio::test]
async fn every_call_needs_the_permission_that_is_described() {
    let mut api = api().await;
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let (_, document) = api.send(request).await;
    let mut tokens = Vec::new();
    for lacking in Permission::ALL {
        let others: Vec<Permission> = Permission::ALL.iter().copied().filter(|one| one != lacking).collect();
        let access = &api.world.outbill.access;
        api.key = access.create_access_key(&organization(), &others).await.unwrap();
        tokens.push((json!(lacking), api.new_token().await));
    }
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let permission = &described["x-permission"];
            if permission.is_null() {
                continue;
            }
            let (_, token) = tokens.iter().find(|(lacking, _)| lacking == permission).unwrap();
            let path = path.replace("{orgId}", ORGANIZATION).replace(['{', '}'], "");
            let request = Request::builder()
                .method(&*method.to_uppercase())
                .uri(&path)
                .header("authorization", format!("Bearer {token}"))
                .body(Body::from("{}"));
            let (status, body) = api.send(request.unwrap()).await;
            let message = body["message"].as_str().unwrap();
            assert_eq!(status, 403, "{method} {path}: {body}");
            assert!(
                message.contains(permission.as_str().unwrap()),
                "{method} {path}: {body}"
            );
            checked += 1;
        }
    }
    assert!(checked >= 41, "{checked}");
}

#[tokio::test]
async fn a_hundred_failures_in_a_minute_are_enough_wherever_they_are_counted() {
    let api = api().await;
    // A second instance of the function: it shares the table, and nothing else.
    let second = Outbill {
        attempts: Attempts::new(api.world.outbill.table.clone()),
        ..api.world.outbill.clone()
    };
    let clock = Arc::clone(&api.clock);
    let second = api::router(second, Arc::new(move || *clock.lock().unwrap()));
    *api.clock.lock().unwrap() = now() + SignedDuration::from_secs(13);

    let wrong = format!("{}:wrong", api.key.0);
    let right = format!("{}:{}", api.key.0, api.key.1);
    let ask_from = async |router: &axum::Router, key: &str, address: Option<&str>| {
        let mut request = Request::post("/oauth/token")
            .header("authorization", format!("Basic {}", STANDARD.encode(key)))
            .header("content-type", "application/json")
            .body(Body::from(r#"{"grant_type":"client_credentials"}"#))
            .unwrap();
        if let Some(address) = address {
            request.extensions_mut().insert(gateway(address));
        }
        let response: Response<Body> = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (parts.status.as_u16(), parts.headers, body)
    };
    let ask = async |router: &axum::Router, key: &str| ask_from(router, key, None).await;
    for number in 1..=60 {
        assert_eq!(ask(&api.router, &wrong).await.0, 403, "{number}");
    }
    for number in 61..=100 {
        let unknown = format!("nobody-{number}:x");
        assert_eq!(ask(&second, &unknown).await.0, 403, "{number}");
    }
    let refused = |(status, headers, body): (u16, HeaderMap, Value)| {
        assert_eq!(status, 429, "{body}");
        assert_eq!(headers["retry-after"], "47");
        assert!(body["message"].as_str().unwrap().contains("47 seconds"), "{body}");
    };
    refused(ask(&api.router, &wrong).await);
    refused(ask(&second, &wrong).await);
    // An instance that knows looks nothing up any more, not even a good key.
    refused(ask(&second, &right).await);
    // Whoever calls from elsewhere is not held up.
    assert_eq!(ask_from(&second, &right, Some("198.51.100.7")).await.0, 200);
    assert_eq!(ask_from(&second, &wrong, Some("198.51.100.7")).await.0, 403);
    let long = format!("{}:x", "k".repeat(5_000));
    assert_eq!(ask_from(&second, &long, Some("198.51.100.8")).await.0, 403);
    *api.clock.lock().unwrap() = now() + SignedDuration::from_secs(60);
    let (status, headers, _) = ask(&second, &right).await;
    assert_eq!((status, &headers["cache-control"]), (200, &"no-store".parse().unwrap()));
    assert_eq!(ask(&api.router, &wrong).await.0, 403);
}

/// What API Gateway says of a call from an address.
fn gateway(address: &str) -> RequestContext {
    let event = include_str!("../../../events/token-request.json");
    let event: Value = serde_json::from_str(event).unwrap();
    let mut context = event["requestContext"].clone();
    context["http"]["sourceIp"] = json!(address);
    serde_json::from_value(context).unwrap()
}

async fn as_caller(api: &Api, token: &str, path: &str) -> (u16, Value) {
    let request = Request::get(format!("/organizations/{ORGANIZATION}/{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap();
    let (status, body) = api.send(request).await;
    (status.as_u16(), body)
}
