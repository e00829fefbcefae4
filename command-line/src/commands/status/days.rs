//! Which days of a configuration were compared with CloudTrail, and which were due and were not.
//!
//! A day is judged by its newest comparison that has ended: a later one of another day, or of what AWS still takes, says nothing about it. One that
//! was made before the day was over does not stand for it.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Configured;
use crate::api::{Api, Listed};
use crate::commands::reconcile;
use crate::decisive;
use crate::failure::Failure;
use crate::show::{self, field, list};

/// Comparisons that were made so long ago are not looked at.
const LOOKED_BACK: SignedDuration = SignedDuration::from_hours(35 * 24);
/// The API's largest page of comparisons.
const PAGE_ROWS: &str = "100";
/// Pages that are read: enough for eleven configurations of which every hourly look has amended something.
const PAGES_MAX: usize = 100;
/// When the schedule compares the day before, UTC.
const SCHEDULED: SignedDuration = SignedDuration::from_hours(11);
/// When its report is to be there, UTC: as the metric `ReconciliationsOverdue`.
const DUE: SignedDuration = SignedDuration::from_hours(13);

/// The days of a configuration that were looked at.
#[derive(Default)]
pub(super) struct Days {
    /// The newest ended comparison of each.
    pub newest: BTreeMap<Date, Compared>,
    /// Those that have none although it was due.
    pub overdue: Vec<Date>,
}

/// A comparison of a whole day that has ended.
pub(super) struct Compared {
    pub raw: Box<RawValue>,
    pub id: String,
    pub status: String,
    /// Why something could not be checked.
    pub unchecked: Vec<String>,
    /// The day on which it was made.
    made: Date,
    is_scheduled: bool,
}

/// Reads the comparisons once, and gives each configuration its own. The answer is the first day of which all are known, where there were too many
/// to read them all.
pub(super) async fn look(api: &Api, configured: &mut [Configured], now: Timestamp) -> Result<Option<Date>, Failure> {
    if !configured.iter().any(Configured::checks_cloudtrail) {
        return Ok(None);
    }
    let since = day_of(before(now, LOOKED_BACK));
    let is_behind = |row: &Value| show::instant(row, "dtCreated").is_some_and(|made| day_of(made) < since);
    let query = [("pageSize", PAGE_ROWS)];
    let listed = api.rows_until(reconcile::PATH, &query, PAGES_MAX, is_behind).await?;
    let unread = listed.has_more.then(|| first_known(&listed, now));
    let mut found: BTreeMap<String, Vec<(Date, Compared)>> = BTreeMap::new();
    for raw in listed.rows {
        if let Some((configuration, date, compared)) = compared(raw)?
            && compared.made >= since
        {
            found.entry(configuration).or_default().push((date, compared));
        }
    }
    for one in configured.iter_mut().filter(|one| one.checks_cloudtrail()) {
        let compared = found.remove(&one.id).unwrap_or_default();
        let overdue = overdue(&one.configuration, &compared, unread.unwrap_or(since), due(now))?;
        let mut newest = BTreeMap::new();
        // Newest first, as the API lists them.
        for (date, compared) in compared {
            newest.entry(date).or_insert(compared);
        }
        one.days = Days { newest, overdue };
    }
    Ok(unread)
}

/// The first day of which all comparisons were read: none is made before its day begins.
fn first_known(listed: &Listed, now: Timestamp) -> Date {
    let oldest = listed.rows.last().map(|row| show::read(row));
    let made = oldest.and_then(|row| show::instant(&row, "dtCreated")).unwrap_or(now);
    let day = day_of(made);
    day.tomorrow().unwrap_or(day)
}

/// A row that is an ended comparison of a day, with its configuration and its day.
fn compared(raw: Box<RawValue>) -> Result<Option<(String, Date, Compared)>, Failure> {
    let row = show::read(&raw);
    let id = field(&row, "id");
    let of = format!("the comparison {id}");
    let (status, scope) = (reconcile::status(&row)?, decisive::text(&row, "scope", &of)?);
    if scope != "DAY" || !reconcile::is_ended(&status) {
        return Ok(None);
    }
    let configuration = decisive::text(&row, "integrationConfigId", &of)?;
    let date = decisive::date(&row, "date", &of)?;
    let unchecked = list(&row, "unchecked").iter().filter_map(Value::as_str);
    let compared = Compared {
        raw,
        id,
        status,
        unchecked: unchecked.map(str::to_owned).collect(),
        made: day_of(decisive::instant(&row, "dtCreated", &of)?),
        is_scheduled: field(&row, "requestedBy").is_empty(),
    };
    Ok(Some((configuration, date, compared)))
}

/// The days from `first` to `last` that have no comparison, although the configuration was there before they began, and as it is now when they were
/// to be compared. The last one is due also where it was changed since: the schedule compared the day before it.
fn overdue(
    configuration: &Value,
    compared: &[(Date, Compared)],
    first: Date,
    last: Date,
) -> Result<Vec<Date>, Failure> {
    let of = format!("the configuration {}", field(configuration, "id"));
    let made = day_of(decisive::instant(configuration, "dtCreated", &of)?);
    let changed = decisive::instant(configuration, "dtLastModified", &of)?;
    let as_it_is = day_of(before(changed, SCHEDULED));
    let was_scheduled = compared
        .iter()
        .any(|(date, one)| one.is_scheduled && date.tomorrow().is_ok_and(|next| next == last));
    let is_due = |date: Date| made < date && (as_it_is <= date || (was_scheduled && date == last));
    let is_compared = |date: Date| compared.iter().any(|(of, one)| *of == date && one.made > date);
    let days = std::iter::successors(Some(first), |date| date.tomorrow().ok());
    Ok(days
        .take_while(|date| *date <= last)
        .filter(|date| is_due(*date) && !is_compared(*date))
        .collect())
}

/// The newest day whose comparison is due.
fn due(now: Timestamp) -> Date {
    let day = day_of(before(now, DUE));
    day.yesterday().unwrap_or(day)
}

fn before(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// The day of an instant, UTC.
fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn row(date: &str, created: &str, requested_by: Option<&str>) -> (Date, Compared) {
        let row = json!({
            "id": "r", "integrationConfigId": "c", "date": date, "scope": "DAY", "status": "MATCHES",
            "dtCreated": created, "requestedBy": requested_by, "unchecked": [],
        });
        let raw = RawValue::from_string(row.to_string()).unwrap();
        let (_, date, compared) = compared(raw).unwrap().unwrap();
        (date, compared)
    }

    #[test]
    fn a_report_is_due_at_13() {
        for (now, expect) in [
            ("2025-06-11T12:59:59Z", "2025-06-09"),
            ("2025-06-11T13:00:00Z", "2025-06-10"),
            ("2025-06-11T23:59:59Z", "2025-06-10"),
        ] {
            assert_eq!(due(now.parse().unwrap()), day(expect), "{now}");
        }
    }

    #[test]
    fn a_day_is_overdue_if_the_configuration_was_there_and_nobody_compared_it() {
        let scheduled = |date: &str, created: &str| row(date, created, None);
        let check = |made: &str, changed: &str, compared: &[(Date, Compared)], expect: &[&str]| {
            let configuration = json!({"id": "c", "dtCreated": made, "dtLastModified": changed});
            let found = overdue(&configuration, compared, day("2025-06-07"), day("2025-06-10")).unwrap();
            let expect: Vec<Date> = expect.iter().map(|date| day(date)).collect();
            assert_eq!(found, expect, "{made} {changed}");
        };
        let long_ago = "2025-01-01T00:00:00Z";
        let all = ["2025-06-07", "2025-06-08", "2025-06-09", "2025-06-10"];
        check(long_ago, long_ago, &[], &all);
        let some = [
            scheduled("2025-06-10", "2025-06-11T11:00:00Z"),
            scheduled("2025-06-08", "2025-06-09T11:00:00Z"),
        ];
        check(long_ago, long_ago, &some, &["2025-06-07", "2025-06-09"]);
        // What was compared before the day was over does not stand for it.
        let early = [row("2025-06-10", "2025-06-10T12:00:00Z", Some("somebody"))];
        check("2025-06-08T12:00:00Z", "2025-06-08T12:00:00Z", &early, &all[2..]);
        // What was changed after the schedule is compared from the next day on, unless the day before was compared.
        let changed = "2025-06-11T12:00:00Z";
        check(long_ago, "2025-06-11T10:59:59Z", &[], &all[3..]);
        check(long_ago, changed, &[], &[]);
        check(long_ago, changed, &some[1..], &[]);
        let yesterday = [scheduled("2025-06-09", "2025-06-10T11:00:00Z")];
        check(long_ago, changed, &yesterday, &all[3..]);
        check(long_ago, changed, &early, &[]);
        assert!(
            overdue(
                &json!({"id": "c", "dtCreated": long_ago}),
                &[],
                day("2025-06-07"),
                day("2025-06-10")
            )
            .is_err()
        );
    }
}
