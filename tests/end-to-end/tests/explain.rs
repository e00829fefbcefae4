//! Units at AWS lead back through entries to versions and line items, and every number adds up.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, and, bill, dimension, line, per_aggregation, per_bill, per_product, usage,
};
use sandbox::FaultKind;
use serde_json::{Value, json};

/// Explains a bill, and checks on every dimension of it that the parts add up to the whole.
async fn explain(scene: &Scene, query: &str) -> Value {
    let path = format!("integrationdestinations/marketplace/explain?{query}");
    let explained = scene.seller.get(&path).await.expect("an explanation");
    let bill = explained["billId"].as_str().expect("a bill");
    for key in explained["dimensions"].as_array().expect("dimensions") {
        let sum = |list: &str, field: &str| -> i64 { numbers(&key[list], field).iter().sum() };
        let number = |field: &str| key[field].as_i64().unwrap_or_else(|| panic!("{field}: {key:#}"));
        assert_eq!(
            sum("sources", "units") + sum("fixed", "units"),
            number("units"),
            "{key:#}"
        );
        let whole = number("accepted") + number("unsettled") + number("open") + number("corrected");
        assert_eq!(whole, number("units"), "{key:#}");
        let bills: i64 = key["bills"]
            .as_object()
            .expect("bills")
            .values()
            .filter_map(Value::as_i64)
            .sum();
        assert_eq!(bills, number("total"), "{key:#}");
        assert_eq!(
            key["bills"][bill].as_i64().unwrap_or_default(),
            number("units"),
            "{key:#}"
        );
        let of_state = |states: &[&str]| -> i64 {
            let entries = key["entries"].as_array().expect("entries");
            let of = entries
                .iter()
                .filter(|entry| states.contains(&entry["state"].as_str().unwrap_or_default()));
            of.filter_map(|entry| entry["part"].as_i64()).sum()
        };
        assert_eq!(of_state(&["ACCEPTED"]), number("accepted"), "{key:#}");
        assert_eq!(
            of_state(&["PENDING", "UNKNOWN", "CONFLICT"]),
            number("unsettled"),
            "{key:#}"
        );
        for entry in key["entries"].as_array().expect("entries") {
            let parts = entry["parts"]
                .as_object()
                .expect("parts")
                .values()
                .filter_map(Value::as_i64);
            assert_eq!(
                parts.sum::<i64>(),
                entry["quantity"].as_i64().expect("a quantity"),
                "{entry:#}"
            );
        }
    }
    explained
}

fn numbers(list: &Value, field: &str) -> Vec<i64> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|item| item[field].as_i64().expect("a number"))
        .collect()
}

/// All words of one dimension.
fn words(key: &Value) -> String {
    let words = key["words"].as_array().expect("words");
    words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn assert_words(key: &Value, expect: &[&str]) {
    let words = words(key);
    for expect in expect {
        assert!(words.contains(expect), "{expect:?} is not in\n{words}");
    }
}

#[tokio::test]
async fn a_recalculated_bill_leads_from_each_hour_to_its_version_and_lines() {
    let mut scene = Scene::ready().await;
    scene
        .bill(&bill("june", ACME, 1).line(usage("101.03").with("id", "line-1")))
        .await;
    scene.until("2025-06-10T11:02:00Z").await;
    let second = bill("june", ACME, 2).line(usage("101.03").with("id", "line-1"));
    scene.bill(&second.line(usage("2.017").with("id", "line-2"))).await;
    let explained = explain(&scene, &format!("billId=june&dimension={}", dimension(DIMENSION))).await;
    assert_eq!(explained["version"], json!("version 2"));
    let key = &explained["dimensions"][0];
    assert_eq!(
        (&key["units"], &key["accepted"], &key["atAws"]),
        (&json!(10_305), &json!(10_305), &json!(10_305))
    );
    assert_words(
        key,
        &[
            "bill: 2 lines: 101.03 + 2.017 = 103.047; 103.047 ÷ 0.01 = 10304.7, rounded half away from zero to 10305 units",
            "the bill owes 10305 units here",
            "of them: 10305 accepted by AWS = 10305",
            "entries hold 10103 + 202 = 10305 units; 10305 owed - 10305 held = 0",
        ],
    );
    let entries = key["entries"].as_array().unwrap();
    let versions: Vec<&str> = entries.iter().filter_map(|entry| entry["version"].as_str()).collect();
    assert_eq!(versions, ["version 1", "version 2"]);
    assert_eq!(numbers(&key["entries"], "part"), [10_103, 202]);
    let listed = explained["versions"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{listed:#?}");
    assert_eq!(listed[0]["lineItems"][0]["id"], json!("line-1"));
    assert_eq!(listed[0]["sources"][0]["units"], json!(10_103));
    assert_eq!(listed[1]["lineItems"][1]["convertedSubtotal"], json!("2.017"));
    // The dimension's own name is enough, and all of them are the default.
    assert_eq!(
        explain(&scene, &format!("billId=june&dimension={DIMENSION}")).await,
        explained
    );
    assert_eq!(explain(&scene, "billId=june").await, explained);
    scene.end().await;
}

#[tokio::test]
async fn a_bill_that_fell_is_a_carry() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("97.01")).await;
    let explained = explain(&scene, "billId=june").await;
    let key = &explained["dimensions"][0];
    assert_eq!((&key["units"], &key["open"]), (&json!(9_701), &json!(-402)));
    assert_words(
        key,
        &[
            "10103 accepted by AWS + (-402) that AWS has too many of it, held against later growth = 9701",
            "9701 owed - 10103 held = -402",
        ],
    );
    scene.end().await;
}

#[tokio::test]
async fn bills_that_share_a_dimension_are_told_apart() {
    let mut scene = Scene::ready().await;
    let organization = scene.organization().to_owned();
    let events = [("may", "53.03"), ("june", "101.03"), ("july", "7.01")]
        .map(|(id, amount)| end_to_end::message::updated(&organization, &bill(id, ACME, 1).of(amount)));
    scene.send_together(events).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("may", ACME, 2).of("59.09")).await;
    scene.until("2025-06-10T12:02:00Z").await;
    for (id, units) in [("may", 5_909), ("june", 10_103), ("july", 701)] {
        let explained = explain(&scene, &format!("billId={id}")).await;
        let key = &explained["dimensions"][0];
        assert_eq!(
            (&key["units"], &key["accepted"]),
            (&json!(units), &json!(units)),
            "{key:#}"
        );
        assert_eq!((&key["total"], &key["atAws"]), (&json!(16_713), &json!(16_713)));
        assert_words(
            key,
            &["701 of bill july + 10103 of bill june + 5909 of bill may = 16713 units"],
        );
        for entry in key["entries"].as_array().unwrap() {
            assert!(entry["version"].as_str().is_some(), "{entry:#}");
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn each_product_and_each_excluded_line_has_its_place() {
    let settings = and(
        per_product(),
        json!({
            "marketplaceDefaultDimension": dimension("rest"), "excludedLineItemTypes": ["MINIMUM_SPEND"],
            "marketplaceUnitPrice": "0.03",
        }),
    );
    let mut scene = Scene::start().await.with(settings).await;
    for (product, key) in [("gold", "metal"), ("silver", "metal"), ("oil", "liquid")] {
        scene.map("Product", product, "Dimension", &dimension(key)).await;
    }
    let june = bill("june", ACME, 1)
        .line(usage("11.13").product("gold"))
        .line(usage("5.17").product("silver"))
        .line(line("MINIMUM_SPEND", "1000.01").product("gold"))
        .line(usage("-2.03").product("gold"))
        .line(usage("3.07").product("oil"))
        .line(usage("0.19"));
    scene.bill(&june).await;
    let explained = explain(&scene, "billId=june").await;
    assert_eq!(explained["dimensions"].as_array().unwrap().len(), 3);
    let metal = explain(&scene, "billId=june&dimension=metal").await;
    let metal = &metal["dimensions"][0];
    // 9.10 ÷ 0.03 = 303.33…; 5.17 ÷ 0.03 = 172.33…: each source is rounded once.
    assert_eq!(metal["units"], json!(303 + 172));
    assert_words(
        metal,
        &[
            "product:gold: 2 lines: 11.13 - 2.03 = 9.10",
            "the bill owes 303 + 172 = 475 units here",
        ],
    );
    assert_eq!(metal["sources"][0]["lineItems"], json!([0, 3]));
    assert_eq!(explained["versions"][0]["leftOut"], json!([2]));
    let rest = explain(&scene, "billId=june&dimension=rest").await;
    assert_eq!(rest["dimensions"][0]["sources"][0]["source"], json!("default"));
    scene.end().await;
}

#[tokio::test]
async fn a_cut_over_is_in_the_arithmetic_of_both_dimensions() {
    let mut scene = Scene::start().await.with(per_aggregation()).await;
    let mapping = scene
        .map("Aggregation", "storage", "Dimension", &dimension("old"))
        .await;
    scene
        .bill(&bill("june", ACME, 1).line(usage("11.03").aggregation("storage")))
        .await;
    scene.change_mapping(&mapping, &dimension("new")).await;
    scene
        .bill(&bill("june", ACME, 2).line(usage("13.07").aggregation("storage")))
        .await;
    // The cut-over as an operator asks for it.
    let run = scene.run("june").await.id;
    let path = format!("integrationruns/{run}/replay");
    scene
        .seller
        .post(&path, &json!({ "remap": true }))
        .await
        .expect("queued");
    scene.rest().await;
    let log = scene.log(&run).await;
    let asked = log
        .iter()
        .find_map(|record| record.get("replayAsked"))
        .expect("who asked");
    assert_eq!(asked["by"], json!(scene.sandbox.access_key().access_key_id));
    assert_eq!(asked["remap"], json!(true));
    let explained = explain(&scene, "billId=june").await;
    let of = |name: &str| {
        let keys = explained["dimensions"].as_array().unwrap();
        keys.iter()
            .find(|key| key["dimension"] == json!(dimension(name)))
            .unwrap()
            .clone()
    };
    let (old, new) = (of("old"), of("new"));
    assert_eq!((&old["units"], &new["units"]), (&json!(1_103), &json!(204)));
    assert_words(&old, &["1103 units at 0.01 stayed here when a source was cut over"]);
    assert_words(&new, &["less 11.03 that a cut-over left with another dimension: 2.04"]);
    scene.end().await;
}

#[tokio::test]
async fn what_is_unsettled_deleted_or_expired_is_said() {
    let mut scene = Scene::ready().await;
    scene.metering_always_fails(FaultKind::Error);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let explained = explain(&scene, "billId=june").await;
    let key = &explained["dimensions"][0];
    assert_eq!((&key["unsettled"], &key["atAws"]), (&json!(10_103), &json!(0)));
    assert_words(key, &["10103 sent or claimed, not settled"]);
    scene.heal();
    scene.tick().await;
    scene.delete(&bill("june", ACME, 2).of("101.03")).await;
    let explained = explain(&scene, "billId=june").await;
    assert_eq!(explained["deleted"], json!(true));
    assert_words(
        &explained["dimensions"][0],
        &["the bill was deleted and owes 0 units", "(-10103)"],
    );
    // DynamoDB deletes the logs when they expire; the numbers stay, and add up.
    scene.bill(&bill("may", ACME, 1).of("53.03")).await;
    scene.forget_logs().await;
    let explained = explain(&scene, "billId=may").await;
    let key = &explained["dimensions"][0];
    assert_eq!(key["units"], json!(5_303));
    assert_words(
        key,
        &["5303 units by the bill's manifest; the line items are not kept any more"],
    );
    let gone = explained["versions"][0]["lineItemsGone"].as_str().unwrap();
    assert!(gone.contains("90 days"), "{gone}");
    scene.end().await;
}

#[tokio::test]
async fn a_bill_that_was_never_counted_is_not_found() {
    let mut scene = Scene::start().await;
    scene.configuration = scene.configure(per_bill()).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.map("Account", "other", "Customer", ACME_AWS_ACCOUNT).await;
    scene.bill(&bill("others", "other", 1).of("53.03")).await;
    let cases = [
        ("", 400, "billId"),
        ("?billId=", 400, "billId"),
        ("?billId=a%23b", 400, "billId"),
        ("?billId=june", 404, "never counted anything"),
        ("?billId=nobody", 404, "nobody"),
        ("?billId=others&dimension=another", 404, "dimension another"),
    ];
    for (query, status, hint) in cases {
        let answer = scene
            .seller
            .get(&format!("integrationdestinations/marketplace/explain{query}"))
            .await;
        Scene::assert_refused(answer, status, &[hint]);
    }
    scene.end().await;
}
