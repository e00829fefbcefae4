//! CloudTrail Lake: as much of its SQL as a question about events needs, restated from AWS's documents.
//!
//! `SELECT` of event fields and `element_at(map, 'key')`, `FROM` one store, `WHERE` conditions joined by `AND`. All else is refused, as AWS
//! refuses a statement that it cannot read.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::error::MeteringError;
use crate::trail::{EVENT_NAME, EVENT_SOURCE, Trail, TrailEvent};

//= https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_StartQuery.html
//# QueryStatement: length 1 to 10000
const STATEMENT_CHARACTERS_MAX: usize = 10_000;

/// A statement that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    columns: Vec<Column>,
    /// The event data store.
    pub store: String,
    region: Option<String>,
    account: Option<String>,
    fields: Vec<(String, String)>,
    from: Timestamp,
    until: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    name: String,
    field: String,
    key: Option<String>,
}

impl Query {
    /// Reads a statement.
    pub fn parse(statement: &str) -> Result<Query, MeteringError> {
        let bad = |why: &str| MeteringError::refused("InvalidQueryStatementException", why.to_owned());
        if statement.is_empty() || statement.chars().count() > STATEMENT_CHARACTERS_MAX {
            return Err(bad("the statement has 1 to 10000 characters"));
        }
        let flat = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let body = flat
            .strip_prefix("SELECT ")
            .ok_or_else(|| bad("it begins with SELECT"))?;
        let (columns, body) = body.split_once(" FROM ").ok_or_else(|| bad("FROM is missing"))?;
        let (store, conditions) = body.split_once(" WHERE ").ok_or_else(|| bad("WHERE is missing"))?;
        let columns = split_outside_parentheses(columns)
            .iter()
            .map(|column| read_column(column))
            .collect::<Option<_>>();
        let mut query = Query {
            columns: columns.ok_or_else(|| bad("a column cannot be read"))?,
            store: store.trim().to_owned(),
            region: None,
            account: None,
            fields: Vec::new(),
            from: Timestamp::MIN,
            until: Timestamp::MAX,
        };
        if query.store.is_empty()
            || query
                .store
                .contains(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
        {
            return Err(bad("FROM names one event data store by its id"));
        }
        for condition in conditions.split(" AND ") {
            query.add(condition).ok_or_else(|| bad("a condition cannot be read"))?;
        }
        Ok(query)
    }

    fn add(&mut self, condition: &str) -> Option<()> {
        let literal = |text: &str| -> Option<String> {
            let inner = text.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (!inner.contains('\'')).then(|| inner.to_owned())
        };
        let instant = |text: &str| -> Option<Timestamp> {
            let date: DateTime = literal(text)?.parse().ok()?;
            Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
        };
        if let Some((field, value)) = condition.split_once(" >= ") {
            self.from = (field == "eventTime").then(|| instant(value)).flatten()?;
        } else if let Some((field, value)) = condition.split_once(" < ") {
            self.until = (field == "eventTime").then(|| instant(value)).flatten()?;
        } else {
            let (field, value) = condition.split_once(" = ")?;
            let value = literal(value)?;
            match field {
                "awsRegion" => self.region = Some(value),
                "recipientAccountId" => self.account = Some(value),
                field => self.fields.push((field.to_owned(), value)),
            }
        }
        Some(())
    }

    /// Rows of the answer, lists of maps of one entry each: at most `take` after `skip`; and how many there are.
    pub fn rows(&self, trail: &Trail, now: Timestamp, (skip, take): (usize, usize)) -> (Vec<Value>, usize) {
        // Every event is one of metering: a question for anything else finds none.
        let constant = |field: &str| match field {
            "eventSource" => Some(EVENT_SOURCE),
            "eventName" => Some(EVENT_NAME),
            _ => None,
        };
        if self.fields.iter().any(|(field, value)| constant(field) != Some(value)) {
            return (Vec::new(), 0);
        }
        let place = (self.region.as_deref(), self.account.as_deref());
        let found = || trail.select(place, (self.from, self.until), now);
        let row = |event: &TrailEvent| {
            let event: Value = serde_json::from_str(&event.event).unwrap_or_default();
            Value::Array(self.columns.iter().map(|column| column.of(&event)).collect())
        };
        (found().skip(skip).take(take).map(row).collect(), found().count())
    }
}

impl Column {
    fn of(&self, event: &Value) -> Value {
        let field = event.get(&self.field);
        let value = match &self.key {
            // The maps of Lake hold texts: what is nested is JSON text.
            Some(key) => field.and_then(|field| field.get(key)),
            None => field,
        };
        let text = match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) if self.field == "eventTime" => text.replace('T', " ").replace('Z', ".000"),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        json!({ &self.name: text })
    }
}

fn read_column(text: &str) -> Option<Column> {
    let (expression, name) = match text.trim().split_once(" AS ") {
        Some((expression, name)) => (expression.trim(), Some(name.trim().to_owned())),
        None => (text.trim(), None),
    };
    if let Some(inner) = expression.strip_prefix("element_at(") {
        let (field, key) = inner.strip_suffix(')')?.split_once(',')?;
        let key = key.trim().strip_prefix('\'')?.strip_suffix('\'')?;
        return Some(Column {
            name: name?,
            field: field.trim().to_owned(),
            key: Some(key.to_owned()),
        });
    }
    let plain = expression.chars().all(|letter| letter.is_ascii_alphanumeric());
    plain.then(|| Column {
        name: name.unwrap_or_else(|| expression.to_owned()),
        field: expression.to_owned(),
        key: None,
    })
}

fn split_outside_parentheses(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        match parts.last_mut() {
            Some(part) if letter != ',' || depth > 0 => part.push(letter),
            _ => parts.push(String::new()),
        }
    }
    parts
}
