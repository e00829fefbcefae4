//! A restored copy of the table: what AWS was sent since is read from CloudTrail, and then its configurations thaw.
//!
//! Until a configuration thaws, its bills are counted and nothing of it is claimed or sent ([`crate::effects::freeze`]). The reading is an
//! ordinary reconciliation: what AWS holds and the copy lacks is adopted. What the copy has pending is never sent again, because its units may
//! have been claimed in another hour since: it waits for evidence instead.

use jiff::Timestamp;
use serde_json::json;

use super::day::{self, Run};
use super::desk::Desk;
use super::settle::Alarm;
use super::{Invocation, ReconcileError, all, checks, opened, report, watch};
use crate::Outbill;
use crate::decisions::report::{Reconciliation, Scope};
use crate::decisions::thaw::{Gap, still_frozen};
use crate::effects::freeze::{Frozen, Look, Standing};
use crate::effects::table::StoreError;
use crate::values::configuration::IntegrationConfiguration;
use crate::values::entry::{ByHand, Entry};
use crate::values::ids::{ConfigurationId, OrganizationId};
use crate::values::trail::Stretch;

const KIND: &str = "TABLE_RESTORED";

/// Every hour: notes that the table is in use, or, if it is a copy, looks whether its configurations may thaw.
pub(super) async fn look(
    outbill: &Outbill,
    all: &[IntegrationConfiguration],
    invocation: Invocation,
) -> Result<(), ReconcileError> {
    let now = invocation.now;
    let Standing::Frozen(frozen) = outbill.freeze.standing(Look::AndNote, now).await? else {
        outbill.freeze.alive(now).await?;
        return Ok(());
    };
    for configuration in still(all, &frozen) {
        tell(outbill, configuration, &frozen, now).await?;
        if checks(configuration)
            && let Err(error) = read(outbill, configuration, invocation).await
        {
            report(configuration, &error);
        }
    }
    Ok(())
}

/// The configurations that have not thawed.
pub(super) fn still<'a>(
    all: &'a [IntegrationConfiguration],
    frozen: &'a Frozen,
) -> impl Iterator<Item = &'a IntegrationConfiguration> {
    let is_frozen =
        |configuration: &&IntegrationConfiguration| !frozen.is_thawed(&configuration.organization, &configuration.id);
    all.iter().filter(is_frozen)
}

async fn tell(
    outbill: &Outbill,
    configuration: &IntegrationConfiguration,
    frozen: &Frozen,
    now: Timestamp,
) -> Result<(), StoreError> {
    let message = format!(
        "the table is a copy that was restored from its state after {}: bills are counted and nothing is sent until CloudTrail was read for the time since, or an operator thaws the configuration (POST integrationconfigs/{}/thaw)",
        frozen.complete_until, configuration.id
    );
    let alarm = Alarm {
        organization: &configuration.organization,
        configuration: &configuration.id,
        kind: KIND,
        name: format!("{KIND}#{}#{}", configuration.id, frozen.since),
        message,
        about: json!({ "completeUntil": frozen.complete_until, "frozenSince": frozen.since }),
    };
    alarm.raise(outbill, now).await
}

/// Reads the gap, in a reconciliation of its own; one that an earlier invocation began is left to be continued.
async fn read(
    outbill: &Outbill,
    configuration: &IntegrationConfiguration,
    invocation: Invocation,
) -> Result<(), ReconcileError> {
    let (organization, now) = (&configuration.organization, invocation.now);
    for (of, id) in outbill.reconciliations.open().await? {
        let open = match of == *organization {
            true => outbill.reconciliations.get(organization, &id).await?,
            false => None,
        };
        if open.is_some_and(|open| open.scope == Scope::Restore && open.configuration == configuration.id) {
            return Ok(());
        }
    }
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let reading = Reconciliation {
        scope: Scope::Restore,
        ..opened(outbill, organization, &configuration.id, today, None, now)
    };
    outbill.reconciliations.create(&reading).await?;
    day::go_on(outbill, organization, &reading.id, invocation).await
}

/// What a reading begins with; nothing, if the configuration was thawed by hand meanwhile.
pub(super) async fn stretch(desk: &Desk<'_>) -> Result<Option<Stretch>, StoreError> {
    Ok(match desk.outbill.freeze.standing(Look::AndNote, desk.now).await? {
        Standing::Own => None,
        Standing::Frozen(frozen) => Some(gap(&frozen).stretch(desk.now)),
    })
}

fn gap(frozen: &Frozen) -> Gap {
    Gap {
        from: frozen.complete_until,
        found: frozen.since,
    }
}

/// The end of a reading: the configuration thaws, or the report says why it does not.
pub(super) async fn conclude(desk: &Desk<'_>, run: &mut Run) -> Result<(), ReconcileError> {
    let Standing::Frozen(frozen) = desk.outbill.freeze.standing(Look::AndNote, desk.now).await? else {
        return Ok(());
    };
    let reconciliation = &mut run.leased.reconciliation;
    let still = still_frozen(
        gap(&frozen),
        &run.progress.reading,
        &reconciliation.unchecked,
        &reconciliation.tally,
    );
    match still {
        Some(why) => reconciliation.unchecked.push(why.to_string()),
        None => {
            thaw(
                desk.outbill,
                &desk.stance.organization,
                &desk.configuration.id,
                None,
                desk.now,
            )
            .await?;
        }
    }
    Ok(())
}

/// Lets a configuration claim and send again; gives the entries that wait for evidence since, or nothing if it is not frozen. `by`: the operator
/// who says so.
pub async fn thaw(
    outbill: &Outbill,
    organization: &OrganizationId,
    configuration: &ConfigurationId,
    by: Option<&ByHand>,
    now: Timestamp,
) -> Result<Option<Vec<Entry>>, ReconcileError> {
    let Standing::Frozen(frozen) = outbill.freeze.standing(Look::AndNote, now).await? else {
        return Ok(None);
    };
    if frozen.is_thawed(organization, configuration) {
        return Ok(None);
    }
    let known = outbill.configurations.of_organization(organization).await?;
    let is_known = |id: &ConfigurationId| known.iter().any(|known| known.id == *id);
    let mut doubted = Vec::new();
    for entry in watch::pending(outbill).await? {
        let origin = &entry.origin;
        let is_meant = origin.connection.organization == *organization
            && (origin.configuration == *configuration || !is_known(&origin.configuration));
        if is_meant && entry.claimed_at < frozen.since {
            doubted.extend(outbill.ledger.doubt(&entry.key.hash(), entry.hour, now).await?);
        }
    }
    outbill.freeze.thaw(organization, configuration, by, now).await?;
    tracing::info!(
        configuration.id = configuration.as_str(),
        entries.in_doubt = doubted.len(),
        access_key.id = by.map(|by| by.by.as_str()),
        "A configuration of a restored table claims again."
    );
    if let Standing::Frozen(frozen) = outbill.freeze.standing(Look::AndNote, now).await?
        && still(&all(outbill).await?, &frozen).next().is_none()
    {
        outbill.freeze.settle(now).await?;
    }
    Ok(Some(doubted))
}
