//! One reconciliation, from where its last invocation left it to its report.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::desk::Desk;
use super::{DAYS_BACK_MAX, ReconcileError, absence, chain, read, restore};
use crate::Outbill;
use crate::decisions::comparison::{Reading, evidence_of};
use crate::decisions::report::{self, Discrepancy, Progress, Reconciliation, Scope, Status};
use crate::effects::cloudtrail::TrailError;
use crate::effects::ledger::TrailList;
use crate::effects::reconciliations::Leased;
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

/// What one reconciliation has at hand while an invocation works on it.
pub(super) struct Run {
    pub(super) leased: Leased,
    pub(super) progress: Progress,
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
    now: Timestamp,
) -> Result<(), ReconcileError> {
    let Some(mut leased) = outbill.reconciliations.lease(organization, id, now).await? else {
        return Ok(());
    };
    let configuration = leased.reconciliation.configuration.clone();
    let desk = match Desk::set_up(outbill, organization, &configuration, now).await? {
        Ok(desk) => desk,
        Err(reason) => {
            leased.reconciliation.unchecked.push(reason);
            leased.reconciliation.status = Status::NotChecked;
            leased.reconciliation.completed = Some(now);
            outbill.reconciliations.give_back(&mut leased).await?;
            return Ok(());
        }
    };
    let mut run = Run::resume(&desk, leased).await?;
    let error = match run.all(&desk).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    match &error {
        ReconcileError::Trail(failed) => run.fail(&desk, failed).await,
        ReconcileError::Store(_) | ReconcileError::Ledger(_) | ReconcileError::Taken(_) => Err(error),
    }
}

impl Run {
    async fn resume(desk: &Desk<'_>, mut leased: Leased) -> Result<Run, ReconcileError> {
        let store = &desk.outbill.reconciliations;
        let progress = match leased.reconciliation.progress.take() {
            Some(progress) => progress,
            None => begun(plan(desk, &leased.reconciliation).await?),
        };
        let reconciliation = &leased.reconciliation;
        let found = store
            .discrepancies(&reconciliation.organization, &reconciliation.id)
            .await?;
        let events = store.events(reconciliation, progress.round).await?;
        Ok(Run {
            progress,
            listed: found
                .into_iter()
                .map(|found| ((found.hour, found.key.clone()), found))
                .collect(),
            events: events.into_iter().collect(),
            dirty: BTreeSet::new(),
            again: BTreeSet::new(),
            leased,
        })
    }

    async fn all(&mut self, desk: &Desk<'_>) -> Result<(), ReconcileError> {
        self.leased.reconciliation.status = Status::Running;
        let from = self
            .progress
            .plan
            .iter()
            .map(|stretch| stretch.from)
            .min()
            .unwrap_or(desk.now);
        if let Some(uncovered) = desk.outbill.cloudtrail.check(&desk.place, from).await? {
            self.leased.reconciliation.unchecked.push(uncovered.to_string());
            return self.finish(desk).await;
        }
        read::all(desk, self).await?;
        absence::all(desk, self).await?;
        self.finish(desk).await
    }

    /// Writes down how far it is, and lets the queue send what is owed now.
    pub(super) async fn save(&mut self, desk: &Desk<'_>) -> Result<(), ReconcileError> {
        self.flush(desk).await?;
        self.leased.reconciliation.progress = Some(self.progress.clone());
        let id = self.leased.reconciliation.id.clone();
        match desk.outbill.reconciliations.save(&mut self.leased, desk.now).await? {
            true => Ok(()),
            false => Err(ReconcileError::Taken(id)),
        }
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
        let id = self.leased.reconciliation.id.clone();
        let is_news = self.listed.values().any(Discrepancy::is_amended);
        if self.leased.reconciliation.scope == Scope::Window && !is_news {
            return Ok(desk
                .outbill
                .reconciliations
                .discard(&self.leased.reconciliation)
                .await?);
        }
        match desk.outbill.reconciliations.give_back(&mut self.leased).await? {
            true => {
                desk.outbill.metrics.emit(&self.measured(), desk.now);
                Ok(())
            }
            false => Err(ReconcileError::Taken(id)),
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

    /// CloudTrail did not answer: kept for the next invocation, or the end of it, if it will not answer until somebody changes something.
    async fn fail(&mut self, desk: &Desk<'_>, error: &TrailError) -> Result<(), ReconcileError> {
        self.progress.failures = self.progress.failures.saturating_add(1);
        let words = chain(error);
        tracing::warn!(
            reconciliation.id = self.leased.reconciliation.id,
            reconciliation.failures = self.progress.failures,
            error = words,
            "CloudTrail could not be read"
        );
        if !error.is_passing() || self.progress.failures >= FAILURES_MAX {
            self.leased
                .reconciliation
                .unchecked
                .push(format!("CloudTrail could not be read: {words}"));
            return self.finish(desk).await;
        }
        self.flush(desk).await?;
        self.leased.reconciliation.progress = Some(self.progress.clone());
        desk.outbill.reconciliations.give_back(&mut self.leased).await?;
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

/// What is read: the day's own time or that which a copy lacks, and that of every entry that waits for evidence.
async fn plan(desk: &Desk<'_>, reconciliation: &Reconciliation) -> Result<Vec<Stretch>, ReconcileError> {
    let mut stretches = Vec::new();
    if reconciliation.scope == Scope::Restore {
        stretches.extend(restore::stretch(desk).await?);
    } else {
        let (start, end) = bounds(reconciliation.date);
        stretches.push(Stretch {
            from: hours(start, -BEFORE_DAY_HOURS),
            until: hours(end, AFTER_DAY_HOURS),
        });
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
