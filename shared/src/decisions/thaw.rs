//! Whether a configuration of a restored table may claim again: CloudTrail was read for the time that the copy lacks, and nothing that it shows
//! there is left out of the ledger.

use std::fmt;

use jiff::Timestamp;

use super::comparison::{CONTROLS_APART_MINUTES, Reading, Why, minute, minutes};
use super::report::Tally;
use crate::values::trail::Stretch;

/// What a copy lacks may have been sent from `from` on: the instant until which it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub from: Timestamp,
    /// When the copy was first used: by then whoever sent from the table that it is a copy of was stopped.
    pub found: Timestamp,
}

impl Gap {
    /// What is read of CloudTrail: the gap, and enough before it to find records that the copy has receipts for.
    pub fn stretch(&self, now: Timestamp) -> Stretch {
        Stretch {
            from: minutes(self.from, -CONTROLS_APART_MINUTES),
            until: now,
        }
    }

    /// From when on a reading says enough: what was sent last would be shown by then.
    pub fn readable_from(&self) -> Timestamp {
        minutes(self.found, CONTROLS_APART_MINUTES)
    }
}

/// Why a configuration stays frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StillFrozen {
    /// Events may still be under way.
    TooSoon { until: Timestamp },
    /// The source could not be checked, or not be read to its end.
    Unchecked,
    /// No record that the copy has a receipt for is shown shortly before the gap, so what is not shown in it proves nothing.
    NoControl,
    /// Records were shown that belong to no key of the configuration, or to hours before it adopts anything.
    LeftOut { records: u64 },
}

impl fmt::Display for StillFrozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StillFrozen::TooSoon { until } => write!(
                f,
                "the table is a restored copy, and CloudTrail may not show yet what was sent last; it is read again after {until}"
            ),
            StillFrozen::Unchecked => f.write_str(
                "the table is a restored copy, and CloudTrail could not be read for the time that it lacks: mend what is said here; it is read again every hour",
            ),
            StillFrozen::NoControl => f.write_str(
                "the table is a restored copy, and no record that it has a receipt for is shown close before the time that it lacks, so CloudTrail's silence proves nothing: look at AWS's own usage report, then thaw the configuration by hand",
            ),
            StillFrozen::LeftOut { records } => write!(
                f,
                "the table is a restored copy, and CloudTrail shows {records} records that nothing of the configuration explains: make the mappings and settings again that were made since the copy, set marketplaceAdoptFrom to before them, or thaw the configuration by hand if they are another program's"
            ),
        }
    }
}

/// Why a configuration stays frozen after a reading; none: it may claim. `unchecked` are the reasons why something could not be checked.
pub fn still_frozen(gap: Gap, reading: &Reading, unchecked: &[String], tally: &Tally) -> Option<StillFrozen> {
    let is_read = |until: Timestamp| {
        let gap = Stretch { from: gap.from, until };
        reading.stretches.iter().any(|read| read.covers(&gap))
    };
    if !is_read(gap.found) || !unchecked.is_empty() || tally.events_hidden > 0 {
        return Some(StillFrozen::Unchecked);
    }
    let until = gap.readable_from();
    if !is_read(until) {
        return Some(StillFrozen::TooSoon { until });
    }
    let before = minute(gap.stretch(gap.found).from);
    if reading.controls.range(before..=minute(gap.found)).next().is_none() {
        return Some(StillFrozen::NoControl);
    }
    let before_adoption = tally.discrepancies.get(Why::BeforeAdoption.name()).copied();
    let records = tally
        .records_not_ours
        .saturating_add(before_adoption.unwrap_or_default());
    (records > 0).then_some(StillFrozen::LeftOut { records })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2025-06-10T{text}:00Z").parse().unwrap()
    }

    fn gap() -> Gap {
        Gap {
            from: at("08:00"),
            found: at("10:00"),
        }
    }

    fn read(from: &str, until: &str, controls: &[&str]) -> Reading {
        Reading {
            stretches: vec![Stretch {
                from: at(from),
                until: at(until),
            }],
            controls: controls.iter().map(|control| minute(at(control))).collect(),
            ..Reading::default()
        }
    }

    #[test]
    fn a_configuration_thaws_once_the_gap_is_read_by_a_source_that_shows_what_it_should() {
        let check = |reading: Reading, unchecked: &[&str], tally: &Tally, expect: Option<StillFrozen>| {
            let unchecked: Vec<String> = unchecked.iter().map(|one| (*one).to_owned()).collect();
            assert_eq!(
                still_frozen(gap(), &reading, &unchecked, tally),
                expect,
                "{reading:?} {unchecked:?}"
            );
        };
        let fine = Tally::default();
        let good = || read("05:00", "13:00", &["07:30"]);
        check(good(), &[], &fine, None);
        // The last worker's last record may not be shown yet.
        let until = at("13:00");
        check(
            read("05:00", "12:59", &["07:30"]),
            &[],
            &fine,
            Some(StillFrozen::TooSoon { until }),
        );
        // Not read to the end of the gap, not from its start, not at all, or by a source that fails its check.
        check(
            read("05:00", "09:59", &["07:30"]),
            &[],
            &fine,
            Some(StillFrozen::Unchecked),
        );
        check(
            read("08:01", "13:00", &["08:30"]),
            &[],
            &fine,
            Some(StillFrozen::Unchecked),
        );
        check(Reading::default(), &[], &fine, Some(StillFrozen::Unchecked));
        check(good(), &["the store is stopped"], &fine, Some(StillFrozen::Unchecked));
        let hidden = Tally {
            events_hidden: 1,
            ..Tally::default()
        };
        check(good(), &[], &hidden, Some(StillFrozen::Unchecked));
        // A record of ours has to be shown within three hours before the gap, or in it.
        check(read("04:00", "13:00", &[]), &[], &fine, Some(StillFrozen::NoControl));
        check(
            read("04:00", "13:00", &["04:59"]),
            &[],
            &fine,
            Some(StillFrozen::NoControl),
        );
        check(
            read("04:00", "13:00", &["10:01"]),
            &[],
            &fine,
            Some(StillFrozen::NoControl),
        );
        check(read("04:00", "13:00", &["05:00"]), &[], &fine, None);
        check(read("04:00", "13:00", &["09:30"]), &[], &fine, None);
        // What is shown has to be in the ledger.
        let foreign = Tally {
            records_not_ours: 2,
            ..Tally::default()
        };
        check(good(), &[], &foreign, Some(StillFrozen::LeftOut { records: 2 }));
        let early = Tally {
            discrepancies: [("BEFORE_ADOPTION".to_owned(), 1)].into(),
            ..Tally::default()
        };
        check(good(), &[], &early, Some(StillFrozen::LeftOut { records: 1 }));
        let adopted = Tally {
            discrepancies: [("FOREIGN_REPORTER".to_owned(), 5)].into(),
            ..Tally::default()
        };
        check(good(), &[], &adopted, None);
    }

    #[test]
    fn the_gap_is_read_with_three_hours_before_it() {
        let stretch = gap().stretch(at("14:00"));
        assert_eq!((stretch.from, stretch.until), (at("05:00"), at("14:00")));
    }

    #[test]
    fn why_it_stays_frozen_is_said_with_the_way_out() {
        let told = |why: StillFrozen, hint: &str| assert!(why.to_string().contains(hint), "{why}");
        told(
            StillFrozen::TooSoon { until: at("13:00") },
            "after 2025-06-10T13:00:00Z",
        );
        told(StillFrozen::Unchecked, "mend what is said here");
        told(StillFrozen::NoControl, "thaw the configuration by hand");
        told(StillFrozen::LeftOut { records: 3 }, "3 records");
    }
}
