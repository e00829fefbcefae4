//! Every good payload of `events/` does what its kind is for.

use aws_lambda_events::sqs::SqsEvent;
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use input::{AGGREGATION, BILL, COMPOUND_AGGREGATION, Kit, event, list, says, text};
use jiff::SignedDuration;
use sandbox::functions::BILL_DISPATCH_TIMEOUT;
use serde_json::{Value, json};
use tower::ServiceExt;

const BY_PRODUCT: &str = "acme_cloud";

#[tokio::test]
async fn a_bill_is_created_updated_approved_and_deleted() {
    let kit = Kit::per_product().await;
    assert!(!kit.send(&kit.payload("bill-created.json")).await);
    assert_eq!(kit.units(BY_PRODUCT), 31_230, "101.03 + 211.27");
    assert_eq!(kit.run(BILL).await["status"], "COMPLETE");

    // Grown to 127.31 + 223.07 - 13.37 in the same hour: AWS takes one quantity an hour, the growth waits for the tick.
    assert!(!kit.send(&kit.payload("bill-updated.json")).await);
    assert_eq!(kit.run(BILL).await["status"], "WAITING");
    assert_eq!(kit.units(BY_PRODUCT), 31_230);
    kit.sandbox
        .advance_to("2025-06-10T11:02:00Z".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(kit.units(BY_PRODUCT), 33_701);

    // Approval is an update with another status: nothing new is owed.
    assert!(!kit.send(&kit.payload("bill-approved.json")).await);
    assert_eq!(kit.run(BILL).await["status"], "COMPLETE");
    assert_eq!(kit.units(BY_PRODUCT), 33_701);

    // What AWS has, it keeps; no later version is taken.
    assert!(!kit.send(&kit.payload("bill-deleted.json")).await);
    kit.sandbox
        .advance_to("2025-06-10T12:02:00Z".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(kit.units(BY_PRODUCT), 33_701);
    let mut later = kit.payload("bill-updated.json");
    later["m3terEvent"]["eventData"]["newDto"]["version"] = json!(9);
    let runs = kit.runs(BILL).await.len();
    kit.send(&later).await;
    let run = kit.run(BILL).await;
    assert_eq!(
        (kit.runs(BILL).await.len(), &run["status"]),
        (runs + 1, &json!("COMPLETE"))
    );
    says(
        &text(&kit.log(&text(&run["id"])).await[0]["outcome"]),
        &["ignored: the bill was deleted"],
    );
    assert_eq!(kit.dead_letters().await, []);
}

#[tokio::test]
async fn a_run_keeps_what_was_said_to_aws_and_what_aws_answered() {
    let kit = Kit::per_product().await;
    kit.send(&kit.payload("bill-created.json")).await;
    let log = kit.log(&text(&kit.run(BILL).await["id"])).await;
    assert_eq!(
        log[0]["configuration"]["configData"],
        json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" })
    );
    assert_eq!(list(&log[0]["exchanges"]).len(), 1, "{}", log[0]);
    let exchange = &log[0]["exchanges"][0];
    let record = json!({
        "CustomerAWSAccountId": "111122223333", "Dimension": "acme_cloud", "Quantity": 31_230,
        "Timestamp": 1_749_549_600,
    });
    let request = json!({ "ProductCode": "5wq8xk2m7rj4nv1tz9dh3bcf6", "UsageRecords": [record] });
    assert_eq!(exchange["request"], request);
    assert_eq!(exchange["status"], 200);
    let result = &exchange["response"]["Results"][0];
    assert_eq!(result["Status"], "Success", "{exchange}");
    assert_eq!(result["UsageRecord"]["Quantity"], 31_230);
    let receipt = kit.sandbox.marketplace().billed()[0].metering_record_id.clone();
    assert_eq!(result["MeteringRecordId"], receipt);

    // A refusal's words are kept too.
    kit.control(
        "POST",
        "/marketplace",
        json!({ "badDimensions": ["api_calls"] }).to_string(),
    )
    .await;
    kit.map("Product", "p2", "api_calls").await;
    let mut bill = kit.payload("bill-with-account.json")["bill"].clone();
    bill["id"] = json!("b2");
    bill["lineItems"][0]["productId"] = json!("p2");
    bill["lineItems"].as_array_mut().unwrap().truncate(1);
    kit.send(&json!({ "orgId": kit.organization(), "bill": bill })).await;
    let log = kit.log(&text(&kit.run("b2").await["id"])).await;
    let exchange = &log[0]["exchanges"][0];
    assert_eq!(exchange["status"], 400, "{exchange}");
    says(&exchange["response"].to_string(), &["InvalidUsageDimension"]);
}

#[tokio::test]
async fn only_the_approved_version_is_sent_where_the_configuration_says_so() {
    let settings = json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT", "onlySendBillOnApproval": true });
    let kit = Kit::with(settings).await;
    kit.post("externalmappings", &kit.payload("mapping-of-product.json"))
        .await;
    kit.send(&kit.payload("bill-updated.json")).await;
    assert_eq!(kit.metering_calls(), 0);
    let run = kit.run(BILL).await;
    says(
        &text(&kit.log(&text(&run["id"])).await[0]["outcome"]),
        &["not sent", "onlySendBillOnApproval"],
    );
    kit.send(&kit.payload("bill-approved.json")).await;
    assert_eq!(kit.units(BY_PRODUCT), 33_701);
}

#[tokio::test]
async fn a_bill_with_its_account_is_filtered_without_asking_m3ter() {
    let settings = json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT", "accountFilter": "address.country == UK" });
    let kit = Kit::with(settings).await;
    kit.post("externalmappings", &kit.payload("mapping-of-product.json"))
        .await;
    assert!(!kit.send(&kit.payload("bill-with-account.json")).await);
    assert_eq!(kit.units(BY_PRODUCT), 31_230);
    assert_eq!(kit.sandbox.requests().get("m3ter"), None);
}

#[tokio::test]
async fn a_reference_is_fetched_from_m3ter() {
    let kit = Kit::per_product().await;
    let bill = kit.payload("bill-with-account.json")["bill"].clone();
    kit.control("POST", "/m3ter", json!({ "bills": [bill] }).to_string())
        .await;
    assert!(!kit.send(&kit.payload("bill-reference.json")).await);
    assert_eq!(kit.units(BY_PRODUCT), 31_230);
}

/// A replay's file names some run; here is the one that is there.
fn of_run(mut message: Value, run: &Value) -> Value {
    message["integrationRunId"] = run["id"].clone();
    message
}

#[tokio::test]
async fn a_replay_sends_nothing_twice_and_a_remap_cuts_over() {
    let kit = Kit::per_product().await;
    kit.send(&kit.payload("bill-created.json")).await;
    let first = kit.run(BILL).await;
    assert!(!kit.send(&of_run(kit.payload("run-replay.json"), &first)).await);
    let replayed = kit.run(BILL).await;
    assert_eq!(replayed["replayedFromIntegrationRunId"], first["id"]);
    assert_eq!(kit.units(BY_PRODUCT), 31_230);

    // The product's mapping changes: what AWS has stays where it is until someone decides to cut over.
    let found = kit.get("externalmappings").await;
    let mapping = list(&found["data"])
        .into_iter()
        .find(|mapping| mapping["m3terEntity"] == "Product");
    let mut mapping = mapping.unwrap();
    let id = text(&mapping["id"]);
    mapping["externalId"] = json!("5wq8xk2m7rj4nv1tz9dh3bcf6-acme_cloud_2");
    for name in ["id", "dtCreated", "dtLastModified", "createdBy", "lastModifiedBy"] {
        mapping.as_object_mut().unwrap().remove(name);
    }
    let (status, body) = kit.call("PUT", &format!("externalmappings/{id}"), Some(&mapping)).await;
    assert_eq!(status, 200, "{body}");
    kit.sandbox.drain().await;
    kit.sandbox.advance(SignedDuration::from_hours(1)).await.unwrap();
    kit.send(&kit.payload("bill-updated.json")).await;
    let held = kit.run(BILL).await;
    assert_eq!(held["status"], "ERROR");
    says(
        &text(&held["error"]),
        &["31230 units at AWS", "acme_cloud_2", "replay the run with remap"],
    );
    assert!(!kit.send(&of_run(kit.payload("run-remap.json"), &held)).await);
    assert_eq!((kit.units(BY_PRODUCT), kit.units("acme_cloud_2")), (31_230, 2_471));
}

#[tokio::test]
async fn a_buyer_who_leaves_is_billed_what_has_gathered() {
    for (leaves, table, customer) in [
        ("license-deprovisioned.json", Some("License"), "444455556666"),
        ("unsubscribe-pending.json", None, "ifAPi5AcF3"),
    ] {
        let kit = Kit::empty().await;
        kit.configure(json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" }))
            .await;
        kit.post("externalmappings", &kit.payload("mapping-of-product.json"))
            .await;
        let mut account = kit.payload("mapping-of-account.json");
        account["externalId"] = json!(customer);
        kit.post("externalmappings", &account).await;
        if let Some(table) = table {
            account["externalTable"] = json!(table);
            // AWS's notice writes the same licence in another form.
            account["externalId"] =
                json!("arn:aws:license-manager::777788889999:license:l-7c1e5a9d3f8b4206a1d9c7e5b3f08642");
            kit.post("externalmappings", &account).await;
        }
        kit.send(&kit.payload("bill-created.json")).await;
        kit.send(&kit.payload("bill-updated.json")).await;
        assert_eq!(kit.units(BY_PRODUCT), 31_230, "{leaves}: the growth waits");
        assert!(!kit.send(&kit.payload(leaves)).await, "{leaves}");
        assert_eq!(
            kit.units(BY_PRODUCT),
            33_701,
            "{leaves}: an earlier hour takes it at once"
        );
    }
}

#[tokio::test]
async fn a_notice_that_needs_nothing_changes_nothing() {
    let kit = Kit::per_product().await;
    kit.send(&kit.payload("bill-created.json")).await;
    kit.send(&kit.payload("bill-updated.json")).await;
    let calls = kit.metering_calls();
    assert!(!kit.send(&kit.payload("subscribe-success.json")).await);
    assert_eq!((kit.metering_calls(), kit.dead_letters().await), (calls, vec![]));
}

#[tokio::test]
async fn the_tick_sends_what_has_gathered() {
    let kit = Kit::per_product().await;
    kit.send(&kit.payload("bill-created.json")).await;
    kit.send(&kit.payload("bill-updated.json")).await;
    assert!(!kit.send(&kit.payload("tick.json")).await);
    assert_eq!(kit.units(BY_PRODUCT), 31_230, "the hour is taken");
    // Not by `advance` past 11:01, which would tick by itself.
    kit.sandbox
        .advance_to("2025-06-10T11:00:30Z".parse().unwrap())
        .await
        .unwrap();
    assert!(!kit.send(&kit.payload("tick.json")).await);
    assert_eq!(kit.units(BY_PRODUCT), 33_701);
}

#[tokio::test]
async fn a_lambda_batch_of_two_bills_is_one_call() {
    let kit = Kit::with(json!({ "splitUsageLineItems": "ITEM_PER_AGGREGATION" })).await;
    kit.post("externalmappings", &kit.payload("mapping-of-aggregation.json"))
        .await;
    kit.map("CompoundAggregation", COMPOUND_AGGREGATION, "storage").await;
    let batch = event("sqs-batch.json").replace(input::ORGANIZATION, kit.organization());
    let batch: SqsEvent = serde_json::from_str(&batch).unwrap();
    assert_eq!(batch.records.len(), 2);
    let answer = bill_dispatch::handle(
        &kit.outbill().await,
        batch,
        kit.sandbox.clock().now(),
        BILL_DISPATCH_TIMEOUT,
    )
    .await;
    assert_eq!(
        serde_json::to_value(&answer).unwrap(),
        json!({ "batchItemFailures": [] })
    );
    assert_eq!(
        (kit.units("api_calls"), kit.units("storage"), kit.metering_calls()),
        (10_103, 30_701, 1)
    );
}

#[tokio::test]
async fn a_token_is_given_through_api_gateway() {
    let kit = Kit::empty().await;
    let key = kit.sandbox.access_key();
    let basic = STANDARD.encode(format!("{}:{}", key.access_key_id, key.api_secret));
    let request = event("token-request.json").replace("ACCESS-KEY", &basic);
    let request = lambda_http::request::from_str(&request).unwrap();
    let (parts, body) = request.into_parts();
    let request = axum::http::Request::from_parts(parts, axum::body::Body::from(body.to_vec()));
    let answer = kit.api().await.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("Bearer"), &json!(18_000))
    );
    assert!(!text(&body["access_token"]).is_empty());
}

#[tokio::test]
async fn the_bodies_of_the_api_are_taken_and_shown_as_they_are() {
    let kit = Kit::empty().await;
    let includes = |shown: &Value, given: &Value| {
        for (name, value) in given.as_object().unwrap() {
            assert_eq!(&shown[name], value, "{name} of {shown}");
        }
        assert_eq!(shown["version"], 1, "{shown}");
    };
    let given = kit.payload("credential.json");
    let credential = kit.post("integrationcredentials", &given).await;
    includes(&credential, &given);
    let mut given = kit.payload("configuration.json");
    given["integrationCredentialsId"] = credential["id"].clone();
    let configuration = kit.post("integrationconfigs", &given).await;
    includes(&configuration, &given);
    assert_eq!(
        (&configuration["authorized"], &configuration["enabled"]),
        (&json!(true), &json!(true))
    );
    for name in [
        "mapping-of-account.json",
        "mapping-of-product.json",
        "mapping-of-aggregation.json",
    ] {
        let given = kit.payload(name);
        includes(&kit.post("externalmappings", &given).await, &given);
    }
    let found = kit.get("externalmappings").await;
    assert_eq!(list(&found["data"]).len(), 3);
}

#[tokio::test]
async fn each_aggregation_has_its_dimension() {
    let kit = Kit::with(json!({ "splitUsageLineItems": "ITEM_PER_AGGREGATION", "marketplaceDefaultDimension": "5wq8xk2m7rj4nv1tz9dh3bcf6-other" })).await;
    kit.map("Aggregation", AGGREGATION, "api_calls").await;
    kit.map("CompoundAggregation", COMPOUND_AGGREGATION, "storage").await;
    assert!(!kit.send(&kit.payload("bill-created.json")).await);
    assert_eq!((kit.units("api_calls"), kit.units("storage")), (10_103, 21_127));
}
