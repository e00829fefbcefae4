//! Fields on which an exit code or a sum of units depends. What is missing or of another shape is refused: it never counts as nothing.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::failure::{Failure, REFUSED};

/// What is shown of a value that cannot be used.
const CHARACTERS_MAX: usize = 100;

/// A text. `of` says what the field belongs to, for the refusal.
pub fn text(value: &Value, name: &str, of: &str) -> Result<String, Failure> {
    let found = value.get(name);
    let text = found.and_then(Value::as_str);
    text.map(str::to_owned)
        .ok_or_else(|| refused(found, name, of, "a text"))
}

/// A whole number.
pub fn whole(value: &Value, name: &str, of: &str) -> Result<i64, Failure> {
    let found = value.get(name);
    let number = found.and_then(Value::as_i64);
    number.ok_or_else(|| refused(found, name, of, "a whole number"))
}

/// An instant.
pub fn instant(value: &Value, name: &str, of: &str) -> Result<Timestamp, Failure> {
    parsed(value, name, of, "an instant")
}

/// An instant that may be absent, and is one where it is not.
pub fn maybe_instant(value: &Value, name: &str, of: &str) -> Result<Option<Timestamp>, Failure> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => instant(value, name, of).map(Some),
    }
}

/// A day.
pub fn date(value: &Value, name: &str, of: &str) -> Result<Date, Failure> {
    parsed(value, name, of, "a date")
}

/// An object; `name` is where it was found.
pub fn object<'a>(found: Option<&'a Value>, name: &str, of: &str) -> Result<&'a Map<String, Value>, Failure> {
    let object = found.and_then(Value::as_object);
    object.ok_or_else(|| refused(found, name, of, "an object"))
}

/// The refusal of what was found where something else was wanted.
pub fn refused(found: Option<&Value>, name: &str, of: &str, wanted: &str) -> Failure {
    let what = match found {
        None => format!("{of} has no {name}, which is to be {wanted}"),
        Some(found) => {
            let found: String = found.to_string().chars().take(CHARACTERS_MAX).collect();
            format!("{of} has {found} as {name}, which is to be {wanted}")
        }
    };
    Failure::new(
        REFUSED,
        what,
        "nothing can be said without it: use an outbill of the API's version",
    )
}

fn parsed<T: FromStr>(value: &Value, name: &str, of: &str, wanted: &str) -> Result<T, Failure> {
    let found = value.get(name);
    let text = found.and_then(Value::as_str);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| refused(found, name, of, wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_or_of_another_shape_never_counts_as_nothing() {
        let row = json!({"units": 7, "part": 1.5, "text": "7", "state": "WAITS", "at": "2025-06-10T10:00:00Z", "day": "2025-06-10"});
        assert_eq!(whole(&row, "units", "a row"), Ok(7));
        assert_eq!(text(&row, "state", "a row"), Ok("WAITS".to_owned()));
        assert!(instant(&row, "at", "a row").is_ok());
        assert_eq!(maybe_instant(&row, "gone", "a row"), Ok(None));
        assert!(date(&row, "day", "a row").is_ok());
        for (name, expect) in [
            ("gone", "a row has no gone, which is to be a whole number"),
            ("part", "a row has 1.5 as part, which is to be a whole number"),
            ("text", "a row has \"7\" as text, which is to be a whole number"),
        ] {
            let failure = whole(&row, name, "a row").unwrap_err();
            assert_eq!((failure.code, failure.what.as_str()), (REFUSED, expect));
        }
        assert!(text(&row, "units", "a row").is_err());
        assert!(maybe_instant(&row, "state", "a row").is_err());
        assert!(date(&row, "state", "a row").is_err());
        assert!(object(row.get("units"), "units", "a row").is_err());
        assert!(whole(&Value::Null, "units", "a row").is_err());
    }
}
