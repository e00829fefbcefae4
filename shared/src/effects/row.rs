//! Rows of the table: attributes in and out.
//!
//! JSON documents are kept as their text: a number that passed through the table is the number that was given, to the last digit.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    store_error::StoreError,
    table::{PK, SK},
};
use crate::values::configuration::Audit;

/// A row as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// A text attribute.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A row that is being built. Attributes that are none are left out.
#[derive(Debug)]
pub struct RowBuilder(Item);

impl RowBuilder {
    /// A row with its key.
    pub fn new(pk: &str, sk: &str) -> RowBuilder {
        RowBuilder(HashMap::from([(PK.to_owned(), text(pk)), (SK.to_owned(), text(sk))]))
    }

    fn with(mut self, field: &str, value: AttributeValue) -> RowBuilder {
        self.0.insert(field.to_owned(), value);
        self
    }

    /// Adds a text.
    pub fn text(self, field: &str, value: &str) -> RowBuilder {
        self.with(field, text(value))
    }

    /// Adds a text if there is one.
    pub fn maybe(self, field: &str, value: Option<&str>) -> RowBuilder {
        match value {
            Some(value) => self.text(field, value),
            None => self,
        }
    }

    /// Adds a number.
    pub fn number(self, field: &str, value: i64) -> RowBuilder {
        self.with(field, number(value))
    }

    /// Adds a yes or no.
    pub fn flag(self, field: &str, value: bool) -> RowBuilder {
        self.with(field, AttributeValue::Bool(value))
    }

    /// Adds an instant.
    pub fn instant(self, field: &str, value: Timestamp) -> RowBuilder {
        self.text(field, &value.to_string())
    }

    /// Adds who and when.
    pub fn audit(self, audit: &Audit) -> RowBuilder {
        self.instant("dtCreated", audit.created)
            .instant("dtLastModified", audit.last_modified)
            .text("createdBy", &audit.created_by)
            .text("lastModifiedBy", &audit.last_modified_by)
    }

    /// The row.
    pub fn build(self) -> Item {
        self.0
    }
}

/// A row that is being read.
#[derive(Debug)]
pub struct Row<'a>(pub &'a Item);

impl Row<'_> {
    fn key(&self) -> String {
        let part = |name: &str| {
            self.0
                .get(name)
                .and_then(|value| value.as_s().ok())
                .map_or("?", String::as_str)
        };
        format!("{} {}", part(PK), part(SK))
    }

    /// The error that names this row and `field`.
    pub fn corrupt(&self, field: &str) -> StoreError {
        StoreError::corrupt(self.key(), field)
    }

    /// A text that has to be there.
    pub fn text(&self, field: &str) -> Result<&str, StoreError> {
        self.maybe(field)?.ok_or_else(|| self.corrupt(field))
    }

    /// A text that may be there.
    pub fn maybe(&self, field: &str) -> Result<Option<&str>, StoreError> {
        match self.0.get(field) {
            None | Some(AttributeValue::Null(_)) => Ok(None),
            Some(AttributeValue::S(value)) => Ok(Some(value)),
            Some(_) => Err(self.corrupt(field)),
        }
    }

    /// A number that has to be there.
    pub fn number(&self, field: &str) -> Result<i64, StoreError> {
        let value = self.0.get(field).and_then(|value| value.as_n().ok());
        value
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.corrupt(field))
    }

    /// A yes or no that has to be there.
    pub fn flag(&self, field: &str) -> Result<bool, StoreError> {
        let value = self.0.get(field).and_then(|value| value.as_bool().ok());
        value.copied().ok_or_else(|| self.corrupt(field))
    }

    /// A set of texts; none are the empty set.
    pub fn texts(&self, field: &str) -> Result<BTreeSet<String>, StoreError> {
        match self.0.get(field) {
            None => Ok(BTreeSet::new()),
            Some(AttributeValue::Ss(values)) => Ok(values.iter().cloned().collect()),
            Some(_) => Err(self.corrupt(field)),
        }
    }

    /// A text that has to be there, read as what it means.
    pub fn parsed<T>(&self, field: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        read(self.text(field)?).ok_or_else(|| self.corrupt(field))
    }

    /// A text that may be there, read as what it means.
    pub fn maybe_parsed<T>(&self, field: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        match self.maybe(field)? {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.corrupt(field)),
        }
    }

    /// An instant that has to be there.
    pub fn instant(&self, field: &str) -> Result<Timestamp, StoreError> {
        self.parsed(field, |value| value.parse().ok())
    }

    /// A JSON document that has to be there.
    pub fn json(&self, field: &str) -> Result<Value, StoreError> {
        self.parsed(field, |value| serde_json::from_str(value).ok())
    }

    /// Who and when.
    pub fn audit(&self) -> Result<Audit, StoreError> {
        Ok(Audit {
            created: self.instant("dtCreated")?,
            last_modified: self.instant("dtLastModified")?,
            created_by: self.text("createdBy")?.to_owned(),
            last_modified_by: self.text("lastModifiedBy")?.to_owned(),
        })
    }
}

/// A part of a row key: what parts keys is taken out of it, so that no two lists of parts give the same key.
pub fn key_part(value: &str) -> String {
    value.replace('%', "%25").replace('#', "%23")
}
