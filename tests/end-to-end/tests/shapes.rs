//! m3ter's examples, in data of our own: what m3ter's tools send is taken, and what they read is there, field by field and kind by kind.

use end_to_end::{ACME, ACME_AWS_ACCOUNT, PRODUCT, Scene, dimension};
use sandbox::seller::CallError;
use serde_json::{Value, json};

const ID: &str = "0f6f3c52-7d0e-4a31-8a63-27b1a1f0c7d2";
const INSTANT: &str = "2025-06-10T10:02:00Z";

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "yes or no",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// What the example has and the answer has not, or has as another kind. Of a list the first item stands for all.
fn lacks(at: &str, example: &Value, answer: &Value, found: &mut Vec<String>) {
    if kind(example) != kind(answer) {
        return found.push(format!("{at} is {}, not {}", kind(answer), kind(example)));
    }
    match (example, answer) {
        (Value::Object(example), Value::Object(answer)) => {
            for (name, example) in example {
                match answer.get(name) {
                    Some(answer) => lacks(&format!("{at}.{name}"), example, answer, found),
                    None => found.push(format!("{at}.{name} is missing")),
                }
            }
        }
        (Value::Array(example), Value::Array(answer)) => match (example.first(), answer.first()) {
            (Some(example), Some(answer)) => lacks(&format!("{at}[0]"), example, answer, found),
            (Some(_), None) => found.push(format!("{at} is empty")),
            (None, _) => {}
        },
        _ => {}
    }
}

#[track_caller]
fn assert_shape(example: &Value, answer: &Value) {
    let mut found = Vec::new();
    lacks("answer", example, answer, &mut found);
    assert!(found.is_empty(), "{found:#?}\n{answer:#}");
}

fn audited(more: Value) -> Value {
    let mut example = json!({
        "id": ID, "version": 1, "dtCreated": INSTANT, "dtLastModified": INSTANT, "createdBy": "key", "lastModifiedBy": "key",
    });
    let fields = example.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().expect("an object"));
    example
}

/// A configuration request with every setting of the Console.
fn configuration(credential: &str) -> Value {
    json!({
        "entityType": "Bill", "destination": "AWS", "name": "Marketplace",
        "configData": {
            "accountIds": [ACME], "restrictedAccountIds": ["blocked"],
            "integrationDisabledNotificationUsers": ["night@seller.example"],
            "onlySendBillOnApproval": false, "useExternalMappingAccountCode": true,
            "excludedLineItemTypes": ["CREDIT_MEMO"],
            "accountFilter": "customFields != null AND customFields.country == 'UK'",
            "enforceExternalMappingsForConfig": false, "splitUsageLineItems": "ITEM_PER_AGGREGATION",
            "marketplaceBillDimension": dimension("total"), "marketplaceDefaultDimension": dimension("other"),
            "awsMarketplaceCloudtrailChecks": false, "awsMarketplaceCloudtrailStoreId": "4a1b2c3d-0e0f-4f1a-9b2c-5d6e7f8a9b0c",
            "awsMarketplaceCloudtrailRegion": "us-east-1",
        },
        "integrationCredentialsId": credential,
    })
}

fn account() -> Value {
    json!({
        "id": ACME, "version": 2, "name": "Acme", "code": "acme", "emailAddress": "bills@acme.example",
        "address": {"addressLine1": "2 High Street", "locality": "Leeds", "region": "Yorkshire", "postCode": "LS1 1AA", "country": "UK"},
        "currency": "USD", "customFields": {"country": "UK", "tier": 2}, "daysBeforeBillDue": 30,
        "autoGenerateStatementMode": "NONE", "creditApplicationOrder": ["PREPAYMENT", "BALANCE"],
        "dtCreated": "2025-06-01T09:00:00.000Z", "dtLastModified": "2025-06-10T10:01:00.000Z",
        "createdBy": "USER_1", "lastModifiedBy": "USER_1",
    })
}

fn line(kind: &str, amount: f64, more: Value) -> Value {
    let mut line = json!({
        "id": ID, "description": kind, "quantity": 1, "units": 1, "unit": "u", "subtotal": amount, "currency": "USD",
        "conversionRate": 1, "convertedSubtotal": amount, "averageUnitPrice": amount, "lineItemType": kind,
        "productId": "product", "productName": "Product", "productCode": "product", "sequenceNumber": 1,
        "servicePeriodStartDate": "2025-06-01T00:00:00Z", "servicePeriodEndDate": "2025-07-01T00:00:00Z",
        "meterId": ID, "planId": ID, "pricingId": ID,
        "usagePerPricingBand": [{
            "pricingBandId": ID, "lowerLimit": 0, "fixedPrice": 0, "unitSubtotal": amount, "unitPrice": 0.01, "bandUnits": 1,
            "bandQuantity": 1, "bandSubtotal": amount, "convertedBandSubtotal": amount,
        }],
    });
    let fields = line.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().expect("an object"));
    line
}

/// A bill with every field that m3ter gives, and a line of each kind that matters.
fn bill(organization: &str, version: i64) -> Value {
    json!({
        "orgId": organization,
        "id": "bill-1", "version": version, "accountId": ACME, "accountCode": "acme", "startDate": "2025-06-01", "endDate": "2025-07-01",
        "startDateTimeUTC": "2025-06-01T00:00:00Z", "endDateTimeUTC": "2025-07-01T00:00:00Z", "billDate": "2025-07-01",
        "dueDate": "2025-07-31", "billingFrequency": "MONTHLY", "billFrequencyInterval": 1, "timezone": "UTC", "currency": "USD",
        "locked": false, "createdDate": "2025-06-01T00:10:00Z", "status": "PENDING", "billJobId": ID,
        "currencyConversions": [{"from": "EUR", "to": "USD", "multiplier": 1.12}],
        "lastCalculatedDate": "2025-06-10T10:01:00Z", "externalInvoiceDate": "2025-07-01", "jsonStatementGenerated": false,
        "csvStatementGenerated": false, "statementStale": false, "billTotal": 137.53, "purchaseOrderNumber": "PO-7",
        "dtCreated": "2025-06-01T09:00:00.000Z", "dtLastModified": "2025-06-10T10:01:00.000Z",
        "createdBy": "USER_1", "lastModifiedBy": "USER_1",
        "lineItems": [
            line("USAGE", 101.03, json!({"aggregationId": "calls"})),
            line("USAGE", 56.0, json!({"aggregationId": "storage", "currency": "EUR", "subtotal": 50, "conversionRate": 1.12})),
            line("USAGE", 0.25, json!({"compoundAggregationId": "compound", "subtotal": 0.255})),
            line("COMMITMENT_CONSUMED", -20.0, json!({"commitmentId": ID})),
            line("CREDIT_MEMO", -10.0, json!({"reasonId": ID})),
            line("STANDING_CHARGE", 7.0, json!({"usagePerPricingBand": null})),
        ],
    })
}

#[tokio::test]
async fn what_m3ter_shows_as_examples_works_here() {
    let mut scene = Scene::start().await;
    let organization = scene.organization().to_owned();

    let credential = json!({"type": "AWS_INTEGRATION", "destination": "AWS", "name": "metering"});
    let credential = scene.seller.post("integrationcredentials", &credential).await.unwrap();
    assert_shape(
        &audited(json!({"type": "AWS_INTEGRATION", "destination": "AWS", "name": "metering"})),
        &credential,
    );
    let request = configuration(credential["id"].as_str().unwrap());
    let made = scene.seller.post("integrationconfigs", &request).await.unwrap();
    assert_eq!(
        made["configData"], request["configData"],
        "settings come back as they were given"
    );
    let mut example = audited(request.clone());
    example["authorized"] = json!(true);
    example["enabled"] = json!(true);
    example["triggerType"] = json!("EVENT");
    assert_shape(&example, &made);

    let link = made["id"].as_str().unwrap();
    for (entity, id, table, external) in [
        ("Account", ACME, "Customer", ACME_AWS_ACCOUNT.to_owned()),
        ("Aggregation", "calls", "Dimension", dimension("m3BillAgg1")),
        ("Aggregation", "storage", "Dimension", dimension("m3BillAgg2")),
        ("CompoundAggregation", "compound", "Dimension", dimension("m3BillAgg3")),
    ] {
        let request = json!({
            "m3terEntity": entity, "m3terId": id, "externalSystem": "AWS", "externalTable": table, "externalId": external,
            "integrationConfigId": link,
        });
        let mapping = scene.seller.post("externalmappings", &request).await.unwrap();
        assert_shape(&audited(request), &mapping);
    }
    let page = scene.seller.get("externalmappings?pageSize=3").await.unwrap();
    let mapping = json!({
        "m3terEntity": "Account", "m3terId": ACME, "externalSystem": "AWS", "externalTable": "Customer", "externalId": "1",
        "integrationConfigId": link,
    });
    assert_shape(&json!({"data": [audited(mapping)], "nextToken": "token"}), &page);
    let known = json!({
        "m3terEntities": ["Account", "Product", "Aggregation", "CompoundAggregation"],
        "externalSystems": [{"name": "AWS", "tables": ["Customer", "Dimension"], "allowCustomExternalTables": false}],
    });
    let answer = scene.seller.get("externalmappingconfiguration").await.unwrap();
    assert_shape(&known, &answer);
    assert_eq!(answer["m3terEntities"], known["m3terEntities"]);

    // The bill as a list gives it, then as m3ter's event has it: with both sides.
    scene.m3ter_has(&[], &[account()]);
    scene
        .seller
        .post("bills", &json!({"bill": bill(&organization, 1), "account": account()}))
        .await
        .unwrap();
    scene.rest().await;
    scene.assert_run("bill-1", "COMPLETE", "").await;
    let event = json!({
        "id": ID, "eventName": "billing.bill.updated", "eventTime": INSTANT, "dtActioned": INSTANT,
        "m3terEvent": {"eventData": {"newDto": bill(&organization, 2), "oldDto": bill(&organization, 1)}},
    });
    scene.seller.post("bills", &event).await.unwrap();
    scene.rest().await;
    scene.assert_run("bill-1", "COMPLETE", "").await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "m3BillAgg1", "2025-06-10T10", 10_103),
        (ACME_AWS_ACCOUNT, "m3BillAgg2", "2025-06-10T10", 5_600),
        (ACME_AWS_ACCOUNT, "m3BillAgg3", "2025-06-10T10", 25),
    ]);

    let runs = scene.seller.get("integrationruns/Bill/bill-1").await.unwrap();
    let run = audited(json!({
        "entityType": "Bill", "entityId": "bill-1", "dtStarted": INSTANT, "dtCompleted": INSTANT, "status": "COMPLETE",
        "destination": "AWS", "destinationId": link,
    }));
    assert_shape(&json!({"data": [run.clone()]}), &runs);
    let newest = scene.seller.get("integrationruns/Bill/latest/bill-1").await.unwrap();
    assert_shape(&run, &newest);
    let log = format!("integrationruns/logs/{}", newest["id"].as_str().unwrap());
    assert_shape(&json!({"Payload": "e30="}), &scene.seller.get(&log).await.unwrap());

    let report = "integrationdestinations/marketplace/usageReport";
    let report = scene
        .seller
        .get(&format!("{report}?billStartDate=2025-06-01"))
        .await
        .unwrap();
    let usage = |key: &str| format!("{PRODUCT}-{key}");
    let example = json!({"data": [{
        "accountId": ACME, "billId": "bill-1", "externalSystem": "AWS",
        "reportedUsage": {
            usage("m3BillAgg1"): {"2025-06-10T10:00:00Z": 10_103},
            usage("m3BillAgg2"): {"2025-06-10T10:00:00Z": 5_600},
            usage("m3BillAgg3"): {"2025-06-10T10:00:00Z": 25},
        },
    }]});
    assert_eq!(report, example);
    scene.end().await;
}

#[tokio::test]
async fn events_and_errors_are_m3ters() {
    let mut scene = Scene::start().await;
    scene
        .configure(json!({"splitUsageLineItems": "ITEM_PER_PRODUCT"}))
        .await;
    let organization = scene.organization().to_owned();
    scene.seller.post("bills", &bill(&organization, 1)).await.unwrap();
    scene.rest().await;
    let listed = scene.seller.get("events").await.unwrap();
    let example = json!({
        "id": ID, "eventName": "integration.missingaccountmapping.error", "eventTime": INSTANT, "dtActioned": null,
        "m3terEvent": {"eventData": {"newDto": {"entityType": "Bill", "entityId": "bill-1", "accountId": ACME}}},
    });
    assert_shape(&json!({"data": [example.clone()]}), &listed);
    let one = format!("events/{}", listed["data"][0]["id"].as_str().unwrap());
    assert_shape(&example, &scene.seller.get(&one).await.unwrap());
    let types = json!([
        "integration.validation.error",
        "integration.missingaccountmapping.error",
        "integration.authentication.error",
        "integration.perform.error",
        "integration.disabled.error",
    ]);
    assert_eq!(
        scene.seller.get("events/types").await.unwrap(),
        json!({"events": types})
    );
    let fields = scene
        .seller
        .get("events/fields?eventName=integration.perform.error")
        .await
        .unwrap();
    let example = json!({"events": {"integration.perform.error": {"new.accountId": "string", "new.error": "string"}}});
    assert_shape(&example, &fields);
    match scene.seller.get("events/none").await {
        Err(CallError::Refused { status: 404, body, .. }) => {
            assert_shape(&json!({"message": "text"}), &body);
            assert_eq!(body.as_object().unwrap().len(), 1);
        }
        other => panic!("{other:?}"),
    }
    scene.end().await;
}
