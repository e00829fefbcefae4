//! Metrics in CloudWatch's embedded metric format: lines of JSON in a function's log, from which CloudWatch makes metrics by itself. No call is
//! made and no permission needed.
//!
//! Every metric has the dimension `Deployment`, the prefix of the deployment's secrets; one that is split has `Reason` besides, and is there
//! without it as well, so that an alarm can look at all of them.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::values::metric::{Measured, Metric};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Outbill";
//= https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
//# target value is an array of numeric values; a maximum of 100
const VALUES_PER_LINE_MAX: usize = 100;

/// Where the lines of a function go.
pub type Output = Arc<dyn Fn(&str) + Send + Sync>;

/// Writes metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    deployment: Arc<str>,
    output: Output,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("deployment", &self.deployment)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// Of a deployment, to `output`.
    pub fn new(deployment: &str, output: Output) -> Metrics {
        Metrics {
            deployment: deployment.into(),
            output,
        }
    }

    /// To the function's log.
    pub fn to_stdout(deployment: &str) -> Metrics {
        Metrics::new(
            deployment,
            Arc::new(|line| {
                // A log that cannot be written is nothing that an invocation could mend.
                let _ = writeln!(std::io::stdout().lock(), "{line}");
            }),
        )
    }

    /// Writes what was measured at `now`: nothing if that is nothing.
    pub fn emit(&self, measured: &Measured, now: Timestamp) {
        for (reason, metrics) in measured.by_reason() {
            let lines = metrics
                .values()
                .map(|values| values.len().div_ceil(VALUES_PER_LINE_MAX))
                .max();
            for number in 0..lines.unwrap_or_default() {
                let part = metrics.iter().filter_map(|(metric, values)| {
                    let values = values.chunks(VALUES_PER_LINE_MAX).nth(number)?;
                    Some((*metric, values))
                });
                (self.output)(&self.line(reason, part, now).to_string());
            }
        }
    }

    fn line<'a>(
        &self,
        reason: Option<&str>,
        metrics: impl Iterator<Item = (Metric, &'a [i64])>,
        now: Timestamp,
    ) -> Value {
        let (mut definitions, mut line) = (Vec::new(), Map::new());
        for (metric, values) in metrics {
            definitions.push(json!({ "Name": metric.name(), "Unit": metric.unit().name() }));
            let value = match values {
                [one] => json!(one),
                many => json!(many),
            };
            line.insert(metric.name().to_owned(), value);
        }
        let mut dimensions = vec![vec!["Deployment"]];
        line.insert("Deployment".to_owned(), json!(&*self.deployment));
        if let Some(reason) = reason {
            dimensions.push(vec!["Deployment", "Reason"]);
            line.insert("Reason".to_owned(), json!(reason));
        }
        let directive = json!({ "Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": definitions });
        let metadata = json!({ "Timestamp": now.as_millisecond(), "CloudWatchMetrics": [directive] });
        line.insert("_aws".to_owned(), metadata);
        Value::Object(line)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn lines(measured: &Measured) -> Vec<Value> {
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&lines);
        let output = move |line: &str| kept.lock().unwrap().push(serde_json::from_str(line).unwrap());
        let now = "2025-06-10T10:00:00Z".parse().unwrap();
        Metrics::new("outbill/", Arc::new(output)).emit(measured, now);
        let found = lines.lock().unwrap();
        found.clone()
    }

    #[test]
    fn a_line_is_what_cloudwatch_reads() {
        let mut measured = Measured::default();
        assert_eq!(lines(&measured), Vec::<Value>::new());
        measured.add(Metric::BillsReceived, 2);
        measured.add(Metric::BillsReceived, 3);
        measured.add(Metric::UnitsAtRisk, 0);
        measured.add_for(Metric::BillsSkipped, "DISABLED", 1);
        assert_eq!(
            lines(&measured),
            [
                json!({
                    "_aws": { "Timestamp": 1_749_549_600_000_i64, "CloudWatchMetrics": [{
                        "Namespace": "Outbill", "Dimensions": [["Deployment"]],
                        "Metrics": [{ "Name": "BillsReceived", "Unit": "Count" }, { "Name": "UnitsAtRisk", "Unit": "Count" }],
                    }] },
                    "Deployment": "outbill/", "BillsReceived": 5, "UnitsAtRisk": 0,
                }),
                json!({
                    "_aws": { "Timestamp": 1_749_549_600_000_i64, "CloudWatchMetrics": [{
                        "Namespace": "Outbill", "Dimensions": [["Deployment"], ["Deployment", "Reason"]],
                        "Metrics": [{ "Name": "BillsSkipped", "Unit": "Count" }],
                    }] },
                    "Deployment": "outbill/", "Reason": "DISABLED", "BillsSkipped": 1,
                }),
            ]
        );
    }

    #[test]
    fn more_values_than_one_line_takes_go_into_several() {
        let mut measured = Measured::default();
        measured.add(Metric::BillsReceived, 1);
        (0..201).for_each(|second| measured.sample(Metric::TimeToReported, second));
        let lines = lines(&measured);
        let count = |line: &Value| line["TimeToReported"].as_array().map_or(1, Vec::len);
        assert_eq!(lines.iter().map(count).collect::<Vec<_>>(), [100, 100, 1]);
        let received = lines.iter().filter(|line| line.get("BillsReceived").is_some());
        assert_eq!(received.count(), 1);
    }
}
