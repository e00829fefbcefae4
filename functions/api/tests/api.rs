//! The API over a real table engine: m3ter's protocol, call by call.

#[path = "../../../shared/tests/support/mod.rs"]
mod support;

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use outbill::{
    effects::access::Permission,
    values::{
        configuration::DestinationKind,
        ids::{BillId, OrganizationId, RunId},
        run::{IntegrationRun, RunStatus},
    },
};
use serde_json::{Value, json};
use support::{World, world};
use tower::ServiceExt;

const ORGANIZATION: &str = "396d788d-5174-4e8b-9d69-a41f4671fc33";

struct Api {
    world: World,
    router: Router,
    clock: Arc<Mutex<Timestamp>>,
    token: String,
    key: (String, String),
}

fn now() -> Timestamp {
    "2025-06-10T10:00:00Z".parse().unwrap()
}

fn organization() -> OrganizationId {
    OrganizationId::new(ORGANIZATION).unwrap()
}

async fn api() -> Api {
    let world = world().await;
    let key = world
        .outbill
        .access
        .create_access_key(&organization(), Permission::ALL)
        .await
        .unwrap();
    let clock = Arc::new(Mutex::new(now()));
    let of_call = Arc::clone(&clock);
    let router = api::router(world.outbill.clone(), Arc::new(move || *of_call.lock().unwrap()));
    let mut api = Api {
        world,
        router,
        clock,
        token: String::new(),
        key,
    };
    api.token = api.new_token().await;
    api
}

impl Api {
    async fn new_token(&self) -> String {
        let basic = STANDARD.encode(format!("{}:{}", self.key.0, self.key.1));
        let request = Request::post("/oauth/token")
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/json")
            .body(Body::from(r#"{"grant_type":"client_credentials"}"#))
            .unwrap();
        let (status, body) = self.send(request).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(
            (&body["token_type"], &body["expires_in"]),
            (&json!("Bearer"), &json!(18_000))
        );
        body["access_token"].as_str().unwrap().to_owned()
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}")),
        )
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/organizations/{ORGANIZATION}/{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .body(if body.is_null() {
                Body::empty()
            } else {
                Body::from(body.to_string())
            });
        self.send(request.unwrap()).await
    }

    async fn good(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}: {answer}");
        answer
    }

    async fn bad(&self, status: u16, hints: &[&str], method: &str, path: &str, body: Value) {
        let (found, answer) = self.call(method, path, body).await;
        assert_eq!(found.as_u16(), status, "{method} {path}: {answer}");
        let message = answer["message"].as_str().unwrap();
        assert_eq!(answer.as_object().unwrap().len(), 1);
        for hint in hints {
            assert!(message.contains(hint), "{hint:?} is not in {message:?}");
        }
    }

    fn queued(&self) -> Vec<Value> {
        let messages: Vec<_> = self.world.fakes.lock().unwrap().messages.drain(..).collect();
        messages
            .into_iter()
            .map(|(_, body, _)| serde_json::from_str(&body).unwrap())
            .collect()
    }

    async fn wait_for(&self, what: &str, bill: &str, run: &str) {
        let (bill, run) = (BillId::new(bill).unwrap(), RunId::new(run).unwrap());
        self.world
            .outbill
            .waiting
            .put(&organization(), what, &bill, &run, "1")
            .await
            .unwrap();
    }
}

fn configuration() -> Value {
    json!({
        "entityType": "Bill", "destination": "Aws", "name": "bills",
        "configData": {"splitUsageLineItems": "ITEM_PER_PRODUCT", "accountFilter": "address.country == UK"}
    })
}

fn without(mut value: Value, fields: &[&str]) -> Value {
    fields
        .iter()
        .for_each(|field| drop(value.as_object_mut().unwrap().remove(*field)));
    value
}

fn with(mut value: Value, fields: Value) -> Value {
    value
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    value
}

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
    api.wait_for(&format!("CONFIG#{id}"), "b1", "r1").await;
    let change = with(
        configuration(),
        json!({"version": 1, "integrationCredentialsId": credential["id"], "name": null}),
    );
    let changed = api.good("PUT", &path, change.clone()).await;
    assert_eq!((&changed["version"], &changed["authorized"]), (&json!(2), &json!(true)));
    assert!(changed.get("name").is_none());
    assert_eq!(
        api.queued(),
        [json!({"orgId": ORGANIZATION, "integrationRunId": "r1", "replay": true})]
    );
    api.bad(400, &["version: 1", "stored version is 2"], "PUT", &path, change)
        .await;

    api.wait_for(&format!("CONFIG#{id}"), "b1", "r2").await;
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
    api.bad(400, &["not JSON"], "POST", "integrationconfigs", Value::Null)
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
    api.wait_for("MAPPING#Account#a1", "b1", "r1").await;
    let made = api.good("POST", "externalmappings", account.clone()).await;
    assert_eq!(
        (&made["m3terEntity"], &made["externalSystem"]),
        (&json!("Account"), &json!("AWS"))
    );
    assert_eq!(
        api.queued(),
        [json!({"orgId": ORGANIZATION, "integrationRunId": "r1", "replay": true})]
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
async fn runs_and_their_logs_are_shown() {
    let api = api().await;
    let mut runs = Vec::new();
    for (minute, bill) in [(0, "b1"), (1, "b2"), (2, "b1")] {
        let started = now() + SignedDuration::from_mins(minute);
        let run = IntegrationRun {
            id: RunId::new(api.world.outbill.ids.text(started)).unwrap(),
            organization: organization(),
            entity_type: "Bill".to_owned(),
            entity_id: bill.to_owned(),
            status: if minute == 0 {
                RunStatus::Error
            } else {
                RunStatus::Complete
            },
            destination: DestinationKind::Aws,
            destination_id: Some("c1".to_owned()),
            started,
            completed: Some(started),
            error: (minute == 0).then(|| "no mapping".to_owned()),
            external_id: None,
            replayed_from: None,
            version: 1,
        };
        api.world.outbill.runs.save(&run).await.unwrap();
        runs.push(run);
    }
    let check = async |path: &str, expect: &[usize]| {
        let page = api.good("GET", &format!("integrationruns/{path}"), Value::Null).await;
        let found: Vec<&str> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["id"].as_str().unwrap())
            .collect();
        assert_eq!(
            found,
            expect.iter().map(|at| runs[*at].id.as_str()).collect::<Vec<_>>(),
            "{path}"
        );
    };
    check("Bill/b1", &[2, 0]).await;
    check("bill/b1?order=ASC", &[0, 2]).await;
    check("destinations/c1", &[2, 1, 0]).await;
    check("destinations/c1?destination=STRIPE", &[]).await;
    check("destinations/c1?status=ERROR", &[0]).await;
    check(
        "destinations/c1?startDate=2025-06-10T10:00:00Z&endDate=2025-06-10",
        &[2, 1],
    )
    .await;
    check("Bill/latest?ids=b1,b2,b3", &[2, 1]).await;
    let id = |at: usize| json!(runs[at].id.as_str());
    assert_eq!(
        api.good("GET", "integrationruns/Bill/latest/b1", Value::Null).await["id"],
        id(2)
    );
    api.bad(404, &["b9"], "GET", "integrationruns/Bill/latest/b9", Value::Null)
        .await;
    api.bad(
        400,
        &["status", "COMPLETE"],
        "GET",
        "integrationruns/Bill/b1?status=DONE",
        Value::Null,
    )
    .await;
    api.bad(400, &["order"], "GET", "integrationruns/Bill/b1?order=UP", Value::Null)
        .await;
    api.bad(
        400,
        &["startDate"],
        "GET",
        "integrationruns/Bill/b1?startDate=soon",
        Value::Null,
    )
    .await;
    let one = api
        .good("GET", &format!("integrationruns/{}", runs[0].id), Value::Null)
        .await;
    assert_eq!((&one["status"], &one["error"]), (&json!("ERROR"), &json!("no mapping")));
    api.bad(404, &["none"], "GET", "integrationruns/none", Value::Null)
        .await;

    let entry = json!({"sent": [1]});
    api.world
        .outbill
        .runs
        .append_log(&organization(), &runs[0].id, now(), &entry)
        .await
        .unwrap();
    let log = api
        .good("GET", &format!("integrationruns/logs/{}", runs[0].id), Value::Null)
        .await;
    let payload = STANDARD.decode(log["Payload"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), json!([entry]));
    let path = format!("integrationruns/{}/replay", runs[0].id);
    let replay = json!({"orgId": ORGANIZATION, "integrationRunId": runs[0].id, "replay": true});
    assert_eq!(api.good("POST", &path, Value::Null).await, one);
    assert_eq!(api.queued(), std::slice::from_ref(&replay));
    api.good("POST", &path, json!({"remap": true})).await;
    assert_eq!(api.queued(), [with(replay, json!({"remap": true}))]);
    api.bad(400, &["flush"], "POST", &path, json!({"flush": true})).await;
    api.bad(404, &["none"], "POST", "integrationruns/none/replay", Value::Null)
        .await;
    let log = api.world.outbill.runs.log(&organization(), &runs[0].id).await.unwrap();
    assert_eq!(
        log[2]["replayAsked"],
        json!({"by": api.key.0, "at": "2025-06-10T10:00:00Z", "remap": true})
    );

    let large = json!("x".repeat(4_600_000));
    api.world
        .outbill
        .runs
        .append_log(&organization(), &runs[0].id, now(), &large)
        .await
        .unwrap();
    api.bad(
        413,
        &["log"],
        "GET",
        &format!("integrationruns/logs/{}", runs[0].id),
        Value::Null,
    )
    .await;
}

#[tokio::test]
async fn events_are_shown() {
    let api = api().await;
    let raise = async |name: &str, account: &str| {
        let event = json!({"eventData": {"newDto": {"accountId": account, "entityId": "b1"}}});
        api.world
            .outbill
            .events
            .raise(&organization(), now(), name, event)
            .await
            .unwrap()
    };
    let first = raise("integration.validation.error", "a1").await;
    let second = raise("integration.disabled.error", "a2").await;
    let check = async |query: &str, expect: &[&String]| {
        let page = api.good("GET", &format!("events?{query}"), Value::Null).await;
        let found: Vec<&Value> = page["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| &event["id"])
            .collect();
        assert_eq!(
            found,
            expect
                .iter()
                .map(|id| json!(id))
                .collect::<Vec<_>>()
                .iter()
                .collect::<Vec<_>>(),
            "{query}"
        );
    };
    check("", &[&second, &first]).await;
    check("eventName=integration.validation.error", &[&first]).await;
    check("accountId=a2", &[&second]).await;
    check("resourceId=b1&pageSize=100", &[&second, &first]).await;
    check("eventType=IntegrationEvent", &[&second, &first]).await;
    check("eventType=Notification", &[]).await;
    check(&format!("ids={first}"), &[&first]).await;
    check("includeActioned=false", &[&second, &first]).await;
    api.bad(400, &["ids"], "GET", "events?ids=a&accountId=b", Value::Null)
        .await;
    api.bad(400, &["eventType"], "GET", "events?eventType=Other", Value::Null)
        .await;
    let one = api.good("GET", &format!("events/{first}"), Value::Null).await;
    assert_eq!(
        (&one["eventTime"], one.get("dtActioned")),
        (&json!("2025-06-10T10:00:00Z"), Some(&Value::Null))
    );
    api.bad(404, &["none"], "GET", "events/none", Value::Null).await;
    assert_eq!(
        api.good("GET", "events/types", Value::Null).await["events"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    let fields = api
        .good("GET", "events/fields?eventName=integration.disabled.error", Value::Null)
        .await;
    assert_eq!(fields["events"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_bill_is_put_on_the_queue() {
    let api = api().await;
    let bill: Value = serde_json::from_str(
        r#"{"id": "b1", "accountId": "a1", "version": 8, "currency": "USD",
                "lineItems": [{"lineItemType": "USAGE", "currency": "USD", "convertedSubtotal": 0.10}]}"#,
    )
    .unwrap();
    let check = async |body: Value, expect: Value| {
        let (status, answer) = api.call("POST", "bills", body.clone()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}: {answer}");
        assert_eq!(answer["messageId"], json!("message-1"));
        let queued: Vec<Value> = api.queued();
        assert_eq!(queued, [with(expect, json!({"sentBy": api.key.0}))]);
        queued
    };
    let message = json!({"orgId": ORGANIZATION, "bill": bill});
    let queued = check(bill.clone(), message.clone()).await;
    // The digits are those that were given.
    assert_eq!(
        queued[0]["bill"]["lineItems"][0]["convertedSubtotal"].to_string(),
        "0.10"
    );
    check(json!({"bill": bill}), message.clone()).await;
    let account = json!({"id": "a1"});
    let full = with(message.clone(), json!({"account": account}));
    check(full.clone(), full).await;
    check(json!({"billId": "b1"}), json!({"orgId": ORGANIZATION, "billId": "b1"})).await;
    let event = json!({"eventData": {"newDto": with(bill.clone(), json!({"orgId": ORGANIZATION}))}});
    let event = json!({"eventName": "billing.bill.updated", "m3terEvent": event});
    check(with(event.clone(), json!({"replay": true, "flush": true})), event).await;

    let bad = async |body: Value, hint: &str| api.bad(400, &[hint], "POST", "bills", body).await;
    bad(json!({"bill": bill, "replay": true}), "replay").await;
    bad(
        json!({"orgId": ORGANIZATION, "integrationRunId": "r1", "replay": true}),
        "id",
    )
    .await;
    bad(json!({"bill": {"version": 1}}), "bill.id").await;
    bad(json!({"bill": "b1"}), "bill").await;
    bad(json!({"orgId": "other", "bill": bill}), "orgId").await;
    bad(with(bill.clone(), json!({"orgId": "other"})), "orgId").await;
    bad(json!([bill]), "object").await;
    bad(json!({"m3terEvent": {"eventData": {"newDto": bill}}}), "orgId").await;
    bad(with(bill.clone(), json!({"currency": null})), "currency is missing").await;
    bad(
        with(bill.clone(), json!({"lineItems": [{}]})),
        "lineItems[0].convertedSubtotal is missing",
    )
    .await;

    let large = with(bill, json!({"padding": "x".repeat(1_100_000)}));
    let (status, _) = api.call("POST", "bills", large.clone()).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let queued = api.queued();
    assert_eq!(queued[0]["orgId"], json!(ORGANIZATION));
    let stored = api
        .world
        .outbill
        .bodies
        .get(queued[0]["storedBody"].as_str().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&stored).unwrap()["bill"], large);
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
