//! What CloudTrail does not show: the entries that it was looked at for and that no event told of, shard by shard.

use super::ReconcileError;
use super::day::{self, Run};
use super::desk::Desk;
use super::{settle, watch};
use crate::decisions::report::Scope;
use crate::effects::ledger::{Ledger, TrailList};
use crate::values::hour::Hour;

/// Looks through the shards that are left.
pub(super) async fn all(desk: &Desk<'_>, run: &mut Run) -> Result<(), ReconcileError> {
    let (start, end) = day::bounds(run.leased.reconciliation.date);
    let of_day = (Hour::containing(start), Hour::containing(end));
    let reading = run.progress.reading.clone();
    let done = run.progress.shards_done;
    for shard in Ledger::work_shards().skip(done) {
        let (unseen, open) = match run.leased.reconciliation.scope {
            Scope::Day => (
                day::listed(desk, TrailList::Unseen, shard, of_day).await?,
                day::listed(desk, TrailList::Open, shard, day::back(desk.now)).await?,
            ),
            Scope::Window => (Vec::new(), watch::open(desk, shard).await?),
        };
        for entry in unseen.into_iter().chain(open) {
            let name = (&entry.key.hash(), entry.hour);
            // What was found by what CloudTrail does show is said already.
            let listed = run.listed.get(&(name.1, name.0.clone()));
            if listed.is_none_or(|listed| listed.received.is_none()) {
                settle::absent_entry(desk, run, name, &reading).await?;
            }
        }
        run.progress.shards_done = run.progress.shards_done.saturating_add(1);
        run.save(desk).await?;
    }
    Ok(())
}
