//! A usage key from its first bill on: everything that its partition holds.

use std::collections::BTreeMap;

use super::{Ledger, rows};
use crate::effects::table::StoreError;
use crate::values::entry::KeyHistory;
use crate::values::usage_key::KeyHash;

impl Ledger {
    /// A key's whole partition; none if nothing was ever counted on it.
    pub async fn history(&self, key: &KeyHash) -> Result<Option<KeyHistory>, StoreError> {
        let mut state = None;
        let mut bills = BTreeMap::new();
        let mut entries = Vec::new();
        for item in self.table.all(&rows::key_partition(key), "").await? {
            if rows::row_hour(&item).is_some() {
                entries.push(rows::read_entry(item)?);
            } else if let Some(bill) = rows::row_bill(&item) {
                bills.insert(bill, rows::bill_units(&item)?);
            } else if rows::sort_key(&item) == Some(rows::STATE) {
                state = Some(rows::read_state(item)?);
            }
        }
        Ok(state.map(|state| KeyHistory { state, bills, entries }))
    }
}
