//! Bytes read as instructions: start from a good document, then spoil it.

use serde_json::Value;

/// Steps that spoil one document.
const STEPS_MAX: usize = 12;
/// How deep [`Cook::nested`] goes: deeper than any reader allows.
const DEPTH_MAX: usize = 2_000;
/// The largest document that is made.
const BYTES_MAX: usize = 256 * 1024;

/// Texts that have broken readers before, here or elsewhere.
const TOKENS: [&str; 40] = [
    "null",
    "true",
    "\"\"",
    "{}",
    "[]",
    "0",
    "-0",
    "-1",
    "1e999",
    "-1e999",
    "1e-999",
    "0.1",
    "0.005",
    "1E400",
    "79228162514264337593543950335",
    "79228162514264337593543950336",
    "0.00000000000000000000000000000001",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "NaN",
    "Infinity",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"2025-02-30T00:00:00Z\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"-9999-01-01T00:00:00Z\"",
    "\"2025-06-30T23:59:60Z\"",
    "\"#\"",
    "\"KEY#\"",
    "\",\"",
    "\u{feff}",
    "\"\u{202e}\"",
    "==",
    "!=",
    "AND",
    "OR",
    "((((",
    "customFields.",
];

/// Makes a document. Bytes that name no good one are the document themselves.
pub fn document(good: &[String], bytes: &[u8]) -> String {
    let Some((first, rest)) = bytes.split_first() else {
        return String::new();
    };
    let Some(document) = good.get(usize::from(*first)) else {
        return String::from_utf8_lossy(rest).into_owned();
    };
    let mut cook = Cook { bytes: rest };
    let mut document = document.clone();
    for _ in 0..STEPS_MAX {
        let Some(step) = cook.byte() else { break };
        document = cook.step(step, document);
        if document.len() > BYTES_MAX {
            break;
        }
    }
    document
}

struct Cook<'a> {
    bytes: &'a [u8],
}

impl Cook<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// A number below `end`, or 0 where there is none.
    fn below(&mut self, end: usize) -> usize {
        let number = usize::from(self.byte().unwrap_or_default()) << 8 | usize::from(self.byte().unwrap_or_default());
        number.checked_rem(end).unwrap_or_default()
    }

    fn token(&mut self) -> &'static str {
        let place = self.below(TOKENS.len());
        TOKENS[place]
    }

    fn step(&mut self, step: u8, document: String) -> String {
        match step % 9 {
            0 => self.spliced(&document, ""),
            1 => {
                let token = self.token();
                self.spliced(&document, token)
            }
            2 => {
                let character = char::from(self.byte().unwrap_or_default()).to_string();
                self.spliced(&document, &character)
            }
            3 => self.doubled(&document),
            4 => {
                let end = self.boundary(&document);
                document[..end].to_owned()
            }
            5 => self.nested(&document),
            6 => self.inner(document, |_, token| Some(token)),
            7 => self.inner(document, |_, _| None),
            _ => self.inner(document, |value, _| Some(Value::Array(vec![value.clone(), value]))),
        }
    }

    /// A place between two characters.
    fn boundary(&mut self, document: &str) -> usize {
        let place = self.below(document.len() + 1);
        (0..=place)
            .rev()
            .find(|place| document.is_char_boundary(*place))
            .unwrap_or_default()
    }

    /// A stretch of the document, perhaps empty, becomes another text.
    fn spliced(&mut self, document: &str, text: &str) -> String {
        let (start, length) = (
            self.boundary(document),
            usize::from(self.byte().unwrap_or_default() % 32),
        );
        let rest = document
            .char_indices()
            .map(|(place, _)| place)
            .find(|place| *place >= start + length);
        let rest = rest.map_or("", |place| &document[place..]);
        format!("{}{text}{rest}", &document[..start])
    }

    fn doubled(&mut self, document: &str) -> String {
        let (one, other) = (self.boundary(document), self.boundary(document));
        let (start, end) = (one.min(other), one.max(other));
        format!("{}{}{}", &document[..end], &document[start..end], &document[end..])
    }

    fn nested(&mut self, document: &str) -> String {
        let (place, depth) = (self.boundary(document), self.below(DEPTH_MAX));
        let open = if depth % 2 == 0 { "[" } else { "{\"a\":" };
        format!("{}{}{}", &document[..place], open.repeat(depth), &document[place..])
    }

    /// One value within the JSON becomes another, or goes.
    fn inner(&mut self, document: String, change: impl Fn(Value, Value) -> Option<Value>) -> String {
        let Ok(mut value) = serde_json::from_str::<Value>(&document) else {
            return document;
        };
        let token = serde_json::from_str(self.token()).unwrap_or(Value::Null);
        let place = self.below(count(&value));
        replace(&mut value, &mut { place }, &|old| change(old, token.clone()));
        value.to_string()
    }
}

/// Values below this one.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(|item| 1 + count(item)).sum(),
        Value::Object(fields) => fields.values().map(|field| 1 + count(field)).sum(),
        _ => 0,
    }
}

/// Replaces the value at a place, counted in the order of [`count`]; gives whether it was found.
fn replace(value: &mut Value, place: &mut usize, change: &impl Fn(Value) -> Option<Value>) -> bool {
    let names: Vec<String> = match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) => (0..items.len()).map(|place| place.to_string()).collect(),
        _ => Vec::new(),
    };
    for name in names {
        let inner = match value {
            Value::Object(fields) => fields.get_mut(&name),
            Value::Array(items) => name.parse().ok().and_then(|place: usize| items.get_mut(place)),
            _ => None,
        };
        let Some(inner) = inner else { continue };
        if *place > 0 {
            *place -= 1;
            if replace(inner, place, change) {
                return true;
            }
            continue;
        }
        match (change(inner.take()), value) {
            (Some(new), Value::Object(fields)) => drop(fields.insert(name, new)),
            (None, Value::Object(fields)) => drop(fields.remove(&name)),
            (new, Value::Array(items)) => {
                if let Ok(place) = name.parse::<usize>() {
                    items.splice(place..=place, new);
                }
            }
            _ => {}
        }
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(bytes: &[u8]) -> String {
        document(&[r#"{"a":1,"b":[2,{"c":"x"}]}"#.to_owned()], bytes)
    }

    #[test]
    fn bytes_say_what_is_done() {
        for (bytes, expect) in [
            (&[][..], ""),
            (&[7, b'h', b'i'], "hi"),
            (&[0], r#"{"a":1,"b":[2,{"c":"x"}]}"#),
            // Cut out four bytes from the second on; put a token there; cut all after the fifth.
            (&[0, 0, 0, 1, 4], r#"{1,"b":[2,{"c":"x"}]}"#),
            (&[0, 1, 0, 5, 0, 5, 1], r#"{"a":0,"b":[2,{"c":"x"}]}"#),
            (&[0, 4, 0, 5], r#"{"a":"#),
            (&[0, 3, 0, 1, 0, 5], r#"{"a":"a":1,"b":[2,{"c":"x"}]}"#),
            (&[0, 5, 0, 0, 0, 2], r#"[[{"a":1,"b":[2,{"c":"x"}]}"#),
            // The value at place 4 is "x".
            (&[0, 6, 0, 0, 0, 4], r#"{"a":1,"b":[2,{"c":null}]}"#),
            (&[0, 7, 0, 0, 0, 2], r#"{"a":1,"b":[{"c":"x"}]}"#),
            (&[0, 8, 0, 0, 0, 0], r#"{"a":[1,1],"b":[2,{"c":"x"}]}"#),
        ] {
            assert_eq!(made(bytes), expect, "{bytes:?}");
        }
    }
}
