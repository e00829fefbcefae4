//! The report of one reconciliation: what the ledger says that AWS accepted, what CloudTrail shows, and what was done about the difference.
//!
//! A day that could not be checked never reads as a match: its status says so, and why.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::comparison::{Amendment, Reading, Why};
use crate::values::amount::Units;
use crate::values::entry::{Entry, EntryState};
use crate::values::hour::Hour;
use crate::values::ids::{ConfigurationId, OrganizationId};
use crate::values::trail::Stretch;
use crate::values::usage_key::KeyHash;

/// What a reconciliation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Asked for, not begun.
    Waiting,
    /// Begun; a later invocation goes on where the last one ended.
    Running,
    /// All was checked, and both sides are the same.
    Matches,
    /// All was checked; the ledger was amended wherever they differed.
    Corrected,
    /// All was checked, and they differ in something that nothing was done about.
    Differs,
    /// Something could not be checked.
    PartlyChecked,
    /// Nothing could be checked.
    NotChecked,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 7] = [
        Status::Waiting,
        Status::Running,
        Status::Matches,
        Status::Corrected,
        Status::Differs,
        Status::PartlyChecked,
        Status::NotChecked,
    ];

    /// As it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Status::Waiting => "WAITING",
            Status::Running => "RUNNING",
            Status::Matches => "MATCHES",
            Status::Corrected => "CORRECTED",
            Status::Differs => "DIFFERS",
            Status::PartlyChecked => "PARTLY_CHECKED",
            Status::NotChecked => "NOT_CHECKED",
        }
    }

    /// Whether there is nothing left to do.
    pub fn is_final(self) -> bool {
        match self {
            Status::Waiting | Status::Running => false,
            Status::Matches | Status::Corrected | Status::Differs | Status::PartlyChecked | Status::NotChecked => true,
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Status::Waiting => "it has not begun yet",
            Status::Running => "it is under way",
            Status::Matches => "the ledger and CloudTrail say the same",
            Status::Corrected => "the ledger and CloudTrail differed, and the ledger was amended",
            Status::Differs => "the ledger and CloudTrail differ",
            Status::PartlyChecked => "something could not be checked, so this is no match",
            Status::NotChecked => "nothing could be checked, so this is no match",
        }
    }
}

/// How far a reconciliation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is to be read, in this order.
    pub plan: Vec<Stretch>,
    /// The next page of the stretch that is being read.
    pub token: Option<String>,
    /// The counts as they were before that stretch: it may have to be read anew.
    pub before_stretch: Option<Box<(Tally, Reading)>>,
    /// Counts the stretches that were begun, and begun anew.
    pub round: u32,
    /// What was read.
    pub reading: Reading,
    /// Shards of the ledger that were looked through for what CloudTrail does not show.
    pub shards_done: usize,
    /// Invocations that failed since the last progress.
    pub failures: u32,
}

/// What a reconciliation looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Scope {
    /// All of a day, and every entry that waits for evidence.
    Day,
    /// Entries without a receipt that AWS still takes: the hourly look.
    Window,
    /// What a restored copy of the table may lack.
    Restore,
}

/// One reconciliation of one configuration and day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconciliation {
    /// Ordered by creation.
    pub id: String,
    pub organization: OrganizationId,
    pub configuration: ConfigurationId,
    pub date: Date,
    pub scope: Scope,
    /// Who asked; none: the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    pub status: Status,
    pub created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<Timestamp>,
    /// Why something or everything could not be checked.
    pub unchecked: Vec<String>,
    pub tally: Tally,
    /// None: not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// By `<productCode>-<dimension>`, for hours of the day.
    pub dimensions: BTreeMap<String, Line>,
    /// Events of `BatchMeterUsage`, each counted once.
    pub events: u64,
    /// Events that came more than once.
    pub events_repeated: u64,
    /// Calls that AWS refused as a whole.
    pub calls_refused: u64,
    /// Records that AWS accepted.
    pub records: u64,
    /// The same record in more than one call: counted once.
    pub records_repeated: u64,
    /// Records of a call that AWS did not accept.
    pub records_not_accepted: u64,
    /// Records of products, dimensions or buyers that the configuration sends nothing to.
    pub records_not_ours: u64,
    /// Records that another organization's entries explain.
    pub records_of_other_organizations: u64,
    /// Events of which CloudTrail left something out, or that cannot be read.
    pub events_hidden: u64,
    /// What was found, by reason.
    pub discrepancies: BTreeMap<String, u64>,
    /// Discrepancies that are counted and not listed.
    pub unlisted: u64,
    /// Requests to CloudTrail.
    pub requests: u64,
}

/// One dimension's day, in units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What the ledger said that AWS had accepted, before this reconciliation.
    pub logged: Units,
    /// What CloudTrail shows that AWS accepted.
    pub received: Units,
    /// By how much the ledger was amended.
    pub corrected: Units,
}

impl Line {
    /// What AWS has beyond what the ledger said.
    pub fn difference(&self) -> Units {
        self.received.saturating_sub(self.logged)
    }

    fn add(&mut self, logged: Units, received: Units, corrected: Units) {
        self.logged = self.logged.saturating_add(logged);
        self.received = self.received.saturating_add(received);
        self.corrected = self.corrected.saturating_add(corrected);
    }
}

/// The ledger's side of a discrepancy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logged {
    pub state: EntryState,
    pub quantity: Units,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Units>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metering_record_id: Option<String>,
    pub last_attempt_at: Timestamp,
}

impl Logged {
    /// What the ledger said that AWS had accepted.
    pub fn accepted(&self) -> Units {
        match self.state {
            EntryState::Accepted | EntryState::Adopted => self.observed.unwrap_or(self.quantity),
            EntryState::Pending
            | EntryState::Unknown
            | EntryState::Conflict
            | EntryState::Refused
            | EntryState::Released => 0,
        }
    }
}

/// CloudTrail's side of a discrepancy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    pub quantity: Units,
    pub event_id: String,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metering_record_id: Option<String>,
}

/// The key after the amendment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyAfter {
    pub total: Units,
    pub committed: Units,
    /// Above zero: sent with the next claim. Below: carried against later growth.
    pub delta: Units,
}

/// One hour of one key in which the two sides differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discrepancy {
    /// `<productCode>-<dimension>`.
    pub dimension: String,
    pub customer: String,
    pub key: KeyHash,
    pub hour: Hour,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<Logged>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Received>,
    pub amendment: Amendment,
    pub why: Why,
    /// `why` in words.
    pub reason: String,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_after: Option<KeyAfter>,
}

/// The entry that the ordinary claim made after an amendment, for what the key owed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrective {
    pub hour: Hour,
    pub quantity: Units,
    pub state: EntryState,
}

/// A discrepancy as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub found: Discrepancy,
    /// None: nothing was owed, or nothing was claimed yet.
    pub corrective: Option<Corrective>,
}

impl Discrepancy {
    /// Whether the key owes more after the amendment than is committed, so that the next claim sends it.
    pub fn is_owed(&self) -> bool {
        self.is_amended() && self.key_after.is_some_and(|after| after.delta > 0)
    }

    /// The corrective entry among the key's: the first that was claimed after the amendment.
    pub fn corrective(&self, entries: &[Entry]) -> Option<Corrective> {
        let after = entries
            .iter()
            .filter(|entry| entry.attempts_started > 0 && entry.claimed_at >= self.at);
        let first = after.min_by_key(|entry| (entry.claimed_at, entry.hour));
        first.filter(|_| self.is_owed()).map(|entry| Corrective {
            hour: entry.hour,
            quantity: entry.quantity,
            state: entry.state,
        })
    }

    /// What CloudTrail shows, what the ledger said, and by how much it was amended.
    fn line(&self) -> (Units, Units, Units) {
        let logged = self.logged.as_ref().map_or(0, Logged::accepted);
        let received = self.received.as_ref().map_or(0, |received| received.quantity);
        let corrected = match self.amendment {
            Amendment::Accept | Amendment::Observe(_) | Amendment::Adopt(_) => received.saturating_sub(logged),
            Amendment::None | Amendment::Verify | Amendment::MarkUnverified | Amendment::Release => 0,
        };
        (logged, received, corrected)
    }

    /// Whether anything was done about it.
    pub fn is_amended(&self) -> bool {
        self.amendment != Amendment::None
    }

    fn is_open(&self) -> bool {
        self.why.is_discrepancy()
            && match self.amendment {
                Amendment::Accept | Amendment::Observe(_) | Amendment::Adopt(_) | Amendment::Release => false,
                Amendment::None | Amendment::Verify | Amendment::MarkUnverified => true,
            }
    }
}

impl Tally {
    /// Counts a record on which both sides agree.
    pub fn agree(&mut self, dimension: &str, units: Units) {
        self.line(dimension).add(units, units, 0);
    }

    /// Counts a discrepancy: its reason always, its units if its hour lies in the day.
    pub fn differ(&mut self, discrepancy: &Discrepancy, date: Date) {
        let count = self.discrepancies.entry(discrepancy.why.name().to_owned()).or_default();
        *count = count.saturating_add(1);
        if is_of(discrepancy.hour, date) {
            let (logged, received, corrected) = discrepancy.line();
            self.line(&discrepancy.dimension).add(logged, received, corrected);
        }
    }

    fn line(&mut self, dimension: &str) -> &mut Line {
        self.dimensions.entry(dimension.to_owned()).or_default()
    }
}

/// Whether an hour lies in a day, UTC.
pub fn is_of(hour: Hour, date: Date) -> bool {
    hour.start().to_zoned(jiff::tz::TimeZone::UTC).date() == date
}

/// What a finished reconciliation came to. `unchecked` are the reasons why something could not be checked.
pub fn conclude(unchecked: &[String], tally: &Tally, listed: &[Discrepancy]) -> Status {
    let open = |discrepancy: &Discrepancy| discrepancy.is_open();
    let unknown = |discrepancy: &Discrepancy| discrepancy.why.is_unchecked();
    match () {
        () if !unchecked.is_empty() && tally.events == 0 => Status::NotChecked,
        () if !unchecked.is_empty() || listed.iter().any(unknown) => Status::PartlyChecked,
        () if listed.iter().any(open) || tally.unlisted > 0 => Status::Differs,
        () if !listed.is_empty() => Status::Corrected,
        () => Status::Matches,
    }
}

/// The report for people, as plain text.
pub fn text(reconciliation: &Reconciliation, listed: &[Shown]) -> String {
    let mut page = String::new();
    // Writing to a text cannot fail.
    let _ = write(&mut page, reconciliation, listed);
    page
}

fn write(page: &mut String, report: &Reconciliation, listed: &[Shown]) -> std::fmt::Result {
    writeln!(page, "Reconciliation of {} with CloudTrail", report.date)?;
    writeln!(page)?;
    writeln!(
        page,
        "  Status         {}: {}",
        report.status.name(),
        report.status.in_words()
    )?;
    writeln!(page, "  Configuration  {}", report.configuration)?;
    let by = match report.scope {
        Scope::Day => report.asked_by.as_deref().unwrap_or("the schedule"),
        Scope::Window => "the hourly look at what AWS still takes",
        Scope::Restore => "the hourly look, because the table is a restored copy",
    };
    writeln!(page, "  Asked for by   {by}")?;
    writeln!(page, "  Began          {}", report.created)?;
    if let Some(completed) = report.completed {
        writeln!(page, "  Completed      {completed}")?;
    }
    writeln!(page, "  Report         {}", report.id)?;
    if !report.unchecked.is_empty() {
        writeln!(page, "\nWhat could not be checked, and why\n")?;
        for reason in &report.unchecked {
            writeln!(page, "  - {reason}")?;
        }
    }
    writeln!(
        page,
        "\nUnits by product and dimension, for the hours of {}\n",
        report.date
    )?;
    lines(page, &report.tally)?;
    writeln!(page, "\nDiscrepancies\n")?;
    if listed.is_empty() {
        let none = match report.status {
            Status::Matches => "  None.",
            Status::Waiting
            | Status::Running
            | Status::Corrected
            | Status::Differs
            | Status::PartlyChecked
            | Status::NotChecked => "  None were found in what was checked.",
        };
        writeln!(page, "{none}")?;
    }
    for shown in listed {
        told(page, &shown.found, shown.corrective)?;
    }
    if report.tally.unlisted > 0 {
        writeln!(
            page,
            "  … and {} more, which were handled the same way",
            report.tally.unlisted
        )?;
    }
    counts(page, &report.tally)
}

fn lines(page: &mut String, tally: &Tally) -> std::fmt::Result {
    if tally.dimensions.is_empty() {
        return writeln!(page, "  Nothing was logged, and nothing was received.");
    }
    let width = tally
        .dimensions
        .keys()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(9);
    writeln!(
        page,
        "  {:width$}  {:>14}  {:>14}  {:>14}  {:>14}",
        "dimension", "logged", "received", "difference", "corrected"
    )?;
    for (name, line) in &tally.dimensions {
        writeln!(
            page,
            "  {name:width$}  {:>14}  {:>14}  {:>14}  {:>14}",
            line.logged,
            line.received,
            line.difference(),
            line.corrected
        )?;
    }
    Ok(())
}

fn told(page: &mut String, discrepancy: &Discrepancy, corrective: Option<Corrective>) -> std::fmt::Result {
    let Discrepancy {
        dimension,
        customer,
        hour,
        ..
    } = discrepancy;
    writeln!(page, "  {dimension} of buyer {customer}, hour {hour}:00Z")?;
    match &discrepancy.logged {
        Some(logged) => {
            write!(page, "    ledger      {} units, {}", logged.quantity, logged.state)?;
            if let Some(observed) = logged.observed {
                write!(page, ", {observed} observed at AWS")?;
            }
            writeln!(page, ", last sent at {}", logged.last_attempt_at)?;
        }
        None => writeln!(page, "    ledger      no entry")?,
    }
    match &discrepancy.received {
        Some(received) => writeln!(
            page,
            "    CloudTrail  {} units, accepted at {} (event {})",
            received.quantity, received.at, received.event_id
        )?,
        None => writeln!(page, "    CloudTrail  nothing")?,
    }
    writeln!(page, "    {}", discrepancy.reason)?;
    if let Some(after) = discrepancy.key_after {
        let KeyAfter {
            total,
            committed,
            delta,
        } = after;
        let then = match delta {
            0 => "nothing more is to be sent".to_owned(),
            delta if delta > 0 => format!("{delta} units are sent with the next claim"),
            delta => format!("{} units are carried against later growth", delta.saturating_neg()),
        };
        writeln!(page, "    then        {total} owed, {committed} committed: {then}")?;
    }
    if let Some(Corrective { hour, quantity, state }) = corrective {
        writeln!(page, "    sent since  {quantity} units for hour {hour}:00Z: {state}")?;
    }
    writeln!(page)
}

fn counts(page: &mut String, tally: &Tally) -> std::fmt::Result {
    writeln!(page, "\nWhat was read\n")?;
    let counts = [
        ("events", tally.events),
        ("events that came more than once", tally.events_repeated),
        ("events that hide their records", tally.events_hidden),
        ("calls that AWS refused", tally.calls_refused),
        ("records that AWS accepted", tally.records),
        ("the same record again", tally.records_repeated),
        ("records that AWS did not accept", tally.records_not_accepted),
        ("records that are not this configuration's", tally.records_not_ours),
        (
            "records of another organization's entries",
            tally.records_of_other_organizations,
        ),
        ("requests to CloudTrail", tally.requests),
    ];
    for (name, count) in counts {
        writeln!(page, "  {name:42} {count:>9}")?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
