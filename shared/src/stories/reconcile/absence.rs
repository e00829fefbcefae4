//! What CloudTrail does not show: the entries that it was looked at for and that no event told of, shard by shard.

use super::ReconcileError;
use super::day::{self, Run};
use super::desk::Desk;
use super::{settle, watch};
use crate::decisions::report::Scope;
use crate::effects::ledger::{Ledger, TrailList};
use crate::values::entry::Entry;
use crate::values::hour::Hour;

/// Looks through the shards that are left, and then at everything that waits for evidence.
pub(super) async fn all(desk: &Desk<'_>, run: &mut Run) -> Result<(), ReconcileError> {
    if run.leased.reconciliation.scope == Scope::Window {
        return look(desk, run, watch::open(desk).await?).await;
    }
    // What a restored table lacks is read from before; its receipts are looked for by their own day's reconciliation.
    let done = match run.leased.reconciliation.scope {
        Scope::Restore => Ledger::work_shards().count(),
        Scope::Day | Scope::Window => run.progress.shards_done,
    };
    for shard in Ledger::work_shards().skip(done) {
        let (before, _) = day::before(run.leased.reconciliation.date);
        let (_, end) = day::bounds(run.leased.reconciliation.date);
        let unseen = day::listed(desk, TrailList::Unseen(shard), (before, Hour::containing(end))).await?;
        let is_any = !unseen.is_empty();
        look(desk, run, unseen).await?;
        run.progress.shards_done = run.progress.shards_done.saturating_add(1);
        if is_any {
            run.save(desk).await?;
        }
    }
    let created = run.leased.reconciliation.created;
    let mut open = day::listed(desk, TrailList::Open, day::back(desk.now)).await?;
    // What was marked a moment ago has moved from one list to the other.
    open.retain(|entry| {
        let marked_here = entry.is_unverified() && entry.unseen_since.is_some_and(|since| since >= created);
        let counted = run.listed.contains_key(&(entry.hour, entry.key.hash()));
        !(marked_here && counted)
    });
    look(desk, run, open).await
}

async fn look(desk: &Desk<'_>, run: &mut Run, entries: Vec<Entry>) -> Result<(), ReconcileError> {
    let reading = run.progress.reading.clone();
    for entry in entries {
        let name = (&entry.key.hash(), entry.hour);
        // What was found by what CloudTrail does show is said already.
        let listed = run.listed.get(&(name.1, name.0.clone()));
        if listed.is_none_or(|listed| listed.received.is_none()) {
            settle::absent_entry(desk, run, name, &reading).await?;
        }
    }
    Ok(())
}
