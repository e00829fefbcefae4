//! What needs a person: what it is, and the command that goes on. What concerns a whole configuration comes first; what is mended the same way is
//! said once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Configured;
use super::days::Compared;
use crate::commands::pending::Waiting;
use crate::commands::reconcile;
use crate::show::{self, counted, field};

/// As the metric `UnitsClosingSoon`.
const CLOSES_SOON: SignedDuration = SignedDuration::from_hours(3);
/// Reconciliation decides an entry at 11:00 UTC, when 72 hours have passed since its last attempt, which may be a day after its claim.
const DECIDED_AFTER: SignedDuration = SignedDuration::from_hours(5 * 24);
/// CloudTrail was read until three hours after a copy was found, with the next hourly look, and let it thaw; or it did not.
const THAWED_AFTER: SignedDuration = SignedDuration::from_hours(6);
/// A day that differs may differ for ever, whoever asks again: somebody has so long to see it.
const DIFFERS_NAMED_FOR: SignedDuration = SignedDuration::from_hours(8 * 24);
/// Ids and reasons of one kind that are named.
const NAMED_MAX: usize = 3;
/// States of `pending` that need nobody by themselves. A key IN_CONFLICT has an entry in CONFLICT, which says when somebody is needed.
const SETTLED_BY_THEMSELVES: [&str; 12] = [
    "ACCEPTED",
    "ADOPTED",
    "CARRY",
    "CONFLICT",
    "FROZEN",
    "IN_CONFLICT",
    "PENDING",
    "REFUSED",
    "RELEASED",
    "SHADOW",
    "UNKNOWN",
    "WAITS",
];

/// Why a row of `pending` needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Its key is blocked.
    Blocked,
    /// No reconciliation decides it.
    Undecided,
    /// Its configuration or credential does not send.
    Stopped,
    /// AWS soon refuses it.
    ClosesSoon,
    /// It is in a state that this program does not know.
    Unfamiliar,
}

/// What rows have in common that are mended the same way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike {
    need: Need,
    state: String,
    configuration: String,
    way_out: String,
}

/// All that needs a person, in words. `unread` is the first day all of whose comparisons are known, where not all were read.
pub(super) fn needed(open: &[Waiting], configured: &[Configured], unread: Option<Date>, now: Timestamp) -> Vec<String> {
    let mut needed: Vec<String> = configured.iter().flat_map(|one| of_configuration(one, now)).collect();
    needed.extend(unread.map(|first| {
        format!(
            "the comparisons of the days before {first} were too many to be looked at: outbill reconcile --status NOT_CHECKED, and so with \
             PARTLY_CHECKED and DIFFERS"
        )
    }));
    let mut groups: BTreeMap<Alike, Vec<&Waiting>> = BTreeMap::new();
    for row in open {
        if let Some(need) = need(row, configured, now) {
            let alike = Alike {
                need,
                state: row.state.clone(),
                configuration: row.field("integrationConfigId"),
                way_out: row.field("wayOut"),
            };
            groups.entry(alike).or_default().push(row);
        }
    }
    needed.extend(groups.iter().map(|(alike, rows)| together(alike, rows, configured)));
    needed.extend(configured.iter().flat_map(failed_bills));
    needed
}

/// What concerns a configuration as a whole.
fn of_configuration(one: &Configured, now: Timestamp) -> Vec<String> {
    let (name, id) = (one.name(), &one.id);
    let mut needed = Vec::new();
    if let Some(why) = &one.disabled_because {
        needed.push(format!("{name} is disabled: {why}. Mend it, then: outbill enable {id}"));
    }
    let frozen = one.frozen_since.map(|since| (since, one.checks_cloudtrail()));
    if let Some((since, checks)) = frozen.filter(|(since, checks)| !checks || now - THAWED_AFTER > *since) {
        let why = match checks {
            true => format!(
                "CloudTrail does not show all that it lacks (why: outbill reconcile --configuration {id}, scope RESTORE)"
            ),
            false => "no CloudTrail check will thaw it".to_owned(),
        };
        needed.push(format!(
            "{name} sends nothing since {}, because the table is a restored copy, and {why}. Find out what AWS was sent since the copy was made, then: \
             outbill thaw {id} --reason …",
            show::time(since),
        ));
    }
    if !one.is("authorized") {
        needed.push(format!(
            "{name} has no credential and sends nothing: give it one, see docs/access.md"
        ));
    }
    needed.extend(overdue(one));
    needed.extend(unproven(one, now));
    needed
}

/// The days of a configuration that nobody compared although it was due.
fn overdue(one: &Configured) -> Option<String> {
    let (name, days) = (one.name(), &one.days.overdue);
    let dates: Vec<String> = days.iter().map(Date::to_string).collect();
    (!dates.is_empty()).then(|| {
        format!(
            "{name}: no comparison of {} has ended: overdue. Look at the reconcile function's log, then {}",
            dates.join(", "),
            ask_again(one, days)
        )
    })
}

/// The days of a configuration whose comparisons need a person, by status and by whether they say why: each with its way out.
fn unproven(one: &Configured, now: Timestamp) -> Vec<String> {
    let differs_since = (now - DIFFERS_NAMED_FOR).to_zoned(TimeZone::UTC).date();
    let mut groups: BTreeMap<(&str, bool), Vec<(Date, &Compared)>> = BTreeMap::new();
    let proven = one.days.newest.iter().rev();
    let mut proven = proven.filter(|(_, compared)| !reconcile::needs_a_person(&compared.status));
    let last_proven = proven.next().map(|(date, _)| *date);
    for (date, compared) in &one.days.newest {
        let is_old = match compared.status.as_str() {
            "DIFFERS" => *date < differs_since,
            // Every comparison looks at all entries that are open: what was open then is settled.
            "PARTLY_CHECKED" if compared.unchecked.is_empty() => last_proven.is_some_and(|proven| proven > *date),
            _ => false,
        };
        if reconcile::needs_a_person(&compared.status) && !is_old {
            let alike = (compared.status.as_str(), compared.unchecked.is_empty());
            groups.entry(alike).or_default().push((*date, compared));
        }
    }
    let said = |((status, is_without), days): ((&str, bool), Vec<(Date, &Compared)>)| {
        let (dates, compared): (Vec<Date>, Vec<&Compared>) = days.into_iter().unzip();
        let again = ask_again(one, &dates);
        let dates: Vec<String> = dates.iter().map(Date::to_string).collect();
        let (noun, verb) = match dates.len() {
            1 => ("comparison", "is"),
            _ => ("comparisons", "are"),
        };
        let what = format!("{}: the {noun} of {} {verb} {status}", one.name(), dates.join(", "));
        match is_without {
            true => format!(
                "{what}. {}; when that is settled {again}",
                look_at(one, status, &compared)
            ),
            false => {
                let reasons = compared.iter().flat_map(|compared| compared.unchecked.iter().cloned());
                format!("{what}: {}. Mend it, then {again}", distinct(reasons))
            }
        }
    };
    groups.into_iter().map(said).collect()
}

/// Where the discrepancies of comparisons are read, the newest first.
fn look_at(one: &Configured, status: &str, compared: &[&Compared]) -> String {
    let newest = compared.last().map(|newest| newest.id.as_str()).unwrap_or_default();
    let shown = format!("See: outbill reconcile show {newest}");
    match compared.len() {
        1 => shown,
        _ => format!(
            "{shown}, and the others: outbill reconcile --status {status} --configuration {}",
            one.id
        ),
    }
}

/// How days are asked for again.
fn ask_again(one: &Configured, days: &[Date]) -> String {
    match days {
        [day] => format!(
            "ask for the day: outbill reconcile ask {day} --configuration {}",
            one.id
        ),
        _ => format!(
            "ask for each day: outbill reconcile ask DATE --configuration {}",
            one.id
        ),
    }
}

/// Bills whose newest run in a configuration failed.
fn failed_bills(one: &Configured) -> Vec<String> {
    let said = |run: &Value| {
        format!(
            "bill {}: {}. Log: outbill runs show {} --log",
            field(run, "entityId"),
            field(run, "error"),
            field(run, "id")
        )
    };
    one.failed.iter().map(|run| said(&show::read(run))).collect()
}

fn need(row: &Waiting, configured: &[Configured], now: Timestamp) -> Option<Need> {
    let closes_soon = row.is_at_risk() && row.refused_from.is_some_and(|end| end <= now + CLOSES_SOON);
    match row.state.as_str() {
        "BLOCKED" => Some(Need::Blocked),
        "UNKNOWN" | "CONFLICT" if !is_decided_by_itself(row, configured, now) => Some(Need::Undecided),
        // Nobody sends it any more.
        "UNKNOWN" | "CONFLICT" if row.refused_from.is_some_and(|end| end <= now) => None,
        "CONNECTION_FAILING" | "CONFIGURATION_DISABLED" => Some(Need::Stopped),
        state if !SETTLED_BY_THEMSELVES.contains(&state) => Some(Need::Unfamiliar),
        _ => closes_soon.then_some(Need::ClosesSoon),
    }
}

/// Whether reconciliation will decide an entry, and has not had the time yet.
fn is_decided_by_itself(row: &Waiting, configured: &[Configured], now: Timestamp) -> bool {
    let configuration = row.field("integrationConfigId");
    let checks = configured
        .iter()
        .any(|one| one.id == configuration && one.checks_cloudtrail());
    checks && show::instant(&row.row, "dtClaimed").is_some_and(|claimed| now - DECIDED_AFTER < claimed)
}

/// One entry for rows that are mended the same way: a single one with its buyer, several with their number.
fn together(alike: &Alike, rows: &[&Waiting], configured: &[Configured]) -> String {
    let what = what(alike, rows, configured);
    let reasons = distinct(rows.iter().map(|row| row.field("reason")));
    let Alike { state, way_out, .. } = alike;
    match alike.need {
        Need::Blocked => format!(
            "{what}: blocked. {reasons}. Mend it, then: {}",
            for_each(rows, "KEY", |key| format!("outbill unblock {key} --reason …"))
        ),
        Need::Undecided => format!(
            "{what}: {state}. Look at AWS whether it has them, then: {}",
            for_each(rows, "ENTRY", |entry| format!(
                "outbill resolve {entry} --as accepted|released --reason …"
            ))
        ),
        Need::Stopped => format!("{what}: {state}. {way_out}"),
        Need::ClosesSoon => {
            let first = rows.iter().filter_map(|row| row.refused_from).min();
            let first = first.map_or_else(String::new, show::time);
            format!("{what}: AWS refuses them from {first}. {reasons}. See: outbill pending")
        }
        Need::Unfamiliar => format!(
            "{what}: {state}, a state that this outbill does not know. {reasons}. {way_out}. Use an outbill of the API's version"
        ),
    }
}

/// Whose units, and how many.
fn what(alike: &Alike, rows: &[&Waiting], configured: &[Configured]) -> String {
    let units = rows.iter().map(|row| row.units).fold(0, i64::saturating_add);
    let units = counted(units, "unit", "units");
    if let [row] = rows {
        let (dimension, buyer) = (row.field("dimension"), row.field("customer"));
        return format!("{units} of {dimension}, buyer {buyer}");
    }
    let is_entry = rows.iter().any(|row| row.field("kind") == "ENTRY");
    let (one, many) = match is_entry {
        true => ("entry", "entries"),
        false => ("key", "keys"),
    };
    let number = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let configuration = configured.iter().find(|one| one.id == alike.configuration);
    let configuration = configuration.map_or_else(
        || format!("configuration {}, which is gone", alike.configuration),
        Configured::name,
    );
    format!("{}, {units}, of {configuration}", counted(number, one, many))
}

/// The command for a row, or for each of several.
fn for_each(rows: &[&Waiting], placeholder: &str, command: impl Fn(&str) -> String) -> String {
    match rows {
        [row] => command(&row.field("id")),
        _ => format!(
            "{}, for {} (outbill pending lists them)",
            command(placeholder),
            distinct(rows.iter().map(|row| row.field("id")))
        ),
    }
}

/// The first of them, each once, and how many more there are.
fn distinct(all: impl Iterator<Item = String>) -> String {
    let all: BTreeSet<String> = all.collect();
    let named: Vec<&str> = all.iter().take(NAMED_MAX).map(String::as_str).collect();
    match all.len().saturating_sub(NAMED_MAX) {
        0 => named.join("; "),
        more => format!("{} and {more} more", named.join("; ")),
    }
}
