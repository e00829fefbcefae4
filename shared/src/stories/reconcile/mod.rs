//! Reconciliation: what AWS recorded beside what the ledger says, and the ledger amended where evidence decides.
//!
//! ```text
//! schedule, daily ── open one per configuration ─┐
//! POST reconciliations ──────────────────────────┼─ continue: read ─ compare ─ amend ─ absence ─ report
//! schedule, hourly ── watch: what AWS still takes ─ read ─ compare ─ amend ─ alarms
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

/// Does the work. Each configuration's failure is logged and left for the next invocation; the error is of what concerns all of them.
pub fn reconcile(outbill: &Outbill, work: Work, now: Timestamp) -> BoxFuture<'_, Result<(), ReconcileError>> {
    async move {
        match work {
            Work::Daily => {
                schedule(outbill, day_before(now), now).await?;
                continue_all(outbill, now).await
            }
            Work::Day(date) => {
                for configuration in checked(outbill).await? {
                    ask(outbill, &configuration, date, Some("a schedule"), now).await?;
                }
                continue_all(outbill, now).await
            }
            Work::Continue => continue_all(outbill, now).await,
            Work::Watch => {
                let all = all(outbill).await?;
                let checked: Vec<IntegrationConfiguration> = all.iter().filter(|one| checks(one)).cloned().collect();
                let frozen = restore::look(outbill, &all, now).await?;
                let watched = watch::all(outbill, &checked, now).await;
                gauges::measure(outbill, &all, frozen, now).await?;
                watched
            }
        }
    }
    .boxed()
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
async fn schedule(outbill: &Outbill, date: Date, now: Timestamp) -> Result<(), StoreError> {
    for configuration in checked(outbill).await? {
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

async fn continue_all(outbill: &Outbill, now: Timestamp) -> Result<(), ReconcileError> {
    for (organization, id) in outbill.reconciliations.open().await? {
        if let Err(error) = day::go_on(outbill, &organization, &id, now).await {
            report(&id, &error);
        }
    }
    Ok(())
}

/// The whole chain of causes, once.
fn report(about: &str, error: &ReconcileError) {
    tracing::error!(
        reconciliation.id = about,
        error = chain(error),
        "a reconciliation could not go on and is tried again"
    );
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |chain, cause| format!("{chain}: {cause}"))
}
