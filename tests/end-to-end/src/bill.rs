//! Bills as m3ter sends them.

use serde_json::{Map, Value, json};

use crate::ACME;

/// A version of a m3ter Bill.
#[derive(Debug, Clone)]
pub struct Bill {
    fields: Map<String, Value>,
    lines: Vec<Value>,
}

/// A version of an account's bill for June 2025, in US dollars, without lines.
pub fn bill(id: &str, account: &str, version: i64) -> Bill {
    let fields = json!({
        "id": id, "accountId": account, "version": version, "status": "PENDING", "currency": "USD",
        "startDate": "2025-06-01", "endDate": "2025-07-01",
        "startDateTimeUTC": "2025-06-01T00:00:00Z", "endDateTimeUTC": "2025-07-01T00:00:00Z",
        "billingFrequency": "MONTHLY",
    });
    Bill {
        fields: fields.as_object().cloned().unwrap_or_default(),
        lines: Vec::new(),
    }
}

/// A version of Acme's bill of one line.
pub fn june(version: i64, amount: &str) -> Bill {
    bill("june", ACME, version).of(amount)
}

impl Bill {
    /// One more line.
    pub fn line(mut self, line: Line) -> Bill {
        self.lines.push(line.0);
        self
    }

    /// One more line of usage.
    pub fn of(self, amount: &str) -> Bill {
        self.line(usage(amount))
    }

    /// Sets a field, or takes it away with `null`.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Bill {
        match value.into() {
            Value::Null => self.fields.remove(field),
            value => self.fields.insert(field.to_owned(), value),
        };
        self
    }

    /// m3ter's JSON.
    pub fn json(&self) -> Value {
        let mut fields = self.fields.clone();
        fields.insert("lineItems".to_owned(), Value::Array(self.lines.clone()));
        Value::Object(fields)
    }
}

/// A line of a bill.
#[derive(Debug, Clone)]
pub struct Line(Value);

/// A line of usage.
pub fn usage(amount: &str) -> Line {
    line("USAGE", amount)
}

/// A line of some type. The amount is the text of a JSON number: no float ever holds it.
pub fn line(kind: &str, amount: &str) -> Line {
    let amount: Value = serde_json::from_str(amount).expect("an amount is the text of a JSON number");
    Line(json!({
        "lineItemType": kind, "description": kind, "quantity": 1, "units": 1, "unit": "unit", "subtotal": amount,
        "convertedSubtotal": amount, "currency": "USD", "conversionRate": 1, "averageUnitPrice": amount,
    }))
}

impl Line {
    /// The line belongs to a product.
    pub fn product(self, id: &str) -> Line {
        self.with("productId", id)
    }

    /// The line was measured by an aggregation.
    pub fn aggregation(self, id: &str) -> Line {
        self.with("aggregationId", id)
    }

    /// The line was measured by a compound aggregation.
    pub fn compound_aggregation(self, id: &str) -> Line {
        self.with("compoundAggregationId", id)
    }

    /// Sets a field, or takes it away with `null`.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Line {
        let value = value.into();
        if let Some(fields) = self.0.as_object_mut() {
            match value {
                Value::Null => fields.remove(field),
                value => fields.insert(field.to_owned(), value),
            };
        }
        self
    }
}
