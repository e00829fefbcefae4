//! What is wrong with a request is said in words that name the field and the way out, and nothing is changed.

mod common;

use axum::{body::Body, http::Request};
use common::*;
use outbill::values::configuration::DESTINATIONS;
use serde_json::{Value, json};

async fn send(api: &Api, method: &str, path: &str, content_type: Option<&str>, body: impl Into<Body>) -> (u16, String) {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/organizations/{ORGANIZATION}/{path}"))
        .header("authorization", format!("Bearer {}", api.token));
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let (status, answer) = api.send(request.body(body.into()).unwrap()).await;
    let message = answer["message"].as_str().unwrap_or_default().to_owned();
    (status.as_u16(), message)
}

#[tokio::test]
async fn a_body_is_json_and_says_so() {
    let api = api().await;
    let good = configuration().to_string();
    let check = async |content_type: Option<&str>, body: &str, status: u16, hints: &[&str]| {
        let (found, message) = send(&api, "POST", "integrationconfigs", content_type, body.to_owned()).await;
        assert_eq!(found, status, "{content_type:?} {body}: {message}");
        assert!(hints.iter().all(|hint| message.contains(hint)), "{message}");
    };
    check(Some("application/json"), &good, 200, &[]).await;
    check(Some("Application/JSON; charset=utf-8"), &good, 200, &[]).await;
    check(Some("application/merge-patch+json"), &good, 200, &[]).await;
    check(None, &good, 200, &[]).await;
    for wrong in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "json",
        "",
    ] {
        check(Some(wrong), &good, 400, &["content-type", wrong, "application/json"]).await;
    }
    let broken = "{\"destination\": \"AWS\",\n \"entityType\": }";
    check(Some("application/json"), broken, 400, &["not JSON", "line 2 column 16"]).await;
    check(Some("application/json"), "{} {}", 400, &["not JSON", "line 1 column 4"]).await;
    check(Some("application/json"), "", 400, &["empty"]).await;
    check(Some("application/json"), "[1]", 400, &["JSON object"]).await;
    check(Some("application/json"), "\"x\"", 400, &["JSON object"]).await;
}

#[tokio::test]
async fn seven_megabytes_are_too_much_for_every_body() {
    let api = api().await;
    let large = || "x".repeat(7 * 1024 * 1024);
    for (method, path) in [
        ("POST", "integrationconfigs"),
        ("PUT", "integrationconfigs/x"),
        ("POST", "integrationcredentials"),
        ("POST", "externalmappings"),
        ("POST", "integrationruns/x/replay"),
        ("POST", "bills"),
    ] {
        let (status, message) = send(&api, method, path, Some("application/json"), large()).await;
        assert_eq!(status, 413, "{path} {message}");
        assert!(message.contains("larger than 6291456 bytes"), "{message}");
    }
    let token = Request::post("/oauth/token").body(Body::from(large())).unwrap();
    assert_eq!(api.send(token).await.0, 413);
}

#[tokio::test]
async fn an_unknown_name_is_refused_with_the_known_ones() {
    let api = api().await;
    let check = async |path: &str, hints: &[&str]| api.bad(400, hints, "GET", path, Value::Null).await;
    let types = &["entityType", "\"Invoice\"", "Bill, Notification"];
    check("integrationconfigs/entity/Invoice", types).await;
    check("integrationconfigs/available?entityType=Invoice", types).await;
    check("integrationconfigs/available/systems?entityType=Invoice", types).await;
    check("integrationconfigs/available/AWS/auth/Invoice", types).await;
    check("integrationruns/Invoice/b1", types).await;
    check("integrationruns/Invoice/latest/b1", types).await;
    check("integrationruns/Invoice/latest?ids=b1", types).await;
    let known = DESTINATIONS.join(", ");
    let destinations = &["\"Paper\"", known.as_str()];
    check("integrationconfigs/entity/Bill?destination=Paper", destinations).await;
    check("integrationconfigs/available?systemName=Paper", destinations).await;
    check("integrationconfigs/available/Paper/entities", destinations).await;
    check("integrationconfigs/values/Paper/accountIds", destinations).await;
    check("integrationruns/destinations/x?destination=Paper", destinations).await;
    check("externalmappingconfiguration/values/Paper/Account", destinations).await;
    check("events?includeActioned=maybe", &["includeActioned", "true or false"]).await;
    check(
        "events/fields?eventName=x",
        &["eventName", "integration.disabled.error"],
    )
    .await;
    check(
        "integrationdestinations/marketplace/usageReport?billStartDate=June",
        &["billStartDate", "2025-06-01"],
    )
    .await;
    let request = with(
        configuration(),
        json!({"entityType": "Invoice", "destination": "Paper"}),
    );
    api.bad(
        400,
        &[
            "entityType: \"Invoice\"",
            "supported: Bill",
            "\"Paper\"",
            "supported: AWS",
        ],
        "POST",
        "integrationconfigs",
        request,
    )
    .await;
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused() {
    let api = api().await;
    let (status, message) = send(&api, "GET", "integrationconfigs/%FF", None, "").await;
    assert_eq!((status, message.as_str()), (400, "the path is not UTF-8"));
    let (status, message) = send(&api, "GET", "events?eventName=%FF", None, "").await;
    assert_eq!((status, message.as_str()), (400, "the query is not UTF-8"));
    for (method, path) in [
        ("GET", "nothing"),
        ("PATCH", "integrationconfigs"),
        ("DELETE", "integrationconfigs"),
        ("POST", "notifications"),
        ("POST", "integrationdestinations/webhooks"),
        ("POST", "scheduledevents/configurations"),
    ] {
        let (status, message) = send(&api, method, path, None, "").await;
        assert_eq!(status, 404, "{method} {path}");
        assert!(
            message.contains("there is no call") && message.contains(path),
            "{message}"
        );
    }
}

#[tokio::test]
async fn what_is_in_use_stays_and_its_users_are_named() {
    let api = api().await;
    let credential = json!({"type": "AWS_INTEGRATION", "destination": "aws"});
    let credential = api.good("POST", "integrationcredentials", credential).await;
    let connected = with(
        configuration(),
        json!({"integrationCredentialsId": credential["id"], "name": "the user"}),
    );
    let user = api.good("POST", "integrationconfigs", connected).await;
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
    let credential_path = format!("integrationcredentials/{}", id(&credential));
    let user_path = format!("integrationconfigs/{}", id(&user));
    api.bad(400, &[&id(&user), "the user"], "DELETE", &credential_path, Value::Null)
        .await;
    let mut mappings = Vec::new();
    for number in 0..22 {
        let mapping = json!({
            "m3terEntity": "Account", "m3terId": format!("a{number}"), "externalSystem": "AWS",
            "externalTable": "Customer", "externalId": "123456789012", "integrationConfigId": user["id"],
        });
        mappings.push(id(&api.good("POST", "externalmappings", mapping).await));
    }
    api.bad(
        400,
        &[&mappings[0], &mappings[19], "and 2 more"],
        "DELETE",
        &user_path,
        Value::Null,
    )
    .await;
    assert_eq!(api.good("GET", &user_path, Value::Null).await, user);
    for mapping in mappings {
        api.good("DELETE", &format!("externalmappings/{mapping}"), Value::Null)
            .await;
    }
    api.good("DELETE", &user_path, Value::Null).await;
    api.good("DELETE", &credential_path, Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_at_once_one_wins() {
    let api = api().await;
    let credential = json!({"type": "AWS_INTEGRATION", "accountId": "123456789012", "roleName": "Metering"});
    let mapping = json!({
        "m3terEntity": "Account", "m3terId": "a1", "externalSystem": "AWS", "externalTable": "Customer",
        "externalId": "123456789012",
    });
    for (path, body, field) in [
        ("integrationconfigs", configuration(), "name"),
        ("integrationcredentials", credential, "name"),
        ("externalmappings", mapping, "externalId"),
    ] {
        let made = api.good("POST", path, body.clone()).await;
        let path = format!("{path}/{}", made["id"].as_str().unwrap());
        let changes: Vec<Value> = (0..8)
            .map(|number| {
                with(
                    body.clone(),
                    json!({"version": 1, field: format!("12345678901{number}")}),
                )
            })
            .collect();
        let calls = changes.iter().map(|change| api.call("PUT", &path, change.clone()));
        let answers = futures::future::join_all(calls).await;
        let won: Vec<&Value> = answers
            .iter()
            .filter(|(status, _)| *status == 200)
            .map(|(_, answer)| answer)
            .collect();
        assert_eq!(won.len(), 1, "{path}: {answers:?}");
        for (status, answer) in answers.iter().filter(|(status, _)| *status != 200) {
            assert_eq!(*status, 400, "{answer}");
            assert!(
                answer["message"].as_str().unwrap().contains("stored version is 2"),
                "{answer}"
            );
        }
        assert_eq!(api.good("GET", &path, Value::Null).await, without(won[0].clone(), &[]));
    }
}

#[tokio::test]
async fn the_credential_that_reads_cloudtrail_is_there_and_stays() {
    let api = api().await;
    const FIELD: &str = "configData.awsMarketplaceCloudtrailCredentialsId: there is no integration credential";
    let reading = |id: &Value| {
        let settings = json!({"splitUsageLineItems": "ITEM_PER_PRODUCT", "awsMarketplaceCloudtrailCredentialsId": id});
        with(configuration(), json!({"configData": settings}))
    };
    let mistyped = reading(&json!("none"));
    api.bad(400, &[FIELD, "none"], "POST", "integrationconfigs", mistyped.clone())
        .await;
    let credential = json!({"type": "AWS_INTEGRATION", "destination": "aws"});
    let credential = api.good("POST", "integrationcredentials", credential).await;
    let made = api.good("POST", "integrationconfigs", reading(&credential["id"])).await;
    let path = format!("integrationconfigs/{}", made["id"].as_str().unwrap());
    api.bad(
        400,
        &[FIELD, "none"],
        "PUT",
        &path,
        with(mistyped, json!({"version": 1})),
    )
    .await;
    let credential_path = format!("integrationcredentials/{}", credential["id"].as_str().unwrap());
    let hints = ["is used by", made["id"].as_str().unwrap()];
    api.bad(400, &hints, "DELETE", &credential_path, Value::Null).await;
    api.good("DELETE", &path, Value::Null).await;
    api.good("DELETE", &credential_path, Value::Null).await;
}

#[tokio::test]
async fn a_configuration_that_is_too_large_leaves_no_credential() {
    let api = api().await;
    let made = api.good("POST", "integrationconfigs", configuration()).await;
    let path = format!("integrationconfigs/{}", made["id"].as_str().unwrap());
    let role = json!({"type": "AWS_INTEGRATION", "accountId": "123456789012", "roleName": "Metering"});
    let refused = async |change: Value, hint: &str| {
        let body = with(with(configuration(), json!({"credentials": role})), change);
        api.bad(400, &[hint], "POST", "integrationconfigs", body.clone()).await;
        api.bad(400, &[hint], "PUT", &path, with(body, json!({"version": 1})))
            .await;
        let credentials = api.good("GET", "integrationcredentials", Value::Null).await;
        assert_eq!(credentials, json!({"data": []}), "{hint}");
    };
    for field in ["name", "entityId", "destinationId"] {
        let hint = format!("{field}: give at most 200 characters");
        refused(json!({field: "ö".repeat(201)}), &hint).await;
        refused(json!({field: "x".repeat(500_000)}), &hint).await;
    }
    let named = with(role.clone(), json!({"name": "x".repeat(201)}));
    refused(
        json!({"credentials": named}),
        "credentials.name: give at most 200 characters",
    )
    .await;
    let accounts: Vec<String> = (0..4_900).map(|number| format!("{number:0>100}")).collect();
    let settings = json!({"splitUsageLineItems": "ITEM_PER_PRODUCT", "accountIds": accounts});
    refused(json!({"configData": settings}), "configData: a row has").await;
    assert_eq!(api.good("GET", &path, Value::Null).await, made);
    let longest = with(configuration(), json!({"name": "ö".repeat(200), "version": 1}));
    api.good("PUT", &path, longest).await;
}
