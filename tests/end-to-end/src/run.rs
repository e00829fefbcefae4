//! An integration run, as a test looks at it.

use serde_json::Value;

/// An integration run as the API shows it.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: String,
    pub status: String,
    /// Empty if there is none.
    pub error: String,
    pub json: Value,
}

impl Run {
    pub(crate) fn of(json: &Value) -> Run {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        Run {
            id: text("id"),
            status: text("status"),
            error: text("error"),
            json: json.clone(),
        }
    }
}
