//! One reconciliation, from where its last invocation left it to its report.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::desk::Desk;
use super::{DAYS_BACK_MAX, Invocation, ReconcileError, absence, chain, read, restore};
use crate::Outbill;
use crate::decisions::comparison::{Reading, evidence_of, stretch_of};
use crate::decisions::report::{self, Discrepancy, Progress, Reconciliation, Scope, Status};
use crate::effects::ledger::{Ledger, TrailList};
use crate::effects::reconciliations::{Lease, Leased, Marks};
use crate::effects::table::StoreError;
use crate::values::hour::Hour;
use crate::values::ids::OrganizationId;
use crate::values::message;
use crate::values::metric::{Measured, Metric};
use crate::values::trail::Stretch;
use crate::values::usage_key::KeyHash;

/// Events of a day's hours are read from an hour before it.
const BEFORE_DAY_HOURS: i64 = 1;
//= https://docs.aws.amazon.com/marketplace/latest/userguide/saas-metering-integration.html
//# usage records are accepted for up to 24 hours after the event
/// Until when a day's last hour can be metered, and a while.
const AFTER_DAY_HOURS: i64 = 26;
/// Invocations that fail, one after the other, before the report says so.
const FAILURES_MAX: u32 = 15;
/// A third of a lease: it outlasts two renewals that fail.
const RENEWED_EVERY: Duration = Duration::from_secs(60);

/// What one reconciliation has at hand while an invocation works on it.
pub(super) struct Run {
    invocation: Invocation,
    pub(super) leased: Leased,
    pub(super) progress: Progress,
    /// What was saved last: what failed half-way is counted from there again.
    saved: (Reconciliation, Progress),
    /// Marks of the events that were counted since.
    pub(super) marks: Vec<u64>,
    /// What was found, also by earlier invocations.
    pub(super) listed: BTreeMap<(Hour, KeyHash), Discrepancy>,
    /// Marks of the events of this round that were counted.
    pub(super) events: BTreeSet<u64>,
    /// Keys that owe more than is committed.
    pub(super) dirty: BTreeSet<KeyHash>,
    /// Accepted entries that CloudTrail does not show and that AWS still takes.
    pub(super) again: BTreeSet<(KeyHash, Hour)>,
}

/// Takes an open reconciliation and works on it until it is finished. Nothing, if another invocation has it.
pub(super) async fn go_on(
    outbill: &Outbill,
    organization: &OrganizationId,
    id: &str,
    invocation: Invocation,
) -> Result<(), ReconcileError> {
    let (store, now) = (&outbill.reconciliations, invocation.now);
    let Some(mut leased) = store.lease(organization, id, invocation.clock()).await? else {
        return Ok(());
    };
    let configuration = leased.reconciliation.configuration.clone();
    let desk = match Desk::set_up(outbill, organization, &configuration, now).await? {
        Ok(desk) => desk,
        Err(reason) => {
            leased.reconciliation.unchecked.push(reason);
            leased.reconciliation.status = Status::NotChecked;
            leased.reconciliation.completed = Some(now);
            store.give_back(&leased).await?;
            return Ok(());
        }
    };
    let mut run = Run::resume(leased, invocation);
    let lease = run.leased.lease();
    let worked = tokio::select! {
        biased;
        worked = run.all(&desk) => worked,
        never = renewed(outbill, &lease, invocation) => match never {},
    };
    match worked {
        Ok(()) => Ok(()),
        Err(error) => run.fail(&desk, error).await,
    }
}

/// Keeps a lease for as long as its work takes: one page, one query or one list of entries may take longer than it lasts.
async fn renewed(outbill: &Outbill, lease: &Lease, invocation: Invocation) -> Infallible {
    loop {
        tokio::time::sleep(RENEWED_EVERY).await;
        // Whoever has lost it is told so by the next save.
        if let Err(error) = outbill.reconciliations.renew(lease, invocation.clock()).await {
            tracing::warn!(error = chain(&error), "a lease was not renewed; it is tried again");
        }
    }
}

impl Run {
    fn resume(mut leased: Leased, invocation: Invocation) -> Run {
        let progress = leased.reconciliation.progress.take();
        let progress = progress.unwrap_or_else(|| begun(Vec::new()));
        leased.reconciliation.status = Status::Running;
        Run {
            invocation,
            saved: (leased.reconciliation.clone(), progress.clone()),
            leased,
            progress,
            marks: Vec::new(),
            listed: BTreeMap::new(),
            events: BTreeSet::new(),
            dirty: BTreeSet::new(),
            again: BTreeSet::new(),
        }
    }

    async fn all(&mut self, desk: &Desk<'_>) -> Result<(), ReconcileError> {
        self.load(desk).await?;
        let from = self.recorded_from(desk).await?;
        match desk.outbill.cloudtrail.check(&desk.place, from).await? {
            Ok(since) => self.leave_out_before(since),
            Err(uncovered) => {
                self.leased.reconciliation.unchecked.push(uncovered.to_string());
                return self.finish(desk).await;
            }
        }
        read::all(desk, self).await?;
        absence::all(desk, self).await?;
        self.finish(desk).await
    }

    /// What earlier invocations found, or, for the first one, what is to be read.
    async fn load(&mut self, desk: &Desk<'_>) -> Result<(), StoreError> {
        let (store, reconciliation) = (&desk.outbill.reconciliations, &self.leased.reconciliation);
        let found = store
            .discrepancies(&reconciliation.organization, &reconciliation.id)
            .await?;
        let name = |found: &Discrepancy| (found.hour, found.key.clone());
        self.listed = found.into_iter().map(|found| (name(&found), found)).collect();
        let events = store.events(reconciliation, self.progress.round).await?;
        self.events = events.into_iter().collect();
        if self.progress.round == 0 && self.progress.plan.is_empty() {
            self.progress.plan = plan(desk, reconciliation).await?;
        }
        Ok(())
    }

    /// From when on the source must have recorded everything: the day itself, and not what waits for evidence from before.
    async fn recorded_from(&self, desk: &Desk<'_>) -> Result<Timestamp, StoreError> {
        let first = match self.progress.round {
            0 => own(desk, &self.leased.reconciliation).await?.map(|own| own.from),
            _ => self.progress.plan.iter().map(|stretch| stretch.from).min(),
        };
        Ok(first.unwrap_or(desk.now))
    }

    /// Leaves out time that the source did not record yet, before anything is read: of its entries nothing is concluded.
    fn leave_out_before(&mut self, since: Option<Timestamp>) {
        let Some(since) = since.filter(|_| self.progress.round == 0) else {
            return;
        };
        for stretch in &mut self.progress.plan {
            stretch.from = stretch.from.max(since);
        }
        self.progress.plan.retain(|stretch| stretch.from < stretch.until);
    }

    /// Writes down how far it is, and lets the queue send what is owed now.
    pub(super) async fn save(&mut self, desk: &Desk<'_>) -> Result<(), ReconcileError> {
        self.flush(desk).await?;
        self.progress.failures = 0;
        self.leased.reconciliation.progress = Some(self.progress.clone());
        let marks = Marks {
            round: self.progress.round,
            events: std::mem::take(&mut self.marks),
        };
        let store = &desk.outbill.reconciliations;
        if !store.save(&self.leased, &marks, self.invocation.clock()).await? {
            return Err(ReconcileError::Taken(self.leased.reconciliation.id.clone()));
        }
        self.saved = (self.leased.reconciliation.clone(), self.progress.clone());
        Ok(())
    }

    /// Keys that owe more and entries that go again are sent by the ordinary way, and at once; the tick would find the keys an hour later.
    pub(super) async fn flush(&mut self, desk: &Desk<'_>) -> Result<(), StoreError> {
        let keys: Vec<KeyHash> = std::mem::take(&mut self.dirty).into_iter().collect();
        let entries: Vec<(KeyHash, Hour)> = std::mem::take(&mut self.again).into_iter().collect();
        desk.outbill
            .queue
            .send_all(&message::flush_pages(&keys, &entries))
            .await
    }

    async fn finish(&mut self, desk: &Desk<'_>) -> Result<(), ReconcileError> {
        self.flush(desk).await?;
        if self.leased.reconciliation.scope == Scope::Restore {
            restore::conclude(desk, self).await?;
        }
        self.conclude(desk.now);
        let is_news = self.listed.values().any(Discrepancy::is_amended);
        if self.leased.reconciliation.scope == Scope::Window && !is_news {
            return Ok(desk
                .outbill
                .reconciliations
                .discard(&self.leased.reconciliation)
                .await?);
        }
        match desk.outbill.reconciliations.give_back(&self.leased).await? {
            true => {
                desk.outbill.metrics.emit(&self.measured(), desk.now);
                Ok(())
            }
            false => Err(ReconcileError::Taken(self.leased.reconciliation.id.clone())),
        }
    }

    fn measured(&self) -> Measured {
        let mut measured = Measured::default();
        let reconciliation = &self.leased.reconciliation;
        if reconciliation.scope == Scope::Day {
            measured.add(Metric::ReconciliationsFinished, 1);
            let is_unchecked = matches!(reconciliation.status, Status::PartlyChecked | Status::NotChecked);
            measured.add(Metric::ReconciliationsUnchecked, i64::from(is_unchecked));
        }
        for (why, count) in &reconciliation.tally.discrepancies {
            measured.add_for(Metric::Discrepancies, why, i64::try_from(*count).unwrap_or(i64::MAX));
        }
        measured
    }

    /// The report, as far as it can be said now.
    fn conclude(&mut self, now: Timestamp) {
        let listed: Vec<Discrepancy> = self.listed.values().cloned().collect();
        let reconciliation = &mut self.leased.reconciliation;
        let hidden = reconciliation.tally.events_hidden;
        if hidden > 0 {
            reconciliation.unchecked.push(format!(
                "CloudTrail left parts of {hidden} events out because of their size, or they cannot be read: their keys cannot be checked"
            ));
        }
        let logged = reconciliation.tally.dimensions.values().any(|line| line.logged != 0);
        if reconciliation.tally.events == 0 && logged && reconciliation.unchecked.is_empty() {
            reconciliation.unchecked.push(
                "CloudTrail shows not one event of metering although AWS gave receipts: is the right account and region read?".to_owned(),
            );
        }
        reconciliation.unchecked.sort();
        reconciliation.unchecked.dedup();
        reconciliation.status = report::conclude(&reconciliation.unchecked, &reconciliation.tally, &listed);
        reconciliation.completed = Some(now);
        reconciliation.progress = None;
    }

    /// It cannot go on now: kept for the next invocation, or the end of it, if that was in vain too often or CloudTrail will not answer until
    /// somebody changes something.
    async fn fail(&mut self, desk: &Desk<'_>, error: ReconcileError) -> Result<(), ReconcileError> {
        let (what, is_passing) = match &error {
            ReconcileError::Taken(_) => return Err(error),
            ReconcileError::Trail(failed) => ("CloudTrail could not be read", failed.is_passing()),
            ReconcileError::Store(_) | ReconcileError::Ledger(_) => {
                (self.leased.reconciliation, self.progress) = self.saved.clone();
                ("the table could not be read or written", true)
            }
        };
        self.progress.failures = self.progress.failures.saturating_add(1);
        let words = chain(&error);
        tracing::warn!(
            reconciliation.id = self.leased.reconciliation.id,
            reconciliation.failures = self.progress.failures,
            error = words,
            "{what}"
        );
        if !is_passing || self.progress.failures >= FAILURES_MAX {
            let unchecked = &mut self.leased.reconciliation.unchecked;
            unchecked.push(format!(
                "{what}, and the rest was not compared: {words}. Ask for the day again (POST reconciliations) when that is mended"
            ));
            return self.finish(desk).await;
        }
        self.flush(desk).await?;
        self.leased.reconciliation.progress = Some(self.progress.clone());
        let store = &desk.outbill.reconciliations;
        match error {
            // A table that is busy is left alone until the lease has run out.
            ReconcileError::Store(_) | ReconcileError::Ledger(_) => {
                let clock = self.invocation.clock();
                store.save(&self.leased, &Marks::default(), clock).await?
            }
            ReconcileError::Trail(_) | ReconcileError::Taken(_) => store.give_back(&self.leased).await?,
        };
        Ok(())
    }
}

pub(super) fn begun(plan: Vec<Stretch>) -> Progress {
    Progress {
        plan,
        token: None,
        before_stretch: None,
        round: 0,
        reading: Reading::default(),
        shards_done: 0,
        failures: 0,
    }
}

/// What a reconciliation is about: the day's own time, or that which a copy lacks. The hourly look is about single entries.
async fn own(desk: &Desk<'_>, reconciliation: &Reconciliation) -> Result<Option<Stretch>, StoreError> {
    Ok(match reconciliation.scope {
        Scope::Restore => restore::stretch(desk).await?,
        Scope::Window => None,
        Scope::Day => {
            let (start, end) = bounds(reconciliation.date);
            Some(Stretch {
                from: hours(start, -BEFORE_DAY_HOURS),
                until: hours(end, AFTER_DAY_HOURS),
            })
        }
    })
}

/// What is read: a reconciliation's own time, and that of every entry that waits for evidence.
async fn plan(desk: &Desk<'_>, reconciliation: &Reconciliation) -> Result<Vec<Stretch>, StoreError> {
    let mut stretches: Vec<Stretch> = own(desk, reconciliation).await?.into_iter().collect();
    if reconciliation.scope == Scope::Day {
        for shard in Ledger::work_shards() {
            let late = listed(desk, TrailList::Unseen(shard), before(reconciliation.date)).await?;
            stretches.extend(late.iter().map(stretch_of));
        }
    }
    for entry in listed(desk, TrailList::Open, back(desk.now)).await? {
        stretches.push(evidence_of(&entry));
    }
    let oldest = hours(desk.now, -24 * DAYS_BACK_MAX);
    let readable = stretches.into_iter().map(|Stretch { from, until }| Stretch {
        from: from.max(oldest),
        until: until.min(desk.now),
    });
    Ok(Stretch::joined(readable.collect()))
}

/// The first instant of a day and the first after it, UTC.
pub(super) fn bounds(date: Date) -> (Timestamp, Timestamp) {
    let start = date
        .to_zoned(TimeZone::UTC)
        .map_or(Timestamp::MIN, |zoned| zoned.timestamp());
    (start, hours(start, 24))
}

/// The hours of the day before, up to the first of the day: a receipt may have come, or been too young, after that day was looked at.
pub(super) fn before(date: Date) -> (Hour, Hour) {
    let (start, _) = bounds(date);
    (Hour::containing(hours(start, -24)), Hour::containing(start))
}

/// The hours of the last 90 days.
pub(super) fn back(now: Timestamp) -> (Hour, Hour) {
    (
        Hour::containing(hours(now, -24 * DAYS_BACK_MAX)),
        Hour::containing(hours(now, 2)),
    )
}

pub(super) fn hours(instant: Timestamp, hours: i64) -> Timestamp {
    let moved = instant.saturating_add(SignedDuration::from_hours(hours));
    moved.unwrap_or(instant)
}

/// The entries of a list that this configuration looks after, as they are now.
pub(super) async fn listed(
    desk: &Desk<'_>,
    list: TrailList,
    between: (Hour, Hour),
) -> Result<Vec<crate::values::entry::Entry>, StoreError> {
    let ledger = &desk.outbill.ledger;
    let mut found = Vec::new();
    let mut start = None;
    loop {
        let page = ledger
            .trail_list(list, &desk.stance.organization, between, start)
            .await?;
        let entries = ledger.entries(&page.entries).await?;
        found.extend(entries.into_values().filter(|entry| desk.looks_after(entry)));
        start = page.next;
        if start.is_none() {
            return Ok(found);
        }
    }
}
