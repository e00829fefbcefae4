//! Connections that AWS refuses: while one fails, nothing new is claimed on it.
//!
//! A mark holds for a quarter of an hour, then a claim may try again; so the connection heals by itself even when nothing is pending on it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::row::{Row, RowBuilder, key_part};
use super::table::{StoreError, Table};
use crate::values::entry::Connection;
use crate::values::ids::OrganizationId;

const MARK_MINUTES: i64 = 15;

/// The marks.
#[derive(Debug, Clone)]
pub struct Connections(Table);

/// The marks of one organization, as they were read.
#[derive(Debug, Clone, Default)]
pub struct Failing(BTreeMap<String, Timestamp>);

impl Failing {
    /// Whether nothing new is claimed on the connection at `now`.
    pub fn is_failing(&self, connection: &Connection, now: Timestamp) -> bool {
        self.0.get(&row(connection)).is_some_and(|until| now < *until)
    }

    /// Whether there is a mark to take away.
    pub fn is_marked(&self, connection: &Connection) -> bool {
        self.0.contains_key(&row(connection))
    }
}

fn partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#CONNECTION")
}

fn row(connection: &Connection) -> String {
    format!(
        "{}#{}#{}",
        connection.credential,
        key_part(&connection.region),
        key_part(&connection.product_code)
    )
}

impl Connections {
    /// Over the table.
    pub fn new(table: Table) -> Connections {
        Connections(table)
    }

    /// What fails in an organization.
    pub async fn failing(&self, organization: &OrganizationId) -> Result<Failing, StoreError> {
        let mut marks = BTreeMap::new();
        for item in self.0.all(&partition(organization), "").await? {
            let row = Row(&item);
            marks.insert(row.text("SK")?.to_owned(), row.instant("until")?);
        }
        Ok(Failing(marks))
    }

    /// Marks a connection as failing from `now`.
    pub async fn mark(&self, connection: &Connection, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let until = now
            .saturating_add(SignedDuration::from_mins(MARK_MINUTES))
            .unwrap_or(now);
        let item = RowBuilder::new(&partition(&connection.organization), &row(connection))
            .text("reason", reason)
            .instant("until", until);
        self.0.put(item.build()).await
    }

    /// AWS answered on it again.
    pub async fn clear(&self, connection: &Connection) -> Result<(), StoreError> {
        self.0
            .delete(&partition(&connection.organization), &row(connection))
            .await
    }
}
