//! What is counted for CloudWatch, by name, and what one invocation measured.

use std::collections::BTreeMap;

use super::amount::Units;

/// In what a metric is measured, by CloudWatch's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    Seconds,
}

impl Unit {
    /// CloudWatch's name.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Count => "Count",
            Unit::Seconds => "Seconds",
        }
    }
}

/// One metric of the namespace `Outbill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    BillsReceived,
    BillsSkipped,
    RunsFailed,
    UnitsClaimed,
    UnitsReported,
    UnitsUnknown,
    UnitsRefused,
    UnitsInConflict,
    RecordsNotTaken,
    RecordsUnanswered,
    TimeToReported,
    MessagesDeadLettered,
    ConfigurationsDisabled,
    ConfigurationsFrozen,
    OldestPendingAge,
    UnitsAtRisk,
    UnitsClosingSoon,
    UnitsUndecided,
    UnitsBlocked,
    UnitsCarried,
    ReconciliationsFinished,
    ReconciliationsUnchecked,
    ReconciliationsOverdue,
    Discrepancies,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 24] = [
        Metric::BillsReceived,
        Metric::BillsSkipped,
        Metric::RunsFailed,
        Metric::UnitsClaimed,
        Metric::UnitsReported,
        Metric::UnitsUnknown,
        Metric::UnitsRefused,
        Metric::UnitsInConflict,
        Metric::RecordsNotTaken,
        Metric::RecordsUnanswered,
        Metric::TimeToReported,
        Metric::MessagesDeadLettered,
        Metric::ConfigurationsDisabled,
        Metric::ConfigurationsFrozen,
        Metric::OldestPendingAge,
        Metric::UnitsAtRisk,
        Metric::UnitsClosingSoon,
        Metric::UnitsUndecided,
        Metric::UnitsBlocked,
        Metric::UnitsCarried,
        Metric::ReconciliationsFinished,
        Metric::ReconciliationsUnchecked,
        Metric::ReconciliationsOverdue,
        Metric::Discrepancies,
    ];

    /// Its name at CloudWatch.
    pub fn name(self) -> &'static str {
        match self {
            Metric::BillsReceived => "BillsReceived",
            Metric::BillsSkipped => "BillsSkipped",
            Metric::RunsFailed => "RunsFailed",
            Metric::UnitsClaimed => "UnitsClaimed",
            Metric::UnitsReported => "UnitsReported",
            Metric::UnitsUnknown => "UnitsUnknown",
            Metric::UnitsRefused => "UnitsRefused",
            Metric::UnitsInConflict => "UnitsInConflict",
            Metric::RecordsNotTaken => "RecordsNotTaken",
            Metric::RecordsUnanswered => "RecordsUnanswered",
            Metric::TimeToReported => "TimeToReported",
            Metric::MessagesDeadLettered => "MessagesDeadLettered",
            Metric::ConfigurationsDisabled => "ConfigurationsDisabled",
            Metric::ConfigurationsFrozen => "ConfigurationsFrozen",
            Metric::OldestPendingAge => "OldestPendingAge",
            Metric::UnitsAtRisk => "UnitsAtRisk",
            Metric::UnitsClosingSoon => "UnitsClosingSoon",
            Metric::UnitsUndecided => "UnitsUndecided",
            Metric::UnitsBlocked => "UnitsBlocked",
            Metric::UnitsCarried => "UnitsCarried",
            Metric::ReconciliationsFinished => "ReconciliationsFinished",
            Metric::ReconciliationsUnchecked => "ReconciliationsUnchecked",
            Metric::ReconciliationsOverdue => "ReconciliationsOverdue",
            Metric::Discrepancies => "Discrepancies",
        }
    }

    /// In what it is measured.
    pub fn unit(self) -> Unit {
        match self {
            Metric::TimeToReported | Metric::OldestPendingAge => Unit::Seconds,
            Metric::BillsReceived
            | Metric::BillsSkipped
            | Metric::RunsFailed
            | Metric::UnitsClaimed
            | Metric::UnitsReported
            | Metric::UnitsUnknown
            | Metric::UnitsRefused
            | Metric::UnitsInConflict
            | Metric::RecordsNotTaken
            | Metric::RecordsUnanswered
            | Metric::MessagesDeadLettered
            | Metric::ConfigurationsDisabled
            | Metric::ConfigurationsFrozen
            | Metric::UnitsAtRisk
            | Metric::UnitsClosingSoon
            | Metric::UnitsUndecided
            | Metric::UnitsBlocked
            | Metric::UnitsCarried
            | Metric::ReconciliationsFinished
            | Metric::ReconciliationsUnchecked
            | Metric::ReconciliationsOverdue
            | Metric::Discrepancies => Unit::Count,
        }
    }
}

/// What one invocation measured: by reason, where a metric has reasons.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Measured(BTreeMap<Option<String>, BTreeMap<Metric, Vec<i64>>>);

impl Measured {
    /// Adds to a metric's sum. A metric to which 0 was added is sent as 0; one that nothing was added to is not sent.
    pub fn add(&mut self, metric: Metric, value: Units) {
        self.sum(None, metric, value);
    }

    /// The same, for one reason.
    pub fn add_for(&mut self, metric: Metric, reason: &str, value: Units) {
        self.sum(Some(reason.to_owned()), metric, value);
    }

    /// One more value of a metric whose spread matters.
    pub fn sample(&mut self, metric: Metric, value: i64) {
        self.values(None, metric).push(value);
    }

    /// By reason; none: metrics without reasons.
    pub fn by_reason(&self) -> impl Iterator<Item = (Option<&str>, &BTreeMap<Metric, Vec<i64>>)> {
        self.0.iter().map(|(reason, metrics)| (reason.as_deref(), metrics))
    }

    fn values(&mut self, reason: Option<String>, metric: Metric) -> &mut Vec<i64> {
        self.0.entry(reason).or_default().entry(metric).or_default()
    }

    fn sum(&mut self, reason: Option<String>, metric: Metric, value: Units) {
        let values = self.values(reason, metric);
        let known = values.pop().unwrap_or_default();
        values.push(known.saturating_add(value));
    }
}
