//! A configuration that cannot be used is refused when it is written, with every key that is wrong and what would be right.

use input::{Kit, PRODUCT_CODE, says};
use outbill::values::marketplace_configuration::SETTINGS;
use serde_json::{Value, json};

fn configuration(config_data: &Value) -> Value {
    json!({ "entityType": "Bill", "destination": "AWS", "name": "n", "configData": config_data })
}

/// Each key with a bad value and what is said of it.
fn bad_values() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("accountIds", json!("all"), "give a list of texts"),
        (
            "accountIds",
            json!(["a b"]),
            "\"a b\": it holds ' ', which no m3ter id does",
        ),
        ("restrictedAccountIds", json!([7]), "7: give a text"),
        (
            "integrationDisabledNotificationUsers",
            json!(["billing"]),
            "\"billing\": give an e-mail address",
        ),
        ("onlySendBillOnApproval", json!("true"), "give true or false"),
        ("useExternalMappingAccountCode", json!(1), "give true or false"),
        (
            "excludedLineItemTypes",
            json!(["CREDITMEMO"]),
            "\"CREDITMEMO\" is not a line item type; the known ones are",
        ),
        ("accountFilter", json!("address.country = UK"), "at character 17: "),
        ("enforceExternalMappingsForConfig", json!([]), "give true or false"),
        (
            "splitUsageLineItems",
            json!("PER_LINE"),
            "choose ITEM_PER_BILL, ITEM_PER_PRODUCT or ITEM_PER_AGGREGATION",
        ),
        ("splitUsageLineItems", json!(3), "give a text"),
        (
            "marketplaceBillDimension",
            json!("measurements"),
            "\"measurements\": it has no hyphen",
        ),
        ("marketplaceDefaultDimension", json!({}), "give a text"),
        (
            "marketplaceAdoptFrom",
            json!("June"),
            "give an instant such as 2025-06-10T00:00:00Z",
        ),
        (
            "marketplaceUnitPrice",
            json!("0"),
            "give a decimal number above zero, such as \"0.01\"",
        ),
        ("marketplaceUnitPrice", json!(true), "give a decimal number above zero"),
        (
            "marketplaceCurrency",
            json!("dollars"),
            "give the three capital letters of ISO 4217, such as USD",
        ),
        (
            "marketplaceMeteringRegion",
            json!("Virginia"),
            "AWS meters in af-south-1, ",
        ),
        ("marketplaceShadow", json!("yes"), "give true or false"),
        ("awsMarketplaceCloudtrailChecks", json!("on"), "give true or false"),
        (
            "awsMarketplaceCloudtrailSource",
            json!("S3"),
            "choose EVENT_DATA_STORE or EVENT_HISTORY",
        ),
        (
            "awsMarketplaceCloudtrailStoreId",
            json!("my store"),
            "give the id or ARN of an event data store",
        ),
        ("awsMarketplaceCloudtrailCredentialsId", json!("my key"), "it holds ' '"),
        (
            "awsMarketplaceCloudtrailRegion",
            json!("moon"),
            "give an AWS region such as us-east-1",
        ),
    ]
}

#[tokio::test]
async fn every_key_with_a_bad_value_is_named() {
    let kit = Kit::empty().await;
    let tried: Vec<&str> = bad_values().iter().map(|(key, _, _)| *key).collect();
    for key in SETTINGS {
        assert!(tried.contains(key), "{key} is tried with a bad value");
    }
    for (key, value, said) in bad_values() {
        let mut data = json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" });
        data[key] = value;
        let refused = kit
            .refused("POST", "integrationconfigs", Some(&configuration(&data)))
            .await;
        assert!(refused.starts_with(&format!("configData.{key}: ")), "{refused}");
        says(&refused, &[said]);
    }
    // All at once: each is named.
    let data: serde_json::Map<String, Value> = bad_values()
        .into_iter()
        .map(|(key, value, _)| (key.to_owned(), value))
        .collect();
    let refused = kit
        .refused("POST", "integrationconfigs", Some(&configuration(&Value::Object(data))))
        .await;
    for key in SETTINGS {
        says(&refused, &[&format!("configData.{key}: ")]);
    }
    assert_eq!(kit.get("integrationconfigs").await, json!({ "data": [] }));
}

#[tokio::test]
async fn settings_that_need_each_other_say_so() {
    let kit = Kit::empty().await;
    for (data, said) in [
        (
            json!({}),
            "configData.splitUsageLineItems: it is missing; choose ITEM_PER_BILL",
        ),
        (
            json!({ "splitUsageLineItems": "ITEM_PER_BILL" }),
            "configData.marketplaceBillDimension: ITEM_PER_BILL needs it",
        ),
        (
            json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT", "awsMarketplaceCloudtrailChecks": true,
                    "awsMarketplaceCloudtrailSource": "EVENT_DATA_STORE" }),
            "configData.awsMarketplaceCloudtrailStoreId: EVENT_DATA_STORE needs it",
        ),
        (
            json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT", "awsMarketplaceCloudtrailChecks": true,
                    "awsMarketplaceCloudtrailRegion": "eu-west-1" }),
            "configData.awsMarketplaceCloudtrailRegion: event history is read where metering is called, in us-east-1",
        ),
    ] {
        says(
            &kit.refused("POST", "integrationconfigs", Some(&configuration(&data)))
                .await,
            &[said],
        );
    }
}

#[tokio::test]
async fn an_unknown_key_is_named_with_the_known_ones() {
    let kit = Kit::empty().await;
    let body = kit.payload("unknown-configuration-key.json");
    let refused = kit.refused("POST", "integrationconfigs", Some(&body)).await;
    says(
        &refused,
        &[
            "configData.excludedLineItemsTypes: this setting is unknown; leave it out. The known ones are",
            "excludedLineItemTypes",
        ],
    );
    let mut body = configuration(&json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" }));
    body["credential"] = json!("x");
    let refused = kit.refused("POST", "integrationconfigs", Some(&body)).await;
    says(
        &refused,
        &["credential: this field is unknown", "integrationCredentialsId"],
    );
    // A change is held to the same.
    let id = kit
        .configure(json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" }))
        .await;
    let mut body = configuration(&json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT", "dimension": PRODUCT_CODE }));
    body["version"] = json!(1);
    let refused = kit
        .refused("PUT", &format!("integrationconfigs/{id}"), Some(&body))
        .await;
    says(&refused, &["configData.dimension: this setting is unknown"]);
}

#[tokio::test]
async fn a_filter_that_does_not_parse_says_where() {
    let kit = Kit::empty().await;
    for (filter, said) in [
        ("address.country ==", "at character 19: a value was expected here"),
        (
            "address.country == UK AND",
            "at character 26: a field was expected here",
        ),
        ("(currency == USD", "at character 17: "),
        ("name == Acme", "at character 1: "),
        ("currency = = USD OR currency == \"EUR", "at character 33: "),
        ("currency USD", "at character 10: a comparison was expected here"),
        ("currency == USD NOT currency == EUR", "at character 17: "),
    ] {
        let data = json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT", "accountFilter": filter });
        let refused = kit
            .refused("POST", "integrationconfigs", Some(&configuration(&data)))
            .await;
        says(&refused, &["configData.accountFilter: ", said]);
    }
}

#[tokio::test]
async fn what_a_configuration_refers_to_has_to_be_there() {
    let kit = Kit::empty().await;
    let mut body = kit.payload("configuration.json");
    let refused = kit.refused("POST", "integrationconfigs", Some(&body)).await;
    says(
        &refused,
        &[
            "integrationCredentialsId: there is no integration credential c1e3a5b7",
            "create it first",
        ],
    );
    body["destination"] = json!("Stripe");
    body["entityType"] = json!("Invoice");
    let refused = kit.refused("POST", "integrationconfigs", Some(&body)).await;
    says(
        &refused,
        &[
            "destination: the destination \"Stripe\" is not supported yet; supported: AWS",
            "entityType: \"Invoice\"",
        ],
    );
    let mut mapping = kit.payload("mapping-of-account.json");
    mapping["integrationConfigId"] = json!("0197a3c2-0000-7000-8000-000000000000");
    says(
        &kit.refused("POST", "externalmappings", Some(&mapping)).await,
        &["integrationConfigId: "],
    );
}
