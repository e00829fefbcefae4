//! Counting a bill and claiming hours: the transactions before anything is sent.

use jiff::Timestamp;

use aws_sdk_dynamodb::types::TransactWriteItem;

use super::{Claim, Ledger, TRANSACTION_ACTIONS_MAX, rows};
use crate::effects::table::{StoreError, Transacted};
use crate::values::amount::Units;
use crate::values::bill::BillReference;
use crate::values::entry::{Entry, KeyState};
use crate::values::manifest::Manifest;
use crate::values::usage_key::KeyHash;

/// The manifest that changes were decided on. Nothing of them happens if it is not the newest.
#[derive(Debug, Clone, Copy)]
pub enum Guard<'a> {
    /// It is written with the first of them, in the place of the revision before.
    Advances(&'a Manifest),
    /// It was written before.
    Stands(&'a Manifest),
}

impl<'a> Guard<'a> {
    fn manifest(self) -> &'a Manifest {
        match self {
            Guard::Advances(manifest) | Guard::Stands(manifest) => manifest,
        }
    }
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
    /// The manifest was to be written, and another one was there: nothing happened.
    pub outrun: bool,
    /// The manifest had moved on: a newer version of the bill is another worker's.
    pub overtaken: bool,
}

impl Applied {
    fn is_at_an_end(&self) -> bool {
        self.outrun || self.overtaken
    }
}

impl Ledger {
    /// Counts and claims: one transaction, or several where DynamoDB's 100 actions do not hold all keys. A key whose rows changed meanwhile
    /// is tried alone, after the manifest, so that one busy key does not hold up the others.
    pub async fn apply(
        &self,
        guard: Option<Guard<'_>>,
        changes: Vec<KeyChange>,
        now: Timestamp,
    ) -> Result<Applied, StoreError> {
        let mut applied = Applied::default();
        let (mut guard, mut waiting) = (guard, changes);
        while !applied.is_at_an_end() && (!waiting.is_empty() || matches!(guard, Some(Guard::Advances(_)))) {
            let rest = waiting.split_off(self.fitting(&waiting, guard));
            let is_done = self.apply_together(guard, &waiting, now, &mut applied).await?;
            if let Some(Guard::Advances(manifest)) = guard
                && !is_done
            {
                applied.outrun = !self.advance(manifest).await?;
            }
            guard = guard.map(|guard| Guard::Stands(guard.manifest()));
            for change in waiting.iter().filter(|_| !is_done) {
                let alone = std::slice::from_ref(change);
                if !applied.is_at_an_end() && !self.apply_together(guard, alone, now, &mut applied).await? {
                    applied.outdated.push(change.hash());
                }
            }
            waiting = rest;
        }
        Ok(applied)
    }

    /// A cut-over or a free move: the units of the keys that its sources leave, and the manifest. False: rows had changed.
    ///
    /// All or nothing, where one transaction holds all. What it does not hold leaves first, under the manifest of before: should the worker die then,
    /// less is owed for a while than the manifest says, never more, and whoever counts the bill next puts it right.
    pub async fn advance_with(
        &self,
        known: Option<&Manifest>,
        manifest: &Manifest,
        left: Vec<KeyChange>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut waiting = left;
        if let Some(known) = known {
            let stands = Some(Guard::Stands(known));
            while self.fitting(&waiting, Some(Guard::Advances(manifest))) < waiting.len() {
                let rest = waiting.split_off(self.fitting(&waiting, stands));
                let mut applied = Applied::default();
                if !self.apply_together(stands, &waiting, now, &mut applied).await? || applied.overtaken {
                    return Ok(false);
                }
                waiting = rest;
            }
        }
        let mut actions = self.manifest_actions(manifest)?;
        for change in &waiting {
            actions.extend(self.actions(&manifest.bill, change, now)?);
        }
        match self.transact(actions).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(_) => Ok(false),
        }
    }

    /// How many of the changes one transaction holds; one at least, if there is one.
    fn fitting(&self, changes: &[KeyChange], guard: Option<Guard<'_>>) -> usize {
        let mut actions: usize = match guard {
            None => 0,
            Some(Guard::Stands(_)) => 1,
            // The manifest, and the bill's row in the usage report's list.
            Some(Guard::Advances(_)) => 2,
        };
        let fit = changes.iter().take_while(|change| {
            // The state, the buyer's row, the units, and the entries.
            actions = actions.saturating_add(3).saturating_add(change.entries.len());
            actions <= TRANSACTION_ACTIONS_MAX
        });
        fit.count().max(1).min(changes.len())
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

    /// True if the transaction happened, or was refused for the manifest (`applied.outrun`, `applied.overtaken`).
    async fn apply_together(
        &self,
        guard: Option<Guard<'_>>,
        changes: &[KeyChange],
        now: Timestamp,
        applied: &mut Applied,
    ) -> Result<bool, StoreError> {
        let mut actions = Vec::new();
        for change in changes {
            let bill = guard.map_or(&change.state.origin.bill, |guard| &guard.manifest().bill);
            actions.extend(self.actions(bill, change, now)?);
        }
        let on_manifest = actions.len();
        match guard {
            None => {}
            Some(Guard::Stands(manifest)) => actions.push(rows::check_manifest(manifest, self.table.name())?),
            Some(Guard::Advances(manifest)) => actions.extend(self.manifest_actions(manifest)?),
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
            Transacted::Refused(refusals) => {
                let is_for_manifest = refusals.iter().any(|refusal| refusal.action == on_manifest);
                match guard {
                    Some(Guard::Advances(_)) if is_for_manifest => applied.outrun = true,
                    Some(Guard::Stands(_)) if is_for_manifest => applied.overtaken = true,
                    Some(_) | None => return Ok(false),
                }
                Ok(true)
            }
        }
    }
}
