//! One ledger row beside what CloudTrail shows of it: what the ledger has to change, and why.
//!
//! Compared per usage key and hour, never by adding events up: an identical repeat is another event about the same record. Every decision is
//! made on the row as it is now, so it can be made again by a second run, a parallel one, or after a crash, and changes nothing then.
//!
//! # Invariants
//! - What CloudTrail shows counts from every state: it is what AWS holds.
//! - What it does not show counts only where it would have: after 72 hours, with records of ours that it does show before and after every
//!   attempt, and with every event of that time readable. It never takes a receipt back.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::values::amount::Units;
use crate::values::entry::{Entry, EntryState, KeyState};
use crate::values::hour::Hour;
use crate::values::ids::OrganizationId;
use crate::values::trail::{Observation, Stretch};

/// CloudTrail shows most events within a quarter of an hour; what is younger than this may still be under way.
const SETTLED_MINUTES: i64 = 30;
/// How long an unanswered attempt is waited for before its absence says anything.
const ABSENCE_HOURS: i64 = 72;
/// How near to an attempt another record of ours must be shown for its absence to say anything.
const CONTROL_MINUTES: i64 = 60;
/// How far apart two records of ours that are shown may lie for the time between them to count as watched: an outage of CloudTrail that begins
/// or ends between an attempt and its control would hide the one and show the other.
pub const CONTROLS_APART_MINUTES: i64 = 180;
//= https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html
//# The maximum value is 900 seconds (15 minutes)
/// An attempt that was started is sent while its worker lives.
const SENT_WITHIN_MINUTES: i64 = 15;
/// How long before its claim an entry's events are looked for: clocks differ.
const CLOCKS_DIFFER_MINUTES: i64 = 5;
/// From this age on an accepted entry that CloudTrail does not show is an alarm.
const UNSEEN_ALARM_HOURS: i64 = 24;

/// What a ledger row becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", tag = "kind", content = "units")]
pub enum Amendment {
    /// Nothing changes.
    None,
    /// CloudTrail shows what the ledger says: noted on the entry.
    Verify,
    /// AWS holds the entry: ACCEPTED.
    Accept,
    /// AWS holds another quantity for the entry's hour.
    Observe(Units),
    /// Another program reported in an hour that has no entry.
    Adopt(Units),
    /// The receipt is not seen: noted, and sent again while AWS takes it.
    MarkUnverified,
    /// AWS does not hold the entry: RELEASED.
    Release,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Why {
    /// Both sides say the same.
    Agreed,
    /// AWS took what nobody answered for.
    AnswerLost,
    /// AWS took what the ledger had counted as refused or released.
    TakenAfterAll,
    /// AWS called it a duplicate, and it was one of itself.
    DuplicateOfItself,
    /// The hour's first write was another quantity.
    OtherQuantity,
    /// CloudTrail shows two quantities for one hour.
    Contradiction,
    /// Another program reported.
    ForeignReporter,
    /// Another program reported, before the configuration adopts anything.
    BeforeAdoption,
    /// Another organization's entry explains it.
    OtherOrganization,
    /// Nothing of the configuration goes to this buyer or dimension.
    NotOurs,
    /// A receipt that CloudTrail does not show.
    ReceiptUnseen,
    /// The same, for a day: somebody should look.
    ReceiptUnseenLong,
    /// Not shown within 72 hours, where records before and after it are.
    NotAtAws,
    /// Not shown, and too soon to say.
    TooSoon,
    /// Not shown, and nothing close before or after it is shown either.
    NoControl,
    /// Not shown, and an event of that time cannot be read.
    Hidden,
    /// Its time was not read.
    NotRead,
    /// AWS said that another quantity holds the hour, and CloudTrail does not show it yet.
    ConflictOpen,
}

impl Why {
    /// As it is counted and shown.
    pub fn name(self) -> &'static str {
        match self {
            Why::Agreed => "AGREED",
            Why::AnswerLost => "ANSWER_LOST",
            Why::TakenAfterAll => "TAKEN_AFTER_ALL",
            Why::DuplicateOfItself => "DUPLICATE_OF_ITSELF",
            Why::OtherQuantity => "OTHER_QUANTITY",
            Why::Contradiction => "CONTRADICTION",
            Why::ForeignReporter => "FOREIGN_REPORTER",
            Why::BeforeAdoption => "BEFORE_ADOPTION",
            Why::OtherOrganization => "OTHER_ORGANIZATION",
            Why::NotOurs => "NOT_OURS",
            Why::ReceiptUnseen => "RECEIPT_UNSEEN",
            Why::ReceiptUnseenLong => "RECEIPT_UNSEEN_LONG",
            Why::NotAtAws => "NOT_AT_AWS",
            Why::TooSoon => "TOO_SOON",
            Why::NoControl => "NO_CONTROL",
            Why::Hidden => "HIDDEN",
            Why::NotRead => "NOT_READ",
            Why::ConflictOpen => "CONFLICT_OPEN",
        }
    }

    /// Whether the two sides say something different, or nobody knows.
    pub fn is_discrepancy(self) -> bool {
        match self {
            Why::Agreed | Why::NotOurs | Why::OtherOrganization => false,
            Why::AnswerLost
            | Why::TakenAfterAll
            | Why::DuplicateOfItself
            | Why::OtherQuantity
            | Why::Contradiction
            | Why::ForeignReporter
            | Why::BeforeAdoption
            | Why::ReceiptUnseen
            | Why::ReceiptUnseenLong
            | Why::NotAtAws
            | Why::TooSoon
            | Why::NoControl
            | Why::Hidden
            | Why::NotRead
            | Why::ConflictOpen => true,
        }
    }

    /// Whether CloudTrail could not say what AWS holds.
    pub fn is_unchecked(self) -> bool {
        match self {
            Why::TooSoon | Why::NoControl | Why::Hidden | Why::NotRead | Why::ConflictOpen => true,
            Why::Agreed
            | Why::AnswerLost
            | Why::TakenAfterAll
            | Why::DuplicateOfItself
            | Why::OtherQuantity
            | Why::Contradiction
            | Why::ForeignReporter
            | Why::BeforeAdoption
            | Why::OtherOrganization
            | Why::NotOurs
            | Why::ReceiptUnseen
            | Why::ReceiptUnseenLong
            | Why::NotAtAws => false,
        }
    }

    /// Whether somebody has to be told at once.
    pub fn is_alarm(self) -> bool {
        match self {
            Why::TakenAfterAll | Why::Contradiction | Why::ReceiptUnseenLong => true,
            Why::Agreed
            | Why::AnswerLost
            | Why::DuplicateOfItself
            | Why::OtherQuantity
            | Why::ForeignReporter
            | Why::BeforeAdoption
            | Why::OtherOrganization
            | Why::NotOurs
            | Why::ReceiptUnseen
            | Why::NotAtAws
            | Why::TooSoon
            | Why::NoControl
            | Why::Hidden
            | Why::NotRead
            | Why::ConflictOpen => false,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Agreed => "CloudTrail shows what the ledger says",
            Why::AnswerLost => "AWS accepted the record and its answer was lost; the entry is ACCEPTED now",
            Why::TakenAfterAll => {
                "AWS holds the record although it was counted as refused or released; it counts as sent again, and what was sent in its place is carried against later growth"
            }
            Why::DuplicateOfItself => "the record that AWS called a duplicate is its own; the entry is ACCEPTED now",
            Why::OtherQuantity => "AWS's first write for this hour is another quantity; it counts instead of what was sent",
            Why::Contradiction => {
                "CloudTrail shows two different quantities that AWS accepted for one hour; nothing was changed: ask AWS which one is billed"
            }
            Why::ForeignReporter => "another program reported this usage; it counts as sent, and later growth is reduced by it",
            Why::BeforeAdoption => {
                "another program reported this usage before the configuration adopts any (marketplaceAdoptFrom); nothing was changed"
            }
            Why::OtherOrganization => "an entry of another organization explains it; nothing was changed",
            Why::NotOurs => "the configuration sends nothing to this buyer and dimension; nothing was changed",
            Why::ReceiptUnseen => {
                "AWS gave a receipt, and CloudTrail does not show the record; it stays ACCEPTED and is sent again while AWS takes it"
            }
            Why::ReceiptUnseenLong => {
                "AWS gave a receipt more than a day ago, and CloudTrail still does not show the record; it stays ACCEPTED: ask AWS with the metering record id"
            }
            Why::NotAtAws => {
                "CloudTrail does not show the record 72 hours after its last attempt, and shows others before and after it; it is released, and its units are sent anew"
            }
            Why::TooSoon => "CloudTrail does not show the record, and it may come late; it is looked for again for 72 hours after its last attempt",
            Why::NoControl => {
                "CloudTrail does not show the record, but no accepted records close before and after it either, so its silence proves nothing; an operator can decide"
            }
            Why::Hidden => {
                "CloudTrail does not show the record, but it left out parts of an event of that time, or one cannot be read; an operator can decide"
            }
            Why::NotRead => "the time of this record was not read: CloudTrail keeps events for 90 days, and an event data store has none from before it was made; an operator can decide",
            Why::ConflictOpen => {
                "AWS says that this hour holds another quantity, and CloudTrail does not show which yet; the key claims nothing until it does, or an operator decides"
            }
        })
    }
}

/// What is decided on one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    pub amendment: Amendment,
    pub why: Why,
}

fn finding(amendment: Amendment, why: Why) -> Finding {
    Finding { amendment, why }
}

/// Whose reconciliation it is, and what it may adopt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stance {
    pub organization: OrganizationId,
    /// From here on usage that others reported counts as committed.
    pub adopt_from: Timestamp,
}

/// Who has the key of a record that has no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOwner {
    /// The organization counts bills on it, or its configuration sends to the dimension.
    Own,
    Other,
    Nobody,
}

/// The owner of a key with this state; without one, by whether the configuration sends to the dimension.
pub fn owner(stance: &Stance, state: Option<&KeyState>, sends_there: impl FnOnce() -> bool) -> KeyOwner {
    match state {
        Some(state) if state.owner == stance.organization => KeyOwner::Own,
        Some(_) => KeyOwner::Other,
        None if sends_there() => KeyOwner::Own,
        None => KeyOwner::Nobody,
    }
}

/// CloudTrail shows a record, and this is its entry.
pub fn shown(entry: &Entry, seen: &Observation, stance: &Stance) -> Finding {
    if entry.origin.connection.organization != stance.organization {
        return finding(Amendment::None, Why::OtherOrganization);
    }
    if let Some(observed) = entry.observed {
        return match observed == seen.quantity {
            true if entry.seen_event.is_some() => finding(Amendment::None, Why::Agreed),
            true => finding(Amendment::Verify, Why::Agreed),
            false => finding(Amendment::None, Why::Contradiction),
        };
    }
    if entry.quantity != seen.quantity {
        return match entry.seen_event {
            Some(_) => finding(Amendment::None, Why::Contradiction),
            None => finding(Amendment::Observe(seen.quantity), Why::OtherQuantity),
        };
    }
    match entry.state {
        EntryState::Accepted | EntryState::Adopted if entry.seen_event.is_some() => {
            finding(Amendment::None, Why::Agreed)
        }
        EntryState::Accepted | EntryState::Adopted => finding(Amendment::Verify, Why::Agreed),
        EntryState::Pending | EntryState::Unknown => finding(Amendment::Accept, Why::AnswerLost),
        EntryState::Conflict => finding(Amendment::Accept, Why::DuplicateOfItself),
        EntryState::Refused | EntryState::Released => finding(Amendment::Accept, Why::TakenAfterAll),
    }
}

/// CloudTrail shows a record that has no entry.
pub fn unexplained(seen: &Observation, owner: KeyOwner, stance: &Stance) -> Finding {
    match owner {
        KeyOwner::Other => finding(Amendment::None, Why::OtherOrganization),
        KeyOwner::Nobody => finding(Amendment::None, Why::NotOurs),
        KeyOwner::Own if seen.hour < Hour::containing(stance.adopt_from) => {
            finding(Amendment::None, Why::BeforeAdoption)
        }
        KeyOwner::Own => finding(Amendment::Adopt(seen.quantity), Why::ForeignReporter),
    }
}

/// What was read of CloudTrail, for judging what it does not show.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reading {
    /// The time that was read to its end.
    pub stretches: Vec<Stretch>,
    /// Minutes, counted from 1970, of events that show an accepted entry of ours.
    pub controls: BTreeSet<i64>,
    /// Minutes of events that hide what became of their records.
    pub hidden: BTreeSet<i64>,
}

/// The minute that holds an instant.
pub fn minute(instant: Timestamp) -> i64 {
    instant.as_second().div_euclid(60)
}

pub(super) fn minutes(instant: Timestamp, minutes: i64) -> Timestamp {
    let moved = instant.saturating_add(SignedDuration::from_mins(minutes));
    moved.unwrap_or(instant)
}

/// Where an entry's events have to be, if there are any.
pub fn stretch_of(entry: &Entry) -> Stretch {
    Stretch {
        from: minutes(entry.claimed_at, -CLOCKS_DIFFER_MINUTES),
        until: minutes(entry.last_attempt_at(), SENT_WITHIN_MINUTES + CLOCKS_DIFFER_MINUTES),
    }
}

/// What is read to say that an entry has no events: its own time, and enough around it to find records that are shown.
pub fn evidence_of(entry: &Entry) -> Stretch {
    let Stretch { from, until } = stretch_of(entry);
    Stretch {
        from: minutes(from, -CONTROLS_APART_MINUTES),
        until: minutes(until, CONTROLS_APART_MINUTES),
    }
}

/// Where the event of a receipt has to be.
fn receipt_stretch(entry: &Entry) -> Stretch {
    Stretch {
        until: minutes(entry.last_attempt_at(), CLOCKS_DIFFER_MINUTES),
        ..stretch_of(entry)
    }
}

impl Reading {
    fn has(set: &BTreeSet<i64>, from: Timestamp, until: Timestamp) -> bool {
        set.range(minute(from)..=minute(until)).next().is_some()
    }

    fn was_read(&self, stretch: &Stretch) -> bool {
        self.stretches.iter().any(|read| read.covers(stretch))
    }

    fn is_hidden(&self, stretch: &Stretch) -> bool {
        Reading::has(&self.hidden, stretch.from, stretch.until)
    }

    /// Whether an accepted entry of ours is shown within an hour of the last attempt, and others before, after and all along.
    fn has_controls(&self, entry: &Entry) -> bool {
        let last = entry.last_attempt_at();
        let is_near = Reading::has(
            &self.controls,
            minutes(last, -CONTROL_MINUTES),
            minutes(last, CONTROL_MINUTES),
        );
        is_near && self.is_watched(&stretch_of(entry))
    }

    fn is_watched(&self, stretch: &Stretch) -> bool {
        let (first, last) = (minute(stretch.from), minute(stretch.until));
        let Some(before) = self.controls.range(..first).next_back() else {
            return false;
        };
        let mut shown = *before;
        for control in self.controls.range(first..) {
            if control.saturating_sub(shown) > CONTROLS_APART_MINUTES {
                return false;
            }
            if *control > last {
                return true;
            }
            shown = *control;
        }
        false
    }
}

/// CloudTrail was read and does not show this entry.
pub fn absent(entry: &Entry, reading: &Reading, now: Timestamp) -> Finding {
    let stretch = stretch_of(entry);
    let age = now.duration_since(entry.last_attempt_at());
    match entry.state {
        EntryState::Accepted if entry.seen_event.is_some() => finding(Amendment::None, Why::Agreed),
        // An operator says that AWS has its units, in this record or another: it was never promised one to CloudTrail, and must not go again.
        EntryState::Accepted if entry.metering_record_id.is_none() => finding(Amendment::None, Why::Agreed),
        EntryState::Adopted | EntryState::Refused | EntryState::Released | EntryState::Pending => {
            finding(Amendment::None, Why::Agreed)
        }
        EntryState::Conflict => finding(Amendment::None, Why::ConflictOpen),
        EntryState::Accepted if age < SignedDuration::from_mins(SETTLED_MINUTES) => {
            finding(Amendment::None, Why::TooSoon)
        }
        EntryState::Accepted if !reading.was_read(&receipt_stretch(entry)) => finding(Amendment::None, Why::NotRead),
        EntryState::Accepted => {
            let why = match () {
                () if reading.is_hidden(&stretch) => Why::Hidden,
                // Since the claim: it may have been sent again a moment ago.
                () if now.duration_since(entry.claimed_at) >= SignedDuration::from_hours(UNSEEN_ALARM_HOURS) => {
                    Why::ReceiptUnseenLong
                }
                () => Why::ReceiptUnseen,
            };
            let amendment = match entry.unseen_since {
                Some(_) => Amendment::None,
                None => Amendment::MarkUnverified,
            };
            finding(amendment, why)
        }
        EntryState::Unknown => {
            let why = match () {
                () if age < SignedDuration::from_hours(ABSENCE_HOURS) => Why::TooSoon,
                () if !reading.was_read(&stretch) => Why::NotRead,
                () if reading.is_hidden(&stretch) => Why::Hidden,
                () if !reading.has_controls(entry) => Why::NoControl,
                () => return finding(Amendment::Release, Why::NotAtAws),
            };
            finding(Amendment::None, why)
        }
    }
}

#[cfg(test)]
#[path = "comparison_tests.rs"]
pub(super) mod tests;
