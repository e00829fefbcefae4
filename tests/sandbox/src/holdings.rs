//! What the stand-ins hold, and the changes that made it so.
//!
//! Invariant: the holdings are a function of the changes alone. Applying the same changes in the
//! same order gives the same holdings; that is what the journal rests on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use marketplace::trail::TrailChange;
use marketplace::{BuyerStatement, Call, ForeignUsage, Marketplace, SwitchChange};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::queues::{Attribute, Message, Queue, QueueName};
use crate::secrets::Secret;

/// An access key of the organization that is ready to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessKey {
    /// The organization.
    pub org_id: String,
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub api_secret: String,
}

impl AccessKey {
    /// The key of m3ter's notifications to the organization.
    pub fn webhook_key(&self) -> String {
        format!("webhook-{}", self.access_key_id)
    }
}

/// A mail that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// The id that SES gave.
    pub message_id: String,
    /// When it was sent.
    pub at: Timestamp,
    /// The sender.
    pub from: String,
    /// The recipients of every kind.
    pub to: Vec<String>,
    /// The subject.
    pub subject: String,
    /// The body as text, or its HTML if there is no text.
    pub body: String,
}

/// A CloudTrail Lake query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LakeQuery {
    /// What was asked.
    pub statement: String,
    /// When: the answer is of this instant.
    pub started: Timestamp,
    /// How often somebody asked for the answer.
    pub looks: u32,
}

/// What the m3ter stand-in serves, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct M3ter {
    /// Bills by id.
    pub bills: BTreeMap<String, Value>,
    /// Accounts by id.
    pub accounts: BTreeMap<String, Value>,
    /// External mappings by id.
    pub mappings: BTreeMap<String, Value>,
}

/// One change of a stand-in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// The clock was moved.
    ClockMoved { to: Timestamp },
    /// The access key was made; there is one per sandbox.
    AccessKeyMade { access_key: AccessKey },
    /// A metering call was made, whatever it was answered.
    Metered {
        region: String,
        account: String,
        request_json: String,
        now: Timestamp,
        leave_unprocessed: bool,
    },
    /// Another program reported usage.
    ForeignUsageReported { usage: ForeignUsage },
    /// Open questions were answered another way.
    SwitchesChanged { switches: SwitchChange },
    /// CloudTrail records later, better or worse.
    TrailChanged { change: TrailChange },
    /// A CloudTrail Lake query was started.
    QueryStarted { id: String, query: LakeQuery },
    /// Somebody asked how a query is doing.
    QueryLooked { id: String },
    /// A buyer subscribed or left.
    BuyerStated { statement: BuyerStatement },
    /// A message was put on a queue.
    MessageSent { queue: QueueName, message: Message },
    /// A message was handed out.
    MessageReceived {
        queue: QueueName,
        id: String,
        at: Timestamp,
    },
    /// A message was handed back and waits again, behind the others.
    MessageReturned { queue: QueueName, id: String },
    /// A message was handled.
    MessageDeleted { queue: QueueName, id: String },
    /// A message of the bill queue was given up.
    MessageDeadLettered { id: String, reason: String },
    /// A secret is now this.
    SecretKept { secret: Secret },
    /// A secret is gone.
    SecretRemoved { name: String },
    /// A mail was sent.
    MailSent { mail: Mail },
    /// m3ter serves these from now on.
    M3terFilled {
        bills: Vec<(String, Value)>,
        accounts: Vec<(String, Value)>,
        #[serde(default)]
        mappings: Vec<(String, Value)>,
    },
}

/// Everything that the stand-ins hold. The clock is held apart, because functions read it.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// The access key, once made.
    pub access_key: Option<AccessKey>,
    /// AWS Marketplace.
    pub marketplace: Marketplace,
    /// The queue that the dispatch function handles.
    pub bills: Queue,
    /// What could not be handled.
    pub dead_letters: Queue,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Mails sent.
    pub outbox: Vec<Mail>,
    /// What m3ter serves.
    pub m3ter: M3ter,
    /// CloudTrail Lake queries by id.
    pub queries: BTreeMap<String, LakeQuery>,
}

impl Holdings {
    /// One of the queues.
    pub fn queue(&self, name: QueueName) -> &Queue {
        match name {
            QueueName::Bills => &self.bills,
            QueueName::DeadLetters => &self.dead_letters,
        }
    }

    fn queue_mut(&mut self, name: QueueName) -> &mut Queue {
        match name {
            QueueName::Bills => &mut self.bills,
            QueueName::DeadLetters => &mut self.dead_letters,
        }
    }

    /// Makes a change so. Changes of things that are not there change nothing.
    pub fn apply(&mut self, change: Change) {
        match change {
            // The world moves the clock.
            Change::ClockMoved { to: _ } => {}
            Change::AccessKeyMade { access_key } => self.access_key = Some(access_key),
            Change::Metered {
                region,
                account,
                request_json,
                now,
                leave_unprocessed,
            } => {
                // Answers were given when the call was made; only its effect is wanted again.
                let _ = self.marketplace.call(Call {
                    region: &region,
                    account: &account,
                    request_json: &request_json,
                    now,
                    leave_unprocessed,
                });
            }
            Change::ForeignUsageReported { usage } => {
                let _ = self.marketplace.foreign_usage(&usage);
            }
            Change::SwitchesChanged { switches } => self.marketplace.change_switches(switches),
            Change::TrailChanged { change } => self.marketplace.change_trail(change),
            Change::QueryStarted { id, query } => {
                self.queries.insert(id, query);
            }
            Change::QueryLooked { id } => {
                if let Some(query) = self.queries.get_mut(&id) {
                    query.looks += 1;
                }
            }
            Change::BuyerStated { statement } => self.marketplace.state_buyer(&statement),
            Change::MessageSent { queue, message } => self.queue_mut(queue).push(message),
            Change::MessageReceived { queue, id, at } => self.queue_mut(queue).received(&id, at),
            Change::MessageReturned { queue, id } => {
                let queue = self.queue_mut(queue);
                if let Some(message) = queue.remove(&id) {
                    queue.push(message);
                }
            }
            Change::MessageDeleted { queue, id } => {
                self.queue_mut(queue).remove(&id);
            }
            Change::MessageDeadLettered { id, reason } => {
                if let Some(mut message) = self.bills.remove(&id) {
                    message.attributes.insert("reason".to_owned(), Attribute::text(&reason));
                    self.dead_letters.push(message);
                }
            }
            Change::SecretKept { secret } => {
                self.secrets.insert(secret.name.clone(), secret);
            }
            Change::SecretRemoved { name } => {
                self.secrets.remove(&name);
            }
            Change::MailSent { mail } => self.outbox.push(mail),
            Change::M3terFilled {
                bills,
                accounts,
                mappings,
            } => {
                self.m3ter.bills.extend(bills);
                self.m3ter.accounts.extend(accounts);
                self.m3ter.mappings.extend(mappings);
            }
        }
    }
}
