//! What became of entries whose run ended earlier: claimed or sent by the tick, or by another message about the same bill.
//!
//! A run is concluded anew on everything that it had to do with, not on the entries that were answered just now: its log has the rest. So a
//! run that failed for one dimension does not pass because another is accepted, and one with two dimensions ends with the later of them.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::awaited;
use super::batch::{Batch, EntryName};
use super::finish::{About, conclude, dimension, entry_outcome, is_final};
use super::log::keys_log;
use super::settle::{Settled, Settlement};
use super::{DispatchError, isolated, report_of_batch};
use crate::decisions::claim::Reason;
use crate::decisions::conclusion::{self, Conclusion, EntryOutcome, KeyOutcome, Outcome};
use crate::effects::destinations::aws_marketplace::Exchange;
use crate::effects::runs::RunFilter;
use crate::effects::table::PageRequest;
use crate::values::bill::BillReference;
use crate::values::configuration::BILL;
use crate::values::entry::{EntryState, Origin};
use crate::values::ids::{ConfigurationId, RunId};
use crate::values::run::{IntegrationRun, RunStatus};
use crate::values::usage_key::KeyHash;

/// Runs of a bill that are looked through for those that a later one supersedes. A bill that is calculated four times an hour has no more
/// than four between two ticks.
const SUPERSEDED_MAX: usize = 50;

/// Runs that are read and written together.
const TOGETHER_MAX: usize = 100;

/// Runs that are told at once.
const AT_ONCE_MAX: usize = 16;
const NOT_TOLD: &str =
    "earlier runs were not told how their entries fared; the messages that settled them are delivered again";

/// An entry that was settled.
type Named<'a> = (&'a EntryName, &'a Settlement);

/// Entries of one run that were settled, in the order in which its log has them.
type Entries<'a> = Vec<Named<'a>>;

/// A run, by its entries' origin, that is to be told how they fared.
struct Telling<'a> {
    origin: Origin,
    entries: Entries<'a>,
}

/// A run that is being told.
struct Told<'a> {
    run: IntegrationRun,
    telling: &'a Telling<'a>,
    conclusion: Conclusion,
    /// Whether one of its keys was blocked for a time.
    was_blocked: bool,
    /// What its log lacks.
    record: Option<String>,
}

/// Tells the runs that are not of this batch. There has to be time only for those whose entries come `again`, with their page. Gives the entries
/// whose runs could not be told.
pub(super) async fn late(
    batch: &Batch<'_>,
    own: &BTreeSet<RunId>,
    again: &BTreeSet<&EntryName>,
    settled: &Settled,
) -> BTreeSet<EntryName> {
    let mut runs: BTreeMap<(BillReference, RunId), Telling<'_>> = BTreeMap::new();
    for named in &settled.entries {
        let origin = &named.1.entry.origin;
        if !own.contains(&origin.run) {
            tell_of(&mut runs, origin, named);
        }
    }
    let mut untold = BTreeSet::new();
    let shared = of_other_bills(settled);
    if !shared.is_empty() {
        let looking = isolated(unfinished(batch, &shared));
        match looking.await.and_then(|found| found) {
            Ok(found) => found
                .iter()
                .filter(|(origin, _)| !own.contains(&origin.run))
                .for_each(|(origin, named)| tell_of(&mut runs, origin, *named)),
            Err(error) => {
                report_of_batch(NOT_TOLD, &error);
                untold.extend(shared.iter().map(|(_, (name, _))| (*name).clone()));
            }
        }
    }
    let mut runs: Vec<Telling<'_>> = runs.into_values().collect();
    for Telling { entries, .. } in &mut runs {
        entries.sort_by_key(|(_, settlement)| settlement.entry.hour);
        // What an entry led to comes after it.
        entries.sort_by_key(|(_, settlement)| settlement.follow_up.is_none());
    }
    // Those that come no more are told first.
    let (waiting, last): (Vec<Telling<'_>>, Vec<Telling<'_>>) = runs
        .into_iter()
        .partition(|telling| telling.entries.iter().all(|(name, _)| again.contains(name)));
    let chunks = last.chunks(TOGETHER_MAX).map(|some| (some, true));
    let chunks = chunks.chain(waiting.chunks(TOGETHER_MAX).map(|some| (some, false)));
    for (some, is_last) in chunks {
        if !is_last && !batch.tells() {
            untold.extend(some.iter().flat_map(names));
            continue;
        }
        match isolated(tell(batch, some, settled)).await.and_then(|told| told) {
            Ok(failed) => untold.extend(failed),
            Err(error) => {
                report_of_batch(NOT_TOLD, &error);
                untold.extend(some.iter().flat_map(names));
            }
        }
    }
    untold
}

fn tell_of<'a>(runs: &mut BTreeMap<(BillReference, RunId), Telling<'a>>, origin: &Origin, named: Named<'a>) {
    let telling = runs.entry((origin.bill.clone(), origin.run.clone()));
    let telling = telling.or_insert_with(|| Telling {
        origin: origin.clone(),
        entries: Entries::new(),
    });
    telling.entries.push(named);
}

/// The other bills whose units an accepted entry carries: it is named after the run of the last bill on its key, and theirs waited for it, too.
fn of_other_bills(settled: &Settled) -> Vec<(&BillReference, Named<'_>)> {
    let accepted = settled.entries.iter();
    let accepted = accepted.filter(|(_, settlement)| settlement.entry.state == EntryState::Accepted);
    let others = accepted.flat_map(|named| {
        let entry = &named.1.entry;
        let others = entry.parts.keys().filter(|bill| **bill != entry.origin.bill);
        others.map(move |bill| (bill, named))
    });
    others.collect()
}

/// Of each of these bills the newest run that is not at its end and came before the claim, as the entry's origin. A bill that has units left on the
/// key has a run that waits for them, and that is told when they are sent.
async fn unfinished<'a>(
    batch: &Batch<'_>,
    shared: &[(&BillReference, Named<'a>)],
) -> Result<Vec<(Origin, Named<'a>)>, DispatchError> {
    if !batch.tells() {
        return Err(DispatchError::NoTimeToTell);
    }
    let keys: BTreeSet<KeyHash> = shared.iter().map(|(_, (name, _))| name.0.clone()).collect();
    let keys: Vec<KeyHash> = keys.into_iter().collect();
    let states = batch.outbill.ledger.states(&keys).await?;
    let owes = |bill: &BillReference, key: &KeyHash| {
        let residual = states.get(key).and_then(|state| state.residuals.get(bill));
        residual.is_some_and(|residual| residual.units > 0)
    };
    let looking = shared.iter().filter(|(bill, (name, _))| !owes(bill, &name.0));
    let looking = looking.map(|&(bill, named)| async move {
        let entry = &named.1.entry;
        let before = RunFilter {
            started_until: Some(entry.claimed_at),
            ..RunFilter::all()
        };
        let runs = runs_of(batch, bill, &before).await?;
        let newest = runs.into_iter().find(|run| is_unfinished(run.status));
        let configuration = |run: &IntegrationRun| ConfigurationId::new(run.destination_id.as_deref()?).ok();
        let origin = newest.and_then(|run| {
            Some(Origin {
                configuration: configuration(&run)?,
                run: run.id,
                bill: bill.clone(),
                connection: entry.origin.connection.clone(),
            })
        });
        Ok::<_, DispatchError>(origin.map(|origin| (origin, named)))
    });
    let looking: Vec<_> = looking.collect();
    let found: Vec<Option<(Origin, Named<'_>)>> = stream::iter(looking).buffered(AT_ONCE_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The newest runs of a bill, newest first. From an index: a run of this moment may be missing.
async fn runs_of(
    batch: &Batch<'_>,
    bill: &BillReference,
    filter: &RunFilter,
) -> Result<Vec<IntegrationRun>, DispatchError> {
    let page = PageRequest {
        size: SUPERSEDED_MAX,
        after: None,
    };
    let entity = (BILL, bill.bill.as_str());
    let runs = &batch.outbill.runs;
    let found = runs.list_by_entity(&bill.organization, entity, filter, &page).await?;
    Ok(found.items)
}

fn names<'a>(telling: &'a Telling<'_>) -> impl Iterator<Item = EntryName> + 'a {
    telling.entries.iter().map(|(name, _)| (*name).clone())
}

/// Tells some runs: their rows are read and their logs written together. Gives the entries of those that could not be told.
async fn tell(
    batch: &Batch<'_>,
    some: &[Telling<'_>],
    settled: &Settled,
) -> Result<BTreeSet<EntryName>, DispatchError> {
    let runs = &batch.outbill.runs;
    let origins = some.iter().map(|telling| &telling.origin);
    let found = runs.get_all(origins.map(|origin| (&origin.bill.organization, &origin.run)));
    let mut found: BTreeMap<RunId, IntegrationRun> =
        found.await?.into_iter().map(|run| (run.id.clone(), run)).collect();
    let (mut weighing, mut of) = (Vec::new(), Vec::new());
    for telling in some {
        // A run that was never written has nobody who asks for it.
        if let Some(run) = found.remove(&telling.origin.run) {
            weighing.push(isolated(weigh(batch, run, telling, settled)));
            of.push(telling);
        }
    }
    let weighed: Vec<_> = stream::iter(weighing).buffered(AT_ONCE_MAX).collect().await;
    let (mut told, mut untold) = (Vec::new(), BTreeSet::new());
    for (telling, weighed) in of.into_iter().zip(weighed) {
        match weighed.and_then(|weighed| weighed) {
            Ok(weighed) => told.push(weighed),
            Err(error) => {
                report_of_batch(NOT_TOLD, &error);
                untold.extend(names(telling));
            }
        }
    }
    let records = told.iter().filter_map(|told| {
        let record = told.record.as_deref()?;
        Some((&told.run.organization, &told.run.id, record))
    });
    runs.append_logs(batch.now, records).await?;
    let (mut ending, mut of) = (Vec::new(), Vec::new());
    for told in told {
        of.push(told.telling);
        ending.push(isolated(end(batch, told)));
    }
    let ended: Vec<_> = stream::iter(ending).buffered(AT_ONCE_MAX).collect().await;
    for (telling, ended) in of.into_iter().zip(ended) {
        if let Err(error) = ended.and_then(|ended| ended) {
            report_of_batch(NOT_TOLD, &error);
            untold.extend(names(telling));
        }
    }
    Ok(untold)
}

/// What a run comes to with what was answered since, and whether its log has it. Nothing is written.
async fn weigh<'a>(
    batch: &Batch<'_>,
    run: IntegrationRun,
    telling: &'a Telling<'a>,
    settled: &Settled,
) -> Result<Told<'a>, DispatchError> {
    let log = batch.outbill.runs.log(&run.organization, &run.id).await?;
    let before = known_now(&log, &[]);
    let was_blocked = before.iter().any(|key| {
        let mut entries = key.entries.iter();
        matches!(key.claim, Reason::Blocked | Reason::TriedAgain) || entries.any(|entry| entry.blocked.is_some())
    });
    let before = Outcome::Metered(before);
    let outcome = Outcome::Metered(known_now(&log, &telling.entries));
    let conclusion = conclusion::conclude(&outcome);
    let names: BTreeSet<EntryName> = names(telling).collect();
    let exchanges = settled.exchanges.iter();
    let exchanges: Vec<Exchange> = exchanges.filter_map(|exchange| exchange.about(&names)).collect();
    let is_last_word = is_final(conclusion.status) && !exchanges.is_empty();
    let is_news = is_last_word || keys_log(&outcome) != keys_log(&before);
    let record = is_news.then(|| {
        json!({ "at": batch.now, "outcome": outcome.to_string(), "keys": keys_log(&outcome), "exchanges": exchanges })
            .to_string()
    });
    Ok(Told {
        run,
        telling,
        conclusion,
        was_blocked,
        record,
    })
}

/// Ends a run whose log has what was answered, or lets it wait on.
async fn end(batch: &Batch<'_>, told: Told<'_>) -> Result<(), DispatchError> {
    let Told {
        run,
        telling: Telling { origin, entries },
        mut conclusion,
        was_blocked,
        record,
    } = told;
    if record.is_some() && !is_final(conclusion.status) {
        // Another worker may have told the rest meanwhile, and whoever reads last ends the run.
        let log = batch.outbill.runs.log(&run.organization, &run.id).await?;
        conclusion = conclusion::conclude(&Outcome::Metered(known_now(&log, entries)));
    }
    if conclusion.status == run.status && run.error == conclusion.error {
        return Ok(());
    }
    let updated = IntegrationRun {
        status: conclusion.status,
        completed: is_final(conclusion.status).then_some(batch.now),
        error: conclusion.error.clone(),
        version: run.version.saturating_add(1),
        ..run
    };
    if updated.status == RunStatus::Complete && was_blocked {
        awaited::cease(batch, origin).await?;
    }
    batch.outbill.runs.save(&updated).await?;
    if updated.status == RunStatus::Complete {
        supersede(batch, &origin.bill, &updated).await?;
    }
    let configurations = batch.configurations(&updated.organization).await?;
    let mut configurations = configurations.iter();
    let Some(configuration) = configurations.find(|known| known.id == origin.configuration) else {
        return Ok(());
    };
    // Only an event names the account.
    let manifest = match conclusion.event {
        Some(_) => batch.outbill.ledger.manifest(&origin.bill).await?,
        None => None,
    };
    let about = About {
        run: &origin.run,
        bill: &origin.bill,
        account: manifest.as_ref().and_then(|manifest| manifest.account.as_ref()),
    };
    conclude(batch, configuration, &about, &conclusion).await
}

/// The keys of a run as its log tells of them, with what was answered since.
fn known_now(log: &[Value], entries: &[(&EntryName, &Settlement)]) -> Vec<KeyOutcome> {
    let mut keys: BTreeMap<String, KeyOutcome> = BTreeMap::new();
    let list = |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    for key in log.iter().flat_map(|record| list(record, "keys")) {
        let known = place(
            &mut keys,
            key.get("dimension").and_then(Value::as_str).unwrap_or_default(),
        );
        let claim = key.get("reason").cloned().unwrap_or_default();
        known.claim = serde_json::from_value(claim).unwrap_or(Reason::Claimed);
        for entry in list(&key, "entries").iter().filter_map(read_entry) {
            put(known, entry);
        }
    }
    for (_, settlement) in entries {
        let known = place(&mut keys, &dimension(settlement));
        if put(known, entry_outcome(settlement)) {
            // Claimed since the log was written.
            known.claim = Reason::Claimed;
        }
    }
    keys.into_values().collect()
}

fn place<'a>(keys: &'a mut BTreeMap<String, KeyOutcome>, dimension: &str) -> &'a mut KeyOutcome {
    keys.entry(dimension.to_owned()).or_insert_with(|| KeyOutcome {
        dimension: dimension.to_owned(),
        claim: Reason::Claimed,
        entries: Vec::new(),
    })
}

/// Adds an entry or writes over what was known of it; true if it was new.
fn put(key: &mut KeyOutcome, entry: EntryOutcome) -> bool {
    match key.entries.iter_mut().find(|known| known.hour == entry.hour) {
        Some(known) => {
            // One that is told again comes without what followed from it.
            let is_again = entry.state == known.state && entry.blocked.is_none();
            *known = match is_again {
                true => EntryOutcome {
                    blocked: known.blocked.take(),
                    tried_again: known.tried_again,
                    ..entry
                },
                false => entry,
            };
            false
        }
        None => {
            key.entries.push(entry);
            true
        }
    }
}

fn read_entry(entry: &Value) -> Option<EntryOutcome> {
    Some(EntryOutcome {
        hour: entry.get("hour")?.as_str()?.to_owned(),
        quantity: entry.get("quantity")?.as_i64()?,
        state: serde_json::from_value(entry.get("state")?.clone()).ok()?,
        connection: None,
        reason: entry.get("reason").and_then(Value::as_str).map(str::to_owned),
        blocked: entry.get("blocked").and_then(Value::as_str).map(str::to_owned),
        tried_again: entry.get("triedAgain").and_then(Value::as_bool).unwrap_or_default(),
    })
}

/// Whether what a run claimed, or waits to claim, decides how it ends.
fn is_unfinished(status: RunStatus) -> bool {
    match status {
        RunStatus::Waiting | RunStatus::AwaitingRetry => true,
        RunStatus::Started
        | RunStatus::Complete
        | RunStatus::Error
        | RunStatus::AuthFailed
        | RunStatus::AccountingPeriodClosed
        | RunStatus::InvoiceAlreadyPaid
        | RunStatus::Disabled
        | RunStatus::TimeoutLimitExceeded
        | RunStatus::RateLimitRetry => false,
    }
}

/// Ends the runs of older versions of a bill that wait: a bill is cumulative, so the one that completed has sent what they waited for.
pub(super) async fn supersede(
    batch: &Batch<'_>,
    bill: &BillReference,
    complete: &IntegrationRun,
) -> Result<(), DispatchError> {
    let before = RunFilter {
        started_until: Some(complete.started),
        ..RunFilter::all()
    };
    let runs = &batch.outbill.runs;
    for run in runs_of(batch, bill, &before).await? {
        // Ids of runs sort by the time at which they were made.
        let is_older = run.id.as_str() < complete.id.as_str();
        if !is_unfinished(run.status) || !is_older || run.destination_id != complete.destination_id {
            continue;
        }
        // What a run has claimed itself, and AWS has not answered, no later one has sent.
        if run.status == RunStatus::AwaitingRetry {
            let log = runs.log(&run.organization, &run.id).await?;
            let known = known_now(&log, &[]);
            let mut entries = known.iter().flat_map(|key| &key.entries);
            if entries.any(|entry| entry.state == EntryState::Pending) {
                continue;
            }
        }
        let outcome = format!("what the run waited for was sent by run {}", complete.id);
        let record = json!({ "at": batch.now, "outcome": outcome });
        runs.append_log(&run.organization, &run.id, batch.now, &record).await?;
        let ended = IntegrationRun {
            status: RunStatus::Complete,
            completed: Some(batch.now),
            error: None,
            version: run.version.saturating_add(1),
            ..run
        };
        runs.save(&ended).await?;
    }
    Ok(())
}
