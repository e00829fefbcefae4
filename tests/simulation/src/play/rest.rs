//! The end of a history: nothing goes wrong any more, and the clock runs on until nothing is left to do.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use marketplace::reckoning::Key;
use outbill::values::entry::EntryState;
use reconcile::Event;
use sandbox::Change;
use sandbox::laws::Ledger;
use sandbox::schedules::{FLUSH, next_tick};
use serde_json::{Value, json};

use super::Play;
use crate::aws::SELLER;
use crate::books::{EVIDENCE_SETTLES, NOTHING_IS_LEFT, OWED_IS_COUNTED, REPEATS_CHANGE_NOTHING};
use crate::history::{Round, WORKERS_MAX};
use crate::seller::CUSTOMERS;

/// Messages that one worker is handed in the end.
const CALM_BATCH: usize = 10;
/// Deliveries after which what is queued must have gone through once nothing goes wrong any more.
const CALM_DELIVERIES_MAX: usize = 60;
/// Ticks that the clock runs on.
const CALM_TICKS: usize = 4;
/// Days after which every reconciliation has evidence, or will never have.
const EVIDENCE_DAYS: i64 = 4;

impl Play {
    /// Nothing goes wrong any more; the seller mends what was wrong, and the clock runs on.
    pub async fn rest(&mut self) -> anyhow::Result<()> {
        self.stage.aws.note(1, || "* all is well from now on".to_owned());
        self.skews = [0; WORKERS_MAX];
        (0..CUSTOMERS.len()).try_for_each(|buyer| self.subscribe(buyer, true))?;
        self.list(Vec::new())?;
        for configuration in 0..3 {
            self.enable(configuration, true).await?;
        }
        self.drain().await?;
        let saving = self.seller.save_mappings();
        self.stage.calmly(saving).await??;
        self.collect()?;
        self.drain().await?;
        for _ in 0..CALM_TICKS {
            // While a message was handled the tick may have come due.
            let until_tick = self.next_tick.duration_since(self.stage.aws.clock.now()).as_mins();
            self.pass(until_tick.max(0) + 1).await?;
            self.drain().await?;
        }
        if self.trail.is_some() {
            self.settle().await?;
        }
        self.check_rest()?;
        if self.stage.aws.books.violations().is_empty() {
            self.repeat_all().await?;
        }
        Ok(())
    }

    /// CloudTrail has shown what it ever will; every day is compared, and what is owed for it is sent.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let last = self.stage.aws.clock.now();
        // The ticks on the way would find nothing.
        self.pass_quietly(EVIDENCE_DAYS * 24 * 60).await?;
        let mut date = self.start.to_zoned(TimeZone::UTC).date();
        while date <= last.to_zoned(TimeZone::UTC).date() {
            self.reconcile(Event::Day { date }).await?;
            self.collect()?;
            self.drain().await?;
            date = date.tomorrow()?;
        }
        self.queue_up(FLUSH.into());
        self.drain().await?;
        self.pass_quietly(60).await?;
        self.queue_up(FLUSH.into());
        self.drain().await?;
        self.check_evidence()
    }

    async fn reconcile(&mut self, event: Event) -> anyhow::Result<()> {
        let outbill = self.stage.start(SELLER);
        let now = self.stage.aws.clock.now();
        let done = async move { reconcile::handle(&outbill, event, now).await };
        Ok(self.stage.calmly(done).await??)
    }

    async fn pass_quietly(&mut self, minutes: i64) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::try_from(SignedDuration::from_mins(minutes))?).await;
        let now = self.stage.aws.clock.now();
        self.next_tick = next_tick(now).ok_or_else(|| anyhow::anyhow!("time is over"))?;
        Ok(self.stage.aws.world.change(Change::ClockMoved { to: now })?)
    }

    /// What CloudTrail shows of an entry has settled it.
    fn check_evidence(&mut self) -> anyhow::Result<()> {
        let now = self.stage.aws.clock.now();
        let (books, engine) = (&mut self.stage.aws.books, &self.stage.aws.engine);
        let (ledger, shown) = self.stage.aws.world.read(|holdings| -> anyhow::Result<_> {
            let shown = holdings.marketplace.trail().accepted(now);
            Ok((books.at_rest(engine, &holdings.marketplace)?, shown))
        })?;
        for key in ledger.keys.values() {
            let waits = |state| matches!(state, EntryState::Unknown | EntryState::Conflict | EntryState::Pending);
            for entry in key.entries.iter().filter(|entry| waits(entry.state)) {
                let customer = key.state.key.buyer.customer();
                let same = |one: &(String, String, Timestamp)| {
                    one.0 == customer && one.1 == key.state.key.dimension && one.2 == entry.hour.start()
                };
                if shown.iter().any(same) {
                    let how = format!("{}: hour {} is {}", key.name(), entry.hour, entry.state);
                    books.broken(EVIDENCE_SETTLES, how);
                }
            }
        }
        Ok(())
    }

    /// Handles the queue until it is empty.
    async fn drain(&mut self) -> anyhow::Result<()> {
        for _ in 0..CALM_DELIVERIES_MAX {
            if self.queue.is_empty() {
                return Ok(());
            }
            let round = Round {
                batches: vec![vec![0; self.queue.len().min(CALM_BATCH)]],
                order: Vec::new(),
                faults: Vec::new(),
                reconciles: None,
            };
            self.work(&round).await?;
            // A visibility timeout.
            self.pass(1).await?;
        }
        let bodies: Vec<&str> = self
            .queue
            .iter()
            .map(|queued| queued.body.get(..200).unwrap_or(&queued.body))
            .collect();
        let how = format!("{} messages are delivered again and again: {bodies:?}", bodies.len());
        self.stage.aws.books.broken(NOTHING_IS_LEFT, how);
        self.queue.clear();
        Ok(())
    }

    fn check_rest(&mut self) -> anyhow::Result<()> {
        let (books, engine) = (&mut self.stage.aws.books, &self.stage.aws.engine);
        let (ledger, dead) = self
            .stage
            .aws
            .world
            .read(|holdings| -> anyhow::Result<(Ledger, usize)> {
                Ok((
                    books.at_rest(engine, &holdings.marketplace)?,
                    holdings.dead_letters.len(),
                ))
            })?;
        if dead > 0 {
            books.broken(NOTHING_IS_LEFT, format!("{dead} messages are dead letters"));
        }
        let mut totals: BTreeMap<Key, i64> = BTreeMap::new();
        for key in ledger.keys.values() {
            let name = key.name();
            let counted = Key {
                buyer: key.state.key.buyer.customer().to_owned(),
                dimension: key.state.key.dimension.clone(),
            };
            totals.insert(counted, key.state.total);
            let pending = key
                .entries
                .iter()
                .filter(|entry| entry.state == EntryState::Pending)
                .count();
            if pending > 0 {
                books.broken(NOTHING_IS_LEFT, format!("{name}: {pending} entries are pending"));
            }
            let waits = key.state.total > key.state.committed;
            if waits && key.state.conflicts == 0 {
                let open = key.state.total - key.state.committed;
                let blocked = &key.state.blocked;
                books.broken(
                    NOTHING_IS_LEFT,
                    format!("{name}: {open} units found no hour; blocked: {blocked:?}"),
                );
            }
        }
        totals.retain(|_, units| *units != 0);
        let owed = self.seller.owed()?;
        if totals != owed {
            books.broken(
                OWED_IS_COUNTED,
                format!("the ledger says {totals:?}, and the bills {owed:?}"),
            );
        }
        Ok(())
    }

    /// Everything that was ever sent comes once more.
    async fn repeat_all(&mut self) -> anyhow::Result<()> {
        let held = |play: &Play| -> Vec<(Value, i64)> {
            play.stage.aws.world.read(|holdings| {
                holdings
                    .marketplace
                    .held()
                    .map(|(key, held)| (json!(key), held.quantity))
                    .collect()
            })
        };
        let before = held(self);
        for body in self.ever.clone() {
            self.queue_up(body);
        }
        self.drain().await?;
        if held(self) != before {
            self.stage
                .aws
                .books
                .broken(REPEATS_CHANGE_NOTHING, "AWS holds other records than before");
        }
        Ok(())
    }
}
