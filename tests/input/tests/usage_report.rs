//! The usage report: exact JSON for each split, the filters, and its pages.

use std::collections::BTreeSet;

use input::{ACCOUNT, AGGREGATION, BILL, COMPOUND_AGGREGATION, Kit, PRODUCT_CODE, list, says, text};
use serde_json::{Value, json};

const REPORT: &str = "integrationdestinations/marketplace/usageReport";

/// The first version in hour 10, the second in hour 11.
async fn two_hours(kit: &Kit) -> Value {
    kit.send(&kit.payload("bill-created.json")).await;
    kit.sandbox
        .advance_to("2025-06-10T11:05:00Z".parse().unwrap())
        .await
        .unwrap();
    kit.send(&kit.payload("bill-updated.json")).await;
    kit.get(REPORT).await
}

#[tokio::test]
async fn one_item_per_bill() {
    let dimension = format!("{PRODUCT_CODE}-measurements");
    let kit = Kit::with(json!({ "splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": dimension })).await;
    let expected = r#"{"data":[{"accountId":"6f0d7a1e-52c4-4d0b-9d0f-2b8f6a1c0001","billId":"b17d3c40-9a55-4c07-8e21-0f4b7c9d0001","externalSystem":"AWS","reportedUsage":{"5wq8xk2m7rj4nv1tz9dh3bcf6-measurements":{"2025-06-10T10:00:00Z":31230,"2025-06-10T11:00:00Z":2471}}}]}"#;
    assert_eq!(two_hours(&kit).await.to_string(), expected);
}

#[tokio::test]
async fn one_item_per_product() {
    let kit = Kit::per_product().await;
    // The first line belongs to a product of its own.
    let mut created = kit.payload("bill-created.json");
    created["m3terEvent"]["eventData"]["newDto"]["lineItems"][0]["productId"] =
        json!("a2c5e8f1-0b37-4d62-9c14-7e3d5f6b0002");
    kit.map("Product", "a2c5e8f1-0b37-4d62-9c14-7e3d5f6b0002", "acme_support")
        .await;
    kit.send(&created).await;
    let expected = r#"{"data":[{"accountId":"6f0d7a1e-52c4-4d0b-9d0f-2b8f6a1c0001","billId":"b17d3c40-9a55-4c07-8e21-0f4b7c9d0001","externalSystem":"AWS","reportedUsage":{"5wq8xk2m7rj4nv1tz9dh3bcf6-acme_cloud":{"2025-06-10T10:00:00Z":21127},"5wq8xk2m7rj4nv1tz9dh3bcf6-acme_support":{"2025-06-10T10:00:00Z":10103}}}]}"#;
    assert_eq!(kit.get(REPORT).await.to_string(), expected);
}

#[tokio::test]
async fn one_item_per_aggregation() {
    let kit = Kit::with(json!({
        "splitUsageLineItems": "ITEM_PER_AGGREGATION", "marketplaceDefaultDimension": format!("{PRODUCT_CODE}-other"),
    }))
    .await;
    kit.map("Aggregation", AGGREGATION, "api_calls").await;
    kit.map("CompoundAggregation", COMPOUND_AGGREGATION, "storage").await;
    // The prepayment of the second version has no aggregation: -13.37 on the default dimension is a carry and no usage.
    let expected = r#"{"data":[{"accountId":"6f0d7a1e-52c4-4d0b-9d0f-2b8f6a1c0001","billId":"b17d3c40-9a55-4c07-8e21-0f4b7c9d0001","externalSystem":"AWS","reportedUsage":{"5wq8xk2m7rj4nv1tz9dh3bcf6-api_calls":{"2025-06-10T10:00:00Z":10103,"2025-06-10T11:00:00Z":2628},"5wq8xk2m7rj4nv1tz9dh3bcf6-storage":{"2025-06-10T10:00:00Z":21127,"2025-06-10T11:00:00Z":1180}}}]}"#;
    assert_eq!(two_hours(&kit).await.to_string(), expected);
}

/// Seven bills of two accounts and two months, one an hour.
async fn seven_bills() -> Kit {
    let mut kit = Kit::per_product().await;
    let mut other = kit.payload("mapping-of-account.json");
    other["m3terId"] = json!("6f0d7a1e-52c4-4d0b-9d0f-2b8f6a1c0002");
    other["externalId"] = json!("444455556666");
    kit.post("externalmappings", &other).await;
    for number in 1..=7 {
        let mut bill = kit.payload("bill-with-account.json")["bill"].clone();
        bill["id"] = json!(format!("bill-{number}"));
        if number % 2 == 0 {
            bill["accountId"] = other["m3terId"].clone();
        }
        if number > 4 {
            bill["startDate"] = json!("2025-05-01");
        }
        kit.send(&json!({ "orgId": kit.organization(), "bill": bill })).await;
        kit.sandbox.advance(jiff::SignedDuration::from_hours(1)).await.unwrap();
    }
    kit.log_in().await;
    kit
}

/// The bills of a report, page by page.
async fn pages(kit: &Kit, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = String::new();
    for _ in 0..20 {
        let token = if next.is_empty() {
            String::new()
        } else {
            format!("&nextToken={next}")
        };
        let page = kit.get(&format!("{REPORT}?{query}{token}")).await;
        found.extend(list(&page["data"]).iter().map(|usage| text(&usage["billId"])));
        match page.get("nextToken").and_then(Value::as_str) {
            Some(token) => next = token.to_owned(),
            None => return found,
        }
    }
    panic!("{query} never ends: {found:?}")
}

#[tokio::test]
async fn the_filters_narrow_the_report() {
    let kit = seven_bills().await;
    let check = async |query: &str, expect: &[u32]| {
        let expect: BTreeSet<String> = expect.iter().map(|number| format!("bill-{number}")).collect();
        for size in ["", "&pageSize=1", "&pageSize=50"] {
            let found = pages(&kit, &format!("{query}{size}")).await;
            assert_eq!(found.len(), expect.len(), "{query}{size}: {found:?}");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expect, "{query}{size}");
        }
    };
    check("", &[1, 2, 3, 4, 5, 6, 7]).await;
    check("billStartDate=2025-06-01", &[1, 2, 3, 4]).await;
    check("billStartDate=2025-05-01", &[5, 6, 7]).await;
    check("billStartDate=2024-05-01", &[]).await;
    check(&format!("accountId={ACCOUNT}"), &[1, 3, 5, 7]).await;
    check(&format!("accountId={ACCOUNT}&billStartDate=2025-05-01"), &[5, 7]).await;
    check("accountId=nobody", &[]).await;
    check("billId=bill-6", &[6]).await;
    check(&format!("billId=bill-6&accountId={ACCOUNT}"), &[]).await;
    check("billId=bill-8", &[]).await;
    check("externalSystem=AWS", &[1, 2, 3, 4, 5, 6, 7]).await;
    check("externalSystem=aws&billId=bill-1", &[1]).await;
    check("externalSystem=Azure", &[]).await;
}

#[tokio::test]
async fn pages_are_stable_and_hold_no_bill_twice() {
    let kit = seven_bills().await;
    let all = pages(&kit, "pageSize=1").await;
    assert_eq!(all, pages(&kit, "pageSize=3").await);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 7, "{all:?}");
    // A bill that comes between two pages moves none of those that are there.
    let first = kit.get(&format!("{REPORT}?pageSize=3")).await;
    let mut bill = kit.payload("bill-with-account.json")["bill"].clone();
    bill["id"] = json!("bill-8");
    kit.send(&json!({ "orgId": kit.organization(), "bill": bill })).await;
    let second = kit
        .get(&format!("{REPORT}?pageSize=50&nextToken={}", text(&first["nextToken"])))
        .await;
    let found: Vec<String> = [&first, &second]
        .iter()
        .flat_map(|page| list(&page["data"]))
        .map(|usage| text(&usage["billId"]))
        .collect();
    assert_eq!(found, all);
}

#[tokio::test]
async fn what_the_report_cannot_be_asked_is_refused() {
    let kit = Kit::per_product().await;
    kit.send(&kit.payload("bill-created.json")).await;
    assert_eq!(list(&kit.get(&format!("{REPORT}?pageSize=50")).await["data"]).len(), 1);
    for (query, said) in [
        ("pageSize=51", "pageSize: \"51\": give a number from 1 to 50"),
        ("pageSize=0", "pageSize: \"0\": give a number from 1 to 50"),
        ("pageSize=many", "give a number from 1 to 50"),
        ("nextToken=x", "nextToken: this token is not one of this list"),
        ("accountId=a%20b", "accountId: it holds ' '"),
        (
            &format!("billId={}", "b".repeat(51)),
            "billId: give at most 50 characters",
        ),
    ] {
        says(&kit.refused("GET", &format!("{REPORT}?{query}"), None).await, &[said]);
    }
    assert_eq!(
        list(&kit.get(&format!("{REPORT}?billId={BILL}")).await["data"]).len(),
        1
    );
}
