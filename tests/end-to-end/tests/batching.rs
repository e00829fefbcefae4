//! How records travel together.

use end_to_end::{ACME_AWS_ACCOUNT, DIMENSION, Scene, bill, message, set_up, usage};
use serde_json::json;

#[tokio::test]
async fn sixty_bills_of_one_product_take_three_calls() {
    let mut scene = Scene::ready().await;
    let organization = scene.organization().to_owned();
    let mut expect = Vec::new();
    let mut events = Vec::new();
    for index in 0..60 {
        let (account, customer) = (format!("account-{index}"), format!("3000000000{index:02}"));
        set_up::map(&scene.seller, "Account", &account, "Customer", &customer, None).await;
        let units = 1_009 + 2 * index;
        events.push(message::updated(
            &organization,
            &bill(&account, &account, 1).of(&format!("{}.{:02}", units / 100, units % 100)),
        ));
        expect.push((customer, units));
    }
    scene.sandbox.clear_requests();
    scene.send_together(events).await;
    assert_eq!(scene.metering_calls(), 3);
    let expect: Vec<_> = expect
        .iter()
        .map(|(customer, units)| (customer.as_str(), DIMENSION, "2025-06-10T10", *units))
        .collect();
    scene.assert_billed(&expect);
    scene.end().await;
}

#[tokio::test]
async fn what_gathered_on_thirty_keys_goes_out_in_few_calls_at_the_tick() {
    let mut scene = Scene::ready().await;
    let organization = scene.organization().to_owned();
    for index in 0..30 {
        let (account, customer) = (format!("account-{index}"), format!("3000000000{index:02}"));
        set_up::map(&scene.seller, "Account", &account, "Customer", &customer, None).await;
    }
    for (version, amount) in [(1, "101.03"), (2, "103.07")] {
        let of = |index: i64| bill(&format!("bill-{index}"), &format!("account-{index}"), version).of(amount);
        let events: Vec<_> = (0..30)
            .map(|index| message::updated(&organization, &of(index)))
            .collect();
        scene.send_together(events).await;
    }
    scene.sandbox.clear_requests();
    scene.until("2025-06-10T11:02:00Z").await;
    let paid: i64 = scene.billed().iter().map(|row| row.3).sum();
    assert_eq!(paid, 30 * 10_307);
    // The work index has shards, one message each at least; a batch takes them together.
    assert!(scene.metering_calls() <= 3, "{} calls", scene.metering_calls());
    scene.end().await;
}

#[tokio::test]
async fn bills_of_one_buyer_that_come_together_are_not_in_each_other_s_way() {
    let mut scene = Scene::ready().await;
    let organization = scene.organization().to_owned();
    let mut events = Vec::new();
    for index in 0..30 {
        let account = format!("account-{index}");
        set_up::map(&scene.seller, "Account", &account, "Customer", ACME_AWS_ACCOUNT, None).await;
        events.push(message::updated(&organization, &bill(&account, &account, 1).of("1.01")));
    }
    scene.sandbox.clear_requests();
    scene.send_together(events).await;
    let transactions = scene.sandbox.requests()["dynamodb"]["TransactWriteItems"];
    // A manifest with its units each, one claim among them; one receipt. None was refused.
    assert_eq!(transactions, 30 + 1);
    scene.until("2025-06-10T11:02:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 30 * 101);
    scene.end().await;
}

/// AWS's quota belongs to a region.
#[tokio::test]
async fn calls_to_one_region_do_not_wait_for_those_to_another() {
    // Twice as many as a worker sends before it writes down the answers, and few.
    let regions = [("eu-west-1", 520), ("us-east-1", 10)];
    let mut scene = Scene::start().await;
    let organization = scene.organization().to_owned();
    let mut events = Vec::new();
    for (index, (region, dimensions)) in regions.into_iter().enumerate() {
        let (account, customer) = (format!("account-{index}"), format!("30000000000{index}"));
        set_up::map(&scene.seller, "Account", &account, "Customer", &customer, None).await;
        let own = json!({ "marketplaceMeteringRegion": region, "accountIds": [account] });
        scene.configure(set_up::and(set_up::per_product(), own)).await;
        let bill = (0..dimensions).fold(bill(&account, &account, 1), |bill, index| {
            bill.line(usage("1.01").product(&format!("product-{index}")))
        });
        events.push(message::updated(&organization, &bill));
    }
    for index in 0..520 {
        let (product, dimension) = (format!("product-{index}"), set_up::dimension(&format!("units-{index}")));
        set_up::map(&scene.seller, "Product", &product, "Dimension", &dimension, None).await;
    }
    scene.sandbox.clear_requests();
    scene.send_together(events).await;
    assert_eq!(scene.metering_calls(), 520_u64.div_ceil(25) + 1);
    // CloudTrail has the calls in their order. What a second allows goes to one region at once.
    let trail = json!(scene.sandbox.marketplace().trail());
    let events = trail["events"].as_array().unwrap().iter();
    let called: Vec<&str> = events.map(|event| event["region"].as_str().unwrap()).collect();
    let small = called.iter().position(|called| *called == "us-east-1").unwrap();
    assert!(small <= 10, "{called:?}");
    scene.end().await;
}
