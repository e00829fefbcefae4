//! The tick, its pages, and buyers who leave: what waits is claimed or sent again.

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;

use super::batch::{Batch, EntryName, Progress, TRIES_MAX};
use super::{DispatchError, keys};
use crate::decisions::claim::{self, Hours};
use crate::effects::ledger::{Claim, KeyChange, Ledger, LedgerError, new_entry};
use crate::values::entry::{Attempt, Entry, EntryState, KeyState};
use crate::values::message::{self, Leaving};
use crate::values::usage_key::KeyHash;

/// Keys and entries that are read and claimed at once.
const AT_ONCE_MAX: usize = 16;
/// Within so long the queue has brought a message as often as it does.
const REPEATS_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// Shards that are listed at once.
const SHARDS_AT_ONCE_MAX: usize = 8;
//= https://docs.aws.amazon.com/marketplace/latest/userguide/saas-eventbridge-integration.html
//# after License Deprovisioned, usage is taken for one more hour
const LEAVING_HOURS: i64 = 1;

/// Lists what waits, shard by shard, and queues one message per page.
pub(super) async fn tick(batch: &Batch<'_>) -> Result<(), DispatchError> {
    stream::iter(Ledger::work_shards().map(|shard| list(batch, shard)))
        .buffer_unordered(SHARDS_AT_ONCE_MAX)
        .try_collect()
        .await
}

async fn list(batch: &Batch<'_>, shard: char) -> Result<(), DispatchError> {
    let mut start = None;
    loop {
        let work = batch.outbill.ledger.work(shard, start).await?;
        batch
            .outbill
            .queue
            .send_all(&message::flush_pages(&work.keys, &work.entries))
            .await?;
        start = work.next;
        if start.is_none() {
            return Ok(());
        }
    }
}

/// One page: entries go again or are closed, dirty keys claim what has gathered. `repeats`: the message was delivered before, and what it claimed
/// then may not have been taken.
pub(super) async fn page(
    batch: &Batch<'_>,
    keys: &[KeyHash],
    entries: &[EntryName],
    repeats: bool,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    send_again(batch, entries, progress).await?;
    if repeats {
        let known = batch.outbill.ledger.entries(entries).await?;
        tell_again(batch, known.into_values(), progress);
        resume(batch, keys, progress).await?;
    }
    claim_all(batch, keys, |state| state, progress).await
}

/// A further attempt for each entry that nobody of this batch is at.
async fn send_again(batch: &Batch<'_>, entries: &[EntryName], progress: &mut Progress) -> Result<(), DispatchError> {
    let mut attempts = Vec::new();
    for (key, hour) in thawed(batch, entries).await? {
        if batch.reserve(&(key.clone(), *hour)) {
            attempts.push(batch.outbill.ledger.start_attempt(key, *hour, batch.now));
        }
    }
    let mut attempts = stream::iter(attempts).buffer_unordered(AT_ONCE_MAX);
    let mut failed = None;
    while let Some(attempt) = attempts.next().await {
        match attempt {
            Ok(Some(Ok(claim))) => progress.claim(claim),
            Ok(Some(Err(closed))) => progress.closed.push(closed),
            Ok(None) => {}
            // What the others have started is sent.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Goes on where a worker before ended: what has no answer is sent again, and the runs of what was settled are told again.
async fn resume(batch: &Batch<'_>, keys: &[KeyHash], progress: &mut Progress) -> Result<(), DispatchError> {
    let mut reading = Vec::new();
    for key in keys {
        reading.push(batch.outbill.ledger.recent(key, batch.now));
    }
    let found: Vec<Vec<Entry>> = stream::iter(reading).buffered(AT_ONCE_MAX).try_collect().await?;
    let (unanswered, settled): (Vec<Entry>, Vec<Entry>) = found
        .into_iter()
        .flatten()
        .partition(|entry| entry.state == EntryState::Pending);
    tell_again(batch, settled, progress);
    let unanswered: Vec<EntryName> = unanswered.iter().map(|entry| (entry.key.hash(), entry.hour)).collect();
    send_again(batch, &unanswered, progress).await
}

/// Notes what was settled since the message came first; its runs may not have been told.
fn tell_again(batch: &Batch<'_>, entries: impl IntoIterator<Item = Entry>, progress: &mut Progress) {
    let since = |entry: &Entry| match entry.state {
        EntryState::Pending | EntryState::Adopted => false,
        EntryState::Accepted
        | EntryState::Refused
        | EntryState::Conflict
        | EntryState::Unknown
        | EntryState::Released => batch.now.duration_since(entry.last_attempt_at()) < REPEATS_WITHIN,
    };
    progress.settled.extend(entries.into_iter().filter(since));
}

/// Of a page's entries, those that may be sent: all of them, unless the table is a restored copy.
async fn thawed<'a>(batch: &Batch<'_>, entries: &'a [EntryName]) -> Result<Vec<&'a EntryName>, DispatchError> {
    if batch.is_own_table().await? {
        return Ok(entries.iter().collect());
    }
    let known = batch.outbill.ledger.entries(entries).await?;
    let mut thawed = Vec::new();
    for name in entries {
        if let Some(entry) = known.get(name)
            && !batch.is_frozen(&entry.origin).await?
        {
            thawed.push(name);
        }
    }
    Ok(thawed)
}

/// A buyer leaves: what its keys owe is claimed in the latest free hours, as long as AWS still takes it. `repeats`: as with a page.
pub(super) async fn leaving(
    batch: &Batch<'_>,
    leaving: &Leaving,
    repeats: bool,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    let keys = batch.outbill.ledger.keys_of(leaving).await?;
    if keys.is_empty() {
        tracing::info!(
            product.code = leaving.product_code,
            "a buyer leaves of whom no usage was ever metered"
        );
    }
    let until = batch
        .now
        .saturating_add(SignedDuration::from_hours(LEAVING_HOURS))
        .unwrap_or(batch.now);
    let leave = |state: KeyState| KeyState {
        leaving_until: Some(state.leaving_until.map_or(until, |known| known.max(until))),
        ..state
    };
    if repeats {
        resume(batch, &keys, progress).await?;
    }
    claim_all(batch, &keys, leave, progress).await
}

async fn claim_all(
    batch: &Batch<'_>,
    keys: &[KeyHash],
    change: impl Fn(KeyState) -> KeyState + Copy,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    let mut known = batch.outbill.ledger.states(keys).await?;
    let mut running = Vec::new();
    for key in keys {
        running.push(claim_gathered(batch, key, known.remove(key), change));
    }
    let mut running = stream::iter(running).buffer_unordered(AT_ONCE_MAX);
    let mut failed = None;
    while let Some(claimed) = running.next().await {
        match claimed {
            Ok(claims) => claims.into_iter().for_each(|claim| progress.claim(claim)),
            // What the others have claimed is sent.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Claims what a key has gathered, on the connection that its configuration has now.
async fn claim_gathered(
    batch: &Batch<'_>,
    key: &KeyHash,
    known: Option<KeyState>,
    change: impl Fn(KeyState) -> KeyState,
) -> Result<Vec<Claim>, DispatchError> {
    let mut read = known;
    for _ in 0..TRIES_MAX {
        let Some(known) = read else {
            return Ok(Vec::new());
        };
        let mut state = claim::tried_again(change(known.clone()), batch.now);
        let configurations = batch.configurations(&state.origin.connection.organization).await?;
        let configuration = configurations
            .iter()
            .find(|configuration| configuration.id == state.origin.configuration);
        if let Some(credential) = configuration.and_then(|configuration| configuration.credential.clone()) {
            state.origin.connection.credential = credential;
        }
        let health = batch.health(&state.origin).await?;
        let plan = claim::plan(&state, batch.now, health, Hours::Ordinary).map_err(LedgerError::from)?;
        if plan.entries.is_empty() && plan.state.dirty == known.dirty && state.leaving_until == known.leaving_until {
            return Ok(Vec::new());
        }
        let entries = plan
            .entries
            .iter()
            .cloned()
            .map(|entry| new_entry(&plan.state, entry, Attempt::Ordinary, batch.now))
            .collect();
        let change = KeyChange {
            known_version: known.version,
            state: plan.state,
            units: None,
            entries,
        };
        let applied = keys::apply_noted(batch, None, vec![change]).await?;
        if applied.outdated.is_empty() {
            return Ok(applied.claims);
        }
        read = batch.outbill.ledger.state(key).await?;
    }
    Err(LedgerError::Contended {
        key: key.clone(),
        tries: TRIES_MAX,
    }
    .into())
}
