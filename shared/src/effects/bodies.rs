//! Message bodies that are too large for a queue, in parts. A message names the body instead of holding it.

use jiff::Timestamp;

use super::{
    ids::Ids,
    row::RowBuilder,
    runs::{LOG_KEPT, chunks, put_together},
    table::{EXPIRES_AT, ROW_TEXT_BYTES_MAX, StoreError, Table},
};
use crate::values::ids::OrganizationId;

/// The stored bodies.
#[derive(Debug, Clone)]
pub struct Bodies {
    table: Table,
    ids: std::sync::Arc<Ids>,
}

fn partition(id: &str) -> String {
    format!("BODY#{id}")
}

impl Bodies {
    /// Over the table.
    pub fn new(table: Table, ids: std::sync::Arc<Ids>) -> Bodies {
        Bodies { table, ids }
    }

    /// Keeps a text for 90 days and gives its id. The organization, where one is known, is kept beside it.
    pub async fn put(
        &self,
        organization: Option<&OrganizationId>,
        now: Timestamp,
        text: &str,
    ) -> Result<String, StoreError> {
        let id = self.ids.text(now);
        let parts = chunks(text, ROW_TEXT_BYTES_MAX);
        let count = i64::try_from(parts.len()).unwrap_or(i64::MAX);
        let expires_at = now.saturating_add(LOG_KEPT).unwrap_or(Timestamp::MAX).as_second();
        for (part, text) in parts.into_iter().enumerate() {
            let row = RowBuilder::new(&partition(&id), &format!("body#{part:05}"))
                .text("text", text)
                .maybe("orgId", organization.map(OrganizationId::as_str))
                .number("parts", count)
                .number(EXPIRES_AT, expires_at);
            self.table.put(row.build()).await?;
        }
        Ok(id)
    }

    /// The text. None: there is none of this id, or it has expired, or its writer was killed.
    pub async fn get(&self, id: &str) -> Result<Option<String>, StoreError> {
        let rows = self.table.all(&partition(id), "").await?;
        Ok(put_together(&rows)?.into_iter().next().map(|(_, text)| text))
    }
}
