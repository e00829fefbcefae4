//! Failed requests for a token, counted by address and minute for all processes together.
//!
//! Only a failure costs a write; a good login costs nothing. A process learns that an address is over the limit from the failure that it
//! counts itself. One that has not heard of it yet answers a good key, which harms nobody, and no bad one: its first failure there is counted
//! into the same row and refused as the others are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::Timestamp;

use super::{
    row::{Row, key_part, number, text},
    store_error::unavailable,
    table::{EXPIRES_AT, PK, SK, StoreError, Table},
};

/// Failures of one address in one minute that are answered as what they are; the next ones have to wait for the next minute.
pub const FAILURES_PER_MINUTE_MAX: i64 = 100;
const MINUTE_SECONDS: i64 = 60;
/// The row is of no use after its minute; DynamoDB may take it away later than this.
const KEPT_SECONDS: i64 = 3_600;
/// Addresses remembered by one process.
const REMEMBERED_MAX: usize = 1_000;

/// The counts. Clones share what they remember.
#[derive(Debug, Clone)]
pub struct Attempts {
    table: Table,
    /// By address: the minute, and the failures in it that are known of.
    known: Arc<Mutex<HashMap<String, (i64, i64)>>>,
}

impl Attempts {
    /// Over the table.
    pub fn new(table: Table) -> Attempts {
        Attempts {
            table,
            known: Arc::default(),
        }
    }

    /// The seconds that an address has to wait, if this process knows that it is over the limit.
    pub fn wait_seconds(&self, address: &str, now: Timestamp) -> Option<i64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (minute, failures) = known.get(address)?;
        (*minute == minute_of(now) && *failures >= FAILURES_PER_MINUTE_MAX).then(|| seconds_left(now))
    }

    /// Counts a failure. Gives the seconds that the address has to wait, if this one is over the limit.
    pub async fn failed(&self, address: &str, now: Timestamp) -> Result<Option<i64>, StoreError> {
        let minute = minute_of(now);
        let request = self.table.client().update_item().table_name(self.table.name());
        let answer = request
            .key(PK, text(format!("TOKEN-FAILURES#{}", key_part(address))))
            .key(SK, text(format!("MINUTE#{minute}")))
            .update_expression(format!("ADD failures :one SET {EXPIRES_AT} = :expires"))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":expires", number(now.as_second().saturating_add(KEPT_SECONDS)))
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(unavailable("DynamoDB UpdateItem"))?;
        let failures = Row(&answer.attributes.unwrap_or_default()).number("failures")?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(address.to_owned(), (minute, failures));
        Ok((failures > FAILURES_PER_MINUTE_MAX).then(|| seconds_left(now)))
    }
}

fn minute_of(now: Timestamp) -> i64 {
    now.as_second().div_euclid(MINUTE_SECONDS)
}

/// Until the minute is over; never 0.
fn seconds_left(now: Timestamp) -> i64 {
    MINUTE_SECONDS.saturating_sub(now.as_second().rem_euclid(MINUTE_SECONDS))
}
