//! The one DynamoDB table: its schema, and the few ways in which it is read and written.
//!
//! Rows are read consistently from the table itself. The indexes lag, so what is read from them is a list to look at or a hint, never a
//! ground for a decision.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::{BuildError, SdkError},
    operation::{
        create_table::builders::CreateTableInputBuilder, put_item::PutItemError,
        transact_write_items::TransactWriteItemsError,
    },
    types::{
        AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        KeysAndAttributes, Projection, ProjectionType, Put, PutRequest, ScalarAttributeType, TransactWriteItem,
        WriteRequest, builders::PutBuilder,
    },
};

pub use super::store_error::StoreError;
use super::{
    row::{Item, text},
    store_error::unavailable,
};

/// The partition key.
pub const PK: &str = "PK";
/// The sort key.
pub const SK: &str = "SK";
/// DynamoDB deletes a row after this instant, in seconds since 1970. Logs, stored bodies and counts of failed logins have it.
pub const EXPIRES_AT: &str = "expiresAt";
/// Pending entries and dirty keys: by shard, in the order in which they fall due. Keys only.
pub const WORK_INDEX: &str = "work";
/// Runs of one entity.
pub const ENTITY_INDEX: &str = "entity";
/// Runs of one configuration.
pub const DESTINATION_INDEX: &str = "destination";

//= https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
//# The maximum item size in DynamoDB is 400 KB
const ITEM_BYTES_MAX: usize = 400 * 1024;
/// What one row may hold in text, so that its keys and other attributes fit beside it.
pub const ROW_TEXT_BYTES_MAX: usize = 300 * 1024;
/// Rows looked at for one page. A filter that few rows pass gives a short page and a way to go on, not a long wait.
const ROWS_PER_PAGE_MAX: usize = 2_000;
/// The same for a page that has nothing yet: m3ter's SDKs take an empty page for the end of the list, whatever its token says.
const ROWS_PER_EMPTY_PAGE_MAX: usize = 50_000;
//= https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
//# a single operation can retrieve up to 16 MB of data, which can contain as many as 100 items
const BATCH_GET_ITEMS_MAX: usize = 100;
/// Rows asked for at once.
const ROWS_PER_QUERY_MAX: i32 = 200;
/// Times a transaction is tried while others write the same rows.
const CONTENDED_ATTEMPTS_MAX: u32 = 6;
//= https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
//# a single call to BatchWriteItem can transmit up to 16MB of data over the network, consisting of up to 25 item put or delete operations
const BATCH_WRITE_ITEMS_MAX: usize = 25;
const CONTENDED_PAUSE: Duration = Duration::from_millis(15);

/// The table as the template declares it, for emulators and tests: set the name, then send.
pub fn definition() -> Result<CreateTableInputBuilder, BuildError> {
    let attribute = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
    };
    let key = |name: &str, kind: KeyType| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    let index = |name: &str, hash: &str, range: &str, projection: ProjectionType| {
        GlobalSecondaryIndex::builder()
            .index_name(name)
            .key_schema(key(hash, KeyType::Hash)?)
            .key_schema(key(range, KeyType::Range)?)
            .projection(Projection::builder().projection_type(projection).build())
            .build()
    };
    Ok(CreateTableInputBuilder::default()
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute(PK)?)
        .attribute_definitions(attribute(SK)?)
        .attribute_definitions(attribute("workShard")?)
        .attribute_definitions(attribute("workAt")?)
        .attribute_definitions(attribute("entityKey")?)
        .attribute_definitions(attribute("destinationKey")?)
        .key_schema(key(PK, KeyType::Hash)?)
        .key_schema(key(SK, KeyType::Range)?)
        .global_secondary_indexes(index(WORK_INDEX, "workShard", "workAt", ProjectionType::KeysOnly)?)
        .global_secondary_indexes(index(ENTITY_INDEX, "entityKey", SK, ProjectionType::All)?)
        .global_secondary_indexes(index(DESTINATION_INDEX, "destinationKey", SK, ProjectionType::All)?))
}

/// The table.
#[derive(Debug, Clone)]
pub struct Table {
    client: Client,
    name: String,
}

/// The order of rows by sort key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Oldest first, where the sort key is a time-ordered id.
    Ascending,
    /// Newest first.
    Descending,
}

/// Which rows are listed.
#[derive(Debug, Clone)]
pub(crate) enum Rows<'a> {
    /// A partition of the table.
    Partition(&'a str),
    /// One value of an index whose rows all lie in one partition and whose sort key is the table's.
    Index {
        index: &'static str,
        attribute: &'static str,
        value: &'a str,
        partition: &'a str,
    },
}

/// A request for a part of a list.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The most items wanted.
    pub size: usize,
    /// Where the last page ended.
    pub after: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where to go on; none at the end.
    pub next: Option<String>,
}

/// Why one action of a transaction was refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// The place of the action in the transaction, from 0.
    pub(crate) action: usize,
    /// The row that failed the action's condition, if the action asked for it.
    pub(crate) item: Option<Item>,
}

/// How a transaction ended when DynamoDB answered.
#[derive(Debug, Clone)]
pub(crate) enum Transacted {
    /// All of it happened.
    Done,
    /// None of it happened: these actions' conditions failed.
    Refused(Vec<Refusal>),
}

impl Table {
    /// The table called `name`.
    pub fn new(client: Client, name: impl Into<String>) -> Table {
        Table {
            client,
            name: name.into(),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// One row, as it is now.
    pub(crate) async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>, StoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .key(PK, text(pk))
            .key(SK, text(sk));
        let answer = request
            .consistent_read(true)
            .send()
            .await
            .map_err(unavailable("DynamoDB GetItem"))?;
        Ok(answer.item)
    }

    /// Rows by their keys, none twice, as they are now. What is not there is left out.
    pub(crate) async fn get_all(&self, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        const OPERATION: &str = "DynamoDB BatchGetItem";
        let (mut found, mut waiting, mut tries) = (Vec::new(), keys, 0);
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(BATCH_GET_ITEMS_MAX));
            let asked = waiting.len();
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(waiting))
                .consistent_read(true)
                .build();
            let wanted = wanted.map_err(|error| StoreError::other(OPERATION, error))?;
            let request = self.client.batch_get_item().request_items(&self.name, wanted);
            let answer = request.send().await.map_err(unavailable(OPERATION))?;
            found.extend(answer.responses.unwrap_or_default().into_values().flatten());
            let unprocessed = answer.unprocessed_keys.unwrap_or_default().into_values();
            waiting = unprocessed.flat_map(|keys| keys.keys).collect();
            tries = pause(OPERATION, asked, waiting.len(), tries).await?;
            waiting.extend(rest);
        }
        Ok(found)
    }

    /// Writes a row, whatever was there.
    pub(crate) async fn put(&self, item: Item) -> Result<(), StoreError> {
        check_size(&item)?;
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        request.send().await.map_err(unavailable("DynamoDB PutItem"))?;
        Ok(())
    }

    /// Writes rows, whatever was there, in as few requests as DynamoDB takes. An error: some of them may be there.
    pub(crate) async fn put_all(&self, rows: Vec<Item>) -> Result<(), StoreError> {
        const OPERATION: &str = "DynamoDB BatchWriteItem";
        for row in &rows {
            check_size(row)?;
        }
        let mut waiting = Vec::new();
        for row in rows {
            let put = PutRequest::builder().set_item(Some(row)).build();
            let put = put.map_err(|error| StoreError::other(OPERATION, error))?;
            waiting.push(WriteRequest::builder().put_request(put).build());
        }
        let mut tries = 0;
        while !waiting.is_empty() {
            let rest = waiting.split_off(waiting.len().min(BATCH_WRITE_ITEMS_MAX));
            let asked = waiting.len();
            let request = self.client.batch_write_item().request_items(&self.name, waiting);
            let answer = request.send().await.map_err(unavailable(OPERATION))?;
            let unprocessed = answer.unprocessed_items.unwrap_or_default().into_values().flatten();
            waiting = unprocessed.collect();
            tries = pause(OPERATION, asked, waiting.len(), tries).await?;
            waiting.extend(rest);
        }
        Ok(())
    }

    /// Writes a row if `condition` holds; false if it does not.
    pub(crate) async fn put_if(
        &self,
        item: Item,
        condition: &str,
        values: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Result<bool, StoreError> {
        check_size(&item)?;
        let mut request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        for (name, value) in values {
            request = request.expression_attribute_values(name, value);
        }
        let answer = request.condition_expression(condition).send().await;
        held(
            answer,
            "DynamoDB PutItem",
            PutItemError::is_conditional_check_failed_exception,
        )
    }

    /// Deletes a row, if it is there.
    pub(crate) async fn delete(&self, pk: &str, sk: &str) -> Result<(), StoreError> {
        let request = self
            .client
            .delete_item()
            .table_name(&self.name)
            .key(PK, text(pk))
            .key(SK, text(sk));
        request.send().await.map_err(unavailable("DynamoDB DeleteItem"))?;
        Ok(())
    }

    /// All rows of a partition whose sort key starts with `prefix`, in order.
    pub(crate) async fn all(&self, partition: &str, prefix: &str) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let mut request = self.client.query().table_name(&self.name).consistent_read(true);
            request = match prefix {
                "" => request.key_condition_expression("PK = :pk"),
                prefix => request
                    .key_condition_expression("PK = :pk AND begins_with(SK, :prefix)")
                    .expression_attribute_values(":prefix", text(prefix)),
            };
            request = request
                .expression_attribute_values(":pk", text(partition))
                .set_exclusive_start_key(start);
            let answer = request.send().await.map_err(unavailable("DynamoDB Query"))?;
            found.extend(answer.items.unwrap_or_default());
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(found);
            }
        }
    }

    /// A page of the rows that `keep` turns into something.
    pub(crate) async fn page<T>(
        &self,
        rows: Rows<'_>,
        order: Order,
        page: &PageRequest,
        mut keep: impl FnMut(&Item) -> Result<Option<T>, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let mut kept = Vec::new();
        let mut looked_at: Option<String> = None;
        let mut after = page.after.clone();
        let mut rows_seen = 0;
        // A page that keeps every row is one query: one row more says whether there is another page.
        let mut limit = i32::try_from(page.size.saturating_add(1)).unwrap_or(i32::MAX);
        loop {
            let answer = self.query(&rows, order, after.as_deref(), limit).await?;
            limit = ROWS_PER_QUERY_MAX;
            for item in answer.items.unwrap_or_default() {
                let found = keep(&item)?;
                if found.is_some() && kept.len() >= page.size {
                    // There is more: the next page starts after the last row that this one has seen.
                    return Ok(Page {
                        items: kept,
                        next: looked_at,
                    });
                }
                kept.extend(found);
                looked_at = sort_key(&item);
                rows_seen += 1;
            }
            after = answer.last_evaluated_key.as_ref().and_then(sort_key);
            let rows_max = match kept.is_empty() {
                true => ROWS_PER_EMPTY_PAGE_MAX,
                false => ROWS_PER_PAGE_MAX,
            };
            if after.is_none() || rows_seen >= rows_max {
                return Ok(Page {
                    items: kept,
                    next: after,
                });
            }
        }
    }

    async fn query(
        &self,
        rows: &Rows<'_>,
        order: Order,
        after: Option<&str>,
        limit: i32,
    ) -> Result<aws_sdk_dynamodb::operation::query::QueryOutput, StoreError> {
        let request = self.client.query().table_name(&self.name).limit(limit);
        let request = request.scan_index_forward(order == Order::Ascending);
        let request = match rows {
            Rows::Partition(pk) => {
                let start = after.map(|sk| Item::from([(PK.to_owned(), text(*pk)), (SK.to_owned(), text(sk))]));
                request
                    .consistent_read(true)
                    .key_condition_expression("PK = :pk")
                    .expression_attribute_values(":pk", text(*pk))
                    .set_exclusive_start_key(start)
            }
            Rows::Index {
                index,
                attribute,
                value,
                partition,
            } => {
                let start = after.map(|sk| {
                    let key = [(PK, *partition), (SK, sk), (*attribute, *value)];
                    Item::from(key.map(|(name, part)| (name.to_owned(), text(part))))
                });
                request
                    .index_name(*index)
                    .key_condition_expression(format!("{attribute} = :value"))
                    .expression_attribute_values(":value", text(*value))
                    .set_exclusive_start_key(start)
            }
        };
        request.send().await.map_err(unavailable("DynamoDB Query"))
    }

    /// An action of a transaction that writes a row, under a condition if it is given one.
    pub(crate) fn put_action(
        &self,
        item: Item,
        condition: impl FnOnce(PutBuilder) -> PutBuilder,
    ) -> Result<TransactWriteItem, StoreError> {
        check_size(&item)?;
        let put = condition(Put::builder().table_name(&self.name).set_item(Some(item)));
        let put = put.build().map_err(|error| StoreError::other("a transaction", error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// All of `actions` or none. Repeated while other writers are in the way; a condition that fails is an answer, not an error.
    pub(crate) async fn transact(&self, actions: Vec<TransactWriteItem>) -> Result<Transacted, StoreError> {
        const OPERATION: &str = "DynamoDB TransactWriteItems";
        for attempt in 0..CONTENDED_ATTEMPTS_MAX {
            let request = self
                .client
                .transact_write_items()
                .set_transact_items(Some(actions.clone()));
            let error = match request.send().await {
                Ok(_) => return Ok(Transacted::Done),
                Err(error) => error,
            };
            let Some(reasons) = cancellation(&error) else {
                return Err(unavailable(OPERATION)(error));
            };
            let refused: Vec<Refusal> = reasons
                .iter()
                .enumerate()
                .filter(|(_, reason)| reason.code() == Some("ConditionalCheckFailed"))
                .map(|(action, reason)| Refusal {
                    action,
                    item: reason.item.clone(),
                })
                .collect();
            if !refused.is_empty() {
                return Ok(Transacted::Refused(refused));
            }
            let in_the_way = |code: Option<&str>| {
                matches!(
                    code,
                    Some("TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded" | "None") | None
                )
            };
            if !reasons.iter().all(|reason| in_the_way(reason.code())) {
                return Err(unavailable(OPERATION)(error));
            }
            tokio::time::sleep(CONTENDED_PAUSE * 2_u32.saturating_pow(attempt)).await;
        }
        Err(StoreError::Contended { operation: OPERATION })
    }
}

/// Waits before what DynamoDB left over goes again, and gives up when nothing gets through. `tries`: how often in a row nothing did; gives the same
/// with this time.
async fn pause(operation: &'static str, asked: usize, left: usize, tries: u32) -> Result<u32, StoreError> {
    if left == 0 {
        return Ok(0);
    }
    let tries = if left < asked { 0 } else { tries.saturating_add(1) };
    if tries >= CONTENDED_ATTEMPTS_MAX {
        return Err(StoreError::Contended { operation });
    }
    tokio::time::sleep(CONTENDED_PAUSE * 2_u32.saturating_pow(tries)).await;
    Ok(tries)
}

fn cancellation<R>(
    error: &SdkError<TransactWriteItemsError, R>,
) -> Option<&[aws_sdk_dynamodb::types::CancellationReason]> {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => Some(canceled.cancellation_reasons()),
        _ => None,
    }
}

/// A row's key.
pub(crate) fn row_key(pk: &str, sk: &str) -> Item {
    Item::from([(PK.to_owned(), text(pk)), (SK.to_owned(), text(sk))])
}

/// Whether a conditional write happened: a condition that failed is an answer.
pub(crate) fn held<T, E, R>(
    answer: Result<T, SdkError<E, R>>,
    operation: &'static str,
    is_condition: impl FnOnce(&E) -> bool,
) -> Result<bool, StoreError>
where
    E: std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(is_condition) => Ok(false),
        Err(error) => Err(unavailable(operation)(error)),
    }
}

fn sort_key(item: &Item) -> Option<String> {
    item.get(SK).and_then(|value| value.as_s().ok()).cloned()
}

/// Refuses what DynamoDB would refuse, before it is sent.
pub(crate) fn check_size(item: &Item) -> Result<(), StoreError> {
    let bytes: usize = item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum();
    if bytes > ITEM_BYTES_MAX {
        return Err(StoreError::TooLarge {
            what: "a row",
            bytes,
            bytes_max: ITEM_BYTES_MAX,
        });
    }
    Ok(())
}

//= https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
//# List or Map: 3 bytes, and 1 byte for each of its elements, beside their size
const CONTAINER_BYTES: usize = 3;

fn with_overhead(element: usize) -> usize {
    element + 1
}

fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.len(),
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::M(fields) => {
            let fields = fields.iter().map(|(name, value)| name.len() + value_bytes(value));
            fields.map(with_overhead).sum::<usize>() + CONTAINER_BYTES
        }
        AttributeValue::L(values) => {
            let values = values.iter().map(value_bytes);
            values.map(with_overhead).sum::<usize>() + CONTAINER_BYTES
        }
        // Outbill writes no large value of another kind.
        _ => 1,
    }
}
