//! What must hold for each reader, whatever it reads. A broken promise is a panic.

use std::fmt::Display;
use std::sync::LazyLock;

use outbill::decisions::totals::totals;
use outbill::effects::cloudtrail::read_event;
use outbill::values::account_filter::AccountFilter;
use outbill::values::amount;
use outbill::values::dimension::MarketplaceDimension;
use outbill::values::hour::Hour;
use outbill::values::marketplace_configuration::MarketplaceConfiguration;
use outbill::values::message::{Change, Message};
use outbill::values::trail::Content;
use outbill::values::usage_key::KeyHash;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::recipe::document;

/// What an error says beyond what it quotes of its input. Longer, and nobody reads it at night.
const ERROR_BYTES_MAX: usize = 16 * 1024;
/// How many bytes an error may spend on one byte of its input: `\u{10ffff}` for a character of four.
const ESCAPE_FACTOR: usize = 8;

fn events(names: &[&str]) -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
    let read =
        |name: &&str| std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    names.iter().map(read).collect()
}

static MESSAGES: LazyLock<Vec<String>> = LazyLock::new(|| {
    events(&[
        "bill-updated.json",
        "bill-created.json",
        "bill-approved.json",
        "bill-deleted.json",
        "bill-with-account.json",
        "bill-reference.json",
        "run-replay.json",
        "run-remap.json",
        "license-deprovisioned.json",
        "unsubscribe-pending.json",
        "subscribe-success.json",
        "tick.json",
    ])
});

static CONFIGURATIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    [
        json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" }),
        json!({
            "splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": "abc-total", "marketplaceUnitPrice": "0.01",
            "marketplaceCurrency": "USD", "marketplaceMeteringRegion": "us-east-1", "excludedLineItemTypes": ["USAGE_CREDIT"],
        }),
        json!({
            "splitUsageLineItems": "ITEM_PER_AGGREGATION", "marketplaceDefaultDimension": "abc-rest", "accountIds": ["a", "b"],
            "restrictedAccountIds": ["c"], "integrationDisabledNotificationUsers": ["operator@seller.example"],
            "onlySendBillOnApproval": true, "accountFilter": "currency == USD AND customFields.tier != 'free'",
            "enforceExternalMappingsForConfig": true, "useExternalMappingAccountCode": false,
            "awsMarketplaceCloudtrailChecks": true, "marketplaceAdoptFrom": "2025-06-01T00:00:00Z",
        }),
    ]
    .map(|configuration| configuration.to_string())
    .into()
});

static FILTERS: LazyLock<Vec<String>> = LazyLock::new(|| {
    [
        "currency == USD",
        "accountName = = 'Acme' OR accountCode != null",
        "(address.country == \"GB\" AND customFields.seats >= 10.5) OR NOT_A_FIELD == true",
        "customFields.a.b < 7 AND (id == x OR (id == y AND currency > null))",
    ]
    .map(str::to_owned)
    .into()
});

static TRAIL: LazyLock<Vec<String>> = LazyLock::new(|| {
    let record = json!({
        "dimension": "seats", "timestamp": "Jun 10, 2025 10:00:00 AM", "customerIdentifier": "", "customerAWSAccountId": "111122223333",
        "quantity": 7,
    });
    let licensed = json!({
        "dimension": "seats", "timestamp": 1_749_549_600, "customerAWSAccountId": "111122223333", "quantity": "11",
        "licenseArn": "arn:aws:license-manager::294406891311:license:l-e52ca6f38bf84d0fafb8802ca15ac11a",
    });
    let result =
        |record: &Value, status: &str| json!({ "usageRecord": record, "meteringRecordId": "m", "status": status });
    let results = json!([
        result(&record, "Success"),
        result(&licensed, "Success"),
        result(&record, "CustomerNotSubscribed")
    ]);
    let event = |request: Value, response: Value| {
        json!({
            "eventVersion": "1.08", "eventTime": "2025-06-10T10:05:00Z", "eventSource": "metering-marketplace.amazonaws.com",
            "eventName": "BatchMeterUsage", "awsRegion": "us-east-1", "eventID": "e", "recipientAccountId": "123456789012",
            "requestParameters": request, "responseElements": response,
        })
    };
    let request = json!({ "productCode": "p", "usageRecords": [record] });
    let response = json!({ "results": results, "unprocessedRecords": [] });
    let mut refused = event(request.clone(), Value::Null);
    refused["errorCode"] = json!("ThrottlingException");
    [
        event(request.clone(), response.clone()),
        event(json!(request.to_string()), json!({ "results": results.to_string() })),
        event(json!({ "omitted": true }), response),
        refused,
    ]
    .map(|event| event.to_string())
    .into()
});

/// Every mapping of texts to what they mean is checked on these too.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    [
        "78qogxeqwt7zyevfefsw6q48i-measurements",
        "abc-a-b",
        "2025-06-10T10",
        "0.005",
        "-12.34",
        "1e3",
    ]
    .map(str::to_owned)
    .into()
});

fn says(error: &impl Display, input: &str) {
    let text = error.to_string();
    assert!(!text.trim().is_empty(), "an error says nothing about {input:?}");
    assert!(
        text.len() <= ERROR_BYTES_MAX + ESCAPE_FACTOR * input.len(),
        "{} bytes of error about {} bytes",
        text.len(),
        input.len()
    );
}

/// Messages of the bill queue; a bill that can be read is added up under every split.
pub fn message(bytes: &[u8]) {
    let text = document(&MESSAGES, bytes);
    match Message::parse(&text) {
        Err(error) => says(&error, &text),
        Ok(Message::Unreadable(bill)) => says(&bill.error, &text),
        Ok(Message::Bill(message)) => {
            if let Change::Calculated(bill) = &message.change {
                for configuration in CONFIGURATIONS.iter() {
                    let configuration = configuration_of(configuration).unwrap_or_else(|error| panic!("{error}"));
                    let totals = totals(bill, &configuration);
                    for source in totals.by_source.values() {
                        rounded(source.money, configuration.unit_price, &text);
                    }
                }
            }
        }
        Ok(_) => {}
    }
}

/// Units are the money, rounded once: at most half a unit away.
fn rounded(money: Decimal, unit_price: Decimal, text: &str) {
    if let Ok(units) = amount::units(money, unit_price) {
        let back = amount::money(units, unit_price).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(
            (back - money).abs() * Decimal::TWO <= unit_price,
            "{money} is {units} units: {text}"
        );
    }
}

/// The settings of a configuration.
pub fn configuration(bytes: &[u8]) {
    let text = document(&CONFIGURATIONS, bytes);
    match configuration_of(&text) {
        Err(error) => says(&error, &text),
        Ok(configuration) => assert!(configuration.unit_price > Decimal::ZERO, "{text}"),
    }
}

fn configuration_of(text: &str) -> Result<MarketplaceConfiguration, String> {
    let fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    MarketplaceConfiguration::parse(&fields).map_err(|error| error.to_string())
}

/// CloudTrail's events: what is read as accepted is a quantity that AWS can hold; what cannot be read is kept as that, with the reason.
pub fn trail(bytes: &[u8]) {
    let text = document(&TRAIL, bytes);
    let Some(event) = read_event(Some("outer"), None, &text, "us-east-1") else {
        return;
    };
    match event.content {
        Content::Answered { accepted, .. } => {
            for record in accepted {
                assert!((0..=2_147_483_647).contains(&record.quantity), "{text}");
                assert!(
                    !record.key.dimension.is_empty() && !record.key.buyer.customer().is_empty(),
                    "{text}"
                );
            }
        }
        Content::Refused { code } => assert!(!code.is_empty(), "{text}"),
        Content::Unreadable { reason } => says(&reason, &text),
        Content::Omitted => {}
    }
}

/// Account filters. One that can be read is read from its own text again, and has an answer for every account.
pub fn filter(bytes: &[u8]) {
    let text = document(&FILTERS, bytes);
    match AccountFilter::parse(&text) {
        Err(error) => {
            says(&error, &text);
            assert!(
                (1..=text.chars().count() + 1).contains(&error.position),
                "{error} of {text:?}"
            );
        }
        Ok(filter) => {
            assert_eq!(AccountFilter::parse(filter.as_str()).as_ref(), Ok(&filter));
            for account in [
                json!({}),
                json!({ "id": "x", "currency": "USD", "name": "Acme", "customFields": { "seats": 12, "a.b": 1e300 } }),
                json!({ "address": "no object", "customFields": [1, 2] }),
            ] {
                filter.admits(&account);
            }
        }
    }
}

/// Names of dimensions, hours, usage keys, and amounts. What can be read is written as it was.
pub fn name(bytes: &[u8]) {
    let text = document(&NAMES, bytes);
    match text.parse::<MarketplaceDimension>() {
        Err(error) => says(&error, &text),
        Ok(dimension) => assert_eq!(dimension.to_string(), text),
    }
    match text.parse::<Hour>() {
        Err(error) => says(&error, &text),
        Ok(hour) => assert_eq!(hour.to_string(), text),
    }
    match KeyHash::try_from(text.clone()) {
        Err(error) => says(&error, &text),
        Ok(hash) => assert_eq!(hash.as_str(), text),
    }
    match amount::decimal(&text) {
        Err(error) => says(&error, &text),
        Ok(money) => {
            assert!(!text.contains(['e', 'E']) || money == money.normalize(), "{text}");
            rounded(money, Decimal::new(1, 2), &text);
        }
    }
}

/// The call that is made with an access key; all others are made with a token.
pub const TOKEN_CALL: &str = "/oauth/token";

/// Calls of the API that read a body, all of them POST: the path of each, with a good body. `configuration`: one of the organization's.
pub fn api_calls(organization: &str, configuration: &str) -> Vec<(String, String)> {
    let payload = |name: &str| events(&[name]).concat();
    // The bill alone, as `POST bills` takes it. Whose it is the path says.
    let event: Value = serde_json::from_str(&payload("bill-updated.json")).unwrap_or_default();
    let mut bill = event
        .pointer("/m3terEvent/eventData/newDto")
        .cloned()
        .unwrap_or_default();
    if let Some(fields) = bill.as_object_mut() {
        fields.remove("orgId");
    }
    let preview = format!("integrationconfigs/{configuration}/preview");
    let entry = format!("{}-2025-06-10T10", "0".repeat(32));
    let resolve = format!("integrationdestinations/marketplace/pending/{entry}/resolve");
    let decision = json!({ "as": "RELEASED", "reason": "AWS's usage report does not have it" });
    let calls = [
        ("integrationconfigs", payload("configuration.json")),
        ("integrationcredentials", payload("credential.json")),
        ("externalmappings", payload("mapping-of-account.json")),
        ("externalmappings/import", json!({ "orgId": organization }).to_string()),
        ("bills", bill.to_string()),
        (preview.as_str(), bill.to_string()),
        (resolve.as_str(), decision.to_string()),
        (TOKEN_CALL, json!({ "grant_type": "client_credentials" }).to_string()),
    ];
    calls.map(|(path, body)| (path.to_owned(), body)).into()
}

/// What the API must say to a spoilt body from a caller who may make the call.
pub fn api_answer(path: &str, body: &str, status: u16, answer: &str) {
    assert!(status < 500, "{path} answered {status} to {body:?}: {answer}");
    assert!(
        status != 403 && status != 429,
        "{path} answered {status}, so nobody read {body:?}: {answer}"
    );
    let answer: Value =
        serde_json::from_str(answer).unwrap_or_else(|error| panic!("{path} answered {answer:?}: {error}"));
    if status >= 400 {
        let message = answer.get("message").and_then(Value::as_str);
        assert!(
            message.is_some_and(|message| !message.is_empty()),
            "{path} answered {status} with {answer}"
        );
    }
}
