//! Every benchmark, with hardly anything to do: it runs, checks its own work, and its figures are numbers.

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// Runs it; gives the figures by name.
async fn figures(arguments: &[&str]) -> anyhow::Result<Vec<(String, f64)>> {
    let folder = TempDir::new()?;
    let file = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .arg("--json")
        .arg(&file)
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {said}");
    let figures: Vec<Value> = serde_json::from_slice(&std::fs::read(&file)?)?;
    let figure = |figure: &Value| {
        let name = figure["name"].as_str().context("a name")?.to_owned();
        Ok((name, figure["value"].as_f64().context("a number")?))
    };
    figures.iter().map(figure).collect()
}

fn value(figures: &[(String, f64)], name: &str) -> anyhow::Result<f64> {
    let found = figures.iter().find(|(known, _)| known == name);
    Ok(found.with_context(|| format!("no {name} in {figures:?}"))?.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_beside_the_straightforward_design() -> anyhow::Result<()> {
    let found = figures(&[
        "--bills",
        "50",
        "--dimensions",
        "2",
        "--regions",
        "2",
        "--single",
        "2",
        "--baseline",
        "--baseline-bills",
        "1",
    ]);
    // A hundred records in calls of 25.
    let ratio = value(&found.await?, "BatchMeterUsage calls over records / 25")?;
    assert_eq!(ratio, 1.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_tick_drains() -> anyhow::Result<()> {
    let found = figures(&["tick", "--keys", "60", "--workers", "2"]).await?;
    assert!(
        value(&found, "BatchMeterUsage calls over keys / 25")? >= 1.0,
        "{found:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_table_and_long_lists() -> anyhow::Result<()> {
    let found = figures(&["growth", "--bills", "1000", "--dispatched", "5"]).await?;
    assert!(
        value(&found, "DynamoDB requests per bill over 1000 bills")? > 5.0,
        "{found:?}"
    );
    let found = figures(&["lists", "--entries", "7", "--runs", "11", "--times", "2"]).await?;
    assert_eq!(value(&found, "a page of runs: DynamoDB requests")?, 1.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_functions_own_programs() -> anyhow::Result<()> {
    let program = end_to_end::programs::program("api").await?;
    let folder = program
        .parent()
        .and_then(|folder| folder.to_str())
        .context("a folder")?;
    let found = figures(&["start", "--starts", "2", "--programs", folder]).await?;
    for function in ["bill-dispatch", "api", "reconcile"] {
        let name = format!("{function}, from its start to its first answer");
        assert!(value(&found, &name)? > 0.0, "{found:?}");
    }
    let few = ["memory", "--batches", "0", "--bills", "60", "--programs", folder];
    let found = figures(&few).await?;
    let name = "bill-dispatch, peak memory, many batches of 1,000 messages";
    assert!(value(&found, name)? > 0.0, "{found:?}");
    Ok(())
}
