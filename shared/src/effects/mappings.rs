//! External mappings, kept so that both look-ups are one query.
//!
//! Each mapping is three rows, written in one transaction: the mapping itself, one under what it is of in m3ter, one under what it is called
//! outside. The key of the second holds system, table and configuration, so a second mapping of the same kind for the same thing cannot be
//! stored, however requests race.

use aws_sdk_dynamodb::types::{Delete, ReturnValuesOnConditionCheckFailure, TransactWriteItem, builders::PutBuilder};
use jiff::Timestamp;

use super::{
    row::{Item, Row, RowBuilder, key_part, number, text},
    table::{Order, PK, Page, PageRequest, Refusal, Rows, SK, StoreError, Table, Transacted},
};
use crate::values::{
    ids::{ConfigurationId, OrganizationId},
    mapping::{ExternalMapping, folded},
};

/// Times a deletion is tried while others change the mapping.
const DELETE_ATTEMPTS_MAX: usize = 5;

/// The mappings of all organizations.
#[derive(Debug, Clone)]
pub struct Mappings(Table);

/// How storing a mapping ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    /// It is stored.
    Done(ExternalMapping),
    /// The thing has a mapping of this system, table and configuration already: this one.
    Exists(ExternalMapping),
    /// The version is not the stored one, which this is.
    Version(i64),
    /// There is no such mapping.
    Missing,
}

/// Where a mapping's three rows lie.
struct Keys {
    own: (String, String),
    mapped: (String, String),
    external: (String, String),
}

fn own_partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#MAPPING")
}

fn mapped_partition(organization: &OrganizationId, entity: &str, m3ter_id: &str) -> String {
    format!(
        "ORG#{organization}#MAPPED#{}#{}",
        key_part(&folded(entity)),
        key_part(m3ter_id)
    )
}

fn external_partition(organization: &OrganizationId, system: &str, table: &str, external_id: &str) -> String {
    let (system, table) = (key_part(&folded(system)), key_part(&folded(table)));
    format!("ORG#{organization}#EXTERNAL#{system}#{table}#{}", key_part(external_id))
}

impl Keys {
    fn of(mapping: &ExternalMapping) -> Keys {
        let organization = &mapping.organization;
        let kind = format!(
            "{}#{}#{}",
            key_part(&folded(&mapping.external_system)),
            key_part(&folded(&mapping.external_table)),
            mapping.configuration.as_ref().map_or("-", ConfigurationId::as_str)
        );
        let external = external_partition(
            organization,
            &mapping.external_system,
            &mapping.external_table,
            &mapping.external_id,
        );
        Keys {
            own: (own_partition(organization), mapping.id.clone()),
            mapped: (
                mapped_partition(organization, &mapping.m3ter_entity, &mapping.m3ter_id),
                kind,
            ),
            external: (external, mapping.id.clone()),
        }
    }
}

impl Mappings {
    /// Over the table.
    pub fn new(table: Table) -> Mappings {
        Mappings(table)
    }

    /// All mappings of one thing of m3ter's, as they are now.
    pub async fn of_entity(
        &self,
        organization: &OrganizationId,
        entity: &str,
        m3ter_id: &str,
    ) -> Result<Vec<ExternalMapping>, StoreError> {
        self.0
            .all(&mapped_partition(organization, entity, m3ter_id), "")
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// A page of the mappings of one thing of m3ter's, newest first. They are few, one for each system, table and configuration, and lie by
    /// these and not by age: all are read.
    pub async fn page_of_entity(
        &self,
        organization: &OrganizationId,
        entity: &str,
        m3ter_id: &str,
        page: &PageRequest,
    ) -> Result<Page<ExternalMapping>, StoreError> {
        let mut found = self.of_entity(organization, entity, m3ter_id).await?;
        found.retain(|mapping| page.after.as_ref().is_none_or(|after| mapping.id < *after));
        found.sort_by(|one, other| other.id.cmp(&one.id));
        let has_more = found.len() > page.size;
        found.truncate(page.size);
        let last = found.last().map(|mapping| mapping.id.clone());
        Ok(Page {
            next: last.filter(|_| has_more),
            items: found,
        })
    }

    /// A page of the mappings to one thing of another system, newest first.
    pub async fn page_of_external(
        &self,
        organization: &OrganizationId,
        (system, table, external_id): (&str, &str, &str),
        page: &PageRequest,
    ) -> Result<Page<ExternalMapping>, StoreError> {
        self.page(
            &external_partition(organization, system, table, external_id),
            page,
            |_| true,
        )
        .await
    }

    /// A page of an organization's mappings, newest first, of those that `wanted` admits.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
        wanted: impl Fn(&ExternalMapping) -> bool,
    ) -> Result<Page<ExternalMapping>, StoreError> {
        self.page(&own_partition(organization), page, wanted).await
    }

    async fn page(
        &self,
        partition: &str,
        page: &PageRequest,
        wanted: impl Fn(&ExternalMapping) -> bool,
    ) -> Result<Page<ExternalMapping>, StoreError> {
        let keep = |item: &Item| Ok(Some(read(item)?).filter(&wanted));
        self.0
            .page(Rows::Partition(partition), Order::Descending, page, keep)
            .await
    }

    /// All mappings that are linked to a configuration, oldest first.
    pub async fn linked_to(
        &self,
        organization: &OrganizationId,
        configuration: &ConfigurationId,
    ) -> Result<Vec<ExternalMapping>, StoreError> {
        let all = self.0.all(&own_partition(organization), "").await?;
        let mut all = all.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        all.retain(|mapping| mapping.configuration.as_ref() == Some(configuration));
        Ok(all)
    }

    /// One, as it is now.
    pub async fn get(&self, organization: &OrganizationId, id: &str) -> Result<Option<ExternalMapping>, StoreError> {
        self.0
            .get(&own_partition(organization), id)
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// Keeps a new one.
    pub async fn create(&self, mapping: &ExternalMapping) -> Result<Stored, StoreError> {
        let keys = Keys::of(mapping);
        let actions = vec![
            self.0.put_action(write(mapping, &keys.own), |put| {
                put.condition_expression("attribute_not_exists(PK)")
            })?,
            self.0
                .put_action(write(mapping, &keys.mapped), if_free_or_own(&mapping.id))?,
            self.0.put_action(write(mapping, &keys.external), |put| put)?,
        ];
        match self.0.transact(actions).await? {
            Transacted::Done => Ok(Stored::Done(mapping.clone())),
            Transacted::Refused(refusals) => match taken(&refusals, 1)? {
                Some(existing) => Ok(Stored::Exists(existing)),
                // The id is new: the row that is there was written by an attempt whose answer was lost.
                None => Ok(Stored::Done(mapping.clone())),
            },
        }
    }

    /// Stores `changed`, whose version is the one that the user has seen. `now` and `by` become the last change.
    pub async fn update(&self, changed: &ExternalMapping, now: Timestamp, by: &str) -> Result<Stored, StoreError> {
        let Some(stored) = self.get(&changed.organization, &changed.id).await? else {
            return Ok(Stored::Missing);
        };
        if stored.version != changed.version {
            return Ok(Stored::Version(stored.version));
        }
        let next = ExternalMapping {
            version: changed.version.saturating_add(1),
            audit: stored.audit.changed(now, by),
            ..changed.clone()
        };
        let (old, new) = (Keys::of(&stored), Keys::of(&next));
        let seen = next.version.saturating_sub(1);
        let mut actions = vec![
            self.0.put_action(write(&next, &new.own), |put| {
                put.condition_expression("version = :seen")
                    .expression_attribute_values(":seen", number(seen))
            })?,
            self.0.put_action(write(&next, &new.mapped), if_free_or_own(&next.id))?,
            self.0.put_action(write(&next, &new.external), |put| put)?,
        ];
        if old.mapped != new.mapped {
            actions.push(self.delete_action(&old.mapped, None)?);
        }
        if old.external != new.external {
            actions.push(self.delete_action(&old.external, None)?);
        }
        match self.0.transact(actions).await? {
            Transacted::Done => Ok(Stored::Done(next)),
            Transacted::Refused(refusals) => match taken(&refusals, 1)? {
                Some(existing) => Ok(Stored::Exists(existing)),
                None => match self.get(&next.organization, &next.id).await? {
                    Some(stored) if stored == next => Ok(Stored::Done(stored)),
                    Some(stored) => Ok(Stored::Version(stored.version)),
                    None => Ok(Stored::Missing),
                },
            },
        }
    }

    /// Takes one away. None: it was not there.
    pub async fn delete(&self, organization: &OrganizationId, id: &str) -> Result<Option<ExternalMapping>, StoreError> {
        for _ in 0..DELETE_ATTEMPTS_MAX {
            let Some(stored) = self.get(organization, id).await? else {
                return Ok(None);
            };
            let keys = Keys::of(&stored);
            let actions = vec![
                self.delete_action(&keys.own, Some(stored.version))?,
                self.delete_action(&keys.mapped, None)?,
                self.delete_action(&keys.external, None)?,
            ];
            if let Transacted::Done = self.0.transact(actions).await? {
                return Ok(Some(stored));
            }
        }
        Err(StoreError::Contended {
            operation: "deleting an external mapping",
        })
    }

    fn delete_action(
        &self,
        (pk, sk): &(String, String),
        version: Option<i64>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut delete = Delete::builder()
            .table_name(self.0.name())
            .key(PK, text(pk))
            .key(SK, text(sk));
        if let Some(version) = version {
            delete = delete
                .condition_expression("version = :seen")
                .expression_attribute_values(":seen", number(version));
        }
        let delete = delete
            .build()
            .map_err(|error| StoreError::other("a transaction", error))?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }
}

/// The mapping that already has the place, if that is why the transaction was refused.
fn taken(refusals: &[Refusal], action: usize) -> Result<Option<ExternalMapping>, StoreError> {
    let item = refusals
        .iter()
        .find(|refusal| refusal.action == action)
        .and_then(|refusal| refusal.item.as_ref());
    item.map(read).transpose()
}

fn if_free_or_own(id: &str) -> impl FnOnce(PutBuilder) -> PutBuilder {
    let id = text(id);
    |put| {
        put.condition_expression("attribute_not_exists(PK) OR id = :id")
            .expression_attribute_values(":id", id)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn write(mapping: &ExternalMapping, (pk, sk): &(String, String)) -> Item {
    RowBuilder::new(pk, sk)
        .text("id", &mapping.id)
        .text("orgId", mapping.organization.as_str())
        .number("version", mapping.version)
        .text("m3terEntity", &mapping.m3ter_entity)
        .text("m3terId", &mapping.m3ter_id)
        .text("externalSystem", &mapping.external_system)
        .text("externalTable", &mapping.external_table)
        .text("externalId", &mapping.external_id)
        .maybe(
            "configuration",
            mapping.configuration.as_ref().map(ConfigurationId::as_str),
        )
        .audit(&mapping.audit)
        .build()
}

fn read(item: &Item) -> Result<ExternalMapping, StoreError> {
    let row = Row(item);
    Ok(ExternalMapping {
        id: row.text("id")?.to_owned(),
        organization: row.parsed("orgId", |id| OrganizationId::new(id).ok())?,
        version: row.number("version")?,
        m3ter_entity: row.text("m3terEntity")?.to_owned(),
        m3ter_id: row.text("m3terId")?.to_owned(),
        external_system: row.text("externalSystem")?.to_owned(),
        external_table: row.text("externalTable")?.to_owned(),
        external_id: row.text("externalId")?.to_owned(),
        configuration: row.maybe_parsed("configuration", |id| ConfigurationId::new(id).ok())?,
        audit: row.audit()?,
    })
}
