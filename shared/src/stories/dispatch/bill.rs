//! One bill, through every configuration of its organization: head, eligibility, totals, buyer, manifest, claims.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::batch::{Batch, Draft, Progress, RunDraft, TRIES_MAX};
use super::keys::{self, Carried, KeyWork, Rows};
use super::receive::ReceivedBill;
use super::{DispatchError, deletion};
use crate::decisions::advance::{self, Advance, Incoming, Mode, Standing};
use crate::decisions::claim::{self, Reason};
use crate::decisions::conclusion::Outcome;
use crate::decisions::eligibility;
use crate::decisions::target::{self, Mappings, Target};
use crate::decisions::totals;
use crate::decisions::validation::{Culprit, EntityReference, Invalid};
use crate::effects::ledger::{KeyChange, KeyRow, LedgerError};
use crate::effects::m3ter::M3terError;
use crate::values::account::Account;
use crate::values::bill::{Bill, BillReference};
use crate::values::configuration::IntegrationConfiguration;
use crate::values::entry::{Connection, KeyState, Origin};
use crate::values::ids::{ConfigurationId, CredentialId, RunId};
use crate::values::manifest::{Manifest, Source, SplitKind};
use crate::values::marketplace_configuration::{MarketplaceConfiguration, Split};
use crate::values::message::Change;
use crate::values::usage_key::KeyHash;

/// Handles a bill. Claims and runs go into `progress`, also when an error stops it half-way.
pub(super) async fn bill(
    batch: &Batch<'_>,
    received: &ReceivedBill,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    let reference = received.message.change.bill();
    let (configurations, manifest) =
        futures::try_join!(batch.configurations(&reference.organization), batch.manifest(reference))?;
    match &received.message.change {
        Change::Calculated(calculated) => {
            let mut known = manifest;
            let mut owner = known.as_ref().and_then(|manifest| manifest.owner.clone());
            for configuration in configurations.iter() {
                if !is_meant(received.only.as_ref(), configuration, &configurations) {
                    continue;
                }
                let run = batch.new_run()?;
                let story = Story {
                    batch,
                    received,
                    bill: calculated,
                    configuration,
                    run: &run,
                };
                let draft = match story.admit(known.as_ref(), owner.as_ref()).await? {
                    Err(outcome) => match &known {
                        Some(manifest) if story.lifts(manifest, &outcome) => {
                            story.lift(manifest, outcome, progress).await?
                        }
                        Some(_) | None => Draft::Decided(outcome),
                    },
                    Ok(marketplace) => {
                        owner = Some(configuration.id.clone());
                        let (draft, manifest) = story.meter(known.clone(), &marketplace, progress).await?;
                        known = manifest.or(known);
                        draft
                    }
                };
                progress
                    .runs
                    .push(run_draft(received, reference, configuration, run, draft));
            }
            Ok(())
        }
        Change::Deleted { bill, head, account } => {
            deletion::delete(batch, received, bill, *head, account.as_ref(), manifest, progress).await
        }
    }
}

/// A replay is for the configuration of its run alone, unless that is gone.
pub(super) fn is_meant(
    only: Option<&ConfigurationId>,
    configuration: &IntegrationConfiguration,
    all: &[Arc<IntegrationConfiguration>],
) -> bool {
    only.is_none_or(|only| *only == configuration.id || all.iter().all(|other| other.id != *only))
}

pub(super) fn run_draft(
    received: &ReceivedBill,
    bill: &BillReference,
    configuration: &Arc<IntegrationConfiguration>,
    run: RunId,
    draft: Draft,
) -> RunDraft {
    RunDraft {
        run,
        replayed_from: received.replayed_from.clone(),
        bill: bill.clone(),
        account: received.message.change.account().cloned(),
        head: received.message.change.head().sort_text(),
        configuration: Arc::clone(configuration),
        input: Arc::clone(&received.message.input),
        draft,
    }
}

/// A bill for one configuration.
pub(super) struct Story<'a> {
    pub(super) batch: &'a Batch<'a>,
    pub(super) received: &'a ReceivedBill,
    pub(super) bill: &'a Bill,
    pub(super) configuration: &'a IntegrationConfiguration,
    pub(super) run: &'a RunId,
}

/// Where each source of a version goes.
pub(super) type Targets = BTreeMap<Source, Target>;

/// What becomes of the manifest, and the rows that this was decided on.
pub(super) type Weighed = (Advance, BTreeMap<KeyHash, KeyRow>);

impl Story<'_> {
    /// Head, eligibility and ownership. `Err`: the run ends here.
    pub(super) async fn admit(
        &self,
        known: Option<&Manifest>,
        owner: Option<&ConfigurationId>,
    ) -> Result<Result<MarketplaceConfiguration, Outcome>, DispatchError> {
        match advance::standing(known, self.bill.head) {
            standing @ (Standing::Older(_) | Standing::Incomparable(_) | Standing::Deleted) => {
                return Ok(Err(Outcome::Ignored(standing)));
            }
            Standing::First | Standing::Newer | Standing::Equal => {}
        }
        let marketplace = match self.configuration.marketplace() {
            Ok(marketplace) => marketplace,
            Err(error) => return Ok(Err(invalid(Culprit::Configuration(error.to_string())))),
        };
        if let Some(refusal) = eligibility::refusal(self.configuration, &marketplace, self.bill) {
            return Ok(Err(Outcome::Refused(refusal)));
        }
        if marketplace.account_filter.is_some() {
            match self.account().await? {
                Ok(account) => {
                    if let Some(refusal) = eligibility::filtered_out(&marketplace, Some(&account)) {
                        return Ok(Err(Outcome::Refused(refusal)));
                    }
                }
                Err(outcome) => return Ok(Err(outcome)),
            }
        }
        if let Some(owner) = self.other_owner(owner).await? {
            return Ok(Err(invalid(Culprit::OwnedByConfiguration { owner })));
        }
        Ok(Ok(marketplace))
    }

    /// Another configuration, if the bill is that one's: as long as it is there, and its own settings admit the account. It may be disabled or
    /// disconnected, which ends by itself; but an account that was taken out of it is for whichever configuration admits it now.
    async fn other_owner(&self, owner: Option<&ConfigurationId>) -> Result<Option<ConfigurationId>, DispatchError> {
        let Some(owner) = owner.filter(|owner| **owner != self.configuration.id) else {
            return Ok(None);
        };
        let configurations = self.batch.configurations(&self.bill.reference.organization).await?;
        let Some(configuration) = configurations.iter().find(|known| known.id == *owner) else {
            return Ok(None);
        };
        let Ok(marketplace) = configuration.marketplace() else {
            return Ok(Some(owner.clone()));
        };
        let lists = eligibility::account_refused(&marketplace, &self.bill.account);
        let is_kept_out = lists.is_some()
            || marketplace.account_filter.is_some()
                && match self.account().await? {
                    Ok(account) => eligibility::filtered_out(&marketplace, Some(&account)).is_some(),
                    Err(_) => false,
                };
        Ok((!is_kept_out).then(|| owner.clone()))
    }

    async fn account(&self) -> Result<Result<Account, Outcome>, DispatchError> {
        if let Some(account) = &self.received.message.account {
            return Ok(Ok(account.clone()));
        }
        let organization = &self.bill.reference.organization;
        let m3ter = &self.batch.outbill.m3ter;
        let account = m3ter.account(organization, &self.bill.account, self.batch.now);
        let unusable = |reason: String| {
            let account = self.bill.account.clone();
            Ok(Err(invalid(Culprit::Account { account, reason })))
        };
        match self.batch.ask(account).await {
            Ok(account) => match Account::from_json(account.into()) {
                Ok(account) if account.id == self.bill.account => Ok(Ok(account)),
                Ok(other) => unusable(format!("m3ter answered with account {}", other.id)),
                Err(error) => unusable(error.to_string()),
            },
            Err(error @ (M3terError::Refused { .. } | M3terError::NoCredentials { .. })) => unusable(error.to_string()),
            Err(error @ (M3terError::Unavailable { .. } | M3terError::Store(_))) => Err(error.into()),
        }
    }

    /// Counts the bill and claims what it owes. Decided anew while other workers change what it was decided on.
    async fn meter(
        &self,
        known: Option<Manifest>,
        marketplace: &MarketplaceConfiguration,
        progress: &mut Progress,
    ) -> Result<(Draft, Option<Manifest>), DispatchError> {
        let organization = &self.bill.reference.organization;
        let (targets, ()) = futures::try_join!(self.targets(marketplace), self.batch.ask_for_health(organization))?;
        let targets = match targets {
            Ok(targets) => targets,
            Err(invalid) => return Ok((Draft::Decided(Outcome::Invalid(invalid)), None)),
        };
        let _turns = self.batch.turns(&self.keys(known.as_ref(), &targets)).await;
        let mut known = known;
        for _ in 0..TRIES_MAX {
            let (decided, rows) = match self.weigh(known.as_ref(), marketplace, &targets).await? {
                Ok(weighed) => weighed,
                Err(outcome) => return Ok((Draft::Decided(outcome), known)),
            };
            let (manifest, rows, renewed) = match (decided, known.take()) {
                (Advance::Unchanged, Some(manifest)) => (manifest, Rows::Newer(rows), Renewed::No),
                (Advance::EqualButOther, Some(manifest)) => (manifest, Rows::Newer(rows), Renewed::ButOther),
                (Advance::Changed { manifest, left }, _) if left.is_empty() => {
                    (*manifest, Rows::Older(rows), Renewed::Yes)
                }
                (Advance::Changed { manifest, left }, before) => {
                    match self.leave(before.as_ref(), &manifest, &left, rows).await? {
                        Some(rows) => (*manifest, Rows::Newer(rows), Renewed::Yes),
                        None => {
                            known = self.batch.outbill.ledger.manifest(&self.bill.reference).await?;
                            continue;
                        }
                    }
                }
                // An equal version has a manifest that it is equal to.
                (Advance::Unchanged | Advance::EqualButOther, None) => continue,
            };
            let draft = match (self.claim(&manifest, rows, renewed, progress).await?, renewed) {
                (Carried::Outrun, _) => {
                    known = self.batch.outbill.ledger.manifest(&self.bill.reference).await?;
                    continue;
                }
                (Carried::Overtaken, _) => Draft::Decided(Outcome::Overtaken),
                (Carried::ToItsKeys(keys), Renewed::ButOther) => Draft::EqualButOther(keys),
                (Carried::ToItsKeys(keys), Renewed::Yes | Renewed::No) => Draft::Metered(keys),
            };
            return Ok((draft, Some(manifest)));
        }
        Err(DispatchError::BillContended {
            bill: self.bill.reference.to_string(),
            tries: TRIES_MAX,
        })
    }

    /// What the version comes to on what is stored now; nothing is written. `Err`: the run ends here.
    pub(super) async fn weigh(
        &self,
        known: Option<&Manifest>,
        marketplace: &MarketplaceConfiguration,
        targets: &Targets,
    ) -> Result<Result<Weighed, Outcome>, DispatchError> {
        match advance::standing(known, self.bill.head) {
            standing @ (Standing::Older(_) | Standing::Incomparable(_) | Standing::Deleted) => {
                return Ok(Err(Outcome::Ignored(standing)));
            }
            Standing::First | Standing::Newer | Standing::Equal => {}
        }
        // Another worker may have given it an owner since this one looked.
        if let Some(owner) = self.other_owner(known.and_then(|known| known.owner.as_ref())).await? {
            return Ok(Err(invalid(Culprit::OwnedByConfiguration { owner })));
        }
        let rows = self.rows(known, targets).await?;
        if let Some(invalid) = self.foreign(targets, &rows) {
            return Ok(Err(Outcome::Invalid(invalid)));
        }
        let attributed = rows
            .iter()
            .map(|(key, row)| (key.clone(), row.attributed(&self.bill.reference)))
            .collect();
        let incoming = Incoming {
            bill: self.bill,
            owner: &self.configuration.id,
            split: split_kind(&marketplace.split),
            unit_price: marketplace.unit_price,
            targets,
        };
        let decided = advance::advance(known, incoming, &attributed, self.mode(known), self.batch.now);
        Ok(match decided {
            Ok(advance) => Ok((advance, rows)),
            Err(invalid) => Err(Outcome::Invalid(invalid)),
        })
    }

    /// A replay for every configuration looks for one that takes the bill. Whoever has it decides as a repeat does: nothing of what it has
    /// counted is decided anew.
    fn mode(&self, known: Option<&Manifest>) -> Mode {
        let is_for_all = self.received.replayed_from.is_some() && self.received.only.is_none();
        let owner = known.and_then(|known| known.owner.as_ref());
        match is_for_all && owner == Some(&self.configuration.id) {
            true => Mode::Ordinary,
            false => self.received.mode,
        }
    }

    pub(super) async fn targets(
        &self,
        marketplace: &MarketplaceConfiguration,
    ) -> Result<Result<Targets, Invalid>, DispatchError> {
        let totals = totals::totals(self.bill, marketplace);
        let needed = target::needed(&self.bill.account, &totals.by_source);
        let organization = &self.bill.reference.organization;
        let things: Vec<(&str, &str)> = needed
            .iter()
            .map(|entity| (entity.entity, entity.id.as_str()))
            .collect();
        let mut mappings = Mappings::new();
        for mapping in self.batch.mappings(organization, &things).await? {
            let named = |entity: &&EntityReference| {
                entity.id == mapping.m3ter_id && entity.entity.eq_ignore_ascii_case(&mapping.m3ter_entity)
            };
            if let Some(entity) = needed.iter().find(named) {
                mappings.entry(entity.clone()).or_default().push(mapping);
            }
        }
        Ok(target::targets(
            &self.bill.account,
            &totals,
            &mappings,
            &self.configuration.id,
            marketplace,
        ))
    }

    async fn rows(
        &self,
        known: Option<&Manifest>,
        targets: &Targets,
    ) -> Result<BTreeMap<KeyHash, KeyRow>, DispatchError> {
        let keys: Vec<KeyHash> = self.keys(known, targets).into_iter().collect();
        Ok(self.batch.outbill.ledger.key_rows(&self.bill.reference, &keys).await?)
    }

    /// The keys that the bill's units are on, and those that they go to.
    fn keys(&self, known: Option<&Manifest>, targets: &Targets) -> BTreeSet<KeyHash> {
        let touched = known.into_iter().flat_map(|manifest| manifest.keys.keys().cloned());
        touched
            .chain(targets.values().map(|target| target.key.hash()))
            .collect()
    }

    /// Keys that another organization meters.
    fn foreign(&self, targets: &Targets, rows: &BTreeMap<KeyHash, KeyRow>) -> Option<Invalid> {
        let keys: BTreeSet<_> = targets.values().map(|target| &target.key).collect();
        let owner = |key: &&crate::values::usage_key::UsageKey| {
            rows.get(&key.hash())
                .and_then(|row| row.state.as_ref())
                .map(|state| state.owner.clone())
        };
        let foreign = keys.into_iter().filter_map(|key| {
            let owner = owner(&key)?;
            (owner != self.bill.reference.organization).then(|| Culprit::OwnedByOrganization {
                key: Box::new(key.clone()),
                owner,
            })
        });
        Invalid::of(foreign.collect())
    }

    /// Writes a manifest with the keys that a source leaves, before the keys that it goes to are claimed on. `None`: another worker was
    /// faster.
    async fn leave(
        &self,
        known: Option<&Manifest>,
        manifest: &Manifest,
        left: &BTreeSet<KeyHash>,
        rows: BTreeMap<KeyHash, KeyRow>,
    ) -> Result<Option<BTreeMap<KeyHash, KeyRow>>, DispatchError> {
        let units = manifest.units_by_key().map_err(LedgerError::from)?;
        let mut changes = Vec::new();
        for key in left {
            let Some(KeyRow {
                state: Some(state),
                units: before,
            }) = rows.get(key)
            else {
                continue;
            };
            let after = units.get(key).copied().unwrap_or_default();
            let counted = claim::count(
                state,
                &self.bill.reference,
                before.unwrap_or_default(),
                after,
                self.bill.ends_at,
            )
            .map_err(LedgerError::from)?;
            let counted = KeyState {
                dirty: counted.total > counted.committed,
                ..counted
            };
            changes.push(KeyChange {
                known_version: state.version,
                state: counted,
                units: Some((*before, after)),
                entries: Vec::new(),
            });
        }
        if !self
            .batch
            .outbill
            .ledger
            .advance_with(known, manifest, changes, self.batch.now)
            .await?
        {
            return Ok(None);
        }
        let keys: Vec<KeyHash> = rows.into_keys().collect();
        let rows = self.batch.outbill.ledger.key_rows(&self.bill.reference, &keys).await?;
        Ok(Some(rows))
    }

    /// Whether a replay of a version that is not the newest any more has something to do: what the newest counts stands, but what stopped its
    /// keys is lifted. The run that waited for that may be of an older version than the one that was counted last.
    fn lifts(&self, manifest: &Manifest, outcome: &Outcome) -> bool {
        let replayed = matches!(self.received.mode, Mode::Apply | Mode::Remap);
        let owns = manifest.owner.as_ref() == Some(&self.configuration.id);
        replayed && owns && self.configuration.enabled && matches!(outcome, Outcome::Ignored(_))
    }

    async fn lift(
        &self,
        manifest: &Manifest,
        ignored: Outcome,
        progress: &mut Progress,
    ) -> Result<Draft, DispatchError> {
        let keys: Vec<KeyHash> = manifest.keys.keys().cloned().collect();
        let rows = self.batch.outbill.ledger.key_rows(&manifest.bill, &keys).await?;
        let carried = self.claim(manifest, Rows::Newer(rows), Renewed::No, progress).await?;
        Ok(match carried {
            Carried::ToItsKeys(keys)
                if keys
                    .iter()
                    .any(|key| !key.entries.is_empty() || key.claim == Reason::Blocked) =>
            {
                Draft::Metered(keys)
            }
            Carried::ToItsKeys(_) | Carried::Outrun | Carried::Overtaken => Draft::Decided(ignored),
        })
    }

    async fn claim(
        &self,
        manifest: &Manifest,
        rows: Rows,
        renewed: Renewed,
        progress: &mut Progress,
    ) -> Result<Carried, DispatchError> {
        let Some(credential) = &self.configuration.credential else {
            return Ok(Carried::ToItsKeys(Vec::new()));
        };
        let work = KeyWork {
            manifest,
            run: Some(KeyRun {
                configuration: self.configuration,
                credential,
                run: self.run,
            }),
            resumes: matches!(renewed, Renewed::No | Renewed::ButOther),
            unblocks: matches!(self.received.mode, Mode::Apply | Mode::Remap),
        };
        keys::apply(self.batch, &work, rows, progress).await
    }
}

/// Whether a message brought a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewed {
    Yes,
    No,
    ButOther,
}

/// The run that claims.
pub(super) struct KeyRun<'a> {
    pub(super) configuration: &'a IntegrationConfiguration,
    pub(super) credential: &'a CredentialId,
    pub(super) run: &'a RunId,
}

impl KeyRun<'_> {
    pub(super) fn origin(&self, bill: &BillReference, region: &str, product_code: &str) -> Origin {
        let connection = Connection {
            organization: bill.organization.clone(),
            credential: self.credential.clone(),
            region: region.to_owned(),
            product_code: product_code.to_owned(),
        };
        Origin {
            configuration: self.configuration.id.clone(),
            run: self.run.clone(),
            bill: bill.clone(),
            connection,
        }
    }
}

pub(super) fn invalid(culprit: Culprit) -> Outcome {
    Outcome::Invalid(Invalid::one(culprit))
}

fn split_kind(split: &Split) -> SplitKind {
    match split {
        Split::PerBill(_) => SplitKind::ItemPerBill,
        Split::PerProduct => SplitKind::ItemPerProduct,
        Split::PerAggregation => SplitKind::ItemPerAggregation,
    }
}
