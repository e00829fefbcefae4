//! A usage key from its first bill on: everything that its partition holds.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;

use super::{Ledger, rows};
use crate::effects::store_error::unavailable;
use crate::effects::table::StoreError;
use crate::values::entry::{Entry, KeyHistory};
use crate::values::hour::Hour;
use crate::values::usage_key::KeyHash;

/// Entries of as many hours as one look at a stretch of a key needs: a day's, and some after it.
const ENTRIES_MAX: i32 = 50;

impl Ledger {
    /// A strongly consistent query of a key's entries from an hour on.
    pub(super) fn entries_query(&self, key: &KeyHash, from: Hour) -> QueryFluentBuilder {
        let values = rows::hours_from(key, from).map(|(name, value)| (name.to_owned(), value));
        let request = self.table.client().query().table_name(self.table.name());
        request
            .consistent_read(true)
            .key_condition_expression("PK = :pk AND SK BETWEEN :from AND :to")
            .set_expression_attribute_values(Some(values.into()))
    }

    /// A key's entries from an hour on, in their order; the first [`ENTRIES_MAX`].
    pub async fn entries_from(&self, key: &KeyHash, from: Hour) -> Result<Vec<Entry>, StoreError> {
        let request = self.entries_query(key, from).limit(ENTRIES_MAX);
        let answer = request.send().await.map_err(unavailable("DynamoDB Query"))?;
        let items = answer.items.unwrap_or_default();
        items.into_iter().map(rows::read_entry).collect()
    }

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
