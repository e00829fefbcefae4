//! What is not settled: entries without a known outcome, and keys on which AWS has other than what the bills owe.
//!
//! The list comes from the work index, which lags: a row that changes while somebody turns the pages may be missing or be seen twice. Each row
//! is read from the table itself and left out if it is settled by now.

use std::collections::BTreeMap;

use super::{Ledger, rows};
use crate::effects::row::{Item, text};
use crate::effects::store_error::unavailable;
use crate::effects::table::{Page, PageRequest, StoreError, WORK_INDEX};
use crate::values::entry::{Entry, KeyState};
use crate::values::ids::OrganizationId;

/// Rows of the index that are read at once.
const ROWS_PER_QUERY_MAX: i32 = 200;

/// One thing that is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    Entry(Box<Entry>),
    Key(Box<KeyState>),
}

impl Ledger {
    /// A page of what is open in an organization: first what waits for somebody's decision, then what is sent or claimed by itself.
    pub async fn open(&self, organization: &OrganizationId, page: &PageRequest) -> Result<Page<Open>, StoreError> {
        let mut shards = vec![rows::held_shard(organization), rows::open_shard(organization)];
        shards.extend(rows::WORK_SHARDS.map(rows::work_shard));
        let (first, mut start) = position(page.after.as_deref(), &shards);
        let mut items = Vec::new();
        let mut last = None;
        for (number, shard) in shards.iter().enumerate().skip(first) {
            loop {
                let (found, next) = self.listed(organization, shard, start).await?;
                for (position, open) in found {
                    if items.len() >= page.size {
                        return Ok(Page { items, next: last });
                    }
                    items.push(open);
                    last = Some(format!("{number}|{position}"));
                }
                start = next;
                if start.is_none() {
                    break;
                }
            }
        }
        Ok(Page { items, next: None })
    }

    /// The organization's open rows among the next of a shard, and where the shard goes on.
    async fn listed(
        &self,
        organization: &OrganizationId,
        shard: &str,
        start: Option<Item>,
    ) -> Result<(Vec<(String, Open)>, Option<Item>), StoreError> {
        let request = self.table.client().query().table_name(self.table.name());
        let request = request
            .index_name(WORK_INDEX)
            .limit(ROWS_PER_QUERY_MAX)
            .key_condition_expression("workShard = :shard")
            .expression_attribute_values(":shard", text(shard))
            .set_exclusive_start_key(start);
        let answer = request.send().await.map_err(unavailable("DynamoDB Query"))?;
        let listed: Vec<Item> = answer
            .items
            .unwrap_or_default()
            .into_iter()
            .filter(|item| rows::is_of(item, organization))
            .collect();
        let mut now = BTreeMap::new();
        for item in self
            .table
            .get_all(listed.iter().filter_map(rows::own_key).collect())
            .await?
        {
            let name = (rows::partition_key(&item), rows::row_hour(&item));
            now.extend(read(item)?.map(|open| (name, open)));
        }
        let found = listed.iter().filter_map(|item| {
            let open = now.remove(&(rows::partition_key(item), rows::row_hour(item)))?;
            Some((rows::work_position(item)?, open))
        });
        Ok((found.collect(), answer.last_evaluated_key))
    }
}

/// A row as it is now; none if it is settled.
fn read(item: Item) -> Result<Option<Open>, StoreError> {
    if rows::row_hour(&item).is_some() {
        let entry = rows::read_entry(item)?;
        return Ok(entry.is_open().then(|| Open::Entry(Box::new(entry))));
    }
    let state = rows::read_state(item)?;
    Ok(state.is_open().then(|| Open::Key(Box::new(state))))
}

/// Where a page starts: `<number of the shard>|<row>`. Tokens are sealed, so one that cannot be read is not one that somebody was given.
fn position(after: Option<&str>, shards: &[String]) -> (usize, Option<Item>) {
    let start = || {
        let (number, position) = after?.split_once('|')?;
        let number: usize = number.parse().ok()?;
        Some((number, rows::work_start(shards.get(number)?, position)?))
    };
    start().map_or((0, None), |(number, item)| (number, Some(item)))
}
