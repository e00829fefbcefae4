//! What of a bill counts, and on which dimension.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, and, bill, dimension, line, per_aggregation, per_bill, per_product, usage,
};
use serde_json::{Value, json};

const HOUR: &str = "2025-06-10T10";

/// m3ter's line item types, each with a prime of its own as the cents of its line.
const LINE_ITEM_TYPES: [(&str, i64); 19] = [
    ("STANDING_CHARGE", 101),
    ("USAGE", 103),
    ("COUNTER_RUNNING_TOTAL_CHARGE", 107),
    ("COUNTER_ADJUSTMENT_DEBIT", 109),
    ("COUNTER_ADJUSTMENT_CREDIT", 113),
    ("USAGE_CREDIT", 127),
    ("MINIMUM_SPEND", 131),
    ("MINIMUM_SPEND_REFUND", 137),
    ("CREDIT_DEDUCTION", 139),
    ("MANUAL_ADJUSTMENT", 149),
    ("CREDIT_MEMO", 151),
    ("DEBIT_MEMO", 157),
    ("COMMITMENT_CONSUMED", 163),
    ("COMMITMENT_FEE", 167),
    ("OVERAGE_SURCHARGE", 173),
    ("OVERAGE_USAGE", 179),
    ("BALANCE_CONSUMED", 181),
    ("BALANCE_FEE", 191),
    ("AD_HOC", 193),
];

#[tokio::test]
async fn each_split_sends_the_same_money_to_its_own_dimensions() {
    let cases: [(Value, &[(&str, i64)]); 3] = [
        (per_bill(), &[(DIMENSION, 10_103 + 5_303 + 2_903 + 1_301)]),
        (per_product(), &[("seats", 10_103 + 5_303), ("disks", 2_903 + 1_301)]),
        (
            per_aggregation(),
            &[("calls", 10_103), ("logins", 5_303), ("bytes", 2_903 + 1_301)],
        ),
    ];
    for (settings, expect) in cases {
        let mut scene = Scene::start().await.with(settings).await;
        for (entity, id, key) in [
            ("Product", "product-1", "seats"),
            ("Product", "product-2", "disks"),
            ("Aggregation", "aggregation-1", "calls"),
            ("CompoundAggregation", "compound-1", "logins"),
            ("Aggregation", "aggregation-2", "bytes"),
        ] {
            scene.map(entity, id, "Dimension", &dimension(key)).await;
        }
        let june = bill("june", ACME, 1)
            .line(usage("101.03").product("product-1").aggregation("aggregation-1"))
            .line(usage("53.03").product("product-1").compound_aggregation("compound-1"))
            .line(usage("29.03").product("product-2").aggregation("aggregation-2"))
            .line(usage("13.01").product("product-2").aggregation("aggregation-2"));
        scene.bill(&june).await;
        let expect: Vec<_> = expect
            .iter()
            .map(|(key, units)| (ACME_AWS_ACCOUNT, *key, HOUR, *units))
            .collect();
        scene.assert_billed(&expect);
        scene.end().await;
    }
}

#[tokio::test]
async fn every_line_item_type_counts_unless_it_is_excluded() {
    let mut scene = Scene::start().await.with(per_bill()).await;
    let all: i64 = LINE_ITEM_TYPES.iter().map(|(_, cents)| cents).sum();
    let of_all = |id: &str, account: &str| {
        LINE_ITEM_TYPES
            .iter()
            .fold(bill(id, account, 1), |bill, (kind, cents)| {
                bill.line(line(kind, &format!("{}.{:02}", cents / 100, cents % 100)))
            })
    };
    scene.bill(&of_all("nothing-excluded", ACME)).await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), all);
    for (index, (kind, cents)) in LINE_ITEM_TYPES.iter().enumerate() {
        let (account, customer) = (format!("account-{index}"), format!("2000000000{index:02}"));
        scene.map("Account", &account, "Customer", &customer).await;
        scene
            .reconfigure(and(per_bill(), json!({ "excludedLineItemTypes": [kind] })))
            .await;
        scene.bill(&of_all(kind, &account)).await;
        assert_eq!(scene.paid(&customer, DIMENSION), all - cents, "without {kind}");
    }
    scene.end().await;
}

#[tokio::test]
async fn credits_lower_the_total_that_they_are_in() {
    let mut scene = Scene::start().await.with(per_bill()).await;
    let june = bill("june", ACME, 1)
        .of("101.03")
        .line(line("CREDIT_MEMO", "-10.01"))
        .line(line("COMMITMENT_CONSUMED", "-20.03"));
    scene.bill(&june).await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, HOUR, 7_099)]);
    scene.end().await;
}

#[tokio::test]
async fn a_bill_below_zero_lowers_what_the_buyer_s_other_bills_owe() {
    let mut scene = Scene::start().await.with(per_bill()).await;
    scene
        .bill(&bill("credit", ACME, 1).line(line("CREDIT_MEMO", "-3.07")))
        .await;
    scene.assert_run("credit", "COMPLETE", "").await;
    scene.assert_billed(&[]);
    scene.bill(&bill("june", ACME, 1).of("5.03")).await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, HOUR, 196)]);
    scene.end().await;
}

#[tokio::test]
async fn a_line_without_a_product_goes_to_the_default_dimension() {
    let settings = and(
        per_product(),
        json!({ "marketplaceDefaultDimension": dimension("other") }),
    );
    let mut scene = Scene::start().await.with(settings).await;
    scene
        .map("Product", "product-1", "Dimension", &dimension("seats"))
        .await;
    let june = bill("june", ACME, 1)
        .line(usage("101.03").product("product-1"))
        .line(line("AD_HOC", "7.01"))
        .line(line("MINIMUM_SPEND", "0"));
    scene.bill(&june).await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "seats", HOUR, 10_103),
        (ACME_AWS_ACCOUNT, "other", HOUR, 701),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn a_line_without_a_product_is_never_dropped() {
    let mut scene = Scene::start().await.with(per_product()).await;
    scene
        .map("Product", "product-1", "Dimension", &dimension("seats"))
        .await;
    let june = bill("june", ACME, 1)
        .line(usage("101.03").product("product-1"))
        .line(line("AD_HOC", "7.01"));
    scene.bill(&june).await;
    scene
        .assert_run("june", "ERROR", "lineItems[1] of 7.01 has no productId")
        .await;
    scene.assert_billed(&[]);
    // The way out that the message names; what waited is sent by itself.
    scene
        .reconfigure(and(
            per_product(),
            json!({ "marketplaceDefaultDimension": dimension("other") }),
        ))
        .await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "seats", HOUR, 10_103),
        (ACME_AWS_ACCOUNT, "other", HOUR, 701),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn every_culprit_is_named_at_once_and_nothing_is_sent_in_part() {
    let mut scene = Scene::start().await.with(per_aggregation()).await;
    scene
        .map("Aggregation", "known", "Dimension", &dimension("calls"))
        .await;
    let june = bill("june", "nobody", 1)
        .line(usage("101.03").aggregation("known"))
        .line(usage("7.01").aggregation("aggregation-1"))
        .line(usage("11.03").compound_aggregation("compound-1"))
        .line(usage("13.01"))
        .with("currency", "EUR");
    scene.bill(&june).await;
    let run = scene.run("june").await;
    for culprit in [
        "the bill is in EUR, but the listing is in USD",
        "lineItems[3] of 13.01",
        "Account nobody",
        "Aggregation aggregation-1",
        "CompoundAggregation compound-1",
    ] {
        assert!(run.error.contains(culprit), "{}", run.error);
    }
    let june = bill("june", "nobody", 2)
        .line(usage("101.03").aggregation("known"))
        .line(usage("7.01").aggregation("aggregation-1"))
        .line(usage("11.03").compound_aggregation("compound-1"));
    scene.bill(&june).await;
    let run = scene.run("june").await;
    for culprit in [
        "Account nobody",
        "Aggregation aggregation-1",
        "CompoundAggregation compound-1",
    ] {
        assert!(
            run.error.contains(&format!("{culprit} has no external mapping to AWS")),
            "{}",
            run.error
        );
    }
    scene.assert_billed(&[]);
    // It is sent when the last of them is mapped, and not before.
    scene.map("Account", "nobody", "Customer", "999988887777").await;
    scene
        .map("Aggregation", "aggregation-1", "Dimension", &dimension("bytes"))
        .await;
    scene.assert_billed(&[]);
    scene
        .map("CompoundAggregation", "compound-1", "Dimension", &dimension("logins"))
        .await;
    scene.assert_billed(&[
        ("999988887777", "calls", HOUR, 10_103),
        ("999988887777", "bytes", HOUR, 701),
        ("999988887777", "logins", HOUR, 1_103),
    ]);
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

#[tokio::test]
async fn the_unit_price_and_the_currency_of_the_listing_count() {
    let settings = and(
        per_bill(),
        json!({ "marketplaceUnitPrice": "0.07", "marketplaceCurrency": "EUR" }),
    );
    let mut scene = Scene::start().await.with(settings).await;
    scene
        .bill(&bill("june", ACME, 1).of("101.03").with("currency", "EUR"))
        .await;
    // 101.03 / 0.07 = 1443.28…
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, HOUR, 1_443)]);
    scene.end().await;
}
