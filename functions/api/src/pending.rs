//! `integrationdestinations/marketplace/pending`: what AWS has not accepted, and what an operator decides about it.
//!
//! An entry's id is `<usage key>-<hour>`, a key's is the usage key alone. What is decided here only opens the way: units are claimed and sent by
//! the bill queue, as all others are.

use std::collections::BTreeSet;

use axum::{Json, extract::Path};
use jiff::Timestamp;
use outbill::{
    decisions::claim::{self, ConnectionHealth, Reason},
    effects::{
        access::Permission,
        connections::Failing,
        freeze::{Look, Standing},
        ledger::{LedgerError, Open, Resolved, Unblocked},
    },
    values::{
        amount::Units,
        bill::BillReference,
        configuration::IntegrationConfiguration,
        entry::{ByHand, Entry, EntryState, KeyState, Origin, Part, Resolution, Verdict},
        hour::Hour,
        ids::ConfigurationId,
        message,
        usage_key::{Buyer, KeyHash, UsageKey},
    },
};
use serde_json::{Map, Value, json};

use crate::{
    body::{Body, Fields},
    call::Call,
    error::ApiError,
    object::Object,
    page::{self, PAGE_MAX},
    query::Query,
};

/// The way out where the table is a restored copy.
const THAW: &str = "nothing is to be done where the configuration checks CloudTrail: it is read every hour, and reconciliations says how far it is; else look at AWS what was sent since the copy, and thaw the configuration (POST integrationconfigs/{id}/thaw)";

/// A reason is read in a list; a longer story belongs elsewhere.
const REASON_CHARACTERS_MAX: usize = 1_000;

/// Everything that AWS has not accepted: first what waits for a decision, then what is sent by itself.
pub(crate) async fn list(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageRetrieve)?;
    let request = page::request(&query, PAGE_MAX)?;
    let found = call.outbill.ledger.open(&call.organization, &request).await?;
    let hindrances = Hindrances::of(&call).await?;
    Ok(Json(page::response(&query, found, |open| match open {
        Open::Entry(open) => show_entry(open, hindrances.is_frozen(&open.origin)),
        Open::Key(state) => show_key(state, &hindrances, call.now),
    })))
}

/// What keeps an organization's keys from claiming, beside themselves.
struct Hindrances {
    standing: Standing,
    failing: Failing,
    disabled: BTreeSet<ConfigurationId>,
    in_shadow: BTreeSet<ConfigurationId>,
    left_in_shadow: BTreeSet<ConfigurationId>,
}

impl Hindrances {
    async fn of(call: &Call) -> Result<Hindrances, ApiError> {
        let standing = call.outbill.freeze.standing(Look::Only, call.now).await?;
        let failing = call.outbill.connections.failing(&call.organization).await?;
        let configurations = call.outbill.configurations.of_organization(&call.organization).await?;
        let mut left_in_shadow = call.outbill.configurations.left_in_shadow(&call.organization).await?;
        left_in_shadow.retain(|left| configurations.iter().all(|known| known.id != *left));
        let named = |which: fn(&IntegrationConfiguration) -> bool| {
            let those = configurations.iter().filter(|configuration| which(configuration));
            those.map(|configuration| configuration.id.clone()).collect()
        };
        Ok(Hindrances {
            standing,
            failing,
            disabled: named(|configuration| !configuration.enabled),
            in_shadow: named(IntegrationConfiguration::is_in_shadow),
            left_in_shadow,
        })
    }

    fn is_frozen(&self, origin: &Origin) -> bool {
        self.standing
            .is_frozen(&origin.connection.organization, &origin.configuration)
    }

    fn health(&self, origin: &Origin, now: Timestamp) -> ConnectionHealth {
        ConnectionHealth::of(
            self.is_frozen(origin),
            self.in_shadow.contains(&origin.configuration) || self.left_in_shadow.contains(&origin.configuration),
            self.failing.is_failing(&origin.connection, now),
        )
    }
}

/// `{"as": "ACCEPTED"|"RELEASED", "reason"}`: an operator says what AWS holds of an entry whose outcome is not known.
pub(crate) async fn resolve(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageCreate)?;
    let mut fields = Fields::of_call(&call, body, &["as", "reason"])?;
    let verdict = fields.required("as");
    let verdict = match verdict.as_str() {
        "ACCEPTED" => Some(Verdict::Accepted),
        "RELEASED" => Some(Verdict::Released),
        "" => None,
        _ => {
            fields.refuse(
                "as",
                "choose ACCEPTED (AWS has the units, nothing more is sent) or RELEASED (AWS does not have them, they are sent again)",
            );
            None
        }
    };
    let reason = reason(&mut fields);
    fields.done()?;
    let missing = || {
        ApiError::not_found(format!(
            "there is no entry {id}; integrationdestinations/marketplace/pending lists them"
        ))
    };
    let (name, verdict) = entry_name(&id).zip(verdict).ok_or_else(missing)?;
    let resolution = Resolution {
        verdict,
        decided: by_hand(&call, reason),
    };
    let (key, hour) = (&name.0, name.1);
    let resolved = call
        .outbill
        .ledger
        .resolve(&call.organization, (key, hour), &resolution, call.now)
        .await?;
    let entry = match resolved {
        Resolved::Done(entry) => {
            tracing::info!(
                access_key.id = call.by,
                entry.id = id,
                verdict = verdict.as_str(),
                "An operator decided an entry."
            );
            let record = json!({"at": call.now, "resolved": {"entryId": id, "as": verdict.as_str(), "by": call.by, "reason": resolution.decided.reason}});
            let runs = &call.outbill.runs;
            runs.append_log(&call.organization, &entry.origin.run, call.now, &record)
                .await?;
            entry
        }
        Resolved::Already(entry) => entry,
        Resolved::Settled(settled) => return Err(ApiError::bad_request(format!("entry {id}: {settled}"))),
        Resolved::Missing => return Err(missing()),
    };
    // Also after a repeat: the first call may have ended before it had asked for the claim.
    claim_again(&call, key).await?;
    Ok(Json(show_entry(&entry, false)))
}

/// `{"reason"}`: an operator lets a blocked key claim again. Whoever refused it may refuse it once more, and it is blocked again.
pub(crate) async fn unblock(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let by_hand = decided(&call, body)?;
    let missing = || {
        ApiError::not_found(format!(
            "there is no usage key {id}; integrationdestinations/marketplace/pending lists what is blocked"
        ))
    };
    let key = KeyHash::try_from(id.clone()).map_err(|_| missing())?;
    let unblocked = call.outbill.ledger.unblock(&call.organization, &key, &by_hand).await?;
    let state = match unblocked {
        Unblocked::Done(state) => {
            tracing::info!(access_key.id = call.by, key.id = id, "An operator lifted a block.");
            state
        }
        // The same call again, after an answer that was lost.
        Unblocked::NotBlocked(state)
            if state
                .unblocked
                .as_ref()
                .is_some_and(|known| known.by == by_hand.by && known.reason == by_hand.reason) =>
        {
            state
        }
        Unblocked::NotBlocked(_) => {
            return Err(ApiError::bad_request(format!(
                "usage key {id} is not blocked; integrationdestinations/marketplace/pending says what it waits for"
            )));
        }
        Unblocked::Missing => return Err(missing()),
    };
    claim_again(&call, &key).await?;
    let hindrances = Hindrances::of(&call).await?;
    Ok(Json(show_key(&state, &hindrances, call.now)))
}

/// Asks the queue to claim what the key owes now, in the ordinary way. Should this be lost, the next tick does the same.
async fn claim_again(call: &Call, key: &KeyHash) -> Result<(), ApiError> {
    let page = message::flush_page(std::slice::from_ref(key), &[]);
    call.outbill.queue.send(&page).await?;
    Ok(())
}

/// `{"reason"}`: what an operator says in a call that decides something by hand.
pub(crate) fn decided(call: &Call, body: Value) -> Result<ByHand, ApiError> {
    call.needs(Permission::MarketplaceUsageCreate)?;
    let mut fields = Fields::of_call(call, body, &["reason"])?;
    let reason = reason(&mut fields);
    fields.done()?;
    Ok(by_hand(call, reason))
}

fn reason(fields: &mut Fields) -> String {
    let reason = fields.required("reason");
    if reason.chars().count() > REASON_CHARACTERS_MAX {
        fields.refuse("reason", &format!("give at most {REASON_CHARACTERS_MAX} characters"));
    }
    reason
}

fn by_hand(call: &Call, reason: String) -> ByHand {
    ByHand {
        by: call.by.clone(),
        at: call.now,
        reason,
    }
}

/// `<usage key>-<yyyy-mm-ddThh>`.
fn entry_name(id: &str) -> Option<(KeyHash, Hour)> {
    let (key, hour) = id.split_once('-')?;
    Some((KeyHash::try_from(key.to_owned()).ok()?, hour.parse().ok()?))
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> ApiError {
        match error {
            LedgerError::Store(error) => ApiError::from(error),
            LedgerError::Amount(_) | LedgerError::Contended { .. } => ApiError::not_answered(&error),
        }
    }
}

/// A usage key as people know it.
pub(crate) fn usage_key(key: &UsageKey, dimension: String) -> Object {
    let license = match &key.buyer {
        Buyer::License { license_arn, .. } => Some(license_arn.as_str()),
        Buyer::Product { .. } => None,
    };
    Object::default()
        .with("dimension", dimension)
        .with("customer", key.buyer.customer())
        .maybe("licenseArn", license)
        .with("region", key.region.as_str())
}

/// Units by bill.
pub(crate) fn by_bill<'a>(bills: impl Iterator<Item = (&'a BillReference, Units)>) -> Value {
    let units = bills.map(|(bill, units)| (bill.bill.as_str().to_owned(), Value::from(units)));
    Value::Object(units.collect::<Map<String, Value>>())
}

fn parts<'a>(parts: impl IntoIterator<Item = (&'a BillReference, &'a Part)>) -> Value {
    by_bill(parts.into_iter().map(|(bill, part)| (bill, part.units)))
}

/// `<usage key>-<hour>`.
pub(crate) fn entry_id(entry: &Entry) -> String {
    format!("{}-{}", entry.key.hash(), entry.hour)
}

/// An entry with what is known of it.
pub(crate) fn entry(entry: &Entry) -> Object {
    let resolution = entry.resolution.as_ref().map(|resolution| {
        json!({
            "as": resolution.verdict.as_str(),
            "by": resolution.decided.by,
            "at": resolution.decided.at,
            "reason": resolution.decided.reason,
        })
    });
    Object::default()
        .with("id", entry_id(entry))
        .with("state", entry.state.as_str())
        .with("hour", entry.hour.start().to_string())
        .with("quantity", entry.quantity)
        .maybe("observed", entry.observed)
        .with("parts", parts(&entry.parts))
        .with("refusedFrom", entry.hour.closes_at().to_string())
        .with("dtClaimed", entry.claimed_at.to_string())
        .with("integrationRunId", entry.origin.run.as_str())
        .with("integrationConfigId", entry.origin.configuration.as_str())
        .maybe("meteringRecordId", entry.metering_record_id.as_deref())
        .maybe("resolution", resolution)
}

fn show_entry(open: &Entry, frozen: bool) -> Value {
    let dimension = format!("{}-{}", open.origin.connection.product_code, open.key.dimension);
    let Value::Object(key) = usage_key(&open.key, dimension).done() else {
        return Value::Null;
    };
    let way_out = match open.state {
        EntryState::Pending if frozen => THAW,
        EntryState::Pending => "nothing is to be done: it is sent unchanged until AWS answers or its window closes",
        EntryState::Unknown => {
            "reconciliation decides it by what CloudTrail shows, where the configuration checks it; else look at AWS whether it has the units, and resolve the entry as ACCEPTED or RELEASED"
        }
        EntryState::Conflict => {
            "reconciliation settles it once CloudTrail shows what holds the hour, where the configuration checks it; else look at AWS what holds the hour: if it stands for these units resolve the entry as ACCEPTED, else as RELEASED, and they are sent again"
        }
        EntryState::Accepted | EntryState::Adopted | EntryState::Refused | EntryState::Released => {
            "nothing is to be done: it is settled"
        }
    };
    let waits = frozen && open.state == EntryState::Pending;
    let restored = waits.then(|| Reason::Frozen.to_string());
    let reason = restored
        .as_deref()
        .or(open.reason.as_deref())
        .unwrap_or("AWS has not answered yet");
    let shown = key
        .into_iter()
        .fold(entry(open), |shown, (name, value)| shown.with(&name, value));
    shown
        .with("kind", "ENTRY")
        .with("units", open.quantity)
        .with("attempts", open.attempts_started)
        .with("attemptsUnanswered", open.attempts_unanswered())
        .with("reason", reason)
        .with("wayOut", way_out)
        .done()
}

/// `units` are what is owed beyond what AWS has, or was sent; negative: a carry.
fn show_key(state: &KeyState, hindrances: &Hindrances, now: Timestamp) -> Value {
    let disabled = hindrances.disabled.contains(&state.origin.configuration);
    let health = hindrances.health(&state.origin, now);
    let delta = state.total.saturating_sub(state.committed);
    let reason = claim::hindrance(state, delta, health).unwrap_or(Reason::Waits(delta));
    let (name, way_out) = match (state.blocked.is_some(), reason) {
        (true, _) => (
            "BLOCKED",
            "mend what AWS refused, then change the external mapping or the configuration, or unblock the key",
        ),
        (false, Reason::InConflict) => ("IN_CONFLICT", "resolve the entry in CONFLICT"),
        (false, Reason::Even) if state.conflicts > 0 => ("IN_CONFLICT", "resolve the entry in CONFLICT"),
        (false, Reason::Carry(_)) => (
            "CARRY",
            "nothing is to be done: AWS takes nothing back, and later growth is sent only as far as it exceeds this",
        ),
        (false, Reason::Frozen) => ("FROZEN", THAW),
        (false, Reason::Shadow) if hindrances.left_in_shadow.contains(&state.origin.configuration) => (
            "SHADOW",
            "nothing is to be done: the configuration was deleted in shadow, so nothing of this is ever sent in its name; a bill that another configuration sends takes its units along",
        ),
        (false, Reason::Shadow) => (
            "SHADOW",
            "nothing is to be done: it would be sent; take marketplaceShadow out of the configuration when it should be",
        ),
        (false, Reason::ConnectionFailing | Reason::Waits(_)) if disabled => (
            "CONFIGURATION_DISABLED",
            "mend what disabled the configuration, then enable it; the units are claimed by themselves",
        ),
        (false, Reason::ConnectionFailing) => (
            "CONNECTION_FAILING",
            "mend the credential or AWS's access to it; the units are claimed by themselves",
        ),
        (false, Reason::Waits(_) | Reason::Claimed | Reason::Even | Reason::Blocked) => (
            "WAITS",
            "nothing is to be done: the units are claimed in the next free hour",
        ),
    };
    let dimension = format!("{}-{}", state.origin.connection.product_code, state.key.dimension);
    let unblocked = state
        .unblocked
        .as_ref()
        .map(|unblocked| json!({"by": unblocked.by, "at": unblocked.at, "reason": unblocked.reason}));
    let reason = match &state.blocked {
        Some(blocked) => format!("{}: {blocked}", Reason::Blocked),
        None if name == "CONFIGURATION_DISABLED" => format!("the configuration is disabled; {delta} units wait"),
        None => reason.to_string(),
    };
    usage_key(&state.key, dimension)
        .with("id", state.hash().to_string())
        .with("kind", "KEY")
        .with("state", name)
        .with("units", delta)
        .with("total", state.total)
        .with("committed", state.committed)
        .with("parts", parts(&state.residuals))
        .with("integrationConfigId", state.origin.configuration.as_str())
        .maybe("refusedFrom", state.leaving_until.map(|until| until.to_string()))
        .with("reason", reason)
        .with("wayOut", way_out)
        .maybe("unblocked", unblocked)
        .done()
}
