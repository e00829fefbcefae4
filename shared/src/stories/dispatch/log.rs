//! What a run keeps of how it went: the configuration of that moment, the message as it came, and what was said to AWS and by it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::decisions::conclusion::{EntryOutcome, Outcome};
use crate::effects::destinations::aws_marketplace::Exchange;
use crate::effects::table::StoreError;
use crate::values::configuration::IntegrationConfiguration;

#[derive(Serialize)]
struct Log<'a> {
    at: Timestamp,
    configuration: Value,
    input: &'a RawValue,
    outcome: String,
    keys: Vec<Value>,
    exchanges: Vec<Exchange>,
}

/// The first document of a run's log, as JSON. `input` is JSON.
pub(super) fn of_run(
    now: Timestamp,
    configuration: &IntegrationConfiguration,
    input: &str,
    outcome: &Outcome,
    exchanges: Vec<Exchange>,
) -> Result<String, StoreError> {
    let unwritable = |error| StoreError::other("writing a run's log", error);
    let log = Log {
        at: now,
        configuration: configuration_log(configuration),
        input: serde_json::from_str(input).map_err(unwritable)?,
        outcome: outcome.to_string(),
        keys: keys_log(outcome),
        exchanges,
    };
    serde_json::to_string(&log).map_err(unwritable)
}

pub(super) fn keys_log(outcome: &Outcome) -> Vec<Value> {
    let (Outcome::Metered(keys) | Outcome::EqualButOther(keys)) = outcome else {
        return Vec::new();
    };
    let entry = |entry: &EntryOutcome| {
        let mut told =
            json!({ "hour": entry.hour, "quantity": entry.quantity, "state": entry.state, "reason": entry.reason });
        if let (Some(blocked), Some(told)) = (&entry.blocked, told.as_object_mut()) {
            told.insert("blocked".to_owned(), json!(blocked));
            told.insert("triedAgain".to_owned(), json!(entry.tried_again));
        }
        told
    };
    keys.iter()
        .map(|key| json!({ "dimension": key.dimension, "claim": key.claim.to_string(), "reason": key.claim, "entries": key.entries.iter().map(entry).collect::<Vec<_>>() }))
        .collect()
}

fn configuration_log(configuration: &IntegrationConfiguration) -> Value {
    json!({
        "id": configuration.id,
        "version": configuration.version,
        "name": configuration.name,
        "entityType": configuration.entity_type,
        "destination": configuration.destination.name(),
        "integrationCredentialsId": configuration.credential,
        "enabled": configuration.enabled,
        "configData": configuration.config_data,
    })
}
