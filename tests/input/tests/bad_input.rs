//! Every bad input gives a message that names the field and says what to do, leaves a run or a dead letter that keeps the input, and sends
//! nothing.

use input::{ACCOUNT, AGGREGATION, Kit, PRODUCT, PRODUCT_CODE, event, list, says, text};
use serde_json::{Value, json};

//= https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
//# The maximum message size is 1,048,576 bytes (1 MiB)
const MESSAGE_BYTES_MAX: usize = 1_048_576;
const LINES: usize = 10_000;

/// The bill in a payload that is an event.
fn bill_of(message: &Value) -> Value {
    message["m3terEvent"]["eventData"]["newDto"].clone()
}

/// The last dead letter keeps this body, nothing went to AWS, and the reason says all of this.
async fn dead_letter(kit: &Kit, body: &str, reason: &[&str]) {
    assert!(kit.send_text(body).await, "it is dead-lettered: {body:.300}");
    let letters = kit.dead_letters().await;
    let (said, kept) = letters.last().expect("a dead letter");
    assert_eq!(kept, body);
    says(said, reason);
    says(said, &["Nothing was sent", "kept here as it came", "send it again"]);
    assert_eq!(kit.metering_calls(), 0);
    assert!(kit.sandbox.queue().is_empty(), "it does not block the queue");
}

/// The bill's run failed before anything was sent, said all of this, kept the input and raised the event.
async fn failed_run(kit: &Kit, message: &Value, event: &str, error: &[&str]) -> String {
    assert!(!kit.send(message).await, "{message}");
    failed(kit, &text(&bill_of(message)["id"]), message, event, error).await
}

async fn failed(kit: &Kit, bill: &str, input: &Value, event: &str, error: &[&str]) -> String {
    let run = kit.run(bill).await;
    assert_eq!(run["status"], "ERROR", "{run}");
    let said = text(&run["error"]);
    says(&said, &["nothing of this bill was changed: "]);
    says(&said, error);
    let log = kit.log(&text(&run["id"])).await;
    assert_eq!(log[0]["input"], *input, "the run keeps the input");
    assert_eq!(log[0]["exchanges"], json!([]));
    assert_eq!(kit.metering_calls(), 0);
    let raised = list(&kit.get(&format!("events?eventName={event}")).await["data"]);
    let of_run = raised
        .iter()
        .find(|raised| raised["m3terEvent"]["eventData"]["newDto"]["integrationRunId"] == run["id"]);
    let of_run = of_run.unwrap_or_else(|| panic!("{event} was not raised for {run}"));
    assert_eq!(of_run["m3terEvent"]["eventData"]["newDto"]["error"], run["error"]);
    said
}

const VALIDATION: &str = "integration.validation.error";
const MISSING_ACCOUNT: &str = "integration.missingaccountmapping.error";

#[tokio::test]
async fn what_is_no_message_is_a_dead_letter_with_the_reason() {
    let kit = Kit::per_product().await;
    dead_letter(&kit, "{\"orgId\": ", &["the message is not JSON", "line 1 column 10"]).await;
    dead_letter(&kit, "bill 7 is ready", &["the message is not JSON", "line 1 column 1"]).await;
    let unknown = kit.payload("not-a-message.json").to_string();
    dead_letter(
        &kit,
        &unknown,
        &["none that Outbill knows", "orgId, bill", "orgId, billId", "m3terEvent"],
    )
    .await;
    dead_letter(&kit, "[]", &["none that Outbill knows"]).await;
    let job = json!({ "eventName": "billing.billjob.created", "m3terEvent": { "eventData": { "newDto": {} } } });
    dead_letter(
        &kit,
        &job.to_string(),
        &["eventName is \"billing.billjob.created\"", "billing.bill.updated"],
    )
    .await;
    let org = kit.organization();
    let replay = json!({ "orgId": org, "integrationRunId": "0197a3c2-0000-7000-8000-000000000000", "replay": true });
    dead_letter(
        &kit,
        &replay.to_string(),
        &["has no integration run 0197a3c2-0000-7000-8000-000000000000"],
    )
    .await;
    let reference = json!({ "orgId": org, "billId": "nowhere" });
    let unknown = [
        "bill nowhere of organization",
        "m3ter answered 404",
        "not taken for deleted",
    ];
    dead_letter(&kit, &reference.to_string(), &unknown).await;
}

#[tokio::test]
async fn a_bill_without_organization_or_id_is_a_dead_letter() {
    let kit = Kit::per_product().await;
    let without = kit.payload("bill-without-organization.json").to_string();
    dead_letter(&kit, &without, &["orgId: it is missing"]).await;
    let bill = kit.payload("bill-with-account.json")["bill"].clone();
    dead_letter(&kit, &json!({ "bill": bill }).to_string(), &["orgId: it is missing"]).await;
    let without = kit.payload("bill-without-id.json").to_string();
    dead_letter(&kit, &without, &["bill without id cannot be read: id is missing"]).await;
}

#[tokio::test]
async fn a_bill_of_another_organization_is_a_dead_letter() {
    let kit = Kit::per_product().await;
    // The message says it: an organization that has set nothing up here.
    let other = kit.payload("bill-of-another-organization.json");
    let said = [
        "belongs to organization 5c1f0a52-3b8e-4f6e-9a39-6d2f4a7f0002, which has no integration configuration",
        "create one there, or check orgId",
    ];
    dead_letter(&kit, &other.to_string(), &said).await;
    // The message contradicts its bill.
    let message = json!({ "orgId": kit.organization(), "bill": bill_of(&other) });
    let said = [
        "orgId: bill b17d3c40",
        "belongs to organization 5c1f0a52-3b8e-4f6e-9a39-6d2f4a7f0002",
        "but the message names",
    ];
    dead_letter(&kit, &message.to_string(), &said).await;
    // The API takes neither.
    for body in [&other, &message, &bill_of(&other)] {
        let said = kit.refused("POST", "bills", Some(body)).await;
        says(&said, &["orgId: it has to be the organization of the path"]);
    }
    assert_eq!(kit.dead_letters().await.len(), 2);
}

#[tokio::test]
async fn a_bill_that_cannot_be_read_says_so_in_its_run() {
    let kit = Kit::per_product().await;
    for (name, field) in [
        (
            "bill-without-line-items.json",
            "lineItems is missing; a bill without lines has an empty list",
        ),
        (
            "bill-without-amount.json",
            "lineItems[1].convertedSubtotal is missing; a missing amount is never taken for 0",
        ),
        ("bill-without-currency.json", "currency is missing"),
        (
            "amount-is-not-a-number.json",
            "lineItems[0].convertedSubtotal is \"NaN\", which is no JSON number",
        ),
        (
            "unknown-line-item-type.json",
            "lineItems[0].lineItemType: \"LOYALTY_BONUS\" is not a line item type; the known ones are",
        ),
    ] {
        let way_out = "correct it in m3ter, and its next version is sent by itself";
        failed_run(&kit, &kit.payload(name), VALIDATION, &[field, way_out]).await;
    }
    assert_eq!(kit.dead_letters().await, []);

    // The next version is well, and the run of before does not stand in its way.
    let mut mended = kit.payload("bill-without-line-items.json");
    let bill = &mut mended["m3terEvent"]["eventData"]["newDto"];
    bill["version"] = json!(2);
    bill["lineItems"] = bill_of(&kit.payload("bill-created.json"))["lineItems"].clone();
    assert!(!kit.send(&mended).await);
    assert_eq!(kit.run(&text(&bill_of(&mended)["id"])).await["status"], "COMPLETE");
    assert_eq!(kit.units("acme_cloud"), 31_230);
}

#[tokio::test]
async fn every_culprit_of_a_bill_is_named_at_once() {
    let kit = Kit::per_product().await;
    let mut message = kit.payload("bill-without-amount.json");
    let bill = &mut message["m3terEvent"]["eventData"]["newDto"];
    bill["accountId"] = Value::Null;
    bill["version"] = json!("three");
    bill["status"] = json!("OPEN");
    bill["lineItems"][0]["lineItemType"] = json!("GIFT");
    bill["lineItems"].as_array_mut().unwrap().push(json!("a line"));
    let said = [
        "accountId is missing",
        "version is \"three\"",
        "OPEN",
        "lineItems[0].lineItemType",
        "lineItems[1].convertedSubtotal is missing",
        "lineItems[2] must be an object",
    ];
    failed_run(&kit, &message, VALIDATION, &said).await;
}

#[tokio::test]
async fn a_number_that_no_decimal_holds_is_named() {
    let kit = Kit::per_product().await;
    let good = event("bill-created.json").replace(input::ORGANIZATION, kit.organization());
    let with = |number: &str| {
        good.replace(
            "\"convertedSubtotal\": 101.03",
            &format!("\"convertedSubtotal\": {number}"),
        )
    };
    // NaN is no JSON, whatever some encoders write.
    dead_letter(&kit, &with("NaN"), &["the message is not JSON"]).await;
    for (number, shown) in [
        ("1e400", "1e+400"),
        ("1e-400", "1e-400"),
        ("123456789012345678901234567890", "1234567890"),
    ] {
        assert!(!kit.send_text(with(number)).await);
        let run = kit.run(input::BILL).await;
        let error = text(&run["error"]);
        says(
            &error,
            &[
                "lineItems[0].convertedSubtotal: ",
                shown,
                "is not an amount: write it as a decimal number",
            ],
        );
        assert_eq!(run["status"], "ERROR");
    }
    assert_eq!(kit.metering_calls(), 0);
}

#[tokio::test]
async fn a_line_without_what_the_split_needs_is_never_dropped() {
    let kit = Kit::per_product().await;
    let message = kit.payload("line-without-product.json");
    let said = [
        "lineItems[1] of 211.27 has no productId, which ITEM_PER_PRODUCT needs",
        "set marketplaceDefaultDimension to say where such lines go",
    ];
    failed_run(&kit, &message, VALIDATION, &said).await;

    // With a default dimension the bill that waited is sent by itself.
    let configuration = list(&kit.get("integrationconfigs").await["data"])[0].clone();
    let update = json!({
        "entityType": "Bill", "destination": "AWS", "version": 1,
        "integrationCredentialsId": configuration["integrationCredentialsId"],
        "configData": {
            "splitUsageLineItems": "ITEM_PER_PRODUCT", "marketplaceDefaultDimension": format!("{PRODUCT_CODE}-other"),
        },
    });
    let path = format!("integrationconfigs/{}", text(&configuration["id"]));
    let (status, body) = kit.call("PUT", &path, Some(&update)).await;
    assert_eq!(status, 200, "{body}");
    kit.sandbox.drain().await;
    assert_eq!((kit.units("acme_cloud"), kit.units("other")), (10_103, 21_127));

    let kit = Kit::with(json!({ "splitUsageLineItems": "ITEM_PER_AGGREGATION" })).await;
    let mut message = kit.payload("bill-created.json");
    let lines = &mut message["m3terEvent"]["eventData"]["newDto"]["lineItems"];
    lines[0].as_object_mut().unwrap().remove("aggregationId");
    lines[1].as_object_mut().unwrap().remove("compoundAggregationId");
    let said = ["lineItems[0], lineItems[1] of 312.30 together have no aggregationId or compoundAggregationId"];
    failed_run(&kit, &message, VALIDATION, &said).await;
}

#[tokio::test]
async fn everything_that_is_unmapped_is_named_in_one_message() {
    let kit = Kit::empty().await;
    kit.configure(json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" }))
        .await;
    let message = kit.payload("unmapped-bill.json");
    let said = failed_run(&kit, &message, MISSING_ACCOUNT, &[
        "Account 6f0d7a1e-52c4-4d0b-9d0f-2b8f6a1c0009 has no external mapping to AWS; create one and the bill is sent again by itself",
        "Product a2c5e8f1-0b37-4d62-9c14-7e3d5f6b0008 has no external mapping to AWS",
        "Product a2c5e8f1-0b37-4d62-9c14-7e3d5f6b0009 has no external mapping to AWS",
    ])
    .await;
    assert_eq!(said.matches("has no external mapping").count(), 3);

    let kit = Kit::empty().await;
    kit.configure(json!({ "splitUsageLineItems": "ITEM_PER_AGGREGATION" }))
        .await;
    failed_run(
        &kit,
        &kit.payload("unmapped-bill.json"),
        MISSING_ACCOUNT,
        &[
            "Account 6f0d7a1e-52c4-4d0b-9d0f-2b8f6a1c0009 has no external mapping to AWS",
            "Aggregation d94b1e27-6c80-4a3f-b5d2-1a7c8e0f0008 has no external mapping to AWS",
            "CompoundAggregation d94b1e27-6c80-4a3f-b5d2-1a7c8e0f0009 has no external mapping to AWS",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_mapping_that_cannot_be_used_is_named_with_what_it_holds() {
    // A licence without the account id of its buyer.
    let kit = Kit::empty().await;
    kit.configure(json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" }))
        .await;
    kit.post("externalmappings", &kit.payload("mapping-of-product.json"))
        .await;
    let mut account = kit.payload("mapping-of-account.json");
    account["externalTable"] = json!("License");
    account["externalId"] = json!("arn:aws:license-manager::777788889999:license:l-7c1e5a9d3f8b4206a1d9c7e5b3f08642");
    kit.post("externalmappings", &account).await;
    let said = [
        "the external mapping of Account",
        "12-digit AWS account id in table Customer, which holds nothing",
    ];
    failed_run(&kit, &kit.payload("bill-created.json"), VALIDATION, &said).await;
    assert_eq!(
        kit.runs(input::BILL).await.len(),
        1,
        "a mapping as new as the run does not queue it for ever"
    );
    account["externalTable"] = json!("Customer");
    account["externalId"] = json!("444455556666");
    kit.post("externalmappings", &account).await;
    kit.sandbox.drain().await;
    assert_eq!(kit.units("acme_cloud"), 31_230);

    // Two dimensions for one product.
    let kit = Kit::per_product().await;
    let mut product = kit.payload("mapping-of-product.json");
    product["externalTable"] = json!("OtherDimension");
    product["externalId"] = json!(format!("{PRODUCT_CODE}-another"));
    kit.post("externalmappings", &product).await;
    let said = [
        "the external mapping of Product",
        PRODUCT,
        "another mapping of it names",
        "correct the mapping",
    ];
    failed_run(&kit, &kit.payload("bill-created.json"), VALIDATION, &said).await;
}

#[tokio::test]
async fn a_dimension_that_no_listing_can_have_is_refused_when_it_is_written() {
    let kit = Kit::empty().await;
    let longest = "k".repeat(255);
    let longer = "k".repeat(256);
    for (dimension, said) in [
        (
            "nohyphen".to_owned(),
            "it has no hyphen; a dimension is written <productCode>-<dimensionKey>",
        ),
        (
            format!("{PRODUCT_CODE}-{longer}"),
            "its dimension key is longer than 255 characters",
        ),
        (format!("{PRODUCT_CODE}-"), "nothing stands after its first hyphen"),
        ("-measurements".to_owned(), "nothing stands before its first hyphen"),
    ] {
        let mapping = json!({
            "m3terEntity": "Aggregation", "m3terId": AGGREGATION, "externalSystem": "AWS", "externalTable": "Dimension",
            "externalId": dimension,
        });
        let refused = kit.refused("POST", "externalmappings", Some(&mapping)).await;
        says(&refused, &["externalId: ", "is no dimension: ", said]);
        for key in ["marketplaceBillDimension", "marketplaceDefaultDimension"] {
            let mut data = json!({ "splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": format!("{PRODUCT_CODE}-a") });
            data[key] = json!(dimension);
            let body = json!({ "entityType": "Bill", "destination": "AWS", "name": "n", "configData": data });
            let refused = kit.refused("POST", "integrationconfigs", Some(&body)).await;
            says(&refused, &[&format!("configData.{key}: "), said]);
        }
    }
    // The longest that AWS takes goes all the way.
    kit.configure(json!({
        "splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": format!("{PRODUCT_CODE}-{longest}"),
    }))
    .await;
    kit.post("externalmappings", &kit.payload("mapping-of-account.json"))
        .await;
    kit.send(&kit.payload("bill-created.json")).await;
    assert_eq!(kit.units(&longest), 31_230);
}

#[tokio::test]
async fn a_buyer_without_subscription_is_told_with_the_way_out() {
    let kit = Kit::per_product().await;
    let statement = json!({ "customer": "111122223333", "subscribed": false });
    kit.control("POST", "/buyers", statement.to_string()).await;
    kit.send(&kit.payload("bill-created.json")).await;
    let run = kit.run(input::BILL).await;
    assert_eq!(run["status"], "AWAITING_RETRY");
    let said = ["the next hour is tried once more", "The units are kept"];
    says(&text(&run["error"]), &said);
    kit.sandbox.advance(jiff::SignedDuration::from_hours(1)).await.unwrap();
    let run = kit.run(input::BILL).await;
    let said = [
        "31230 units of 5wq8xk2m7rj4nv1tz9dh3bcf6-acme_cloud for hour 2025-06-10T10: REFUSED",
        "AWS says CustomerNotSubscribed",
        "The units are kept and nothing more is sent there",
        "or replay the run",
    ];
    says(&text(&run["error"]), &said);
    // Growth adds nothing while the cause stands, and says so.
    kit.send(&kit.payload("bill-updated.json")).await;
    let waiting = kit.run(input::BILL).await;
    says(
        &text(&waiting["error"]),
        &["AWS refused this buyer or dimension", "or replay the run"],
    );
    let statement = json!({ "customer": "111122223333", "subscribed": true });
    kit.control("POST", "/buyers", statement.to_string()).await;
    kit.sandbox.advance(jiff::SignedDuration::from_hours(1)).await.unwrap();
    assert_eq!(kit.units("acme_cloud"), 0);
    kit.post(&format!("integrationruns/{}/replay", text(&waiting["id"])), &json!({}))
        .await;
    kit.sandbox.drain().await;
    assert_eq!(kit.units("acme_cloud"), 33_701);
}

#[tokio::test]
async fn a_misspelt_account_id_is_refused_when_it_is_written() {
    let kit = Kit::empty().await;
    let mut mapping = kit.payload("mapping-of-account.json");
    for id in ["1111-2222-3333", "11112222333", "1111222233334", "1111 2222 3333"] {
        mapping["externalId"] = json!(id);
        let refused = kit.refused("POST", "externalmappings", Some(&mapping)).await;
        says(&refused, &[&format!("externalId: {id:?}"), "12 digits without hyphens"]);
    }
}

#[tokio::test]
async fn another_currency_than_the_listings_is_refused() {
    let kit = Kit::per_product().await;
    let said = [
        "currency: the bill is in EUR, but the listing is in USD",
        "bill the account in USD, or set marketplaceCurrency",
    ];
    failed_run(&kit, &kit.payload("bill-in-euros.json"), VALIDATION, &said).await;
}

#[tokio::test]
async fn a_message_at_the_limit_of_sqs_works_and_a_larger_one_is_refused() {
    let kit = Kit::per_product().await;
    let mut message = kit.payload("bill-created.json");
    message["padding"] = json!("");
    let room = MESSAGE_BYTES_MAX - message.to_string().len();
    message["padding"] = json!("p".repeat(room));
    let body = message.to_string();
    assert_eq!(body.len(), MESSAGE_BYTES_MAX);
    let refused = kit.control("POST", "/queue", format!("{body} ")).await;
    says(&text(&refused["message"]), &["1048576"]);
    assert!(!kit.send_text(body).await);
    assert_eq!(kit.units("acme_cloud"), 31_230);
    let log = kit.log(&text(&kit.run(input::BILL).await["id"])).await;
    assert_eq!(log[0]["input"], message);
}

#[tokio::test]
async fn a_malformed_message_at_the_limit_is_kept_whole() {
    let kit = Kit::per_product().await;
    // What has room for its reason beside it stays as it is.
    let body = "x".repeat(MESSAGE_BYTES_MAX - 2_000);
    dead_letter(&kit, &body, &["the message is not JSON"]).await;
    // What has none is stored, and the dead letter says where.
    for body in [
        "x".repeat(MESSAGE_BYTES_MAX),
        format!("{{\"bill\":\"{}\"}}", "ü".repeat(524_282)),
    ] {
        assert!(
            (MESSAGE_BYTES_MAX - 2..=MESSAGE_BYTES_MAX).contains(&body.len()),
            "{}",
            body.len()
        );
        kit.send_text(body.clone()).await;
        let letters = kit.dead_letters().await;
        let (reason, letter) = letters.last().unwrap();
        says(reason, &["Nothing was sent"]);
        let letter: Value = serde_json::from_str(letter).unwrap();
        assert_eq!(letter["reason"], *reason);
        let kept = kit
            .outbill()
            .await
            .bodies
            .get(&text(&letter["storedBody"]))
            .await
            .unwrap();
        assert!(kept.as_deref() == Some(body.as_str()), "the whole message is kept");
    }
    assert_eq!(kit.metering_calls(), 0);
}

/// A bill of ten thousand lines of one cent, and one prime number of cents on top.
fn large_bill(kit: &Kit) -> Value {
    let mut bill = kit.payload("bill-with-account.json")["bill"].clone();
    let mut line = bill["lineItems"][0].clone();
    line["convertedSubtotal"] = serde_json::from_str("0.01").unwrap();
    let mut lines = vec![line; LINES];
    lines[LINES - 1]["convertedSubtotal"] = serde_json::from_str("0.37").unwrap();
    bill["lineItems"] = Value::Array(lines);
    bill
}

#[tokio::test]
async fn ten_thousand_lines_come_by_reference() {
    let kit = Kit::per_product().await;
    let bill = large_bill(&kit);
    assert!(
        bill.to_string().len() > 6 * 1024 * 1024,
        "larger than any payload of Lambda"
    );
    kit.control("POST", "/m3ter", json!({ "bills": [bill] }).to_string())
        .await;
    assert!(!kit.send(&kit.payload("bill-reference.json")).await);
    assert_eq!(kit.run(input::BILL).await["status"], "COMPLETE");
    assert_eq!(kit.units("acme_cloud"), 10_036);
}

#[tokio::test]
async fn ten_thousand_lines_come_through_the_api() {
    let kit = Kit::per_product().await;
    let mut bill = large_bill(&kit);
    for line in bill["lineItems"].as_array_mut().unwrap() {
        let line = line.as_object_mut().unwrap();
        for name in [
            "usagePerPricingBand",
            "segment",
            "planId",
            "meterId",
            "productName",
            "productCode",
            "accountingProductId",
        ] {
            line.remove(name);
        }
    }
    let bytes = bill.to_string().len();
    assert!((MESSAGE_BYTES_MAX..api::BODY_BYTES_MAX).contains(&bytes), "{bytes}");
    let (status, answer) = kit.call("POST", "bills", Some(&bill)).await;
    assert_eq!(status, 202, "{answer}");
    kit.sandbox.drain().await;
    assert_eq!(kit.run(input::BILL).await["status"], "COMPLETE");
    assert_eq!(kit.units("acme_cloud"), 10_036);
    // What the API cannot take says how it can come.
    let (status, answer) = kit.call("POST", "bills", Some(&large_bill(&kit))).await;
    assert_eq!(status, 413);
    says(&text(&answer["message"]), &["6291456", "billId"]);
}

#[tokio::test]
async fn a_thousand_bad_lines_give_a_readable_message() {
    let kit = Kit::per_product().await;
    let mut bill = large_bill(&kit);
    bill["lineItems"].as_array_mut().unwrap().truncate(1_000);
    for line in bill["lineItems"].as_array_mut().unwrap() {
        line["convertedSubtotal"] = Value::Null;
    }
    let message = json!({ "orgId": kit.organization(), "bill": bill });
    assert!(!kit.send(&message).await);
    let said = failed(
        &kit,
        input::BILL,
        &message,
        VALIDATION,
        &["lineItems[0].convertedSubtotal", "and 980 more"],
    )
    .await;
    assert!(said.len() < 4_000, "{}", said.len());
}

#[tokio::test]
async fn the_api_refuses_what_is_no_bill_and_says_what_would_be() {
    let kit = Kit::per_product().await;
    for (body, said) in [
        (json!([]), "the body has to be a JSON object: a bill, or {\"bill\": …}"),
        (json!({}), "bill.id: it is empty; give the bill's id"),
        (json!({ "bill": 7 }), "bill: give an object"),
        (json!({ "billId": "" }), "billId: it is missing"),
        (json!({ "flush": true }), "bill.id"),
        (
            json!({ "orgId": kit.organization(), "integrationRunId": "r", "replay": true }),
            "bill.id",
        ),
        (
            json!({ "bill": { "id": "b" }, "acount": { "id": ACCOUNT } }),
            "acount: this field is unknown",
        ),
        (
            json!({ "eventName": "billing.bill.updated", "m3terEvent": {} }),
            "m3terEvent.eventData: give m3ter's event",
        ),
    ] {
        says(&kit.refused("POST", "bills", Some(&body)).await, &[said]);
    }
    // Whoever sends a bill by hand is told at once; by the queue it would leave a run.
    for (name, said) in [
        ("bill-without-amount.json", "lineItems[1].convertedSubtotal is missing"),
        ("bill-without-currency.json", "currency is missing"),
        (
            "unknown-line-item-type.json",
            "lineItems[0].lineItemType: \"LOYALTY_BONUS\"",
        ),
    ] {
        let event = kit.payload(name);
        for body in [&event, &bill_of(&event)] {
            says(&kit.refused("POST", "bills", Some(body)).await, &[said]);
        }
    }
    kit.sandbox.drain().await;
    assert_eq!((kit.metering_calls(), kit.dead_letters().await), (0, vec![]));
}
