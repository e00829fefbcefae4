//! What AWS's answer makes of an entry.
//!
//! `Success` for the entry's quantity counts from every state, because AWS's receipt is the strongest evidence there is. Every other
//! transition starts at PENDING only, so all of them can be repeated and raced. An outcome is known (AWS answered) or unknown, and one is
//! never turned into the other: a refusal while an earlier attempt has no answer says nothing about that attempt.

use jiff::Timestamp;

use crate::values::entry::{Attempt, Entry, EntryState, Verdict};

/// AWS's answer for one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Accepted, or an identical repeat.
    Success { metering_record_id: String },
    /// The hour holds another quantity. Never benign.
    DuplicateRecord,
    /// Not honoured: no active agreement of this buyer.
    CustomerNotSubscribed,
    /// Unprocessed or throttled: AWS surely did not take it; the same record goes again.
    NotTaken { reason: String },
    /// 5xx, timeout, connection error: AWS may have taken it.
    Unknown { reason: String },
    /// The record itself is refused, isolated from its batch.
    BadRecord { kind: BadRecord, message: String },
    /// The whole connection is refused.
    ConnectionRefused { kind: ConnectionRefusal, message: String },
    /// The entry's hour lies ahead of AWS's clock; it waits.
    AheadOfAws,
}

/// What AWS finds wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRecord {
    Timestamp,
    Dimension,
    Customer,
    License,
    Tag,
}

/// Why AWS refuses a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// Access denied, expired or bad credentials, an API that is switched off.
    Access,
    /// The product code is not this seller's.
    Product,
    /// Any other refusal of the request as a whole.
    Request,
}

/// What follows for the usage key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyEffect {
    Nothing,
    /// Take the entry's quantity out of `committed`: AWS surely does not hold it.
    Release,
    /// Release; if AWS ever accepted this key, claim once in the latest free usable hour before the entry's, else block. The block of a key that
    /// AWS never refused before is lifted by the next hour's tick: a new buyer's agreement may have begun within the hour.
    ReleaseThenEarlierHour,
    /// Release, and claim nothing until the mapping changes or an operator unblocks the key.
    ReleaseAndBlock,
    /// One more entry in conflict.
    OpenConflict,
    /// One less.
    SettleConflict,
    /// One less, and AWS does not hold the entry's quantity.
    ReleaseConflict,
    /// AWS took what had been released: commit it again.
    Recommit,
}

/// A change of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub state: EntryState,
    /// Whether this answers the attempt.
    pub answered: bool,
    pub effect: KeyEffect,
    /// In words, for the entry and the run.
    pub reason: Option<String>,
}

/// Decides. `None`: the answer changes nothing (it is late, or it says nothing).
pub fn transition(entry: &Entry, answer: &Answer) -> Option<Transition> {
    if let Answer::Success { .. } = answer {
        let effect = match entry.state {
            EntryState::Pending | EntryState::Unknown => KeyEffect::Nothing,
            // What CloudTrail shows is AWS's first write; a receipt for another quantity adds nothing to it.
            EntryState::Accepted | EntryState::Adopted => return None,
            EntryState::Conflict => KeyEffect::SettleConflict,
            EntryState::Refused | EntryState::Released => KeyEffect::Recommit,
        };
        return Some(Transition {
            state: EntryState::Accepted,
            answered: true,
            effect,
            reason: None,
        });
    }
    if entry.state != EntryState::Pending {
        return None;
    }
    // The attempt that is being answered is itself among the unanswered; one more means that an earlier one was lost.
    let ambiguous = entry.attempts_unanswered() > 1;
    let refused = |effect: KeyEffect, reason: String| {
        if ambiguous {
            let reason = format!("{reason}; an earlier attempt had no answer and may have been accepted");
            Transition {
                state: EntryState::Unknown,
                answered: true,
                effect: KeyEffect::Nothing,
                reason: Some(reason),
            }
        } else {
            Transition {
                state: EntryState::Refused,
                answered: true,
                effect,
                reason: Some(reason),
            }
        }
    };
    let waits = |reason: String| Transition {
        state: EntryState::Pending,
        answered: true,
        effect: KeyEffect::Nothing,
        reason: Some(reason),
    };
    match answer {
        Answer::Success { .. } | Answer::Unknown { .. } => None,
        Answer::DuplicateRecord => Some(Transition {
            state: EntryState::Conflict,
            answered: true,
            effect: KeyEffect::OpenConflict,
            reason: Some("AWS says DuplicateRecord: it holds another quantity for this hour".to_owned()),
        }),
        Answer::CustomerNotSubscribed => Some(refused(
            outside_agreement(entry),
            "AWS says CustomerNotSubscribed: the buyer has no active agreement".to_owned(),
        )),
        Answer::BadRecord { kind, message } => {
            let effect = match kind {
                BadRecord::Timestamp => KeyEffect::Release,
                // AWS says the same of a licence that it does not know and of usage outside its activation period.
                BadRecord::License => outside_agreement(entry),
                BadRecord::Dimension | BadRecord::Customer | BadRecord::Tag => KeyEffect::ReleaseAndBlock,
            };
            Some(refused(effect, message.clone()))
        }
        Answer::NotTaken { reason } => Some(waits(reason.clone())),
        Answer::ConnectionRefused { message, .. } => Some(waits(message.clone())),
        Answer::AheadOfAws => Some(waits("the hour lies ahead of AWS's clock".to_owned())),
    }
}

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# InvalidLicenseException: the usage has to be within the license activation period
fn outside_agreement(entry: &Entry) -> KeyEffect {
    match entry.attempt {
        Attempt::Ordinary => KeyEffect::ReleaseThenEarlierHour,
        Attempt::EarlierHour => KeyEffect::ReleaseAndBlock,
    }
}

/// What becomes of an entry whose window has closed while it was PENDING; `None` while it is open.
pub fn closed(entry: &Entry, now: Timestamp) -> Option<Transition> {
    if entry.state != EntryState::Pending || now < entry.hour.closes_at() {
        return None;
    }
    Some(if entry.attempts_unanswered() > 0 {
        Transition {
            state: EntryState::Unknown,
            answered: false,
            effect: KeyEffect::Nothing,
            reason: Some("AWS's window closed while an attempt had no answer".to_owned()),
        }
    } else {
        Transition {
            state: EntryState::Released,
            answered: false,
            effect: KeyEffect::Release,
            reason: Some("AWS's window closed before any attempt was accepted".to_owned()),
        }
    })
}

/// What becomes of an entry that a restored copy of the table has PENDING: what AWS answered since nobody knows, and whether its units were
/// claimed in another hour neither, so it is not sent again. `None`: it is settled.
pub fn restored(entry: &Entry) -> Option<Transition> {
    (entry.state == EntryState::Pending).then(|| Transition {
        state: EntryState::Unknown,
        answered: false,
        effect: KeyEffect::Nothing,
        reason: Some("the table was restored from a copy that was made before AWS answered".to_owned()),
    })
}

/// Why an operator has nothing to decide about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Settled {
    #[error("the entry is still being sent, and AWS's answer decides it; wait until its window closes")]
    StillSent,
    #[error("the entry is {0} by AWS's own answer; only UNKNOWN and CONFLICT are left to decide")]
    ByAws(EntryState),
    #[error("an operator has already decided that the entry is {0}, and what followed from it cannot be taken back")]
    ByOperator(EntryState),
}

/// What an operator's decision makes of an entry; `None`: it is like that already.
pub fn resolved(entry: &Entry, verdict: Verdict) -> Result<Option<Transition>, Settled> {
    let (state, from_unknown, from_conflict) = match verdict {
        Verdict::Accepted => (EntryState::Accepted, KeyEffect::Nothing, KeyEffect::SettleConflict),
        Verdict::Released => (EntryState::Released, KeyEffect::Release, KeyEffect::ReleaseConflict),
    };
    let effect = match entry.state {
        EntryState::Unknown => from_unknown,
        EntryState::Conflict => from_conflict,
        EntryState::Pending => return Err(Settled::StillSent),
        EntryState::Accepted | EntryState::Adopted | EntryState::Refused | EntryState::Released
            if entry.state.is_committed() == state.is_committed() =>
        {
            return Ok(None);
        }
        settled @ (EntryState::Accepted | EntryState::Adopted | EntryState::Refused | EntryState::Released) => {
            return Err(match entry.resolution {
                Some(_) => Settled::ByOperator(settled),
                None => Settled::ByAws(settled),
            });
        }
    };
    Ok(Some(Transition {
        state,
        answered: false,
        effect,
        reason: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::bill::BillReference;
    use crate::values::entry::{ByHand, Connection, Origin, Part, Resolution};
    use crate::values::ids::{BillId, ConfigurationId, CredentialId, OrganizationId, RunId};
    use crate::values::usage_key::{Buyer, Customer, UsageKey};

    fn entry(state: EntryState, started: u32, answered: u32, attempt: Attempt) -> Entry {
        let organization = OrganizationId::new("o").unwrap();
        let connection = Connection {
            organization: organization.clone(),
            credential: CredentialId::new("k").unwrap(),
            region: "r".into(),
            product_code: "p".into(),
        };
        let bill = BillReference {
            organization,
            bill: BillId::new("b").unwrap(),
        };
        Entry {
            key: UsageKey {
                region: "r".into(),
                buyer: Buyer::Product {
                    product_code: "p".into(),
                    customer: Customer::AwsAccountId("111122223333".into()),
                },
                dimension: "d".into(),
            },
            hour: "2025-06-10T10".parse().unwrap(),
            quantity: 7,
            state,
            parts: std::collections::BTreeMap::from([(
                bill.clone(),
                Part {
                    units: 7,
                    ends_at: None,
                },
            )]),
            attempts_started: started,
            attempts_answered: answered,
            attempt,
            origin: Origin {
                configuration: ConfigurationId::new("c").unwrap(),
                run: RunId::new("x").unwrap(),
                bill,
                connection,
            },
            claimed_at: Timestamp::UNIX_EPOCH,
            metering_record_id: None,
            observed: None,
            reason: None,
            resolution: None,
            attempted_at: None,
            seen_event: None,
            unseen_since: None,
        }
    }

    #[test]
    fn every_row_of_the_verdict_table() {
        use EntryState::*;
        use KeyEffect::*;
        let check = |entry: Entry, answer: Answer, expect: Option<(EntryState, bool, KeyEffect)>| {
            let found = transition(&entry, &answer)
                .map(|transition| (transition.state, transition.answered, transition.effect));
            assert_eq!(
                found, expect,
                "{:?} {}/{} {answer:?}",
                entry.state, entry.attempts_started, entry.attempts_answered
            );
        };
        let sure = |state| entry(state, 1, 0, Attempt::Ordinary);
        let ambiguous = || entry(Pending, 2, 0, Attempt::Ordinary);
        let success = || Answer::Success {
            metering_record_id: "m".into(),
        };
        let bad = |kind| Answer::BadRecord {
            kind,
            message: "bad".into(),
        };
        check(sure(Pending), success(), Some((Accepted, true, Nothing)));
        check(ambiguous(), success(), Some((Accepted, true, Nothing)));
        check(sure(Unknown), success(), Some((Accepted, true, Nothing)));
        check(sure(Conflict), success(), Some((Accepted, true, SettleConflict)));
        check(sure(Refused), success(), Some((Accepted, true, Recommit)));
        check(sure(Released), success(), Some((Accepted, true, Recommit)));
        check(sure(Accepted), success(), None);
        check(sure(Adopted), success(), None);
        check(
            sure(Pending),
            Answer::DuplicateRecord,
            Some((Conflict, true, OpenConflict)),
        );
        check(
            ambiguous(),
            Answer::DuplicateRecord,
            Some((Conflict, true, OpenConflict)),
        );
        check(
            sure(Pending),
            Answer::CustomerNotSubscribed,
            Some((Refused, true, ReleaseThenEarlierHour)),
        );
        check(
            entry(Pending, 1, 0, Attempt::EarlierHour),
            Answer::CustomerNotSubscribed,
            Some((Refused, true, ReleaseAndBlock)),
        );
        check(
            ambiguous(),
            Answer::CustomerNotSubscribed,
            Some((Unknown, true, Nothing)),
        );
        check(
            entry(Pending, 2, 1, Attempt::Ordinary),
            Answer::CustomerNotSubscribed,
            Some((Refused, true, ReleaseThenEarlierHour)),
        );
        check(sure(Pending), bad(BadRecord::Timestamp), Some((Refused, true, Release)));
        for kind in [BadRecord::Dimension, BadRecord::Customer, BadRecord::Tag] {
            check(sure(Pending), bad(kind), Some((Refused, true, ReleaseAndBlock)));
            check(ambiguous(), bad(kind), Some((Unknown, true, Nothing)));
        }
        let license = || bad(BadRecord::License);
        check(sure(Pending), license(), Some((Refused, true, ReleaseThenEarlierHour)));
        let earlier = entry(Pending, 1, 0, Attempt::EarlierHour);
        check(earlier, license(), Some((Refused, true, ReleaseAndBlock)));
        check(ambiguous(), license(), Some((Unknown, true, Nothing)));
        check(
            sure(Pending),
            Answer::NotTaken {
                reason: "unprocessed".into(),
            },
            Some((Pending, true, Nothing)),
        );
        check(
            sure(Pending),
            Answer::Unknown {
                reason: "timeout".into(),
            },
            None,
        );
        check(sure(Pending), Answer::AheadOfAws, Some((Pending, true, Nothing)));
        let refused = Answer::ConnectionRefused {
            kind: ConnectionRefusal::Access,
            message: "denied".into(),
        };
        check(sure(Pending), refused.clone(), Some((Pending, true, Nothing)));
        for state in [Accepted, Unknown, Conflict, Refused, Released, Adopted] {
            check(sure(state), Answer::DuplicateRecord, None);
            check(sure(state), Answer::CustomerNotSubscribed, None);
            check(sure(state), bad(BadRecord::Dimension), None);
            check(sure(state), refused.clone(), None);
        }
    }

    #[test]
    fn a_window_that_closes_releases_only_what_was_answered() {
        let check = |entry: Entry, now: &str, expect: Option<(EntryState, KeyEffect)>| {
            let found = closed(&entry, now.parse().unwrap()).map(|transition| (transition.state, transition.effect));
            assert_eq!(found, expect, "{now}");
        };
        let pending = |started, answered| entry(EntryState::Pending, started, answered, Attempt::Ordinary);
        check(pending(1, 0), "2025-06-11T09:59:59Z", None);
        check(
            pending(1, 0),
            "2025-06-11T10:00:00Z",
            Some((EntryState::Unknown, KeyEffect::Nothing)),
        );
        check(
            pending(3, 3),
            "2025-06-11T10:00:00Z",
            Some((EntryState::Released, KeyEffect::Release)),
        );
        check(
            entry(EntryState::Accepted, 1, 1, Attempt::Ordinary),
            "2025-07-11T10:00:00Z",
            None,
        );
    }

    #[test]
    fn an_answer_says_what_happened_in_words() {
        let check = |started: u32, answer: Answer, expect: Option<&str>| {
            let reason = transition(&entry(EntryState::Pending, started, 0, Attempt::Ordinary), &answer)
                .and_then(|transition| transition.reason);
            assert_eq!(reason.as_deref(), expect, "{answer:?}");
        };
        let not_subscribed = "AWS says CustomerNotSubscribed: the buyer has no active agreement";
        let bad = || Answer::BadRecord {
            kind: BadRecord::Dimension,
            message: "InvalidUsageDimensionException".into(),
        };
        let success = Answer::Success {
            metering_record_id: "m".into(),
        };
        check(1, success, None);
        check(
            1,
            Answer::DuplicateRecord,
            Some("AWS says DuplicateRecord: it holds another quantity for this hour"),
        );
        check(1, Answer::CustomerNotSubscribed, Some(not_subscribed));
        check(
            2,
            Answer::CustomerNotSubscribed,
            Some(&format!(
                "{not_subscribed}; an earlier attempt had no answer and may have been accepted"
            )),
        );
        check(1, bad(), Some("InvalidUsageDimensionException"));
        check(
            3,
            bad(),
            Some("InvalidUsageDimensionException; an earlier attempt had no answer and may have been accepted"),
        );
        check(
            1,
            Answer::NotTaken {
                reason: "unprocessed".into(),
            },
            Some("unprocessed"),
        );
        check(
            2,
            Answer::ConnectionRefused {
                kind: ConnectionRefusal::Access,
                message: "denied".into(),
            },
            Some("denied"),
        );
        check(1, Answer::AheadOfAws, Some("the hour lies ahead of AWS's clock"));
    }

    #[test]
    fn a_closed_window_says_why_it_counts_or_does_not() {
        let check = |started: u32, answered: u32, part: &str| {
            let entry = entry(EntryState::Pending, started, answered, Attempt::Ordinary);
            let transition = closed(&entry, "2025-06-11T10:00:01Z".parse().unwrap()).unwrap();
            let reason = transition.reason.unwrap_or_default();
            assert!(reason.contains(part) && !transition.answered, "{reason}");
        };
        check(0, 0, "before any attempt was accepted");
        check(2, 2, "before any attempt was accepted");
        check(2, 1, "while an attempt had no answer");
    }

    #[test]
    fn an_operator_decides_only_what_aws_left_open() {
        use EntryState::*;
        use KeyEffect::*;
        let check = |state: EntryState, by_hand: bool, verdict: Verdict, expect: Result<Option<KeyEffect>, Settled>| {
            let mut entry = entry(state, 1, 1, Attempt::Ordinary);
            entry.resolution = by_hand.then(|| Resolution {
                verdict,
                decided: ByHand {
                    by: "key".into(),
                    at: Timestamp::UNIX_EPOCH,
                    reason: "AWS support says so".into(),
                },
            });
            let decided = match verdict {
                Verdict::Accepted => Accepted,
                Verdict::Released => Released,
            };
            let transition = |effect| Transition {
                state: decided,
                answered: false,
                effect,
                reason: None,
            };
            let expect = expect.map(|effect| effect.map(transition));
            assert_eq!(resolved(&entry, verdict), expect, "{state} {by_hand} {verdict:?}");
        };
        check(Unknown, false, Verdict::Accepted, Ok(Some(Nothing)));
        check(Unknown, false, Verdict::Released, Ok(Some(Release)));
        check(Conflict, false, Verdict::Accepted, Ok(Some(SettleConflict)));
        check(Conflict, false, Verdict::Released, Ok(Some(ReleaseConflict)));
        for verdict in [Verdict::Accepted, Verdict::Released] {
            check(Pending, false, verdict, Err(Settled::StillSent));
        }
        for by_hand in [false, true] {
            check(Accepted, by_hand, Verdict::Accepted, Ok(None));
            check(Refused, by_hand, Verdict::Released, Ok(None));
            check(Released, by_hand, Verdict::Released, Ok(None));
            let settled = |state| match by_hand {
                true => Err(Settled::ByOperator(state)),
                false => Err(Settled::ByAws(state)),
            };
            check(Accepted, by_hand, Verdict::Released, settled(Accepted));
            check(Refused, by_hand, Verdict::Accepted, settled(Refused));
            check(Released, by_hand, Verdict::Accepted, settled(Released));
        }
    }

    #[test]
    fn an_operator_is_told_why_there_is_nothing_to_decide() {
        let check = |settled: Settled, part: &str| {
            let text = settled.to_string();
            assert!(text.contains(part), "{text}");
        };
        check(Settled::StillSent, "still being sent");
        check(Settled::ByAws(EntryState::Accepted), "is ACCEPTED by AWS's own answer");
        check(
            Settled::ByOperator(EntryState::Released),
            "already decided that the entry is RELEASED",
        );
    }
}
