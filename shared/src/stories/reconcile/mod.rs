//! Reconciliation: what AWS recorded beside what the ledger says, and the ledger amended where evidence decides.
//!
//! ```text
//! schedule, daily ── open one per configuration ─┐
//! POST reconciliations ──────────────────────────┼─ continue: read ─ compare ─ amend ─ absence ─ report
//! schedule, hourly ── watch: alarms and gauges ─ what AWS still takes: read ─ compare ─ amend
//! ```
//!
//! Nothing is sent to AWS Marketplace from here: an amendment leaves its key dirty, and the ordinary claim and submit do the rest.
//!
//! # Invariants
//! - Every step can be repeated: the same day twice, in parallel, or interrupted anywhere and done again, amends once.
//! - One configuration's failure never stops another's.
//! - Progress is durable page by page; an invocation that ends is continued by the next.

mod absence;
mod day;
mod desk;
mod gauges;
mod read;
mod restore;
mod settle;
mod shown;
mod watch;

pub use restore::thaw;
pub use shown::shown;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::Outbill;
use crate::decisions::report::{Reconciliation, Scope, Status, Tally};
use crate::effects::cloudtrail::TrailError;
use crate::effects::ledger::LedgerError;
use crate::effects::table::StoreError;
use crate::values::configuration::IntegrationConfiguration;
use crate::values::ids::{ConfigurationId, OrganizationId};

//= https://docs.aws.amazon.com/awscloudtrail/latest/userguide/view-cloudtrail-events.html
//# Event history provides a record of the past 90 days of management events
/// Days back that can be reconciled.
pub const DAYS_BACK_MAX: i64 = 90;

/// The schedule's hour, UTC.
const SCHEDULED_HOURS: i64 = 11;

/// What an invocation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The previous day of every configuration that checks CloudTrail, and what is not finished.
    Daily,
    /// The same for another day.
    Day(Date),
    /// What is not finished.
    Continue,
    /// What AWS still takes, while repair is cheap.
    Watch,
}

/// Why something could not be reconciled now. All of these are tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// Another invocation has taken the reconciliation.
    #[error("another invocation goes on with reconciliation {0}")]
    Taken(String),
}

/// When an invocation began: everything in it is judged as of then.
#[derive(Debug, Clone, Copy)]
struct Invocation {
    now: Timestamp,
    begun: Instant,
}

impl Invocation {
    fn at(now: Timestamp) -> Invocation {
        Invocation {
            now,
            begun: Instant::now(),
        }
    }

    /// What the clock shows by now, for leases: an invocation lasts longer than one of them.
    fn clock(self) -> Timestamp {
        let passed = SignedDuration::try_from(self.begun.elapsed()).unwrap_or(SignedDuration::MAX);
        self.now.saturating_add(passed).unwrap_or(self.now)
    }
}

/// Does the work. Each configuration's failure is logged and left for the next invocation; the error is of what concerns all of them.
pub fn reconcile(outbill: &Outbill, work: Work, now: Timestamp) -> BoxFuture<'_, Result<(), ReconcileError>> {
    let invocation = Invocation::at(now);
    async move {
        match work {
            Work::Daily => {
                schedule(outbill, &checked(outbill).await?, day_before(now), now).await?;
                continue_all(outbill, invocation).await
            }
            Work::Day(date) => {
                for configuration in checked(outbill).await? {
                    ask(outbill, &configuration, date, Some("a schedule"), now).await?;
                }
                continue_all(outbill, invocation).await
            }
            Work::Continue => continue_all(outbill, invocation).await,
            Work::Watch => look(outbill, invocation).await,
        }
    }
    .boxed()
}

/// The hourly look. What needs the table only comes first: reading CloudTrail may take all the time that an invocation has. Each step is done
/// whatever became of those before it.
async fn look(outbill: &Outbill, invocation: Invocation) -> Result<(), ReconcileError> {
    let now = invocation.now;
    let all = all(outbill).await?;
    let checked: Vec<IntegrationConfiguration> = all.iter().filter(|one| checks(one)).cloned().collect();
    let pending = watch::pending(outbill).await;
    watch::alarms(outbill, &checked, pending.as_deref().unwrap_or_default(), now).await;
    let measured = gauges::measure(outbill, &all, now).await;
    let made_up = make_up(outbill, &checked, now).await;
    let thawed = restore::look(outbill, &all, invocation).await;
    watch::looks(outbill, &checked, pending.as_deref().unwrap_or_default(), invocation).await;
    let read = pending.map(drop).map_err(ReconcileError::from);
    let steps = [read, measured, made_up.map_err(ReconcileError::from), thawed];
    let mut failed = steps.into_iter().filter_map(Result::err);
    let first = failed.next();
    failed.for_each(|error| {
        tracing::error!(
            error = chain(&error),
            "a step of the hourly look failed; the next one does it again"
        );
    });
    first.map_or(Ok(()), Err)
}

/// The calendar day before, UTC.
pub fn day_before(now: Timestamp) -> Date {
    let today = now.to_zoned(TimeZone::UTC).date();
    today.yesterday().unwrap_or(today)
}

/// Whether a day can be reconciled: it has begun, and CloudTrail still has it.
pub fn is_within_reach(date: Date, now: Timestamp) -> bool {
    let today = now.to_zoned(TimeZone::UTC).date();
    let oldest = today.checked_sub(SignedDuration::from_hours(24 * DAYS_BACK_MAX));
    date <= today && oldest.is_ok_and(|oldest| date >= oldest)
}

/// Opens a reconciliation, to be begun by the next invocation.
pub async fn ask(
    outbill: &Outbill,
    configuration: &IntegrationConfiguration,
    date: Date,
    by: Option<&str>,
    now: Timestamp,
) -> Result<Reconciliation, StoreError> {
    let opened = opened(outbill, &configuration.organization, &configuration.id, date, by, now);
    outbill.reconciliations.create(&opened).await?;
    Ok(opened)
}

fn opened(
    outbill: &Outbill,
    organization: &OrganizationId,
    configuration: &ConfigurationId,
    date: Date,
    by: Option<&str>,
    now: Timestamp,
) -> Reconciliation {
    Reconciliation {
        id: outbill.ids.text(now),
        organization: organization.clone(),
        configuration: configuration.clone(),
        date,
        scope: Scope::Day,
        asked_by: by.map(str::to_owned),
        status: Status::Waiting,
        created: now,
        completed: None,
        unchecked: Vec::new(),
        tally: Tally::default(),
        progress: None,
    }
}

/// Every configuration of every organization.
async fn all(outbill: &Outbill) -> Result<Vec<IntegrationConfiguration>, StoreError> {
    let mut found = Vec::new();
    for organization in outbill.configurations.organizations().await? {
        found.extend(outbill.configurations.of_organization(&organization).await?);
    }
    Ok(found)
}

/// Every configuration with CloudTrail checks on.
async fn checked(outbill: &Outbill) -> Result<Vec<IntegrationConfiguration>, StoreError> {
    Ok(all(outbill).await?.into_iter().filter(checks).collect())
}

/// Whether CloudTrail checks are on. A configuration whose settings cannot be read counts as one: its report says why nothing was checked.
fn checks(configuration: &IntegrationConfiguration) -> bool {
    match configuration.marketplace() {
        Ok(settings) => settings.cloudtrail.is_some(),
        Err(_) => configuration
            .config_data
            .get("awsMarketplaceCloudtrailChecks")
            .is_some_and(|checks| *checks == true),
    }
}

/// Opens one reconciliation per configuration and day. A schedule that fires twice opens one.
async fn schedule(
    outbill: &Outbill,
    configurations: &[IntegrationConfiguration],
    date: Date,
    now: Timestamp,
) -> Result<(), StoreError> {
    for configuration in configurations {
        let opened = opened(outbill, &configuration.organization, &configuration.id, date, None, now);
        let (store, organization) = (&outbill.reconciliations, &configuration.organization);
        let id = store
            .schedule(organization, &configuration.id, date, (&opened.id, now))
            .await?;
        if store.get(organization, &id).await?.is_none() {
            store.create(&Reconciliation { id, ..opened }).await?;
        }
    }
    Ok(())
}

/// Opens what the schedule of a day should have opened, until that of the next day is due.
async fn make_up(outbill: &Outbill, checked: &[IntegrationConfiguration], now: Timestamp) -> Result<(), StoreError> {
    let date = day_before(day::hours(now, -SCHEDULED_HOURS));
    let expected = checked
        .iter()
        .filter(|configuration| gauges::is_expected(configuration, date));
    let expected: Vec<IntegrationConfiguration> = expected.cloned().collect();
    schedule(outbill, &expected, date, now).await
}

async fn continue_all(outbill: &Outbill, invocation: Invocation) -> Result<(), ReconcileError> {
    for (organization, id) in outbill.reconciliations.open().await? {
        if let Err(error) = day::go_on(outbill, &organization, &id, invocation).await {
            tracing::error!(
                reconciliation.id = id,
                error = chain(&error),
                "a reconciliation could not go on and is tried again"
            );
        }
    }
    Ok(())
}

/// What failed of one configuration in an hourly look.
fn report(configuration: &IntegrationConfiguration, error: &ReconcileError) {
    tracing::error!(
        configuration.id = %configuration.id,
        error = chain(error),
        "the hourly look at a configuration could not be finished; the next one tries it again"
    );
}

/// The whole chain of causes, once.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |chain, cause| format!("{chain}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clock_of_leases_goes_on_while_an_invocation_is_judged_as_of_its_beginning() {
        let now: Timestamp = "2025-06-10T11:00:00Z".parse().unwrap();
        let begun = Instant::now().checked_sub(Duration::from_secs(240)).unwrap();
        let clock = Invocation { now, begun }.clock();
        let later: Timestamp = "2025-06-10T11:04:00Z".parse().unwrap();
        assert!(clock >= later, "{clock}");
    }
}
