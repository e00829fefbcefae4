//! Every alarm of the template that looks at a metric of Outbill's own: its condition comes about, and its metric crosses the threshold.

use std::collections::BTreeMap;
use std::path::Path;

use end_to_end::{ACME, ACME_AWS_ACCOUNT, Scene, and, bill, message, per_bill};
use sandbox::{Change, FaultKind, metrics::Series};
use serde_json::json;

const TEMPLATE: &str = "template.yaml";
const RUNBOOK: &str = "docs/operations.md";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).expect("a file of the repository")
}

/// The template's resources of a type, by name, as text.
fn resources(kind: &str) -> BTreeMap<String, String> {
    let template = read(TEMPLATE);
    let resources = template.split("\nResources:\n").nth(1).expect("resources");
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut name = None;
    for line in resources.lines() {
        match line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
            Some(start) if !start.starts_with([' ', '#']) => name = Some(start.to_owned()),
            Some(_) | None => {
                if let Some(name) = &name {
                    found
                        .entry(name.clone())
                        .or_default()
                        .push_str(&format!("{}\n", line.trim()));
                }
            }
        }
    }
    found.retain(|_, text| text.contains(&format!("Type: {kind}\n")));
    found
}

fn field<'a>(resource: &'a str, name: &str) -> Option<&'a str> {
    resource
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")))
}

/// A metric of Outbill's that an alarm looks at, with its threshold.
fn thresholds() -> BTreeMap<String, i64> {
    let own = resources("AWS::CloudWatch::Alarm")
        .into_values()
        .filter(|alarm| field(alarm, "Namespace") == Some("Outbill"));
    own.map(|alarm| {
        let metric = field(&alarm, "MetricName").expect("a metric").to_owned();
        let threshold = field(&alarm, "Threshold")
            .expect("a threshold")
            .parse()
            .expect("a number");
        (metric, threshold)
    })
    .collect()
}

/// The largest value of each metric, and the largest sum of one instant, whichever an alarm looks at.
fn reached(series: &[Series]) -> BTreeMap<String, i64> {
    let mut reached: BTreeMap<String, i64> = BTreeMap::new();
    for series in series.iter().filter(|series| series.dimensions.len() == 1) {
        let mut sums: BTreeMap<_, i64> = BTreeMap::new();
        for (at, value) in &series.values {
            *sums.entry(*at).or_default() += value;
        }
        let most = sums.into_values().max().unwrap_or_default();
        let known = reached.entry(series.name.clone()).or_default();
        *known = most.max(*known);
    }
    reached
}

async fn checked() -> Scene {
    let checks = json!({ "awsMarketplaceCloudtrailChecks": true });
    Scene::start().await.with(and(per_bill(), checks)).await
}

/// Nobody answers for a day.
async fn unanswered() -> Vec<Series> {
    let mut scene = checked().await;
    scene.metering_always_fails(FaultKind::LostRequest);
    for number in 0..30 {
        let account = format!("account-{number}");
        scene
            .map("Account", &account, "Customer", &format!("4{number:011}"))
            .await;
        scene
            .bill(&bill(&format!("bill-{number}"), &account, 1).of("1.01"))
            .await;
    }
    scene.until("2025-06-11T10:45:00Z").await;
    scene.sandbox.metrics()
}

/// AWS leaves records out, again and again.
async fn throttled() -> Vec<Series> {
    let mut scene = checked().await;
    scene.metering_always_fails(FaultKind::Throttle);
    let mut messages = Vec::new();
    for number in 0..90 {
        let account = format!("account-{number}");
        scene
            .map("Account", &account, "Customer", &format!("4{number:011}"))
            .await;
        let organization = scene.organization().to_owned();
        messages.push(message::updated(
            &organization,
            &bill(&format!("bill-{number}"), &account, 1).of("1.01"),
        ));
    }
    scene.send_together(messages).await;
    scene.rest().await;
    scene.sandbox.metrics()
}

/// Bills that cannot be sent, a buyer whom AWS refuses, a message that nobody can read, and a day that is compared in vain.
async fn failing() -> Vec<Series> {
    let mut scene = checked().await;
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T10:45:00Z").await;
    scene.send(json!("no bill")).await;
    for number in 0..20 {
        scene
            .bill(&bill(&format!("unmapped-{number}"), "nobody", 1).of("1.01"))
            .await;
    }
    scene.sandbox.metrics()
}

/// A day whose schedule never fired, and one whose CloudTrail cannot be read.
async fn uncompared() -> Vec<Series> {
    let mut scene = checked().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-11T10:59:00Z").await;
    let to = "2025-06-11T13:45:00Z".parse().expect("an instant");
    scene.change(Change::ClockMoved { to });
    scene.sandbox.invoke_reconcile(json!({ "watch": {} })).await;
    let store = json!({ "awsMarketplaceCloudtrailStoreId": "8c3d1f4e-0000-4000-8000-123456789abc" });
    let checks = json!({ "awsMarketplaceCloudtrailChecks": true });
    scene.log_in().await;
    scene.reconfigure(and(and(per_bill(), checks), store)).await;
    scene.cloudtrail(
        json!({ "store": { "status": "STOPPED_INGESTION", "multiRegionEnabled": true, "advancedEventSelectors": [] } }),
    );
    scene.reconcile("2025-06-10").await;
    scene.sandbox.metrics()
}

/// The table is replaced by a copy of itself.
async fn restored() -> Vec<Series> {
    let mut scene = checked().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let backup = scene.back_up().await;
    scene.restore(&backup).await;
    scene.until("2025-06-10T10:45:00Z").await;
    scene.sandbox.metrics()
}

/// CloudTrail never shows the record of a receipt.
async fn unseen() -> Vec<Series> {
    let mut scene = checked().await;
    scene.switch(json!({ "identicalRepeat": "DuplicateRecord" }));
    scene.cloudtrail(json!({ "drop": 1 }));
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-11T11:05:00Z").await;
    let series = scene.sandbox.metrics();
    let reason = |series: &Series| {
        series
            .dimensions
            .get("Reason")
            .is_some_and(|reason| reason == "RECEIPT_UNSEEN_LONG")
    };
    assert!(series.iter().any(reason), "{series:?}");
    series
}

#[tokio::test]
async fn every_alarm_s_condition_comes_about_and_its_metric_says_so() {
    let mut highest: BTreeMap<String, i64> = BTreeMap::new();
    for series in [
        unanswered().await,
        throttled().await,
        failing().await,
        uncompared().await,
        restored().await,
        unseen().await,
    ] {
        for (name, value) in reached(&series) {
            let known = highest.entry(name).or_default();
            *known = value.max(*known);
        }
    }
    let thresholds = thresholds();
    assert!(thresholds.len() >= 11, "{thresholds:?}");
    for (metric, threshold) in &thresholds {
        let found = highest.get(metric).copied();
        assert!(
            found.is_some_and(|found| found >= *threshold),
            "{metric} reached {found:?}, and its alarm wants {threshold}: {highest:?}"
        );
    }
}

#[tokio::test]
async fn a_bill_that_is_metered_is_counted_and_the_gauges_say_that_nothing_waits() {
    let mut scene = checked().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T10:45:00Z").await;
    let reached = reached(&scene.sandbox.metrics());
    let expect = [
        ("BillsReceived", 1),
        ("ConfigurationsFrozen", 0),
        ("OldestPendingAge", 0),
        ("ReconciliationsOverdue", 0),
        ("TimeToReported", 0),
        ("UnitsAtRisk", 0),
        ("UnitsBlocked", 0),
        ("UnitsCarried", 0),
        ("UnitsClaimed", 10_103),
        ("UnitsClosingSoon", 0),
        ("UnitsReported", 10_103),
        ("UnitsUndecided", 0),
    ];
    let expect = expect.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(reached, BTreeMap::from(expect));
    scene.end().await;
}

#[test]
fn every_metric_is_in_the_runbook_and_the_template_and_every_alarm_leads_into_the_runbook() {
    let (runbook, template) = (read(RUNBOOK), read(TEMPLATE));
    for metric in outbill::values::metric::Metric::ALL {
        assert!(
            runbook.contains(&format!("`{}`", metric.name())),
            "{RUNBOOK} lacks {}",
            metric.name()
        );
        assert!(template.contains(metric.name()), "{TEMPLATE} lacks {}", metric.name());
    }
    let headings: Vec<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let alarms = resources("AWS::CloudWatch::Alarm");
    assert!(alarms.len() >= 18, "{:?}", alarms.keys());
    for (name, alarm) in alarms {
        let anchor = alarm
            .split("docs/operations.md#")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let anchor = anchor.unwrap_or_default().trim();
        assert!(
            headings.iter().any(|heading| heading == anchor),
            "{name} leads to {anchor:?}: {headings:?}"
        );
    }
}
