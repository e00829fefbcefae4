//! The virtual clock that every stand-in and every function reads.
//!
//! Invariants: it stands still unless it is moved, and it never goes backwards. Nothing else in the
//! sandbox asks the machine for the time, except where an SDK compares an answer with its own clock.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// A handle on the shared clock; clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    now: Arc<Mutex<Timestamp>>,
}

impl Clock {
    /// A clock that stands at an instant.
    pub fn at(instant: Timestamp) -> Clock {
        Clock {
            now: Arc::new(Mutex::new(instant)),
        }
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock; an earlier instant leaves it where it is.
    pub(crate) fn move_to(&self, instant: Timestamp) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = instant.max(*now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_backwards() {
        let noon: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-03-10T13:00:00Z".parse().unwrap();
        let clock = Clock::at(noon);
        let same = clock.clone();
        clock.move_to(later);
        clock.move_to(noon);
        assert_eq!(same.now(), later);
    }
}
