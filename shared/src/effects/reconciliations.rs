//! Reconciliations: their reports, how far each is, and which are still to be finished.
//!
//! # Races
//! - One invocation works on a reconciliation at a time: whoever takes its lease. A lease runs out, so that a killed invocation holds nothing
//!   up; should two work at once after all, the older one's next save fails, and it stops. What both did to the ledger was done once.
//! - The schedule makes one reconciliation per configuration and day, however often it fires.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::row::{Item, Row, RowBuilder, number};
use super::table::{Order, Page, PageRequest, Rows, StoreError, Table};
use crate::decisions::report::{Discrepancy, Reconciliation};
use crate::values::ids::{ConfigurationId, OrganizationId};

/// How long an invocation has a reconciliation to itself. Renewed with every save.
const LEASE: SignedDuration = SignedDuration::from_mins(3);
/// Reports are kept as long as a day can be reconciled, and as long again.
const KEPT: SignedDuration = SignedDuration::from_hours(180 * 24);
/// The list of those that are not finished, of all organizations.
const OPEN: &str = "RECONCILIATIONS#OPEN";
const DISCREPANCY: &str = "DISCREPANCY#";
const EVENTS: &str = "EVENTS#";

/// The reconciliations of all organizations.
#[derive(Debug, Clone)]
pub struct Reconciliations(Table);

/// A reconciliation that an invocation has to itself, and its row's revision.
#[derive(Debug, Clone)]
pub struct Leased {
    pub reconciliation: Reconciliation,
    revision: i64,
}

fn partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#RECONCILIATION")
}

fn scheduled_row(organization: &OrganizationId, configuration: &ConfigurationId, date: Date) -> (String, String) {
    (
        format!("ORG#{organization}#RECONCILED"),
        format!("{date}#{configuration}"),
    )
}

fn parts_partition(organization: &OrganizationId, id: &str) -> String {
    format!("ORG#{organization}#RECONCILIATION#{id}")
}

fn open_row(reconciliation: &Reconciliation) -> String {
    format!("{}#{}", reconciliation.organization, reconciliation.id)
}

fn expires_at(now: Timestamp) -> i64 {
    now.saturating_add(KEPT).unwrap_or(Timestamp::MAX).as_second()
}

impl Reconciliations {
    /// Over the table.
    pub fn new(table: Table) -> Reconciliations {
        Reconciliations(table)
    }

    /// Keeps a new one. It stands in the list of the open ones first: one that is listed and not there is passed over.
    pub async fn create(&self, reconciliation: &Reconciliation) -> Result<(), StoreError> {
        self.0
            .put(RowBuilder::new(OPEN, &open_row(reconciliation)).build())
            .await?;
        let row = write(reconciliation, 1, None)?;
        self.0.put_if(row, "attribute_not_exists(PK)", []).await?;
        Ok(())
    }

    /// Claims a configuration's day for the schedule; gives the id under which it is scheduled: the given one, or that of the schedule that was
    /// first. Whoever was first may have died before its report was there.
    pub async fn schedule(
        &self,
        organization: &OrganizationId,
        configuration: &ConfigurationId,
        date: Date,
        (id, now): (&str, Timestamp),
    ) -> Result<String, StoreError> {
        let (partition, day) = scheduled_row(organization, configuration, date);
        let row = RowBuilder::new(&partition, &day)
            .text("reconciliation", id)
            .number(super::table::EXPIRES_AT, expires_at(now));
        self.0.put_if(row.build(), "attribute_not_exists(PK)", []).await?;
        let scheduled = self.scheduled(organization, configuration, date).await?;
        scheduled.ok_or_else(|| StoreError::corrupt(format!("{partition} {day}"), "reconciliation"))
    }

    /// The id under which the schedule compares a configuration's day; none: it was not scheduled.
    pub async fn scheduled(
        &self,
        organization: &OrganizationId,
        configuration: &ConfigurationId,
        date: Date,
    ) -> Result<Option<String>, StoreError> {
        let (partition, day) = scheduled_row(organization, configuration, date);
        let found = self.0.get(&partition, &day).await?;
        let id = |item| Row(item).parsed("reconciliation", |id| Some(id.to_owned()));
        found.as_ref().map(id).transpose()
    }

    /// One, as it is now.
    pub async fn get(&self, organization: &OrganizationId, id: &str) -> Result<Option<Reconciliation>, StoreError> {
        let found = self.0.get(&partition(organization), id).await?;
        found.as_ref().map(read).transpose()
    }

    /// A page of an organization's, newest first, of those that `wanted` admits.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
        wanted: impl Fn(&Reconciliation) -> bool,
    ) -> Result<Page<Reconciliation>, StoreError> {
        let partition = partition(organization);
        self.0
            .page(Rows::Partition(&partition), Order::Descending, page, |item| {
                Ok(Some(read(item)?).filter(&wanted))
            })
            .await
    }

    /// What is not finished: organization and id, oldest first within an organization.
    pub async fn open(&self) -> Result<Vec<(OrganizationId, String)>, StoreError> {
        let rows = self.0.all(OPEN, "").await?;
        let name = |item: &Item| {
            let row = Row(item);
            row.parsed("SK", |name| {
                let (organization, id) = name.split_once('#')?;
                Some((OrganizationId::new(organization).ok()?, id.to_owned()))
            })
        };
        rows.iter().map(name).collect()
    }

    /// Takes an open one for this invocation. `None`: another one has it, or it is finished.
    pub async fn lease(
        &self,
        organization: &OrganizationId,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<Leased>, StoreError> {
        let Some(item) = self.0.get(&partition(organization), id).await? else {
            return Ok(None);
        };
        let (row, reconciliation) = (Row(&item), read(&item)?);
        let leased_until: Option<Timestamp> = row.maybe_parsed("leasedUntil", |text| text.parse().ok())?;
        if reconciliation.status.is_final() {
            self.close(&reconciliation).await?;
            return Ok(None);
        }
        if leased_until.is_some_and(|until| now < until) {
            return Ok(None);
        }
        let mut leased = Leased {
            reconciliation,
            revision: row.number("revision")?,
        };
        Ok(self.save(&mut leased, now).await?.then_some(leased))
    }

    /// Keeps how far it is, and renews the lease. False: another invocation has taken it.
    pub async fn save(&self, leased: &mut Leased, now: Timestamp) -> Result<bool, StoreError> {
        let until = now.saturating_add(LEASE).unwrap_or(now);
        self.put(leased, Some(until)).await
    }

    /// Keeps how far it is, and gives it back.
    pub async fn give_back(&self, leased: &mut Leased) -> Result<bool, StoreError> {
        self.put(leased, None).await
    }

    async fn put(&self, leased: &mut Leased, until: Option<Timestamp>) -> Result<bool, StoreError> {
        let next = leased.revision.saturating_add(1);
        let row = write(&leased.reconciliation, next, until)?;
        let known = [(":known", number(leased.revision))];
        if !self.0.put_if(row, "revision = :known", known).await? {
            return Ok(false);
        }
        leased.revision = next;
        if leased.reconciliation.status.is_final() {
            self.close(&leased.reconciliation).await?;
        }
        Ok(true)
    }

    async fn close(&self, reconciliation: &Reconciliation) -> Result<(), StoreError> {
        self.0.delete(OPEN, &open_row(reconciliation)).await
    }

    /// Keeps a discrepancy; one of the same key and hour is written over.
    pub async fn keep(&self, reconciliation: &Reconciliation, found: &Discrepancy) -> Result<(), StoreError> {
        let partition = parts_partition(&reconciliation.organization, &reconciliation.id);
        let json = serde_json::to_string(found).map_err(|error| StoreError::other("writing a discrepancy", error))?;
        let row = RowBuilder::new(&partition, &format!("{DISCREPANCY}{}#{}", found.hour, found.key))
            .text("discrepancy", &json)
            .number(super::table::EXPIRES_AT, expires_at(reconciliation.created));
        self.0.put(row.build()).await
    }

    /// The discrepancies that were listed, by hour.
    pub async fn discrepancies(&self, organization: &OrganizationId, id: &str) -> Result<Vec<Discrepancy>, StoreError> {
        let rows = self.0.all(&parts_partition(organization, id), DISCREPANCY).await?;
        let parse = |item: &Item| Row(item).parsed("discrepancy", |json| serde_json::from_str(json).ok());
        rows.iter().map(parse).collect()
    }

    /// Keeps the marks of events that were counted, so that they count once although another invocation goes on.
    pub async fn keep_events(
        &self,
        reconciliation: &Reconciliation,
        (round, page): (u32, u64),
        marks: &[u64],
    ) -> Result<(), StoreError> {
        let partition = parts_partition(&reconciliation.organization, &reconciliation.id);
        let marks: Vec<String> = marks.iter().map(|mark| format!("{mark:x}")).collect();
        let row = RowBuilder::new(&partition, &format!("{EVENTS}{round:06}#{page:012}"))
            .text("marks", &marks.join(" "))
            .number(super::table::EXPIRES_AT, expires_at(reconciliation.created));
        self.0.put(row.build()).await
    }

    /// The marks that were kept in one round of reading.
    pub async fn events(&self, reconciliation: &Reconciliation, round: u32) -> Result<Vec<u64>, StoreError> {
        let partition = parts_partition(&reconciliation.organization, &reconciliation.id);
        let rows = self.0.all(&partition, &format!("{EVENTS}{round:06}#")).await?;
        let mut marks = Vec::new();
        for item in &rows {
            let row = Row(item);
            let parse = |text: &str| -> Option<Vec<u64>> {
                text.split_whitespace()
                    .map(|mark| u64::from_str_radix(mark, 16).ok())
                    .collect()
            };
            marks.extend(row.parsed("marks", parse)?);
        }
        Ok(marks)
    }

    /// Whether an alarm was raised before.
    pub async fn was_alarmed(&self, organization: &OrganizationId, name: &str) -> Result<bool, StoreError> {
        Ok(self.0.get(&alarms(organization), name).await?.is_some())
    }

    /// Notes that an alarm was raised.
    pub async fn alarmed(&self, organization: &OrganizationId, name: &str, now: Timestamp) -> Result<(), StoreError> {
        let row = RowBuilder::new(&alarms(organization), name).number(super::table::EXPIRES_AT, expires_at(now));
        self.0.put(row.build()).await
    }

    /// Forgets one that is of no interest to anybody.
    pub async fn discard(&self, reconciliation: &Reconciliation) -> Result<(), StoreError> {
        let partition = partition(&reconciliation.organization);
        self.0.delete(&partition, &reconciliation.id).await?;
        self.close(reconciliation).await
    }
}

fn alarms(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#ALARM")
}

fn write(reconciliation: &Reconciliation, revision: i64, leased_until: Option<Timestamp>) -> Result<Item, StoreError> {
    let json = serde_json::to_string(reconciliation);
    let json = json.map_err(|error| StoreError::other("writing a reconciliation", error))?;
    let row = RowBuilder::new(&partition(&reconciliation.organization), &reconciliation.id)
        .text("reconciliation", &json)
        .number("revision", revision)
        .maybe("leasedUntil", leased_until.map(|until| until.to_string()).as_deref())
        .number(super::table::EXPIRES_AT, expires_at(reconciliation.created));
    Ok(row.build())
}

fn read(item: &Item) -> Result<Reconciliation, StoreError> {
    Row(item).parsed("reconciliation", |json| serde_json::from_str(json).ok())
}
