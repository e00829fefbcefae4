//! What CloudTrail showed, written down: amendments of entries and keys, and the lists of entries that CloudTrail is looked at for.
//!
//! # Races
//! - An amendment names the rows that it was decided on: state, attempts and evidence of the entry, and the version of its key. A worker that
//!   records AWS's answer meanwhile, or another reconciliation, makes it fail; the caller reads and decides anew.
//! - The lists are of the work index, which lags: what stands there is a hint to read the entry, what does not is found by the next run.

use std::collections::BTreeMap;

use jiff::Timestamp;

use aws_sdk_dynamodb::types::TransactWriteItem;

use super::{Ledger, TRANSACTION_ACTIONS_MAX, rows};
use crate::decisions::amendment::Amended;
use crate::effects::row::{Item, text};
use crate::effects::store_error::unavailable;
use crate::effects::table::{StoreError, Transacted, WORK_INDEX, row_key};
use crate::values::entry::{Entry, EntryState};
use crate::values::hour::Hour;
use crate::values::ids::OrganizationId;
use crate::values::usage_key::KeyHash;

/// Rows of a list that are read at once.
const LISTED_PER_PAGE_MAX: i32 = 1000;

/// The lists of entries that CloudTrail is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrailList {
    /// Accepted, and not looked for yet: one shard of them.
    Unseen(char),
    /// Waiting for evidence: unknown, in conflict, accepted but not shown, or released because nothing was shown.
    Open,
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
pub struct TrailListed {
    pub entries: Vec<(KeyHash, Hour)>,
    /// Where the next page of the shard starts; none at its end.
    pub next: Option<Item>,
}

impl Ledger {
    /// Entries by name, strongly consistent.
    pub async fn entries(&self, names: &[(KeyHash, Hour)]) -> Result<BTreeMap<(KeyHash, Hour), Entry>, StoreError> {
        let wanted = names
            .iter()
            .map(|(key, hour)| row_key(&rows::key_partition(key), &rows::hour_row(*hour)));
        let mut found = BTreeMap::new();
        for item in self.table.get_all(wanted.collect()).await? {
            let entry = rows::read_entry(item)?;
            found.insert((entry.key.hash(), entry.hour), entry);
        }
        Ok(found)
    }

    /// One page of a list: entries of the hours from `from`, before `until`.
    pub async fn trail_list(
        &self,
        list: TrailList,
        organization: &OrganizationId,
        (from, until): (Hour, Hour),
        start: Option<Item>,
    ) -> Result<TrailListed, StoreError> {
        let shard = match list {
            TrailList::Unseen(digit) => rows::unseen_shard(organization, digit),
            TrailList::Open => rows::open_shard(organization),
        };
        let request = self
            .table
            .client()
            .query()
            .table_name(self.table.name())
            .index_name(WORK_INDEX)
            .limit(LISTED_PER_PAGE_MAX);
        let request = request
            .key_condition_expression("workShard = :shard AND workAt BETWEEN :from AND :until")
            .expression_attribute_values(":shard", text(shard))
            .expression_attribute_values(":from", text(from.to_string()))
            .expression_attribute_values(":until", text(until.to_string()))
            .set_exclusive_start_key(start);
        let answer = request.send().await.map_err(unavailable("DynamoDB Query"))?;
        let name = |item: &Item| rows::partition_key(item).zip(rows::row_hour(item));
        Ok(TrailListed {
            entries: answer.items().iter().filter_map(name).collect(),
            next: answer.last_evaluated_key,
        })
    }

    /// Writes an amendment over the rows that it was decided on. False: they had changed.
    pub async fn amend(&self, before: Option<&Entry>, amended: &Amended, now: Timestamp) -> Result<bool, StoreError> {
        let actions = self.amend_actions(before, amended, now)?;
        Ok(matches!(self.transact(actions).await?, Transacted::Done))
    }

    fn amend_actions(
        &self,
        before: Option<&Entry>,
        amended: &Amended,
        now: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let (table, entry) = (self.table.name(), &amended.entry);
        let mut actions = vec![match before {
            Some(before) => rows::replace_entry(before, entry, table)?,
            None => rows::put_entry(entry, table)?,
        }];
        if let Some(state) = &amended.state {
            actions.push(rows::put_state(state, state.version, &now.to_string(), table)?);
            if state.version == 0 {
                actions.push(rows::put_buyer(state, table)?);
            }
        }
        let accepted_now =
            entry.state == EntryState::Accepted && before.is_none_or(|before| before.state != EntryState::Accepted);
        if accepted_now {
            for (bill, part) in &entry.parts {
                actions.push(rows::put_usage(entry, bill, part.units, table)?);
            }
        }
        Ok(actions)
    }

    /// Notes on entries, each before and after, that CloudTrail shows them: together where nothing raced, one by one where something did.
    /// Gives those whose rows had changed.
    pub async fn verify(&self, shown: &[(Entry, Entry)]) -> Result<Vec<(KeyHash, Hour)>, StoreError> {
        let mut outdated = Vec::new();
        for together in shown.chunks(TRANSACTION_ACTIONS_MAX) {
            let table = self.table.name();
            let actions: Result<Vec<_>, _> = together
                .iter()
                .map(|(before, after)| rows::replace_entry(before, after, table))
                .collect();
            if let Transacted::Done = self.transact(actions?).await? {
                continue;
            }
            for (before, after) in together {
                let alone = vec![rows::replace_entry(before, after, table)?];
                if let Transacted::Refused(_) = self.transact(alone).await? {
                    outdated.push((before.key.hash(), before.hour));
                }
            }
        }
        Ok(outdated)
    }
}
