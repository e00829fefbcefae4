//! One history, from the first bill to rest.

mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use marketplace::trail::TrailChange;
use marketplace::{BuyerStatement, ForeignUsage, IdenticalRepeat, SwitchChange};
use outbill::Outbill;
use outbill::effects::table;
use outbill::values::ids::{ConfigurationId, OrganizationId};
use outbill::values::usage_key::is_aws_account_id;
use reconcile::Event;
use sandbox::Change;
use sandbox::queues::QueueName;
use sandbox::schedules::{FLUSH, next_tick};

use crate::TABLE;
use crate::aws::{Counts, SELLER};
use crate::books::Violation;
use crate::history::{History, Reconciles, Round, Step, Trail, WORKERS_MAX};
use crate::network::Caller;
use crate::queue::{Queued, event};
use crate::seller::{CUSTOMERS, LICENSE, ORGANIZATION, PRODUCT, PRODUCT_IDS, Seller};
use crate::stage::{Stage, Work};
use crate::variant::Variant;

/// The caller that is the reconcile function.
const RECONCILER: Caller = WORKERS_MAX;

/// How a history ended.
#[derive(Debug)]
pub struct Outcome {
    /// The laws that were broken, in the order in which they were.
    pub violations: Vec<Violation>,
    /// What happened, in numbers.
    pub counts: Counts,
    /// The same for the same history.
    pub digest: u64,
    /// What the buyers pay in the end for what Outbill sent: dimension, hour, units.
    pub billed: Vec<(String, Timestamp, i64)>,
    /// What happened, in words, if they were wanted.
    pub lines: Vec<String>,
}

/// Whether what happens is told in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    Words,
    Nothing,
}

/// Plays a history to its end, or to the first step that breaks a law. Errors: the simulation itself is broken.
pub fn play(history: &History, variant: Option<Variant>, telling: Telling) -> anyhow::Result<Outcome> {
    // The SDK draws its pauses from this thread's generator.
    fastrand::seed(history.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let mut play = Play::set_up(history, variant, telling).await?;
        let went = play.all(history).await;
        let outcome = |play: Play| Outcome {
            violations: play.stage.aws.books.violations().to_vec(),
            counts: play.stage.aws.counts,
            digest: play.stage.aws.digest,
            billed: play.billed(),
            lines: play.stage.aws.lines.unwrap_or_default(),
        };
        match went {
            Ok(()) => Ok(outcome(play)),
            // A variant may leave rows that nothing can read; then the law that it broke says it.
            Err(_) if !play.stage.aws.books.violations().is_empty() => Ok(outcome(play)),
            Err(error) => Err(error),
        }
    })
}

/// A history under way.
pub struct Play {
    /// Everything around the workers.
    pub stage: Stage,
    seller: Seller,
    api: Outbill,
    workers: BTreeMap<Caller, Outbill>,
    skews: [i16; WORKERS_MAX],
    start: Timestamp,
    trail: Option<Trail>,
    queue: Vec<Queued>,
    ever: Vec<Arc<str>>,
    numbered: u64,
    next_tick: Timestamp,
}

impl Play {
    /// An AWS with a seller in it.
    pub async fn set_up(history: &History, variant: Option<Variant>, telling: Telling) -> anyhow::Result<Play> {
        let start = Timestamp::from_second(history.start)?;
        let mut stage = Stage::new(history.seed, start, variant)?;
        let client = aws_sdk_dynamodb::Client::new(&stage.sdk(SELLER));
        let created = table::definition()?.table_name(TABLE).send_with(&client);
        stage.calmly(created).await??;
        let api = stage.start(SELLER);
        let clock = stage.aws.clock;
        let router = api::router(api.clone(), Arc::new(move || clock.now()));
        let set_up = Seller::set_up(&api, router, start);
        let seller = stage.calmly(set_up).await??;
        let repeats = if history.repeats_are_duplicates {
            IdenticalRepeat::DuplicateRecord
        } else {
            IdenticalRepeat::Success
        };
        stage.aws.world.change(Change::SwitchesChanged {
            switches: SwitchChange {
                identical_repeat: Some(repeats),
                ..SwitchChange::default()
            },
        })?;
        if let Some(trail) = history.trail {
            let change = TrailChange {
                delay_seconds: Some(u32::from(trail.delay_minutes) * 60),
                duplicates: Some(trail.duplicates),
                drop: Some(u32::from(trail.missing)),
                ..TrailChange::default()
            };
            stage.aws.world.change(Change::TrailChanged { change })?;
        }
        (stage.aws.counts, stage.aws.digest) = (Counts::default(), 0);
        stage.aws.lines = (telling == Telling::Words).then(Vec::new);
        Ok(Play {
            next_tick: next_tick(stage.aws.clock.now()).unwrap_or(start),
            stage,
            seller,
            api,
            workers: BTreeMap::new(),
            skews: history.skews,
            start,
            trail: history.trail,
            queue: Vec::new(),
            ever: Vec::new(),
            numbered: 0,
        })
    }

    async fn all(&mut self, history: &History) -> anyhow::Result<()> {
        for step in &history.steps {
            self.step(step).await?;
            if !self.stage.aws.books.violations().is_empty() {
                return Ok(());
            }
        }
        self.rest().await
    }

    /// Does one step.
    pub async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        let told = crate::tell::step(step);
        self.stage.aws.note(told.len() as u64, || format!("* {told}"));
        match step {
            Step::Calculated { bill, cents, approved } => {
                let message = self.seller.calculate(usize::from(*bill), cents, *approved);
                self.send(message);
            }
            Step::Deleted { bill } => {
                let message = self.seller.delete(usize::from(*bill));
                message.into_iter().for_each(|message| self.send(message));
            }
            Step::Repeated { message } => {
                if let Some(place) = usize::from(*message).checked_rem(self.ever.len()) {
                    let body = self.ever[place].clone();
                    self.queue_up(body);
                }
            }
            Step::Worked(round) => self.work(round).await?,
            Step::Passed { minutes } => self.pass(i64::from(*minutes)).await?,
            Step::Subscribed { buyer, subscribed } => self.subscribe(usize::from(*buyer), *subscribed)?,
            Step::Listed { product, listed } => {
                let product = PRODUCT_IDS[usize::from(*product) % PRODUCT_IDS.len()];
                let bad = if *listed { Vec::new() } else { vec![product.to_owned()] };
                self.list(bad)?;
            }
            Step::Foreign {
                buyer,
                product,
                hours_ago,
                quantity,
            } => {
                let place = usize::from(*buyer) % CUSTOMERS.len();
                let hour = self
                    .stage
                    .aws
                    .clock
                    .now()
                    .saturating_sub(SignedDuration::from_hours(i64::from(*hours_ago)))?;
                let license = (place == 2).then(|| LICENSE.to_owned());
                let usage = ForeignUsage {
                    region: "us-east-1".to_owned(),
                    product_code: license.is_none().then(|| PRODUCT.to_owned()),
                    license_arn: license,
                    customer: CUSTOMERS[place].to_owned(),
                    dimension: PRODUCT_IDS[usize::from(*product) % PRODUCT_IDS.len()].to_owned(),
                    hour,
                    quantity: i64::from(*quantity),
                    metering_record_id: None,
                    at: None,
                };
                self.stage.aws.world.change(Change::ForeignUsageReported { usage })?;
            }
            Step::Enabled { configuration, enabled } => self.enable(usize::from(*configuration), *enabled).await?,
        }
        Ok(())
    }

    /// Exchanges the seller's access key for a token.
    pub async fn token(&mut self) -> anyhow::Result<String> {
        let seller = self.seller.clone();
        self.stage.calmly(async move { seller.token().await }).await?
    }

    /// The seller's oldest configuration.
    pub fn configuration(&self) -> &ConfigurationId {
        self.seller.configuration(0)
    }

    /// Calls the API with any body; gives the status and what was answered. A path that begins with a slash is not the organization's.
    pub async fn ask(
        &mut self,
        authorization: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> anyhow::Result<(u16, String)> {
        let asking = self.seller.ask(authorization, method, path, body);
        self.stage.calmly(asking).await?
    }

    /// Sends a message that was not there before.
    pub fn send(&mut self, body: String) {
        let body: Arc<str> = body.into();
        self.ever.push(body.clone());
        self.queue_up(body);
    }

    fn queue_up(&mut self, body: Arc<str>) {
        self.numbered += 1;
        self.queue.push(Queued {
            id: self.numbered,
            body,
            receives: 0,
        });
    }

    /// Lets workers take messages from the queue and handle them.
    pub async fn work(&mut self, round: &Round) -> anyhow::Result<()> {
        let mut batches = Vec::new();
        let mut taken: BTreeMap<Caller, Vec<Queued>> = BTreeMap::new();
        for (caller, places) in round.batches.iter().enumerate() {
            let mut batch = Vec::new();
            for place in places {
                if let Some(place) = usize::from(*place).checked_rem(self.queue.len()) {
                    let mut queued = self.queue.remove(place);
                    queued.receives += 1;
                    batch.push(queued);
                }
            }
            if batch.is_empty() {
                continue;
            }
            self.stage.aws.counts.deliveries += batch.len() as u64;
            if !self.workers.contains_key(&caller) {
                let started = self.stage.start(caller);
                self.workers.insert(caller, started);
            }
            let outbill = self.workers[&caller].clone();
            let skew = SignedDuration::from_secs(i64::from(self.skews[caller % WORKERS_MAX]));
            let now = self.stage.aws.clock.now().saturating_add(skew)?;
            batches.push((caller, outbill, Work::Batch(event(&batch)?), now));
            taken.insert(caller, batch);
        }
        if let Some(reconciles) = round.reconciles.filter(|_| self.trail.is_some()) {
            let now = self.stage.aws.clock.now();
            let event = match reconciles {
                Reconciles::Today => Event::Day {
                    date: now.to_zoned(TimeZone::UTC).date(),
                },
                Reconciles::Window => Event::Watch {},
                Reconciles::Rest => Event::Continue {},
            };
            let outbill = self.stage.start(RECONCILER);
            batches.push((RECONCILER, outbill, Work::Reconciliation(event), now));
        }
        for ended in self.stage.work(batches, round).await? {
            let batch = taken.remove(&ended.caller).unwrap_or_default();
            let again: Vec<Queued> = match ended.answer {
                Some(answer) => {
                    let failed: BTreeSet<String> = answer
                        .batch_item_failures
                        .into_iter()
                        .map(|failure| failure.item_identifier)
                        .collect();
                    batch
                        .into_iter()
                        .filter(|queued| failed.contains(&queued.id.to_string()))
                        .collect()
                }
                None => {
                    self.workers.remove(&ended.caller);
                    batch
                }
            };
            self.queue.extend(again);
        }
        self.collect()
    }

    /// What the workers and the API queued joins the queue.
    fn collect(&mut self) -> anyhow::Result<()> {
        let sent = self.stage.aws.world.take_batch(usize::MAX, usize::MAX)?;
        for message in sent {
            self.stage.aws.world.change(Change::MessageDeleted {
                queue: QueueName::Bills,
                id: message.id.clone(),
            })?;
            self.queue_up(message.body.into());
        }
        Ok(())
    }

    /// Lets time pass; the tick is queued whenever it is due.
    pub async fn pass(&mut self, minutes: i64) -> anyhow::Result<()> {
        let until = self
            .stage
            .aws
            .clock
            .now()
            .saturating_add(SignedDuration::from_mins(minutes))?;
        let passes = Duration::try_from(until.duration_since(self.stage.aws.clock.now()))?;
        tokio::time::sleep(passes).await;
        while self.next_tick <= self.stage.aws.clock.now() {
            self.queue_up(FLUSH.into());
            self.next_tick = next_tick(self.next_tick).ok_or_else(|| anyhow::anyhow!("time is over"))?;
        }
        let now = self.stage.aws.clock.now();
        self.stage.aws.world.change(Change::ClockMoved { to: now })?;
        Ok(())
    }

    fn subscribe(&mut self, buyer: usize, subscribed: bool) -> anyhow::Result<()> {
        let statement = BuyerStatement {
            customer: CUSTOMERS[buyer % CUSTOMERS.len()].to_owned(),
            subscribed,
            from: None,
        };
        Ok(self.stage.aws.world.change(Change::BuyerStated { statement })?)
    }

    fn list(&mut self, bad_dimensions: Vec<String>) -> anyhow::Result<()> {
        let switches = SwitchChange {
            bad_dimensions: Some(bad_dimensions),
            ..SwitchChange::default()
        };
        Ok(self.stage.aws.world.change(Change::SwitchesChanged { switches })?)
    }

    async fn enable(&mut self, configuration: usize, enabled: bool) -> anyhow::Result<()> {
        if enabled {
            let enabling = self.seller.enable(configuration);
            self.stage.calmly(enabling).await??;
            return self.collect();
        }
        let organization = OrganizationId::new(ORGANIZATION)?;
        let id = self.seller.configuration(configuration).clone();
        let api = self.api.clone();
        self.stage
            .calmly(async move { api.configurations.disable(&organization, &id).await })
            .await??;
        Ok(())
    }

    fn billed(&self) -> Vec<(String, Timestamp, i64)> {
        self.stage.aws.world.read(|holdings| {
            let held = holdings
                .marketplace
                .held()
                .filter(|(_, held)| held.billed && is_aws_account_id(&held.reported_by));
            held.map(|(key, held)| (key.dimension.clone(), key.hour, held.quantity))
                .collect()
        })
    }
}
