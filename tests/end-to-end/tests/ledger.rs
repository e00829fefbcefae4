//! What AWS is told when bills grow, fall, move or share a buyer's dimension.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, acme, and, bill, dimension, message, per_aggregation, per_bill,
    per_product, set_up, usage,
};
use outbill::values::amount::RECORD_UNITS_MAX;
use outbill::values::message::flush_pages;
use sandbox::FaultKind;
use serde_json::json;

const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";
const TWELVE: &str = "2025-06-10T12";

#[tokio::test]
async fn growth_within_an_hour_waits_for_the_tick_and_is_sent_once() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T10:17:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("151.07")).await;
    scene.assert_run("june", "WAITING", "").await;
    scene.until("2025-06-10T11:00:59Z").await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.until("2025-06-10T11:01:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 5_004)]);
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

#[tokio::test]
async fn a_decrease_is_carried_and_absorbed_by_later_growth() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("97.01")).await;
    scene.assert_run("june", "COMPLETE", "").await;
    let log = scene.log(&scene.run("june").await.id).await;
    let claim = log[0]["keys"][0]["claim"].as_str().unwrap();
    assert!(
        claim.starts_with("AWS has 402 units more than the bills owe now"),
        "{claim}"
    );
    scene.bill(&bill("june", ACME, 3).of("98.09")).await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.bill(&bill("june", ACME, 4).of("103.07")).await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    scene.end().await;
}

#[tokio::test]
async fn until_05_55_on_the_1st_last_month_s_share_goes_into_last_month_s_free_hours() {
    let mut scene = Scene::start_at("2025-07-01T02:10:00Z").await.with(per_bill()).await;
    let july = |version: i64, amount: &str| {
        bill("july", ACME, version)
            .of(amount)
            .with("endDateTimeUTC", "2025-08-01T00:00:00Z")
    };
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.bill(&july(1, "7.01")).await;
    scene.bill(&july(2, "11.03")).await;
    let expect = [
        acme("2025-06-30T23", 10_103),
        acme("2025-06-30T22", 204),
        acme("2025-07-01T02", 701),
        acme("2025-07-01T01", 402),
    ];
    scene.assert_billed(&expect);
    scene.until("2025-07-01T05:54:59Z").await;
    scene.bill(&bill("june", ACME, 3).of("107.03")).await;
    assert!(
        scene
            .billed()
            .contains(&(ACME_AWS_ACCOUNT.into(), DIMENSION.into(), "2025-06-30T21".into(), 396))
    );
    // From now on last month is left alone: the growth lands in this month.
    scene.until("2025-07-01T05:55:00Z").await;
    scene.bill(&bill("june", ACME, 4).of("109.03")).await;
    assert!(
        scene
            .billed()
            .contains(&(ACME_AWS_ACCOUNT.into(), DIMENSION.into(), "2025-07-01T05".into(), 200))
    );
    scene.end().await;
}

#[tokio::test]
async fn what_waited_over_midnight_goes_to_the_month_it_belongs_to() {
    let mut scene = Scene::start_at("2025-06-30T23:10:00Z").await.with(per_bill()).await;
    let july = |amount: &str| {
        bill("july", ACME, 1)
            .of(amount)
            .with("endDateTimeUTC", "2025-08-01T00:00:00Z")
    };
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.bill(&july("7.01")).await;
    scene.assert_billed(&[acme("2025-06-30T23", 10_103)]);
    scene.until("2025-07-01T00:02:00Z").await;
    scene.assert_billed(&[
        acme("2025-06-30T23", 10_103),
        acme("2025-06-30T22", 204),
        acme("2025-07-01T00", 701),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn a_delta_too_large_for_one_record_is_spread_over_earlier_hours() {
    let mut scene = Scene::ready().await;
    // 3 × 2,147,483,647 + 7 units.
    scene.bill(&bill("june", ACME, 1).of("64424509.48")).await;
    scene.assert_billed(&[
        acme(TEN, RECORD_UNITS_MAX),
        acme("2025-06-10T09", RECORD_UNITS_MAX),
        acme("2025-06-10T08", RECORD_UNITS_MAX),
        acme("2025-06-10T07", 7),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn bills_that_share_a_key_are_told_apart_in_the_usage_report() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("extra", ACME, 1).of("53.07")).await;
    scene.assert_run("extra", "WAITING", "").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 5_511)]);
    // The entry is named after the last bill's run; the other's waited for it, too.
    for id in ["june", "extra"] {
        scene.assert_run(id, "COMPLETE", "").await;
        let run = scene.run(id).await;
        let told = scene.log(&run.id).await;
        let entry = &told.last().unwrap()["keys"][0]["entries"][0];
        assert_eq!(
            (&entry["hour"], &entry["quantity"]),
            (&json!(ELEVEN), &json!(5_511)),
            "{told:#?}"
        );
    }
    // One falls, the other grows: the sum is sent, and each bill keeps its own part.
    scene.until("2025-06-10T12:02:00Z").await;
    let organization = scene.organization().to_owned();
    scene.bill(&bill("extra", ACME, 2).of("50.03")).await;
    scene
        .send(message::updated(&organization, &bill("june", ACME, 3).of("113.09")))
        .await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 5_511), acme(TWELVE, 698)]);
    let path = "integrationdestinations/marketplace/usageReport";
    let report = scene.seller.get(path).await.unwrap();
    let usage_of = |id: &str| {
        let rows = report["data"].as_array().unwrap();
        rows.iter().find(|row| row["billId"] == id).unwrap()["reportedUsage"][dimension(DIMENSION)].clone()
    };
    let hour = |hour: &str| format!("{hour}:00:00Z");
    assert_eq!(
        usage_of("june"),
        json!({ hour(TEN): 10_103, hour(ELEVEN): 204, hour(TWELVE): 1_002 })
    );
    assert_eq!(usage_of("extra"), json!({ hour(ELEVEN): 5_307, hour(TWELVE): -304 }));
    scene.end().await;
}

#[tokio::test]
async fn a_run_that_waits_is_not_told_by_what_was_claimed_before_it_came() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("extra", ACME, 1).of("53.07")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.metering_always_fails(FaultKind::LostRequest);
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.bill(&bill("extra", ACME, 2).of("53.14")).await;
    scene.heal();
    let key = scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state.hash();
    let pages = flush_pages(&[], &[(key, ELEVEN.parse().unwrap())]);
    assert_eq!(scene.deliver(pages).await, [""; 0]);
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 5_511)]);
    scene.assert_run("june", "COMPLETE", "").await;
    scene.assert_run("extra", "WAITING", "").await;
    scene.until("2025-06-10T12:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 5_511), acme(TWELVE, 7)]);
    for run in scene.runs("extra").await {
        assert_eq!(run.status, "COMPLETE", "{}", run.json);
    }
    scene.end().await;
}

#[tokio::test]
async fn a_source_that_vanishes_owes_nothing_and_comes_back_without_a_second_charge() {
    let mut scene = Scene::start().await.with(per_product()).await;
    scene
        .map("Product", "product-1", "Dimension", &dimension("seats"))
        .await;
    scene
        .map("Product", "product-2", "Dimension", &dimension("disks"))
        .await;
    let june = |version: i64| bill("june", ACME, version).line(usage("101.03").product("product-1"));
    scene.bill(&june(1).line(usage("53.03").product("product-2"))).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&june(2)).await;
    scene.assert_run("june", "COMPLETE", "").await;
    assert_eq!(scene.key(ACME_AWS_ACCOUNT, "disks").await.state.total, 0);
    scene.bill(&june(3).line(usage("59.09").product("product-2"))).await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "seats", TEN, 10_103),
        (ACME_AWS_ACCOUNT, "disks", TEN, 5_303),
        (ACME_AWS_ACCOUNT, "disks", ELEVEN, 606),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn a_remapped_source_is_held_until_a_cut_over() {
    let mut scene = Scene::start().await.with(per_product()).await;
    let mapping = scene
        .map("Product", "product-1", "Dimension", &dimension("seats"))
        .await;
    let june = |version: i64, amount: &str| bill("june", ACME, version).line(usage(amount).product("product-1"));
    scene.bill(&june(1, "101.03")).await;
    scene.change_mapping(&mapping, &dimension("users")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&june(2, "131.07")).await;
    let held = "product:product-1 has 10103 units at AWS under dimension";
    scene.assert_run("june", "ERROR", held).await;
    // A plain replay does not cut over either.
    scene.replay("june").await;
    scene.assert_run("june", "ERROR", held).await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, "seats", TEN, 10_103)]);
    scene.remap("june").await;
    scene.assert_run("june", "COMPLETE", "").await;
    scene.bill(&june(3, "137.09")).await;
    scene.until("2025-06-10T12:02:00Z").await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "seats", TEN, 10_103),
        (ACME_AWS_ACCOUNT, "users", ELEVEN, 3_004),
        (ACME_AWS_ACCOUNT, "users", TWELVE, 602),
    ]);
    // The old key keeps what AWS has; a fall is carried on the new one.
    let old = scene.key(ACME_AWS_ACCOUNT, "seats").await.state;
    assert_eq!((old.total, old.committed), (10_103, 10_103));
    scene.end().await;
}

#[tokio::test]
async fn a_source_that_aws_has_nothing_of_moves_freely() {
    let mut scene = Scene::start().await.with(per_product()).await;
    let mapping = scene
        .map("Product", "product-1", "Dimension", &dimension("seats"))
        .await;
    scene
        .bill(&bill("other", ACME, 1).line(usage("7.01").product("product-1")))
        .await;
    // All of this bill waits for 11:00.
    scene
        .bill(&bill("june", ACME, 1).line(usage("101.03").product("product-1")))
        .await;
    scene.change_mapping(&mapping, &dimension("users")).await;
    scene
        .bill(&bill("june", ACME, 2).line(usage("103.07").product("product-1")))
        .await;
    scene.assert_run("june", "COMPLETE", "").await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "seats", TEN, 701),
        (ACME_AWS_ACCOUNT, "users", TEN, 10_307),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn another_split_or_unit_price_or_region_is_held_until_it_is_restored_or_cut_over() {
    let line = |amount: &str| usage(amount).product("product-1").aggregation("aggregation-1");
    // Other settings; where the rest goes after a cut-over at 131.07, which is 30.04 more than AWS has.
    let cases = [
        (per_aggregation(), "calls", 3_004),
        (per_bill(), DIMENSION, 3_004),
        (
            and(per_product(), json!({ "marketplaceUnitPrice": "0.02" })),
            "seats",
            1_502,
        ),
        (
            and(per_product(), json!({ "marketplaceMeteringRegion": "eu-west-1" })),
            "seats",
            3_004,
        ),
    ];
    for (settings, key, rest) in cases {
        let mut scene = Scene::start().await.with(per_product()).await;
        scene
            .map("Product", "product-1", "Dimension", &dimension("seats"))
            .await;
        scene
            .map("Aggregation", "aggregation-1", "Dimension", &dimension("calls"))
            .await;
        scene.bill(&bill("june", ACME, 1).line(line("101.03"))).await;
        scene.reconfigure(settings.clone()).await;
        scene.until("2025-06-10T11:02:00Z").await;
        scene.bill(&bill("june", ACME, 2).line(line("131.07"))).await;
        scene.assert_run("june", "ERROR", "has 10103 units at AWS").await;
        scene.assert_billed(&[(ACME_AWS_ACCOUNT, "seats", TEN, 10_103)]);
        scene.remap("june").await;
        scene.assert_run("june", "COMPLETE", "").await;
        scene.assert_billed(&[
            (ACME_AWS_ACCOUNT, "seats", TEN, 10_103),
            (ACME_AWS_ACCOUNT, key, ELEVEN, rest),
        ]);
        scene.end().await;
    }
}

#[tokio::test]
async fn restored_settings_end_the_hold() {
    let mut scene = Scene::start().await.with(per_product()).await;
    scene
        .map("Product", "product-1", "Dimension", &dimension("seats"))
        .await;
    scene
        .bill(&bill("june", ACME, 1).line(usage("101.03").product("product-1")))
        .await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.reconfigure(per_bill()).await;
    scene
        .bill(&bill("june", ACME, 2).line(usage("131.07").product("product-1")))
        .await;
    scene.assert_run("june", "ERROR", "another split").await;
    scene.reconfigure(per_product()).await;
    scene.assert_run("june", "COMPLETE", "").await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "seats", TEN, 10_103),
        (ACME_AWS_ACCOUNT, "seats", ELEVEN, 3_004),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn older_and_equal_versions_change_nothing() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 2).of("101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    let by_instant = bill("june", ACME, 1)
        .of("401.03")
        .with("version", serde_json::Value::Null)
        .with("dtLastModified", "2025-06-10T11:00:00Z");
    for (other, outcome) in [
        (
            bill("june", ACME, 1).of("201.07"),
            "ignored: version 2 of this bill was handled already",
        ),
        (bill("june", ACME, 2).of("101.03"), "metered on one dimension"),
        (
            bill("june", ACME, 2).of("301.07"),
            "the same version would count otherwise now",
        ),
        (
            by_instant,
            "ignored: the newest known is version 2, and the two kinds cannot be told",
        ),
    ] {
        scene.bill(&other).await;
        let run = scene.run("june").await;
        assert_eq!(run.status, "COMPLETE");
        let told = scene.log(&run.id).await[0]["outcome"].as_str().unwrap().to_owned();
        assert!(told.starts_with(outcome), "{told}");
        assert_eq!(scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state.total, 10_103);
    }
    scene.assert_billed(&[acme(TEN, 10_103)]);
    assert_eq!(scene.metering_calls(), 1);
    scene.end().await;
}

#[tokio::test]
async fn bills_without_versions_are_told_apart_by_their_last_change() {
    let mut scene = Scene::ready().await;
    let of = |instant: &str, amount: &str| {
        let bill = bill("june", ACME, 1).of(amount);
        bill.with("version", serde_json::Value::Null)
            .with("dtLastModified", instant)
    };
    scene.bill(&of("2025-06-10T09:00:00.5Z", "101.03")).await;
    scene.bill(&of("2025-06-10T09:00:00.25Z", "201.07")).await;
    scene.bill(&of("2025-06-10T11:00:00.5+02:00", "301.07")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&of("2025-06-10T09:00:01Z", "103.07")).await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    scene.end().await;
}

#[tokio::test]
async fn an_equal_version_with_other_units_is_applied_by_a_replay_only() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("june", ACME, 1).of("103.07")).await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.replay("june").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    scene.end().await;
}

#[tokio::test]
async fn a_second_organization_on_one_buyer_and_dimension_is_refused() {
    let mut scene = Scene::ready().await;
    let first = scene.organization().to_owned();
    let rival = scene.other_organization("rival").await;
    set_up::configure(&rival, "the same listing", &per_bill()).await;
    set_up::map(&rival, "Account", "acme-too", "Customer", ACME_AWS_ACCOUNT, None).await;
    set_up::map(&rival, "Account", "initech", "Customer", "ifAPi5AcF3", None).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .send(message::updated("rival", &bill("june", "acme-too", 1).of("53.03")))
        .await;
    scene
        .send(message::updated("rival", &bill("july", "initech", 1).of("7.01")))
        .await;
    let run = rival.get("integrationruns/Bill/latest/june").await.unwrap();
    let error = run["error"].as_str().unwrap();
    assert!(
        run["status"] == "ERROR" && error.contains(&format!("is metered by organization {first}")),
        "{run}"
    );
    scene.assert_billed(&[acme(TEN, 10_103), ("ifAPi5AcF3", DIMENSION, TEN, 701)]);
    // Neither sees the other's bill of the same id.
    assert_eq!(scene.runs("june").await.len(), 1);
    scene.end().await;
}

#[tokio::test]
async fn versions_that_travel_in_one_batch_are_counted_in_their_order() {
    let mut scene = Scene::ready().await;
    let organization = scene.organization().to_owned();
    let versions = [
        (1, "101.03"),
        (3, "107.03"),
        (2, "103.07"),
        (3, "107.03"),
        (4, "109.03"),
    ];
    let events =
        versions.map(|(version, amount)| message::updated(&organization, &bill("june", ACME, version).of(amount)));
    scene.send_together(events).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 800)]);
    scene.end().await;
}
