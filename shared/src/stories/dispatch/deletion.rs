//! A bill that is gone.

use super::DispatchError;
use super::batch::{Batch, Draft, Progress, TRIES_MAX};
use super::bill::{KeyRun, run_draft};
use super::keys::{self, Carried, KeyWork, Rows};
use super::receive::ReceivedBill;
use crate::decisions::advance::{self, Advance, Mode};
use crate::decisions::conclusion::Outcome;
use crate::decisions::eligibility::Refusal;
use crate::values::bill::{BillReference, Head};
use crate::values::ids::AccountId;
use crate::values::manifest::Manifest;
use crate::values::usage_key::KeyHash;

/// A deletion: every key to 0, a tombstone, and a run for each configuration. Eligibility and mappings are not asked.
pub(super) async fn delete(
    batch: &Batch<'_>,
    received: &ReceivedBill,
    bill: &BillReference,
    head: Head,
    account: Option<&AccountId>,
    manifest: Option<Manifest>,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    let mut known = manifest;
    let mut written = None;
    for _ in 0..TRIES_MAX {
        match advance::delete(known.as_ref(), bill, head, account, batch.now) {
            Advance::Changed { manifest, .. } => {
                if batch.outbill.ledger.advance(&manifest).await? {
                    written = Some(*manifest);
                    break;
                }
                known = batch.outbill.ledger.manifest(bill).await?;
            }
            Advance::Unchanged | Advance::EqualButOther => {
                written = known.take();
                break;
            }
        }
    }
    let Some(manifest) = written else {
        return Err(DispatchError::BillContended {
            bill: bill.to_string(),
            tries: TRIES_MAX,
        });
    };
    let configurations = batch.configurations(&bill.organization).await?;
    let owner = configurations
        .iter()
        .find(|configuration| manifest.owner.as_ref() == Some(&configuration.id));
    let run = batch.new_run()?;
    let hashes: Vec<KeyHash> = manifest.keys.keys().cloned().collect();
    let rows = batch.outbill.ledger.key_rows(bill, &hashes).await?;
    let claiming = owner.filter(|owner| owner.enabled);
    let credential = claiming.and_then(|owner| owner.credential.as_ref());
    let key_run = claiming.zip(credential).map(|(configuration, credential)| KeyRun {
        configuration,
        credential,
        run: &run,
    });
    let work = KeyWork {
        manifest: &manifest,
        run: key_run,
        resumes: false,
        unblocks: matches!(received.mode, Mode::Apply | Mode::Remap),
    };
    let mut drafts = match keys::apply(batch, &work, Rows::Newer(rows), progress).await? {
        Carried::ToItsKeys(drafts) => Some(drafts),
        Carried::Outrun | Carried::Overtaken => None,
    };
    for configuration in configurations.iter() {
        let (run, keys) = match owner {
            Some(owner) if owner.id == configuration.id => (run.clone(), drafts.take().unwrap_or_default()),
            Some(_) | None => (batch.new_run()?, Vec::new()),
        };
        let draft = if configuration.enabled {
            Draft::Metered(keys)
        } else {
            Draft::Decided(Outcome::Refused(Refusal::Disabled))
        };
        progress.runs.push(run_draft(received, bill, configuration, run, draft));
    }
    Ok(())
}
