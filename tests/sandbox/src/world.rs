//! The stand-ins' shared state: read, decide and change under one lock, with the journal.
//!
//! Invariants: a change is in the journal before it takes effect; what is in flight is known to the
//! process alone, so a message that was being handled when the process was killed comes again.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use marketplace::{Call, MeteringError};
use serde_json::Value;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::holdings::{Change, Holdings};
use crate::journal::{Journal, JournalError};
use crate::queues::{Message, QueueName};

/// Who holds a message that was received and not yet deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The dispatch function, until it answers.
    EventSource,
    /// A caller of `ReceiveMessage`, until the instant.
    Caller(Timestamp),
}

#[derive(Debug)]
struct Inner {
    holdings: Holdings,
    journal: Option<Journal>,
    in_flight: HashMap<(QueueName, String), Holder>,
}

/// The shared state of all stand-ins.
#[derive(Debug)]
pub struct World {
    inner: Mutex<Inner>,
    clock: Clock,
    /// Told whenever a queue or the clock changed.
    pub(crate) queue_changed: Notify,
}

impl World {
    /// A world without a past that lives in memory.
    pub fn in_memory(start: Timestamp) -> World {
        World::new(Holdings::default(), None, Clock::at(start))
    }

    /// The world that a journal tells of; a new one begins at `start`.
    pub fn open(journal: &Path, start: Timestamp) -> Result<World, JournalError> {
        let (journal, changes) = Journal::open::<Change>(journal)?;
        let mut holdings = Holdings::default();
        let mut clock: Option<Clock> = None;
        for change in changes {
            if let Change::ClockMoved { to } = change {
                clock.get_or_insert_with(|| Clock::at(to)).move_to(to);
            }
            holdings.apply(change);
        }
        let is_new = clock.is_none();
        let clock = clock.unwrap_or_else(|| Clock::at(start));
        let world = World::new(holdings, Some(journal), clock);
        if is_new {
            world.change(Change::ClockMoved { to: start })?;
        }
        Ok(world)
    }

    fn new(holdings: Holdings, journal: Option<Journal>, clock: Clock) -> World {
        World {
            inner: Mutex::new(Inner {
                holdings,
                journal,
                in_flight: HashMap::new(),
            }),
            clock,
            queue_changed: Notify::new(),
        }
    }

    /// The virtual clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks at the holdings.
    pub fn read<T>(&self, look: impl FnOnce(&Holdings) -> T) -> T {
        look(&self.lock().holdings)
    }

    /// Makes one change.
    pub fn change(&self, change: Change) -> Result<(), JournalError> {
        self.decide(|_| (vec![change], ()))
    }

    /// Looks, decides and changes while nobody else can.
    pub fn decide<T>(&self, decide: impl FnOnce(&Holdings) -> (Vec<Change>, T)) -> Result<T, JournalError> {
        let mut inner = self.lock();
        let (changes, outcome) = decide(&inner.holdings);
        self.commit(&mut inner, changes)?;
        Ok(outcome)
    }

    /// Makes a metering call; the outer error means that nothing happened.
    pub fn meter(&self, call: Call<'_>) -> Result<Result<Value, MeteringError>, JournalError> {
        let mut inner = self.lock();
        if let Some(journal) = &mut inner.journal {
            journal.append(&[Change::Metered {
                region: call.region.to_owned(),
                account: call.account.to_owned(),
                request_json: call.request_json.to_owned(),
                now: call.now,
                leave_unprocessed: call.leave_unprocessed,
            }])?;
        }
        Ok(inner.holdings.marketplace.call(call))
    }

    /// Hands messages of the bill queue to the dispatch function, at most so many and so large.
    pub fn take_batch(&self, messages_max: usize, bytes_max: usize) -> Result<Vec<Message>, JournalError> {
        self.take(QueueName::Bills, Holder::EventSource, messages_max, bytes_max)
    }

    /// Hands messages to a caller of `ReceiveMessage`, who has them until an instant.
    pub fn receive(
        &self,
        queue: QueueName,
        messages_max: usize,
        until: Timestamp,
    ) -> Result<Vec<Message>, JournalError> {
        self.take(queue, Holder::Caller(until), messages_max, usize::MAX)
    }

    /// Makes messages of a queue visible again that were handed out.
    pub fn hand_back(&self, queue: QueueName, id: &str) {
        self.lock().in_flight.remove(&(queue, id.to_owned()));
        self.queue_changed.notify_waiters();
    }

    /// Lets a caller keep a message until an instant.
    pub fn keep_until(&self, queue: QueueName, id: &str, until: Timestamp) {
        self.lock()
            .in_flight
            .insert((queue, id.to_owned()), Holder::Caller(until));
    }

    /// Whether the dispatch function has nothing to do and is doing nothing.
    pub fn is_idle(&self) -> bool {
        let inner = self.lock();
        let now = self.now();
        inner.holdings.bills.messages().all(|message| {
            match inner.in_flight.get(&(QueueName::Bills, message.id.clone())) {
                Some(Holder::EventSource) => false,
                Some(Holder::Caller(until)) => *until > now,
                None => message.visible_from > now,
            }
        })
    }

    /// How many messages of a queue nobody has in hand, and how many seconds ago the oldest of the queue was sent.
    pub fn measure(&self, queue: QueueName) -> (i64, i64) {
        let inner = self.lock();
        let now = self.now();
        let messages = inner.holdings.queue(queue).messages();
        let is_visible = |message: &&Message| {
            message.visible_from <= now && !inner.in_flight.contains_key(&(queue, message.id.clone()))
        };
        let visible = messages.clone().filter(is_visible).count();
        let oldest = messages.map(|message| message.sent_at).min();
        let seconds = oldest.map_or(0, |sent| now.duration_since(sent).as_secs());
        (i64::try_from(visible).unwrap_or(i64::MAX), seconds)
    }

    /// The next instant at which a delayed message of the bill queue becomes visible.
    pub fn next_delayed(&self) -> Option<Timestamp> {
        let now = self.now();
        self.read(|holdings| {
            holdings
                .bills
                .messages()
                .map(|message| message.visible_from)
                .filter(|instant| *instant > now)
                .min()
        })
    }

    fn take(
        &self,
        queue: QueueName,
        holder: Holder,
        messages_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Message>, JournalError> {
        let mut inner = self.lock();
        let now = self.now();
        let mut bytes: usize = 0;
        let ids: Vec<String> = inner
            .holdings
            .queue(queue)
            .messages()
            .filter(|message| {
                message.visible_from <= now
                    && match inner.in_flight.get(&(queue, message.id.clone())) {
                        Some(Holder::EventSource) => false,
                        Some(Holder::Caller(until)) => *until <= now,
                        None => true,
                    }
            })
            .take(messages_max)
            .take_while(|message| {
                // The first always fits: SQS's limit for one message is below Lambda's for all.
                let is_first = bytes == 0;
                bytes = bytes.saturating_add(message.payload_bytes());
                is_first || bytes <= bytes_max
            })
            .map(|message| message.id.clone())
            .collect();
        let received = ids
            .iter()
            .map(|id| Change::MessageReceived {
                queue,
                id: id.clone(),
                at: now,
            })
            .collect();
        self.commit(&mut inner, received)?;
        for id in &ids {
            inner.in_flight.insert((queue, id.clone()), holder);
        }
        Ok(ids
            .iter()
            .filter_map(|id| inner.holdings.queue(queue).get(id).cloned())
            .collect())
    }

    fn commit(&self, inner: &mut Inner, changes: Vec<Change>) -> Result<(), JournalError> {
        if changes.is_empty() {
            return Ok(());
        }
        if let Some(journal) = &mut inner.journal {
            journal.append(&changes)?;
        }
        for change in changes {
            match &change {
                Change::ClockMoved { to } => self.clock.move_to(*to),
                Change::MessageReturned { queue, id } | Change::MessageDeleted { queue, id } => {
                    inner.in_flight.remove(&(*queue, id.clone()));
                }
                Change::MessageDeadLettered { id, .. } => {
                    inner.in_flight.remove(&(QueueName::Bills, id.clone()));
                }
                _ => {}
            }
            inner.holdings.apply(change);
        }
        self.queue_changed.notify_waiters();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(world: &World, body: String) {
        let message = Message::new(body, Default::default(), world.now());
        let queue = QueueName::Bills;
        world.change(Change::MessageSent { queue, message }).unwrap();
    }

    #[test]
    fn a_batch_keeps_to_both_limits_and_hands_out_a_message_once() {
        const MEBIBYTE: usize = 1_048_576;
        let world = World::in_memory(Timestamp::UNIX_EPOCH);
        (0..8).for_each(|_| push(&world, "x".repeat(MEBIBYTE)));
        let sizes = || world.take_batch(100, 6 * MEBIBYTE).unwrap().len();
        assert_eq!([sizes(), sizes(), sizes()], [5, 3, 0]);
        (0..150).for_each(|_| push(&world, "x".to_owned()));
        assert_eq!([sizes(), sizes(), sizes()], [100, 50, 0]);
    }

    #[test]
    fn a_message_that_escapes_to_more_than_the_limit_is_handed_out_alone() {
        let world = World::in_memory(Timestamp::UNIX_EPOCH);
        push(&world, "\"".repeat(100));
        push(&world, "x".to_owned());
        assert_eq!(world.take_batch(100, 10).unwrap().len(), 1);
        assert_eq!(world.take_batch(100, 10).unwrap().len(), 1);
    }

    #[test]
    fn a_caller_keeps_a_message_until_its_time_is_up() {
        let world = World::in_memory(Timestamp::UNIX_EPOCH);
        push(&world, "x".to_owned());
        let later: Timestamp = "1970-01-01T00:00:30Z".parse().unwrap();
        assert_eq!(world.receive(QueueName::Bills, 10, later).unwrap().len(), 1);
        assert!(world.is_idle());
        assert!(world.take_batch(100, 1000).unwrap().is_empty());
        world.change(Change::ClockMoved { to: later }).unwrap();
        assert!(!world.is_idle());
        assert_eq!(world.take_batch(100, 1000).unwrap()[0].receive_count, 2);
    }
}
