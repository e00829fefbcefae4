//! How far m3ter was asked for changed bills, organization by organization.

use jiff::Timestamp;

use super::{
    row::{Row, RowBuilder, number},
    table::{StoreError, Table},
};
use crate::values::ids::OrganizationId;

const CURSOR: &str = "CURSOR";

/// The cursors of all organizations.
#[derive(Debug, Clone)]
pub struct Sweeps(Table);

fn partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#SWEEP")
}

impl Sweeps {
    /// Over the table.
    pub fn new(table: Table) -> Sweeps {
        Sweeps(table)
    }

    /// When the last sweep that came to its end began.
    pub async fn swept_until(&self, organization: &OrganizationId) -> Result<Option<Timestamp>, StoreError> {
        let found = self.0.get(&partition(organization), CURSOR).await?;
        let seconds = found.map(|item| Row(&item).number("sweptUntil")).transpose()?;
        Ok(seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()))
    }

    /// A sweep that began then came to its end. An older one that ends later takes nothing back.
    pub async fn swept(&self, organization: &OrganizationId, began: Timestamp) -> Result<(), StoreError> {
        let row = RowBuilder::new(&partition(organization), CURSOR).number("sweptUntil", began.as_second());
        let condition = "attribute_not_exists(PK) OR sweptUntil < :began";
        self.0
            .put_if(row.build(), condition, [(":began", number(began.as_second()))])
            .await?;
        Ok(())
    }
}
