//! What the messages of one batch share: the instant, what was read already, and what each has done so far.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};
use tokio::time::Instant;

use super::DispatchError;
use crate::Outbill;
use crate::decisions::claim::{ConnectionHealth, Reason};
use crate::decisions::conclusion::Outcome;
use crate::decisions::validation::EntityReference;
use crate::effects::connections::Failing;
use crate::effects::freeze::{Look, Standing};
use crate::effects::ids::made_at;
use crate::effects::ledger::{Claim, Recorded};
use crate::effects::m3ter::M3terError;
use crate::effects::table::StoreError;
use crate::effects::waiting::Awaited;
use crate::values::amount::Units;
use crate::values::bill::BillReference;
use crate::values::configuration::IntegrationConfiguration;
use crate::values::entry::{Entry, EntryState, Origin};
use crate::values::hour::Hour;
use crate::values::ids::{AccountId, ConfigurationId, OrganizationId, RunId};
use crate::values::manifest::Manifest;
use crate::values::mapping::ExternalMapping;
use crate::values::metric::{Measured, Metric};
use crate::values::usage_key::KeyHash;

/// Look-ups of one bill that run at once.
const LOOK_UPS_AT_ONCE_MAX: usize = 16;
/// Times that something is decided anew because other workers changed its rows.
pub(super) const TRIES_MAX: usize = 20;

/// An organization's configurations; every run of a batch has its own.
pub(super) type Configurations = Arc<[Arc<IntegrationConfiguration>]>;

/// The mappings of one thing, once they were read.
type MappingsOf = Arc<OnceCell<Vec<ExternalMapping>>>;

/// How an invocation spends its time. However slow m3ter and the table are, what is claimed in the first half is sent, and what AWS said is written
/// down. Runs that a page settles, and that there was no time to tell, are told when the page comes again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    fetches_until: Instant,
    begins_until: Instant,
    sends_until: Instant,
    tells_until: Instant,
}

impl Time {
    /// Of an invocation that begins now.
    pub(super) fn of(whole: Duration) -> Time {
        let now = Instant::now();
        Time {
            fetches_until: now + whole / 4,
            begins_until: now + whole / 2,
            sends_until: now + whole / 4 * 3,
            tells_until: now + whole / 8 * 7,
        }
    }
}

/// One batch of messages.
pub(super) struct Batch<'a> {
    pub(super) outbill: &'a Outbill,
    pub(super) now: Timestamp,
    time: Time,
    configurations: Mutex<BTreeMap<OrganizationId, Configurations>>,
    failing: Mutex<BTreeMap<OrganizationId, Arc<Failing>>>,
    left_in_shadow: Mutex<BTreeMap<OrganizationId, Arc<BTreeSet<ConfigurationId>>>>,
    look: Look,
    standing: OnceCell<Standing>,
    mappings: std::sync::Mutex<BTreeMap<(OrganizationId, String, String), MappingsOf>>,
    /// What was read of bills before their messages are handled.
    manifests: std::sync::Mutex<BTreeMap<BillReference, Option<Manifest>>>,
    /// Entries that this batch sends, or is about to claim, with how many of its messages are at it. Noted before the claim or the attempt is
    /// written, so that a second message about an entry starts no second attempt beside the first.
    reserved: std::sync::Mutex<BTreeMap<EntryName, u32>>,
    /// Whose turn it is on a usage key.
    turns: std::sync::Mutex<BTreeMap<KeyHash, Arc<Mutex<()>>>>,
    /// Configurations with failures that were counted after their rows were read.
    counted: std::sync::Mutex<BTreeSet<ConfigurationId>>,
    measured: std::sync::Mutex<Measured>,
}

impl<'a> Batch<'a> {
    /// `look`: whether the batch may write at all.
    pub(super) fn new(outbill: &'a Outbill, look: Look, now: Timestamp, time: Time) -> Batch<'a> {
        Batch {
            outbill,
            now,
            time,
            configurations: Mutex::default(),
            failing: Mutex::default(),
            left_in_shadow: Mutex::default(),
            look,
            standing: OnceCell::default(),
            mappings: std::sync::Mutex::default(),
            manifests: std::sync::Mutex::default(),
            reserved: std::sync::Mutex::default(),
            turns: Default::default(),
            counted: std::sync::Mutex::default(),
            measured: std::sync::Mutex::default(),
        }
    }

    /// Whether a message may still be begun.
    pub(super) fn begins(&self) -> bool {
        Instant::now() < self.time.begins_until
    }

    /// Fetches from m3ter what a message refers to, before any message of the batch is begun: it has a quarter of the time, so that the others have
    /// theirs.
    pub(super) async fn fetch<T>(&self, asking: impl Future<Output = Result<T, M3terError>>) -> Result<T, M3terError> {
        in_time(self.time.fetches_until, asking).await
    }

    /// Asks m3ter on behalf of a message that was begun. What the others have claimed meanwhile waits to be sent.
    pub(super) async fn ask<T>(&self, asking: impl Future<Output = Result<T, M3terError>>) -> Result<T, M3terError> {
        in_time(self.time.begins_until, asking).await
    }

    /// When a call may be begun at the latest.
    pub(super) fn sends_until(&self) -> Instant {
        self.time.sends_until
    }

    /// Whether earlier runs may still be told how their entries fared.
    pub(super) fn tells(&self) -> bool {
        Instant::now() < self.time.tells_until
    }

    /// The organization's configurations, oldest first; read once a batch.
    pub(super) async fn configurations(&self, organization: &OrganizationId) -> Result<Configurations, StoreError> {
        let mut known = self.configurations.lock().await;
        if let Some(found) = known.get(organization) {
            return Ok(Arc::clone(found));
        }
        let found = self.outbill.configurations.of_organization(organization).await?;
        let found: Configurations = found.into_iter().map(Arc::new).collect();
        known.insert(organization.clone(), Arc::clone(&found));
        Ok(found)
    }

    /// The mappings of several things, each given as entity and id, in the order of the things; a thing is looked up once a batch. One that is
    /// mapped later is found by who waits for it.
    pub(super) async fn mappings(
        &self,
        organization: &OrganizationId,
        things: &[(&str, &str)],
    ) -> Result<Vec<ExternalMapping>, StoreError> {
        let look_ups = things.iter().map(|&(entity, id)| async move {
            let of = (organization.clone(), entity.to_owned(), id.to_owned());
            let known = Arc::clone(
                self.mappings
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .entry(of)
                    .or_default(),
            );
            let read = || self.outbill.mappings.of_entity(organization, entity, id);
            Ok(known.get_or_try_init(read).await?.clone())
        });
        let look_ups: Vec<_> = look_ups.collect();
        let found: Result<Vec<Vec<ExternalMapping>>, StoreError> = stream::iter(look_ups)
            .buffered(LOOK_UPS_AT_ONCE_MAX)
            .try_collect()
            .await;
        Ok(found?.into_iter().flatten().collect())
    }

    /// The mappings of a thing as this batch read them; none if it did not look.
    pub(super) fn mappings_read(
        &self,
        organization: &OrganizationId,
        thing: &EntityReference,
    ) -> Option<Vec<ExternalMapping>> {
        let of = (organization.clone(), thing.entity.to_owned(), thing.id.clone());
        let known = self.mappings.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&of)?.get().cloned()
    }

    /// Reads the manifests of several bills in as few requests as DynamoDB takes. What cannot be read like this is read alone, by a message that
    /// can say what is wrong with it.
    pub(super) async fn read_manifests(&self, bills: &[&BillReference]) {
        let Ok(found) = self.outbill.ledger.manifests(bills).await else {
            return;
        };
        let mut read = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        read.extend(bills.iter().map(|&bill| (bill.clone(), None)));
        read.extend(
            found
                .into_iter()
                .map(|manifest| (manifest.bill.clone(), Some(manifest))),
        );
    }

    /// A bill's manifest: the first time what was read of it beforehand, from then on as it is. Whoever writes it names the revision that he saw.
    pub(super) async fn manifest(&self, bill: &BillReference) -> Result<Option<Manifest>, StoreError> {
        let read = self
            .manifests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(bill);
        match read {
            Some(manifest) => Ok(manifest),
            None => self.outbill.ledger.manifest(bill).await,
        }
    }

    /// The organization's failing connections; read once a batch.
    pub(super) async fn failing(&self, organization: &OrganizationId) -> Result<Arc<Failing>, StoreError> {
        once(
            &self.failing,
            organization,
            self.outbill.connections.failing(organization),
        )
        .await
    }

    /// Reads what [`Batch::health`] rests on, while a bill waits for something else.
    pub(super) async fn ask_for_health(&self, organization: &OrganizationId) -> Result<(), DispatchError> {
        futures::try_join!(self.failing(organization), self.standing())?;
        Ok(())
    }

    /// Whether what a configuration owes may be claimed now, on the connection that it has.
    pub(super) async fn health(&self, origin: &Origin) -> Result<ConnectionHealth, StoreError> {
        let organization = &origin.connection.organization;
        let configurations = self.configurations(organization).await?;
        let mut all = configurations.iter();
        let configuration = all.find(|configuration| configuration.id == origin.configuration);
        let is_frozen = self.is_frozen(origin).await?;
        let failing = self.failing(organization).await?;
        let was_left_in_shadow = match configuration {
            Some(_) => false,
            None => self.left_in_shadow(organization).await?.contains(&origin.configuration),
        };
        Ok(ConnectionHealth::of(
            is_frozen,
            configuration.map(Arc::as_ref),
            was_left_in_shadow,
            failing.is_failing(&origin.connection, self.now),
        ))
    }

    /// The organization's configurations that were deleted in shadow; read once a batch, and only if a key is of one that is not there.
    async fn left_in_shadow(
        &self,
        organization: &OrganizationId,
    ) -> Result<Arc<BTreeSet<ConfigurationId>>, StoreError> {
        let read = self.outbill.configurations.left_in_shadow(organization);
        once(&self.left_in_shadow, organization, read).await
    }

    /// Waits until no other bill of this batch is at one of these keys. Two that are at one key at once read the same state, and the transaction
    /// of one is refused and paid for. Other workers are not waited for: the ledger's conditions keep them apart.
    pub(super) async fn turns(&self, keys: &BTreeSet<KeyHash>) -> Vec<OwnedMutexGuard<()>> {
        let mut turns = Vec::new();
        // All take them in one order, so that nobody waits for somebody who waits for him.
        for key in keys {
            let turn = {
                let mut known = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
                known.entry(key.clone()).or_default().clone()
            };
            turns.push(turn.lock_owned().await);
        }
        turns
    }

    /// Whether nothing of the configuration is sent because the table is a restored copy.
    pub(super) async fn is_frozen(&self, origin: &Origin) -> Result<bool, StoreError> {
        let standing = self.standing().await?;
        Ok(standing.is_frozen(&origin.connection.organization, &origin.configuration))
    }

    pub(super) async fn is_own_table(&self) -> Result<bool, StoreError> {
        Ok(*self.standing().await? == Standing::Own)
    }

    /// What the table is; asked once a batch.
    async fn standing(&self) -> Result<&Standing, StoreError> {
        let standing = || self.outbill.freeze.standing(self.look, self.now);
        self.standing.get_or_try_init(standing).await
    }

    /// Reserves an entry for an attempt; false: another message of the batch sends it or is about to claim it.
    pub(super) fn reserve(&self, name: &EntryName) -> bool {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.contains_key(name) {
            return false;
        }
        reserved.insert(name.clone(), 1);
        true
    }

    /// Notes that a message is about to claim an entry. Others may be, too; the table decides.
    pub(super) fn intend(&self, name: &EntryName) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let intending = reserved.entry(name.clone()).or_insert(0);
        *intending = intending.saturating_add(1);
    }

    /// Takes back what a message intended and did not get.
    pub(super) fn give_back(&self, name: &EntryName) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(intending) = reserved.get_mut(name) {
            *intending = intending.saturating_sub(1);
            if *intending == 0 {
                reserved.remove(name);
            }
        }
    }

    /// Remembers that a failure of the configuration is counted in this batch.
    pub(super) fn counts(&self, configuration: &ConfigurationId) {
        self.counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(configuration.clone());
    }

    pub(super) fn has_counted(&self, configuration: &ConfigurationId) -> bool {
        self.counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(configuration)
    }

    /// Notes what is counted for CloudWatch.
    pub(super) fn measure(&self, note: impl FnOnce(&mut Measured)) {
        note(&mut self.measured.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes entries that were claimed.
    pub(super) fn measure_claims(&self, claims: &[Claim]) {
        self.measure(|measured| {
            for claim in claims {
                measured.add(Metric::UnitsClaimed, claim.entry().quantity);
            }
        });
    }

    /// Notes how an entry stands now that it was settled.
    pub(super) fn measure_settled(&self, entry: &Entry) {
        let metric = match entry.state {
            EntryState::Accepted => Metric::UnitsReported,
            EntryState::Unknown => Metric::UnitsUnknown,
            EntryState::Conflict => Metric::UnitsInConflict,
            EntryState::Refused | EntryState::Released => Metric::UnitsRefused,
            EntryState::Pending | EntryState::Adopted => return,
        };
        // The run that an entry is of counted what the entry sends.
        let counted_at = made_at(entry.origin.run.as_str()).unwrap_or(entry.claimed_at);
        self.measure(|measured| {
            measured.add(metric, entry.quantity);
            if entry.state == EntryState::Accepted {
                measured.sample(Metric::TimeToReported, self.now.duration_since(counted_at).as_secs());
            }
        });
    }

    /// Writes what was measured.
    pub(super) fn emit(&self) {
        self.measure(|measured| self.outbill.metrics.emit(measured, self.now));
    }

    pub(super) fn new_run(&self) -> Result<RunId, DispatchError> {
        RunId::new(self.outbill.ids.text(self.now))
            .map_err(|error| StoreError::other("making a run's id", error).into())
    }
}

/// What is known of an organization, read the first time that it is asked for.
async fn once<T>(
    known: &Mutex<BTreeMap<OrganizationId, Arc<T>>>,
    organization: &OrganizationId,
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<Arc<T>, StoreError> {
    let mut known = known.lock().await;
    if let Some(found) = known.get(organization) {
        return Ok(Arc::clone(found));
    }
    let found = Arc::new(read.await?);
    known.insert(organization.clone(), Arc::clone(&found));
    Ok(found)
}

async fn in_time<T>(until: Instant, asking: impl Future<Output = Result<T, M3terError>>) -> Result<T, M3terError> {
    tokio::time::timeout_at(until, asking).await.unwrap_or_else(|_| {
        Err(M3terError::Unavailable {
            what: "a message of this batch".to_owned(),
            message: "the other messages could not wait any longer; the queue brings this one again".to_owned(),
        })
    })
}

/// An entry's place in the ledger.
pub(super) type EntryName = (KeyHash, Hour);

pub(super) fn entry_name(claim: &Claim) -> EntryName {
    (claim.entry().key.hash(), claim.entry().hour)
}

/// An entry of a key that a run has to do with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) hour: Hour,
    pub(super) quantity: Units,
}

impl Taken {
    pub(super) fn of(entry: &Entry) -> Taken {
        Taken {
            hour: entry.hour,
            quantity: entry.quantity,
        }
    }
}

/// How one key fares in a run, before its entries are settled.
#[derive(Debug)]
pub(super) struct KeyDraft {
    pub(super) key: KeyHash,
    /// `<productCode>-<dimension>`.
    pub(super) dimension: String,
    pub(super) claim: Reason,
    /// Whether units waited here for an hour before this run, and with them an earlier run.
    pub(super) waited: bool,
    /// The entries that this run has to do with, in the order in which they were claimed.
    pub(super) entries: Vec<Taken>,
    /// Whether units wait for an hour in this run's name.
    pub(super) leaves_units: bool,
    /// Whether entries of it wait because the table is a restored copy.
    pub(super) frozen: bool,
    /// What the run waits for if the key is blocked.
    pub(super) waits_for: Vec<Awaited>,
}

/// What is known of a run before its entries are settled.
#[derive(Debug)]
pub(super) enum Draft {
    /// Nothing was claimed; this is the outcome.
    Decided(Outcome),
    /// The bill is counted; its entries decide the rest.
    Metered(Vec<KeyDraft>),
    /// The same, for a version that would count otherwise now.
    EqualButOther(Vec<KeyDraft>),
}

/// A run that will be written.
#[derive(Debug)]
pub(super) struct RunDraft {
    pub(super) run: RunId,
    pub(super) replayed_from: Option<RunId>,
    pub(super) bill: BillReference,
    pub(super) account: Option<AccountId>,
    /// The bill's version as text that sorts.
    pub(super) head: String,
    pub(super) configuration: Arc<IntegrationConfiguration>,
    /// The message, as JSON.
    pub(super) input: Arc<str>,
    pub(super) draft: Draft,
}

/// What one message has done so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) runs: Vec<RunDraft>,
    /// Taken by `settle`.
    pub(super) claims: Vec<Claim>,
    pub(super) claimed: Vec<EntryName>,
    /// Entries that were settled without asking AWS: their window had closed.
    pub(super) closed: Vec<Recorded>,
    /// Entries that were settled when the message came again: whoever settled them may not have told their runs.
    pub(super) settled: Vec<Entry>,
    pub(super) failed: Option<DispatchError>,
}

impl Progress {
    /// A claim of an entry that was reserved.
    pub(super) fn claim(&mut self, claim: Claim) {
        self.claimed.push(entry_name(&claim));
        self.claims.push(claim);
    }

    /// The entries of other messages' runs that are settled for this one, which has no run of its own: a page, a leaving buyer.
    pub(super) fn of_other_runs(&self) -> BTreeSet<EntryName> {
        if !self.runs.is_empty() {
            return BTreeSet::new();
        }
        let closed = self.closed.iter().map(|closed| &closed.entry);
        let settled = closed.chain(&self.settled).map(|entry| (entry.key.hash(), entry.hour));
        self.claimed.iter().cloned().chain(settled).collect()
    }

    pub(super) fn has_claims(&self) -> bool {
        !self.claimed.is_empty()
    }
}
