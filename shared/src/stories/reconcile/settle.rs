//! One record or one absence that is not as the ledger says: decided on fresh rows, written into the report, then amended.
//!
//! The report comes first: an invocation that dies between the two leaves a discrepancy that the next one amends, never an amendment that
//! nobody can explain.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ReconcileError;
use super::day::Run;
use super::desk::Desk;
use super::read::tally;
use crate::Outbill;
use crate::decisions::amendment::{self, Amended};
use crate::decisions::comparison::{self, Amendment, Finding, Reading, Why, absent, shown};
use crate::decisions::conclusion::IntegrationEvent;
use crate::decisions::report::{Discrepancy, KeyAfter, Logged, Received};
use crate::effects::ledger::LedgerError;
use crate::effects::table::StoreError;
use crate::values::bill::BillReference;
use crate::values::entry::{Entry, KeyState, Origin};
use crate::values::hour::Hour;
use crate::values::ids::{BillId, ConfigurationId, OrganizationId, RunId};
use crate::values::trail::Observation;
use crate::values::usage_key::{KeyHash, UsageKey};

/// Times that something is decided anew because other workers changed its rows.
const TRIES_MAX: usize = 20;
/// Discrepancies that a report lists; the rest is handled the same way and counted.
const LISTED_MAX: usize = 1000;
/// The bill that adopted usage counts for until a bill is counted on its key.
const NO_BILL: &str = "adopted-usage";

/// Settles a record that CloudTrail shows; gives its entry as it is then.
pub(super) async fn shown_record(
    desk: &Desk<'_>,
    run: &mut Run,
    seen: &Observation,
) -> Result<Option<Entry>, ReconcileError> {
    let key = seen.key.hash();
    let ledger = &desk.outbill.ledger;
    for _ in 0..TRIES_MAX {
        let entry = ledger.entry(&key, seen.hour).await?;
        let state = ledger.state(&key).await?;
        let dimension = match state {
            Some(_) => None,
            None => desk.dimension_of(seen).await?,
        };
        let found = match &entry {
            Some(entry) => shown(entry, seen, &desk.stance),
            None => {
                let stance = desk.stance_on(state.as_ref());
                let owner = comparison::owner(&stance, state.as_ref(), || dimension.is_some());
                comparison::unexplained(seen, owner, &stance)
            }
        };
        if let Some(listed) = run.listed.get(&(seen.hour, key.clone())) {
            // Found before: by an invocation that died, or in an earlier call about the same record.
            let same = listed
                .received
                .as_ref()
                .is_some_and(|received| received.event_id == seen.event);
            let done = matches!(found.amendment, Amendment::None);
            if done && same {
                let listed = listed.clone();
                let reconciliation = &mut run.leased.reconciliation;
                reconciliation.tally.differ(&listed, reconciliation.date);
                return Ok(entry);
            }
            if done && found.why != Why::Contradiction {
                let repeated = &mut run.leased.reconciliation.tally.records_repeated;
                *repeated = repeated.saturating_add(1);
                return Ok(entry);
            }
        }
        match (found.why, &entry) {
            (Why::NotOurs, _) => {
                let not_ours = &mut run.leased.reconciliation.tally.records_not_ours;
                *not_ours = not_ours.saturating_add(1);
                return Ok(entry);
            }
            (Why::OtherOrganization, _) => {
                let others = &mut run.leased.reconciliation.tally.records_of_other_organizations;
                *others = others.saturating_add(1);
                return Ok(entry);
            }
            (Why::Agreed, Some(known)) if found.amendment == Amendment::None => {
                tally(run, known, seen);
                return Ok(entry);
            }
            _ => {}
        }
        let state = match (state, dimension) {
            (Some(state), _) => state,
            (None, Some(dimension)) => unmetered(desk, run, &seen.key, dimension.product_code())?,
            // A record with an entry has a key; one without is nobody's.
            (None, None) => return Err(StoreError::corrupt(format!("KEY#{key}"), "STATE").into()),
        };
        let amended = amended(entry.as_ref(), &state, found, Some(seen), desk.now)?;
        let told = discrepancy(entry.as_ref(), &state, &amended, found, Some(seen), desk.now);
        if found.why.is_discrepancy() {
            list(desk, run, &told).await?;
        }
        if found.amendment != Amendment::None && !ledger.amend(entry.as_ref(), &amended, desk.now).await? {
            continue;
        }
        if found.why.is_discrepancy() {
            settled(desk, run, &told, amended.state.as_ref()).await?;
        } else {
            tally(run, &amended.entry, seen);
        }
        return Ok(Some(amended.entry));
    }
    Err(contended(key))
}

/// Settles an entry that CloudTrail does not show.
pub(super) async fn absent_entry(
    desk: &Desk<'_>,
    run: &mut Run,
    (key, hour): (&KeyHash, Hour),
    reading: &Reading,
) -> Result<(), ReconcileError> {
    let ledger = &desk.outbill.ledger;
    for _ in 0..TRIES_MAX {
        let (Some(entry), Some(state)) = (ledger.entry(key, hour).await?, ledger.state(key).await?) else {
            return Ok(());
        };
        let found = absent(&entry, reading, desk.now);
        if !found.why.is_discrepancy() {
            // Amended by an invocation that died before it was counted.
            if let Some(listed) = run.listed.get(&(hour, key.clone())).cloned() {
                let reconciliation = &mut run.leased.reconciliation;
                reconciliation.tally.differ(&listed, reconciliation.date);
            }
            return Ok(());
        }
        let amended = amended(Some(&entry), &state, found, None, desk.now)?;
        let told = discrepancy(Some(&entry), &state, &amended, found, None, desk.now);
        list(desk, run, &told).await?;
        if found.amendment != Amendment::None && !ledger.amend(Some(&entry), &amended, desk.now).await? {
            continue;
        }
        if amended.entry.is_unverified() && desk.now < hour.closes_at() {
            run.again.insert((key.clone(), hour));
        }
        return settled(desk, run, &told, amended.state.as_ref()).await;
    }
    Err(contended(key.clone()))
}

fn contended(key: KeyHash) -> ReconcileError {
    LedgerError::Contended { key, tries: TRIES_MAX }.into()
}

fn amended(
    entry: Option<&Entry>,
    state: &KeyState,
    found: Finding,
    seen: Option<&Observation>,
    now: Timestamp,
) -> Result<Amended, LedgerError> {
    match (entry, seen, found.amendment) {
        (Some(entry), seen, amendment) => {
            let reason = found.why.to_string();
            Ok(amendment::amend(entry, state, amendment, seen, &reason, now)?)
        }
        (None, Some(seen), Amendment::Adopt(_)) => Ok(amendment::adopt(state, seen, now)?),
        (None, seen, _) => Ok(Amended {
            // Nothing is written of a record that is reported only; the entry says what it would be.
            entry: match seen {
                Some(seen) => amendment::adopted(state, seen, now),
                None => return Err(StoreError::corrupt(format!("KEY#{}", state.hash()), "HOUR").into()),
            },
            state: None,
        }),
    }
}

/// The state of a key that nothing was counted on yet, for usage that another program reported there.
fn unmetered(desk: &Desk<'_>, run: &Run, key: &UsageKey, product_code: &str) -> Result<KeyState, ReconcileError> {
    let id = &run.leased.reconciliation.id;
    let of_run = RunId::new(id).map_err(|error| StoreError::other("adopting usage", error))?;
    let bill = BillId::new(NO_BILL).map_err(|error| StoreError::other("adopting usage", error))?;
    let origin = Origin {
        configuration: desk.configuration.id.clone(),
        run: of_run,
        bill: BillReference {
            organization: desk.stance.organization.clone(),
            bill,
        },
        connection: desk.connection(product_code),
    };
    Ok(KeyState::new(key.clone(), origin))
}

fn discrepancy(
    entry: Option<&Entry>,
    state: &KeyState,
    amended: &Amended,
    found: Finding,
    seen: Option<&Observation>,
    now: Timestamp,
) -> Discrepancy {
    let after = amended.state.as_ref().unwrap_or(state);
    let product = &state.origin.connection.product_code;
    Discrepancy {
        dimension: format!("{product}-{}", state.key.dimension),
        customer: state.key.buyer.customer().to_owned(),
        key: state.hash(),
        hour: amended.entry.hour,
        logged: entry.map(|entry| Logged {
            state: entry.state,
            quantity: entry.quantity,
            observed: entry.observed,
            metering_record_id: entry.metering_record_id.clone(),
            last_attempt_at: entry.last_attempt_at(),
        }),
        received: seen.map(|seen| Received {
            quantity: seen.quantity,
            event_id: seen.event.clone(),
            at: seen.at,
            metering_record_id: seen.metering_record_id.clone(),
        }),
        amendment: found.amendment,
        why: found.why,
        reason: found.why.to_string(),
        at: now,
        key_after: Some(KeyAfter {
            total: after.total,
            committed: after.committed,
            delta: after.total.saturating_sub(after.committed),
        }),
    }
}

/// Puts a discrepancy into the report, if there is room.
async fn list(desk: &Desk<'_>, run: &mut Run, told: &Discrepancy) -> Result<(), ReconcileError> {
    let name = (told.hour, told.key.clone());
    if run.listed.len() < LISTED_MAX || run.listed.contains_key(&name) {
        desk.outbill
            .reconciliations
            .keep(&run.leased.reconciliation, told)
            .await?;
        run.listed.insert(name, told.clone());
    }
    Ok(())
}

/// Counts a discrepancy, tells somebody of it if it cannot wait, and remembers its key if it owes more now.
async fn settled(
    desk: &Desk<'_>,
    run: &mut Run,
    told: &Discrepancy,
    state: Option<&KeyState>,
) -> Result<(), ReconcileError> {
    let is_listed = run.listed.contains_key(&(told.hour, told.key.clone()));
    let reconciliation = &mut run.leased.reconciliation;
    reconciliation.tally.differ(told, reconciliation.date);
    if !is_listed {
        reconciliation.tally.unlisted = reconciliation.tally.unlisted.saturating_add(1);
    }
    if state.is_some_and(KeyState::is_claimable) {
        run.dirty.insert(told.key.clone());
    }
    if told.why.is_alarm() {
        alarm(desk, told.why.name(), told).await?;
    }
    Ok(())
}

async fn alarm(desk: &Desk<'_>, kind: &str, told: &Discrepancy) -> Result<(), StoreError> {
    let message = format!("{}, hour {}:00Z: {}", told.dimension, told.hour, told.reason);
    let about = json!({
        "dimension": told.dimension, "customer": told.customer, "hour": format!("{}:00:00Z", told.hour), "discrepancy": told,
    });
    let alarm = Alarm {
        organization: &desk.stance.organization,
        configuration: &desk.configuration.id,
        kind,
        name: format!("{kind}#{}#{}", told.key, told.hour),
        message,
        about,
    };
    alarm.raise(desk.outbill, desk.now).await
}

/// Something that somebody has to look at.
pub(super) struct Alarm<'a> {
    pub(super) organization: &'a OrganizationId,
    pub(super) configuration: &'a ConfigurationId,
    pub(super) kind: &'a str,
    /// Raised once under this name.
    pub(super) name: String,
    /// For logs too: it names no buyer, whom `about` does.
    pub(super) message: String,
    pub(super) about: Value,
}

impl Alarm<'_> {
    /// Raises m3ter's event of an integration that did not do what it should. A crash before it is noted raises it twice.
    pub(super) async fn raise(self, outbill: &Outbill, now: Timestamp) -> Result<(), StoreError> {
        let store = &outbill.reconciliations;
        if store.was_alarmed(self.organization, &self.name).await? {
            return Ok(());
        }
        let mut dto = json!({
            "id": self.configuration, "orgId": self.organization, "integrationConfigId": self.configuration, "kind": self.kind,
            "message": self.message, "error": self.message,
        });
        if let (Some(dto), Some(about)) = (dto.as_object_mut(), self.about.as_object()) {
            dto.extend(about.clone());
        }
        let event = json!({ "eventData": { "newDto": dto } });
        let name = IntegrationEvent::Perform.name();
        outbill.events.raise(self.organization, now, name, event).await?;
        tracing::error!(alarm.kind = self.kind, alarm.name = self.name, "{}", self.message);
        store.alarmed(self.organization, &self.name, now).await
    }
}
