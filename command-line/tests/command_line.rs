//! The program itself, in a process of its own, against a sandbox in this one.

mod common;

use common::tls::Tls;
use common::{DIMENSION, Desk, Said};

use sandbox::{Fault, FaultKind, Service};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_keeps_the_token_for_its_owner_and_the_secret_nowhere() {
    let desk = Desk::open().await;
    let said = desk.log_in().await;
    said.well();
    assert!(said.out.contains("Logged in to http://127.0.0.1:"), "{}", said.out);
    let file = desk.config().join("outbill/profiles/default.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!kept.contains(&desk.key().api_secret));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        // What others may have read is not used.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        desk.run(&["status"]).await.failed(1, "can be read by others than you");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    desk.run(&["status"]).await.well();
    desk.run(&["logout"]).await.well();
    assert!(!file.exists());
    desk.run(&["status"])
        .await
        .failed(4, "outbill login --api URL --organization ORG");
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_apart_and_variables_need_no_login() {
    let desk = Desk::open().await;
    let (api, key) = (desk.api(), desk.key().clone());
    let input = format!("{}\n{}\n", key.access_key_id, key.api_secret);
    let login = [
        "login",
        "--profile",
        "night",
        "--api",
        &api,
        "--organization",
        &key.org_id,
    ];
    desk.run_with(&login, &[], &input).await.well();
    desk.run(&["pending"])
        .await
        .failed(4, "there is no login in the profile \"default\"");
    desk.run(&["pending", "--profile", "night"]).await.well();
    desk.run_with(&["pending"], &[("OUTBILL_PROFILE", "night")], "")
        .await
        .well();
    desk.run(&["pending", "--profile", "../night"])
        .await
        .failed(2, "cannot be the name of a profile");
    let variables = [
        ("OUTBILL_API", api.as_str()),
        ("OUTBILL_ORGANIZATION", &key.org_id),
        ("OUTBILL_ACCESS_KEY_ID", &key.access_key_id),
        ("OUTBILL_API_SECRET", &key.api_secret),
    ];
    desk.run_with(&["status"], &variables, "").await.well();
    desk.run_with(&["status"], &variables[1..], "")
        .await
        .failed(2, "OUTBILL_API is not");
    desk.run_with(&["login"], &variables, "").await.well();
    desk.run(&["pending"]).await.well();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_told_how_to_log_in_again() {
    let desk = Desk::open().await;
    let (api, key) = (desk.api(), desk.key().clone());
    let login = ["login", "--api", &api, "--organization", &key.org_id];
    let wrong = format!("{}\nnot-{}\n", key.access_key_id, key.api_secret);
    desk.run_with(&login, &[], &wrong)
        .await
        .failed(4, "check the access key id and its secret");
    let other = ["login", "--api", &api, "--organization", "other"];
    let input = format!("{}\n{}\n", key.access_key_id, key.api_secret);
    desk.run_with(&other, &[], &input)
        .await
        .failed(4, "check --organization");
    assert!(!desk.config().join("outbill").exists());
    desk.run_with(&login, &[], "\n\n")
        .await
        .failed(2, "the access key is missing");
    desk.log_in().await.well();

    // Five hours later the API takes the token no more.
    desk.hours(6).await;
    let again = format!("log in again: outbill login --api {api} --organization {}", key.org_id);
    desk.run(&["status"]).await.failed(4, &again);
    desk.run(&["status"]).await.failed(4, "the API answered 403: ");

    let file = desk.config().join("outbill/profiles/default.json");
    let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    kept["token"] = json!("garbage");
    kept["expiresAt"] = json!("2020-01-01T00:00:00Z");
    std::fs::write(&file, kept.to_string()).unwrap();
    let said = desk.run(&["replay", "some-run"]).await;
    said.failed(4, &again);
    said.failed(4, "the token expired at 2020-01-01 00:00:00 UTC");
    std::fs::write(&file, "{}").unwrap();
    desk.run(&["status"]).await.failed(1, "is not a login");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_only_a_trusted_certificate_gets_the_secret() {
    let desk = Desk::open().await;
    let tls = Tls::before(&desk.api()).await;
    let key = desk.key().clone();
    let input = format!("{}\n{}\n", key.access_key_id, key.api_secret);
    let login = ["login", "--api", &tls.address, "--organization", &key.org_id];
    let untrusted = [("SSL_CERT_FILE", tls.untrusted.as_str())];
    let said = desk.run_with(&login, &untrusted, &input).await;
    said.failed(5, "invalid peer certificate");
    assert!(!desk.config().join("outbill").exists());
    let trusted = [("SSL_CERT_FILE", tls.trusted.as_str())];
    desk.run_with(&login, &trusted, &input).await.well();
    desk.run_with(&["status"], &trusted, "").await.well();
    desk.run_with(&["status"], &untrusted, "")
        .await
        .failed(5, "invalid peer certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_does_not_answer_changed_nothing() {
    let desk = Desk::open().await;
    let closed = format!("http://127.0.0.1:{}", common::closed_port());
    let said = desk
        .run_with(
            &["login", "--api", &closed, "--organization", "o"],
            &[],
            "id\nvery-secret\n",
        )
        .await;
    said.failed(5, &format!("no answer from {closed}/oauth/token"));
    said.failed(5, "nothing was changed");
    assert!(!said.err.contains("very-secret"), "{}", said.err);
    for bad in [
        "http://outbill.example",
        "outbill.example",
        "https://name:word@outbill.example",
    ] {
        let said = desk
            .run_with(
                &["login", "--api", bad, "--organization", "o"],
                &[],
                "id\nvery-secret\n",
            )
            .await;
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(!said.err.contains("word@"), "{}", said.err);
    }
    desk.log_in().await.well();
    let api = desk.close().await;
    api.run(&["status"]).await.failed(5, "nothing was changed");
    api.run(&["replay", "run"]).await.failed(5, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reads_is_repeated_and_what_changes_is_sent_once() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let file = desk.config().join("outbill/profiles/default.json");
    let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 18\r\n\r\n{\"message\":\"busy\"}";
    for (answer, changes, code, reads) in [
        (
            busy,
            "whether it was done is not known",
            1,
            "the API answered 503: busy",
        ),
        ("", "whether POST was done is not known", 5, "nothing was changed"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "the API's answer is no JSON",
            1,
            "the API's answer is no page of a list",
        ),
    ] {
        let server = common::Server::answering(answer).await;
        kept["api"] = json!(server.address);
        std::fs::write(&file, kept.to_string()).unwrap();
        desk.run(&["replay", "some-run"]).await.failed(code, changes);
        assert_eq!(server.requests(), 1, "{answer}");
        desk.run(&["pending"]).await.failed(code, reads);
        let repeats = if answer.contains("200") { 1 } else { 3 };
        assert_eq!(server.requests(), 1 + repeats, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_said_on_stderr() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["login", "--secret", "s"],
        &["explain"],
        &["report", "--from", "soon"],
        &["resolve", "x", "--as", "gone", "--reason", "r"],
        &["reconcile", "ask", "2025-06-10", "--timeout", "5"],
        &["completions", "tcsh"],
        &["report", "--from", "2025-06-11", "--to", "2025-06-10"],
    ] {
        let said = desk.run(arguments).await;
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(!said.err.is_empty());
    }
    let nothing = desk.run(&["runs", "show", "no-such-run"]).await;
    nothing.failed(1, "the API answered 404: there is no integration run no-such-run");
    desk.run(&["runs", "--bill", "b", "--status", "SAD"])
        .await
        .failed(1, "choose one of WAITING");
    desk.run(&["preview", "no-such-file"]).await.failed(1, "cannot be read");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = desk.run(&["completions", shell]).await;
        assert!(script.well().contains("reconcile"), "{shell}");
    }
    let help = desk.run(&["--help"]).await;
    assert!(help.well().contains("3  something needs a person"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_is_previewed_reported_and_explained() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    let configuration = desk.configure(&seller, json!({})).await;
    desk.map(&seller).await;
    let file = desk.config().join("bill.json");
    std::fs::create_dir_all(desk.config()).unwrap();
    std::fs::write(&file, common::bill(1, "12.34").to_string()).unwrap();
    let file = file.to_string_lossy().into_owned();
    let preview = desk.run(&["preview", &file]).await;
    assert!(
        preview.well().contains("┆ 1,234 ┆        1,234 ┆") && preview.out.contains("Nothing was written or sent."),
        "{}",
        preview.out
    );
    let raw = desk
        .run(&["preview", &file, "--configuration", &configuration, "--json"])
        .await
        .json();
    assert_eq!(raw["dimensions"][0]["units"], 1_234);
    assert_eq!(
        desk.run(&["report"]).await.well(),
        "AWS has accepted nothing of what was asked for.\n"
    );

    desk.bill(1, "12.34").await;
    let report = desk.run(&["report"]).await;
    assert!(
        report.well().ends_with("1,234 units accepted by AWS\n"),
        "{}",
        report.out
    );
    let raw = desk.run(&["report", "--json"]).await;
    let expect = seller
        .get("integrationdestinations/marketplace/usageReport")
        .await
        .unwrap();
    assert_eq!(raw.json(), expect);
    assert!(
        desk.run(&["report", "--to", "2020-01-01"])
            .await
            .well()
            .starts_with("AWS has accepted nothing")
    );
    assert!(
        desk.run(&["report", "--from", "2020-01-01", "--bill", "bill-1"])
            .await
            .well()
            .contains("bill-1")
    );
    assert_eq!(
        desk.run(&["report", "--bill", "bill-2", "--json"]).await.json(),
        json!({"data": []})
    );

    let explained = desk
        .run(&["explain", "--bill", "bill-1", "--dimension", DIMENSION])
        .await;
    assert!(
        explained.well().contains("of them: 1234 accepted by AWS = 1234"),
        "{}",
        explained.out
    );
    let raw = desk.run(&["explain", "--bill", "bill-1", "--json"]).await.json();
    let expect = seller
        .get("integrationdestinations/marketplace/explain?billId=bill-1")
        .await
        .unwrap();
    assert_eq!(raw, expect);
    desk.run(&["explain", "--bill", "bill-9"])
        .await
        .failed(1, "bill bill-9 never counted anything");
    desk.run(&["status"]).await.well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_bill_needs_a_person_until_its_run_is_replayed() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    desk.configure(&seller, json!({})).await;
    desk.bill(1, "12.34").await;
    let status = desk.run(&["status"]).await;
    status.person("Money at risk: 0 units\nCloses next: nothing\n");
    status.person("bill bill-1: nothing of this bill was changed: Account acme has no external mapping");
    let listed = desk.run(&["runs", "--status", "ERROR"]).await;
    assert!(listed.well().contains("bill-1"), "{}", listed.out);
    assert!(
        desk.run(&["runs", "--status", "COMPLETE"])
            .await
            .well()
            .starts_with("There are no such runs.")
    );
    let raw = desk.run(&["runs", "--bill", "bill-1", "--json"]).await.json();
    assert_eq!(raw, seller.get("integrationruns/Bill/bill-1").await.unwrap());
    let run = raw["data"][0]["id"].as_str().unwrap().to_owned();
    assert!(
        desk.run(&["runs", "show", &run])
            .await
            .well()
            .contains("status         ERROR")
    );
    assert!(
        desk.run(&["runs", "show", &run, "--log"])
            .await
            .well()
            .contains("\"splitUsageLineItems\": \"ITEM_PER_BILL\"")
    );
    let log = desk.run(&["runs", "show", &run, "--log", "--json"]).await.json();
    assert_eq!(log, seller.get(&format!("integrationruns/logs/{run}")).await.unwrap());

    desk.map(&seller).await;
    desk.run(&["status"]).await.well();
    let replayed = desk.run(&["replay", &run]).await;
    assert!(
        replayed.well().starts_with("Bill bill-1 is queued once more."),
        "{}",
        replayed.out
    );
    desk.run(&["replay", &run, "--remap"])
        .await
        .failed(2, "give --yes; nothing was changed");
    desk.run(&["replay", &run, "--remap", "--yes", "--json"]).await.json();
    desk.run(&["replay", "no-such-run"])
        .await
        .failed(1, "there is no integration run");
    let several = desk.run(&["runs", "--limit", "1"]).await;
    assert!(
        several.well().contains("There are more than these 1"),
        "{}",
        several.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_shown_with_its_money_and_lifted() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    desk.configure(
        &seller,
        json!({"marketplaceUnitPrice": "0.05", "marketplaceCurrency": "USD"}),
    )
    .await;
    desk.map(&seller).await;
    assert_eq!(desk.run(&["pending"]).await.well(), "AWS has accepted everything.\n");
    desk.subscribed(false);
    desk.bill(1, "50").await;
    // The first refusal may be the hour's.
    let pending = desk.run(&["pending"]).await;
    assert!(pending.well().contains("tried once more"), "{}", pending.out);
    desk.hours(1).await;
    let status = desk.run(&["status"]).await;
    status.person("Money at risk: 1,000 units (50.00 USD)\n");
    status.person("blocked. AWS refused this buyer or dimension");
    let pending = desk.run(&["pending"]).await;
    assert!(
        pending.well().contains("BLOCKED") && pending.out.contains("way out  mend what AWS refused"),
        "{}",
        pending.out
    );
    let raw = desk.run(&["pending", "--json"]).await.json();
    assert_eq!(
        raw,
        seller.get("integrationdestinations/marketplace/pending").await.unwrap()
    );
    let status = desk.run(&["status", "--json"]).await;
    assert_eq!(status.code, 3);
    let status: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status["pending"], raw["data"]);
    let key = raw["data"][0]["id"].as_str().unwrap().to_owned();
    desk.run(&["unblock", &key, "--reason", "signed again"])
        .await
        .failed(2, "give --yes; nothing was changed");
    desk.run(&["unblock", "other", "--reason", "signed again"])
        .await
        .failed(1, "nothing that waits has the id other");
    desk.subscribed(true);
    let lifted = desk.run(&["unblock", &key, "--reason", "signed again", "--yes"]).await;
    assert!(lifted.well().contains("is lifted; 1,000 units wait"), "{}", lifted.out);
    desk.run(&["unblock", &key, "--reason", "another", "--yes"])
        .await
        .failed(1, "is not blocked");
    desk.hours(2).await;
    desk.run(&["status"]).await.well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_without_an_answer_is_decided_by_a_person() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    desk.configure(&seller, json!({})).await;
    desk.map(&seller).await;
    desk.faults(vec![Fault::new(Service::Metering, FaultKind::LostAnswer, u32::MAX)]);
    desk.bill(1, "9.70").await;
    let pending = desk.run(&["status"]).await;
    assert!(pending.out.contains("Closes next: "), "{}", pending.out);
    desk.hours(26).await;
    desk.log_in().await.well();
    desk.run(&["status"]).await.person("970 units of");
    let raw = desk.run(&["pending", "--json"]).await.json();
    let entry = &raw["data"][0];
    assert_eq!(
        (&entry["state"], &entry["units"]),
        (&json!("UNKNOWN"), &json!(970)),
        "{raw}"
    );
    let id = entry["id"].as_str().unwrap().to_owned();
    let decide = ["resolve", &id, "--as", "accepted", "--reason", "in the usage report"];
    desk.run(&decide).await.failed(2, "give --yes; nothing was changed");
    let decided = desk.run(&[&decide[..], &["--yes"]].concat()).await;
    assert!(decided.well().ends_with("is now ACCEPTED.\n"), "{}", decided.out);
    desk.run(&["pending"]).await.well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_compared_and_waited_for() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    desk.run(&["reconcile", "ask", "2025-06-10"])
        .await
        .failed(2, "there is no configuration that checks CloudTrail");
    let configuration = desk
        .configure(&seller, json!({"awsMarketplaceCloudtrailChecks": true}))
        .await;
    desk.map(&seller).await;
    desk.bill(1, "12.34").await;
    let day = desk.today();
    desk.hours(30).await;
    desk.log_in().await.well();
    let ask = ["reconcile", "ask", &day, "--wait", "--timeout", "60"];
    let ended = desk.run(&ask).await;
    assert!(
        ended.well().contains(&day) && ended.out.contains("MATCHES"),
        "{}\n{}",
        ended.out,
        ended.err
    );
    let listed = desk.run(&["reconcile", "--configuration", &configuration]).await;
    assert!(listed.well().contains("MATCHES"), "{}", listed.out);
    let raw = desk.run(&["reconcile", "--json"]).await.json();
    assert_eq!(raw, desk.seller().await.get("reconciliations").await.unwrap());
    let id = raw["data"][0]["id"].as_str().unwrap().to_owned();
    let shown = desk.run(&["reconcile", "show", &id, "--json"]).await.json();
    assert_eq!(
        shown,
        desk.seller().await.get(&format!("reconciliations/{id}")).await.unwrap()
    );
    let today = desk.today();
    desk.faults(vec![Fault::new(Service::CloudTrail, FaultKind::LostRequest, u32::MAX)]);
    let soon = ["reconcile", "ask", &today, "--wait", "--timeout", "1"];
    desk.run(&soon)
        .await
        .failed(6, "it goes on by itself: outbill reconcile show ");
    desk.run(&["status"]).await.well();
    desk.run(&["reconcile", "ask", "2020-01-01"])
        .await
        .failed(1, "CloudTrail keeps 90 days");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_configuration_says_why_and_is_enabled() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    let configuration = desk.configure(&seller, json!({})).await;
    // Twenty bills of buyers that nobody mapped.
    for number in 0..20 {
        desk.bill_of(&format!("bill-{number}"), &format!("account-{number}"), 1, "1.00")
            .await;
    }
    let status = desk.run(&["status"]).await;
    status.person("DISABLED: ");
    status.person(&format!("outbill enable {configuration}"));
    let enabled = desk.run(&["enable", &configuration]).await;
    assert!(enabled.well().contains("is enabled"), "{}", enabled.out);
    assert!(!desk.run(&["status"]).await.out.contains("DISABLED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_joined() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    desk.configure(&seller, json!({})).await;
    desk.map(&seller).await;
    // The report has pages of 50.
    for number in 0..53 {
        desk.bill_of(&format!("bill-{number}"), "acme", 1, "1.00").await;
    }
    let report: Said = desk.run(&["report", "--json"]).await;
    assert_eq!(report.json()["data"].as_array().unwrap().len(), 53);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shadow_counts_is_not_at_risk_here() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    desk.configure(&seller, json!({"marketplaceShadow": true})).await;
    desk.map(&seller).await;
    desk.bill(1, "12.34").await;
    let status = desk.run(&["status"]).await;
    assert!(status.well().starts_with("Money at risk: 0 units\n"), "{}", status.out);
    assert!(
        status.out.contains("shadow: sends nothing") && status.out.contains("SHADOW"),
        "{}",
        status.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_table_is_thawed_by_a_person() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let seller = desk.seller().await;
    let configuration = desk.configure(&seller, json!({})).await;
    desk.map(&seller).await;
    desk.bill(1, "12.34").await;
    desk.run(&["thaw", &configuration, "--reason", "r", "--yes"])
        .await
        .failed(1, "is not frozen");
    desk.restore_the_table().await;
    desk.hours(1).await;
    // Nothing waits yet, and the next bill would be the first to notice.
    let status = desk.run(&["status"]).await;
    status.person("FROZEN: the table is a restored copy");
    desk.bill(2, "20.00").await;
    let status = desk.run(&["status"]).await;
    status.person("the table is a restored copy");
    status.person(&format!("outbill thaw {configuration} --reason"));
    let thaw = ["thaw", &configuration, "--reason", "nothing was sent since the copy"];
    desk.run(&thaw).await.failed(2, "give --yes; nothing was changed");
    let thawed = desk.run(&[&thaw[..], &["--yes"]].concat()).await;
    assert!(
        thawed.well().contains("claims and sends again; 0 entries"),
        "{}",
        thawed.out
    );
    desk.hours(2).await;
    desk.run(&["status"]).await.well();
}
