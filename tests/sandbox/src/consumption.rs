//! What DynamoDB consumed, as its engine says it: read and write request units by action.
//!
//! Switched on, every request asks for `ReturnConsumedCapacity`, and the answer is read on its way back. An answer that refuses a condition says no
//! number, although AWS charges for it: then a unit for each item that would have been written is taken, two in a transaction, which is the least
//! that AWS takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::{Value, json};

/// What one action consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumed {
    /// Requests, those that were refused among them.
    pub requests: u64,
    /// Requests whose condition did not hold.
    pub refused: u64,
    /// Read request units: 4 KB strongly consistent, 8 KB otherwise.
    pub read_units: Decimal,
    /// Write request units: 1 KB; half of it in a transaction.
    pub write_units: Decimal,
}

/// Consumption by action.
pub type ByAction = BTreeMap<String, Consumed>;

/// Counts while it is switched on.
#[derive(Debug, Default)]
pub struct Consumption {
    is_on: AtomicBool,
    by_action: Mutex<ByAction>,
}

impl Consumption {
    /// Begins to count.
    pub fn switch_on(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Whether it counts.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// The counts so far.
    pub fn by_action(&self) -> ByAction {
        self.by_action.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins again at zero.
    pub fn clear(&self) {
        self.by_action.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Reads what an answer says.
    pub fn note(&self, action: &str, request: &[u8], is_success: bool, answer: &[u8]) {
        let read = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap_or_default();
        let answer = read(answer);
        let mut all = self.by_action.lock().unwrap_or_else(PoisonError::into_inner);
        let consumed = all.entry(action.to_owned()).or_default();
        consumed.requests += 1;
        if is_success {
            for capacity in each(answer.get("ConsumedCapacity")) {
                let units = |name: &str| decimal(capacity.get(name));
                match (
                    units("ReadCapacityUnits"),
                    units("WriteCapacityUnits"),
                    units("CapacityUnits"),
                ) {
                    (None, None, Some(all)) if is_read(action) => consumed.read_units += all,
                    (None, None, Some(all)) => consumed.write_units += all,
                    (reads, writes, _) => {
                        consumed.read_units += reads.unwrap_or_default();
                        consumed.write_units += writes.unwrap_or_default();
                    }
                }
            }
            return;
        }
        let kind = answer.get("__type").and_then(Value::as_str).unwrap_or_default();
        let least = match kind.rsplit('#').next() {
            Some("ConditionalCheckFailedException") => 1,
            Some("TransactionCanceledException") => {
                let items = read(request)
                    .get("TransactItems")
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len);
                2 * items
            }
            _ => return,
        };
        consumed.refused += 1;
        consumed.write_units += Decimal::from(least);
    }
}

/// The same request, asking for what it consumes.
pub fn asking(body: &Bytes) -> Bytes {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut fields)) => {
            fields.insert("ReturnConsumedCapacity".to_owned(), json!("TOTAL"));
            Value::Object(fields).to_string().into()
        }
        _ => body.clone(),
    }
}

/// Whether an action is one on items; others take no `ReturnConsumedCapacity` and cost nothing.
pub fn is_on_items(action: &str) -> bool {
    is_read(action)
        || matches!(
            action,
            "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems"
        )
}

fn is_read(action: &str) -> bool {
    matches!(
        action,
        "GetItem" | "BatchGetItem" | "Query" | "Scan" | "TransactGetItems"
    )
}

fn each(capacity: Option<&Value>) -> Vec<&Value> {
    match capacity {
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

fn decimal(value: Option<&Value>) -> Option<Decimal> {
    value?.as_number()?.to_string().parse().ok()
}
