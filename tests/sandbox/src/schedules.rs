//! The schedules, run by the virtual clock.
//!
//! Invariant: when the clock moves, it stops at every instant at which something is due, and goes on
//! only when that has been handled. So a function never sees a time between two ticks that it would
//! not see in AWS.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::holdings::Change;
use crate::journal::JournalError;
use crate::queue::drain;
use crate::queues::{Message, QueueName};
use crate::seam::Reconcile;
use crate::world::World;

/// The message of the tick.
pub const FLUSH: &str = r#"{"flush":true}"#;

/// The message of the sweep.
pub const SWEEP: &str = r#"{"sweep":true}"#;

/// Minutes past each hour at which the tick runs.
const TICK_MINUTE: i8 = 1;

/// Minutes past each hour at which m3ter is asked for changed bills.
const SWEEP_MINUTE: i8 = 41;

/// On the 1st the tick also runs at these minutes past five, before last month closes at six.
const MONTH_END_HOUR: i8 = 5;
const MONTH_END_MINUTES: [i8; 4] = [15, 30, 45, 55];

/// When the previous day is reconciled.
const DAILY_HOUR: i8 = 11;
const DAILY_MINUTE: i8 = 0;

/// Minutes past each hour at which what AWS still takes is looked at.
const WATCH_MINUTE: i8 = 40;

/// Why the clock was not moved.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// The clock never goes backwards.
    #[error("now: the clock is at {now} and never goes back to {wanted}")]
    Backwards {
        /// Where it is.
        now: Timestamp,
        /// Where it should go.
        wanted: Timestamp,
    },
    /// The move could not be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Moves the clock and runs what becomes due on the way, each at its instant.
pub async fn advance(world: &World, reconcile: &Reconcile, to: Timestamp) -> Result<(), AdvanceError> {
    let now = world.now();
    if to < now {
        return Err(AdvanceError::Backwards { now, wanted: to });
    }
    drain(world).await;
    while let Some(stop) = next_stop(world).filter(|stop| *stop <= to) {
        world.change(Change::ClockMoved { to: stop })?;
        if is_tick(stop) {
            send(world, FLUSH)?;
        }
        if is_sweep(stop) {
            send(world, SWEEP)?;
        }
        for event in reconciliations(stop) {
            invoke(reconcile, event, stop).await;
        }
        drain(world).await;
    }
    world.change(Change::ClockMoved { to })?;
    drain(world).await;
    Ok(())
}

/// Puts a schedule's message on the bill queue; gives its id.
pub fn send(world: &World, scheduled: &str) -> Result<String, JournalError> {
    let message = Message::new(scheduled.to_owned(), Default::default(), world.now());
    let id = message.id.clone();
    world.change(Change::MessageSent {
        queue: QueueName::Bills,
        message,
    })?;
    Ok(id)
}

/// Invokes the reconcile function as its schedule does: what it could not do is in its log, and continued by the next.
pub async fn invoke(reconcile: &Reconcile, event: Value, now: Timestamp) {
    // A panic ends the invocation and not the sandbox. No task of its own: whoever stops waiting has killed the invocation, as its end of
    // time does on AWS.
    match AssertUnwindSafe(reconcile(event, now)).catch_unwind().await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the reconcile function failed"),
        Err(_) => tracing::error!("the reconcile function panicked"),
    }
}

/// What the schedules of reconciliation say at an instant. What is open is continued every few minutes in AWS; the sandbox, whose clock
/// stands still meanwhile, continues it with every look.
fn reconciliations(instant: Timestamp) -> Vec<Value> {
    let at: DateTime = instant.to_zoned(TimeZone::UTC).datetime();
    let on_time = |minute: i8| whole_minute(instant) == instant && at.minute() == minute;
    let mut events = Vec::new();
    if on_time(DAILY_MINUTE) && at.hour() == DAILY_HOUR {
        events.push(json!({ "daily": {} }));
    }
    if on_time(WATCH_MINUTE) {
        events.extend([json!({ "watch": {} }), json!({ "continue": {} })]);
    }
    events
}

fn next_stop(world: &World) -> Option<Timestamp> {
    let due = next(world.now(), |minute| {
        is_tick(minute) || is_sweep(minute) || !reconciliations(minute).is_empty()
    });
    match world.next_delayed() {
        Some(delayed) => Some(delayed.min(due?)),
        None => due,
    }
}

/// The first instant after another at which the tick runs; `None` at the end of time.
pub fn next_tick(after: Timestamp) -> Option<Timestamp> {
    next(after, is_tick)
}

fn next(after: Timestamp, is_due: impl Fn(Timestamp) -> bool) -> Option<Timestamp> {
    let mut minute = whole_minute(after);
    // Every schedule runs every hour, so an hour and a minute always hold one.
    for _ in 0..=61 {
        minute = minute.checked_add(SignedDuration::from_mins(1)).ok()?;
        if is_due(minute) {
            return Some(minute);
        }
    }
    None
}

fn whole_minute(instant: Timestamp) -> Timestamp {
    let second = instant.as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap_or(instant)
}

fn is_tick(instant: Timestamp) -> bool {
    let at: DateTime = instant.to_zoned(TimeZone::UTC).datetime();
    whole_minute(instant) == instant
        && (at.minute() == TICK_MINUTE
            || (at.day() == 1 && at.hour() == MONTH_END_HOUR && MONTH_END_MINUTES.contains(&at.minute())))
}

fn is_sweep(instant: Timestamp) -> bool {
    let minute = instant.to_zoned(TimeZone::UTC).minute();
    whole_minute(instant) == instant && minute == SWEEP_MINUTE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_previous_day_is_reconciled_at_eleven_and_the_window_looked_at_each_hour() {
        for (after, next, events) in [
            ("2026-03-10T10:39:59Z", "2026-03-10T10:40:00Z", 2),
            ("2026-03-10T10:40:00Z", "2026-03-10T11:00:00Z", 1),
            ("2026-03-10T11:00:00Z", "2026-03-10T11:40:00Z", 2),
            ("2026-03-10T11:40:30Z", "2026-03-10T12:40:00Z", 2),
        ] {
            let expected: Timestamp = next.parse().unwrap();
            assert_eq!(
                super::next(after.parse().unwrap(), |minute| !reconciliations(minute).is_empty()),
                Some(expected),
                "{after}"
            );
            assert_eq!(reconciliations(expected).len(), events, "{next}");
        }
    }

    #[test]
    fn the_tick_runs_each_hour_and_more_often_before_a_month_closes() {
        for (after, next) in [
            ("2026-03-10T10:00:59.5Z", "2026-03-10T10:01:00Z"),
            ("2026-03-10T10:01:00Z", "2026-03-10T11:01:00Z"),
            ("2026-03-10T05:02:00Z", "2026-03-10T06:01:00Z"),
            ("2026-03-31T23:30:00Z", "2026-04-01T00:01:00Z"),
            ("2026-04-01T05:01:00Z", "2026-04-01T05:15:00Z"),
            ("2026-04-01T05:15:00Z", "2026-04-01T05:30:00Z"),
            ("2026-04-01T05:30:30Z", "2026-04-01T05:45:00Z"),
            ("2026-04-01T05:45:00Z", "2026-04-01T05:55:00Z"),
            ("2026-04-01T05:55:00Z", "2026-04-01T06:01:00Z"),
        ] {
            let expected: Timestamp = next.parse().unwrap();
            assert_eq!(next_tick(after.parse().unwrap()), Some(expected), "{after}");
        }
    }
}
