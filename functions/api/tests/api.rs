//! The API as its callers see it: tokens, configurations, mappings, lists.

mod common;

use axum::{body::Body, http::Request};
use base64::{Engine, engine::general_purpose::STANDARD};
use common::*;
use jiff::SignedDuration;
use outbill::effects::access::Permission;
use serde_json::{Value, json};

#[tokio::test]
async fn without_a_token_of_the_organization_everything_is_403() {
    let api = api().await;
    let check = async |path: &str, authorization: Option<String>, expect: u16| {
        let mut request = Request::get(path);
        if let Some(authorization) = &authorization {
            request = request.header("authorization", authorization);
        }
        let (status, body) = api.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status.as_u16(), expect, "{path} {authorization:?} {body}");
    };
    let good = format!("Bearer {}", api.token);
    let own = format!("/organizations/{ORGANIZATION}/integrationconfigs");
    check(&own, Some(good.clone()), 200).await;
    check(&own, Some(good.replace("Bearer", "bearer")), 200).await;
    check(&own, None, 403).await;
    check(&own, Some("Bearer x".to_owned()), 403).await;
    check(&own, Some(format!("{good}x")), 403).await;
    check("/organizations/other/integrationconfigs", Some(good.clone()), 403).await;
    check("/organizations/other/nowhere", Some(good.clone()), 403).await;
    check("/nowhere", None, 403).await;
    check("/nowhere", Some(good.clone()), 404).await;
    check(&format!("{own}/none"), Some(good.clone()), 404).await;
    check(&format!("{own}/a%23b"), Some(good.clone()), 404).await;
    *api.clock.lock().unwrap() = now() + SignedDuration::from_secs(18_000);
    check(&own, Some(good), 403).await;
}

#[tokio::test]
async fn a_token_is_given_for_a_form_or_json() {
    let api = api().await;
    let check = async |key: &str, kind: &str, body: &'static str, expect: u16| {
        let request = Request::post("/oauth/token")
            .header("authorization", format!("Basic {}", STANDARD.encode(key)))
            .header("content-type", kind)
            .body(Body::from(body))
            .unwrap();
        let (status, answer) = api.send(request).await;
        assert_eq!(status.as_u16(), expect, "{key} {body} {answer}");
    };
    let key = format!("{}:{}", api.key.0, api.key.1);
    const FORM: &str = "application/x-www-form-urlencoded";
    check(&key, FORM, "grant_type=client_credentials", 200).await;
    check(
        &key,
        "application/json",
        r#"{"grant_type":"client_credentials","scope":"x"}"#,
        200,
    )
    .await;
    check(&key, FORM, "grant_type=password", 400).await;
    check(&key, "application/json", "", 400).await;
    check(
        &format!("{}:wrong", api.key.0),
        FORM,
        "grant_type=client_credentials",
        403,
    )
    .await;
    check("nobody:x", FORM, "grant_type=client_credentials", 403).await;
    check("no colon", FORM, "grant_type=client_credentials", 403).await;
}

#[tokio::test]
async fn permissions_are_checked_per_call() {
    let mut api = api().await;
    let permissions = [Permission::ConfigRetrieve];
    api.key = api
        .world
        .outbill
        .access
        .create_access_key(&organization(), &permissions)
        .await
        .unwrap();
    api.token = api.new_token().await;
    api.good("GET", "integrationconfigs", Value::Null).await;
    api.bad(403, &["CONFIG_CREATE"], "POST", "integrationconfigs", configuration())
        .await;
    api.bad(403, &["CONFIG_DELETE"], "DELETE", "externalmappings/x", Value::Null)
        .await;
    api.bad(403, &["MARKETPLACE_USAGE_CREATE"], "POST", "bills", json!({"id": "b1"}))
        .await;
}

#[tokio::test]
async fn configurations_are_created_changed_and_deleted() {
    let api = api().await;
    let made = api.good("POST", "integrationconfigs", configuration()).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let expect = json!({
        "version": 1, "dtCreated": "2025-06-10T10:00:00Z", "dtLastModified": "2025-06-10T10:00:00Z",
        "createdBy": api.key.0, "lastModifiedBy": api.key.0, "entityType": "Bill", "destination": "AWS", "name": "bills",
        "configData": {"splitUsageLineItems": "ITEM_PER_PRODUCT", "accountFilter": "address.country == UK"},
        "authorized": false, "enabled": true, "triggerType": "EVENT"
    });
    assert_eq!(without(made.clone(), &["id"]), expect);
    let path = format!("integrationconfigs/{id}");
    assert_eq!(api.good("GET", &path, Value::Null).await, made);
    let of_entity = api
        .good("GET", "integrationconfigs/entity/Bill?destination=aws", Value::Null)
        .await;
    assert_eq!((&of_entity["id"], &of_entity["data"][0]), (&made["id"], &made));
    api.bad(
        404,
        &["Notification"],
        "GET",
        "integrationconfigs/entity/Notification",
        Value::Null,
    )
    .await;

    let role = json!({"type": "AWS_INTEGRATION", "accountId": "123456789012", "roleName": "Metering"});
    let credential = api.good("POST", "integrationcredentials", role).await;
    assert!(credential["externalId"].is_string());
    api.wait_for(&of_configuration(&id), "b1", "r1").await;
    let change = with(
        configuration(),
        json!({"version": 1, "integrationCredentialsId": credential["id"], "name": null}),
    );
    let changed = api.good("PUT", &path, change.clone()).await;
    assert_eq!((&changed["version"], &changed["authorized"]), (&json!(2), &json!(true)));
    assert!(changed.get("name").is_none());
    assert_eq!(
        api.queued(),
        [json!({"orgId": ORGANIZATION, "integrationRunId": "r1", "billId": "b1", "replay": true})]
    );
    api.bad(400, &["version: 1", "stored version is 2"], "PUT", &path, change)
        .await;

    api.wait_for(&of_configuration(&id), "b1", "r2").await;
    let configuration_id = outbill::values::ids::ConfigurationId::new(&*id).unwrap();
    assert!(
        api.world
            .outbill
            .configurations
            .disable(&organization(), &configuration_id)
            .await
            .unwrap()
    );
    assert_eq!(api.good("GET", &path, Value::Null).await["enabled"], json!(false));
    assert_eq!(
        api.good("POST", &format!("{path}/enable"), Value::Null).await["enabled"],
        json!(true)
    );
    assert_eq!(api.queued().len(), 1);

    let credential_path = format!("integrationcredentials/{}", credential["id"].as_str().unwrap());
    let shown = api.good("GET", &credential_path, Value::Null).await;
    assert_eq!(
        (shown.get("externalId"), &shown["roleName"]),
        (None, &json!("Metering"))
    );
    api.bad(400, &[id.as_str()], "DELETE", &credential_path, Value::Null)
        .await;
    assert_eq!(api.good("DELETE", &path, Value::Null).await["id"], json!(id));
    api.bad(404, &[id.as_str()], "DELETE", &path, Value::Null).await;
    api.good("DELETE", &credential_path, Value::Null).await;
    assert_eq!(
        api.good("GET", "integrationcredentials", Value::Null).await,
        json!({"data": []})
    );
}

#[tokio::test]
async fn a_bad_configuration_is_told_everything_at_once() {
    let api = api().await;
    let check = async |change: Value, hints: &[&str]| {
        api.bad(400, hints, "POST", "integrationconfigs", with(configuration(), change))
            .await;
    };
    check(json!({"destination": "Stripe"}), &["destination", "supported: AWS"]).await;
    check(json!({"entityType": "Notification"}), &["entityType", "Bill"]).await;
    check(json!({"version": 1}), &["version: leave it out"]).await;
    check(json!({"colour": 1, "enabled": true}), &["colour", "enabled"]).await;
    check(json!({"orgId": "other"}), &["orgId"]).await;
    check(
        json!({"configData": {"a": 1}}),
        &["configData.a", "configData.splitUsageLineItems"],
    )
    .await;
    check(json!({"configData": []}), &["configData: give an object"]).await;
    check(
        json!({"integrationCredentialsId": "none"}),
        &["integrationCredentialsId", "none"],
    )
    .await;
    check(
        json!({"credentials": {"type": "HTTP_BASIC"}}),
        &["credentials.type", "AWS_INTEGRATION"],
    )
    .await;
    check(
        json!({"credentials": {"type": "AWS_INTEGRATION", "accountId": "1"}}),
        &["credentials.roleName"],
    )
    .await;
    check(
        json!({"entityType": null, "destination": 3}),
        &["entityType: it is missing", "destination: give a text"],
    )
    .await;
    api.bad(400, &["empty"], "POST", "integrationconfigs", Value::Null)
        .await;
    let inline = json!({"type": "AWS_INTEGRATION", "accountId": "123456789012", "roleName": "Metering"});
    let made = api
        .good(
            "POST",
            "integrationconfigs",
            with(configuration(), json!({"credentials": inline})),
        )
        .await;
    assert!(made["credentials"]["externalId"].is_string() && made["authorized"] == json!(true));
    let large = json!({"name": "x".repeat(api::BODY_BYTES_MAX)});
    api.bad(413, &["larger"], "POST", "integrationconfigs", large).await;
    let heavy: Vec<String> = (0..4_900).map(|n| format!("{n:0>100}")).collect();
    let heavy = json!({"configData": {"splitUsageLineItems": "ITEM_PER_PRODUCT", "accountIds": heavy}});
    check(heavy, &["bytes"]).await;
}

#[tokio::test]
async fn lists_are_paged_and_tokens_belong_to_them() {
    let api = api().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(
            0,
            api.good("POST", "integrationconfigs", configuration()).await["id"].clone(),
        );
    }
    let (mut found, mut path) = (Vec::new(), "integrationconfigs?pageSize=2".to_owned());
    let mut tokens = Vec::new();
    loop {
        let page = api.good("GET", &path, Value::Null).await;
        found.extend(page["data"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        let Some(token) = page["nextToken"].as_str() else { break };
        tokens.push(token.to_owned());
        path = format!("integrationconfigs?pageSize=2&nextToken={token}");
    }
    assert_eq!((found, tokens.len()), (ids, 2));
    let token = &tokens[0];
    for path in [
        format!("externalmappings?nextToken={token}"),
        format!("integrationconfigs?destinationId=x&nextToken={token}"),
        format!("integrationconfigs?nextToken={token}A"),
        "integrationconfigs?nextToken=x".to_owned(),
    ] {
        api.bad(400, &["nextToken"], "GET", &path, Value::Null).await;
    }
    for size in ["0", "201", "x", "-1"] {
        api.bad(
            400,
            &["pageSize"],
            "GET",
            &format!("integrationconfigs?pageSize={size}"),
            Value::Null,
        )
        .await;
    }
    api.bad(400, &["pageSize"], "GET", "events?pageSize=101", Value::Null)
        .await;
}

#[tokio::test]
async fn mappings_are_created_found_changed_and_deleted() {
    let api = api().await;
    let account = json!({
        "m3terEntity": "account", "m3terId": "a1", "externalSystem": "aws", "externalTable": "Customer",
        "externalId": "123456789012"
    });
    api.wait_for(&of_account("a1"), "b1", "r1").await;
    let made = api.good("POST", "externalmappings", account.clone()).await;
    assert_eq!(
        (&made["m3terEntity"], &made["externalSystem"]),
        (&json!("Account"), &json!("AWS"))
    );
    assert_eq!(
        api.queued(),
        [json!({"orgId": ORGANIZATION, "integrationRunId": "r1", "billId": "b1", "replay": true})]
    );
    let id = made["id"].as_str().unwrap();
    let again = with(account.clone(), json!({"externalId": "999999999999"}));
    api.bad(400, &[id, "123456789012"], "POST", "externalmappings", again.clone())
        .await;
    let linked = with(again, json!({"integrationConfigId": "none"}));
    api.bad(400, &["integrationConfigId"], "POST", "externalmappings", linked)
        .await;
    let product = json!({
        "m3terEntity": "Product", "m3terId": "p1", "externalSystem": "AWS", "externalTable": "Dimension",
        "externalId": "abc-users"
    });
    api.good("POST", "externalmappings", product.clone()).await;
    let bad = with(product, json!({"m3terId": "p2", "externalId": "users"}));
    api.bad(400, &["externalId", "hyphen"], "POST", "externalmappings", bad)
        .await;

    let count = async |path: &str, expect: usize| {
        let page = api.good("GET", path, Value::Null).await;
        assert_eq!(page["data"].as_array().unwrap().len(), expect, "{path}: {page}");
    };
    count("externalmappings", 2).await;
    count("externalmappings?externalSystemId=AWS&m3terIds=p1,x", 1).await;
    count("externalmappings?m3terIds=p1&m3terIds=a1", 2).await;
    count("externalmappings?integrationConfigId=x", 0).await;
    count("externalmappings/external/Account/a1", 1).await;
    count("externalmappings/external/Account/a2", 0).await;
    count("externalmappings/externalid/AWS/Customer/123456789012", 1).await;
    count("externalmappings/externalid/AWS/Dimension/abc-users", 1).await;

    let path = format!("externalmappings/{id}");
    let change = with(account, json!({"externalId": "111111111111", "version": 1}));
    let changed = api.good("PUT", &path, change.clone()).await;
    assert_eq!(
        (&changed["version"], &changed["externalId"]),
        (&json!(2), &json!("111111111111"))
    );
    api.bad(400, &["version"], "PUT", &path, change.clone()).await;
    api.bad(400, &["version"], "PUT", &path, without(change, &["version"]))
        .await;
    count("externalmappings/externalid/AWS/Customer/123456789012", 0).await;
    assert_eq!(api.good("DELETE", &path, Value::Null).await, changed);
    api.bad(404, &[id], "GET", &path, Value::Null).await;
    let known = api.good("GET", "externalmappingconfiguration", Value::Null).await;
    assert_eq!(
        known["externalSystems"][0]["tables"],
        json!(["Customer", "License", "Dimension"])
    );
    assert_eq!(
        api.good("GET", "externalmappingconfiguration/values/AWS/Account", Value::Null)
            .await,
        json!([])
    );
}

#[tokio::test]
async fn what_a_configuration_can_be_is_described() {
    let api = api().await;
    let available = api
        .good(
            "GET",
            "integrationconfigs/available?systemName=AWS&entityType=Bill",
            Value::Null,
        )
        .await;
    let aws = &available["supportedEntities"]["Bill"]["destinations"][0];
    assert_eq!(aws["apiName"], json!("AWS"));
    assert_eq!(
        api.good("GET", "integrationconfigs/available/systems", Value::Null)
            .await[0]["identifier"],
        json!("AWS")
    );
    let entities = api
        .good("GET", "integrationconfigs/available/AWS/entities", Value::Null)
        .await;
    assert_eq!(entities.as_array().unwrap().len(), 1);
    let auth = api
        .good("GET", "integrationconfigs/available/AWS/auth/Bill", Value::Null)
        .await;
    assert_eq!(auth[0]["name"], json!("accountId"));
    let values = api
        .good(
            "GET",
            "integrationconfigs/values/AWS/excludedLineItemTypes",
            Value::Null,
        )
        .await;
    assert_eq!(values.as_array().unwrap().len(), 19);
    api.bad(
        404,
        &["Stripe"],
        "GET",
        "integrationconfigs/values/Stripe/x",
        Value::Null,
    )
    .await;
}
