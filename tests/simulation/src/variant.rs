//! Wrong algorithms: the real code with one of its rules taken away on the wire.
//!
//! A simulation that never fails proves nothing. Each variant changes what the code says to AWS, or what AWS says to it, so that the whole
//! behaves as if the rule had not been built; the production code is the same for all of them.

use clap::ValueEnum;
use jiff::Timestamp;
use marketplace::hour_of;
use serde_json::{Map, Value, json};

use crate::network::Caller;

/// A rule that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Variant {
    /// A record goes to AWS under the hour in which it is sent, not under its entry's.
    TimestampAtSendTime,
    /// The claim is written when AWS has answered.
    SubmitBeforeClaim,
    /// A bill's units and claims are written without a look at the bill's head.
    NoGuardOnTheHead,
    /// Nothing remembers what a bill counted where.
    NoManifest,
    /// A call without an answer counts as refused.
    ReleaseWhatLooksLost,
    /// A conflict is released at once.
    ReleaseAConflict,
    /// `DuplicateRecord` counts as accepted.
    DuplicateIsSuccess,
    /// A receipt for an entry that another worker has settled is dropped.
    DropALateSuccess,
    /// Unprocessed records count as sent.
    IgnoreUnprocessed,
}

impl Variant {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Variant::TimestampAtSendTime => "timestamp at send time",
            Variant::SubmitBeforeClaim => "submit before claim",
            Variant::NoGuardOnTheHead => "no guard on the bill's head",
            Variant::NoManifest => "no manifest",
            Variant::ReleaseWhatLooksLost => "release of what looks lost",
            Variant::ReleaseAConflict => "a conflict released before it is settled",
            Variant::DuplicateIsSuccess => "`DuplicateRecord` taken for success",
            Variant::DropALateSuccess => "a Success after another worker's verdict dropped",
            Variant::IgnoreUnprocessed => "unprocessed records ignored",
        }
    }
}

/// What becomes of a request of a variant.
#[derive(Debug)]
pub enum Rewritten {
    /// It arrives, perhaps changed.
    Arrives,
    /// It is answered without arriving.
    Answered(Value),
}

/// A variant at work.
#[derive(Debug, Default)]
pub struct Rewriting {
    variant: Option<Variant>,
    /// Claims that wait for AWS's answer.
    unclaimed: Vec<(Caller, Value)>,
}

impl Rewriting {
    /// None: the code as it is.
    pub fn new(variant: Option<Variant>) -> Rewriting {
        Rewriting {
            variant,
            unclaimed: Vec::new(),
        }
    }

    /// Whether anything is rewritten.
    pub fn is_on(&self) -> bool {
        self.variant.is_some()
    }

    /// A request to the table.
    pub fn table_request(&mut self, caller: Caller, action: &str, body: &mut Value) -> Rewritten {
        match self.variant {
            Some(Variant::SubmitBeforeClaim) if actions(body).iter().any(is_claim) => {
                self.unclaimed.push((caller, body.clone()));
                return Rewritten::Answered(json!({}));
            }
            Some(Variant::NoGuardOnTheHead) => {
                keep_actions(body, |action| action.get("ConditionCheck").is_none());
                for put in list(body, "TransactItems").filter_map(|action| action.get_mut("Put")) {
                    if sort_key(put.get("Item")) == Some("MANIFEST")
                        && let Some(put) = put.as_object_mut()
                    {
                        put.retain(|name, _| {
                            !["ConditionExpression", "ExpressionAttributeValues"].contains(&name.as_str())
                        });
                    }
                }
            }
            Some(Variant::NoManifest) => {
                if action == "GetItem" && sort_key(body.get("Key")) == Some("MANIFEST") {
                    return Rewritten::Answered(json!({}));
                }
                if action == "BatchGetItem" && body.to_string().contains("\"MANIFEST\"") {
                    return Rewritten::Answered(json!({ "Responses": {} }));
                }
                keep_actions(body, |action| {
                    action.get("ConditionCheck").is_none() && sort_key(put(action)) != Some("MANIFEST")
                });
                if action == "TransactWriteItems" && actions(body).is_empty() {
                    return Rewritten::Answered(json!({}));
                }
            }
            Some(Variant::DropALateSuccess) if actions(body).iter().any(is_late_success) => {
                return Rewritten::Answered(json!({}));
            }
            _ => {}
        }
        Rewritten::Arrives
    }

    /// A metering request, before it arrives.
    pub fn metering_request(&self, now: Timestamp, body: &mut Value) {
        if self.variant == Some(Variant::TimestampAtSendTime) {
            for record in list(body, "UsageRecords") {
                record["Timestamp"] = json!(hour_of(now).as_second());
            }
        }
    }

    /// The claims that may be written now that AWS has answered.
    pub fn claims_after(&mut self, caller: Caller) -> Vec<Value> {
        let (own, others) = std::mem::take(&mut self.unclaimed)
            .into_iter()
            .partition(|(whose, _)| *whose == caller);
        self.unclaimed = others;
        Vec::from_iter(own)
            .into_iter()
            .map(|(_, body): (Caller, Value)| body)
            .collect()
    }

    /// AWS's answer to a metering request, as the code reads it: status and body. `sent` is the request as the code made it.
    pub fn metering_answer(&self, sent: &Value, status: u16, mut body: Value) -> (u16, Value) {
        match self.variant {
            Some(Variant::TimestampAtSendTime) => {
                let mut sent = sent.clone();
                let sent: Vec<Value> = list(&mut sent, "UsageRecords").map(|record| record.clone()).collect();
                for result in list(&mut body, "Results") {
                    restore(&mut result["UsageRecord"], &sent);
                }
                for record in list(&mut body, "UnprocessedRecords") {
                    restore(record, &sent);
                }
                (status, body)
            }
            Some(Variant::ReleaseAConflict) if list(&mut body, "Results").any(|result| is_duplicate(result)) => (
                400,
                json!({ "__type": "TimestampOutOfBoundsException", "message": "rewritten" }),
            ),
            Some(Variant::DuplicateIsSuccess) => {
                for result in list(&mut body, "Results").filter(|result| is_duplicate(result)) {
                    result["Status"] = json!("Success");
                    result["MeteringRecordId"] = json!("rewritten");
                }
                (status, body)
            }
            Some(Variant::IgnoreUnprocessed) => {
                let left: Vec<Value> = list(&mut body, "UnprocessedRecords")
                    .map(|record| record.clone())
                    .collect();
                let sent = left.into_iter().map(
                    |record| json!({ "UsageRecord": record, "Status": "Success", "MeteringRecordId": "rewritten" }),
                );
                if let Some(Value::Array(results)) = body.get_mut("Results") {
                    results.extend(sent);
                    body["UnprocessedRecords"] = json!([]);
                }
                (status, body)
            }
            _ => (status, body),
        }
    }

    /// What the code is told where an answer is lost; none: that it is lost.
    pub fn lost_answer(&self) -> Option<Value> {
        (self.variant == Some(Variant::ReleaseWhatLooksLost))
            .then(|| json!({ "__type": "TimestampOutOfBoundsException", "message": "rewritten" }))
    }
}

fn is_duplicate(result: &Value) -> bool {
    result.get("Status").and_then(Value::as_str) == Some("DuplicateRecord")
}

fn restore(record: &mut Value, sent: &[Value]) {
    let same = |other: &&Value| {
        ["Dimension", "CustomerAWSAccountId", "LicenseArn"]
            .iter()
            .all(|name| other.get(*name) == record.get(*name))
    };
    if let Some(original) = sent.iter().find(same) {
        *record = original.clone();
    }
}

fn list<'a>(body: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    body.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

fn actions(body: &Value) -> &[Value] {
    body.get("TransactItems")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn keep_actions(body: &mut Value, keep: impl Fn(&Value) -> bool) {
    if let Some(actions) = body.get_mut("TransactItems").and_then(Value::as_array_mut) {
        actions.retain(|action| keep(action));
    }
}

fn put(action: &Value) -> Option<&Value> {
    action.get("Put").and_then(|put| put.get("Item"))
}

fn sort_key(row: Option<&Value>) -> Option<&str> {
    row.and_then(|row| row.get("SK"))
        .and_then(|sk| sk.get("S"))
        .and_then(Value::as_str)
}

fn is_claim(action: &Value) -> bool {
    sort_key(put(action)).is_some_and(|sk| sk.starts_with("HOUR#"))
}

fn is_late_success(action: &Value) -> bool {
    let none = Map::new();
    let values = action
        .get("Update")
        .and_then(|update| update.get("ExpressionAttributeValues"))
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let value = |name: &str| {
        values
            .get(name)
            .and_then(|value| value.get("S"))
            .and_then(Value::as_str)
    };
    value(":state") == Some("ACCEPTED") && value(":known").is_some_and(|known| known != "PENDING")
}
