use serde_json::json;

use super::*;

fn parse(config_data: Value) -> Result<MarketplaceConfiguration, ConfigurationErrors> {
    MarketplaceConfiguration::parse(config_data.as_object().unwrap())
}

#[test]
fn the_least_that_can_be_given() {
    let parsed = parse(json!({"splitUsageLineItems": "ITEM_PER_PRODUCT"})).unwrap();
    assert_eq!(parsed.split, Split::PerProduct);
    assert_eq!(parsed.unit_price, amount::decimal("0.01").unwrap());
    assert_eq!(parsed.currency, "USD");
    assert_eq!(parsed.metering_region, "us-east-1");
    assert_eq!(parsed.sending, Sending::EveryRegeneration);
    assert_eq!(parsed.mappings, MappingScope::LinkedFirst);
    assert_eq!(parsed.cloudtrail, None);
    assert_eq!(parsed.account_filter, None);
}

#[test]
fn everything_that_can_be_given() {
    let parsed = parse(json!({
        "accountIds": ["a1"], "restrictedAccountIds": ["a2"], "integrationDisabledNotificationUsers": ["a@b.example"],
        "onlySendBillOnApproval": true, "useExternalMappingAccountCode": true, "excludedLineItemTypes": ["CREDIT_MEMO"],
        "accountFilter": "customFields != null AND customFields.country == 'UK'", "enforceExternalMappingsForConfig": true,
        "splitUsageLineItems": "Item per bill", "marketplaceBillDimension": "abc-m", "marketplaceDefaultDimension": "abc-d",
        "marketplaceAdoptFrom": "2025-06-10T00:00:00Z", "marketplaceUnitPrice": 0.05, "marketplaceCurrency": "EUR",
        "marketplaceMeteringRegion": "eu-central-2", "awsMarketplaceCloudtrailChecks": true,
        "awsMarketplaceCloudtrailStoreId": "EXAMPLE-f852", "awsMarketplaceCloudtrailRegion": "eu-west-1"
    }))
    .unwrap();
    assert_eq!(parsed.split, Split::PerBill("abc-m".parse().unwrap()));
    assert_eq!(parsed.unit_price, amount::decimal("0.05").unwrap());
    assert_eq!(parsed.sending, Sending::OnApproval);
    assert_eq!(parsed.mappings, MappingScope::LinkedOnly);
    let checks = parsed.cloudtrail.unwrap();
    assert_eq!(checks.source, CloudtrailSource::EventDataStore);
    assert_eq!(checks.region, "eu-west-1");
    assert_eq!(
        parsed.excluded_line_item_types,
        BTreeSet::from([LineItemType::CreditMemo])
    );
}

#[test]
fn every_bad_setting_is_named_at_once() {
    let check = |setting: Value, expect: &[&str]| {
        let mut given = json!({"splitUsageLineItems": "ITEM_PER_PRODUCT"});
        given
            .as_object_mut()
            .unwrap()
            .extend(setting.as_object().unwrap().clone());
        let keys: Vec<String> = match parse(given.clone()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.into_iter().map(|error| error.key).collect(),
        };
        assert_eq!(keys, expect, "{given}");
    };
    check(json!({}), &[]);
    check(json!({"marketplaceUnitPrice": null}), &[]);
    check(json!({"accountFilter": ""}), &[]);
    check(json!({"_comment": "x"}), &["_comment"]);
    check(json!({"accountIDs": []}), &["accountIDs"]);
    check(json!({"splitUsageLineItems": null}), &["splitUsageLineItems"]);
    check(json!({"splitUsageLineItems": "per bill"}), &["splitUsageLineItems"]);
    check(
        json!({"splitUsageLineItems": "ITEM_PER_BILL"}),
        &["marketplaceBillDimension"],
    );
    check(
        json!({"splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": "nohyphen"}),
        &["marketplaceBillDimension"],
    );
    check(json!({"marketplaceUnitPrice": "0"}), &["marketplaceUnitPrice"]);
    check(json!({"marketplaceUnitPrice": -0.01}), &["marketplaceUnitPrice"]);
    check(json!({"marketplaceUnitPrice": "a cent"}), &["marketplaceUnitPrice"]);
    check(json!({"marketplaceUnitPrice": "0.001"}), &[]);
    check(json!({"marketplaceCurrency": "usd"}), &["marketplaceCurrency"]);
    check(
        json!({"marketplaceMeteringRegion": "Virginia"}),
        &["marketplaceMeteringRegion"],
    );
    check(
        json!({"marketplaceMeteringRegion": "us-east-"}),
        &["marketplaceMeteringRegion"],
    );
    check(json!({"marketplaceMeteringRegion": "ap-southeast-2"}), &[]);
    for elsewhere in ["us-gov-west-1", "cn-northwest-1", "eu-west-4"] {
        check(
            json!({"marketplaceMeteringRegion": elsewhere}),
            &["marketplaceMeteringRegion"],
        );
    }
    check(json!({"onlySendBillOnApproval": "yes"}), &["onlySendBillOnApproval"]);
    check(json!({"accountIds": "a1"}), &["accountIds"]);
    check(json!({"accountIds": ["a 1", 2]}), &["accountIds", "accountIds"]);
    check(
        json!({"excludedLineItemTypes": ["USAGE", "usage"]}),
        &["excludedLineItemTypes"],
    );
    check(json!({"accountFilter": "name == x"}), &["accountFilter"]);
    check(
        json!({"integrationDisabledNotificationUsers": ["somebody"]}),
        &["integrationDisabledNotificationUsers"],
    );
    check(json!({"marketplaceAdoptFrom": "yesterday"}), &["marketplaceAdoptFrom"]);
    check(
        json!({"awsMarketplaceCloudtrailChecks": true, "awsMarketplaceCloudtrailSource": "EVENT_DATA_STORE"}),
        &["awsMarketplaceCloudtrailStoreId"],
    );
    check(
        json!({"awsMarketplaceCloudtrailChecks": true, "awsMarketplaceCloudtrailRegion": "eu-west-1"}),
        &["awsMarketplaceCloudtrailRegion"],
    );
    check(
        json!({"awsMarketplaceCloudtrailSource": "LAKE"}),
        &["awsMarketplaceCloudtrailSource"],
    );
    check(
        json!({"a": 1, "marketplaceCurrency": 5, "marketplaceUnitPrice": true}),
        &["a", "marketplaceUnitPrice", "marketplaceCurrency"],
    );
}

#[test]
fn the_error_names_key_and_way_out() {
    let error = parse(json!({"splitUsageLineItems": "ITEM_PER_PRODUCT", "marketplaceCurrency": "usd"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "marketplaceCurrency: \"usd\": give the three capital letters of ISO 4217, such as USD"
    );
}
