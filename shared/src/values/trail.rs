//! What CloudTrail shows: the events of `BatchMeterUsage`, read as far as they are evidence, and the time in which they are looked for.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::amount::Units;
use super::hour::Hour;
use super::usage_key::UsageKey;

/// The service that meters, as CloudTrail names it.
pub const EVENT_SOURCE: &str = "metering-marketplace.amazonaws.com";
/// The call whose events are read.
pub const EVENT_NAME: &str = "BatchMeterUsage";

/// One record that AWS accepted, as an event tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    pub key: UsageKey,
    /// The key by the buyer's other name, where the event has both: which of them is metered by, only the ledger knows.
    pub other_key: Option<UsageKey>,
    /// The product code of the request; a record under a licence has none.
    pub product_code: Option<String>,
    pub hour: Hour,
    pub quantity: Units,
    pub metering_record_id: Option<String>,
    /// The event that shows it.
    pub event: String,
    /// When AWS finished the call.
    pub at: Timestamp,
}

/// What one event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The records that AWS accepted, and how many of the call it did not.
    Answered {
        accepted: Vec<Observation>,
        not_accepted: usize,
    },
    /// AWS refused the call as a whole.
    Refused { code: String },
    /// CloudTrail left an element out because of its size: which records the call held, or what became of them, is not known.
    Omitted,
    /// The event has a form that is not known; it hides what became of its records.
    Unreadable { reason: String },
}

/// One event of `BatchMeterUsage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailEvent {
    pub id: String,
    pub at: Timestamp,
    /// The account that called.
    pub account: Option<String>,
    pub content: Content,
}

/// A stretch of time, its start included and its end not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stretch {
    pub from: Timestamp,
    pub until: Timestamp,
}

impl Stretch {
    /// Whether all of `other` lies within.
    pub fn covers(&self, other: &Stretch) -> bool {
        self.from <= other.from && other.until <= self.until
    }

    /// Joins stretches that overlap or nearly touch, so that no time is read twice.
    pub fn joined(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
        const GAP: SignedDuration = SignedDuration::from_mins(30);
        stretches.retain(|stretch| stretch.from < stretch.until);
        stretches.sort();
        let mut joined: Vec<Stretch> = Vec::new();
        for stretch in stretches {
            match joined.last_mut() {
                Some(last) if stretch.from.duration_since(last.until) <= GAP => {
                    last.until = last.until.max(stretch.until);
                }
                _ => joined.push(stretch),
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_that_touch_are_read_as_one() {
        let stretch = |from: &str, until: &str| Stretch {
            from: format!("2025-06-{from}:00Z").parse().unwrap(),
            until: format!("2025-06-{until}:00Z").parse().unwrap(),
        };
        let joined = Stretch::joined(vec![
            stretch("10T10:00", "10T12:00"),
            stretch("10T08:00", "10T09:40"),
            stretch("10T11:00", "10T11:30"),
            stretch("12T11:00", "12T11:30"),
            stretch("11T11:00", "11T11:00"),
        ]);
        assert_eq!(
            joined,
            [stretch("10T08:00", "10T12:00"), stretch("12T11:00", "12T11:30")]
        );
        assert!(joined.iter().any(|one| one.covers(&stretch("10T08:00", "10T10:00"))));
        assert!(!joined.iter().any(|one| one.covers(&stretch("10T11:59", "10T12:01"))));
    }
}
