//! A message, read: what it is, and where the bill comes from.

use futures::FutureExt;
use serde_json::{Value, json};

use super::batch::{Batch, Progress};
use super::{Delivery, DispatchError, bill, flush, keys, sweep, unreadable};
use crate::decisions::advance::Mode;
use crate::effects::m3ter::M3terError;
use crate::values::bill::BillReference;
use crate::values::hour::Hour;
use crate::values::ids::{ConfigurationId, OrganizationId, RunId};
use crate::values::message::{BillMessage, Change, Leaving, Message, Replay, UnreadableBill};
use crate::values::metric::Metric;
use crate::values::sweep::SweepPage;
use crate::values::usage_key::KeyHash;

/// References inside references are not followed further than this.
const FOLLOWED_MAX: usize = 3;

/// A bill with what a replay says about it.
pub(super) struct ReceivedBill {
    pub(super) message: BillMessage,
    pub(super) mode: Mode,
    pub(super) replayed_from: Option<RunId>,
    /// A replay is for the configuration of its run alone.
    pub(super) only: Option<ConfigurationId>,
}

/// A bill that cannot be read, with what a replay says about it.
pub(super) struct ReceivedUnreadable {
    pub(super) bill: UnreadableBill,
    pub(super) replayed_from: Option<RunId>,
    pub(super) only: Option<ConfigurationId>,
}

/// What a message asks for.
pub(super) enum Received {
    Bill(Box<ReceivedBill>),
    Unreadable(Box<ReceivedUnreadable>),
    Tick,
    FlushPage {
        keys: Vec<KeyHash>,
        entries: Vec<(KeyHash, Hour)>,
    },
    Leaving(Leaving),
    /// What a run of the bill waited for has come, and the run was never written.
    Lift(BillReference),
    Sweep,
    SweepPage(SweepPage),
    /// Nothing, or it lies in the dead-letter queue now.
    Nothing,
    Failed(DispatchError),
}

impl Received {
    /// The bill that came, changed or ended; none for what is no bill.
    pub(super) fn bill(&self) -> Option<&BillReference> {
        match self {
            Received::Bill(bill) => Some(bill.message.change.bill()),
            Received::Unreadable(unreadable) => Some(&unreadable.bill.bill),
            Received::Tick
            | Received::FlushPage { .. }
            | Received::Leaving(_)
            | Received::Lift(_)
            | Received::Sweep
            | Received::SweepPage(_)
            | Received::Nothing
            | Received::Failed(_) => None,
        }
    }

    /// Messages of one lane are handled one after the other.
    pub(super) fn lane(&self) -> Option<String> {
        self.bill().map(BillReference::to_string)
    }

    /// The bill of a new version; none for a deletion and for what is no bill.
    fn calculated_bill(&self) -> Option<&BillReference> {
        let is_deletion = matches!(self, Received::Bill(bill) if matches!(bill.message.change, Change::Deleted { .. }));
        self.bill().filter(|_| !is_deletion)
    }
}

/// Ends the reason of every dead letter: what was done, and what there is to do.
const KEPT: &str = "Nothing was sent; the message is kept here as it came: correct what is wrong and send it again";

/// Why a message is of no use, ever.
struct Unusable(String);

enum Next {
    Received(Received),
    Follow {
        body: Value,
        mode: Mode,
        replayed_from: Option<RunId>,
        only: Option<ConfigurationId>,
    },
}

/// Reads a message and fetches what it refers to. What can never be used goes to the dead-letter queue at once, with the reason.
pub(super) async fn receive(batch: &Batch<'_>, delivery: &Delivery) -> Result<Received, DispatchError> {
    let received = match follow(batch, &delivery.body).await? {
        Ok(received) => unconfigured(batch, received).await?,
        Err(unusable) => Err(unusable),
    };
    match received {
        Ok(received) => Ok(received),
        Err(Unusable(reason)) => {
            let reason = format!("{reason}. {KEPT}");
            batch
                .outbill
                .queue
                .dead_letter(batch.now, &delivery.body, &reason)
                .await?;
            batch.measure(|measured| measured.add(Metric::MessagesDeadLettered, 1));
            tracing::warn!(
                message.id = delivery.id,
                reason,
                "a message went to the dead-letter queue"
            );
            Ok(Received::Nothing)
        }
    }
}

/// A bill of an organization that sends nothing anywhere leaves no run; without a dead letter nobody would ever learn of it.
async fn unconfigured(batch: &Batch<'_>, received: Received) -> Result<Result<Received, Unusable>, DispatchError> {
    let Some(bill) = received.calculated_bill() else {
        return Ok(Ok(received));
    };
    if !batch.configurations(&bill.organization).await?.is_empty()
        || batch.outbill.ledger.manifest(bill).await?.is_some()
    {
        return Ok(Ok(received));
    }
    Ok(Err(Unusable(format!(
        "bill {} belongs to organization {}, which has no integration configuration; create one there, or check orgId",
        bill.bill, bill.organization
    ))))
}

async fn follow(batch: &Batch<'_>, body: &str) -> Result<Result<Received, Unusable>, DispatchError> {
    let mut message = Message::parse(body);
    let (mut mode, mut replayed_from, mut only) = (Mode::Ordinary, None, None);
    for _ in 0..FOLLOWED_MAX {
        let read = match message {
            Ok(read) => read,
            Err(error) => return Ok(Err(Unusable(error.to_string()))),
        };
        let next = match read {
            Message::Bill(message) => {
                let bill = ReceivedBill {
                    message,
                    mode,
                    replayed_from: replayed_from.clone(),
                    only: only.clone(),
                };
                Ok(Next::Received(Received::Bill(Box::new(bill))))
            }
            Message::Unreadable(bill) => {
                // Where m3ter cannot be asked, the run says what the event lacks.
                if bill.lacks_lines
                    && let Ok(body) = reference(batch, &bill.bill.organization, &bill.bill.bill).await?
                {
                    message = Message::from_json(body);
                    continue;
                }
                let unreadable = ReceivedUnreadable {
                    bill: *bill,
                    replayed_from: replayed_from.clone(),
                    only: only.clone(),
                };
                Ok(Next::Received(Received::Unreadable(Box::new(unreadable))))
            }
            Message::Reference { organization, bill } => {
                reference(batch, &organization, &bill).await?.map(|body| Next::Follow {
                    body,
                    mode,
                    replayed_from: replayed_from.clone(),
                    only: only.clone(),
                })
            }
            Message::StoredBody { id } => stored(batch, &id).await?.map(|body| Next::Follow {
                body,
                mode,
                replayed_from: replayed_from.clone(),
                only: only.clone(),
            }),
            Message::Replay(replay) => replayed(batch, &replay).await?,
            Message::Leaving(leaving) => Ok(Next::Received(Received::Leaving(leaving))),
            Message::Tick => Ok(Next::Received(Received::Tick)),
            Message::FlushPage { keys, entries } => Ok(Next::Received(Received::FlushPage { keys, entries })),
            Message::Sweep => Ok(Next::Received(Received::Sweep)),
            Message::SweepPage(page) => Ok(Next::Received(Received::SweepPage(page))),
            Message::Nothing { notice } => {
                tracing::info!(notice, "a notice of AWS that needs nothing done");
                Ok(Next::Received(Received::Nothing))
            }
        };
        match next {
            Ok(Next::Received(received)) => return Ok(Ok(received)),
            Ok(Next::Follow {
                body,
                mode: next_mode,
                replayed_from: next_run,
                only: next_only,
            }) => {
                message = Message::from_json(body);
                (mode, replayed_from, only) = (next_mode, next_run, next_only);
            }
            Err(unusable) => return Ok(Err(unusable)),
        }
    }
    Ok(Err(Unusable(
        "the message refers to a message that refers to a message; send the bill itself".to_owned(),
    )))
}

async fn reference(
    batch: &Batch<'_>,
    organization: &OrganizationId,
    bill: &crate::values::ids::BillId,
) -> Result<Result<Value, Unusable>, DispatchError> {
    let bill_of = batch.outbill.m3ter.bill(organization, bill, batch.now);
    match batch.fetch(bill_of).await {
        Ok(found) if found.get("id").and_then(Value::as_str) != Some(bill.as_str()) => Ok(Err(Unusable(format!(
            "m3ter was asked for bill {bill} of organization {organization} and answered with another"
        )))),
        Ok(bill) => Ok(Ok(json!({ "orgId": organization, "bill": bill }))),
        Err(error @ (M3terError::Refused { .. } | M3terError::NoCredentials { .. })) => {
            let advice =
                "a bill that m3ter does not show is not taken for deleted, because wrong credentials look the same";
            Ok(Err(Unusable(format!(
                "bill {bill} of organization {organization} could not be fetched: {error} ({advice})"
            ))))
        }
        Err(error @ (M3terError::Unavailable { .. } | M3terError::Store(_))) => Err(error.into()),
    }
}

async fn stored(batch: &Batch<'_>, id: &str) -> Result<Result<Value, Unusable>, DispatchError> {
    let Some(text) = batch.outbill.bodies.get(id).await? else {
        return Ok(Err(Unusable(format!(
            "the stored message {id} is not there any more; stored messages are kept for 90 days"
        ))));
    };
    Ok(serde_json::from_str(&text).map_err(|error| Unusable(format!("the stored message {id} is not JSON: {error}"))))
}

async fn replayed(batch: &Batch<'_>, replay: &Replay) -> Result<Result<Next, Unusable>, DispatchError> {
    let Some(run) = batch.outbill.runs.get(&replay.organization, &replay.run).await? else {
        if let Some(bill) = &replay.waited {
            return Ok(Ok(Next::Received(Received::Lift(BillReference {
                organization: replay.organization.clone(),
                bill: bill.clone(),
            }))));
        }
        return Ok(Err(Unusable(format!(
            "organization {} has no integration run {}",
            replay.organization, replay.run
        ))));
    };
    let log = batch.outbill.runs.log(&replay.organization, &replay.run).await?;
    let input = log.iter().find_map(|entry| entry.get("input")).cloned();
    let body = input.unwrap_or_else(|| json!({ "orgId": replay.organization, "billId": run.entity_id }));
    let own = run
        .destination_id
        .as_deref()
        .and_then(|id| ConfigurationId::new(id).ok());
    let only = own.filter(|_| !replay.every_configuration);
    Ok(Ok(Next::Follow {
        body,
        mode: replay.mode.into(),
        replayed_from: Some(replay.run.clone()),
        only,
    }))
}

/// Does what a message asks for, as far as the claims. `repeats`: it was delivered before.
pub(super) async fn work(
    batch: &Batch<'_>,
    received: Received,
    repeats: bool,
    progress: &mut Progress,
) -> Result<(), DispatchError> {
    match received {
        Received::Bill(received) => bill::bill(batch, &received, progress).boxed().await,
        Received::Unreadable(received) => unreadable::unreadable(batch, &received, progress).await,
        Received::Tick => flush::tick(batch).await,
        Received::FlushPage { keys, entries } => flush::page(batch, &keys, &entries, repeats, progress).boxed().await,
        Received::Leaving(leaving) => flush::leaving(batch, &leaving, repeats, progress).boxed().await,
        Received::Lift(bill) => keys::lift(batch, &bill, progress).boxed().await,
        Received::Sweep => sweep::sweep(batch).await,
        Received::SweepPage(page) => sweep::page(batch, &page).boxed().await,
        Received::Nothing => Ok(()),
        Received::Failed(error) => Err(error),
    }
}
