//! Whether the table is the one that it was written as. A restored copy is not: it does not know what was sent after the instant that it
//! was restored to, so it is frozen, and nothing is claimed or sent from it until that time was read from CloudTrail.
//!
//! The table holds its own id, which DynamoDB gives each table and no copy keeps; so a copy is known by itself, under whatever name it was
//! restored, and nobody has to think of it. Its configurations thaw one by one; with the last of them the copy becomes a table of its own.
//!
//! # Races
//! - Two processes that find a copy: both write that it is frozen, and the first instant stays.
//! - A configuration that thaws while a batch runs: the batch goes on as it began.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::{
    row::{Row, RowBuilder, key_part, text},
    store_error::unavailable,
    table::{SK, StoreError, Table},
};
use crate::values::{
    entry::ByHand,
    ids::{ConfigurationId, OrganizationId},
};

const PARTITION: &str = "TABLE";
const IDENTITY: &str = "IDENTITY";
const THAWED: &str = "THAWED#";
const TRIES_MAX: usize = 5;
/// How long a process believes that the table is its own. Nobody deletes a table and restores it under the same name within that time.
const BELIEVED: SignedDuration = SignedDuration::from_secs(60);

/// See the module. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Freeze {
    table: Table,
    /// When the table was last found to be its own.
    own: Arc<Mutex<Option<Timestamp>>>,
}

/// What the table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The one that it was written as.
    Own,
    /// A restored copy.
    Frozen(Frozen),
}

/// A restored copy of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// What was sent until then is in the copy; later than that, it may be missing. At most an hour before the instant of the restore.
    pub complete_until: Timestamp,
    /// When it was first found to be a copy.
    pub since: Timestamp,
    /// The configurations that claim again, each as organization and configuration.
    thawed: BTreeSet<String>,
}

/// Whether what is found is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A table that nothing was written to yet gets its id, and a copy the instant at which it was found.
    AndNote,
    /// Nothing is written.
    Only,
}

impl Standing {
    /// Whether a configuration claims and sends nothing.
    pub fn is_frozen(&self, organization: &OrganizationId, configuration: &ConfigurationId) -> bool {
        self.frozen_since(organization, configuration).is_some()
    }

    /// Since when a configuration claims and sends nothing, if it does not.
    pub fn frozen_since(&self, organization: &OrganizationId, configuration: &ConfigurationId) -> Option<Timestamp> {
        match self {
            Standing::Own => None,
            Standing::Frozen(frozen) if frozen.is_thawed(organization, configuration) => None,
            Standing::Frozen(frozen) => Some(frozen.since),
        }
    }
}

impl Frozen {
    /// Whether a configuration claims again although others of the table do not.
    pub fn is_thawed(&self, organization: &OrganizationId, configuration: &ConfigurationId) -> bool {
        self.thawed.contains(&name(organization, configuration))
    }
}

fn name(organization: &OrganizationId, configuration: &ConfigurationId) -> String {
    format!("{}#{configuration}", key_part(organization.as_str()))
}

impl Freeze {
    /// Over the table.
    pub fn new(table: Table) -> Freeze {
        Freeze {
            table,
            own: Arc::default(),
        }
    }

    /// What the table is. Asked once a minute, unless it is frozen.
    pub async fn standing(&self, look: Look, now: Timestamp) -> Result<Standing, StoreError> {
        let known = *self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some_and(|known| known <= now && now.duration_since(known) < BELIEVED) {
            return Ok(Standing::Own);
        }
        for _ in 0..TRIES_MAX {
            let (id, rows) = futures::join!(self.id(), self.table.all(PARTITION, ""));
            let (id, rows) = (&*id?, rows?);
            let prefix = thawed_prefix(id);
            let (mut known, mut thawed) = (None, BTreeSet::new());
            for item in &rows {
                let row = Row(item);
                let name = row.text(SK)?;
                if name == IDENTITY {
                    known = Some(row);
                } else if let Some(name) = name.strip_prefix(&prefix) {
                    thawed.insert(name.to_owned());
                }
            }
            let Some(row) = known else {
                let row = identity(id, now).build();
                if look == Look::Only {
                    return Ok(Standing::Own);
                }
                if self.table.put_if(row, "attribute_not_exists(PK)", []).await? {
                    return Ok(self.believe(now));
                }
                continue;
            };
            if row.text("tableId")? == id {
                return Ok(self.believe(now));
            }
            let complete_until = row.instant("aliveAt")?;
            if row.maybe("frozenTableId")? != Some(id) {
                if look == Look::Only {
                    return Ok(Standing::Frozen(Frozen {
                        complete_until,
                        since: now,
                        thawed,
                    }));
                }
                let frozen = RowBuilder::new(PARTITION, IDENTITY)
                    .text("tableId", row.text("tableId")?)
                    .instant("aliveAt", complete_until)
                    .text("frozenTableId", id)
                    .instant("frozenSince", now);
                self.put(
                    frozen,
                    "attribute_not_exists(frozenTableId) OR frozenTableId <> :own",
                    id,
                )
                .await?;
                tracing::error!(
                    table.complete_until = %complete_until,
                    "The table is a restored copy: nothing is claimed or sent from it until what was sent since was read from CloudTrail."
                );
                continue;
            }
            return Ok(Standing::Frozen(Frozen {
                complete_until,
                since: row.instant("frozenSince")?,
                thawed,
            }));
        }
        Err(StoreError::corrupt(format!("{PARTITION} {IDENTITY}"), "tableId"))
    }

    fn believe(&self, now: Timestamp) -> Standing {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Standing::Own
    }

    /// Notes that the table is in use, so that a copy knows from when on it may lack something. A frozen one is not.
    pub async fn alive(&self, now: Timestamp) -> Result<(), StoreError> {
        let id = self.id().await?;
        self.put(identity(&id, now), "tableId = :own", &id).await
    }

    /// Lets a configuration of a copy claim and send again. `by`: the operator who says so; none: CloudTrail was read.
    pub async fn thaw(
        &self,
        organization: &OrganizationId,
        configuration: &ConfigurationId,
        by: Option<&ByHand>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = self.id().await?;
        let row = RowBuilder::new(
            PARTITION,
            &format!("{}{}", thawed_prefix(&id), name(organization, configuration)),
        );
        let row = row
            .instant("thawedAt", now)
            .maybe("by", by.map(|by| by.by.as_str()))
            .maybe("reason", by.map(|by| by.reason.as_str()));
        self.table.put_if(row.build(), "attribute_not_exists(PK)", []).await?;
        Ok(())
    }

    /// The copy becomes a table of its own: all of its configurations have thawed.
    pub async fn settle(&self, now: Timestamp) -> Result<(), StoreError> {
        let id = self.id().await?;
        self.put(identity(&id, now), "frozenTableId = :own", &id).await
    }

    /// Writes the identity, if the condition on the table's own id holds; else another process was faster.
    async fn put(&self, row: RowBuilder, condition: &str, own: &str) -> Result<(), StoreError> {
        let own = [(":own", text(own))];
        self.table.put_if(row.build(), condition, own).await?;
        Ok(())
    }

    /// DynamoDB's id of the table.
    async fn id(&self) -> Result<String, StoreError> {
        let request = self.table.client().describe_table().table_name(self.table.name());
        let described = request.send().await.map_err(unavailable("DynamoDB DescribeTable"))?;
        let id = described.table.and_then(|table| table.table_id);
        id.ok_or_else(|| StoreError::corrupt(format!("table {}", self.table.name()), "TableId"))
    }
}

fn identity(id: &str, now: Timestamp) -> RowBuilder {
    RowBuilder::new(PARTITION, IDENTITY)
        .text("tableId", id)
        .instant("aliveAt", now)
}

fn thawed_prefix(id: &str) -> String {
    format!("{THAWED}{id}#")
}
