//! Messages of the sweep: m3ter is asked which bills changed.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::ids::OrganizationId;
use super::message::{Message, MessageError, field, organization, text};

/// Where a sweep of one organization stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepPage {
    pub organization: OrganizationId,
    /// Bills that changed before this instant are none of this sweep's.
    pub since: Timestamp,
    /// When it began: the next one asks from here.
    pub began: Timestamp,
    /// m3ter's token of the page; none for the first.
    pub next_token: Option<String>,
}

impl SweepPage {
    /// As it lies on the queue.
    pub fn to_json(&self) -> Value {
        let mut message = serde_json::json!({
            "sweep": true, "orgId": self.organization, "since": self.since, "began": self.began,
        });
        if let (Some(token), Some(message)) = (&self.next_token, message.as_object_mut()) {
            message.insert("nextToken".to_owned(), Value::from(token.as_str()));
        }
        message
    }
}

/// Reads a sweep, or a page of one.
pub(super) fn read(object: &Map<String, Value>) -> Result<Message, MessageError> {
    if object.get("sweep") != Some(&Value::Bool(true)) {
        return Err(field("sweep", "it must be true"));
    }
    if !object.contains_key("orgId") {
        return Ok(Message::Sweep);
    }
    let instant = |name: &'static str| {
        let text = text(object, name)?;
        let read = text.parse::<Timestamp>();
        read.map_err(|_| field(name, format!("{text:?} is no ISO 8601 date-time")))
    };
    let next_token = match object.get("nextToken") {
        None | Some(Value::Null) => None,
        Some(_) => Some(text(object, "nextToken")?.to_owned()),
    };
    Ok(Message::SweepPage(SweepPage {
        organization: organization(object)?,
        since: instant("since")?,
        began: instant("began")?,
        next_token,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_read_as_it_was_written() {
        assert_eq!(Message::parse(r#"{"sweep":true}"#), Ok(Message::Sweep));
        let began: Timestamp = "2025-06-10T10:41:00Z".parse().unwrap();
        for next_token in [None, Some("after:b")] {
            let page = SweepPage {
                organization: OrganizationId::new("o").unwrap(),
                since: began,
                began,
                next_token: next_token.map(str::to_owned),
            };
            assert_eq!(Message::from_json(page.to_json()), Ok(Message::SweepPage(page)));
        }
        let check = |body: &str, expect: &str| {
            let error = Message::parse(body).unwrap_err().to_string();
            assert_eq!(error, expect, "{body}");
        };
        check(r#"{"sweep":1}"#, "sweep: it must be true");
        check(r#"{"sweep":true,"orgId":"o"}"#, "since: it is missing");
        check(r#"{"sweep":true,"orgId":1}"#, "orgId: it must be a text");
        check(
            r#"{"sweep":true,"orgId":"o","since":"x","began":"x"}"#,
            "since: \"x\" is no ISO 8601 date-time",
        );
    }
}
