//! The event source: what Lambda does between an SQS queue and a function.
//!
//! A batch is received, handled, and then settled: what succeeded is deleted, what failed waits
//! again behind the others, what failed for the tenth time is dead-lettered. Handling and deleting
//! are two steps on purpose: killed between them, the messages come again. At least once, as in AWS.
//!
//! A failed message is visible again at once, not after a visibility timeout: the virtual clock
//! stands still, and waiting for it would be waiting for ever.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage, SqsMessageAttribute};
use tokio::task::JoinHandle;

use crate::aws::{md5_of_text, queue_arn, system_attributes};
use crate::holdings::Change;
use crate::journal::JournalError;
use crate::queues::{Attribute, Message, QueueName, RECEIVES_MAX};
use crate::seam::Dispatch;
use crate::world::World;

//= https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
//# For standard queues, you can set a batch size of up to 10,000 records
/// The batch size that the template sets.
pub const MESSAGES_PER_BATCH_MAX: usize = 100;

//= https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
//# 6 MB each for request and response (synchronous)
/// The largest payload of an invocation.
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;

/// The running event source; dropping it stops it, handled or not.
#[derive(Debug)]
pub struct EventSource {
    workers: Vec<JoinHandle<()>>,
}

impl Drop for EventSource {
    fn drop(&mut self) {
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

impl EventSource {
    /// Starts so many workers; one makes the order of handling the order of the queue, and with none nobody handles anything.
    pub fn start(world: &Arc<World>, dispatch: &Dispatch, workers: usize) -> EventSource {
        EventSource {
            workers: (0..workers)
                .map(|_| tokio::spawn(work(world.clone(), dispatch.clone())))
                .collect(),
        }
    }
}

/// Waits until the bill queue has nothing to handle and nothing is being handled.
pub async fn drain(world: &World) {
    wait_until(world, World::is_idle).await;
}

/// Waits until a message has left the bill queue.
pub async fn wait_for(world: &World, id: &str) {
    wait_until(world, |world| world.read(|holdings| holdings.bills.get(id).is_none())).await;
}

async fn wait_until(world: &World, is_so: impl Fn(&World) -> bool) {
    loop {
        let changed = world.queue_changed.notified();
        tokio::pin!(changed);
        // From here on no change is missed, also none between the look and the wait.
        changed.as_mut().enable();
        if is_so(world) {
            return;
        }
        changed.await;
    }
}

async fn work(world: Arc<World>, dispatch: Dispatch) {
    loop {
        let changed = world.queue_changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match world.take_batch(MESSAGES_PER_BATCH_MAX, PAYLOAD_BYTES_MAX) {
            Ok(batch) if batch.is_empty() => changed.await,
            Ok(batch) => {
                if let Err(error) = handle(&world, &dispatch, &batch).await {
                    tracing::error!(%error, "a batch was handled but could not be settled");
                    batch
                        .iter()
                        .for_each(|message| world.hand_back(QueueName::Bills, &message.id));
                    changed.await;
                }
            }
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read");
                changed.await;
            }
        }
    }
}

async fn handle(world: &World, dispatch: &Dispatch, batch: &[Message]) -> Result<(), JournalError> {
    let mut event = SqsEvent::default();
    event.records = batch.iter().map(record_of).collect();
    // In a task of its own, a panic ends the invocation and not the event source.
    let answer = tokio::spawn(dispatch(event, world.now())).await;
    let failed = failed_ids(batch, answer.as_ref().ok());
    let settled = batch.iter().map(|message| settle(message, &failed)).collect();
    world.decide(|_| (settled, ()))
}

//= https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
//# Lambda treats a batch as a complete failure if your function returns any of the following
fn failed_ids<'a>(batch: &'a [Message], answer: Option<&'a SqsBatchResponse>) -> HashSet<&'a str> {
    let all: HashSet<&str> = batch.iter().map(|message| message.id.as_str()).collect();
    let Some(answer) = answer else {
        return all;
    };
    let failed: HashSet<&str> = answer
        .batch_item_failures
        .iter()
        .map(|failure| failure.item_identifier.as_str())
        .collect();
    if failed.is_subset(&all) { failed } else { all }
}

fn settle(message: &Message, failed: &HashSet<&str>) -> Change {
    let id = message.id.clone();
    if !failed.contains(message.id.as_str()) {
        Change::MessageDeleted {
            queue: QueueName::Bills,
            id,
        }
    } else if message.receive_count >= RECEIVES_MAX {
        Change::MessageDeadLettered {
            id,
            reason: format!("received {RECEIVES_MAX} times"),
        }
    } else {
        Change::MessageReturned {
            queue: QueueName::Bills,
            id,
        }
    }
}

fn record_of(message: &Message) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some(message.id.clone());
    record.receipt_handle = Some(message.id.clone());
    record.body = Some(message.body.clone());
    record.md5_of_body = Some(md5_of_text(&message.body));
    record.attributes = system_attributes(message).into_iter().collect();
    record.message_attributes = message
        .attributes
        .iter()
        .map(|(name, attribute)| (name.clone(), attribute_of(attribute)))
        .collect();
    record.event_source_arn = Some(queue_arn(QueueName::Bills));
    record.event_source = Some("aws:sqs".to_owned());
    record.aws_region = Some("us-east-1".to_owned());
    record
}

fn attribute_of(attribute: &Attribute) -> SqsMessageAttribute {
    let mut record = SqsMessageAttribute::default();
    record.string_value.clone_from(&attribute.string_value);
    record.data_type = Some(attribute.data_type.clone());
    record
}
