//! AWS's limits and its window, each beside the sentence that it restates.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# BatchMeterUsage can process up to 25 UsageRecords at a time
/// The most usage records that one call may carry.
pub const USAGE_RECORDS_PER_CALL_MAX: usize = 25;

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# each request must be less than 1 MB in size.
/// A request of this many bytes or more is refused.
pub const REQUEST_BYTES_MAX: usize = 1_048_576;

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecord.html
//# Valid Range: Minimum value of 0. Maximum value of 2147483647.
/// The largest quantity of one usage record.
pub const QUANTITY_MAX: i64 = 2_147_483_647;

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecord.html
//# Array Members: Minimum number of 1 item. Maximum number of 2500 items.
/// The most allocations that one usage record may carry.
pub const USAGE_ALLOCATIONS_MAX: usize = 2500;

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# The tag is invalid, or the number of tags is greater than 5.
/// The most tags of one allocation.
pub const TAGS_PER_ALLOCATION_MAX: usize = 5;

/// The longest dimension, product code or customer, in characters.
pub const NAME_CHARACTERS_MAX: usize = 255;

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# Usage records aren't accepted 24 hours or more after an event.
const WINDOW_HOURS: i64 = 24;

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# We accept usage records for the previous billing month until 06:00 UTC on the first day of the next month.
const PREVIOUS_MONTH_GRACE_HOURS: i64 = 6;

/// The start of the UTC hour that an instant lies in. Minutes and seconds do not count for AWS.
pub fn hour_of(instant: Timestamp) -> Timestamp {
    let second = instant.as_second();
    Timestamp::from_second(second - second.rem_euclid(3600)).unwrap_or(instant)
}

/// Why a usage timestamp is refused at `now`, or `None` if AWS takes it.
///
/// `future_tolerance_seconds` is how far ahead of `now` a timestamp may lie: AWS's documents give no
/// number.
pub fn window_refusal(usage: Timestamp, now: Timestamp, future_tolerance_seconds: u32) -> Option<String> {
    if usage > now + SignedDuration::from_secs(i64::from(future_tolerance_seconds)) {
        return Some(format!("the timestamp {usage} is in the future of {now}"));
    }
    if now.duration_since(usage) >= SignedDuration::from_hours(WINDOW_HOURS) {
        return Some(format!("the timestamp {usage} is 24 hours or more before {now}"));
    }
    //= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
    //# After 06:00 UTC on April 1, March records are rejected regardless of the normal 24-hour submission window.
    let month_start = month_start_of(now);
    let grace = SignedDuration::from_hours(PREVIOUS_MONTH_GRACE_HOURS);
    if usage < month_start && now.duration_since(month_start) >= grace {
        return Some(format!(
            "the timestamp {usage} is in the previous month, which closed at 06:00 UTC on the 1st"
        ));
    }
    None
}

fn month_start_of(now: Timestamp) -> Timestamp {
    let today: Date = now.to_zoned(TimeZone::UTC).date();
    today
        .first_of_month()
        .to_zoned(TimeZone::UTC)
        .map_or(now, |zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(usage: &str, now: &str, accepted: bool) {
        let refusal = window_refusal(usage.parse().unwrap(), now.parse().unwrap(), 0);
        assert_eq!(refusal.is_none(), accepted, "{usage} at {now}: {refusal:?}");
    }

    #[test]
    fn the_window_is_24_hours_but_the_previous_month_closes_at_six() {
        for (usage, now, accepted) in [
            ("2026-03-10T10:00:00Z", "2026-03-10T10:00:00Z", true),
            ("2026-03-10T10:00:01Z", "2026-03-10T10:00:00Z", false),
            ("2026-03-09T10:00:01Z", "2026-03-10T10:00:00Z", true),
            ("2026-03-09T10:00:00Z", "2026-03-10T10:00:00Z", false),
            ("2026-03-31T23:00:00Z", "2026-04-01T05:00:00Z", true),
            ("2026-03-31T23:00:00Z", "2026-04-01T05:59:59Z", true),
            ("2026-03-31T23:00:00Z", "2026-04-01T06:00:00Z", false),
            ("2026-03-31T04:00:00Z", "2026-04-01T05:00:00Z", false),
            ("2026-04-01T00:00:00Z", "2026-04-01T06:00:00Z", true),
            ("2025-12-31T23:00:00Z", "2026-01-01T06:00:00Z", false),
            ("2025-12-31T23:00:00Z", "2026-01-01T05:59:00Z", true),
        ] {
            check(usage, now, accepted);
        }
    }

    #[test]
    fn an_hour_is_truncated_in_utc() {
        for (instant, hour) in [
            ("2026-03-10T10:59:59.999Z", "2026-03-10T10:00:00Z"),
            ("2026-03-10T10:00:00Z", "2026-03-10T10:00:00Z"),
            ("1969-12-31T23:30:00Z", "1969-12-31T23:00:00Z"),
        ] {
            let expected: Timestamp = hour.parse().unwrap();
            assert_eq!(hour_of(instant.parse().unwrap()), expected, "{instant}");
        }
    }

    #[test]
    fn the_future_tolerance_is_a_switch() {
        let now: Timestamp = "2026-03-10T10:00:00Z".parse().unwrap();
        let ahead: Timestamp = "2026-03-10T10:05:00Z".parse().unwrap();
        assert!(window_refusal(ahead, now, 299).is_some());
        assert!(window_refusal(ahead, now, 300).is_none());
    }
}
