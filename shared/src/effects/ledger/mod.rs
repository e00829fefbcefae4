//! The ledger: manifests, usage keys and entries in DynamoDB.
//!
//! An entry's row key is AWS's own de-duplication key, so "first write wins" is a condition of the table. Order of work:
//! decide → claim → submit → record; only this module makes a [`Claim`], and only a claim can be submitted.
//!
//! # Invariants
//! - Every write of a key's state names the version it was decided on; every write of a bill's units names the units it replaces and the
//!   manifest's revision. So a decision on old rows changes nothing.
//! - `committed` of a state is the sum over its entries, because both change in one transaction.
//! - An entry's hour and quantity are written once.
//!
//! # Races
//! - Two workers with two versions of a bill: the manifest's revision decides; the loser's transactions fail on it, key by key.
//! - Two workers on one key: the state's version decides; the loser reads again.
//! - A worker that dies between two keys that one transaction does not hold: the redelivered message finds the manifest as it left it and
//!   goes on.

mod amend;
mod claim;
mod history;
mod open;
mod record;
mod resolve;
mod rows;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::TransactWriteItem;

use super::table::{StoreError, Table, Transacted, row_key};
use crate::values::amount::{AmountError, Units};
use crate::values::bill::BillReference;
use crate::values::entry::{Entry, KeyState};
use crate::values::hour::Hour;
use crate::values::manifest::Manifest;
use crate::values::usage_key::KeyHash;

pub use amend::{TrailList, TrailListed};
pub use claim::{Applied, Guard, KeyChange};
pub use open::Open;
pub(crate) use record::new_entry;
pub use record::{EarlierHour, Recorded};
pub use resolve::{Resolved, Unblocked};
pub(crate) use rows::{USAGE_PREFIX, bill_partition, bills_partition};
pub use work::WorkPage;

//= https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
//# TransactWriteItems groups up to 100 action requests
const TRANSACTION_ACTIONS_MAX: usize = 100;

/// The proof that an entry is durably ours and that an attempt to send it is durably started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim(Entry);

impl Claim {
    pub fn entry(&self) -> &Entry {
        &self.0
    }
}

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("the ledger could not be read or written")]
    Store(#[from] StoreError),
    /// Units that no record can hold.
    #[error("the ledger cannot count that far")]
    Amount(#[from] AmountError),
    /// Rows changed under every try.
    #[error("usage key {key} changed under each of {tries} tries")]
    Contended { key: KeyHash, tries: usize },
}

/// What a key's partition says about one bill.
#[derive(Debug, Clone, Default)]
pub struct KeyRow {
    pub state: Option<KeyState>,
    /// The bill's units on the key, as last counted.
    pub units: Option<Units>,
}

impl KeyRow {
    /// What committed entries hold for the bill: its units less what is not claimed yet.
    pub fn attributed(&self, bill: &BillReference) -> Units {
        let residual = self
            .state
            .as_ref()
            .and_then(|state| state.residuals.get(bill))
            .map_or(0, |residual| residual.units);
        self.units.unwrap_or_default().saturating_sub(residual)
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Ledger {
    table: Table,
}

impl Ledger {
    pub fn new(table: Table) -> Ledger {
        Ledger { table }
    }

    /// A bill's manifest, if it was ever metered or deleted.
    pub async fn manifest(&self, bill: &BillReference) -> Result<Option<Manifest>, StoreError> {
        let item = self.table.get(&rows::bill_partition(bill), rows::MANIFEST).await?;
        item.map(|item| rows::read(item, rows::MANIFEST)).transpose()
    }

    /// The manifests of several bills, no bill twice; none of a bill that was never metered or deleted.
    pub async fn manifests(&self, bills: &[&BillReference]) -> Result<Vec<Manifest>, StoreError> {
        let wanted = bills
            .iter()
            .map(|bill| row_key(&rows::bill_partition(bill), rows::MANIFEST));
        let items = self.table.get_all(wanted.collect()).await?.into_iter();
        items.map(|item| rows::read(item, rows::MANIFEST)).collect()
    }

    /// Writes a manifest if its known revision still stands; false if another worker was faster.
    pub async fn advance(&self, manifest: &Manifest) -> Result<bool, StoreError> {
        match self.transact(self.manifest_actions(manifest)?).await? {
            Transacted::Done => Ok(true),
            Transacted::Refused(_) => Ok(false),
        }
    }

    fn manifest_actions(&self, manifest: &Manifest) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mut actions = vec![rows::put_manifest(manifest, self.table.name())?];
        if manifest.revision == 1 && manifest.owner.is_some() {
            actions.push(rows::list_bill(manifest, self.table.name())?);
        }
        Ok(actions)
    }

    /// States of keys, and one bill's units on each, strongly consistent.
    pub async fn key_rows(
        &self,
        bill: &BillReference,
        keys: &[KeyHash],
    ) -> Result<BTreeMap<KeyHash, KeyRow>, StoreError> {
        let bill_row = rows::bill_row(bill);
        let wanted = keys.iter().flat_map(|key| {
            let partition = rows::key_partition(key);
            [row_key(&partition, rows::STATE), row_key(&partition, &bill_row)]
        });
        let mut found: BTreeMap<KeyHash, KeyRow> = keys.iter().map(|key| (key.clone(), KeyRow::default())).collect();
        for item in self.table.get_all(wanted.collect()).await? {
            let Some(row) = rows::partition_key(&item).and_then(|key| found.get_mut(&key)) else {
                continue;
            };
            if rows::sort_key(&item) == Some(rows::STATE) {
                row.state = Some(rows::read_state(item)?);
            } else {
                row.units = Some(rows::bill_units(&item)?);
            }
        }
        Ok(found)
    }

    /// The states of several keys; none of a key that nothing was ever counted on.
    pub async fn states(&self, keys: &[KeyHash]) -> Result<BTreeMap<KeyHash, KeyState>, StoreError> {
        let keys: BTreeSet<&KeyHash> = keys.iter().collect();
        let wanted = keys
            .into_iter()
            .map(|key| row_key(&rows::key_partition(key), rows::STATE));
        let states = self.table.get_all(wanted.collect()).await?.into_iter();
        let named = |item| rows::read_state(item).map(|state: KeyState| (state.hash(), state));
        states.map(named).collect()
    }

    /// The state of one key.
    pub async fn state(&self, key: &KeyHash) -> Result<Option<KeyState>, StoreError> {
        self.table
            .get(&rows::key_partition(key), rows::STATE)
            .await?
            .map(rows::read_state)
            .transpose()
    }

    /// One entry.
    pub async fn entry(&self, key: &KeyHash, hour: Hour) -> Result<Option<Entry>, StoreError> {
        let item = self.table.get(&rows::key_partition(key), &rows::hour_row(hour)).await?;
        item.map(rows::read_entry).transpose()
    }

    async fn transact(&self, actions: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        self.table.transact(actions).await
    }
}
