//! The hourly look at what AWS still takes: repair is cheapest while the window is open.
//!
//! Entries that are pending, in conflict, unknown or without a record in CloudTrail are looked for there, in the time in which they were sent.
//! Money whose window closes soon is an alarm, whether CloudTrail is checked or not.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::day::{self, begun};
use super::desk::Desk;
use super::settle::Alarm;
use super::{Invocation, ReconcileError, chain, opened, report};
use crate::Outbill;
use crate::decisions::comparison::stretch_of;
use crate::decisions::report::{Reconciliation, Scope};
use crate::effects::ledger::{Ledger, TrailList};
use crate::effects::table::StoreError;
use crate::values::configuration::IntegrationConfiguration;
use crate::values::entry::{Entry, EntryState};
use crate::values::hour::Hour;
use crate::values::trail::Stretch;

/// Money whose window closes within this time is an alarm.
const CLOSES_SOON_HOURS: i64 = 3;
/// An attempt is looked for from this age on: CloudTrail shows nothing sooner.
const LOOKED_FOR_AFTER_MINUTES: i64 = 5;
const KIND: &str = "WINDOW_CLOSES_SOON";

/// Raises the alarms of all: of what is pending, and of what waits for evidence where CloudTrail is checked. One that fails stops no other.
pub(super) async fn alarms(outbill: &Outbill, checked: &[IntegrationConfiguration], pending: &[Entry], now: Timestamp) {
    // What waits for evidence may be pending as well.
    let named = |entry: &Entry| ((entry.key.hash(), entry.hour), entry.clone());
    let mut entries: BTreeMap<_, _> = pending.iter().map(named).collect();
    for configuration in checked {
        match waiting(outbill, configuration, now).await {
            Ok(found) => entries.extend(found.iter().map(named)),
            Err(error) => report(configuration, &error),
        }
    }
    for entry in entries.values() {
        if let Err(error) = alarm(outbill, entry, now).await {
            tracing::error!(
                configuration.id = entry.origin.configuration.as_str(),
                usage.hour = %entry.hour,
                error = chain(&error),
                "an alarm could not be raised; the next hourly look tries it again"
            );
        }
    }
}

/// What waits for evidence at a configuration; nothing, where it cannot check.
async fn waiting(
    outbill: &Outbill,
    configuration: &IntegrationConfiguration,
    now: Timestamp,
) -> Result<Vec<Entry>, ReconcileError> {
    match Desk::set_up(outbill, &configuration.organization, &configuration.id, now).await? {
        Ok(desk) => Ok(open(&desk).await?),
        Err(_) => Ok(Vec::new()),
    }
}

/// Looks, for every configuration that checks CloudTrail.
pub(super) async fn looks(
    outbill: &Outbill,
    checked: &[IntegrationConfiguration],
    pending: &[Entry],
    invocation: Invocation,
) {
    for configuration in checked {
        if let Err(error) = look(outbill, configuration, pending, invocation).await {
            report(configuration, &error);
        }
    }
}

/// Every pending entry.
pub(super) async fn pending(outbill: &Outbill) -> Result<Vec<Entry>, StoreError> {
    let mut found = Vec::new();
    for shard in Ledger::work_shards() {
        let mut start = None;
        loop {
            let page = outbill.ledger.work(shard, start).await?;
            let entries = outbill.ledger.entries(&page.entries).await?;
            found.extend(entries.into_values().filter(|entry| entry.state == EntryState::Pending));
            start = page.next;
            if start.is_none() {
                break;
            }
        }
    }
    Ok(found)
}

/// The entries that wait for evidence and that AWS still takes.
pub(super) async fn open(desk: &Desk<'_>) -> Result<Vec<Entry>, StoreError> {
    const WINDOW_HOURS: i64 = -31;
    let from = Hour::containing(day::hours(desk.now, WINDOW_HOURS));
    let until = Hour::containing(day::hours(desk.now, 2));
    let listed = day::listed(desk, TrailList::Open, (from, until)).await?;
    Ok(listed.into_iter().filter(|entry| is_watched(entry, desk.now)).collect())
}

/// Whether AWS will refuse an entry's hour soon that it has not settled.
pub(super) fn closes_soon(entry: &Entry, now: Timestamp) -> bool {
    let left = entry.hour.closes_at().duration_since(now);
    is_watched(entry, now) && left <= SignedDuration::from_hours(CLOSES_SOON_HOURS)
}

fn is_watched(entry: &Entry, now: Timestamp) -> bool {
    let waits = match entry.state {
        EntryState::Pending | EntryState::Conflict | EntryState::Unknown => true,
        EntryState::Accepted => entry.is_unverified(),
        EntryState::Adopted | EntryState::Refused | EntryState::Released => false,
    };
    waits && now < entry.hour.closes_at()
}

/// One configuration's look: a reconciliation of its own, which is reported if it amends anything.
async fn look(
    outbill: &Outbill,
    configuration: &IntegrationConfiguration,
    pending: &[Entry],
    invocation: Invocation,
) -> Result<(), ReconcileError> {
    let (organization, now) = (&configuration.organization, invocation.now);
    let Ok(desk) = Desk::set_up(outbill, organization, &configuration.id, now).await? else {
        return Ok(());
    };
    let is_old = |entry: &Entry| {
        now.duration_since(entry.last_attempt_at()) >= SignedDuration::from_mins(LOOKED_FOR_AFTER_MINUTES)
    };
    let own = pending
        .iter()
        .filter(|entry| desk.looks_after(entry) && is_watched(entry, now));
    let mut watched: Vec<Entry> = own.cloned().collect();
    watched.extend(open(&desk).await?);
    let stretches = watched.iter().filter(|entry| is_old(entry)).map(|entry| Stretch {
        from: stretch_of(entry).from,
        until: now,
    });
    let plan = Stretch::joined(stretches.collect());
    if plan.is_empty() {
        return Ok(());
    }
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let look = Reconciliation {
        scope: Scope::Window,
        progress: Some(begun(plan)),
        ..opened(outbill, organization, &configuration.id, today, None, now)
    };
    outbill.reconciliations.create(&look).await?;
    day::go_on(outbill, organization, &look.id, invocation).await
}

/// Tells somebody of money that AWS will refuse soon.
async fn alarm(outbill: &Outbill, entry: &Entry, now: Timestamp) -> Result<(), StoreError> {
    if !closes_soon(entry, now) {
        return Ok(());
    }
    let closes_at = entry.hour.closes_at();
    let origin = &entry.origin;
    let dimension = format!("{}-{}", origin.connection.product_code, entry.key.dimension);
    let message = format!(
        "{} units of {dimension} for hour {}:00Z are {}: AWS takes them until {closes_at} and not later. {}",
        entry.quantity,
        entry.hour,
        entry.state,
        entry.reason.as_deref().unwrap_or(match entry.state {
            EntryState::Accepted => "AWS gave a receipt, and CloudTrail does not show the record",
            _ => "AWS has not answered yet",
        })
    );
    let alarm = Alarm {
        organization: &origin.connection.organization,
        configuration: &origin.configuration,
        kind: KIND,
        name: format!("{KIND}#{}#{}", entry.key.hash(), entry.hour),
        message,
        about: json!({
            "dimension": dimension, "customer": entry.key.buyer.customer(), "hour": format!("{}:00:00Z", entry.hour), "quantity": entry.quantity,
            "state": entry.state, "closesAt": closes_at, "integrationRunId": origin.run, "billId": origin.bill.bill,
        }),
    };
    alarm.raise(outbill, now).await
}
