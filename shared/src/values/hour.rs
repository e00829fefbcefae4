//! The hour: AWS Marketplace's grain of time, and the only place that truncates one.

use std::fmt;

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};

//= https://docs.aws.amazon.com/marketplace/latest/userguide/saas-metering-integration.html
//# usage records are accepted for up to 24 hours after the event
const WINDOW_HOURS: i64 = 24;
//= https://docs.aws.amazon.com/marketplace/latest/userguide/saas-metering-integration.html
//# usage of a month is accepted until 06:00 UTC on the 1st of the next
const MONTH_CLOSES_HOURS: i64 = 6;
/// Outbill claims nothing in last month's hours in the last five minutes before AWS closes it.
const MONTH_CLAIMS_END_MINUTES: i64 = 5 * 60 + 55;

/// The start of an hour, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hour(Timestamp);

/// A text that is not `yyyy-mm-ddThh`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an hour; an hour is written yyyy-mm-ddThh, in UTC")]
pub struct HourError(String);

impl Hour {
    /// The hour that holds `instant`.
    pub fn containing(instant: Timestamp) -> Hour {
        let seconds = instant.as_second();
        Hour(Timestamp::from_second(seconds - seconds.rem_euclid(3600)).unwrap_or(instant))
    }

    /// Its first instant.
    pub fn start(self) -> Timestamp {
        self.0
    }

    /// Seconds since 1970, as AWS takes a `Timestamp`.
    pub fn epoch_seconds(self) -> i64 {
        self.0.as_second()
    }

    /// The hour before.
    pub fn previous(self) -> Hour {
        Hour(self.0.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(self.0))
    }

    /// 00:00 UTC of the first day of the month this hour lies in.
    pub fn month_start(self) -> Timestamp {
        month_start(self.0)
    }

    /// From this instant on AWS refuses a record for this hour: after 24 hours, or at 06:00 UTC on the 1st of the next month if that is sooner.
    pub fn closes_at(self) -> Timestamp {
        let by_window = add_hours(self.0, WINDOW_HOURS);
        let by_month = add_hours(next_month_start(self.0), MONTH_CLOSES_HOURS);
        by_window.min(by_month)
    }

    /// Whether a claim may take this hour at `now`: inside the 24 hours, not ahead, and in this month unless last month is still open.
    pub fn is_usable(self, now: Timestamp) -> bool {
        let in_window = add_hours(self.0, WINDOW_HOURS) > now && self <= Hour::containing(now);
        let in_month = self.0 >= month_start(now) || last_month_is_open(now);
        in_window && in_month
    }

    /// The usable hours at `now`, latest first.
    pub fn usable(now: Timestamp) -> impl Iterator<Item = Hour> {
        std::iter::successors(Some(Hour::containing(now)), |hour| Some(hour.previous()))
            .take(usize::try_from(WINDOW_HOURS).unwrap_or_default() + 1)
            .filter(move |hour| hour.is_usable(now))
    }
}

/// Whether claims may still go into last month's hours: on the 1st before 05:55 UTC.
pub fn last_month_is_open(now: Timestamp) -> bool {
    now.duration_since(month_start(now)) < SignedDuration::from_mins(MONTH_CLAIMS_END_MINUTES)
}

/// 00:00 UTC of the first day of the month that holds `instant`.
pub fn month_start(instant: Timestamp) -> Timestamp {
    midnight(instant.to_zoned(TimeZone::UTC).date().first_of_month()).unwrap_or(instant)
}

fn next_month_start(instant: Timestamp) -> Timestamp {
    let next = instant.to_zoned(TimeZone::UTC).date().last_of_month().tomorrow();
    next.ok().and_then(midnight).unwrap_or(Timestamp::MAX)
}

fn midnight(date: civil::Date) -> Option<Timestamp> {
    date.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn add_hours(instant: Timestamp, hours: i64) -> Timestamp {
    instant
        .saturating_add(SignedDuration::from_hours(hours))
        .unwrap_or(Timestamp::MAX)
}

impl fmt::Display for Hour {
    /// `yyyy-mm-ddThh`, the form of a row key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H"))
    }
}

impl std::str::FromStr for Hour {
    type Err = HourError;
    fn from_str(text: &str) -> Result<Hour, HourError> {
        let instant = format!("{text}:00:00Z")
            .parse::<Timestamp>()
            .map_err(|_| HourError(text.to_owned()))?;
        let hour = Hour::containing(instant);
        if hour.to_string() == text {
            Ok(hour)
        } else {
            Err(HourError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Hour {
    type Error = HourError;
    fn try_from(text: String) -> Result<Hour, HourError> {
        text.parse()
    }
}

impl From<Hour> for String {
    fn from(hour: Hour) -> String {
        hour.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn hour(text: &str) -> Hour {
        text.parse().unwrap()
    }

    #[test]
    fn an_hour_is_written_and_read_back() {
        assert_eq!(hour("2025-06-10T10").to_string(), "2025-06-10T10");
        assert_eq!(Hour::containing(at("2025-06-10T10:59:59.999Z")), hour("2025-06-10T10"));
        assert_eq!(Hour::containing(at("1969-12-31T23:30:00Z")), hour("1969-12-31T23"));
        for bad in [
            "",
            "2025-06-10",
            "2025-06-10T10:00:00Z",
            "2025-06-10T24",
            "2025-6-10T10",
        ] {
            assert!(bad.parse::<Hour>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_record_is_refused_after_a_day_or_when_its_month_closes() {
        let check = |text: &str, expect: &str| assert_eq!(hour(text).closes_at(), at(expect), "{text}");
        check("2025-06-10T10", "2025-06-11T10:00:00Z");
        check("2025-06-30T05", "2025-07-01T05:00:00Z");
        check("2025-06-30T06", "2025-07-01T06:00:00Z");
        check("2025-06-30T23", "2025-07-01T06:00:00Z");
        check("2024-02-29T23", "2024-03-01T06:00:00Z");
        check("2025-02-28T23", "2025-03-01T06:00:00Z");
        check("2025-12-31T23", "2026-01-01T06:00:00Z");
    }

    #[test]
    fn the_usable_hours() {
        let check = |now: &str, count: usize, latest: &str, earliest: &str| {
            let hours: Vec<Hour> = Hour::usable(at(now)).collect();
            assert_eq!(hours.len(), count, "{now}");
            assert_eq!(hours.first(), Some(&hour(latest)), "{now}");
            assert_eq!(hours.last(), Some(&hour(earliest)), "{now}");
        };
        check("2025-06-10T10:30:00Z", 24, "2025-06-10T10", "2025-06-09T11");
        check("2025-06-10T10:00:00Z", 24, "2025-06-10T10", "2025-06-09T11");
        check("2025-06-10T09:59:59Z", 24, "2025-06-10T09", "2025-06-09T10");
        check("2025-07-01T00:00:00Z", 24, "2025-07-01T00", "2025-06-30T01");
        check("2025-07-01T05:54:59Z", 24, "2025-07-01T05", "2025-06-30T06");
        check("2025-07-01T05:55:00Z", 6, "2025-07-01T05", "2025-07-01T00");
        check("2025-07-01T06:00:00Z", 7, "2025-07-01T06", "2025-07-01T00");
        check("2026-01-01T00:30:00Z", 24, "2026-01-01T00", "2025-12-31T01");
    }

    #[test]
    fn an_hour_is_stored_as_its_text() {
        let stored = serde_json::to_string(&hour("2025-06-10T10")).unwrap();
        assert_eq!(stored, "\"2025-06-10T10\"");
        assert_eq!(serde_json::from_str::<Hour>(&stored).unwrap(), hour("2025-06-10T10"));
        let error = serde_json::from_str::<Hour>("\"2025-06-10\"").unwrap_err().to_string();
        assert!(
            error.contains("\"2025-06-10\" is not an hour") && error.contains("yyyy-mm-ddThh, in UTC"),
            "{error}"
        );
    }

    #[test]
    fn an_hour_knows_its_start_its_month_and_the_hour_before() {
        let check = |text: &str, start: &str, epoch_seconds: i64, month_start: &str, previous: &str| {
            let hour = hour(text);
            assert_eq!(
                (hour.start(), hour.epoch_seconds()),
                (at(start), epoch_seconds),
                "{text}"
            );
            assert_eq!(
                (hour.month_start(), hour.previous().to_string().as_str()),
                (at(month_start), previous),
                "{text}"
            );
        };
        check(
            "2025-06-10T10",
            "2025-06-10T10:00:00Z",
            1_749_549_600,
            "2025-06-01T00:00:00Z",
            "2025-06-10T09",
        );
        check(
            "2025-07-01T00",
            "2025-07-01T00:00:00Z",
            1_751_328_000,
            "2025-07-01T00:00:00Z",
            "2025-06-30T23",
        );
        check(
            "1970-01-01T01",
            "1970-01-01T01:00:00Z",
            3_600,
            "1970-01-01T00:00:00Z",
            "1970-01-01T00",
        );
    }

    #[test]
    fn an_hour_is_usable_for_a_day_and_in_its_month() {
        let check = |text: &str, now: &str, expect: bool| {
            assert_eq!(hour(text).is_usable(at(now)), expect, "{text} at {now}");
        };
        check("2025-06-10T10", "2025-06-10T09:59:59Z", false);
        check("2025-06-10T10", "2025-06-10T10:00:00Z", true);
        check("2025-06-10T10", "2025-06-11T09:59:59Z", true);
        check("2025-06-10T10", "2025-06-11T10:00:00Z", false);
        check("2025-06-10T10", "2025-06-11T10:00:01Z", false);
        check("2025-06-30T23", "2025-07-01T05:54:59Z", true);
        check("2025-06-30T23", "2025-07-01T05:55:00Z", false);
        check("2025-07-01T00", "2025-07-01T05:55:00Z", true);
        check("2025-06-30T04", "2025-07-01T05:30:00Z", false);
    }

    #[test]
    fn last_month_closes_five_minutes_before_six_on_the_first() {
        let check = |now: &str, month: &str, expect: bool| {
            assert_eq!(
                (month_start(at(now)), last_month_is_open(at(now))),
                (at(month), expect),
                "{now}"
            );
        };
        check("2025-06-30T23:59:59Z", "2025-06-01T00:00:00Z", false);
        check("2025-07-01T00:00:00Z", "2025-07-01T00:00:00Z", true);
        check("2025-07-01T05:54:59Z", "2025-07-01T00:00:00Z", true);
        check("2025-07-01T05:55:00Z", "2025-07-01T00:00:00Z", false);
        check("2025-07-01T05:55:01Z", "2025-07-01T00:00:00Z", false);
        check("2025-07-02T00:00:00Z", "2025-07-01T00:00:00Z", false);
    }
}
