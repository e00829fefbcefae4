//! Requests that nobody thought of: schemathesis makes them of `/openapi.json`, good ones and bad ones, and compares every answer with it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD};
use counterparts::{REQUIREMENTS, program, python, sandbox};
use sandbox::seller::Seller;
use sandbox::{AccessKey, Sandbox};
use serde_json::json;

/// What is compared, and what is not. The server never errs and answers as it is described; what the description does not allow is refused.
/// Not asked for is 405 with `Allow`: m3ter has no such answer, and a call that there is not is 404. Nor that all that the description allows
/// is accepted: it cannot say which credential or mapping exists.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,ignored_auth,use_after_free,\
                      ensure_resource_availability";
const CASES_PER_OPERATION_MAX: &str = "12";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_described() -> anyhow::Result<()> {
    let python = python(Path::new(env!("CARGO_TARGET_TMPDIR")), REQUIREMENTS)?;
    let sandbox = sandbox().await?;
    let folder = tempfile::tempdir()?;
    let key = sandbox.access_key();
    let seller = Seller::log_in(&sandbox.addresses().api, key).await?;
    let run = a_run(&sandbox, &seller).await?;
    let settings = folder.path().join("schemathesis.toml");
    fs::write(&settings, settings_of(key, seller.token(), &run))?;
    let output = program(&python, &sandbox)
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(&settings)
        .arg("run")
        .arg(format!("{}/openapi.json", sandbox.addresses().api))
        .args(["--checks", CHECKS, "--max-examples", CASES_PER_OPERATION_MAX])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args(["--generation-deterministic", "--continue-on-failure", "--no-color"])
        .args(["--workers", "2", "--request-timeout", "30"])
        .current_dir(folder.path())
        .output()
        .await
        .context("schemathesis does not start")?;
    let (said, wrong) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    assert!(output.status.success(), "{said}\n{wrong}");
    println!("{said}");
    // A generator that found nothing to try would have passed too.
    let cases = said
        .lines()
        .find_map(|line| line.trim().split_once(" generated")?.0.parse::<usize>().ok());
    assert!(cases.is_some_and(|cases| cases >= 1_000), "{said}");
    sandbox.stop().await;
    Ok(())
}

/// Calls about runs find one: no call makes a run.
async fn a_run(sandbox: &Sandbox, seller: &Seller) -> anyhow::Result<String> {
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "configData": {"splitUsageLineItems": "ITEM_PER_PRODUCT"},
    });
    seller.post("integrationconfigs", &configuration).await?;
    let bill = json!({"id": "bill-1", "accountId": "acme", "version": 1, "currency": "USD", "lineItems": []});
    seller.post("bills", &bill).await?;
    sandbox.drain().await;
    let run = seller.get("integrationruns/Bill/latest/bill-1").await?;
    Ok(run["id"].as_str().context("a run's id")?.to_owned())
}

/// Every call is of the one organization and has its token; the token itself is asked for with the key.
fn settings_of(key: &AccessKey, token: &str, run: &str) -> String {
    let basic = STANDARD.encode(format!("{}:{}", key.access_key_id, key.api_secret));
    format!(
        r#"
[parameters]
orgId = "{organization}"
"path.entityId" = "bill-1"

[headers]
Authorization = "Bearer {token}"

[[operations]]
include-path = "/oauth/token"
headers = {{ Authorization = "Basic {basic}" }}

[[operations]]
include-path-regex = "/m3ter/events"
headers = {{ X-Outbill-Key = "{notifications}" }}
parameters = {{ "path.key" = "{notifications}" }}

[[operations]]
include-path-regex = "/integrationruns/(logs/)?\\{{id\\}}"
parameters = {{ "path.id" = "{run}" }}
"#,
        organization = key.org_id,
        notifications = key.webhook_key(),
    )
}
