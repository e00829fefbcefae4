//! What a bill would lead to, by the decisions of the dispatch itself, on what is stored now. Nothing is written and nothing is claimed.
//!
//! Between the look and the bill's real arrival other bills may change the same keys and hours pass; then it comes to something else.

use std::time::Duration;

use jiff::Timestamp;

use super::DispatchError;
use super::batch::{Batch, Time};
use super::bill::{KeyRun, Story};
use super::keys::{self, KeyWork};
use super::receive::ReceivedBill;
use crate::Outbill;
use crate::decisions::advance::{Advance, Mode};
use crate::decisions::claim::ClaimPlan;
use crate::decisions::conclusion::Outcome;
use crate::decisions::eligibility::Refusal;
use crate::decisions::explanation::{self, SourceShare, VersionLines};
use crate::effects::freeze::Look;
use crate::effects::ledger::LedgerError;
use crate::values::amount::Units;
use crate::values::bill::Bill;
use crate::values::configuration::IntegrationConfiguration;
use crate::values::ids::ConfigurationId;
use crate::values::manifest::{Fixed, Manifest, TouchedKey};
use crate::values::marketplace_configuration::MarketplaceConfiguration;
use crate::values::message::{BillMessage, Change};

/// What a configuration would do with a bill.
#[derive(Debug)]
pub struct Preview {
    pub bill: Bill,
    pub fate: Fate,
    /// Every usage key that the bill counts on or ever did; empty where it is stopped.
    pub keys: Vec<PreviewedKey>,
}

/// Whether the bill would be counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// Not by this configuration, or not like this.
    Stopped(Outcome),
    /// It was counted already in this version, and stays so although it would be counted otherwise now.
    Stays,
    Counted,
}

/// One usage key.
#[derive(Debug)]
pub struct PreviewedKey {
    pub touched: TouchedKey,
    /// What the bill counts here.
    pub sources: Vec<SourceShare>,
    /// What earlier cut-overs left here.
    pub fixed: Vec<Fixed>,
    /// The bill's units on the key, before and after.
    pub units: (Units, Units),
    /// What all bills owe here, and what AWS has or was sent, before.
    pub total_before: Units,
    pub committed_before: Units,
    pub plan: ClaimPlan,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    #[error("the organization has no integration configuration {0}")]
    NoConfiguration(ConfigurationId),
    #[error(
        "a deletion needs no preview: it sets all of the bill's units to 0, and what AWS has of them becomes a carry"
    )]
    Deletion,
    #[error("what the preview rests on could not be read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<DispatchError> for PreviewError {
    fn from(error: DispatchError) -> PreviewError {
        PreviewError::Unavailable(error.into())
    }
}

/// Half of it is m3ter's at most, which leaves the API function the rest of its 29 seconds.
const LOOKS_FOR: Duration = Duration::from_secs(40);

/// Decides about a bill as the dispatch would at `now`.
pub async fn preview(
    outbill: &Outbill,
    message: BillMessage,
    wanted: &ConfigurationId,
    now: Timestamp,
) -> Result<Preview, PreviewError> {
    let batch = Batch::new(outbill, Look::Only, now, Time::of(LOOKS_FOR));
    let received = ReceivedBill {
        message,
        mode: Mode::Ordinary,
        replayed_from: None,
        only: None,
    };
    let Change::Calculated(bill) = &received.message.change else {
        return Err(PreviewError::Deletion);
    };
    let configurations = batch
        .configurations(&bill.reference.organization)
        .await
        .map_err(DispatchError::from)?;
    let known = outbill
        .ledger
        .manifest(&bill.reference)
        .await
        .map_err(DispatchError::from)?;
    let mut owner = known.as_ref().and_then(|manifest| manifest.owner.clone());
    // The dispatch asks them in this order, and the first that is eligible owns the bill.
    for configuration in configurations.iter() {
        let run = batch.new_run()?;
        let story = Story {
            batch: &batch,
            received: &received,
            bill,
            configuration,
            run: &run,
        };
        let admitted = story.admit(known.as_ref(), owner.as_ref()).await?;
        if configuration.id == *wanted {
            let (fate, keys) = match admitted {
                Err(outcome) => (Fate::Stopped(outcome), Vec::new()),
                Ok(marketplace) => look(&story, configuration, known, &marketplace).await?,
            };
            let bill = (**bill).clone();
            return Ok(Preview { bill, fate, keys });
        }
        if admitted.is_ok() {
            owner = Some(configuration.id.clone());
        }
    }
    Err(PreviewError::NoConfiguration(wanted.clone()))
}

/// The way of [`Story`] as far as nothing is written.
async fn look(
    story: &Story<'_>,
    configuration: &IntegrationConfiguration,
    known: Option<Manifest>,
    marketplace: &MarketplaceConfiguration,
) -> Result<(Fate, Vec<PreviewedKey>), DispatchError> {
    let stopped = |outcome| Ok((Fate::Stopped(outcome), Vec::new()));
    let targets = match story.targets(marketplace).await? {
        Ok(targets) => targets,
        Err(invalid) => return stopped(Outcome::Invalid(invalid)),
    };
    let (advance, rows) = match story.weigh(known.as_ref(), marketplace, &targets).await? {
        Ok(weighed) => weighed,
        Err(outcome) => return stopped(outcome),
    };
    let (manifest, fate) = match (advance, known) {
        (Advance::Changed { manifest, .. }, _) => (*manifest, Fate::Counted),
        (Advance::Unchanged, Some(manifest)) => (manifest, Fate::Counted),
        (Advance::EqualButOther, Some(manifest)) => (manifest, Fate::Stays),
        // An equal version has a manifest that it is equal to.
        (Advance::Unchanged | Advance::EqualButOther, None) => return Ok((Fate::Stays, Vec::new())),
    };
    let Some(credential) = &configuration.credential else {
        return stopped(Outcome::Refused(Refusal::NoCredential));
    };
    let work = KeyWork {
        manifest: &manifest,
        run: Some(KeyRun {
            configuration,
            credential,
            run: story.run,
        }),
        resumes: false,
        unblocks: false,
    };
    let lines = VersionLines::of(story.bill.clone(), marketplace);
    let mut keys = Vec::new();
    for (hash, units) in manifest.units_by_key().map_err(LedgerError::from)? {
        let Some(touched) = manifest.keys.get(&hash) else {
            continue;
        };
        let row = rows.get(&hash).cloned().unwrap_or_default();
        let Some((_, plan)) = keys::decide(story.batch, &work, touched, &row, units).await? else {
            continue;
        };
        let (sources, fixed) = explanation::shares(&manifest, &hash, Some(&lines));
        keys.push(PreviewedKey {
            touched: touched.clone(),
            sources,
            fixed,
            units: (row.units.unwrap_or_default(), units),
            total_before: row.state.as_ref().map_or(0, |state| state.total),
            committed_before: row.state.as_ref().map_or(0, |state| state.committed),
            plan,
        });
    }
    Ok((fate, keys))
}
