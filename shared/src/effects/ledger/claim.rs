//! Counting a bill and claiming hours: the transactions before anything is sent.

use jiff::Timestamp;

use aws_sdk_dynamodb::types::TransactWriteItem;

use super::{Claim, Ledger, rows};
use crate::effects::table::{StoreError, Transacted};
use crate::values::amount::Units;
use crate::values::bill::BillReference;
use crate::values::entry::{Entry, KeyState};
use crate::values::manifest::Manifest;
use crate::values::usage_key::KeyHash;

//= https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
//# TransactWriteItems groups up to 100 action requests
const TRANSACTION_ACTIONS_MAX: usize = 100;

/// The manifest that a change was decided on.
#[derive(Debug, Clone)]
pub struct Guard {
    pub bill: BillReference,
    pub revision: i64,
}

/// One key's change, decided on the state of version `known_version`.
#[derive(Debug, Clone)]
pub struct KeyChange {
    pub known_version: i64,
    /// The state to be written; its version is set by the ledger.
    pub state: KeyState,
    /// The bill's units on the key: before, after. Unchanged ones are not written.
    pub units: Option<(Option<Units>, Units)>,
    pub entries: Vec<Entry>,
}

impl KeyChange {
    pub fn hash(&self) -> KeyHash {
        self.state.hash()
    }
}

/// What became of the changes of one call.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Durable now, attempts started.
    pub claims: Vec<Claim>,
    /// Rows had changed: read again and decide again.
    pub outdated: Vec<KeyHash>,
    /// The manifest had moved on: a newer version of the bill is another worker's.
    pub overtaken: bool,
}

impl Ledger {
    /// Counts and claims: one transaction, or several where DynamoDB's 100 actions do not hold all keys. A key whose rows changed meanwhile
    /// is tried alone, so that one busy key does not hold up the others.
    pub async fn apply(
        &self,
        guard: Option<&Guard>,
        changes: Vec<KeyChange>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let mut applied = Applied::default();
        let mut waiting = changes;
        while !waiting.is_empty() && !applied.overtaken {
            let rest = waiting.split_off(self.fitting(&waiting, guard.is_some()));
            if !self.apply_together(guard, &waiting, now, &mut applied).await? {
                for change in &waiting {
                    let alone = std::slice::from_ref(change);
                    if !applied.overtaken && !self.apply_together(guard, alone, now, &mut applied).await? {
                        applied.outdated.push(change.hash());
                    }
                }
            }
            waiting = rest;
        }
        Ok(applied)
    }

    /// A cut-over or a free move: the manifest and the units of the keys that its sources leave, all or nothing. False: rows had changed.
    pub async fn advance_with(
        &self,
        manifest: &Manifest,
        left: &[KeyChange],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut actions = self.manifest_actions(manifest)?;
        for change in left {
            actions.extend(self.actions(&manifest.bill, change, now)?);
        }
        match self.transact(actions).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(_) => Ok(false),
        }
    }

    fn fitting(&self, changes: &[KeyChange], guarded: bool) -> usize {
        let mut actions = usize::from(guarded);
        let fit = changes.iter().take_while(|change| {
            // The state, the buyer's row, the units, and the entries.
            actions = actions.saturating_add(3).saturating_add(change.entries.len());
            actions <= TRANSACTION_ACTIONS_MAX
        });
        fit.count().max(1)
    }

    fn actions(
        &self,
        bill: &BillReference,
        change: &KeyChange,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let table = self.table.name();
        let mut actions = vec![rows::put_state(
            &change.state,
            change.known_version,
            &now.to_string(),
            table,
        )?];
        if change.known_version == 0 {
            actions.push(rows::put_buyer(&change.state, table)?);
        }
        if let Some((before, after)) = change.units {
            actions.push(rows::put_bill_units(&change.hash(), bill, before, after, table)?);
        }
        for entry in &change.entries {
            actions.push(rows::put_entry(entry, table)?);
        }
        Ok(actions)
    }

    /// True if the transaction happened, or the manifest had moved on (`applied.overtaken`).
    async fn apply_together(
        &self,
        guard: Option<&Guard>,
        changes: &[KeyChange],
        now: Timestamp,
        applied: &mut Applied,
    ) -> Result<bool, StoreError> {
        let mut actions = Vec::new();
        for change in changes {
            let bill = guard.map_or(&change.state.origin.bill, |guard| &guard.bill);
            actions.extend(self.actions(bill, change, now)?);
        }
        let check = actions.len();
        if let Some(guard) = guard {
            actions.push(rows::check_manifest(&guard.bill, guard.revision, self.table.name())?);
        }
        match self.transact(actions).await? {
            Transacted::Done => {
                applied.claims.extend(
                    changes
                        .iter()
                        .flat_map(|change| change.entries.iter().cloned().map(Claim)),
                );
                Ok(true)
            }
            Transacted::Refused(refusals)
                if guard.is_some() && refusals.iter().any(|refusal| refusal.action == check) =>
            {
                applied.overtaken = true;
                Ok(true)
            }
            Transacted::Refused(_) => Ok(false),
        }
    }
}
