//! A bill that is told apart by organization and id, but cannot be read.
//!
//! It claims nothing, changes nothing and waits for nothing: only its next version can be better. Its runs say what is wrong.

use std::sync::Arc;

use super::DispatchError;
use super::batch::{Batch, Draft, Progress, RunDraft};
use super::bill::{invalid, is_meant};
use super::receive::ReceivedUnreadable;
use crate::decisions::advance::{self, Standing};
use crate::decisions::conclusion::Outcome;
use crate::decisions::eligibility::{self, Refusal};
use crate::decisions::validation::Culprit;
use crate::values::bill::Head;
use crate::values::configuration::IntegrationConfiguration;
use crate::values::manifest::Manifest;
use crate::values::message::UnreadableBill;

/// A bill that cannot be read leaves a run with each configuration that would send it, and changes nothing.
pub(super) async fn unreadable(
    batch: &Batch<'_>,
    received: &ReceivedUnreadable,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    let bill = &received.bill;
    let configurations = batch.configurations(&bill.bill.organization).await?;
    let manifest = batch.manifest(&bill.bill).await?;
    for configuration in configurations.iter() {
        if !is_meant(received.only.as_ref(), configuration, &configurations) {
            continue;
        }
        let outcome = unreadable_outcome(bill, configuration, manifest.as_ref());
        progress.runs.push(RunDraft {
            run: batch.new_run()?,
            replayed_from: received.replayed_from.clone(),
            bill: bill.bill.clone(),
            account: bill.account.clone(),
            head: bill.head.map(Head::sort_text).unwrap_or_default(),
            configuration: Arc::clone(configuration),
            input: Arc::clone(&bill.input),
            draft: Draft::Decided(outcome),
        });
    }
    Ok(())
}

fn unreadable_outcome(
    bill: &UnreadableBill,
    configuration: &IntegrationConfiguration,
    known: Option<&Manifest>,
) -> Outcome {
    match bill.head.map(|head| advance::standing(known, head)) {
        Some(standing @ (Standing::Older(_) | Standing::Incomparable(_) | Standing::Deleted)) => {
            return Outcome::Ignored(standing);
        }
        Some(Standing::First | Standing::Newer | Standing::Equal) | None => {}
    }
    let marketplace = match configuration.marketplace() {
        Ok(marketplace) => marketplace,
        Err(error) => return invalid(Culprit::Configuration(error.to_string())),
    };
    let account = bill.account.as_ref();
    if let Some(refusal) = account.and_then(|account| eligibility::account_refused(&marketplace, account)) {
        return Outcome::Refused(refusal);
    }
    if !configuration.enabled {
        return Outcome::Refused(Refusal::Disabled);
    }
    invalid(Culprit::Unreadable(bill.error.clone()))
}
