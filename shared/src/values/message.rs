//! What may lie on the bill queue. A body that is none of these goes to the dead-letter queue with the reason.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::account::Account;
use super::bill::{self, Bill, BillError, BillReference, Head};
use super::hour::Hour;
use super::ids::{AccountId, BillId, OrganizationId, RunId};
use super::sweep::{self, SweepPage};
use super::usage_key::KeyHash;

/// m3ter's prefix of the events that carry a bill.
const BILL_EVENTS: [&str; 3] = ["billing.bill.created", "billing.bill.updated", "billing.bill.deleted"];
//= https://docs.aws.amazon.com/marketplace/latest/userguide/saas-eventbridge-integration.html
//# License Deprovisioned - Manufacturer: the buyer's entitlement has ended; a final reporting window of an hour begins
const LICENSE_DEPROVISIONED: &str = "License Deprovisioned - Manufacturer";
const UNSUBSCRIBE_PENDING: &str = "unsubscribe-pending";
/// Keys and entries that one page of the tick names: a full call of each. A batch of a hundred pages is sent within the time of an invocation.
pub const FLUSH_PAGE_MAX: usize = 25;

/// One message on the bill queue.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A bill, by event or sent as such.
    Bill(BillMessage),
    /// A bill that is known by organization and id, but cannot be read: its runs say why.
    Unreadable(Box<UnreadableBill>),
    /// A bill that m3ter holds; fetched.
    Reference { organization: OrganizationId, bill: BillId },
    /// A message too large for SQS, kept in the table.
    StoredBody { id: String },
    /// The input of an earlier run, again.
    Replay(Replay),
    /// AWS says that a buyer is leaving.
    Leaving(Leaving),
    /// List what is pending and dirty, and queue it page by page.
    Tick,
    /// One page of it.
    FlushPage {
        keys: Vec<KeyHash>,
        entries: Vec<(KeyHash, Hour)>,
    },
    /// Ask m3ter, organization by organization, which bills changed since the last time.
    Sweep,
    /// One page of one organization's bills.
    SweepPage(SweepPage),
    /// A notice of AWS that needs nothing done.
    Nothing { notice: String },
}

/// A bill's new state.
#[derive(Debug, Clone, PartialEq)]
pub struct BillMessage {
    pub change: Change,
    /// The account, where the sender had it at hand; `accountFilter` needs it.
    pub account: Option<Account>,
    /// The message as it came, as JSON; the run keeps it.
    pub input: Arc<str>,
}

/// A bill that is told apart from others, but has a field that decides money and cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadableBill {
    pub bill: BillReference,
    /// The version, where at least that can be read.
    pub head: Option<Head>,
    /// The account, where at least that can be read.
    pub account: Option<AccountId>,
    /// Every field that is missing or unreadable.
    pub error: BillError,
    /// It came in an event that names it without its lines, which m3ter has.
    pub lacks_lines: bool,
    /// The message as it came, as JSON; the run keeps it.
    pub input: Arc<str>,
}

/// What happened to the bill.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Calculated(Box<Bill>),
    Deleted {
        bill: BillReference,
        head: Head,
        account: Option<AccountId>,
    },
}

impl Change {
    pub fn bill(&self) -> &BillReference {
        match self {
            Change::Calculated(bill) => &bill.reference,
            Change::Deleted { bill, .. } => bill,
        }
    }

    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Change::Calculated(bill) => Some(&bill.account),
            Change::Deleted { account, .. } => account.as_ref(),
        }
    }

    pub fn head(&self) -> Head {
        match self {
            Change::Calculated(bill) => bill.head,
            Change::Deleted { head, .. } => *head,
        }
    }
}

/// `{"orgId", "integrationRunId", "billId"?, "replay": true, "remap"?: true, "everyConfiguration"?: true}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    pub organization: OrganizationId,
    pub run: RunId,
    /// The run's bill, if what it waited for has come: then the run may never have been written, because its worker died.
    pub waited: Option<BillId>,
    pub mode: ReplayMode,
    /// Not for the run's configuration alone: the one that owned the bill is gone, and whichever is the next takes it over.
    pub every_configuration: bool,
}

/// How far a replay may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayMode {
    /// Apply the bill as the configuration and mappings now say.
    Apply,
    /// Also cut over: what AWS holds stays with the old key, the rest goes to the new one.
    Remap,
}

/// Which buyer leaves which product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Account id or legacy customer identifier.
    pub customer: String,
    pub product_code: Option<String>,
    pub license_arn: Option<String>,
}

/// Why a body is no message of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the message is not JSON: {0}")]
    NotJson(String),
    #[error(
        "the message is none that Outbill knows: expected a m3ter bill event (eventName, m3terEvent), a bill (orgId, bill), a reference (orgId, billId), a replay (orgId, integrationRunId, replay), AWS's notice of a leaving buyer, the tick (flush), or the sweep"
    )]
    UnknownShape,
    #[error("eventName is {0:?}; Outbill handles billing.bill.created, billing.bill.updated and billing.bill.deleted")]
    UnknownEvent(String),
    #[error("{field}: {reason}")]
    Field { field: &'static str, reason: String },
    #[error("bill {bill} cannot be read: {reason}")]
    Bill { bill: String, reason: String },
}

pub(super) fn field(field: &'static str, reason: impl ToString) -> MessageError {
    MessageError::Field {
        field,
        reason: reason.to_string(),
    }
}

impl Message {
    /// Reads a message body. Errors: not JSON, no known shape, or a field that is missing or unreadable, by name.
    pub fn parse(body: &str) -> Result<Message, MessageError> {
        let value: Value = serde_json::from_str(body).map_err(|error| MessageError::NotJson(error.to_string()))?;
        Message::from_json(value)
    }

    /// The same from JSON that was already read.
    pub fn from_json(value: Value) -> Result<Message, MessageError> {
        let Value::Object(object) = &value else {
            return Err(MessageError::UnknownShape);
        };
        let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
        if has("m3terEvent") || has("eventName") {
            event(object, &value)
        } else if has("flush") {
            flush(object)
        } else if has("sweep") {
            sweep::read(object)
        } else if has("replay") {
            replay(object)
        } else if has("bill") {
            let organization = organization(object)?;
            let bill = object
                .get("bill")
                .and_then(Value::as_object)
                .ok_or_else(|| field("bill", "it must be an object"))?;
            let account = account(object)?;
            calculated(&organization, bill, account, &value)
        } else if has("billId") {
            Ok(Message::Reference {
                organization: organization(object)?,
                bill: BillId::new(text(object, "billId")?).map_err(|error| field("billId", error))?,
            })
        } else if has("storedBody") {
            Ok(Message::StoredBody {
                id: text(object, "storedBody")?.to_owned(),
            })
        } else if has("detail-type") || has("Type") {
            notice(object)
        } else {
            Err(MessageError::UnknownShape)
        }
    }
}

pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, MessageError> {
    match object.get(name) {
        None | Some(Value::Null) => Err(field(name, "it is missing")),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(field(name, "it must be a text")),
    }
}

pub(super) fn organization(object: &Map<String, Value>) -> Result<OrganizationId, MessageError> {
    OrganizationId::new(text(object, "orgId")?).map_err(|error| field("orgId", error))
}

/// Text is a quarter of the tree, and a batch keeps a message until its run is written.
fn as_text(message: &Value) -> Arc<str> {
    message.to_string().into()
}

fn account(object: &Map<String, Value>) -> Result<Option<Account>, MessageError> {
    match object.get("account") {
        None | Some(Value::Null) => Ok(None),
        Some(account @ Value::Object(_)) => Account::from_json(account.clone())
            .map(Some)
            .map_err(|error| field("account", error)),
        Some(_) => Err(field("account", "it must be an object")),
    }
}

fn calculated(
    organization: &OrganizationId,
    bill: &Map<String, Value>,
    account: Option<Account>,
    input: &Value,
) -> Result<Message, MessageError> {
    let id = bill.get("id").and_then(Value::as_str);
    if let Some(other) = bill
        .get("orgId")
        .and_then(Value::as_str)
        .filter(|other| *other != organization.as_str())
    {
        return Err(field(
            "orgId",
            format!(
                "bill {} belongs to organization {other}, but the message names {organization}",
                id.unwrap_or("without id")
            ),
        ));
    }
    let error = match Bill::from_json(organization, bill) {
        Ok(bill) => {
            if let Some(other) = account.as_ref().filter(|account| account.id != bill.account) {
                let problem = format!(
                    "it is account {}, but the bill is of account {}",
                    other.id, bill.account
                );
                return Err(field("account", problem));
            }
            return Ok(Message::Bill(BillMessage {
                change: Change::Calculated(Box::new(bill)),
                account,
                input: as_text(input),
            }));
        }
        Err(error) => error,
    };
    match id.and_then(|id| BillId::new(id).ok()) {
        Some(id) => Ok(Message::Unreadable(Box::new(UnreadableBill {
            bill: BillReference {
                organization: organization.clone(),
                bill: id,
            },
            head: bill::head(bill).ok(),
            account: account_id(bill),
            error,
            lacks_lines: false,
            input: as_text(input),
        }))),
        None => Err(MessageError::Bill {
            bill: id.unwrap_or("without id").to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn account_id(bill: &Map<String, Value>) -> Option<AccountId> {
    bill.get("accountId")
        .and_then(Value::as_str)
        .and_then(|text| AccountId::new(text).ok())
}

fn event(object: &Map<String, Value>, value: &Value) -> Result<Message, MessageError> {
    let name = text(object, "eventName")?;
    if !BILL_EVENTS.contains(&name) {
        return Err(MessageError::UnknownEvent(name.to_owned()));
    }
    let data = value
        .pointer("/m3terEvent/eventData")
        .and_then(Value::as_object)
        .ok_or_else(|| field("m3terEvent.eventData", "it is missing"))?;
    let dto = |name: &str| data.get(name).and_then(Value::as_object);
    let deletion = name == "billing.bill.deleted";
    let bill = if deletion {
        dto("oldDto").or_else(|| dto("newDto"))
    } else {
        dto("newDto")
    };
    let wanted = match deletion {
        true => "m3terEvent.eventData.oldDto",
        false => "m3terEvent.eventData.newDto",
    };
    let bill = bill.ok_or_else(|| field(wanted, "it is missing"))?;
    let organization = organization(bill)?;
    let account = account(object)?;
    if !deletion {
        let mut message = calculated(&organization, bill, account, value)?;
        if let Message::Unreadable(unreadable) = &mut message {
            unreadable.lacks_lines = bill.get("lineItems").is_none_or(Value::is_null);
        }
        return Ok(message);
    }
    Ok(Message::Bill(BillMessage {
        change: deleted(organization, bill)?,
        account,
        input: as_text(value),
    }))
}

fn deleted(organization: OrganizationId, bill: &Map<String, Value>) -> Result<Change, MessageError> {
    let id = BillId::new(text(bill, "id")?).map_err(|error| field("id", error))?;
    let head = bill::head(bill).map_err(|error| MessageError::Bill {
        bill: id.to_string(),
        reason: error.to_string(),
    })?;
    Ok(Change::Deleted {
        bill: BillReference { organization, bill: id },
        head,
        account: account_id(bill),
    })
}

fn replay(object: &Map<String, Value>) -> Result<Message, MessageError> {
    if object.get("replay") != Some(&Value::Bool(true)) {
        return Err(field("replay", "it must be true"));
    }
    let flag = |name: &'static str| match object.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => Ok(false),
        Some(Value::Bool(true)) => Ok(true),
        Some(_) => Err(field(name, "it must be true or false")),
    };
    let mode = match flag("remap")? {
        false => ReplayMode::Apply,
        true => ReplayMode::Remap,
    };
    let every_configuration = flag("everyConfiguration")?;
    let run = RunId::new(text(object, "integrationRunId")?).map_err(|error| field("integrationRunId", error))?;
    let waited = match object.get("billId") {
        None | Some(Value::Null) => None,
        Some(_) => Some(BillId::new(text(object, "billId")?).map_err(|error| field("billId", error))?),
    };
    Ok(Message::Replay(Replay {
        organization: organization(object)?,
        run,
        waited,
        mode,
        every_configuration,
    }))
}

fn flush(object: &Map<String, Value>) -> Result<Message, MessageError> {
    if object.get("flush") != Some(&Value::Bool(true)) {
        return Err(field("flush", "it must be true"));
    }
    let list = |name: &'static str| match object.get(name) {
        None => Ok(&[][..]),
        Some(Value::Array(list)) if list.len() <= FLUSH_PAGE_MAX => Ok(list.as_slice()),
        Some(_) => Err(field(name, format!("it must be a list of at most {FLUSH_PAGE_MAX}"))),
    };
    let hash = |name: &'static str, text: Option<&str>| {
        KeyHash::try_from(text.unwrap_or_default().to_owned()).map_err(|error| field(name, error))
    };
    let keys = list("keys")?
        .iter()
        .map(|key| hash("keys", key.as_str()))
        .collect::<Result<Vec<_>, _>>()?;
    let entries = list("entries")?
        .iter()
        .map(|entry| {
            let (key, hour) = entry
                .as_str()
                .and_then(|text| text.split_once('/'))
                .ok_or_else(|| field("entries", "an entry is <key>/<hour>"))?;
            Ok((
                hash("entries", Some(key))?,
                hour.parse().map_err(|error| field("entries", error))?,
            ))
        })
        .collect::<Result<Vec<_>, MessageError>>()?;
    Ok(if keys.is_empty() && entries.is_empty() {
        Message::Tick
    } else {
        Message::FlushPage { keys, entries }
    })
}

/// EventBridge's envelope has `detail-type`, SNS's has `Type` and the notice as text in `Message`.
fn notice(object: &Map<String, Value>) -> Result<Message, MessageError> {
    if let Some(kind) = object.get("detail-type").and_then(Value::as_str) {
        if kind != LICENSE_DEPROVISIONED {
            return Ok(Message::Nothing {
                notice: kind.to_owned(),
            });
        }
        let detail = Value::Object(object.clone());
        let at = |pointer: &str| detail.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        return Ok(Message::Leaving(Leaving {
            customer: at("/detail/acceptor/accountId")
                .ok_or_else(|| field("detail.acceptor.accountId", "it is missing"))?,
            product_code: at("/detail/product/code"),
            license_arn: at("/detail/license/arn"),
        }));
    }
    let inner: Value = serde_json::from_str(text(object, "Message")?).map_err(|error| field("Message", error))?;
    let inner = inner
        .as_object()
        .ok_or_else(|| field("Message", "it must hold an object"))?;
    let action = text(inner, "action")?;
    if action != UNSUBSCRIBE_PENDING {
        return Ok(Message::Nothing {
            notice: action.to_owned(),
        });
    }
    Ok(Message::Leaving(Leaving {
        customer: text(inner, "customer-identifier")?.to_owned(),
        product_code: Some(text(inner, "product-code")?.to_owned()),
        license_arn: None,
    }))
}

/// The tick's page as it lies on the queue.
pub fn flush_page(keys: &[KeyHash], entries: &[(KeyHash, Hour)]) -> Value {
    let entries: Vec<String> = entries.iter().map(|(key, hour)| format!("{key}/{hour}")).collect();
    serde_json::json!({ "flush": true, "keys": keys, "entries": entries })
}

/// As many pages as it takes; none where there is nothing.
pub fn flush_pages(keys: &[KeyHash], entries: &[(KeyHash, Hour)]) -> Vec<Value> {
    let (mut keys, mut entries) = (keys.chunks(FLUSH_PAGE_MAX), entries.chunks(FLUSH_PAGE_MAX));
    let next = || match (keys.next(), entries.next()) {
        (None, None) => None,
        (keys, entries) => Some(flush_page(keys.unwrap_or_default(), entries.unwrap_or_default())),
    };
    std::iter::from_fn(next).collect()
}

/// The replay of a run that waited, as it lies on the queue.
pub fn replay_of(organization: &OrganizationId, run: &RunId, bill: &BillId) -> Value {
    serde_json::json!({ "orgId": organization, "integrationRunId": run, "billId": bill, "replay": true })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
