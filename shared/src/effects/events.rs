//! m3ter's events, as far as integrations raise them.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ids::Ids,
    row::{Item, Row, RowBuilder},
    table::{Order, Page, PageRequest, Rows, SK, StoreError, Table},
};
use crate::values::ids::OrganizationId;

/// The events of all organizations.
#[derive(Debug, Clone)]
pub struct Events {
    table: Table,
    ids: std::sync::Arc<Ids>,
}

/// An event that was raised.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id; ordered by time.
    pub id: String,
    /// Its kind, such as `integration.validation.error`.
    pub name: String,
    /// When it was raised.
    pub time: Timestamp,
    /// What m3ter's API shows as `m3terEvent`.
    pub m3ter_event: Value,
}

/// Which events are wanted; all that is given has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Only of this kind.
    pub name: Option<String>,
    /// Only about this thing: its id is `id`, `entityId`, `resourceId` or `integrationConfigId` of the event's document.
    pub resource_id: Option<String>,
    /// Only about this account.
    pub account_id: Option<String>,
    /// Only these; an empty list means any.
    pub ids: Vec<String>,
}

impl EventFilter {
    fn admits(&self, event: &Event) -> bool {
        let document = |side: &str| event.m3ter_event.get("eventData").and_then(|data| data.get(side));
        let holds = |fields: &[&str], wanted: &str| {
            ["newDto", "oldDto"].into_iter().filter_map(document).any(|document| {
                fields
                    .iter()
                    .any(|field| document.get(*field).and_then(Value::as_str) == Some(wanted))
            })
        };
        const RESOURCE: &[&str] = &["id", "entityId", "resourceId", "integrationConfigId"];
        self.name.as_ref().is_none_or(|name| *name == event.name)
            && self.resource_id.as_ref().is_none_or(|wanted| holds(RESOURCE, wanted))
            && self
                .account_id
                .as_ref()
                .is_none_or(|wanted| holds(&["accountId"], wanted))
            && (self.ids.is_empty() || self.ids.contains(&event.id))
    }
}

fn partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#EVENT")
}

impl Events {
    /// Over the table.
    pub fn new(table: Table, ids: std::sync::Arc<Ids>) -> Events {
        Events { table, ids }
    }

    /// Keeps an event of `now` and gives its id.
    pub async fn raise(
        &self,
        organization: &OrganizationId,
        now: Timestamp,
        name: &str,
        m3ter_event: Value,
    ) -> Result<String, StoreError> {
        let id = self.ids.text(now);
        let row = RowBuilder::new(&partition(organization), &id)
            .text("eventName", name)
            .instant("eventTime", now)
            .text("m3terEvent", &m3ter_event.to_string());
        self.table.put(row.build()).await?;
        Ok(id)
    }

    /// One.
    pub async fn get(&self, organization: &OrganizationId, id: &str) -> Result<Option<Event>, StoreError> {
        self.table
            .get(&partition(organization), id)
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// A page of an organization's, newest first.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        let partition = partition(organization);
        let keep = |item: &Item| Ok(Some(read(item)?).filter(|event| filter.admits(event)));
        self.table
            .page(Rows::Partition(&partition), Order::Descending, page, keep)
            .await
    }
}

fn read(item: &Item) -> Result<Event, StoreError> {
    let row = Row(item);
    Ok(Event {
        id: row.text(SK)?.to_owned(),
        name: row.text("eventName")?.to_owned(),
        time: row.instant("eventTime")?,
        m3ter_event: row.json("m3terEvent")?,
    })
}
