//! m3ter's events, as far as integrations raise them.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{
    ids::Ids,
    row::{Item, Row, RowBuilder},
    table::{Order, Page, PageRequest, Rows, SK, StoreError, Table},
};
use crate::values::ids::OrganizationId;

/// Events that are read at once where a filter names them.
const NAMED_AT_ONCE_MAX: usize = 16;

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
        if !filter.ids.is_empty() {
            return self.named(organization, filter, page).await;
        }
        let partition = partition(organization);
        let keep = |item: &Item| Ok(Some(read(item)?).filter(|event| filter.admits(event)));
        self.table
            .page(Rows::Partition(&partition), Order::Descending, page, keep)
            .await
    }

    /// A page of the events that the filter names, newest first: each is read by its id, however many are newer.
    async fn named(
        &self,
        organization: &OrganizationId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<Event>, StoreError> {
        // What is no id of Outbill's is nowhere.
        let mut ids: Vec<&String> = filter.ids.iter().filter(|id| Uuid::parse_str(id).is_ok()).collect();
        ids.retain(|id| page.after.as_ref().is_none_or(|after| **id < *after));
        ids.sort_unstable_by(|one, other| other.cmp(one));
        ids.dedup();
        let reads: Vec<_> = ids.into_iter().map(|id| self.get(organization, id)).collect();
        let found: Vec<Option<Event>> = stream::iter(reads).buffered(NAMED_AT_ONCE_MAX).try_collect().await?;
        let mut items: Vec<Event> = found.into_iter().flatten().collect();
        items.retain(|event| filter.admits(event));
        let has_more = items.len() > page.size;
        items.truncate(page.size);
        let last = items.last().map(|event| event.id.clone());
        Ok(Page {
            next: last.filter(|_| has_more),
            items,
        })
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
