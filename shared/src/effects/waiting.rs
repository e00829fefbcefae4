//! Runs that wait for something: a mapping, a credential, a configuration that is enabled again.
//!
//! One row for each bill and thing: the run with the newest head waits, older ones have nothing left to send. The row is taken away only by
//! whoever has queued that very run, so a newer run that starts to wait meanwhile is not lost.

use super::{
    row::{Item, Row, RowBuilder, key_part, text},
    table::{SK, StoreError, Table},
};
use crate::values::ids::{BillId, OrganizationId, RunId};

/// The runs of all organizations that wait.
#[derive(Debug, Clone)]
pub struct Waiting(Table);

fn partition(organization: &OrganizationId, what: &str) -> String {
    format!("ORG#{organization}#WAITING#{}", key_part(what))
}

impl Waiting {
    /// Over the table.
    pub fn new(table: Table) -> Waiting {
        Waiting(table)
    }

    /// Lets a run wait for `what`, unless one with a newer head of the same bill does. Heads are compared as texts.
    pub async fn put(
        &self,
        organization: &OrganizationId,
        what: &str,
        bill: &BillId,
        run: &RunId,
        head: &str,
    ) -> Result<(), StoreError> {
        let row = RowBuilder::new(&partition(organization, what), bill.as_str())
            .text("run", run.as_str())
            .text("head", head);
        let condition = "attribute_not_exists(PK) OR head <= :head";
        self.0.put_if(row.build(), condition, [(":head", text(head))]).await?;
        Ok(())
    }

    /// What waits for `what`. It goes on waiting until [`Waiting::remove`].
    pub async fn take(&self, organization: &OrganizationId, what: &str) -> Result<Vec<(BillId, RunId)>, StoreError> {
        self.0
            .all(&partition(organization, what), "")
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// Ends a run's wait. Nothing happens if another run of the bill waits by now.
    pub async fn remove(
        &self,
        organization: &OrganizationId,
        what: &str,
        bill: &BillId,
        run: &RunId,
    ) -> Result<(), StoreError> {
        let request = self.0.client().delete_item().table_name(self.0.name());
        let request = request
            .key(super::table::PK, text(partition(organization, what)))
            .key(SK, text(bill.as_str()));
        let request = request
            .expression_attribute_names("#run", "run")
            .condition_expression("#run = :run");
        let answer = request
            .expression_attribute_values(":run", text(run.as_str()))
            .send()
            .await;
        super::table::held(answer, "DynamoDB DeleteItem", |error| {
            error.is_conditional_check_failed_exception()
        })?;
        Ok(())
    }
}

fn read(item: &Item) -> Result<(BillId, RunId), StoreError> {
    let row = Row(item);
    Ok((
        row.parsed(SK, |id| BillId::new(id).ok())?,
        row.parsed("run", |id| RunId::new(id).ok())?,
    ))
}
