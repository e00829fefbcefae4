//! The two queues: their messages and the order in which they come.
//!
//! Which messages are being handled is not part of this state: after a kill nobody is handling
//! them any more, and they come again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How often a message is received before it is dead-lettered.
pub const RECEIVES_MAX: u32 = 10;

/// What a message weighs in a Lambda payload beside its body: ids, counts, punctuation.
const ENVELOPE_BYTES: usize = 1024;

/// One of the two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum QueueName {
    /// Bills and everything else that the dispatch function handles.
    Bills,
    /// What could not be handled.
    DeadLetters,
}

impl QueueName {
    /// Both queues.
    pub const ALL: [QueueName; 2] = [QueueName::Bills, QueueName::DeadLetters];

    /// The name in SQS.
    pub fn as_str(self) -> &'static str {
        match self {
            QueueName::Bills => "outbill-bills",
            QueueName::DeadLetters => "outbill-bills-dead-letters",
        }
    }

    /// The queue with an SQS name.
    pub fn named(name: &str) -> Option<QueueName> {
        QueueName::ALL.into_iter().find(|queue| queue.as_str() == name)
    }
}

/// A message attribute as SQS carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with an optional label after a point.
    pub data_type: String,
    /// For strings and numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// Base64, for binary values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

impl Attribute {
    /// A string attribute.
    pub fn text(value: &str) -> Attribute {
        Attribute {
            data_type: "String".to_owned(),
            string_value: Some(value.to_owned()),
            binary_value: None,
        }
    }
}

/// A message on a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The id that SQS gave.
    pub id: String,
    /// The text.
    pub body: String,
    /// Message attributes by name.
    #[serde(default)]
    pub attributes: BTreeMap<String, Attribute>,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Before this instant nobody receives it (`DelaySeconds`).
    pub visible_from: Timestamp,
    /// How often it was received.
    #[serde(default)]
    pub receive_count: u32,
    /// When it was received first.
    #[serde(default)]
    pub first_received_at: Option<Timestamp>,
}

impl Message {
    /// A message that was never received.
    pub fn new(body: String, attributes: BTreeMap<String, Attribute>, now: Timestamp) -> Message {
        Message {
            id: uuid::Uuid::new_v4().to_string(),
            body,
            attributes,
            sent_at: now,
            visible_from: now,
            receive_count: 0,
            first_received_at: None,
        }
    }

    /// What SQS counts against its limit: body, attribute names, types and values.
    pub fn size_bytes(&self) -> usize {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, attribute)| {
                name.len()
                    + attribute.data_type.len()
                    + attribute.string_value.as_ref().map_or(0, String::len)
                    + attribute.binary_value.as_ref().map_or(0, String::len)
            })
            .sum();
        self.body.len() + attributes
    }

    /// About what the message weighs in a Lambda payload: its text escaped as JSON, and the rest.
    pub fn payload_bytes(&self) -> usize {
        let escapes = self
            .body
            .bytes()
            .filter(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F))
            .count();
        self.size_bytes() + escapes + ENVELOPE_BYTES
    }
}

/// One queue, oldest message first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    messages: BTreeMap<u64, Message>,
    positions: BTreeMap<String, u64>,
    next_position: u64,
}

impl Queue {
    /// Puts a message at the end.
    pub fn push(&mut self, message: Message) {
        self.positions.insert(message.id.clone(), self.next_position);
        self.messages.insert(self.next_position, message);
        self.next_position += 1;
    }

    /// Takes a message away.
    pub fn remove(&mut self, id: &str) -> Option<Message> {
        let position = self.positions.remove(id)?;
        self.messages.remove(&position)
    }

    /// Finds a message.
    pub fn get(&self, id: &str) -> Option<&Message> {
        self.messages.get(self.positions.get(id)?)
    }

    /// Counts one more receive.
    pub fn received(&mut self, id: &str, at: Timestamp) {
        let position = self.positions.get(id);
        if let Some(message) = position.and_then(|position| self.messages.get_mut(position)) {
            message.receive_count += 1;
            message.first_received_at.get_or_insert(at);
        }
    }

    /// All messages, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &Message> + Clone {
        self.messages.values()
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}
