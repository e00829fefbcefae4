//! Reconciliations: their reports, how far each is, and which are still to be finished.
//!
//! # Races
//! - One invocation works on a reconciliation at a time: whoever takes its lease. It is renewed while the invocation works, and runs out when that
//!   was killed; should two work at once after all, the older one's next save fails, and it stops. What both did to the ledger was done once.
//! - A page's events are marked by the save that counts them, or not at all: an invocation that dies between pages hides no event from the next.
//! - The schedule makes one reconciliation per configuration and day, however often it fires.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::row::{Item, Row, RowBuilder, number, text};
use super::table::{Order, PK, Page, PageRequest, Rows, SK, StoreError, Table, Transacted, held};
use crate::decisions::report::{Discrepancy, Reconciliation};
use crate::values::ids::{ConfigurationId, OrganizationId};

/// How long an invocation has a reconciliation to itself, unless it renews the lease.
const LEASE: SignedDuration = SignedDuration::from_mins(3);
/// Reports are kept as long as a day can be reconciled, and as long again.
const KEPT: SignedDuration = SignedDuration::from_hours(180 * 24);
/// The list of those that are not finished, of all organizations.
const OPEN: &str = "RECONCILIATIONS#OPEN";
const DISCREPANCY: &str = "DISCREPANCY#";
const EVENTS: &str = "EVENTS#";
/// Nobody else has written the row since.
const IS_KNOWN: &str = "revision = :known";

/// The reconciliations of all organizations.
#[derive(Debug, Clone)]
pub struct Reconciliations(Table);

/// A reconciliation that an invocation has to itself.
#[derive(Debug)]
pub struct Leased {
    pub reconciliation: Reconciliation,
    lease: Lease,
}

impl Leased {
    /// What renews the lease while the reconciliation is worked on.
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }
}

/// The lease of a reconciliation. Clones are of the same one.
#[derive(Debug, Clone)]
pub struct Lease {
    organization: OrganizationId,
    id: String,
    /// The revision of the row that was written last.
    revision: Arc<AtomicI64>,
}

/// Marks of the events that a page added to the counts.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// The round of reading.
    pub round: u32,
    pub events: Vec<u64>,
}

fn lease_until(now: Timestamp) -> Timestamp {
    now.saturating_add(LEASE).unwrap_or(now)
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
        let lease = Lease {
            organization: organization.clone(),
            id: id.to_owned(),
            revision: Arc::new(AtomicI64::new(row.number("revision")?)),
        };
        let leased = Leased { reconciliation, lease };
        Ok(self.save(&leased, &Marks::default(), now).await?.then_some(leased))
    }

    /// Keeps how far it is together with the marks of what was counted since, and renews the lease. False: another invocation has taken it.
    pub async fn save(&self, leased: &Leased, marks: &Marks, now: Timestamp) -> Result<bool, StoreError> {
        self.put(leased, marks, Some(lease_until(now))).await
    }

    /// Keeps how far it is, and gives it back.
    pub async fn give_back(&self, leased: &Leased) -> Result<bool, StoreError> {
        self.put(leased, &Marks::default(), None).await
    }

    /// Renews a lease. False: another invocation has taken it, or the row was saved meanwhile, which renews it as well.
    pub async fn renew(&self, lease: &Lease, now: Timestamp) -> Result<bool, StoreError> {
        let request = self.0.client().update_item().table_name(self.0.name());
        let answer = request
            .key(PK, text(partition(&lease.organization)))
            .key(SK, text(&lease.id))
            .update_expression("SET leasedUntil = :until")
            .condition_expression(IS_KNOWN)
            .expression_attribute_values(":until", text(lease_until(now).to_string()))
            .expression_attribute_values(":known", number(lease.revision.load(Ordering::Relaxed)))
            .send()
            .await;
        held(
            answer,
            "DynamoDB UpdateItem",
            UpdateItemError::is_conditional_check_failed_exception,
        )
    }

    async fn put(&self, leased: &Leased, marks: &Marks, until: Option<Timestamp>) -> Result<bool, StoreError> {
        let known = leased.lease.revision.load(Ordering::Relaxed);
        let next = known.saturating_add(1);
        let row = write(&leased.reconciliation, next, until)?;
        let known = number(known);
        let is_kept = match marks.events.is_empty() {
            true => self.0.put_if(row, IS_KNOWN, [(":known", known)]).await?,
            false => {
                let row = self.0.put_action(row, |put| {
                    put.condition_expression(IS_KNOWN)
                        .expression_attribute_values(":known", known)
                })?;
                let marks = self.0.put_action(marked(&leased.reconciliation, marks), |put| put)?;
                matches!(self.0.transact(vec![row, marks]).await?, Transacted::Done)
            }
        };
        if !is_kept {
            return Ok(false);
        }
        // Nothing is written over a final one, even if it stays in the list of the open ones.
        if leased.reconciliation.status.is_final() {
            self.close(&leased.reconciliation).await?;
        }
        leased.lease.revision.store(next, Ordering::Relaxed);
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

fn marked(reconciliation: &Reconciliation, marks: &Marks) -> Item {
    let partition = parts_partition(&reconciliation.organization, &reconciliation.id);
    let (round, page) = (marks.round, reconciliation.tally.requests);
    let marks: Vec<String> = marks.events.iter().map(|mark| format!("{mark:x}")).collect();
    RowBuilder::new(&partition, &format!("{EVENTS}{round:06}#{page:012}"))
        .text("marks", &marks.join(" "))
        .number(super::table::EXPIRES_AT, expires_at(reconciliation.created))
        .build()
}

fn write(reconciliation: &Reconciliation, revision: i64, leased_until: Option<Timestamp>) -> Result<Item, StoreError> {
    let mut row = RowBuilder::new(&partition(&reconciliation.organization), &reconciliation.id)
        .number("revision", revision)
        .maybe("leasedUntil", leased_until.map(|until| until.to_string()).as_deref())
        .number(super::table::EXPIRES_AT, expires_at(reconciliation.created));
    let mut rest = reconciliation.clone();
    for (name, minutes) in minutes(&mut rest) {
        let minutes = std::mem::take(minutes);
        row = row.maybe(name, Some(packed(&minutes)).filter(|text| !text.is_empty()).as_deref());
    }
    let json = serde_json::to_string(&rest);
    let json = json.map_err(|error| StoreError::other("writing a reconciliation", error))?;
    Ok(row.text("reconciliation", &json).build())
}

fn read(item: &Item) -> Result<Reconciliation, StoreError> {
    let row = Row(item);
    let mut reconciliation = row.parsed("reconciliation", |json| serde_json::from_str(json).ok())?;
    for (name, minutes) in minutes(&mut reconciliation) {
        if let Some(kept) = row.maybe_parsed(name, unpacked)? {
            *minutes = kept;
        }
    }
    Ok(reconciliation)
}

/// The minutes that a progress holds, each set with its attribute: 90 days of them as JSON would be more than a row takes.
fn minutes(reconciliation: &mut Reconciliation) -> Vec<(&'static str, &mut BTreeSet<i64>)> {
    let Some(progress) = &mut reconciliation.progress else {
        return Vec::new();
    };
    let mut sets = vec![
        ("controls", &mut progress.reading.controls),
        ("hidden", &mut progress.reading.hidden),
    ];
    if let Some(before) = &mut progress.before_stretch {
        let (_, reading) = &mut **before;
        sets.push(("controlsBefore", &mut reading.controls));
        sets.push(("hiddenBefore", &mut reading.hidden));
    }
    sets
}

/// Minutes as text: each hour with its minutes as the bits of a number.
fn packed(minutes: &BTreeSet<i64>) -> String {
    let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
    for minute in minutes {
        *hours.entry(minute.div_euclid(60)).or_default() |= 1_u64 << minute.rem_euclid(60);
    }
    let hours: Vec<String> = hours.iter().map(|(hour, bits)| format!("{hour}:{bits:x}")).collect();
    hours.join(" ")
}

fn unpacked(text: &str) -> Option<BTreeSet<i64>> {
    let mut minutes = BTreeSet::new();
    for hour in text.split(' ') {
        let (hour, bits) = hour.split_once(':')?;
        let (first, bits) = (
            hour.parse::<i64>().ok()?.checked_mul(60)?,
            u64::from_str_radix(bits, 16).ok()?,
        );
        let set = (0..60_i64).filter(|minute| (bits >> minute) & 1 == 1);
        minutes.extend(set.filter_map(|minute| first.checked_add(minute)));
    }
    Some(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decisions::comparison::Reading;
    use crate::decisions::report::{Progress, Scope, Status, Tally};
    use crate::effects::table::check_size;

    fn reconciliation(reading: Reading, before: Reading) -> Reconciliation {
        Reconciliation {
            id: "id".into(),
            organization: OrganizationId::new("o").unwrap(),
            configuration: ConfigurationId::new("c").unwrap(),
            date: "2025-06-10".parse().unwrap(),
            scope: Scope::Restore,
            asked_by: None,
            status: Status::Running,
            created: "2025-06-11T11:00:00Z".parse().unwrap(),
            completed: None,
            unchecked: Vec::new(),
            tally: Tally::default(),
            progress: Some(Progress {
                plan: Vec::new(),
                token: None,
                before_stretch: Some(Box::new((Tally::default(), before))),
                round: 1,
                reading,
                shards_done: 0,
                failures: 0,
            }),
        }
    }

    #[test]
    fn ninety_days_of_minutes_have_room_in_a_row() {
        let every = |first: i64| Reading {
            controls: (first..first + 90 * 24 * 60).collect(),
            hidden: (first + 59..first + 90 * 24 * 60).step_by(61).collect(),
            ..Reading::default()
        };
        for (reading, before) in [
            (every(29_000_017), every(29_000_003)),
            (every(-70), Reading::default()),
            (Reading::default(), Reading::default()),
        ] {
            let written = reconciliation(reading, before);
            let row = write(&written, 7, None).unwrap();
            check_size(&row).unwrap();
            assert_eq!(read(&row).unwrap(), written);
        }
    }

    #[test]
    fn minutes_that_an_earlier_version_kept_in_json_are_read() {
        let reading = Reading {
            controls: BTreeSet::from([29_000_000, 29_000_061]),
            ..Reading::default()
        };
        let written = reconciliation(reading, Reading::default());
        let row = RowBuilder::new("p", "s").text("reconciliation", &serde_json::to_string(&written).unwrap());
        assert_eq!(read(&row.build()).unwrap(), written);
    }
}
