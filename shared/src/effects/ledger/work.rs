//! Finding what waits: pending entries, dirty keys, the keys of a buyer.

use jiff::Timestamp;

use super::{Claim, Ledger, rows};
use crate::effects::row::{Item, text};
use crate::effects::store_error::unavailable;
use crate::effects::table::{StoreError, WORK_INDEX};
use crate::values::entry::{Entry, EntryState};
use crate::values::hour::Hour;
use crate::values::ids::RunId;
use crate::values::message::Leaving;
use crate::values::usage_key::KeyHash;

/// Rows of the work index that are read at once.
const WORK_PAGE_MAX: i32 = 250;

/// A page of the work index.
#[derive(Debug, Clone, Default)]
pub struct WorkPage {
    pub keys: Vec<KeyHash>,
    pub entries: Vec<(KeyHash, Hour)>,
    /// Where the next page of the shard starts; none at its end.
    pub next: Option<Item>,
}

impl Ledger {
    /// The shards of the work index.
    pub fn work_shards() -> impl Iterator<Item = char> {
        rows::WORK_SHARDS.into_iter()
    }

    /// One page of one shard. A hint: rows may be missing that were written a moment ago, and gone that it lists.
    pub async fn work(&self, shard: char, start: Option<Item>) -> Result<WorkPage, StoreError> {
        let request = self
            .table
            .client()
            .query()
            .table_name(self.table.name())
            .index_name(WORK_INDEX)
            .limit(WORK_PAGE_MAX);
        let request = request
            .key_condition_expression("workShard = :shard")
            .expression_attribute_values(":shard", text(rows::work_shard(shard)))
            .set_exclusive_start_key(start);
        let answer = request.send().await.map_err(unavailable("DynamoDB Query"))?;
        let mut page = WorkPage {
            next: answer.last_evaluated_key,
            ..WorkPage::default()
        };
        for item in answer.items.unwrap_or_default() {
            let Some(key) = rows::partition_key(&item) else {
                continue;
            };
            match rows::row_hour(&item) {
                Some(hour) => page.entries.push((key, hour)),
                None => page.keys.push(key),
            }
        }
        Ok(page)
    }

    /// The key's entries that may still be sent: PENDING, in the hours that AWS still takes and those just closed.
    pub async fn pending(&self, key: &KeyHash, now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        let entries = self.recent(key, now).await?.into_iter();
        Ok(entries.filter(|entry| entry.state == EntryState::Pending).collect())
    }

    /// A key's entries of the hours that AWS may still take, and of as many before.
    pub async fn recent(&self, key: &KeyHash, now: Timestamp) -> Result<Vec<Entry>, StoreError> {
        const HOURS_BACK: usize = 48;
        let from = std::iter::successors(Some(Hour::containing(now)), |hour| Some(hour.previous())).nth(HOURS_BACK);
        let request = self.entries_query(key, from.unwrap_or_else(|| Hour::containing(now)));
        let answer = request.send().await.map_err(unavailable("DynamoDB Query"))?;
        answer
            .items
            .unwrap_or_default()
            .into_iter()
            .map(rows::read_entry)
            .collect()
    }

    /// The claims of one run whose first attempt has not been sent: durable although the answer of their transaction was lost.
    pub(crate) async fn claims_of_run(
        &self,
        key: &KeyHash,
        run: &RunId,
        now: Timestamp,
    ) -> Result<Vec<Claim>, StoreError> {
        let own =
            |entry: &Entry| entry.origin.run == *run && entry.attempts_started == 1 && entry.attempts_answered == 0;
        Ok(self
            .pending(key, now)
            .await?
            .into_iter()
            .filter(own)
            .map(Claim)
            .collect())
    }

    /// The keys of a buyer who leaves: by licence where the notice names one that a key has, else by product.
    pub async fn keys_of(&self, leaving: &Leaving) -> Result<Vec<KeyHash>, StoreError> {
        let found = self.table.all(&rows::buyer_partition(&leaving.customer), "").await?;
        let license = leaving.license_arn.as_deref().map(license_id);
        let keys = found.iter().filter(|item| {
            let attribute = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str);
            match attribute("licenseArn") {
                Some(arn) => license.is_none_or(|license| license_id(arn) == license),
                None => leaving
                    .product_code
                    .as_deref()
                    .is_none_or(|code| attribute("productCode") == Some(code)),
            }
        });
        Ok(keys
            .filter_map(|item| {
                rows::sort_key(item)?
                    .strip_prefix("KEY#")
                    .and_then(|hash| KeyHash::try_from(hash.to_owned()).ok())
            })
            .collect())
    }
}

/// AWS writes licence ARNs in more than one form; the id at the end is the same in all of them.
fn license_id(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}
