//! Which configuration sends a bill, if any.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, and, bill, dimension, message, per_bill, per_product, set_up, usage,
};
use serde_json::{Value, json};

const HOUR: &str = "2025-06-10T10";

#[tokio::test]
async fn a_configuration_sends_the_bills_that_its_settings_admit() {
    let uk = json!({ "id": ACME, "name": "Acme", "customFields": { "country": "UK" } });
    let filter = json!({ "accountFilter": "customFields != null AND customFields.country = = UK" });
    // Settings, the bill's status, an account in the message, and what the run says if the bill is not sent.
    let cases: [(Value, &str, Option<Value>, Option<&str>); 10] = [
        (json!({}), "PENDING", None, None),
        (json!({ "accountIds": [ACME, "globex"] }), "PENDING", None, None),
        (
            json!({ "accountIds": ["globex"] }),
            "PENDING",
            None,
            Some("the account is not among accountIds"),
        ),
        (json!({ "restrictedAccountIds": ["globex"] }), "PENDING", None, None),
        (
            json!({ "restrictedAccountIds": [ACME] }),
            "PENDING",
            None,
            Some("the account is among restrictedAccountIds"),
        ),
        (json!({ "onlySendBillOnApproval": true }), "APPROVED", None, None),
        (
            json!({ "onlySendBillOnApproval": true }),
            "PENDING",
            None,
            Some("the bill is not approved"),
        ),
        (filter.clone(), "PENDING", Some(uk.clone()), None),
        (
            filter.clone(),
            "PENDING",
            Some(json!({ "id": ACME })),
            Some("accountFilter does not admit the account"),
        ),
        (
            json!({ "accountFilter": "accountName == Acme" }),
            "PENDING",
            Some(uk),
            None,
        ),
    ];
    for (settings, status, account, refused) in cases {
        let mut scene = Scene::start().await.with(and(per_bill(), settings.clone())).await;
        let mut message = message::plain(
            scene.organization(),
            &bill("june", ACME, 1).of("101.03").with("status", status),
        );
        if let Some(account) = account {
            message["account"] = account;
        }
        scene.send(message).await;
        let run = scene.run("june").await;
        assert_eq!(run.status, "COMPLETE", "{settings}");
        let outcome = scene.log(&run.id).await[0]["outcome"].to_string();
        match refused {
            Some(reason) => {
                assert!(outcome.contains(reason), "{settings}: {outcome}");
                scene.assert_billed(&[]);
            }
            None => scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_103)]),
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn an_account_that_the_filter_needs_is_fetched_from_m3ter() {
    let filter = json!({ "accountFilter": "address.country == 'UK' AND customFields.tier >= 2" });
    let mut scene = Scene::start().await.with(and(per_bill(), filter)).await;
    scene.map("Account", "tiny", "Customer", "222233334444").await;
    let account =
        |id: &str, tier: i64| json!({ "id": id, "address": { "country": "UK" }, "customFields": { "tier": tier } });
    scene.m3ter_has(&[], &[account(ACME, 2), account("tiny", 1)]);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("small", "tiny", 1).of("7.01")).await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_103)]);
    // An account that m3ter does not show: nobody knows whether the bill is to be sent, so somebody is told.
    scene.bill(&bill("lost", "nobody", 1).of("5.03")).await;
    scene
        .assert_run(
            "lost",
            "ERROR",
            "accountFilter needs account nobody, which could not be had",
        )
        .await;
    scene.end().await;
}

#[tokio::test]
async fn an_approved_bill_is_sent_when_approval_comes() {
    let settings = and(per_bill(), json!({ "onlySendBillOnApproval": true }));
    let mut scene = Scene::start().await.with(settings).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene
        .bill(&bill("june", ACME, 2).of("103.07").with("status", "APPROVED"))
        .await;
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_307)]);
    scene.end().await;
}

#[tokio::test]
async fn linked_mappings_win_and_with_enforcement_only_they_count() {
    // Enforced; which mappings the product has; where the money goes, or why not.
    let cases: [(bool, &[&str], Result<&str, &str>); 7] = [
        (false, &["unlinked"], Ok("of-unlinked")),
        (false, &["unlinked", "linked"], Ok("of-linked")),
        (
            false,
            &["other"],
            Err("Product product-1 has no external mapping to AWS"),
        ),
        (false, &["other", "unlinked"], Ok("of-unlinked")),
        (true, &["linked", "unlinked"], Ok("of-linked")),
        (
            true,
            &["unlinked"],
            Err("Product product-1 has no external mapping to AWS"),
        ),
        (
            true,
            &["other"],
            Err("Product product-1 has no external mapping to AWS"),
        ),
    ];
    for (enforced, mappings, expect) in cases {
        let mut scene = Scene::start().await;
        let settings = and(
            per_product(),
            json!({ "enforceExternalMappingsForConfig": enforced, "accountIds": [ACME] }),
        );
        let own = scene.configure(settings).await;
        let other = scene
            .configure(and(per_product(), json!({ "accountIds": ["globex"] })))
            .await;
        let link = |kind: &str| match kind {
            "linked" => Some(own.as_str()),
            "other" => Some(other.as_str()),
            _ => None,
        };
        // The buyer's mapping follows the same rule; it is always there.
        let seller = scene.seller.clone();
        set_up::map(&seller, "Account", ACME, "Customer", ACME_AWS_ACCOUNT, Some(&own)).await;
        for kind in mappings {
            set_up::map(
                &seller,
                "Product",
                "product-1",
                "Dimension",
                &dimension(&format!("of-{kind}")),
                link(kind),
            )
            .await;
        }
        scene
            .bill(&bill("june", ACME, 1).line(usage("101.03").product("product-1")))
            .await;
        let run = scene
            .runs("june")
            .await
            .into_iter()
            .find(|run| run.json["destinationId"] == json!(own))
            .unwrap();
        match expect {
            Ok(key) => scene.assert_billed(&[(ACME_AWS_ACCOUNT, key, HOUR, 10_103)]),
            Err(reason) => {
                assert!(run.error.contains(reason), "{enforced} {mappings:?}: {}", run.error);
                scene.assert_billed(&[]);
            }
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn a_second_eligible_configuration_is_an_error_and_no_second_charge() {
    let mut scene = Scene::ready().await;
    let second = scene.configure(per_bill()).await;
    for version in [1, 2] {
        scene.bill(&bill("june", ACME, version).of("101.03")).await;
    }
    let runs = scene.runs("june").await;
    assert_eq!(runs.len(), 4);
    for run in runs {
        if run.json["destinationId"] == json!(second) {
            assert_eq!(run.status, "ERROR");
            let owner = format!("the bill belongs to configuration {}", scene.configuration);
            assert!(run.error.contains(&owner), "{}", run.error);
        } else {
            assert_eq!(run.status, "COMPLETE");
        }
    }
    scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn configurations_that_part_the_accounts_between_them_each_send_their_own() {
    let mut scene = Scene::start()
        .await
        .with(and(per_bill(), json!({ "accountIds": [ACME] })))
        .await;
    let other = json!({ "restrictedAccountIds": [ACME], "marketplaceBillDimension": dimension("elsewhere") });
    scene.configure(and(per_bill(), other)).await;
    scene.map("Account", "initech", "Customer", "ifAPi5AcF3").await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("july", "initech", 1).of("7.01")).await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_103),
        ("ifAPi5AcF3", "elsewhere", HOUR, 701),
    ]);
    scene.end().await;
}

#[tokio::test]
async fn an_account_that_is_taken_out_of_a_configuration_takes_its_bills_to_the_one_that_admits_it() {
    for taken_out in [
        json!({ "accountIds": ["somebody"] }),
        json!({ "restrictedAccountIds": [ACME] }),
        json!({ "accountFilter": "customFields.region == EU" }),
    ] {
        let mut scene = Scene::ready().await;
        scene.m3ter_has(&[], &[json!({ "id": ACME, "customFields": { "region": "US" } })]);
        let second = scene.configure(per_bill()).await;
        scene.bill(&bill("june", ACME, 1).of("101.03")).await;
        scene.until("2025-06-10T11:02:00Z").await;
        let sender = async |scene: &Scene| {
            let sent = scene.runs("june").await.into_iter();
            let sent = sent.filter(|run| run.status == "COMPLETE" && run.json["destinationId"] == json!(second));
            sent.count()
        };
        assert_eq!(sender(&scene).await, 0, "{taken_out}");
        // What the second was refused, because the bill was the first's, comes again by itself.
        scene.reconfigure(and(per_bill(), taken_out.clone())).await;
        assert_eq!(sender(&scene).await, 1, "{taken_out}");
        scene.assert_billed(&[(ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_103)]);
        scene.bill(&bill("june", ACME, 2).of("103.07")).await;
        assert_eq!(sender(&scene).await, 2, "{taken_out}");
        scene.assert_billed(&[
            (ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_103),
            (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T11", 204),
        ]);
        // Taken in again, it is the second's.
        scene.reconfigure(per_bill()).await;
        scene.bill(&bill("june", ACME, 3).of("104.09")).await;
        assert_eq!(sender(&scene).await, 2, "{taken_out}");
        scene.until("2025-06-10T12:02:00Z").await;
        assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_409, "{taken_out}");
        scene.end().await;
    }
}

#[tokio::test]
async fn deleting_a_configuration_passes_its_bills_with_their_units_to_the_next() {
    let mut scene = Scene::ready().await;
    let second = scene.configure(per_bill()).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let path = format!("integrationconfigs/{}", scene.configuration);
    scene.seller.delete(&path).await.unwrap();
    scene.until("2025-06-10T11:02:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    let run = scene.run("june").await;
    assert_eq!(
        (run.status.as_str(), &run.json["destinationId"]),
        ("COMPLETE", &json!(second))
    );
    // The units of the deleted configuration stay counted: only the growth is sent.
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_103),
        (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T11", 204),
    ]);
    scene.delete(&bill("june", ACME, 3)).await;
    assert_eq!(scene.key(ACME_AWS_ACCOUNT, DIMENSION).await.state.total, 0);
    scene.end().await;
}

#[tokio::test]
async fn what_waited_for_a_deleted_configuration_is_sent_once_by_the_next() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    let path = format!("integrationconfigs/{}", scene.configuration);
    scene.seller.delete(&path).await.unwrap();
    scene.configure(per_bill()).await;
    scene.bill(&bill("june", ACME, 3).of("107.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[
        (ACME_AWS_ACCOUNT, DIMENSION, HOUR, 10_103),
        (ACME_AWS_ACCOUNT, DIMENSION, "2025-06-10T11", 600),
    ]);
    scene.end().await;
}
