//! Integration runs and their logs.
//!
//! A log is a list of JSON documents, each of which may be larger than a row: it is cut into parts that are put together when it is read.
//! Logs expire; runs do not.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    row::{Item, Row, RowBuilder, key_part, number},
    table::{
        DESTINATION_INDEX, ENTITY_INDEX, EXPIRES_AT, Order, Page, PageRequest, ROW_TEXT_BYTES_MAX, Rows, SK,
        StoreError, Table, row_key,
    },
};
use crate::{
    effects::ids::Ids,
    values::{
        ids::{OrganizationId, RunId},
        run::{IntegrationRun, RunStatus},
    },
};

/// How long logs are kept: as long as a day can be reconciled.
pub const LOG_KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// What a run shows of its error; the log has all of it.
const ERROR_CHARACTERS_MAX: usize = 20_000;
/// Digits of a part's number, so that parts sort.
const PART_DIGITS: usize = 5;

/// The runs of all organizations.
#[derive(Debug, Clone)]
pub struct Runs {
    table: Table,
    ids: std::sync::Arc<Ids>,
}

/// Which runs are wanted.
#[derive(Debug, Clone)]
pub struct RunFilter {
    /// Only runs of this status.
    pub status: Option<RunStatus>,
    /// Only runs that started after this instant.
    pub started_after: Option<Timestamp>,
    /// Only runs that started at this instant or before.
    pub started_until: Option<Timestamp>,
    /// By start.
    pub order: Order,
}

impl RunFilter {
    /// All runs, newest first.
    pub fn all() -> RunFilter {
        RunFilter {
            status: None,
            started_after: None,
            started_until: None,
            order: Order::Descending,
        }
    }

    fn admits(&self, run: &IntegrationRun) -> bool {
        self.status.is_none_or(|status| run.status == status)
            && self.started_after.is_none_or(|after| run.started > after)
            && self.started_until.is_none_or(|until| run.started <= until)
    }
}

fn partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#RUN")
}

fn log_partition(organization: &OrganizationId, run: &RunId) -> String {
    format!("ORG#{organization}#LOG#{run}")
}

fn entity_key(organization: &OrganizationId, entity_type: &str, entity_id: &str) -> String {
    format!(
        "ORG#{organization}#RUN#{}#{}",
        key_part(entity_type),
        key_part(entity_id)
    )
}

fn destination_key(organization: &OrganizationId, destination_id: &str) -> String {
    format!("ORG#{organization}#RUN#{}", key_part(destination_id))
}

impl Runs {
    /// Over the table.
    pub fn new(table: Table, ids: std::sync::Arc<Ids>) -> Runs {
        Runs { table, ids }
    }

    /// Keeps a run as it is now. One whose version is older than the stored one changes nothing.
    pub async fn save(&self, run: &IntegrationRun) -> Result<(), StoreError> {
        let condition = "attribute_not_exists(PK) OR version <= :version";
        self.table
            .put_if(write(run), condition, [(":version", number(run.version))])
            .await?;
        Ok(())
    }

    /// One, as it is now.
    pub async fn get(&self, organization: &OrganizationId, id: &RunId) -> Result<Option<IntegrationRun>, StoreError> {
        self.table
            .get(&partition(organization), id.as_str())
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// Several, as they are now, none named twice. One that is not there is left out.
    pub async fn get_all<'a>(
        &self,
        names: impl IntoIterator<Item = (&'a OrganizationId, &'a RunId)>,
    ) -> Result<Vec<IntegrationRun>, StoreError> {
        let keys = names.into_iter();
        let keys = keys.map(|(organization, id)| row_key(&partition(organization), id.as_str()));
        self.table.get_all(keys.collect()).await?.iter().map(read).collect()
    }

    /// A page of the runs of one entity. From an index: a run of this moment may not be there yet.
    pub async fn list_by_entity(
        &self,
        organization: &OrganizationId,
        (entity_type, entity_id): (&str, &str),
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<IntegrationRun>, StoreError> {
        let value = entity_key(organization, entity_type, entity_id);
        let partition = partition(organization);
        let rows = Rows::Index {
            index: ENTITY_INDEX,
            attribute: "entityKey",
            value: &value,
            partition: &partition,
        };
        self.list(rows, filter, page).await
    }

    /// A page of the runs of one configuration. From an index: a run of this moment may not be there yet.
    pub async fn list_by_destination(
        &self,
        organization: &OrganizationId,
        destination_id: &str,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<IntegrationRun>, StoreError> {
        let value = destination_key(organization, destination_id);
        let partition = partition(organization);
        let rows = Rows::Index {
            index: DESTINATION_INDEX,
            attribute: "destinationKey",
            value: &value,
            partition: &partition,
        };
        self.list(rows, filter, page).await
    }

    async fn list(
        &self,
        rows: Rows<'_>,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Result<Page<IntegrationRun>, StoreError> {
        let keep = |item: &Item| Ok(Some(read(item)?).filter(|run| filter.admits(run)));
        self.table.page(rows, filter.order, page, keep).await
    }

    /// The newest run of one entity, if it has any.
    pub async fn latest(
        &self,
        organization: &OrganizationId,
        entity_type: &str,
        entity_id: &str,
    ) -> Result<Option<IntegrationRun>, StoreError> {
        let page = PageRequest { size: 1, after: None };
        let found = self
            .list_by_entity(organization, (entity_type, entity_id), &RunFilter::all(), &page)
            .await?;
        Ok(found.items.into_iter().next())
    }

    /// Adds a document to a run's log.
    pub async fn append_log(
        &self,
        organization: &OrganizationId,
        run: &RunId,
        now: Timestamp,
        entry: &Value,
    ) -> Result<(), StoreError> {
        self.append_logs(now, [(organization, run, entry.to_string().as_str())])
            .await
    }

    /// Adds a document, as its text, to the log of each of several runs, in as few requests as DynamoDB takes.
    pub async fn append_logs<'a>(
        &self,
        now: Timestamp,
        entries: impl IntoIterator<Item = (&'a OrganizationId, &'a RunId, &'a str)>,
    ) -> Result<(), StoreError> {
        let expires_at = now.saturating_add(LOG_KEPT).unwrap_or(Timestamp::MAX).as_second();
        let mut rows = Vec::new();
        for (organization, run, entry) in entries {
            let parts = chunks(entry, ROW_TEXT_BYTES_MAX);
            let id = self.ids.text(now);
            let count = i64::try_from(parts.len()).unwrap_or(i64::MAX);
            for (part, text) in parts.into_iter().enumerate() {
                let row = RowBuilder::new(&log_partition(organization, run), &format!("{id}#{part:0PART_DIGITS$}"))
                    .text("text", text)
                    .number("parts", count)
                    .number(EXPIRES_AT, expires_at);
                rows.push(row.build());
            }
        }
        self.table.put_all(rows).await
    }

    /// A run's log, in the order in which it was written. A document of which parts are missing, because its writer was killed, is left out.
    pub async fn log(&self, organization: &OrganizationId, run: &RunId) -> Result<Vec<Value>, StoreError> {
        let rows = self.table.all(&log_partition(organization, run), "").await?;
        put_together(&rows)?
            .into_iter()
            .map(|(key, text)| serde_json::from_str(&text).map_err(|_| StoreError::corrupt(key, "text")))
            .collect()
    }
}

/// The whole texts of rows `<id>#<part>`, which are in order.
pub(super) fn put_together(rows: &[Item]) -> Result<Vec<(String, String)>, StoreError> {
    let mut whole = Vec::new();
    let mut current: Option<(String, String, i64)> = None;
    for item in rows {
        let row = Row(item);
        let (id, part) = row.text(SK)?.rsplit_once('#').ok_or_else(|| row.corrupt(SK))?;
        let part: i64 = part.parse().map_err(|_| row.corrupt(SK))?;
        let text = row.text("text")?;
        current = match current {
            Some((key, so_far, next)) if key == id && part == next => Some((key, so_far + text, next + 1)),
            _ if part == 0 => Some((id.to_owned(), text.to_owned(), 1)),
            _ => None,
        };
        if let Some((key, text, _)) = current.take_if(|(_, _, next)| row.number("parts").ok() == Some(*next)) {
            whole.push((key, text));
        }
    }
    Ok(whole)
}

/// Cuts a text into parts of at most `bytes_max` bytes, between characters. The empty text is one empty part.
pub(super) fn chunks(text: &str, bytes_max: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > bytes_max {
        let end = rest.floor_char_boundary(bytes_max);
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

fn shortened(error: &str) -> String {
    if error.chars().count() <= ERROR_CHARACTERS_MAX {
        return error.to_owned();
    }
    error
        .chars()
        .take(ERROR_CHARACTERS_MAX)
        .chain(" … the rest is in the run's log".chars())
        .collect()
}

fn write(run: &IntegrationRun) -> Item {
    let organization = &run.organization;
    let destination = run.destination_id.as_ref().map(|id| destination_key(organization, id));
    RowBuilder::new(&partition(organization), run.id.as_str())
        .text("orgId", organization.as_str())
        .text("entityType", &run.entity_type)
        .text("entityId", &run.entity_id)
        .text("entityVersion", &run.entity_version)
        .text("entityKey", &entity_key(organization, &run.entity_type, &run.entity_id))
        .maybe("destinationKey", destination.as_deref())
        .text("status", run.status.name())
        .text("destination", run.destination.name())
        .maybe("destinationId", run.destination_id.as_deref())
        .instant("started", run.started)
        .maybe("completed", run.completed.map(|instant| instant.to_string()).as_deref())
        .maybe("error", run.error.as_deref().map(shortened).as_deref())
        .maybe("externalId", run.external_id.as_deref())
        .maybe("replayedFrom", run.replayed_from.as_ref().map(RunId::as_str))
        .number("version", run.version)
        .build()
}

fn read(item: &Item) -> Result<IntegrationRun, StoreError> {
    let row = Row(item);
    let owned = |field: Option<&str>| field.map(str::to_owned);
    Ok(IntegrationRun {
        id: row.parsed(SK, |id| RunId::new(id).ok())?,
        organization: row.parsed("orgId", |id| OrganizationId::new(id).ok())?,
        entity_type: row.text("entityType")?.to_owned(),
        entity_id: row.text("entityId")?.to_owned(),
        entity_version: row.text("entityVersion")?.to_owned(),
        status: row.parsed("status", |name| name.parse().ok())?,
        destination: row.parsed("destination", |name| name.parse().ok())?,
        destination_id: owned(row.maybe("destinationId")?),
        started: row.instant("started")?,
        completed: row.maybe_parsed("completed", |instant| instant.parse().ok())?,
        error: owned(row.maybe("error")?),
        external_id: owned(row.maybe("externalId")?),
        replayed_from: row.maybe_parsed("replayedFrom", |id| RunId::new(id).ok())?,
        version: row.number("version")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let check = |text: &str, bytes_max: usize, expect: &[&str]| assert_eq!(chunks(text, bytes_max), expect);
        check("", 4, &[""]);
        check("abcd", 4, &["abcd"]);
        check("abcde", 4, &["abcd", "e"]);
        check("aöäü", 4, &["aö", "äü"]);
        check("€€", 4, &["€", "€"]);
    }
}
