//! Every kind of message, and what becomes of one that nobody can read.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, GLOBEX, GLOBEX_AWS_ACCOUNT, GLOBEX_LICENSE, INITECH, INITECH_CUSTOMER, PRODUCT,
    Scene, bill, message, per_bill, usage,
};
use serde_json::{Value, json};

#[tokio::test]
async fn a_bill_is_metered_once_however_it_arrives() {
    let mut scene = Scene::ready().await;
    let organization = scene.organization().to_owned();
    let mut expect = Vec::new();
    for (index, amount, units) in [
        (1, "2.03", 203),
        (2, "3.07", 307),
        (3, "5.03", 503),
        (4, "7.01", 701),
        (5, "11.03", 1_103),
    ] {
        let (id, account, customer) = (
            format!("bill-{index}"),
            format!("account-{index}"),
            format!("10000000000{index}"),
        );
        scene.map("Account", &account, "Customer", &customer).await;
        let bill = bill(&id, &account, 1).of(amount);
        scene.m3ter_has(&[bill.json()], &[]);
        let message = match index {
            1 => message::event("billing.bill.created", &organization, &bill),
            2 => message::event("billing.bill.updated", &organization, &bill),
            3 => message::plain(&organization, &bill),
            4 => message::reference(&organization, &id),
            // An event that names the bill alone.
            _ => {
                let mut event = message::event("billing.bill.updated", &organization, &bill);
                let named = event.pointer_mut("/m3terEvent/eventData/newDto").unwrap();
                named.as_object_mut().unwrap().remove("lineItems").unwrap();
                event
            }
        };
        for _ in 0..2 {
            assert!(!scene.send(message.clone()).await.dead_lettered, "{message}");
            scene.assert_run(&id, "COMPLETE", "").await;
        }
        expect.push((customer, units));
    }
    let expect: Vec<_> = expect
        .iter()
        .map(|(customer, units)| (customer.as_str(), DIMENSION, "2025-06-10T10", *units))
        .collect();
    scene.assert_billed(&expect);
    assert_eq!(scene.metering_calls(), 5);
    scene.end().await;
}

#[tokio::test]
async fn a_bill_of_10_000_lines_is_fetched_by_reference_and_rounded_once() {
    let mut scene = Scene::ready().await;
    let many = (0..10_000).fold(bill("june", ACME, 1), |bill, _| bill.of("0.013"));
    scene.m3ter_has(&[many.json()], &[]);
    let reference = message::reference(scene.organization(), "june");
    scene.send(reference).await;
    scene.assert_run("june", "COMPLETE", "").await;
    // Rounded line by line it would be 10,000.
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 13_000)]);
    scene.end().await;
}

#[tokio::test]
async fn a_bill_of_10_000_lines_is_taken_by_the_api() {
    let mut scene = Scene::ready().await;
    let many = (0..10_000).fold(bill("june", ACME, 1), |bill, _| bill.of("0.013"));
    assert!(
        many.json().to_string().len() > 1_048_576,
        "it must not fit into one message"
    );
    scene.seller.post("bills", &many.json()).await.unwrap();
    scene.rest().await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 13_000)]);
    scene.end().await;
}

#[tokio::test]
async fn a_message_of_exactly_sqs_s_limit_is_handled() {
    let mut scene = Scene::ready().await;
    let short = message::plain(
        scene.organization(),
        &bill("june", ACME, 1).of("101.03").with("note", "x"),
    );
    let padding = "x".repeat(1_048_576 - short.to_string().len() + 1);
    let long = message::plain(
        scene.organization(),
        &bill("june", ACME, 1).of("101.03").with("note", padding),
    );
    assert_eq!(long.to_string().len(), 1_048_576);
    scene.send(long).await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn a_replay_sends_nothing_twice_and_names_the_run_it_repeats() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let first = scene.run("june").await;
    scene.replay("june").await;
    let second = scene.run("june").await;
    assert_eq!(
        (second.status.as_str(), &second.json["replayedFromIntegrationRunId"]),
        ("COMPLETE", &json!(first.id))
    );
    assert_ne!(first.id, second.id);
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 10_103)]);
    assert_eq!(scene.metering_calls(), 1);
    scene.end().await;
}

#[tokio::test]
async fn a_deleted_bill_owes_nothing_and_what_aws_has_is_held_against_other_bills() {
    let mut scene = Scene::ready().await;
    let june = bill("june", ACME, 3).of("101.03");
    scene.bill(&june).await;
    // An equal version: the deletion wins.
    scene.delete(&june).await;
    scene.assert_run("june", "COMPLETE", "").await;
    let key = scene.key(ACME_AWS_ACCOUNT, DIMENSION).await;
    assert_eq!((key.state.total, key.state.committed), (0, 10_103));
    // No update passes a deletion, however new it is.
    scene.bill(&bill("june", ACME, 9).of("401.03")).await;
    let log = scene.log(&scene.run("june").await.id).await;
    assert_eq!(log[0]["outcome"], "ignored: the bill was deleted");
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("extra", ACME, 1).of("103.07")).await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 10_103),
        (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T11", 204),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn a_deletion_that_arrives_before_its_bill_keeps_the_bill_out() {
    let mut scene = Scene::ready().await;
    let june = bill("june", ACME, 3).of("101.03");
    scene.delete(&june).await;
    scene.assert_run("june", "COMPLETE", "").await;
    for version in [2, 3, 4] {
        scene.bill(&bill("june", ACME, version).of("101.03")).await;
    }
    scene.assert_billed(&[]);
    scene.end().await;
}

#[tokio::test]
async fn a_deletion_asks_neither_eligibility_nor_mappings() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .reconfigure(end_to_end::and(per_bill(), json!({ "restrictedAccountIds": [ACME] })))
        .await;
    scene.delete(&bill("june", ACME, 2)).await;
    assert_eq!(scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state.total, 0);
    scene.end().await;
}

#[tokio::test]
async fn what_a_leaving_buyer_owes_is_claimed_at_once_in_an_earlier_hour() {
    for legacy in [false, true] {
        let mut scene = Scene::ready().await;
        let (account, customer, notice) = if legacy {
            scene.map("Account", INITECH, "Customer", INITECH_CUSTOMER).await;
            (
                INITECH,
                INITECH_CUSTOMER,
                message::unsubscribe_pending(INITECH_CUSTOMER, PRODUCT),
            )
        } else {
            scene.map("Account", GLOBEX, "License", GLOBEX_LICENSE).await;
            scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
            let notice = message::license_deprovisioned(GLOBEX_AWS_ACCOUNT, PRODUCT, GLOBEX_LICENSE);
            (GLOBEX, GLOBEX_AWS_ACCOUNT, notice)
        };
        for (bills, account) in [(["acme-1", "acme-2"], ACME), (["other-1", "other-2"], account)] {
            scene.bill(&bill(bills[0], account, 1).of("101.03")).await;
            scene.bill(&bill(bills[1], account, 1).of("53.07")).await;
        }
        assert_eq!(scene.run("other-2").await.status, "WAITING");
        scene.until("2025-06-10T10:40:00Z").await;
        scene.send(notice.clone()).await;
        scene.send(notice).await;
        // And what is billed after the notice needs no tick either.
        scene.bill(&bill("other-1", account, 2).of("103.07")).await;
        assert_eq!(scene.run("other-2").await.status, "COMPLETE");
        let expect = [
            (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 10_103),
            (customer, DIMENSION, "2025-06-10T10", 10_103),
            (customer, DIMENSION, "2025-06-10T09", 5_307),
            (customer, DIMENSION, "2025-06-10T08", 204),
        ];
        scene.assert_billed(&expect);
        scene.until("2025-06-10T11:02:00Z").await;
        assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 15_410);
        scene.end().await;
    }
}

#[tokio::test]
async fn notices_that_need_nothing_and_buyers_never_seen_change_nothing() {
    let mut scene = Scene::ready().await;
    let other = json!({ "detail-type": "License Updated - Manufacturer", "detail": {} });
    let success = json!({ "action": "subscribe-success", "customer-identifier": "x", "product-code": PRODUCT });
    let success = json!({ "Type": "Notification", "Message": success.to_string() });
    for notice in [other, success, message::unsubscribe_pending("nobody", PRODUCT)] {
        let handled = scene.send(notice).await;
        assert!(handled.handled && !handled.dead_lettered);
    }
    scene.end().await;
}

#[tokio::test]
async fn what_nobody_can_read_is_kept_with_its_reason_and_holds_nobody_up() {
    let mut scene = Scene::ready().await;
    let organization = scene.organization().to_owned();
    let june = |version: i64| bill("june", ACME, version).of("101.03");
    let plain = |bill: end_to_end::Bill| message::plain(&organization, &bill);
    let mut strange = message::updated(&organization, &june(9));
    strange["eventName"] = json!("billing.bill.approved");
    let mut foreign = plain(june(9));
    foreign["bill"]["orgId"] = json!("another-organization");
    let mut nowhere = plain(june(9));
    nowhere["orgId"] = Value::Null;
    // Nobody can say whose bill it is: the dead-letter queue keeps it.
    let dead: Vec<(String, &str)> = vec![
        ("not JSON".to_owned(), "the message is not JSON"),
        (
            plain(june(9)).to_string().replace("101.03", "NaN"),
            "the message is not JSON",
        ),
        ("[]".to_owned(), "none that Outbill knows"),
        (json!({ "hello": 1 }).to_string(), "none that Outbill knows"),
        (strange.to_string(), "eventName is \"billing.bill.approved\""),
        (nowhere.to_string(), "orgId: it is missing"),
        (foreign.to_string(), "belongs to organization another-organization"),
        (plain(june(9).with("id", Value::Null)).to_string(), "id is missing"),
        (
            message::reference(&organization, "never-made").to_string(),
            "is not taken for deleted",
        ),
        (
            message::replay(&organization, "no-such-run").to_string(),
            "no integration run no-such-run",
        ),
    ];
    // A bill that can be named: its run keeps it.
    let named = |number: usize| bill(&format!("bad-{number}"), ACME, 9);
    let amount = |number: usize, text: &str| plain(named(number).of("101.03")).to_string().replace("101.03", text);
    let unreadable: Vec<(String, &str)> = vec![
        (
            plain(named(0).with("accountId", Value::Null)).to_string(),
            "accountId is missing",
        ),
        (
            plain(named(1).with("currency", Value::Null)).to_string(),
            "currency is missing",
        ),
        (
            plain(named(2).with("version", Value::Null)).to_string(),
            "version is missing",
        ),
        (
            plain(named(3).line(usage("1").with("convertedSubtotal", Value::Null))).to_string(),
            "lineItems[0].convertedSubtotal is missing",
        ),
        (
            plain(named(4).line(usage("1").with("lineItemType", "TIP"))).to_string(),
            "lineItems[0].lineItemType",
        ),
        (amount(5, "1e400"), "convertedSubtotal"),
        (amount(6, "\"12\""), "is no JSON number"),
    ];
    let (before, after) = (plain(june(1)), plain(bill("june", ACME, 2).of("103.07")));
    let bodies = std::iter::once(before.to_string())
        .chain(dead.iter().chain(&unreadable).map(|(body, _)| body.clone()))
        .chain([after.to_string()]);
    scene.send_together(bodies.collect::<Vec<_>>()).await;
    let letters = scene.dead_letters();
    assert_eq!(letters.len(), dead.len(), "{letters:#?}");
    for (body, reason) in &dead {
        let letter = letters.iter().find(|(kept, _)| kept == body);
        let (_, told) = letter.unwrap_or_else(|| panic!("no dead letter holds {body}"));
        assert!(told.contains(reason), "{body}\n{told}");
    }
    for (number, (body, reason)) in unreadable.iter().enumerate() {
        let id = format!("bad-{number}");
        scene.assert_run(&id, "ERROR", reason).await;
        let log = scene.log(&scene.run(&id).await.id).await;
        assert_eq!(log[0]["input"], serde_json::from_str::<Value>(body).unwrap(), "{id}");
    }
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 10_103)]);
    scene.until("2025-06-10T11:02:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_307);
    scene.end().await;
}

#[tokio::test]
async fn a_fetch_that_fails_is_tried_again() {
    let mut scene = Scene::ready().await;
    scene.m3ter_has(&[bill("june", ACME, 1).of("101.03").json()], &[]);
    let faults = json!([{ "service": "m3ter", "kind": "error", "times": 2 }]);
    scene.sandbox.faults(serde_json::from_value(faults).unwrap()).unwrap();
    let reference = message::reference(scene.organization(), "june");
    let handled = scene.send(reference).await;
    assert!(handled.handled && !handled.dead_lettered);
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn the_tick_claims_what_gathered_and_another_tick_adds_nothing() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.bill(&bill("june", ACME, 3).of("107.03")).await;
    scene.tick().await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 10_103)]);
    scene.until("2025-06-10T11:02:00Z").await;
    scene.tick().await;
    scene.tick().await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T10", 10_103),
        (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T11", 600),
    ]);
    scene.end().await;
}
