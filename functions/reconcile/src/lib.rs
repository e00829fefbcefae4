//! The reconcile function: a schedule's event in, nothing out. What was not finished is continued by the next invocation.
//!
//! Thin on purpose: everything that decides is in `outbill::stories::reconcile`.

use jiff::Timestamp;
use jiff::civil::Date;
use outbill::Outbill;
use outbill::stories::reconcile::{ReconcileError, Work, reconcile};
use serde::Deserialize;

/// What a schedule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// `{"daily": {}}`: the previous day.
    Daily {},
    /// `{"day": {"date": "2025-06-10"}}`: this day.
    Day { date: Date },
    /// `{"watch": {}}`: what AWS still takes.
    Watch {},
    /// `{"continue": {}}`: what is not finished, and what was asked for.
    Continue {},
}

/// Handles one invocation at `now`.
pub async fn handle(outbill: &Outbill, event: Event, now: Timestamp) -> Result<(), ReconcileError> {
    let work = match event {
        Event::Daily {} => Work::Daily,
        Event::Day { date } => Work::Day(date),
        Event::Watch {} => Work::Watch,
        Event::Continue {} => Work::Continue,
    };
    reconcile(outbill, work, now).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_says_what_is_to_be_done() {
        let check = |json: &str, expect: Option<Event>| {
            assert_eq!(serde_json::from_str::<Event>(json).ok(), expect, "{json}");
        };
        check(r#"{"daily":{}}"#, Some(Event::Daily {}));
        check(r#"{"watch":{}}"#, Some(Event::Watch {}));
        check(r#"{"continue":{}}"#, Some(Event::Continue {}));
        let date = "2025-06-10".parse().unwrap();
        check(r#"{"day":{"date":"2025-06-10"}}"#, Some(Event::Day { date }));
        check(r#"{"day":{"date":"2025-06-31"}}"#, None);
        check(r#"{"day":{"dates":"2025-06-10"}}"#, None);
        check("{}", None);
    }
}
