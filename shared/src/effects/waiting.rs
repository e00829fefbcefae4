//! Runs that wait for something: a mapping, a credential, a configuration that is enabled again.
//!
//! One row for each bill and thing: the run with the newest head waits, older ones have nothing left to send. The row is taken away only by
//! whoever has queued that very run, so a newer run that starts to wait meanwhile is not lost.

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    row::{Item, Row, RowBuilder, key_part, text},
    table::{SK, StoreError, Table},
};
use crate::decisions::validation::EntityReference;
use crate::values::bill::BillReference;
use crate::values::ids::{BillId, ConfigurationId, OrganizationId, RunId};

/// Runs whose wait is ended at once.
const REMOVALS_AT_ONCE_MAX: usize = 16;

/// One thing that a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    /// That it is enabled, connected, changed or deleted.
    Configuration(ConfigurationId),
    /// That it owns the bill no longer, because it is deleted or admits the account no longer: this run's configuration is the next.
    EndOf(ConfigurationId),
    /// That it is made, changed or deleted.
    MappingOf(EntityReference),
}

impl Awaited {
    fn name(&self) -> String {
        match self {
            Awaited::Configuration(id) => format!("CONFIG#{id}"),
            Awaited::EndOf(id) => format!("OWNER#{id}"),
            Awaited::MappingOf(EntityReference { entity, id }) => format!("MAPPING#{entity}#{id}"),
        }
    }
}

/// The runs of all organizations that wait.
#[derive(Debug, Clone)]
pub struct Waiting(Table);

fn partition(organization: &OrganizationId, what: &Awaited) -> String {
    format!("ORG#{organization}#WAITING#{}", key_part(&what.name()))
}

impl Waiting {
    /// Over the table.
    pub fn new(table: Table) -> Waiting {
        Waiting(table)
    }

    /// Lets a run wait for `what`, unless one with a newer head of the same bill does. Heads are compared as texts.
    pub async fn put(&self, bill: &BillReference, what: &Awaited, run: &RunId, head: &str) -> Result<(), StoreError> {
        let condition = "attribute_not_exists(PK) OR head <= :head";
        self.put_if(condition, bill, what, run, head).await
    }

    /// The same, unless one of the same head waits, too: for a run that may not be written yet, or never will be, if its worker dies, and where the
    /// first of several goes on.
    pub async fn put_first(
        &self,
        bill: &BillReference,
        what: &Awaited,
        run: &RunId,
        head: &str,
    ) -> Result<(), StoreError> {
        let condition = "attribute_not_exists(PK) OR head < :head";
        self.put_if(condition, bill, what, run, head).await
    }

    async fn put_if(
        &self,
        condition: &str,
        bill: &BillReference,
        what: &Awaited,
        run: &RunId,
        head: &str,
    ) -> Result<(), StoreError> {
        let row = RowBuilder::new(&partition(&bill.organization, what), bill.bill.as_str())
            .text("run", run.as_str())
            .text("head", head);
        self.0.put_if(row.build(), condition, [(":head", text(head))]).await?;
        Ok(())
    }

    /// The runs that wait for `what`, by their bills. They go on waiting until [`Waiting::remove`].
    pub async fn list(
        &self,
        organization: &OrganizationId,
        what: &Awaited,
    ) -> Result<Vec<(BillId, RunId)>, StoreError> {
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
        what: &Awaited,
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

    /// Ends the wait of several runs. An error leaves some of them waiting.
    pub async fn remove_all(
        &self,
        organization: &OrganizationId,
        what: &Awaited,
        runs: &[(BillId, RunId)],
    ) -> Result<(), StoreError> {
        let removals = runs
            .iter()
            .map(|(bill, run)| self.remove(organization, what, bill, run));
        let removals: Vec<_> = removals.collect();
        stream::iter(removals)
            .buffer_unordered(REMOVALS_AT_ONCE_MAX)
            .try_collect()
            .await
    }
}

fn read(item: &Item) -> Result<(BillId, RunId), StoreError> {
    let row = Row(item);
    Ok((
        row.parsed(SK, |id| BillId::new(id).ok())?,
        row.parsed("run", |id| RunId::new(id).ok())?,
    ))
}
