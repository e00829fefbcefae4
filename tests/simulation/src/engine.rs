//! DynamoDB: the embedded engine, asked without a network between.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use dynoxide::Database;
use dynoxide::actions::query::QueryRequest;
use dynoxide::actions::scan::ScanRequest;
use dynoxide::types::AttributeValue as Stored;
use outbill::effects::table::PK;
use serde_json::{Value, json};

use crate::TABLE;

/// A row as the SDK gives it.
pub type Item = HashMap<String, AttributeValue>;

/// The engine with its one table.
pub struct Engine {
    database: Database,
}

/// Answers one operation: its request type from the JSON, its method, its answer as JSON.
macro_rules! operation {
    ($database:expr, $method:ident, $body:expr) => {
        serde_json::from_slice($body)
            .map_err(|error| (400, error_body("SerializationException", &error.to_string())))
            .and_then(|request| {
                $database
                    .$method(request)
                    .map_err(|error| (error.status_code(), error.to_json().into_bytes()))
            })
            .and_then(|answer| {
                serde_json::to_vec(&answer)
                    .map_err(|error| (500, error_body("InternalServerError", &error.to_string())))
            })
    };
}

impl Engine {
    /// An empty engine.
    pub fn new() -> anyhow::Result<Engine> {
        Ok(Engine {
            database: Database::memory()?,
        })
    }

    /// Answers a request: HTTP status and body.
    pub fn answer(&self, action: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let database = &self.database;
        let answered: Result<Vec<u8>, (u16, Vec<u8>)> = match action {
            "CreateTable" => operation!(database, create_table, body),
            "DescribeTable" => operation!(database, describe_table, body).map(named),
            "GetItem" => operation!(database, get_item, body),
            "PutItem" => operation!(database, put_item, body),
            "UpdateItem" => operation!(database, update_item, body),
            "DeleteItem" => operation!(database, delete_item, body),
            "Query" => operation!(database, query, body),
            "BatchWriteItem" => operation!(database, batch_write_item, body),
            "BatchGetItem" => operation!(database, batch_get_item, body),
            "TransactWriteItems" => operation!(database, transact_write_items, body),
            other => Err((400, error_body("UnknownOperationException", other))),
        };
        match answered {
            Ok(body) => (200, body),
            Err(refused) => refused,
        }
    }

    /// All rows of a partition.
    pub fn partition(&self, pk: &str) -> anyhow::Result<Vec<Item>> {
        let request: QueryRequest = serde_json::from_value(json!({
            "TableName": TABLE, "ConsistentRead": true, "KeyConditionExpression": format!("{PK} = :pk"),
            "ExpressionAttributeValues": { ":pk": { "S": pk } },
        }))?;
        let found = self.database.query(request)?;
        anyhow::ensure!(
            found.last_evaluated_key.is_none(),
            "the partition {pk} outgrew one page"
        );
        found.items.unwrap_or_default().into_iter().map(item).collect()
    }

    /// Every row.
    pub fn rows(&self) -> anyhow::Result<Vec<Item>> {
        let mut rows = Vec::new();
        let mut start = Value::Null;
        loop {
            let mut request = json!({ "TableName": TABLE });
            if !start.is_null() {
                request["ExclusiveStartKey"] = start;
            }
            let request: ScanRequest = serde_json::from_value(request)?;
            let found = self.database.scan(request)?;
            for row in found.items.unwrap_or_default() {
                rows.push(item(row)?);
            }
            match found.last_evaluated_key {
                Some(last) => start = serde_json::to_value(last)?,
                None => return Ok(rows),
            }
        }
    }
}

/// The engine names tables by chance, and the same seed is the same history.
fn named(described: Vec<u8>) -> Vec<u8> {
    let Ok(mut described) = serde_json::from_slice::<Value>(&described) else {
        return described;
    };
    if let Some(id) = described.pointer_mut("/Table/TableId") {
        *id = json!("00000000-0000-4000-8000-000000000001");
    }
    described.to_string().into_bytes()
}

fn error_body(kind: &str, message: &str) -> Vec<u8> {
    json!({ "__type": kind, "message": message }).to_string().into_bytes()
}

fn item(row: dynoxide::Item) -> anyhow::Result<Item> {
    row.into_iter()
        .map(|(name, value)| Ok((name, attribute(value)?)))
        .collect()
}

fn attribute(value: Stored) -> anyhow::Result<AttributeValue> {
    Ok(match value {
        Stored::S(text) => AttributeValue::S(text),
        Stored::N(text) => AttributeValue::N(text),
        Stored::BOOL(value) => AttributeValue::Bool(value),
        Stored::NULL(value) => AttributeValue::Null(value),
        Stored::SS(texts) => AttributeValue::Ss(texts),
        Stored::L(values) => AttributeValue::L(values.into_iter().map(attribute).collect::<anyhow::Result<_>>()?),
        Stored::M(values) => AttributeValue::M(item(values)?),
        Stored::NS(_) | Stored::B(_) | Stored::BS(_) => anyhow::bail!("Outbill writes no attribute of this kind"),
    })
}
