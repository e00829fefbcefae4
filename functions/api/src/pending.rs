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
        ledger::{Open, Resolved, Unblocked},
    },
    values::{
        configuration::IntegrationConfiguration,
        entry::{Entry, EntryState, KeyState, Origin, Resolution, Verdict},
        hour::Hour,
        ids::ConfigurationId,
        message,
        usage_key::KeyHash,
    },
};
use serde_json::{Value, json};

use crate::{
    body::{Body, Fields},
    by_hand,
    call::Call,
    error::ApiError,
    page::{self, PAGE_MAX},
    query::Query,
    show,
};

/// The way out where the table is a restored copy.
const THAW: &str = "nothing is to be done where the configuration checks CloudTrail: it is read every hour, and reconciliations says how far it is; else look at AWS what was sent since the copy, and thaw the configuration (POST integrationconfigs/{id}/thaw)";

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
    configurations: Vec<IntegrationConfiguration>,
    left_in_shadow: BTreeSet<ConfigurationId>,
}

impl Hindrances {
    async fn of(call: &Call) -> Result<Hindrances, ApiError> {
        let standing = call.outbill.freeze.standing(Look::Only, call.now).await?;
        let failing = call.outbill.connections.failing(&call.organization).await?;
        let configurations = call.outbill.configurations.of_organization(&call.organization).await?;
        let left_in_shadow = call.outbill.configurations.left_in_shadow(&call.organization).await?;
        Ok(Hindrances {
            standing,
            failing,
            configurations,
            left_in_shadow,
        })
    }

    fn is_frozen(&self, origin: &Origin) -> bool {
        self.standing
            .is_frozen(&origin.connection.organization, &origin.configuration)
    }

    /// None: it is gone.
    fn configuration(&self, origin: &Origin) -> Option<&IntegrationConfiguration> {
        let mut all = self.configurations.iter();
        all.find(|configuration| configuration.id == origin.configuration)
    }

    fn health(&self, origin: &Origin, now: Timestamp) -> ConnectionHealth {
        ConnectionHealth::of(
            self.is_frozen(origin),
            self.configuration(origin),
            self.left_in_shadow.contains(&origin.configuration),
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
    let reason = by_hand::reason(&mut fields);
    fields.done()?;
    let missing = || {
        ApiError::not_found(format!(
            "there is no entry {id}; integrationdestinations/marketplace/pending lists them"
        ))
    };
    let (name, verdict) = entry_name(&id).zip(verdict).ok_or_else(missing)?;
    let resolution = Resolution {
        verdict,
        decided: by_hand::decided(&call, reason),
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
    call.needs(Permission::MarketplaceUsageCreate)?;
    let by_hand = by_hand::read(&call, body)?;
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

/// `<usage key>-<yyyy-mm-ddThh>`.
fn entry_name(id: &str) -> Option<(KeyHash, Hour)> {
    let (key, hour) = id.split_once('-')?;
    Some((KeyHash::try_from(key.to_owned()).ok()?, hour.parse().ok()?))
}

fn show_entry(open: &Entry, frozen: bool) -> Value {
    let dimension = format!("{}-{}", open.origin.connection.product_code, open.key.dimension);
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
    show::entry(open)
        .and(show::usage_key(&open.key, dimension))
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
    let health = hindrances.health(&state.origin, now);
    let delta = state.total.saturating_sub(state.committed);
    let reason = claim::hindrance(state, delta, health).unwrap_or(Reason::Waits(delta));
    let (name, way_out) = match (state.blocked.is_some(), reason) {
        (true, _) if !state.is_stopped() => (
            "WAITS",
            "nothing is to be done: the buyer's agreement may have begun within the hour; if AWS refuses the next one, too, the key is blocked",
        ),
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
        (false, Reason::Shadow) if hindrances.configuration(&state.origin).is_none() => (
            "SHADOW",
            "nothing is to be done: the configuration was deleted in shadow, so nothing of this is ever sent in its name; a bill that another configuration sends takes its units along",
        ),
        (false, Reason::Shadow) => (
            "SHADOW",
            "nothing is to be done: it would be sent; take marketplaceShadow out of the configuration when it should be",
        ),
        (false, Reason::Disabled) => (
            "CONFIGURATION_DISABLED",
            "mend what disabled the configuration, then enable it; the units are claimed by themselves",
        ),
        (false, Reason::Disconnected) => (
            "CONNECTION_FAILING",
            "connect a credential to the configuration; the units are claimed by themselves",
        ),
        (false, Reason::ConnectionFailing) => (
            "CONNECTION_FAILING",
            "mend the credential or AWS's access to it; the units are claimed by themselves",
        ),
        (false, Reason::Waits(_) | Reason::Claimed | Reason::Even | Reason::Blocked | Reason::TriedAgain) => (
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
        Some(blocked) if !state.is_stopped() => blocked.clone(),
        Some(blocked) => format!("{}: {blocked}", Reason::Blocked),
        None => reason.to_string(),
    };
    show::usage_key(&state.key, dimension)
        .with("id", state.hash().to_string())
        .with("kind", "KEY")
        .with("state", name)
        .with("units", delta)
        .with("total", state.total)
        .with("committed", state.committed)
        .with("parts", show::parts(&state.residuals))
        .with("integrationConfigId", state.origin.configuration.as_str())
        .maybe("refusedFrom", state.leaving_until.map(|until| until.to_string()))
        .with("reason", reason)
        .with("wayOut", way_out)
        .maybe("unblocked", unblocked)
        .done()
}
