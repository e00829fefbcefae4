//! Every answer that AWS can give, or fail to give: what becomes of the entry, of the amount, of the key and of the run.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, GLOBEX, GLOBEX_AWS_ACCOUNT, GLOBEX_LICENSE, PRODUCT, Scene, acme, bill,
    dimension, message, per_aggregation, per_bill, usage,
};
use jiff::SignedDuration;
use sandbox::{Fault, FaultKind, Service};
use serde_json::json;

const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";
const TWELVE: &str = "2025-06-10T12";

fn entry(hour: &str, quantity: i64, state: &'static str) -> (String, i64, &'static str) {
    (hour.to_owned(), quantity, state)
}

#[tokio::test]
async fn what_aws_did_not_take_or_did_not_answer_goes_again_unchanged() {
    use FaultKind::{Error, LostAnswer, LostRequest, Throttle, Unprocessed};
    let cases: [(&[FaultKind], u64); 6] = [
        (&[Throttle], 2),
        (&[Unprocessed], 2),
        (&[Error], 2),
        (&[LostRequest], 2),
        (&[LostAnswer], 2),
        (&[LostAnswer, Error], 3),
    ];
    for (faults, calls) in cases {
        let mut scene = Scene::ready().await;
        scene.metering_fails(faults);
        let handled = scene
            .send(message::updated(
                scene.organization(),
                &bill("june", ACME, 1).of("101.03"),
            ))
            .await;
        assert!(handled.handled && !handled.dead_lettered, "{faults:?}");
        assert_eq!(scene.metering_calls(), calls, "{faults:?}");
        scene.assert_billed(&[acme(TEN, 10_103)]);
        assert_eq!(
            scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
            [entry(TEN, 10_103, "ACCEPTED")]
        );
        // The run that had no answer is told of the later one.
        for run in scene.runs("june").await {
            assert_eq!(run.status, "COMPLETE", "{faults:?} {}", run.json);
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn records_that_aws_left_unprocessed_go_again_alone() {
    let mut scene = Scene::ready().await;
    scene.map("Account", "other", "Customer", "222233334444").await;
    scene.metering_fails(&[FaultKind::Unprocessed]);
    let organization = scene.organization().to_owned();
    let events = [(ACME, "101.03"), ("other", "53.03")]
        .map(|(account, amount)| message::updated(&organization, &bill(account, account, 1).of(amount)));
    scene.send_together(events).await;
    scene.assert_billed(&[acme(TEN, 10_103), ("222233334444", DIMENSION, TEN, 5_303)]);
    // Its log has its own record of both calls, and only says that there was another.
    let log = scene.log(&scene.run("other").await.id).await;
    let exchanges = log[0]["exchanges"].as_array().unwrap().iter();
    let mut others: Vec<_> = exchanges
        .map(|exchange| {
            assert_eq!(exchange["request"]["UsageRecords"].as_array().unwrap().len(), 1);
            exchange.get("others").cloned()
        })
        .collect();
    others.sort_by_key(Option::is_some);
    assert_eq!(others, [None, Some(json!(1))]);
    assert!(!log[0]["exchanges"].to_string().contains(ACME_AWS_ACCOUNT));
    scene.end().await;
}

#[tokio::test]
async fn an_entry_that_outlives_the_queue_s_repeats_is_sent_by_the_tick_in_its_own_hour() {
    for kind in [FaultKind::Error, FaultKind::LostRequest, FaultKind::LostAnswer] {
        let mut scene = Scene::ready().await;
        scene.metering_always_fails(kind);
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        assert_eq!(scene.run("june").await.status, "AWAITING_RETRY");
        assert_eq!(
            scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
            [entry(TEN, 10_103, "PENDING")]
        );
        // Growth while the outcome is unknown is no reason to send anything else for the hour.
        scene.bill(&bill("june", ACME, 2).of("103.07")).await;
        scene.heal();
        scene.until("2025-06-10T11:02:00Z").await;
        scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
        for run in scene.runs("june").await {
            assert_eq!(run.status, "COMPLETE", "{kind:?} {}", run.json);
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn a_foreign_record_in_the_hour_is_a_conflict_and_the_key_claims_nothing_new() {
    let mut scene = Scene::ready().await;
    scene.foreign_usage(ACME_AWS_ACCOUNT, DIMENSION, TEN, 7);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .assert_run(
            "june",
            "ERROR",
            "AWS says DuplicateRecord: it holds another quantity for this hour",
        )
        .await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [entry(TEN, 10_103, "CONFLICT")]
    );
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene
        .assert_run("june", "ERROR", "nothing is claimed until that is settled")
        .await;
    scene.until("2025-06-10T13:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 7)]);
    assert_eq!(scene.metering_calls(), 1);
    let key = scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state;
    assert_eq!((key.total, key.committed, key.dirty), (10_307, 10_103, true));
    // Only the run that met the conflict raises an event: one on a key in conflict is nobody's new failure.
    let events: Vec<String> = scene.events().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(events, ["integration.perform.error"]);
    scene.end().await;
}

#[tokio::test]
async fn an_identical_repeat_that_aws_calls_a_duplicate_bills_nothing_twice() {
    let mut scene = Scene::ready().await;
    scene.switch(json!({ "identicalRepeat": "DuplicateRecord" }));
    scene.metering_fails(&[FaultKind::LostAnswer]);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [entry(TEN, 10_103, "CONFLICT")]
    );
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.until("2025-06-10T13:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn a_refusal_after_an_unanswered_attempt_is_unknown_and_stays_committed() {
    // AWS took the first attempt and lost its answer, or never saw it: from here nobody can tell.
    for (fault, billed) in [(FaultKind::LostAnswer, 10_103), (FaultKind::LostRequest, 0)] {
        for refusal in ["subscription", "dimension"] {
            let mut scene = Scene::ready().await;
            scene.metering_always_fails(fault);
            scene.bill(&bill("june", ACME, 1).of("101.03")).await;
            match refusal {
                "subscription" => scene.subscribed(ACME_AWS_ACCOUNT, false),
                _ => scene.switch(json!({ "badDimensions": [DIMENSION] })),
            }
            scene.heal();
            scene.tick().await;
            assert_eq!(
                scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
                [entry(TEN, 10_103, "UNKNOWN")]
            );
            scene
                .assert_run(
                    "june",
                    "ERROR",
                    "an earlier attempt had no answer and may have been accepted",
                )
                .await;
            scene.until("2025-06-10T12:02:00Z").await;
            assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), billed, "{fault:?} {refusal}");
            scene.end().await;
        }
    }
}

#[tokio::test]
async fn one_bad_record_is_found_among_26_and_the_others_are_accepted() {
    let mut scene = Scene::start().await.with(per_aggregation()).await;
    let mut mappings = Vec::new();
    let mut june = bill("june", ACME, 1);
    for index in 0..26 {
        let (id, key) = (format!("aggregation-{index:02}"), format!("metric-{index:02}"));
        mappings.push(scene.map("Aggregation", &id, "Dimension", &dimension(&key)).await);
        june = june.line(usage(&format!("{}.01", 2 * index + 1)).aggregation(&id));
    }
    let bad = 7;
    scene.switch(json!({ "badDimensions": [format!("metric-{bad:02}")] }));
    scene.bill(&june).await;
    let all: i64 = (0..26).map(|index| 100 * (2 * index + 1) + 1).sum();
    let of_bad = 100 * (2 * bad + 1) + 1;
    let paid = |scene: &Scene| scene.billed().iter().map(|row| row.3).sum::<i64>();
    assert_eq!((scene.billed().len(), paid(&scene)), (25, all - of_bad));
    let run = scene.run("june").await;
    assert!(
        run.status == "ERROR" && run.error.contains("AWS says InvalidUsageDimensionException"),
        "{}",
        run.error
    );
    assert!(
        run.error.contains("metric-07") && !run.error.contains("metric-08"),
        "{}",
        run.error
    );
    // 26 records are two calls; halving 25 down to one takes at most ten more.
    assert!(scene.metering_calls() <= 12, "{}", scene.metering_calls());
    // Nothing more is tried on the key until its mapping changes; then the money arrives, on a key that AWS knows.
    scene.until("2025-06-10T11:02:00Z").await;
    let calls = scene.metering_calls();
    scene.until("2025-06-10T12:02:00Z").await;
    assert_eq!(scene.metering_calls(), calls);
    scene
        .change_mapping(&mappings[bad as usize], &dimension("metric-good"))
        .await;
    assert_eq!(paid(&scene), all);
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, "metric-good"), of_bad);
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

#[tokio::test]
async fn a_bad_customer_or_licence_or_dimension_blocks_its_key_until_its_configuration_or_mapping_changes() {
    for bad in [
        json!({ "badCustomers": [GLOBEX_AWS_ACCOUNT] }),
        json!({ "badLicenses": [GLOBEX_LICENSE] }),
        json!({ "badDimensions": [DIMENSION] }),
    ] {
        let mut scene = Scene::ready().await;
        scene.map("Account", GLOBEX, "License", GLOBEX_LICENSE).await;
        scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
        scene.switch(bad.clone());
        scene.bill(&bill("june", GLOBEX, 1).of("101.03")).await;
        // AWS says the same of a licence that is not active yet, so that one is tried once more.
        let tries = if bad.get("badLicenses").is_some() { 2 } else { 1 };
        let first = if tries == 2 { "AWAITING_RETRY" } else { "ERROR" };
        scene.assert_run("june", first, "AWS says Invalid").await;
        scene.until("2025-06-10T11:02:00Z").await;
        scene.assert_run("june", "ERROR", "AWS says Invalid").await;
        scene.until("2025-06-10T12:02:00Z").await;
        let tried = [entry(TEN, 10_103, "REFUSED"), entry(ELEVEN, 10_103, "REFUSED")];
        assert_eq!(
            scene.entries(GLOBEX_AWS_ACCOUNT, DIMENSION).await,
            tried[..tries as usize]
        );
        assert!(scene.billed().is_empty() && scene.metering_calls() == tries, "{bad}");
        scene.switch(json!({ "badCustomers": [], "badLicenses": [], "badDimensions": [] }));
        scene.reconfigure(per_bill()).await;
        scene.assert_billed(&[(GLOBEX_AWS_ACCOUNT, DIMENSION, TWELVE, 10_103)]);
        scene.end().await;
    }
}

#[tokio::test]
async fn an_hour_ahead_of_aws_s_clock_waits_for_it() {
    let mut scene = Scene::start_with_clock_ahead("2025-06-10T10:57:00Z", SignedDuration::from_mins(5))
        .await
        .with(per_bill())
        .await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .assert_run("june", "AWAITING_RETRY", "the hour lies ahead of AWS's clock")
        .await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [entry(ELEVEN, 10_103, "PENDING")]
    );
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(ELEVEN, 10_103)]);
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

#[tokio::test]
async fn an_hour_that_aws_takes_no_longer_is_refused_and_the_tick_claims_a_later_one() {
    // The workers' clock is behind: they take June for open when it has just closed.
    let mut scene = Scene::start_with_clock_ahead("2025-07-01T06:05:00Z", SignedDuration::from_mins(-15))
        .await
        .with(per_bill())
        .await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .assert_run("june", "ERROR", "AWS says TimestampOutOfBoundsException")
        .await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [entry("2025-06-30T23", 10_103, "REFUSED")]
    );
    scene.until("2025-07-01T07:02:00Z").await;
    scene.assert_billed(&[acme("2025-07-01T06", 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn a_bad_product_code_stops_its_own_connection_only() {
    let settings = json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" });
    let mut scene = Scene::start().await.with(settings).await;
    scene.map("Product", "good", "Dimension", &dimension("seats")).await;
    scene.map("Product", "bad", "Dimension", "withdrawnproduct-seats").await;
    scene.switch(json!({ "badProducts": ["withdrawnproduct"] }));
    let both = bill("june", ACME, 1)
        .line(usage("101.03").product("good"))
        .line(usage("53.03").product("bad"));
    scene.bill(&both).await;
    let run = scene.run("june").await;
    assert!(
        run.status == "ERROR" && run.error.contains("InvalidProductCodeException"),
        "{}",
        run.json
    );
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, "seats", TEN, 10_103)]);
    scene.switch(json!({ "badProducts": [] }));
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, "seats", TEN, 10_103),
        (ACME_AWS_ACCOUNT, "seats", TEN, 5_303),
    ]);
    assert!(
        scene
            .sandbox
            .marketplace()
            .billed()
            .iter()
            .any(|row| row.product_code.as_deref() == Some(PRODUCT))
    );
    scene.end().await;
}

#[tokio::test]
async fn a_window_that_closes_on_an_answered_entry_releases_it_and_the_money_is_claimed_again() {
    let mut scene = Scene::ready().await;
    scene.metering_always_fails(FaultKind::AccessDenied);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-11T09:59:00Z").await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [entry(TEN, 10_103, "PENDING")]
    );
    scene.until("2025-06-11T10:02:00Z").await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [entry(TEN, 10_103, "RELEASED")]
    );
    scene.heal();
    scene.until("2025-06-11T11:02:00Z").await;
    scene.assert_billed(&[acme("2025-06-11T11", 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn a_window_that_closes_on_an_unanswered_entry_leaves_it_unknown() {
    for (kind, billed) in [(FaultKind::LostRequest, 0), (FaultKind::LostAnswer, 10_103)] {
        let mut scene = Scene::ready().await;
        // One attempt without an answer is enough; every later one is answered, with a refusal of the connection.
        let faults = json!([
            { "service": "metering", "kind": kind, "times": 1 },
            { "service": "metering", "kind": "access-denied", "times": 1000 },
        ]);
        scene.sandbox.faults(serde_json::from_value(faults).unwrap()).unwrap();
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        scene.until("2025-06-11T10:02:00Z").await;
        assert_eq!(
            scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
            [entry(TEN, 10_103, "UNKNOWN")]
        );
        scene
            .assert_run("june", "ERROR", "AWS's window closed while an attempt had no answer")
            .await;
        scene.heal();
        // Growth goes on; only the entry that nobody knows about waits for evidence.
        scene.bill(&bill("june", ACME, 2).of("103.07")).await;
        scene.until("2025-06-11T11:02:00Z").await;
        assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), billed + 204);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_month_that_closes_on_a_pending_entry_closes_it_at_six() {
    let mut scene = Scene::start_at("2025-07-01T05:40:00Z").await.with(per_bill()).await;
    scene.metering_always_fails(FaultKind::AccessDenied);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [entry("2025-06-30T23", 10_103, "PENDING")]
    );
    scene.until("2025-07-01T06:02:00Z").await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, DIMENSION).await,
        [entry("2025-06-30T23", 10_103, "RELEASED")]
    );
    scene.heal();
    scene.until("2025-07-01T07:02:00Z").await;
    scene.assert_billed(&[acme("2025-07-01T07", 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn a_run_that_failed_for_one_dimension_stays_failed_when_another_is_accepted_later() {
    let mut scene = Scene::start().await.with(per_aggregation()).await;
    // Two products, and so two calls: the first meets an outage, the second a refusal.
    scene.map("Aggregation", "good", "Dimension", "aproduct-good").await;
    scene.map("Aggregation", "bad", "Dimension", "bproduct-bad").await;
    scene.switch(json!({ "badDimensions": ["bad"] }));
    // The refusal is the second call; the other product's record finds no answer until the tick.
    let faults = json!([
        { "service": "metering", "kind": "error", "times": 1 },
        { "service": "metering", "kind": "error", "times": 2, "after": 1 },
    ]);
    scene.sandbox.faults(serde_json::from_value(faults).unwrap()).unwrap();
    let june = bill("june", ACME, 1)
        .line(usage("101.03").aggregation("good"))
        .line(usage("53.03").aggregation("bad"));
    scene.bill(&june).await;
    scene
        .assert_run("june", "ERROR", "InvalidUsageDimensionException")
        .await;
    assert_eq!(
        scene.entries(ACME_AWS_ACCOUNT, "good").await,
        [entry(TEN, 10_103, "PENDING")]
    );
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, "good", TEN, 10_103)]);
    scene
        .assert_run("june", "ERROR", "InvalidUsageDimensionException")
        .await;
    scene.end().await;
}

#[tokio::test]
async fn a_key_that_is_blocked_at_the_tick_is_freed_by_its_mapping_too() {
    let mut scene = Scene::start().await;
    scene.configuration = scene.configure(per_bill()).await;
    let mapping = scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_run("june", "ERROR", "CustomerNotSubscribed").await;
    scene.subscribed(ACME_AWS_ACCOUNT, true);
    scene.change_mapping(&mapping, ACME_AWS_ACCOUNT).await;
    scene.until("2025-06-10T12:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(TWELVE, 204)]);
    scene.end().await;
}

#[tokio::test]
async fn a_key_that_is_blocked_in_the_name_of_a_run_that_was_never_written_is_freed_too() {
    let mut scene = Scene::start().await;
    scene.configuration = scene.configure(per_bill()).await;
    let mapping = scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let no_run = Fault {
        action: Some("BatchWriteItem".to_owned()),
        ..Fault::new(Service::DynamoDb, FaultKind::Error, u32::MAX)
    };
    scene.sandbox.faults(vec![no_run]).unwrap();
    let grown = message::updated(scene.organization(), &bill("june", ACME, 2).of("103.07"));
    assert_eq!(scene.deliver([&grown]).await, [grown.to_string()]);
    scene.heal();
    assert_eq!(scene.runs("june").await.len(), 1);
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.until("2025-06-10T11:02:00Z").await;
    scene.subscribed(ACME_AWS_ACCOUNT, true);
    scene.change_mapping(&mapping, ACME_AWS_ACCOUNT).await;
    scene.until("2025-06-10T12:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(TWELVE, 204)]);
    assert_eq!(scene.dead_letters(), []);
    scene.end().await;
}

#[tokio::test]
async fn what_aws_throttles_of_a_tick_s_page_goes_out_when_the_page_comes_again() {
    for throttled in [1, 2, 4, 6] {
        let mut scene = Scene::ready().await;
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        scene.bill(&bill("june", ACME, 2).of("103.07")).await;
        scene.metering_fails(&vec![FaultKind::Throttle; throttled]);
        scene.until("2025-06-10T11:02:00Z").await;
        // Nothing waits for the next tick, which comes an hour later.
        scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
        scene.end().await;
    }
}
