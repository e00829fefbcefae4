//! SQS as far as a producer, an operator and the dead-letter queue need it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::checksums::{md5_of_attributes, md5_of_text};
use super::identity::HOME_ACCOUNT;
use super::wire::{WireError, read_body};
use crate::holdings::Change;
use crate::queues::{Attribute, Message, QueueName, RECEIVES_MAX};
use crate::world::World;

//= https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
//# The maximum is 1,048,576 bytes (1 MiB).
/// The largest message, attributes included, and the largest batch.
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// The most messages of one batch and of one receive.
const MESSAGES_PER_CALL_MAX: usize = 10;

/// How long a received message is hidden unless the caller says otherwise.
const VISIBILITY_SECONDS_DEFAULT: i64 = 30;

/// The longest delay of a message.
const DELAY_SECONDS_MAX: i64 = 900;

/// Answers an action of `AmazonSQS`.
pub fn answer(world: &World, action: &str, body: &[u8], own_url: &str) -> Result<Value, WireError> {
    match action {
        "SendMessage" => send(world, read_body(body)?),
        "SendMessageBatch" => send_batch(world, read_body(body)?),
        "ReceiveMessage" => receive(world, &read_body(body)?),
        "DeleteMessage" => delete(world, &read_body(body)?),
        "ChangeMessageVisibility" => change_visibility(world, &read_body(body)?),
        "GetQueueUrl" => {
            let request: QueueNamed = read_body(body)?;
            let queue = QueueName::named(&request.queue_name).ok_or_else(no_queue)?;
            Ok(json!({"QueueUrl": queue_url(own_url, queue)}))
        }
        "GetQueueAttributes" => {
            let request: AttributesWanted = read_body(body)?;
            let queue = queue_of(&request.queue_url)?;
            Ok(json!({"Attributes": queue_attributes(world, queue, &request.attribute_names)}))
        }
        "ListQueues" => {
            let urls = QueueName::ALL.map(|queue| queue_url(own_url, queue));
            Ok(json!({"QueueUrls": urls}))
        }
        other => Err(WireError::caller(
            "UnknownOperationException",
            format!("the sandbox has no {other}"),
        )),
    }
}

/// The URL of a queue behind an address.
pub fn queue_url(own_url: &str, queue: QueueName) -> String {
    format!("{own_url}/{HOME_ACCOUNT}/{}", queue.as_str())
}

/// The ARN of a queue.
pub fn queue_arn(queue: QueueName) -> String {
    format!("arn:aws:sqs:us-east-1:{HOME_ACCOUNT}:{}", queue.as_str())
}

/// Refuses a message that SQS would not take.
pub fn check_size(bytes: usize) -> Result<(), WireError> {
    if bytes > MESSAGE_BYTES_MAX {
        return Err(WireError::caller(
            "InvalidParameterValue",
            format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {MESSAGE_BYTES_MAX} bytes."
            ),
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueNamed {
    queue_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttributesWanted {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Send {
    queue_url: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    message_body: String,
    #[serde(default)]
    message_attributes: BTreeMap<String, Attribute>,
    #[serde(default)]
    delay_seconds: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendBatch {
    queue_url: String,
    entries: Vec<BatchEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchEntry {
    id: String,
    #[serde(flatten)]
    content: Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Receive {
    queue_url: String,
    max_number_of_messages: Option<usize>,
    visibility_timeout: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneMessage {
    queue_url: String,
    receipt_handle: String,
    #[serde(default)]
    visibility_timeout: i64,
}

fn no_queue() -> WireError {
    WireError::caller("QueueDoesNotExist", "The specified queue does not exist.")
}

fn queue_of(url: &str) -> Result<QueueName, WireError> {
    url.rsplit('/').next().and_then(QueueName::named).ok_or_else(no_queue)
}

fn message_of(content: Content, now: Timestamp) -> Result<Message, WireError> {
    if content.message_body.is_empty() {
        return Err(WireError::caller(
            "MissingParameter",
            "The request must contain the parameter MessageBody.",
        ));
    }
    if !(0..=DELAY_SECONDS_MAX).contains(&content.delay_seconds) {
        return Err(WireError::caller(
            "InvalidParameterValue",
            "DelaySeconds must be from 0 to 900.",
        ));
    }
    let mut message = Message::new(content.message_body, content.message_attributes, now);
    message.visible_from = now + SignedDuration::from_secs(content.delay_seconds);
    check_size(message.size_bytes())?;
    Ok(message)
}

fn receipt_of(message: &Message) -> Map<String, Value> {
    let mut receipt = Map::new();
    receipt.insert("MessageId".to_owned(), json!(message.id));
    receipt.insert("MD5OfMessageBody".to_owned(), json!(md5_of_text(&message.body)));
    if !message.attributes.is_empty() {
        receipt.insert(
            "MD5OfMessageAttributes".to_owned(),
            json!(md5_of_attributes(&message.attributes)),
        );
    }
    receipt
}

fn send(world: &World, request: Send) -> Result<Value, WireError> {
    let queue = queue_of(&request.queue_url)?;
    let message = message_of(request.content, world.now())?;
    let receipt = receipt_of(&message);
    world.change(Change::MessageSent { queue, message })?;
    Ok(Value::Object(receipt))
}

fn send_batch(world: &World, request: SendBatch) -> Result<Value, WireError> {
    let queue = queue_of(&request.queue_url)?;
    if request.entries.is_empty() {
        return Err(WireError::caller(
            "EmptyBatchRequest",
            "There is no entry in the request.",
        ));
    }
    if request.entries.len() > MESSAGES_PER_CALL_MAX {
        return Err(WireError::caller(
            "TooManyEntriesInBatchRequest",
            format!("Maximum number of entries per request are {MESSAGES_PER_CALL_MAX}."),
        ));
    }
    let now = world.now();
    let (mut changes, mut successful, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut batch_bytes: usize = 0;
    for entry in request.entries {
        match message_of(entry.content, now) {
            Ok(message) => {
                batch_bytes += message.size_bytes();
                let mut receipt = receipt_of(&message);
                receipt.insert("Id".to_owned(), json!(entry.id));
                successful.push(Value::Object(receipt));
                changes.push(Change::MessageSent { queue, message });
            }
            Err(error) => failed.push(json!({
                "Id": entry.id, "SenderFault": true, "Code": error.code, "Message": error.message,
            })),
        }
    }
    if batch_bytes > MESSAGE_BYTES_MAX {
        return Err(WireError::caller(
            "BatchRequestTooLong",
            format!("Batch requests cannot be longer than {MESSAGE_BYTES_MAX} bytes."),
        ));
    }
    world.decide(|_| (changes, ()))?;
    Ok(json!({"Successful": successful, "Failed": failed}))
}

fn receive(world: &World, request: &Receive) -> Result<Value, WireError> {
    let queue = queue_of(&request.queue_url)?;
    let wanted = request.max_number_of_messages.unwrap_or(1);
    if !(1..=MESSAGES_PER_CALL_MAX).contains(&wanted) {
        return Err(WireError::caller(
            "InvalidParameterValue",
            "MaxNumberOfMessages must be from 1 to 10.",
        ));
    }
    let hidden = request.visibility_timeout.unwrap_or(VISIBILITY_SECONDS_DEFAULT);
    let messages = world.receive(queue, wanted, after_seconds(world, hidden)?)?;
    let messages: Vec<Value> = messages.iter().map(received_json).collect();
    Ok(json!({"Messages": messages}))
}

fn received_json(message: &Message) -> Value {
    json!({
        "MessageId": message.id,
        "ReceiptHandle": message.id,
        "Body": message.body,
        "MD5OfBody": md5_of_text(&message.body),
        "MessageAttributes": message.attributes,
        "MD5OfMessageAttributes": md5_of_attributes(&message.attributes),
        "Attributes": system_attributes(message),
    })
}

/// The attributes that SQS itself adds to a received message.
pub fn system_attributes(message: &Message) -> BTreeMap<String, String> {
    let first = message.first_received_at.unwrap_or(message.sent_at);
    BTreeMap::from([
        ("ApproximateReceiveCount".to_owned(), message.receive_count.to_string()),
        ("SentTimestamp".to_owned(), message.sent_at.as_millisecond().to_string()),
        (
            "ApproximateFirstReceiveTimestamp".to_owned(),
            first.as_millisecond().to_string(),
        ),
        ("SenderId".to_owned(), HOME_ACCOUNT.to_owned()),
    ])
}

fn delete(world: &World, request: &OneMessage) -> Result<Value, WireError> {
    let queue = queue_of(&request.queue_url)?;
    world.change(Change::MessageDeleted {
        queue,
        id: request.receipt_handle.clone(),
    })?;
    Ok(json!({}))
}

fn change_visibility(world: &World, request: &OneMessage) -> Result<Value, WireError> {
    let queue = queue_of(&request.queue_url)?;
    match request.visibility_timeout {
        0 => world.hand_back(queue, &request.receipt_handle),
        seconds => world.keep_until(queue, &request.receipt_handle, after_seconds(world, seconds)?),
    }
    Ok(json!({}))
}

fn after_seconds(world: &World, seconds: i64) -> Result<Timestamp, WireError> {
    const HOURS_12: i64 = 43_200;
    if !(0..=HOURS_12).contains(&seconds) {
        return Err(WireError::caller(
            "InvalidParameterValue",
            "VisibilityTimeout must be from 0 to 43200.",
        ));
    }
    Ok(world.now() + SignedDuration::from_secs(seconds))
}

fn queue_attributes(world: &World, queue: QueueName, wanted: &[String]) -> BTreeMap<&'static str, String> {
    let count = world.read(|holdings| holdings.queue(queue).len());
    let mut attributes = BTreeMap::from([
        ("QueueArn", queue_arn(queue)),
        ("ApproximateNumberOfMessages", count.to_string()),
        ("MaximumMessageSize", MESSAGE_BYTES_MAX.to_string()),
        ("VisibilityTimeout", VISIBILITY_SECONDS_DEFAULT.to_string()),
    ]);
    if queue == QueueName::Bills {
        let policy = json!({
            "deadLetterTargetArn": queue_arn(QueueName::DeadLetters),
            "maxReceiveCount": RECEIVES_MAX,
        });
        attributes.insert("RedrivePolicy", policy.to_string());
    }
    attributes.retain(|name, _| wanted.iter().any(|one| one == name || one == "All"));
    attributes
}
