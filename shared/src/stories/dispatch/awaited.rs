//! What a run waits for. Whoever makes, changes or takes away such a thing sends the runs that wait for it again.

use std::collections::{BTreeMap, BTreeSet};

use super::DispatchError;
use super::batch::{Batch, Draft, KeyDraft, RunDraft};
use super::settle::Settled;
use crate::decisions::claim::Reason;
use crate::decisions::conclusion::Outcome;
use crate::decisions::eligibility::Refusal;
use crate::decisions::target;
use crate::decisions::validation::EntityReference;
use crate::effects::table::StoreError;
use crate::effects::waiting::Awaited;
use crate::values::bill::BillReference;
use crate::values::configuration::IntegrationConfiguration;
use crate::values::entry::Origin;
use crate::values::ids::{ConfigurationId, RunId};
use crate::values::manifest::Manifest;
use crate::values::mapping::ExternalMapping;
use crate::values::usage_key::KeyHash;

/// What could lift a block of each key that a bill ever touched: the mappings that led there, the account's, and the configuration.
pub(super) fn lifters(manifest: &Manifest, configuration: &ConfigurationId) -> BTreeMap<KeyHash, Vec<Awaited>> {
    let mut always = vec![Awaited::Configuration(configuration.clone())];
    let account = manifest.account.as_ref().map(EntityReference::account);
    always.extend(account.map(Awaited::MappingOf));
    let keys = manifest.keys.keys();
    let mut lifters: BTreeMap<KeyHash, Vec<Awaited>> = keys.map(|key| (key.clone(), always.clone())).collect();
    for (source, placement) in &manifest.sources {
        let of_key = lifters.entry(placement.key.clone()).or_default();
        of_key.extend(target::entities(source).into_iter().map(Awaited::MappingOf));
    }
    lifters
}

/// What a run waits for, now that its entries are settled.
pub(super) fn by(draft: &RunDraft, settled: &Settled) -> Vec<Awaited> {
    let own = || Awaited::Configuration(draft.configuration.id.clone());
    match &draft.draft {
        Draft::Decided(Outcome::Refused(Refusal::Disabled | Refusal::NoCredential)) => vec![own()],
        Draft::Decided(Outcome::Invalid(invalid)) if invalid.is_unreadable() => Vec::new(),
        Draft::Decided(Outcome::Invalid(invalid)) => {
            // A source that is held is sent again when its mapping is restored, a bill that another configuration owns when that is gone.
            let mappings = invalid.waits_for().cloned();
            let held = invalid.held().flat_map(target::entities);
            let owners = invalid.owners().cloned().map(Awaited::EndOf);
            let awaited = mappings.chain(held).map(Awaited::MappingOf).chain(owners);
            awaited.chain([own()]).collect()
        }
        Draft::Decided(
            Outcome::Refused(_)
            | Outcome::Ignored(_)
            | Outcome::EqualButOther(_)
            | Outcome::Overtaken
            | Outcome::Metered(_),
        ) => Vec::new(),
        Draft::Metered(keys) | Draft::EqualButOther(keys) => {
            // Whoever claimed: a tick of this batch may have met the block with what this run has counted.
            let met = |key: &KeyDraft| {
                let mut entries = settled.entries.iter();
                entries.any(|((hash, _), settlement)| *hash == key.key && settlement.blocked.is_some())
            };
            let is_blocked = |key: &&KeyDraft| matches!(key.claim, Reason::Blocked | Reason::TriedAgain) || met(key);
            let blocked = keys.iter().filter(is_blocked);
            blocked.flat_map(|key| key.waits_for.iter().cloned()).collect()
        }
    }
}

/// Lets a run wait.
pub(super) async fn wait(
    batch: &Batch<'_>,
    bill: &BillReference,
    run: &RunId,
    replayed_from: Option<&RunId>,
    head: &str,
    what: &[Awaited],
) -> Result<(), StoreError> {
    let waiting = &batch.outbill.waiting;
    for awaited in what {
        match awaited {
            Awaited::Configuration(_) | Awaited::MappingOf(_) => waiting.put(bill, awaited, run, head).await?,
            // Of several, the oldest configuration takes the bill over, and its run is written first.
            Awaited::EndOf(_) => {
                // Whoever queued the run that this is a replay of is about to take its row away.
                if let Some(from) = replayed_from {
                    waiting.remove(&bill.organization, awaited, &bill.bill, from).await?;
                }
                waiting.put_first(bill, awaited, run, head).await?;
            }
        }
    }
    Ok(())
}

/// Ends the wait of a run that was blocked for a time, and has sent everything by now: nothing of it is to be decided anew later.
pub(super) async fn cease(batch: &Batch<'_>, origin: &Origin) -> Result<(), StoreError> {
    let Some(manifest) = batch.outbill.ledger.manifest(&origin.bill).await? else {
        return Ok(());
    };
    let Origin { bill, run, .. } = origin;
    // Most of them are the same for every key.
    let lifters = lifters(&manifest, &origin.configuration).into_values().flatten();
    for awaited in lifters.collect::<BTreeSet<_>>() {
        let waiting = &batch.outbill.waiting;
        waiting.remove(&bill.organization, &awaited, &bill.bill, run).await?;
    }
    Ok(())
}

/// Whether what a run waits for came between the reading and the waiting, when nobody knew that it waits. A mapping is told by its id and
/// version, not by the clock: on a clock that stands still every mapping is as new as the run, and the run would be queued for ever.
pub(super) async fn came_meanwhile(
    batch: &Batch<'_>,
    read: &IntegrationConfiguration,
    what: &[Awaited],
) -> Result<bool, DispatchError> {
    let organization = &read.organization;
    for awaited in what {
        let came = match awaited {
            Awaited::Configuration(id) => {
                let now = batch.outbill.configurations.get(organization, id).await?;
                now.is_none_or(|now| differs(&now, read))
            }
            Awaited::EndOf(id) => {
                let now = batch.outbill.configurations.get(organization, id).await?;
                let configurations = batch.configurations(organization).await?;
                let read = configurations.iter().find(|read| read.id == *id);
                now.is_none_or(|now| read.is_some_and(|read| read.version != now.version))
            }
            Awaited::MappingOf(entity) => match batch.mappings_read(organization, entity) {
                None => false,
                Some(read) => {
                    let mappings = &batch.outbill.mappings;
                    let now = mappings.of_entity(organization, entity.entity, &entity.id).await?;
                    let is_known = |now: &ExternalMapping| {
                        let mut read = read.iter();
                        read.any(|read| read.id == now.id && read.version == now.version)
                    };
                    now.len() != read.len() || !now.iter().all(is_known)
                }
            },
        };
        if came {
            return Ok(true);
        }
    }
    Ok(false)
}

fn differs(now: &IntegrationConfiguration, read: &IntegrationConfiguration) -> bool {
    now.version != read.version || now.enabled != read.enabled || now.credential != read.credential
}
