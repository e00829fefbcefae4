//! The bill queue and its dead-letter queue.

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::{
    Client,
    types::{MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    bodies::Bodies,
    store_error::{StoreError, unavailable},
};

//= https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
//# The maximum message size is 1,048,576 bytes (1 MiB); the limit of a batch is the same
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
//= https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
//# up to 10 messages
const MESSAGES_PER_BATCH_MAX: usize = 10;
/// Times the failed messages of a batch are sent again.
const BATCH_ATTEMPTS_MAX: u32 = 5;
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// A reason shorter than this says too little; then the body goes elsewhere.
const REASON_BYTES_MIN: usize = 512;
/// Longer reasons are cut even where there is room: they are read in a console.
const REASON_BYTES_MAX: usize = 16 * 1024;
/// An attribute's name and type count as part of the message.
const REASON_OVERHEAD_BYTES: usize = "reason".len() + "String".len();

/// The queue that bills arrive on.
#[derive(Debug, Clone)]
pub struct BillQueue {
    client: Client,
    url: String,
    bodies: Bodies,
    dead_letter_url: Arc<OnceCell<String>>,
}

impl BillQueue {
    /// The queue at `url`; dead letters that are too large for one leave their body in `bodies`.
    pub fn new(client: Client, url: impl Into<String>, bodies: Bodies) -> BillQueue {
        BillQueue {
            client,
            url: url.into(),
            bodies,
            dead_letter_url: Arc::new(OnceCell::new()),
        }
    }

    /// Whether a text fits into one message.
    pub fn fits(text: &str) -> bool {
        text.len() <= MESSAGE_BYTES_MAX
    }

    /// Queues a message and gives SQS's id of it. Errors: larger than SQS takes; the queue does not answer.
    pub async fn send(&self, message: &Value) -> Result<String, StoreError> {
        let body = message.to_string();
        check_size(&body)?;
        let request = self.client.send_message().queue_url(&self.url).message_body(body);
        let answer = request.send().await.map_err(unavailable("SQS SendMessage"))?;
        Ok(answer.message_id.unwrap_or_default())
    }

    /// Queues all messages, in batches. An error leaves some of them queued: messages of Outbill's can be repeated.
    pub async fn send_all(&self, messages: &[Value]) -> Result<(), StoreError> {
        let mut batch: Vec<String> = Vec::new();
        let mut bytes = 0;
        for message in messages {
            let body = message.to_string();
            check_size(&body)?;
            if batch.len() >= MESSAGES_PER_BATCH_MAX || bytes + body.len() > MESSAGE_BYTES_MAX {
                self.send_batch(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += body.len();
            batch.push(body);
        }
        self.send_batch(batch).await
    }

    async fn send_batch(&self, mut bodies: Vec<String>) -> Result<(), StoreError> {
        const OPERATION: &str = "SQS SendMessageBatch";
        for attempt in 0..BATCH_ATTEMPTS_MAX {
            if bodies.is_empty() {
                return Ok(());
            }
            let entry = |(id, body): (usize, &String)| {
                SendMessageBatchRequestEntry::builder()
                    .id(id.to_string())
                    .message_body(body)
                    .build()
            };
            let entries: Result<Vec<_>, _> = bodies.iter().enumerate().map(entry).collect();
            let entries = entries.map_err(|error| StoreError::other(OPERATION, error))?;
            let request = self
                .client
                .send_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries));
            let answer = request.send().await.map_err(unavailable(OPERATION))?;
            if let Some(refused) = answer.failed().iter().find(|failed| failed.sender_fault()) {
                return Err(StoreError::other(
                    OPERATION,
                    format!("SQS refused a message: {}", refused.code()),
                ));
            }
            let failed: Vec<&str> = answer.failed().iter().map(|failed| failed.id()).collect();
            let place = |(id, body): (usize, String)| failed.contains(&id.to_string().as_str()).then_some(body);
            bodies = bodies.into_iter().enumerate().filter_map(place).collect();
            if !bodies.is_empty() {
                tokio::time::sleep(BATCH_PAUSE * 2_u32.saturating_pow(attempt)).await;
            }
        }
        match bodies.is_empty() {
            true => Ok(()),
            false => Err(StoreError::other(OPERATION, "SQS did not take every message")),
        }
    }

    /// Puts a message that cannot be handled into the dead-letter queue, as it was, with the reason as the attribute `reason`.
    ///
    /// Where both do not fit, the reason is shortened; where that is not enough, the dead letter names the stored body.
    pub async fn dead_letter(&self, now: Timestamp, original_body: &str, reason: &str) -> Result<(), StoreError> {
        let reason = attribute_text(reason);
        let room = MESSAGE_BYTES_MAX.saturating_sub(original_body.len() + REASON_OVERHEAD_BYTES);
        let (body, reason) = if reason.len() <= room || room >= REASON_BYTES_MIN {
            (original_body.to_owned(), cut(&reason, room).to_owned())
        } else {
            let id = self.bodies.put(None, now, original_body).await?;
            (json!({"storedBody": id, "reason": reason}).to_string(), reason)
        };
        let attribute = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(reason)
            .build();
        let attribute = attribute.map_err(|error| StoreError::other("SQS SendMessage", error))?;
        let url = self
            .dead_letter_url
            .get_or_try_init(|| self.find_dead_letter_url())
            .await?;
        // SQS takes no empty message.
        let body = if body.is_empty() { " ".to_owned() } else { body };
        let request = self.client.send_message().queue_url(url).message_body(body);
        let request = request.message_attributes("reason", attribute);
        request.send().await.map_err(unavailable("SQS SendMessage"))?;
        Ok(())
    }

    /// The queue's own redrive policy names its dead-letter queue, so that the two cannot disagree.
    async fn find_dead_letter_url(&self) -> Result<String, StoreError> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let answer = answer.map_err(unavailable("SQS GetQueueAttributes"))?;
        let policy = answer
            .attributes()
            .and_then(|attributes| attributes.get(&QueueAttributeName::RedrivePolicy));
        let name = policy.and_then(|policy| dead_letter_name(policy));
        let (account, name) = name.ok_or_else(|| StoreError::corrupt(&self.url, "RedrivePolicy"))?;
        let request = self
            .client
            .get_queue_url()
            .queue_name(name)
            .queue_owner_aws_account_id(account);
        let answer = request.send().await.map_err(unavailable("SQS GetQueueUrl"))?;
        answer
            .queue_url
            .ok_or_else(|| StoreError::corrupt(&self.url, "QueueUrl"))
    }
}

fn check_size(body: &str) -> Result<(), StoreError> {
    if BillQueue::fits(body) {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        what: "a message",
        bytes: body.len(),
        bytes_max: MESSAGE_BYTES_MAX,
    })
}

/// The account and the name of the dead-letter queue, from `{"deadLetterTargetArn":"arn:aws:sqs:<region>:<account>:<name>",…}`.
fn dead_letter_name(policy: &str) -> Option<(String, String)> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let mut parts = policy.get("deadLetterTargetArn")?.as_str()?.rsplitn(3, ':');
    let (name, account) = (parts.next()?, parts.next()?);
    Some((account.to_owned(), name.to_owned()))
}

/// What SQS takes as an attribute: not empty, no control characters but line breaks and tabs, not too long.
fn attribute_text(reason: &str) -> String {
    let allowed = |character: char| {
        let control = character.is_control() && !matches!(character, '\n' | '\t');
        let no_character = matches!(character, '\u{FFFE}' | '\u{FFFF}');
        if control || no_character { ' ' } else { character }
    };
    let text: String = reason.chars().map(allowed).collect();
    match cut(&text, REASON_BYTES_MAX) {
        "" => "no reason was given".to_owned(),
        text => text.to_owned(),
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.split_at(text.floor_char_boundary(bytes_max)).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_policy_names_the_queue() {
        let check = |policy: &str, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(account, name)| (account.to_owned(), name.to_owned()));
            assert_eq!(dead_letter_name(policy), expect, "{policy}");
        };
        check(
            r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":5}"#,
            Some(("000000000000", "dead")),
        );
        check(r#"{"maxReceiveCount":5}"#, None);
        check("", None);
    }

    #[test]
    fn a_reason_is_what_sqs_takes() {
        let check = |reason: &str, expect: &str| assert_eq!(attribute_text(reason), expect);
        check("a\u{0}b\nc", "a b\nc");
        check("", "no reason was given");
        assert_eq!(attribute_text(&"ö".repeat(9_000)).len(), REASON_BYTES_MAX);
    }
}
