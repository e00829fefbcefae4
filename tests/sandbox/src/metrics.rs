//! What CloudWatch knows: lines in embedded metric format, and what AWS's services measure of themselves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

//= https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
//# at most 100 metrics a directive, 100 values a metric, 30 keys a dimension set
const METRICS_MAX: usize = 100;
const VALUES_MAX: usize = 100;
const KEYS_MAX: usize = 30;

/// Dimensions, by name.
pub type Dimensions = BTreeMap<String, String>;

/// One metric with one set of dimensions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    pub namespace: String,
    pub name: String,
    pub dimensions: Dimensions,
    pub unit: String,
    /// Each value with its instant, in the order in which they came.
    pub values: Vec<(Timestamp, i64)>,
}

/// The metrics of an account.
#[derive(Debug, Default)]
pub struct CloudWatch {
    series: Mutex<BTreeMap<(String, String, Dimensions), Series>>,
    lines: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Metadata {
    timestamp: i64,
    cloud_watch_metrics: Vec<Directive>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Directive {
    namespace: String,
    dimensions: Vec<Vec<String>>,
    metrics: Vec<Definition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Definition {
    name: String,
    unit: String,
}

impl CloudWatch {
    /// Takes a line of a log; one that is no metric is passed over. Errors: what CloudWatch would not take, which it drops without a word.
    pub fn read(&self, line: &str) -> Result<(), String> {
        self.lines.fetch_add(1, Ordering::Relaxed);
        // Its end is a byte of the log as well.
        self.bytes.fetch_add(line.len() as u64 + 1, Ordering::Relaxed);
        let told = |what: &str| format!("{what}: {line}");
        let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
            return Ok(());
        };
        let Some(metadata) = fields.remove("_aws") else {
            return Ok(());
        };
        let metadata: Metadata = serde_json::from_value(metadata).map_err(|error| told(&error.to_string()))?;
        let at = Timestamp::from_millisecond(metadata.timestamp).map_err(|error| told(&error.to_string()))?;
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for directive in &metadata.cloud_watch_metrics {
            if directive.namespace.is_empty() || directive.metrics.len() > METRICS_MAX {
                return Err(told("no namespace, or too many metrics"));
            }
            for keys in &directive.dimensions {
                let dimensions = dimensions(keys, &fields).map_err(|error| told(&error))?;
                for definition in &directive.metrics {
                    let values = values(fields.get(&definition.name)).map_err(|error| told(&error))?;
                    let name = (directive.namespace.clone(), definition.name.clone(), dimensions.clone());
                    let series = series.entry(name).or_insert_with(|| Series {
                        namespace: directive.namespace.clone(),
                        name: definition.name.clone(),
                        dimensions: dimensions.clone(),
                        unit: definition.unit.clone(),
                        values: Vec::new(),
                    });
                    series.values.extend(values.into_iter().map(|value| (at, value)));
                }
            }
        }
        Ok(())
    }

    /// Takes a value that a service of AWS measured, in the namespace of that service.
    pub fn put(&self, namespace: &str, name: &str, dimension: (&str, &str), at: Timestamp, value: i64) {
        let dimensions = Dimensions::from([(dimension.0.to_owned(), dimension.1.to_owned())]);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned(), dimensions.clone());
        let series = series.entry(key).or_insert_with(|| Series {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions,
            unit: "Count".to_owned(),
            values: Vec::new(),
        });
        series.values.push((at, value));
    }

    /// Lines that were read, and their bytes.
    pub fn logged(&self) -> (u64, u64) {
        (self.lines.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// How many metrics AWS charges for: those that its own services do not measure.
    pub fn custom(&self) -> usize {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series
            .keys()
            .filter(|(namespace, ..)| !namespace.starts_with("AWS/"))
            .count()
    }

    /// All that was sent.
    pub fn series(&self) -> Vec<Series> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.values().cloned().collect()
    }
}

fn dimensions(keys: &[String], fields: &serde_json::Map<String, Value>) -> Result<Dimensions, String> {
    if keys.len() > KEYS_MAX {
        return Err("too many dimensions".to_owned());
    }
    let dimension = |key: &String| {
        let value = fields
            .get(key)
            .and_then(Value::as_str)
            .filter(|value| !value.is_empty());
        value
            .map(|value| (key.clone(), value.to_owned()))
            .ok_or_else(|| format!("dimension {key} has no text"))
    };
    keys.iter().map(dimension).collect()
}

fn values(value: Option<&Value>) -> Result<Vec<i64>, String> {
    let number = |value: &Value| value.as_i64().ok_or_else(|| format!("{value} is no number"));
    match value {
        Some(Value::Array(values)) if values.len() > VALUES_MAX => Err("too many values".to_owned()),
        Some(Value::Array(values)) => values.iter().map(number).collect(),
        Some(value) => Ok(vec![number(value)?]),
        None => Err("a metric has no value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_point_of_each_set_of_dimensions_and_a_bad_one_is_told() {
        let cloudwatch = CloudWatch::default();
        let line = |dimensions: &str, rest: &str| {
            format!(
                r#"{{"_aws":{{"Timestamp":1749549600000,"CloudWatchMetrics":[{{"Namespace":"N","Dimensions":{dimensions},"Metrics":[{{"Name":"M","Unit":"Count"}}]}}]}},"A":"a"{rest}}}"#
            )
        };
        cloudwatch.read("START RequestId: 1").unwrap();
        cloudwatch.read(r#"{"level":"INFO"}"#).unwrap();
        cloudwatch
            .read(&line(r#"[["A"],["A","B"]]"#, r#","B":"b","M":[3,5]"#))
            .unwrap();
        cloudwatch.read(&line(r#"[["A"]]"#, r#","M":7"#)).unwrap();
        let found: Vec<(usize, Vec<i64>)> = cloudwatch
            .series()
            .iter()
            .map(|series| {
                let values = series.values.iter().map(|(_, value)| *value);
                (series.dimensions.len(), values.collect())
            })
            .collect();
        assert_eq!(found, [(1, vec![3, 5, 7]), (2, vec![3, 5])]);
        for bad in [
            line(r#"[["B"]]"#, r#","M":7"#),
            line(r#"[["A"]]"#, ""),
            line(r#"[["A"]]"#, r#","M":"7""#),
            line("[]", r#","M":7"#).replace("\"N\"", "7"),
        ] {
            assert!(cloudwatch.read(&bad).is_err(), "{bad}");
        }
    }
}
