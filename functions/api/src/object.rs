//! A JSON object that is written field by field.

use serde_json::{Map, Value};

/// The object so far.
#[derive(Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Object {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// A field that is left out where there is nothing to say.
    pub(crate) fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Object {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With the fields of another one.
    pub(crate) fn and(mut self, other: Object) -> Object {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn done(self) -> Value {
        Value::Object(self.0)
    }
}
