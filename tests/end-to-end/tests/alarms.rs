//! Every alarm of the template: its condition comes about, and its metric crosses the threshold. Whether a function fails is what Lambda
//! counts of real programs: `runtime.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use end_to_end::{ACME, ACME_AWS_ACCOUNT, GLOBEX, GLOBEX_AWS_ACCOUNT, Scene, and, bill, message, per_bill};
use jiff::{SignedDuration, Timestamp};
use sandbox::queues::{Message, QueueName};
use sandbox::{Change, FaultKind, Options, Sandbox, metrics::Series};
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

/// What an alarm looks at: a namespace and a metric.
type Watched = (String, String);

fn watched(namespace: &str, metric: &str) -> Watched {
    (namespace.to_owned(), metric.to_owned())
}

/// The metrics whose height alarms look at, each with its threshold. Without those on a function's errors.
fn thresholds() -> BTreeMap<Watched, i64> {
    let alarms = resources("AWS::CloudWatch::Alarm").into_values();
    let alarms = alarms.filter(|alarm| field(alarm, "ComparisonOperator") != Some("LessThanThreshold"));
    let one = |alarm: String| {
        let watched = watched(
            field(&alarm, "Namespace")?,
            field(&alarm, "MetricName").expect("a metric"),
        );
        let threshold = field(&alarm, "Threshold").expect("a threshold");
        Some((watched, threshold.parse().expect("a number")))
    };
    let errors = watched("AWS/Lambda", "Errors");
    alarms
        .filter_map(one)
        .filter(|(watched, _)| *watched != errors)
        .collect()
}

/// The largest value of each metric, and the largest sum of one instant, whichever an alarm looks at.
fn reached(series: &[Series]) -> BTreeMap<Watched, i64> {
    let mut reached: BTreeMap<Watched, i64> = BTreeMap::new();
    for series in series.iter().filter(|series| series.dimensions.len() == 1) {
        let mut sums: BTreeMap<_, i64> = BTreeMap::new();
        for (at, value) in &series.values {
            *sums.entry(*at).or_default() += value;
        }
        let most = sums.into_values().max().unwrap_or_default();
        let known = reached.entry(watched(&series.namespace, &series.name)).or_default();
        *known = most.max(*known);
    }
    reached
}

/// Nobody answers for a day.
async fn unanswered() -> Vec<Series> {
    let mut scene = Scene::checked().await;
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
    let mut scene = Scene::checked().await;
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
    let mut scene = Scene::checked().await;
    scene.subscribed(ACME_AWS_ACCOUNT, false);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    // The first refusal may be the hour's.
    scene.until("2025-06-10T11:45:00Z").await;
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
    let mut scene = Scene::checked().await;
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
    let mut scene = Scene::checked().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let backup = scene.back_up().await;
    scene.restore(&backup).await;
    scene.until("2025-06-10T10:45:00Z").await;
    scene.sandbox.metrics()
}

/// CloudTrail never shows the record of a receipt.
async fn unseen() -> Vec<Series> {
    let mut scene = Scene::checked().await;
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

/// Nobody takes bills off the queue.
async fn stalled() -> Vec<Series> {
    let options = Options {
        workers: 0,
        ..Options::for_tests()
    };
    let sandbox = Sandbox::start(options, sandbox::functions::build)
        .await
        .expect("a sandbox");
    let now = sandbox.clock().now();
    let sent = Change::MessageSent {
        queue: QueueName::Bills,
        message: Message::new(json!({ "flush": true }).to_string(), BTreeMap::new(), now),
    };
    sandbox.change(sent).expect("a message");
    let to = now + SignedDuration::from_mins(31);
    sandbox.change(Change::ClockMoved { to }).expect("a clock");
    sandbox.metrics()
}

/// The API may not read its table.
async fn unanswering() -> Vec<Series> {
    let scene = Scene::checked().await;
    let fault = json!([{ "service": "dynamodb", "kind": "access-denied", "times": 1_000 }]);
    let faults = serde_json::from_value(fault).expect("a fault");
    scene.sandbox.faults(faults).expect("a fault that there is");
    for _ in 0..5 {
        Scene::assert_refused(scene.seller.get("integrationconfigs").await, 502, &[]);
    }
    scene.sandbox.metrics()
}

#[tokio::test]
async fn every_alarm_s_condition_comes_about_and_its_metric_says_so() {
    let mut highest: BTreeMap<Watched, i64> = BTreeMap::new();
    for series in [
        unanswered().await,
        throttled().await,
        failing().await,
        uncompared().await,
        restored().await,
        unseen().await,
        stalled().await,
        unanswering().await,
    ] {
        for (name, value) in reached(&series) {
            let known = highest.entry(name).or_default();
            *known = value.max(*known);
        }
    }
    let thresholds = thresholds();
    assert!(thresholds.len() >= 14, "{thresholds:?}");
    for (metric, threshold) in &thresholds {
        let found = highest.get(metric).copied();
        assert!(
            found.is_some_and(|found| found >= *threshold),
            "{metric:?} reached {found:?}, and its alarm wants {threshold}: {highest:?}"
        );
    }
}

#[tokio::test]
async fn when_nobody_looks_the_gauges_have_no_samples() {
    let mut scene = Scene::checked().await;
    scene.until("2025-06-10T13:02:00Z").await;
    let hours = |series: &[Series]| {
        let gauge = series.iter().find(|series| series.name == "UnitsAtRisk");
        let samples = gauge.map_or(&[][..], |series| &series.values);
        ["11", "12", "13", "14", "15"].map(|hour| {
            let of_the_hour = |at: &Timestamp| at.to_string().starts_with(&format!("2025-06-10T{hour}:"));
            samples.iter().filter(|(at, _)| of_the_hour(at)).count()
        })
    };
    // The schedules do not fire when the clock is set, as when they are switched off.
    let to = "2025-06-10T16:02:00Z".parse().expect("an instant");
    scene.change(Change::ClockMoved { to });
    assert_eq!(hours(&scene.sandbox.metrics()), [1, 1, 0, 0, 0]);
    let alarm = &resources("AWS::CloudWatch::Alarm")["NobodyLooksAlarm"];
    for (name, value) in [
        ("MetricName", "UnitsAtRisk"),
        ("Statistic", "SampleCount"),
        ("Period", "3600"),
        ("EvaluationPeriods", "3"),
        ("TreatMissingData", "breaching"),
    ] {
        assert_eq!(field(alarm, name), Some(value), "{name}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_configuration_that_is_disabled_is_told_of_at_once_and_every_hour_until_it_is_enabled() {
    let mut scene = Scene::checked().await;
    for number in 0..20 {
        scene
            .bill(&bill(&format!("unmapped-{number}"), GLOBEX, 1).of("1.01"))
            .await;
    }
    scene.until("2025-06-10T12:45:00Z").await;
    scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
    scene.enable().await;
    scene.until("2025-06-10T13:45:00Z").await;
    let series = scene.sandbox.metrics();
    let disabled = series.iter().find(|series| series.name == "ConfigurationsDisabled");
    let samples = disabled.map_or(&[][..], |series| &series.values);
    let told = samples.iter().map(|(at, count)| (at.to_string(), *count));
    let told: Vec<(String, i64)> = told.collect();
    let expect = [
        ("2025-06-10T10:02:00Z", 1),
        ("2025-06-10T10:40:00Z", 1),
        ("2025-06-10T11:40:00Z", 1),
        ("2025-06-10T12:40:00Z", 1),
        ("2025-06-10T13:40:00Z", 0),
    ];
    assert_eq!(told, expect.map(|(at, count)| (at.to_owned(), count)));
    let alarm = &resources("AWS::CloudWatch::Alarm")["ConfigurationDisabledAlarm"];
    assert_eq!(
        field(alarm, "Statistic"),
        Some("Maximum"),
        "one count must not be added to the other"
    );
    scene.end().await;
}

#[test]
fn an_alarm_on_a_count_does_not_say_that_it_is_over() {
    for (name, alarm) in resources("AWS::CloudWatch::Alarm") {
        let counts = field(&alarm, "Statistic").or(field(&alarm, "Stat")) == Some("Sum");
        // The reconcile function runs every minute: an hour without an error says that it is well.
        let expect = !counts || name == "ReconcileErrorsAlarm";
        assert_eq!(field(&alarm, "OKActions").is_some(), expect, "{name}");
    }
}

#[tokio::test]
async fn a_bill_that_is_metered_is_counted_and_the_gauges_say_that_nothing_waits() {
    let mut scene = Scene::checked().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T10:45:00Z").await;
    let mut reached = reached(&scene.sandbox.metrics());
    reached.retain(|(namespace, _), _| namespace == "Outbill");
    let expect = [
        ("BillsReceived", 1),
        ("ConfigurationsDisabled", 0),
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
    let expect = expect.map(|(name, value)| (watched("Outbill", name), value));
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
