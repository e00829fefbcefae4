//! What AWS answered, written down; and a further attempt, started.

use jiff::Timestamp;

use super::{Claim, Ledger, LedgerError, TRANSACTION_ACTIONS_MAX, rows};
use crate::decisions::amendment;
use crate::decisions::claim::{self, ConnectionHealth, Hours};
use crate::decisions::verdict::{self, Answer, KeyEffect, Transition};
use crate::effects::row::text;
use crate::effects::store_error::unavailable;
use crate::effects::table::{StoreError, Transacted};
use crate::values::entry::{Attempt, Entry, EntryState, KeyState, Resolution};
use crate::values::hour::Hour;
use crate::values::usage_key::KeyHash;

/// Times an outcome is decided anew because its rows changed.
pub(super) const TRIES_MAX: usize = 20;

/// An entry after its answer was recorded.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub entry: Entry,
    /// The one claim in an earlier hour, to be submitted as well.
    pub follow_up: Option<Claim>,
    /// Why the key is blocked from now on.
    pub blocked: Option<String>,
    /// Whether the next hour's tick lifts that block.
    pub tried_again: bool,
}

impl Recorded {
    /// One from which nothing follows.
    pub fn plain(entry: Entry) -> Recorded {
        Recorded {
            entry,
            follow_up: None,
            blocked: None,
            tried_again: false,
        }
    }
}

/// Whether a buyer whom AWS refuses in an hour is tried in an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlierHour {
    Taken,
    /// Nothing new is claimed now: what was refused is owed again, and waits with the rest.
    Left,
}

/// What AWS answered on a key until now.
enum Past {
    /// It accepted something.
    Accepted,
    /// It refused something, and accepted nothing.
    Refused,
    New,
}

/// What a transition rests on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Evidence<'a> {
    /// AWS's answer, with its receipt where it gave one; or its window, which has closed.
    Answer(Option<&'a str>),
    /// An operator's decision.
    Operator(&'a Resolution),
}

/// A change of an entry with what it does to its key.
struct Change {
    state: Option<KeyState>,
    follow_up: Option<Entry>,
    blocked: Option<String>,
    tried_again: bool,
}

impl Ledger {
    /// Records receipts: together where all is as it was claimed, one by one where something raced. What could not be recorded keeps nothing else
    /// from it; the error is the first.
    pub async fn record_accepted(
        &self,
        accepted: Vec<(Claim, String)>,
        now: Timestamp,
    ) -> (Vec<Recorded>, Option<LedgerError>) {
        let (mut recorded, mut failed) = (Vec::new(), None);
        let mut waiting = accepted;
        while !waiting.is_empty() {
            let mut actions = 0_usize;
            // An accepted entry takes one action, and one for each bill that has a part of it.
            let fit = waiting.iter().take_while(|(claim, _)| {
                actions = actions.saturating_add(1).saturating_add(claim.entry().parts.len());
                actions <= TRANSACTION_ACTIONS_MAX
            });
            let rest = waiting.split_off(fit.count().max(1));
            match self.record_together(&waiting).await {
                Ok(true) => recorded.extend(
                    waiting
                        .into_iter()
                        .map(|(claim, id)| Recorded::plain(accepted_entry(claim.0, id))),
                ),
                Ok(false) => {
                    for (claim, metering_record_id) in waiting {
                        let answer = Answer::Success { metering_record_id };
                        match self.record(claim, answer, EarlierHour::Taken, now).await {
                            Ok(one) => recorded.push(one),
                            Err(error) => failed = failed.or(Some(error)),
                        }
                    }
                }
                Err(error) => failed = failed.or(Some(error.into())),
            }
            waiting = rest;
        }
        (recorded, failed)
    }

    async fn record_together(&self, accepted: &[(Claim, String)]) -> Result<bool, StoreError> {
        let mut actions = Vec::new();
        for (claim, id) in accepted {
            let entry = claim.entry();
            let update = rows::EntryUpdate {
                before: entry,
                state: EntryState::Accepted,
                started: entry.attempts_started,
                answered: entry.attempts_answered.saturating_add(1),
                metering_record_id: Some(id),
                reason: None,
                resolution: None,
                attempted_at: None,
            };
            actions.push(rows::update_entry(&update, self.table.name())?);
            for (bill, part) in &entry.parts {
                actions.push(rows::put_usage(entry, bill, part.units, self.table.name())?);
            }
        }
        Ok(matches!(self.transact(actions).await?, Transacted::Done))
    }

    /// Records one answer on the entry as it is now, whatever other workers recorded meanwhile.
    pub async fn record(
        &self,
        claim: Claim,
        answer: Answer,
        earlier_hour: EarlierHour,
        now: Timestamp,
    ) -> Result<Recorded, LedgerError> {
        let hash = claim.entry().key.hash();
        for _ in 0..TRIES_MAX {
            let Some(entry) = self.entry(&hash, claim.entry().hour).await? else {
                return Err(StoreError::corrupt(rows::key_partition(&hash), rows::hour_row(claim.entry().hour)).into());
            };
            let Some(mut transition) = verdict::transition(&entry, &answer) else {
                return Ok(Recorded::plain(entry));
            };
            if transition.effect == KeyEffect::ReleaseThenEarlierHour && earlier_hour == EarlierHour::Left {
                transition.effect = KeyEffect::Release;
            }
            let id = match &answer {
                Answer::Success { metering_record_id } => Some(metering_record_id.as_str()),
                _ => None,
            };
            if let Some(recorded) = self.settle(entry, &transition, Evidence::Answer(id), now).await? {
                return Ok(recorded);
            }
        }
        Err(LedgerError::Contended {
            key: hash,
            tries: TRIES_MAX,
        })
    }

    /// Starts another attempt on a pending entry, or on an accepted one that CloudTrail does not show; `None` if it is neither. A pending one is
    /// closed instead when AWS takes it no longer.
    pub async fn start_attempt(
        &self,
        key: &KeyHash,
        hour: Hour,
        now: Timestamp,
    ) -> Result<Option<Result<Claim, Recorded>>, LedgerError> {
        for _ in 0..TRIES_MAX {
            let Some(entry) = self.entry(key, hour).await? else {
                return Ok(None);
            };
            let goes_again = match entry.state {
                EntryState::Pending => true,
                EntryState::Accepted => entry.is_unverified() && now < entry.hour.closes_at(),
                EntryState::Unknown
                | EntryState::Conflict
                | EntryState::Adopted
                | EntryState::Refused
                | EntryState::Released => false,
            };
            if !goes_again || entry.observed.is_some() {
                return Ok(None);
            }
            if let Some(transition) = verdict::closed(&entry, now) {
                match self.settle(entry, &transition, Evidence::Answer(None), now).await? {
                    Some(recorded) => return Ok(Some(Err(recorded))),
                    None => continue,
                }
            }
            let started = Entry {
                attempts_started: entry.attempts_started.saturating_add(1),
                attempted_at: Some(now),
                ..entry.clone()
            };
            let update = rows::EntryUpdate {
                before: &entry,
                state: entry.state,
                started: started.attempts_started,
                answered: started.attempts_answered,
                metering_record_id: None,
                reason: None,
                resolution: None,
                attempted_at: Some(now),
            };
            if let Transacted::Done = self
                .transact(vec![rows::update_entry(&update, self.table.name())?])
                .await?
            {
                return Ok(Some(Ok(Claim(started))));
            }
        }
        Err(LedgerError::Contended {
            key: key.clone(),
            tries: TRIES_MAX,
        })
    }

    /// Lets an entry that a restored copy has pending wait for evidence, instead of sending it again. `None`: it is settled.
    pub async fn doubt(&self, key: &KeyHash, hour: Hour, now: Timestamp) -> Result<Option<Entry>, LedgerError> {
        for _ in 0..TRIES_MAX {
            let entry = self.entry(key, hour).await?;
            let Some((entry, transition)) = entry.and_then(|entry| Some((entry.clone(), verdict::restored(&entry)?)))
            else {
                return Ok(None);
            };
            if let Some(recorded) = self.settle(entry, &transition, Evidence::Answer(None), now).await? {
                return Ok(Some(recorded.entry));
            }
        }
        Err(LedgerError::Contended {
            key: key.clone(),
            tries: TRIES_MAX,
        })
    }

    /// One try at a transition: the entry, and its key's state where that changes, in one transaction. `None`: rows had changed.
    pub(super) async fn settle(
        &self,
        entry: Entry,
        transition: &Transition,
        evidence: Evidence<'_>,
        now: Timestamp,
    ) -> Result<Option<Recorded>, LedgerError> {
        let (id, resolution) = match evidence {
            Evidence::Answer(id) => (id, None),
            Evidence::Operator(resolution) => (None, Some(resolution)),
        };
        let change = self.change(&entry, transition, now).await?;
        let reason = change.blocked.clone().or_else(|| transition.reason.clone());
        let table = self.table.name();
        let after = Entry {
            state: transition.state,
            attempts_answered: entry.attempts_answered.saturating_add(u32::from(transition.answered)),
            metering_record_id: id.map(str::to_owned).or_else(|| entry.metering_record_id.clone()),
            reason: reason.clone().or_else(|| entry.reason.clone()),
            resolution: resolution.cloned().or_else(|| entry.resolution.clone()),
            ..entry.clone()
        };
        let update = rows::EntryUpdate {
            before: &entry,
            state: after.state,
            started: after.attempts_started,
            answered: after.attempts_answered,
            metering_record_id: id,
            reason: reason.as_deref(),
            resolution,
            attempted_at: None,
        };
        let mut actions = vec![rows::update_entry(&update, table)?];
        if let Some(state) = &change.state {
            actions.push(rows::put_state(state, state.version, &now.to_string(), table)?);
        }
        if let Some(follow_up) = &change.follow_up {
            actions.push(rows::put_entry(follow_up, table)?);
        }
        if after.state == EntryState::Accepted {
            for (bill, part) in &entry.parts {
                actions.push(rows::put_usage(&entry, bill, part.units, table)?);
            }
        }
        Ok(match self.transact(actions).await? {
            Transacted::Done => Some(Recorded {
                entry: after,
                follow_up: change.follow_up.map(Claim),
                blocked: change.blocked,
                tried_again: change.tried_again,
            }),
            Transacted::Refused(_) => None,
        })
    }

    async fn change(&self, entry: &Entry, transition: &Transition, now: Timestamp) -> Result<Change, LedgerError> {
        if transition.effect == KeyEffect::Nothing {
            return Ok(Change {
                state: None,
                follow_up: None,
                blocked: None,
                tried_again: false,
            });
        }
        let hash = entry.key.hash();
        let Some(mut state) = self.state(&hash).await? else {
            return Err(StoreError::corrupt(rows::key_partition(&hash), rows::STATE).into());
        };
        let mut follow_up = None;
        let mut blocked = None;
        let mut lifts_after = None;
        let reason = || transition.reason.clone().unwrap_or_else(|| "AWS refused it".to_owned());
        match transition.effect {
            KeyEffect::Nothing => {}
            KeyEffect::Release => amendment::move_parts(&mut state, entry, 1)?,
            KeyEffect::ReleaseAndBlock => {
                amendment::move_parts(&mut state, entry, 1)?;
                blocked = Some(reason());
            }
            KeyEffect::ReleaseThenEarlierHour => {
                amendment::move_parts(&mut state, entry, 1)?;
                match self.past(&hash, entry).await? {
                    Past::Accepted => {
                        let plan = claim::plan(&state, now, ConnectionHealth::Working, Hours::Before(entry.hour))?;
                        match plan.entries.into_iter().next() {
                            Some(new) => {
                                state = plan.state;
                                follow_up = Some(new_entry(&state, new, Attempt::EarlierHour, now));
                            }
                            None if plan.state.dirty => blocked = Some(reason()),
                            None => {}
                        }
                    }
                    Past::Refused => blocked = Some(reason()),
                    Past::New => {
                        blocked = Some(format!("{}; the next hour is tried once more", reason()));
                        lifts_after = Some(entry.hour);
                    }
                }
            }
            KeyEffect::OpenConflict => state.conflicts = state.conflicts.saturating_add(1),
            KeyEffect::SettleConflict => state.conflicts = state.conflicts.saturating_sub(1),
            KeyEffect::ReleaseConflict => {
                amendment::move_parts(&mut state, entry, 1)?;
                state.conflicts = state.conflicts.saturating_sub(1);
            }
            KeyEffect::Recommit => amendment::move_parts(&mut state, entry, -1)?,
        }
        if blocked.is_some() {
            state.blocked.clone_from(&blocked);
            state.lifts_after = lifts_after;
        }
        state.dirty = state.total > state.committed;
        Ok(Change {
            state: Some(state),
            follow_up,
            blocked,
            tried_again: lifts_after.is_some(),
        })
    }

    /// What AWS answered on the key until now. Read from the newest back, because nearly every entry is accepted.
    /// What was claimed together with this entry is answered together with it.
    async fn past(&self, key: &KeyHash, entry: &Entry) -> Result<Past, StoreError> {
        let mut past = Past::New;
        let mut start = None;
        loop {
            let request = self
                .table
                .client()
                .query()
                .table_name(self.table.name())
                .consistent_read(true)
                .scan_index_forward(false);
            let request = request
                .key_condition_expression("PK = :pk AND begins_with(SK, :prefix)")
                .filter_expression("#state IN (:accepted, :refused)")
                .expression_attribute_names("#state", "state")
                .expression_attribute_values(":pk", text(rows::key_partition(key)))
                .expression_attribute_values(":prefix", text(rows::HOUR_PREFIX))
                .expression_attribute_values(":accepted", text(EntryState::Accepted.as_str()))
                .expression_attribute_values(":refused", text(EntryState::Refused.as_str()))
                .set_exclusive_start_key(start);
            let answer = request.send().await.map_err(unavailable("DynamoDB Query"))?;
            start = answer.last_evaluated_key;
            for item in answer.items.unwrap_or_default() {
                let known = rows::read_entry(item)?;
                match known.state {
                    EntryState::Accepted => return Ok(Past::Accepted),
                    _ if known.claimed_at != entry.claimed_at => past = Past::Refused,
                    _ => {}
                }
            }
            if start.is_none() {
                return Ok(past);
            }
        }
    }
}

/// The row of a claim that was planned.
pub(crate) fn new_entry(state: &KeyState, new: claim::NewEntry, attempt: Attempt, now: Timestamp) -> Entry {
    Entry {
        key: state.key.clone(),
        hour: new.hour,
        quantity: new.quantity,
        state: EntryState::Pending,
        parts: new.parts,
        attempts_started: 1,
        attempts_answered: 0,
        attempt,
        origin: state.origin.clone(),
        claimed_at: now,
        metering_record_id: None,
        observed: None,
        reason: None,
        resolution: None,
        attempted_at: None,
        seen_event: None,
        unseen_since: None,
    }
}

fn accepted_entry(entry: Entry, id: String) -> Entry {
    Entry {
        state: EntryState::Accepted,
        attempts_answered: entry.attempts_answered.saturating_add(1),
        metering_record_id: Some(id),
        ..entry
    }
}
