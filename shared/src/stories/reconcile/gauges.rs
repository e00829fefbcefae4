//! What waits, measured every hour: how much money AWS has not taken, how long it has waited, and whether anybody compares.
//!
//! Every gauge is sent every hour, as 0 where there is nothing: a gauge that is missing means that nobody looks.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::watch::closes_soon;
use super::{ReconcileError, SCHEDULED_HOURS, checks, day, day_before, restore};
use crate::Outbill;
use crate::decisions::report::{Reconciliation, Scope};
use crate::effects::freeze::{Look, Standing};
use crate::effects::ledger::Open;
use crate::effects::table::{PageRequest, StoreError};
use crate::values::configuration::IntegrationConfiguration;
use crate::values::entry::{Entry, EntryState, KeyState};
use crate::values::ids::{ConfigurationId, OrganizationId};
use crate::values::metric::{Measured, Metric};

const PAGE_ROWS: usize = 500;
/// A day's report is to be there at 13:00 UTC: two hours after its schedule.
const REPORT_DUE_HOURS: i64 = 13;

/// Measures all organizations and writes the gauges. `all` are their configurations.
pub(super) async fn measure(
    outbill: &Outbill,
    all: &[IntegrationConfiguration],
    now: Timestamp,
) -> Result<(), ReconcileError> {
    let mut measured = Measured::default();
    for gauge in [
        Metric::UnitsAtRisk,
        Metric::UnitsClosingSoon,
        Metric::UnitsUndecided,
        Metric::UnitsBlocked,
        Metric::UnitsCarried,
    ] {
        measured.add(gauge, 0);
    }
    let mut oldest_seconds = 0;
    let in_shadow = all.iter().filter(|configuration| configuration.is_in_shadow());
    let in_shadow: BTreeSet<ConfigurationId> = in_shadow.map(|configuration| configuration.id.clone()).collect();
    for organization in outbill.configurations.organizations().await? {
        let mut in_shadow = in_shadow.clone();
        let left = outbill.configurations.left_in_shadow(&organization).await?;
        in_shadow.extend(
            left.into_iter()
                .filter(|left| all.iter().all(|known| known.id != *left)),
        );
        let age = open(outbill, &organization, &in_shadow, &mut measured, now).await?;
        oldest_seconds = oldest_seconds.max(age);
    }
    measured.add(Metric::OldestPendingAge, oldest_seconds);
    // Bill-dispatch counts one when it disables it, so that the alarm need not wait for this look; here it is told as long as it lasts.
    let disabled = all.iter().filter(|configuration| !configuration.enabled).count();
    measured.add(
        Metric::ConfigurationsDisabled,
        i64::try_from(disabled).unwrap_or(i64::MAX),
    );
    let frozen = match outbill.freeze.standing(Look::AndNote, now).await? {
        Standing::Own => 0,
        Standing::Frozen(frozen) => restore::still(all, &frozen).count(),
    };
    measured.add(Metric::ConfigurationsFrozen, i64::try_from(frozen).unwrap_or(i64::MAX));
    measured.add(Metric::ReconciliationsOverdue, overdue(outbill, all, now).await?);
    outbill.metrics.emit(&measured, now);
    Ok(())
}

/// Adds up what is open in an organization; gives the age of its oldest pending entry, in seconds.
async fn open(
    outbill: &Outbill,
    organization: &OrganizationId,
    in_shadow: &BTreeSet<ConfigurationId>,
    measured: &mut Measured,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let mut oldest_seconds = 0;
    let mut page = PageRequest {
        size: PAGE_ROWS,
        after: None,
    };
    loop {
        let found = outbill.ledger.open(organization, &page).await?;
        for open in found.items {
            match open {
                Open::Entry(entry) => oldest_seconds = oldest_seconds.max(self::entry(&entry, measured, now)),
                // What a shadow counts is no money that waits.
                Open::Key(state) if in_shadow.contains(&state.origin.configuration) => {}
                Open::Key(state) => key(&state, measured),
            }
        }
        page.after = found.next;
        if page.after.is_none() {
            return Ok(oldest_seconds);
        }
    }
}

/// An entry whose outcome is not known; gives its age if it is still sent.
fn entry(entry: &Entry, measured: &mut Measured, now: Timestamp) -> i64 {
    measured.add(Metric::UnitsAtRisk, entry.quantity);
    if closes_soon(entry, now) {
        measured.add(Metric::UnitsClosingSoon, entry.quantity);
    }
    if entry.waits_for_a_decision() {
        measured.add(Metric::UnitsUndecided, entry.quantity);
    }
    match entry.state {
        EntryState::Pending => now.duration_since(entry.claimed_at).as_secs().max(0),
        EntryState::Accepted
        | EntryState::Unknown
        | EntryState::Conflict
        | EntryState::Adopted
        | EntryState::Refused
        | EntryState::Released => 0,
    }
}

fn key(state: &KeyState, measured: &mut Measured) {
    let owed = state.total.saturating_sub(state.committed);
    measured.add(Metric::UnitsAtRisk, owed.max(0));
    measured.add(Metric::UnitsCarried, owed.saturating_neg().max(0));
    if state.is_stopped() {
        measured.add(Metric::UnitsBlocked, owed.max(0));
    }
}

/// Configurations whose last day has no finished report although it is due.
async fn overdue(outbill: &Outbill, all: &[IntegrationConfiguration], now: Timestamp) -> Result<i64, StoreError> {
    let due = now.checked_sub(SignedDuration::from_hours(REPORT_DUE_HOURS));
    let date = day_before(due.unwrap_or(now));
    let mut overdue: i64 = 0;
    for configuration in all.iter().filter(|configuration| checks(configuration)) {
        if is_expected(configuration, date) && !is_reported(outbill, configuration, date).await? {
            overdue = overdue.saturating_add(1);
        }
    }
    Ok(overdue)
}

/// Whether a configuration was there, as it is, when the day's comparison was scheduled: one that was changed later is compared from the next day on.
pub(super) fn is_expected(configuration: &IntegrationConfiguration, date: Date) -> bool {
    let (_, end) = day::bounds(date);
    let scheduled = day::hours(end, SCHEDULED_HOURS);
    configuration.audit.last_modified < scheduled
}

async fn is_reported(
    outbill: &Outbill,
    configuration: &IntegrationConfiguration,
    date: Date,
) -> Result<bool, StoreError> {
    let (store, organization) = (&outbill.reconciliations, &configuration.organization);
    if let Some(id) = store.scheduled(organization, &configuration.id, date).await?
        && let Some(report) = store.get(organization, &id).await?
        && report.status.is_final()
    {
        return Ok(true);
    }
    // Somebody may have asked for the day once it was over. Newest first, so whatever was there before its end ends the search.
    let (_, end) = day::bounds(date);
    let is_older = |report: &Reconciliation| report.created < end;
    let is_of_day = |report: &Reconciliation| {
        report.configuration == configuration.id
            && report.date == date
            && report.scope == Scope::Day
            && report.status.is_final()
    };
    let newest = PageRequest { size: 1, after: None };
    let found = store
        .list(organization, &newest, |report| is_older(report) || is_of_day(report))
        .await?;
    Ok(found.items.iter().any(|report| !is_older(report)))
}
