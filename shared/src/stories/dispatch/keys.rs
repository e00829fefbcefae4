//! A manifest, carried to its usage keys: units counted, hours claimed, attempts started.
//!
//! Done again it finds everything counted and claims nothing twice. A claim whose transaction happened although its answer was lost is
//! found by the run that made it.

use std::collections::{BTreeMap, BTreeSet};

use super::DispatchError;
use super::awaited;
use super::batch::{Batch, EntryName, KeyDraft, Progress, TRIES_MAX, Taken, entry_name};
use super::bill::KeyRun;
use crate::decisions::claim::{self, ClaimPlan, ConnectionHealth, Hours, Reason};
use crate::effects::ledger::{Applied, Guard, KeyChange, KeyRow, LedgerError, new_entry};
use crate::values::amount::Units;
use crate::values::bill::BillReference;
use crate::values::entry::{Attempt, KeyState};
use crate::values::manifest::{Manifest, TouchedKey};
use crate::values::usage_key::KeyHash;

/// What is to be carried.
pub(super) struct KeyWork<'a> {
    pub(super) manifest: &'a Manifest,
    /// Who claims; none: the owning configuration or the run is gone, and nothing is claimed, only counted.
    pub(super) run: Option<KeyRun<'a>>,
    /// Whether entries that wait for an answer are sent again: the message is a repeat.
    pub(super) resumes: bool,
    /// Whether blocks are lifted: a mapping or the configuration changed, or somebody asked for it.
    pub(super) unblocks: bool,
}

/// The rows of a manifest's keys.
pub(super) enum Rows {
    /// The manifest is still to be written: whoever carries the version before may change them meanwhile.
    Older(BTreeMap<KeyHash, KeyRow>),
    /// Read after it was written: only a later version changes the bill's units now.
    Newer(BTreeMap<KeyHash, KeyRow>),
}

/// How a manifest fared.
pub(super) enum Carried {
    ToItsKeys(Vec<KeyDraft>),
    /// It was to be written, and another worker's was there: nothing happened.
    Outrun,
    /// A newer version of the bill overtook this one.
    Overtaken,
}

/// Carries a manifest to its keys. One that is still to be written is, in the transaction of the first of them.
pub(super) async fn apply(
    batch: &Batch<'_>,
    work: &KeyWork<'_>,
    rows: Rows,
    progress: &mut Progress,
) -> Result<Carried, DispatchError> {
    let ledger = &batch.outbill.ledger;
    let manifest = work.manifest;
    let mut waiting = manifest.units_by_key().map_err(LedgerError::from)?;
    let mut lifters = work
        .run
        .as_ref()
        .map_or_else(BTreeMap::new, |run| awaited::lifters(manifest, &run.configuration.id));
    let mut drafts: BTreeMap<KeyHash, KeyDraft> = BTreeMap::new();
    let (mut rows, mut are_older) = match rows {
        Rows::Older(rows) => (rows, true),
        Rows::Newer(rows) => (rows, false),
    };
    for _ in 0..TRIES_MAX {
        let mut changes = Vec::new();
        // A change is refused if its rows are not as they were read. That nothing has to change is believed of newer rows only.
        let mut doubtful = BTreeSet::new();
        for (key, units) in &waiting {
            let Some(touched) = manifest.keys.get(key) else {
                continue;
            };
            let row = rows.get(key).cloned().unwrap_or_default();
            let decided = decide(batch, work, touched, &row, *units).await?;
            if are_older && !matches!(decided, Some((Some(_), _))) {
                doubtful.insert(key.clone());
            }
            let Some((change, plan)) = decided else {
                continue;
            };
            let first_look = || KeyDraft {
                key: key.clone(),
                dimension: touched.dimension_name(),
                claim: plan.reason,
                waited: row.state.as_ref().is_some_and(|state| state.dirty),
                entries: Vec::new(),
                frozen: false,
                leaves_units: false,
                waits_for: lifters.remove(key).unwrap_or_default(),
            };
            let draft = drafts.entry(key.clone()).or_insert_with(first_look);
            draft.leaves_units |= change.is_some() && plan.state.dirty;
            if draft.entries.is_empty() {
                // A claim of this run that was found after a lost answer says more than the look that follows it.
                draft.claim = plan.reason;
            }
            changes.extend(change);
        }
        let guard = match are_older {
            true => Guard::Advances(manifest),
            false => Guard::Stands(manifest),
        };
        let applied = apply_noted(batch, Some(guard), changes).await?;
        for claim in applied.claims {
            if let Some(draft) = drafts.get_mut(&claim.entry().key.hash()) {
                draft.entries.push(Taken::of(claim.entry()));
            }
            progress.claim(claim);
        }
        if applied.outrun {
            return Ok(Carried::Outrun);
        }
        if applied.overtaken {
            return Ok(Carried::Overtaken);
        }
        waiting.retain(|key, _| applied.outdated.contains(key) || doubtful.contains(key));
        if waiting.is_empty() {
            break;
        }
        let keys: Vec<KeyHash> = waiting.keys().cloned().collect();
        rows = ledger.key_rows(&manifest.bill, &keys).await?;
        are_older = false;
        for key in &applied.outdated {
            own_claims(batch, work, key, drafts.get_mut(key), progress).await?;
        }
    }
    if let Some((key, _)) = waiting.pop_first() {
        return Err(LedgerError::Contended { key, tries: TRIES_MAX }.into());
    }
    if work.resumes {
        for draft in drafts.values_mut() {
            resume(batch, draft, progress).await?;
        }
    }
    Ok(Carried::ToItsKeys(drafts.into_values().collect()))
}

/// Lifts the blocks of a bill's keys. What is left on them is claimed by the tick.
pub(super) async fn lift(
    batch: &Batch<'_>,
    bill: &BillReference,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    let ledger = &batch.outbill.ledger;
    for _ in 0..TRIES_MAX {
        let Some(manifest) = ledger.manifest(bill).await? else {
            return Ok(());
        };
        let keys: Vec<KeyHash> = manifest.keys.keys().cloned().collect();
        let rows = Rows::Newer(ledger.key_rows(bill, &keys).await?);
        let work = KeyWork {
            manifest: &manifest,
            run: None,
            resumes: false,
            unblocks: true,
        };
        match apply(batch, &work, rows, progress).await? {
            Carried::ToItsKeys(_) => return Ok(()),
            Carried::Outrun | Carried::Overtaken => {}
        }
    }
    Err(DispatchError::BillContended {
        bill: bill.to_string(),
        tries: TRIES_MAX,
    })
}

/// Applies changes whose entries are noted first: whoever sees one of them pending knows that it is about to be sent.
pub(super) async fn apply_noted(
    batch: &Batch<'_>,
    guard: Option<Guard<'_>>,
    changes: Vec<KeyChange>,
) -> Result<Applied, DispatchError> {
    let of_change = |change: &KeyChange| {
        let key = change.hash();
        change
            .entries
            .iter()
            .map(|entry| (key.clone(), entry.hour))
            .collect::<Vec<EntryName>>()
    };
    let names: Vec<EntryName> = changes.iter().flat_map(of_change).collect();
    names.iter().for_each(|name| batch.intend(name));
    let applied = batch.outbill.ledger.apply(guard, changes, batch.now).await?;
    batch.measure_claims(&applied.claims);
    let claimed: BTreeSet<EntryName> = applied.claims.iter().map(entry_name).collect();
    for name in names.iter().filter(|name| !claimed.contains(name)) {
        batch.give_back(name);
    }
    Ok(applied)
}

/// What one key needs. Nothing is written. `None`: the bill has nothing on it and never had.
pub(super) async fn decide(
    batch: &Batch<'_>,
    work: &KeyWork<'_>,
    touched: &TouchedKey,
    row: &KeyRow,
    units: Units,
) -> Result<Option<(Option<KeyChange>, ClaimPlan)>, DispatchError> {
    let bill = &work.manifest.bill;
    let origin = work
        .run
        .as_ref()
        .map(|run| run.origin(bill, &touched.key.region, &touched.product_code));
    let state = match (&row.state, &origin) {
        (Some(state), _) => state.clone(),
        (None, Some(origin)) if units != 0 => KeyState::new(touched.key.clone(), origin.clone()),
        (None, _) => return Ok(None),
    };
    if state.owner != bill.organization {
        // It became another organization's since the bill was checked; the next delivery names it.
        return Err(DispatchError::KeyTaken {
            dimension: touched.key.dimension.clone(),
        });
    }
    let before = row.units.unwrap_or_default();
    let mut counted = claim::count(&state, bill, before, units, work.manifest.ends_at).map_err(LedgerError::from)?;
    if work.unblocks {
        (counted.blocked, counted.lifts_after) = (None, None);
    }
    let health = match &origin {
        Some(origin) => {
            counted.origin = origin.clone();
            batch.health(origin).await?
        }
        None => ConnectionHealth::Failing,
    };
    let plan = claim::plan(&counted, batch.now, health, Hours::Ordinary).map_err(LedgerError::from)?;
    let changed = before != units
        || row.units.is_none() && units != 0
        || !plan.entries.is_empty()
        || plan.state.dirty != state.dirty
        || plan.state.blocked != state.blocked
        || takes_over(batch, work, &state, &plan).await?;
    let entries = plan
        .entries
        .iter()
        .cloned()
        .map(|entry| new_entry(&plan.state, entry, Attempt::Ordinary, batch.now))
        .collect();
    let change = changed.then(|| KeyChange {
        known_version: state.version,
        state: plan.state.clone(),
        units: (row.units != Some(units)).then_some((row.units, units)),
        entries,
    });
    Ok(Some((change, plan)))
}

/// Whether this run takes over the units of its bill that wait in the name of an older one, so that there is one that can be told how they fared, and
/// that waits for what would lift a block: the run of a newer version does, and that of a repeat, if the older one was never written, because its
/// worker died.
async fn takes_over(
    batch: &Batch<'_>,
    work: &KeyWork<'_>,
    known: &KeyState,
    plan: &ClaimPlan,
) -> Result<bool, DispatchError> {
    let (of, origin) = (&known.origin, &plan.state.origin);
    if !plan.state.dirty || of.run == origin.run || of.bill != origin.bill {
        return Ok(false);
    }
    let runs = &batch.outbill.runs;
    Ok(!work.resumes || runs.get(&of.bill.organization, &of.run).await?.is_none())
}

/// Claims of this very run that are durable although nobody said so: the transaction's answer was lost. Nothing of them was sent.
async fn own_claims(
    batch: &Batch<'_>,
    work: &KeyWork<'_>,
    key: &KeyHash,
    draft: Option<&mut KeyDraft>,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    let (Some(run), Some(draft)) = (&work.run, draft) else {
        return Ok(());
    };
    for claim in batch.outbill.ledger.claims_of_run(key, run.run, batch.now).await? {
        if batch.reserve(&(key.clone(), claim.entry().hour)) {
            draft.entries.push(Taken::of(claim.entry()));
            draft.claim = Reason::Claimed;
            progress.claim(claim);
        }
    }
    Ok(())
}

/// Entries of a key that wait for an answer: a further attempt each.
async fn resume(batch: &Batch<'_>, draft: &mut KeyDraft, progress: &mut Progress) -> Result<(), DispatchError> {
    let ledger = &batch.outbill.ledger;
    for entry in ledger.pending(&draft.key, batch.now).await? {
        if draft.entries.iter().any(|taken| taken.hour == entry.hour) {
            continue;
        }
        if batch.is_frozen(&entry.origin).await? {
            draft.entries.push(Taken::of(&entry));
            draft.frozen = true;
            continue;
        }
        if !batch.reserve(&(draft.key.clone(), entry.hour)) {
            draft.entries.push(Taken::of(&entry));
            continue;
        }
        match ledger.start_attempt(&draft.key, entry.hour, batch.now).await? {
            Some(Ok(claim)) => {
                draft.entries.push(Taken::of(&entry));
                progress.claim(claim);
            }
            Some(Err(closed)) => {
                draft.entries.push(Taken::of(&entry));
                progress.closed.push(closed);
            }
            None => {}
        }
    }
    Ok(())
}
