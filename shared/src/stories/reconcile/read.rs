//! CloudTrail, page by page: each record beside its entry. Nothing of a page is kept but what it adds to the counts.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::ReconcileError;
use super::day::Run;
use super::desk::Desk;
use super::settle;
use crate::decisions::comparison::{Amendment, Finding, Why, minute, shown};
use crate::decisions::report::is_of;
use crate::effects::cloudtrail::TrailError;
use crate::effects::table::StoreError;
use crate::values::entry::{Entry, EntryState};
use crate::values::hour::Hour;
use crate::values::trail::{Content, Observation, TrailEvent};
use crate::values::usage_key::KeyHash;

/// Entries read with one request, and requests under way at once.
const NAMES_PER_READ_MAX: usize = 100;
const AT_ONCE_MAX: usize = 8;
/// Times one stretch is begun anew because CloudTrail had forgotten its pages.
const RESTARTS_MAX: u32 = 3;

type Name = (KeyHash, Hour);

/// Reads the rest of the plan.
pub(super) async fn all(desk: &Desk<'_>, run: &mut Run) -> Result<(), ReconcileError> {
    let mut restarts = 0;
    while let Some(stretch) = run.progress.plan.get(run.progress.reading.stretches.len()).copied() {
        if run.progress.token.is_none() && run.progress.before_stretch.is_none() {
            begin(run);
        }
        let token = run.progress.token.clone();
        count(&mut run.leased.reconciliation.tally.requests, 1);
        let page = match desk
            .outbill
            .cloudtrail
            .page(&desk.place, stretch, token.as_deref())
            .await
        {
            Ok(page) => page,
            Err(TrailError::Expired) if restarts < RESTARTS_MAX => {
                restarts += 1;
                begin_anew(run);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        self::page(desk, run, page.events).await?;
        run.progress.token = page.next;
        if run.progress.token.is_none() {
            run.progress.reading.stretches.push(stretch);
            run.progress.before_stretch = None;
        }
        run.save(desk).await?;
    }
    Ok(())
}

fn begin(run: &mut Run) {
    let counts = (run.leased.reconciliation.tally.clone(), run.progress.reading.clone());
    run.progress.before_stretch = Some(Box::new(counts));
    run.progress.round = run.progress.round.saturating_add(1);
    run.events.clear();
}

/// The stretch's pages are gone: its counts are taken back, and it is read from its start.
fn begin_anew(run: &mut Run) {
    if let Some(before) = run.progress.before_stretch.take() {
        let requests = run.leased.reconciliation.tally.requests;
        (run.leased.reconciliation.tally, run.progress.reading) = *before;
        run.leased.reconciliation.tally.requests = requests;
    }
    run.progress.token = None;
    begin(run);
}

fn count(counted: &mut u64, more: usize) {
    *counted = counted.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
}

/// One page: its events are counted once each, its records compared.
async fn page(desk: &Desk<'_>, run: &mut Run, events: Vec<TrailEvent>) -> Result<(), ReconcileError> {
    let mut records = Vec::new();
    for event in events {
        // A shared store holds other accounts' events as well.
        let foreign = desk.place.account.is_some() && event.account.is_some() && desk.place.account != event.account;
        if foreign {
            continue;
        }
        let mark = mark(&event.id);
        let tally = &mut run.leased.reconciliation.tally;
        if !run.events.insert(mark) {
            count(&mut tally.events_repeated, 1);
            continue;
        }
        run.marks.push(mark);
        count(&mut tally.events, 1);
        match event.content {
            Content::Answered { accepted, not_accepted } => {
                count(&mut tally.records_not_accepted, not_accepted);
                count(&mut tally.records, accepted.len());
                records.extend(accepted);
            }
            Content::Refused { .. } => count(&mut tally.calls_refused, 1),
            Content::Omitted => hide(
                run,
                &event.id,
                minute(event.at),
                "an element was left out because of its size",
            ),
            Content::Unreadable { reason } => hide(run, &event.id, minute(event.at), &reason),
        }
    }
    // AWS's first write is what it holds.
    records.sort_by_key(|seen| seen.at);
    compare(desk, run, records).await
}

fn hide(run: &mut Run, event: &str, minute: i64, reason: &str) {
    count(&mut run.leased.reconciliation.tally.events_hidden, 1);
    run.progress.reading.hidden.insert(minute);
    tracing::warn!(
        event.id = event,
        reason,
        "a CloudTrail event does not say what became of its records"
    );
}

/// Eight bytes of an event's hash: enough to tell the events of a day apart.
fn mark(event: &str) -> u64 {
    let digest = Sha256::digest(event.as_bytes());
    digest.iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
}

/// Each record beside its entry. Entries on which both sides agree are noted together; everything else is settled one by one.
async fn compare(desk: &Desk<'_>, run: &mut Run, records: Vec<Observation>) -> Result<(), ReconcileError> {
    let records = identified(desk, records).await?;
    let names: BTreeSet<Name> = records.iter().map(|seen| (seen.key.hash(), seen.hour)).collect();
    let names: Vec<Name> = names.into_iter().collect();
    let mut entries = read(desk, &names).await?;
    let mut agreed: BTreeMap<Name, (Entry, Entry, Observation)> = BTreeMap::new();
    for seen in records {
        let name = (seen.key.hash(), seen.hour);
        if let Some(entry) = entries.get(&name) {
            let found = shown(entry, &seen, &desk.stance);
            if found == verified() && !agreed.contains_key(&name) {
                control(run, entry, &seen);
                let after = Entry {
                    seen_event: Some(seen.event.clone()),
                    unseen_since: None,
                    ..entry.clone()
                };
                let before = entries.insert(name.clone(), after.clone());
                agreed.insert(name, (before.unwrap_or_else(|| after.clone()), after, seen));
                continue;
            }
            if found == agrees() && !run.listed.contains_key(&(name.1, name.0.clone())) {
                control(run, entry, &seen);
                tally(run, entry, &seen);
                continue;
            }
        }
        if let Some(entry) = settle::shown_record(desk, run, &seen).await? {
            entries.insert(name, entry);
        }
    }
    note(desk, run, agreed).await
}

/// The records by the names under which their buyers are metered: an event may have two names of a buyer, and the ledger has one of them.
async fn identified(desk: &Desk<'_>, mut records: Vec<Observation>) -> Result<Vec<Observation>, StoreError> {
    let both = |seen: &Observation| Some([seen.key.hash(), seen.other_key.as_ref()?.hash()]);
    let keys: BTreeSet<KeyHash> = records.iter().filter_map(both).flatten().collect();
    if keys.is_empty() {
        return Ok(records);
    }
    let keys: Vec<KeyHash> = keys.into_iter().collect();
    let known = desk.outbill.ledger.states(&keys).await?;
    let names = |seen: &Observation| Some([&seen.key, seen.other_key.as_ref()?].map(|key| (key.hash(), seen.hour)));
    let names: BTreeSet<Name> = records.iter().filter_map(names).flatten().collect();
    let entries = read(desk, &names.into_iter().collect::<Vec<_>>()).await?;
    for seen in &mut records {
        let Some(other) = seen.other_key.take() else {
            continue;
        };
        // A buyer's mapping may have changed: the hour's own entry decides first.
        let standing = |key: &KeyHash| (entries.contains_key(&(key.clone(), seen.hour)), known.contains_key(key));
        if standing(&other.hash()) > standing(&seen.key.hash()) {
            seen.key = other;
        }
    }
    Ok(records)
}

fn verified() -> Finding {
    Finding {
        amendment: Amendment::Verify,
        why: Why::Agreed,
    }
}

fn agrees() -> Finding {
    Finding {
        amendment: Amendment::None,
        why: Why::Agreed,
    }
}

/// Notes on the entries that CloudTrail shows them, and counts them.
async fn note(
    desk: &Desk<'_>,
    run: &mut Run,
    agreed: BTreeMap<Name, (Entry, Entry, Observation)>,
) -> Result<(), ReconcileError> {
    let (pairs, shown): (Vec<(Entry, Entry)>, Vec<_>) = agreed
        .into_iter()
        .map(|(name, (before, after, seen))| ((before, after), (name, seen)))
        .unzip();
    let together = pairs
        .chunks(NAMES_PER_READ_MAX)
        .map(|pairs| desk.outbill.ledger.verify(pairs));
    let together: Vec<_> = together.collect();
    let outdated: Vec<Vec<Name>> = stream::iter(together)
        .buffer_unordered(AT_ONCE_MAX)
        .try_collect()
        .await?;
    let outdated: BTreeSet<Name> = outdated.into_iter().flatten().collect();
    for ((_, after), (name, seen)) in pairs.iter().zip(shown) {
        if outdated.contains(&name) {
            settle::shown_record(desk, run, &seen).await?;
        } else {
            tally(run, after, &seen);
        }
    }
    Ok(())
}

/// A record that both sides have: counted where its first event is met, and not for its repeats.
pub(super) fn tally(run: &mut Run, entry: &Entry, seen: &Observation) {
    let reconciliation = &mut run.leased.reconciliation;
    if entry.seen_event.as_ref().is_some_and(|event| *event != seen.event) {
        count(&mut reconciliation.tally.records_repeated, 1);
    } else if is_of(seen.hour, reconciliation.date) {
        let product = &entry.origin.connection.product_code;
        let dimension = format!("{product}-{}", seen.key.dimension);
        reconciliation.tally.agree(&dimension, seen.quantity);
    }
}

/// A record of which AWS gave us a receipt, and CloudTrail shows it: at this time it shows what happened.
fn control(run: &mut Run, entry: &Entry, seen: &Observation) {
    if entry.state == EntryState::Accepted && entry.metering_record_id.is_some() && entry.observed.is_none() {
        run.progress.reading.controls.insert(minute(seen.at));
    }
}

async fn read(desk: &Desk<'_>, names: &[Name]) -> Result<BTreeMap<Name, Entry>, StoreError> {
    let reads = names
        .chunks(NAMES_PER_READ_MAX)
        .map(|names| desk.outbill.ledger.entries(names));
    let reads: Vec<_> = reads.collect();
    let found: Vec<BTreeMap<Name, Entry>> = stream::iter(reads).buffer_unordered(AT_ONCE_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
