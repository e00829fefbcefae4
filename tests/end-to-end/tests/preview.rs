//! A preview writes nothing and says what the dispatch then does.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, Bill, DIMENSION, GLOBEX, Scene, and, bill, dimension, line, message, per_aggregation,
    per_bill, per_product, usage,
};
use sandbox::FaultKind;
use serde_json::{Value, json};

/// What may reach DynamoDB while nothing is written.
const READS: [&str; 4] = ["BatchGetItem", "DescribeTable", "GetItem", "Query"];

/// Previews a body for the scene's configuration, and checks that nothing was written, queued or sent.
async fn preview(scene: &Scene, body: &Value) -> Value {
    let path = format!("integrationconfigs/{}/preview", scene.configuration);
    scene.sandbox.clear_requests();
    let previewed = scene.seller.post(&path, body).await.expect("a preview");
    let requests = scene.sandbox.requests();
    for (service, actions) in &requests {
        for action in actions.keys() {
            let reads = match service.as_str() {
                "dynamodb" => READS.contains(&action.as_str()),
                "m3ter" => true,
                "secretsmanager" => action == "GetSecretValue",
                _ => false,
            };
            assert!(reads, "a preview called {action} of {service}");
        }
    }
    assert!(requests.contains_key("dynamodb"), "{requests:?}");
    previewed
}

fn entries(previewed: &Value) -> Vec<(String, String, i64)> {
    let keys = previewed["dimensions"].as_array().expect("dimensions");
    let of_key = |key: &Value| {
        let name = key["dimension"].as_str().expect("a name").to_owned();
        let entries = key["entries"].as_array().expect("entries").clone();
        entries.into_iter().map(move |entry| {
            let hour = entry["hour"]
                .as_str()
                .expect("an hour")
                .trim_end_matches(":00:00Z")
                .to_owned();
            (name.clone(), hour, entry["quantity"].as_i64().expect("a quantity"))
        })
    };
    let mut entries: Vec<_> = keys.iter().flat_map(of_key).collect();
    entries.sort();
    entries
}

async fn ledger_entries(scene: &Scene) -> Vec<(String, String, i64)> {
    let ledger = scene.ledger().await;
    let mut entries: Vec<_> = ledger
        .keys
        .values()
        .flat_map(|key| key.entries.iter())
        .map(|entry| (dimension(&entry.key.dimension), entry.hour.to_string(), entry.quantity))
        .collect();
    entries.sort();
    entries
}

/// Previews a bill, sends it, and checks that the ledger gained what the preview had said.
async fn as_previewed(scene: &mut Scene, bill: &Bill) -> Value {
    let before = ledger_entries(scene).await;
    let previewed = preview(scene, &bill.json()).await;
    scene.bill(bill).await;
    let mut gained = ledger_entries(scene).await;
    gained.retain(|entry| !before.contains(entry));
    assert_eq!(entries(&previewed), gained, "{previewed:#}");
    let ledger = scene.ledger().await;
    for key in previewed["dimensions"].as_array().expect("dimensions") {
        let state = ledger.keys.values().map(|key| &key.state);
        let mut state = state.filter(|state| key["dimension"] == json!(dimension(&state.key.dimension)));
        let state = state.next().expect("a usage key");
        assert_eq!(key["total"], json!(state.total), "{key:#}");
        let committed = key["committed"].as_i64().expect("units") + numbers(&key["entries"]);
        assert_eq!(committed, state.committed, "{key:#}");
    }
    previewed
}

fn numbers(entries: &Value) -> i64 {
    let entries = entries.as_array().expect("entries");
    entries
        .iter()
        .map(|entry| entry["quantity"].as_i64().expect("a quantity"))
        .sum()
}

#[tokio::test]
async fn a_bill_is_previewed_from_its_lines_to_its_hour() {
    let mut scene = Scene::ready().await;
    let june = bill("june", ACME, 1).of("101.03").of("2.017");
    let previewed = as_previewed(&mut scene, &june).await;
    assert_eq!(
        (&previewed["eligible"], &previewed["validationErrors"]),
        (&json!(true), &json!([]))
    );
    let key = &previewed["dimensions"][0];
    assert_eq!(
        (&key["committed"], &key["delta"], &key["carry"]),
        (&json!(0), &json!(10_305), &json!(0))
    );
    let words = key["sources"][0]["words"].as_str().unwrap();
    assert!(
        words.contains("101.03 + 2.017 = 103.047") && words.contains("rounded half away from zero"),
        "{words}"
    );
    assert_eq!(
        entries(&previewed),
        [(dimension(DIMENSION), "2025-06-10T10".to_owned(), 10_305)]
    );
    // Grown within the hour: it waits.
    let previewed = as_previewed(&mut scene, &bill("june", ACME, 2).of("107.01")).await;
    let key = &previewed["dimensions"][0];
    assert_eq!(
        (&key["delta"], &key["waits"], &key["unitsBefore"]),
        (&json!(396), &json!(396), &json!(10_305))
    );
    assert!(key["reason"].as_str().unwrap().contains("next free hour"), "{key:#}");
    // Fallen: a carry.
    let previewed = as_previewed(&mut scene, &bill("june", ACME, 3).of("97.01")).await;
    let key = &previewed["dimensions"][0];
    assert_eq!((&key["delta"], &key["carry"]), (&json!(-604), &json!(604)));
    // Known already: nothing is new. Older: ignored.
    let same = preview(&scene, &bill("june", ACME, 3).of("97.01").json()).await;
    assert_eq!((&same["eligible"], entries(&same)), (&json!(true), vec![]));
    let older = preview(&scene, &bill("june", ACME, 2).of("1000.01").json()).await;
    assert_eq!((&older["eligible"], &older["dimensions"]), (&json!(false), &json!([])));
    assert!(older["reason"].as_str().unwrap().contains("version 3"), "{older:#}");
    scene.end().await;
}

#[tokio::test]
async fn splits_shared_dimensions_and_the_end_of_a_month_are_previewed() {
    let mut scene = Scene::start_at("2025-07-01T04:30:00Z").await.with(per_product()).await;
    for (product, key) in [("gold", "metal"), ("silver", "metal"), ("oil", "liquid")] {
        scene.map("Product", product, "Dimension", &dimension(key)).await;
    }
    let june = bill("june", ACME, 1)
        .line(usage("11.13").product("gold"))
        .line(usage("5.17").product("silver"))
        .line(usage("3.07").product("oil"));
    let previewed = as_previewed(&mut scene, &june).await;
    // June's share goes into June's last hour as long as AWS takes it.
    let metal = (dimension("metal"), "2025-06-30T23".to_owned(), 1_630);
    assert!(entries(&previewed).contains(&metal), "{previewed:#}");
    let july = bill("july", ACME, 1).with("endDateTimeUTC", "2025-08-01T00:00:00Z");
    as_previewed(&mut scene, &july.line(usage("7.01").product("gold"))).await;
    as_previewed(&mut scene, &bill("june", ACME, 2).line(usage("2.03").product("gold"))).await;
    scene.end().await;
}

#[tokio::test]
async fn why_a_bill_would_not_be_sent_is_said() {
    let settings = and(
        per_aggregation(),
        json!({
            "onlySendBillOnApproval": true, "restrictedAccountIds": ["banned"],
            "accountFilter": "address.country == UK", "excludedLineItemTypes": ["MINIMUM_SPEND"],
        }),
    );
    let mut scene = Scene::start().await.with(settings).await;
    let june = |version: i64| bill("june", ACME, version).with("status", "APPROVED");
    let british = json!({ "id": ACME, "address": { "country": "UK" } });
    let with_account = |bill: &Bill, account: &Value| json!({ "bill": bill.json(), "account": account });
    let refused = [
        (bill("june", ACME, 1).json(), "not approved"),
        (
            bill("june", "banned", 1).with("status", "APPROVED").json(),
            "restrictedAccountIds",
        ),
        (
            with_account(&june(1), &json!({ "id": ACME, "address": { "country": "US" } })),
            "accountFilter",
        ),
    ];
    for (body, reason) in refused {
        let previewed = preview(&scene, &body).await;
        assert_eq!(previewed["eligible"], json!(false), "{previewed:#}");
        assert!(previewed["reason"].as_str().unwrap().contains(reason), "{previewed:#}");
    }
    // Everything that is wrong is named at once.
    let wrong = june(1)
        .with("currency", "EUR")
        .line(usage("1.01").aggregation("storage"))
        .of("2.03");
    let wrong = wrong.line(line("MINIMUM_SPEND", "1000.01"));
    let previewed = preview(&scene, &with_account(&wrong, &british)).await;
    let errors = previewed["validationErrors"].to_string();
    for expect in [
        "EUR",
        "Aggregation storage has no external mapping",
        "marketplaceDefaultDimension",
    ] {
        assert!(errors.contains(expect), "{errors}");
    }
    assert_eq!(previewed["dimensions"], json!([]));
    // A held source: AWS takes nothing back from the old dimension.
    let mapping = scene
        .map("Aggregation", "storage", "Dimension", &dimension("old"))
        .await;
    let first = june(1).line(usage("11.03").aggregation("storage"));
    scene.send(with_account_message(&scene, &first, &british)).await;
    scene.change_mapping(&mapping, &dimension("new")).await;
    let second = june(2).line(usage("13.07").aggregation("storage"));
    let previewed = preview(&scene, &with_account(&second, &british)).await;
    let errors = previewed["validationErrors"].to_string();
    assert!(
        errors.contains("1103 units at AWS") && errors.contains("remap"),
        "{errors}"
    );
    // The same version as it stands: it would count otherwise now, and stays.
    let previewed = preview(&scene, &with_account(&first, &british)).await;
    assert!(
        previewed["reason"]
            .as_str()
            .unwrap()
            .contains("stays as it was counted"),
        "{previewed:#}"
    );
    scene.end().await;
}

fn with_account_message(scene: &Scene, bill: &Bill, account: &Value) -> Value {
    let mut message = message::plain(scene.organization(), bill);
    message["account"] = account.clone();
    message
}

#[tokio::test]
async fn a_blocked_or_conflicting_key_a_failing_connection_and_an_owner_are_seen() {
    let mut scene = Scene::ready().await;
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let previewed = as_previewed(&mut scene, &bill("june", ACME, 2).of("103.07")).await;
    let key = &previewed["dimensions"][0];
    assert!(key["reason"].as_str().unwrap().contains("AWS refused"), "{key:#}");
    assert_eq!((&key["waits"], entries(&previewed)), (&json!(10_307), vec![]));
    // AWS holds another quantity for an hour of this buyer's key.
    scene.map("Account", GLOBEX, "Customer", "444455556666").await;
    scene.foreign_usage("444455556666", DIMENSION, "2025-06-10T10", 7);
    scene.bill(&bill("globex", GLOBEX, 1).of("11.03")).await;
    let previewed = preview(&scene, &bill("globex", GLOBEX, 2).of("13.07").json()).await;
    let key = &previewed["dimensions"][0];
    assert!(
        key["reason"].as_str().unwrap().contains("until that is settled"),
        "{key:#}"
    );
    assert_eq!((&key["waits"], entries(&previewed)), (&json!(204), vec![]));
    // AWS refuses the connection.
    scene.map("Account", "third", "Customer", "333344445555").await;
    scene.metering_fails(&[FaultKind::AccessDenied]);
    scene.bill(&bill("third", "third", 1).of("17.01")).await;
    let previewed = preview(&scene, &bill("fourth", "third", 1).of("19.03").json()).await;
    let key = &previewed["dimensions"][0];
    assert!(
        key["reason"].as_str().unwrap().contains("connection to AWS is failing"),
        "{key:#}"
    );
    // The older of two configurations owns what both would send.
    let first = scene.configuration.clone();
    scene.configuration = scene.configure(per_bill()).await;
    let previewed = preview(&scene, &bill("may", ACME, 1).of("53.03").json()).await;
    let errors = previewed["validationErrors"].to_string();
    assert!(errors.contains(&first), "{errors}");
    scene.tick().await;
    scene.end().await;
}

#[tokio::test]
async fn every_form_of_a_bill_is_taken_and_bad_ones_are_refused_by_name() {
    let mut scene = Scene::ready().await;
    scene.map("Account", GLOBEX, "Customer", "444455556666").await;
    let june = bill("june", ACME, 1).of("101.03");
    scene.m3ter_has(&[june.json()], &[]);
    let plain = preview(&scene, &june.json()).await;
    let organization = scene.organization().to_owned();
    for body in [
        json!({ "bill": june.json() }),
        json!({ "orgId": organization, "bill": june.json(), "account": { "id": ACME } }),
        message::updated(&organization, &june),
        json!({ "billId": "june" }),
    ] {
        assert_eq!(preview(&scene, &body).await, plain, "{body}");
    }
    let path = format!("integrationconfigs/{}/preview", scene.configuration);
    let mut no_amount = june.json();
    no_amount["lineItems"][0]
        .as_object_mut()
        .unwrap()
        .remove("convertedSubtotal");
    let cases = [
        (json!({}), 400, "id"),
        (json!([]), 400, "JSON object"),
        (no_amount, 400, "lineItems[0].convertedSubtotal"),
        (json!({ "bill": june.json(), "remap": true }), 400, "remap"),
        (json!({ "orgId": "another", "bill": june.json() }), 400, "orgId"),
        (message::deleted(&organization, &june), 400, "deletion"),
        (json!({ "billId": "nobody" }), 400, "404"),
        (json!({ "flush": true }), 400, "id"),
    ];
    for (body, status, hint) in cases {
        Scene::assert_refused(scene.seller.post(&path, &body).await, status, &[hint]);
    }
    let answer = scene.seller.post("integrationconfigs/none/preview", &june.json()).await;
    Scene::assert_refused(answer, 404, &["none"]);
    let other = scene.other_organization("other-organization").await;
    Scene::assert_refused(other.post(&path, &june.json()).await, 404, &[&scene.configuration]);
    assert!(scene.billed().is_empty() && scene.sandbox.queue().is_empty());
    scene.end().await;
}
