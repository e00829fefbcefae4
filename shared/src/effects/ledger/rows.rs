//! The ledger's rows as DynamoDB has them: keys, items, and the conditional writes.

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem, Update};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::effects::row::{Item, Row, number, text};
use crate::effects::table::{PK, SK, StoreError, check_size, row_key};
use crate::values::amount::Units;
use crate::values::bill::BillReference;
use crate::values::entry::{Entry, EntryState, KeyState, Resolution};
use crate::values::hour::Hour;
use crate::values::ids::OrganizationId;
use crate::values::manifest::Manifest;
use crate::values::usage_key::KeyHash;

pub(super) const MANIFEST: &str = "MANIFEST";
pub(super) const STATE: &str = "STATE";
pub(super) const HOUR_PREFIX: &str = "HOUR#";
pub(crate) const USAGE_PREFIX: &str = "USAGE#";
const BILL_PREFIX: &str = "BILL#";
const KEY_PREFIX: &str = "KEY#";
const WORK_SHARD: &str = "workShard";
const WORK_AT: &str = "workAt";
const WORK_SHARD_PREFIX: &str = "WORK#";
/// Entries that CloudTrail was not looked at for yet.
const UNSEEN_PREFIX: &str = "UNSEEN";
/// Entries that wait for evidence or for an operator.
const OPEN_PREFIX: &str = "OPEN";
/// Keys that wait for somebody.
const HELD_PREFIX: &str = "HELD";
/// One shard per first digit of a key's hash.
pub(super) const WORK_SHARDS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];

pub(crate) fn bill_partition(bill: &BillReference) -> String {
    format!("{BILL_PREFIX}{bill}")
}

/// The list of an organization's metered bills.
pub(crate) fn bills_partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#BILLS")
}

pub(super) fn key_partition(key: &KeyHash) -> String {
    format!("{KEY_PREFIX}{key}")
}

pub(super) fn bill_row(bill: &BillReference) -> String {
    format!("{BILL_PREFIX}{bill}")
}

pub(super) fn hour_row(hour: Hour) -> String {
    format!("{HOUR_PREFIX}{hour}")
}

pub(super) fn buyer_partition(customer: &str) -> String {
    format!("BUYER#{customer}")
}

pub(super) fn work_shard(digit: char) -> String {
    format!("{WORK_SHARD_PREFIX}{digit}")
}

/// In the same index: entries that wait for evidence or for an operator. They are few, so one shard holds them.
pub(super) fn open_shard(organization: &OrganizationId) -> String {
    format!("{OPEN_PREFIX}#{organization}")
}

/// In the same index: keys on which AWS has other than what the bills owe, and that the tick has nothing to claim for.
pub(super) fn held_shard(organization: &OrganizationId) -> String {
    format!("{HELD_PREFIX}#{organization}")
}

/// The usage report's row of one entry under one bill.
pub(crate) fn usage_row(dimension: &str, hour: Hour, key: &KeyHash) -> String {
    format!("{USAGE_PREFIX}{dimension}#{hour}#{key}")
}

fn attribute<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
}

pub(super) fn sort_key(item: &Item) -> Option<&str> {
    attribute(item, SK)
}

/// The usage key that a row belongs to.
pub(super) fn partition_key(item: &Item) -> Option<KeyHash> {
    attribute(item, PK)?
        .strip_prefix(KEY_PREFIX)
        .and_then(|hash| KeyHash::try_from(hash.to_owned()).ok())
}

/// The hour of an entry's row.
pub(super) fn row_hour(item: &Item) -> Option<Hour> {
    sort_key(item)?.strip_prefix(HOUR_PREFIX)?.parse().ok()
}

/// The bill whose units a row of a key counts.
pub(super) fn row_bill(item: &Item) -> Option<BillReference> {
    let bill = sort_key(item)?.strip_prefix(BILL_PREFIX)?;
    BillReference::try_from(bill.to_owned()).ok()
}

pub(super) fn read<T: DeserializeOwned>(item: Item, what: &str) -> Result<T, StoreError> {
    let key = format!(
        "{} {}",
        attribute(&item, PK).unwrap_or("?"),
        attribute(&item, SK).unwrap_or("?")
    );
    serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
        .map_err(|error| StoreError::corrupt(key, format!("{what} ({error})")))
}

pub(super) fn read_state(item: Item) -> Result<KeyState, StoreError> {
    read(item, "state")
}

pub(super) fn read_entry(item: Item) -> Result<Entry, StoreError> {
    read(item, "entry")
}

pub(super) fn bill_units(item: &Item) -> Result<Units, StoreError> {
    Row(item).number("units")
}

fn item(value: &impl Serialize, pk: &str, sk: &str) -> Result<Item, StoreError> {
    let mut item: Item =
        serde_dynamo::aws_sdk_dynamodb_1::to_item(value).map_err(|error| StoreError::other("writing a row", error))?;
    item.insert(PK.to_owned(), text(pk));
    item.insert(SK.to_owned(), text(sk));
    check_size(&item)?;
    Ok(item)
}

/// Where an organization's accepted entries stand that CloudTrail was not looked at for.
pub(super) fn unseen_shard(organization: &OrganizationId, digit: char) -> String {
    format!("{UNSEEN_PREFIX}#{organization}#{digit}")
}

/// The list of the index that an entry stands in: what is to be sent, or what CloudTrail is to be looked at for.
fn listed_in(entry: &Entry) -> Option<(String, String)> {
    let key = entry.key.hash();
    let organization = entry.organization();
    let shard = match entry.state {
        EntryState::Pending => work_shard(digit(&key)),
        EntryState::Accepted if entry.seen_event.is_some() => return None,
        EntryState::Accepted if entry.unseen_since.is_none() => unseen_shard(organization, digit(&key)),
        EntryState::Accepted | EntryState::Unknown | EntryState::Conflict => open_shard(organization),
        // Released on what CloudTrail did not show: it may show it later.
        EntryState::Released if entry.attempts_unanswered() > 0 => open_shard(organization),
        EntryState::Released | EntryState::Refused | EntryState::Adopted => return None,
    };
    Some((shard, work_at(&entry.hour.to_string(), &key, organization)))
}

/// An entry's row, with its place in the index.
fn entry_row(entry: &Entry) -> Result<Item, StoreError> {
    let row = item(entry, &key_partition(&entry.key.hash()), &hour_row(entry.hour))?;
    Ok(match listed_in(entry) {
        Some((shard, at)) => with_work(row, shard, at),
        None => row,
    })
}

fn with_work(mut item: Item, shard: String, at: String) -> Item {
    item.insert(WORK_SHARD.to_owned(), text(shard));
    item.insert(WORK_AT.to_owned(), text(at));
    item
}

fn digit(key: &KeyHash) -> char {
    key.as_str().chars().next().unwrap_or('0')
}

/// Where a row stands among the rows of its shard, and whose it is: the index holds nothing else of it.
fn work_at(since: &str, key: &KeyHash, organization: &OrganizationId) -> String {
    format!("{since}#{key}#{organization}")
}

/// Whether a row of the work index is one of this organization's.
pub(super) fn is_of(item: &Item, organization: &OrganizationId) -> bool {
    attribute(item, WORK_AT)
        .and_then(|at| at.rsplit_once('#'))
        .is_some_and(|(_, owner)| owner == organization.as_str())
}

/// A row of the work index as a page token names it, and back. No part holds the separator but the last.
pub(super) fn work_position(item: &Item) -> Option<String> {
    let parts = [attribute(item, PK)?, attribute(item, SK)?, attribute(item, WORK_AT)?];
    Some(parts.join("|"))
}

pub(super) fn work_start(shard: &str, position: &str) -> Option<Item> {
    let mut parts = position.splitn(3, '|');
    let mut start = row_key(parts.next()?, parts.next()?);
    start.insert(WORK_AT.to_owned(), text(parts.next()?));
    start.insert(WORK_SHARD.to_owned(), text(shard));
    Some(start)
}

/// A row's own key.
pub(super) fn own_key(item: &Item) -> Option<Item> {
    Some(row_key(attribute(item, PK)?, attribute(item, SK)?))
}

/// An action of a transaction from its parts; the SDK's builders fail only where a required part is missing, and none is.
pub(super) fn action<T>(
    built: Result<T, aws_sdk_dynamodb::error::BuildError>,
    wrap: fn(
        aws_sdk_dynamodb::types::builders::TransactWriteItemBuilder,
        T,
    ) -> aws_sdk_dynamodb::types::builders::TransactWriteItemBuilder,
) -> Result<TransactWriteItem, StoreError> {
    let built = built.map_err(|error| StoreError::other("writing a transaction", error))?;
    Ok(wrap(TransactWriteItem::builder(), built).build())
}

pub(super) fn put_manifest(manifest: &Manifest, table: &str) -> Result<TransactWriteItem, StoreError> {
    let row = item(manifest, &bill_partition(&manifest.bill), MANIFEST)?;
    let put = Put::builder().table_name(table).set_item(Some(row));
    let put = match manifest.revision.saturating_sub(1) {
        0 => put.condition_expression("attribute_not_exists(PK)"),
        known => put
            .condition_expression("revision = :revision")
            .expression_attribute_values(":revision", number(known)),
    };
    action(put.build(), |builder, put| builder.put(put))
}

/// The bill in the usage report's list, in the order in which bills were first metered.
pub(super) fn list_bill(manifest: &Manifest, table: &str) -> Result<TransactWriteItem, StoreError> {
    let bill = &manifest.bill;
    let mut row = row_key(
        &bills_partition(&bill.organization),
        &format!("{:.0}#{}", manifest.first_seen, bill.bill),
    );
    row.insert("bill".to_owned(), text(bill.bill.as_str()));
    if let Some(account) = &manifest.account {
        row.insert("account".to_owned(), text(account.as_str()));
    }
    if let Some(start_date) = &manifest.start_date {
        row.insert("startDate".to_owned(), text(start_date));
    }
    let put = Put::builder().table_name(table).set_item(Some(row));
    action(put.build(), |builder, put| builder.put(put))
}

pub(super) fn check_manifest(manifest: &Manifest, table: &str) -> Result<TransactWriteItem, StoreError> {
    let check = ConditionCheck::builder()
        .table_name(table)
        .set_key(Some(row_key(&bill_partition(&manifest.bill), MANIFEST)))
        .condition_expression("revision = :revision")
        .expression_attribute_values(":revision", number(manifest.revision));
    action(check.build(), |builder, check| builder.condition_check(check))
}

/// Writes a state over the one of version `known`; 0 for the first.
pub(super) fn put_state(state: &KeyState, known: i64, now: &str, table: &str) -> Result<TransactWriteItem, StoreError> {
    let state = KeyState {
        version: known.saturating_add(1),
        ..state.clone()
    };
    let hash = state.hash();
    let row = item(&state, &key_partition(&hash), STATE)?;
    let at = work_at(now, &hash, &state.owner);
    let row = if state.is_claimable() {
        with_work(row, work_shard(digit(&hash)), at)
    } else if state.is_open() {
        with_work(row, held_shard(&state.owner), at)
    } else {
        row
    };
    let put = Put::builder().table_name(table).set_item(Some(row));
    let put = if known == 0 {
        put.condition_expression("attribute_not_exists(PK)")
    } else {
        put.condition_expression("version = :version")
            .expression_attribute_values(":version", number(known))
    };
    action(put.build(), |builder, put| builder.put(put))
}

/// Counts a bill's units on a key in place of `before`.
pub(super) fn put_bill_units(
    key: &KeyHash,
    bill: &BillReference,
    before: Option<Units>,
    after: Units,
    table: &str,
) -> Result<TransactWriteItem, StoreError> {
    let mut row = row_key(&key_partition(key), &bill_row(bill));
    row.insert("units".to_owned(), number(after));
    let put = Put::builder().table_name(table).set_item(Some(row));
    let put = match before {
        None => put.condition_expression("attribute_not_exists(PK)"),
        Some(before) => put
            .condition_expression("units = :before")
            .expression_attribute_values(":before", number(before)),
    };
    action(put.build(), |builder, put| builder.put(put))
}

/// A new entry, in an hour that has none.
pub(super) fn put_entry(entry: &Entry, table: &str) -> Result<TransactWriteItem, StoreError> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(entry_row(entry)?))
        .condition_expression("attribute_not_exists(PK)");
    action(put.build(), |builder, put| builder.put(put))
}

/// An amended entry, over the one that the amendment was decided on.
pub(super) fn replace_entry(before: &Entry, after: &Entry, table: &str) -> Result<TransactWriteItem, StoreError> {
    let mut condition =
        "#state = :known AND attemptsStarted = :knownStarted AND attemptsAnswered = :knownAnswered".to_owned();
    let mut put = Put::builder()
        .table_name(table)
        .set_item(Some(entry_row(after)?))
        .expression_attribute_names("#state", "state")
        .expression_attribute_values(":known", text(before.state.as_str()))
        .expression_attribute_values(":knownStarted", number(before.attempts_started))
        .expression_attribute_values(":knownAnswered", number(before.attempts_answered));
    let unseen_since = before.unseen_since.map(|since| since.to_string());
    for (name, known) in [("seenEvent", before.seen_event.clone()), ("unseenSince", unseen_since)] {
        match known {
            Some(known) => {
                condition.push_str(&format!(" AND {name} = :{name}"));
                put = put.expression_attribute_values(format!(":{name}"), text(known));
            }
            None => condition.push_str(&format!(" AND attribute_not_exists({name})")),
        }
    }
    action(put.condition_expression(condition).build(), |builder, put| {
        builder.put(put)
    })
}

/// Where a leaving buyer's keys are found.
pub(super) fn put_buyer(state: &KeyState, table: &str) -> Result<TransactWriteItem, StoreError> {
    let mut row = row_key(
        &buyer_partition(state.key.buyer.customer()),
        &format!("{KEY_PREFIX}{}", state.hash()),
    );
    row.insert("productCode".to_owned(), text(&state.origin.connection.product_code));
    if let crate::values::usage_key::Buyer::License { license_arn, .. } = &state.key.buyer {
        row.insert("licenseArn".to_owned(), text(license_arn));
    }
    let put = Put::builder().table_name(table).set_item(Some(row));
    action(put.build(), |builder, put| builder.put(put))
}

/// One bill's part of an accepted entry, for the usage report.
pub(super) fn put_usage(
    entry: &Entry,
    bill: &BillReference,
    units: Units,
    table: &str,
) -> Result<TransactWriteItem, StoreError> {
    let dimension = format!("{}-{}", entry.origin.connection.product_code, entry.key.dimension);
    let mut row = row_key(
        &bill_partition(bill),
        &usage_row(&dimension, entry.hour, &entry.key.hash()),
    );
    row.insert("units".to_owned(), number(units));
    row.insert("dimension".to_owned(), text(dimension));
    row.insert("hour".to_owned(), text(entry.hour.to_string()));
    let put = Put::builder().table_name(table).set_item(Some(row));
    action(put.build(), |builder, put| builder.put(put))
}

/// How an entry is written over.
pub(super) struct EntryUpdate<'a> {
    pub(super) before: &'a Entry,
    pub(super) state: EntryState,
    pub(super) started: u32,
    pub(super) answered: u32,
    pub(super) metering_record_id: Option<&'a str>,
    pub(super) reason: Option<&'a str>,
    pub(super) resolution: Option<&'a Resolution>,
    /// When this attempt is started, if one is.
    pub(super) attempted_at: Option<Timestamp>,
}

/// An update of an entry's outcome, on condition that state and attempts are as they were read. Hour, quantity and parts stay.
pub(super) fn update_entry(update: &EntryUpdate<'_>, table: &str) -> Result<TransactWriteItem, StoreError> {
    let entry = update.before;
    let mut set = vec![
        "#state = :state",
        "attemptsStarted = :started",
        "attemptsAnswered = :answered",
    ];
    let mut request = Update::builder()
        .table_name(table)
        .set_key(Some(row_key(&key_partition(&entry.key.hash()), &hour_row(entry.hour))))
        .condition_expression(
            "#state = :known AND attemptsStarted = :knownStarted AND attemptsAnswered = :knownAnswered",
        )
        .expression_attribute_names("#state", "state")
        .expression_attribute_values(":state", text(update.state.as_str()))
        .expression_attribute_values(":started", number(update.started))
        .expression_attribute_values(":answered", number(update.answered))
        .expression_attribute_values(":known", text(entry.state.as_str()))
        .expression_attribute_values(":knownStarted", number(entry.attempts_started))
        .expression_attribute_values(":knownAnswered", number(entry.attempts_answered));
    if let Some(id) = update.metering_record_id {
        set.push("meteringRecordId = :id");
        request = request.expression_attribute_values(":id", text(id));
    }
    if let Some(reason) = update.reason {
        set.push("#reason = :reason");
        request = request
            .expression_attribute_names("#reason", "reason")
            .expression_attribute_values(":reason", text(reason));
    }
    if let Some(resolution) = update.resolution {
        let resolution = serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(resolution)
            .map_err(|error| StoreError::other("writing a row", error))?;
        set.push("resolution = :resolution");
        request = request.expression_attribute_values(":resolution", resolution);
    }
    if let Some(at) = update.attempted_at {
        set.push("attemptedAt = :attemptedAt");
        request = request.expression_attribute_values(":attemptedAt", text(at.to_string()));
    }
    let after = Entry {
        state: update.state,
        attempts_started: update.started,
        attempts_answered: update.answered,
        ..entry.clone()
    };
    let mut expression = "SET ".to_owned();
    match listed_in(&after) {
        Some((shard, at)) => {
            set.extend(["workShard = :shard", "workAt = :at"]);
            request = request
                .expression_attribute_values(":shard", text(shard))
                .expression_attribute_values(":at", text(at));
            expression.push_str(&set.join(", "));
        }
        None => expression.push_str(&format!("{} REMOVE {WORK_SHARD}, {WORK_AT}", set.join(", "))),
    }
    action(request.update_expression(expression).build(), |builder, update| {
        builder.update(update)
    })
}

/// Values of a query for the entries from `from` on.
pub(super) fn hours_from(key: &KeyHash, from: Hour) -> [(&'static str, AttributeValue); 3] {
    [
        (":pk", text(key_partition(key))),
        (":from", text(hour_row(from))),
        (":to", text(format!("{HOUR_PREFIX}~"))),
    ]
}
