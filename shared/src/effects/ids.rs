//! Ids that are ordered by the time at which they were made.

use std::sync::Mutex;

use jiff::Timestamp;
use uuid::{ContextV7, Uuid};

/// Makes ids. Within one instant they are in the order in which they were made: a virtual clock may stand still for long.
#[derive(Debug)]
pub struct Ids(Mutex<ContextV7>);

impl Ids {
    /// A maker of ids; share one.
    pub fn new() -> Ids {
        Ids(Mutex::new(ContextV7::new()))
    }

    /// An id made at `now`: a UUID of version 7. A `now` before the last one counts as that.
    pub fn next(&self, now: Timestamp) -> Uuid {
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let nanoseconds = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(&self.0, seconds, nanoseconds))
    }

    /// As [`Ids::next`], as text.
    pub fn text(&self, now: Timestamp) -> String {
        self.next(now).to_string()
    }
}

impl Default for Ids {
    fn default() -> Ids {
        Ids::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_instant_keep_their_order() {
        let ids = Ids::new();
        let now: Timestamp = "2025-06-10T10:00:00Z".parse().unwrap();
        let made: Vec<String> = (0..1_000).map(|_| ids.text(now)).collect();
        assert!(made.is_sorted());
        assert!(ids.text("2025-06-10T10:00:00.001Z".parse().unwrap()) > made[999]);
        assert!(made[0].starts_with("01975948"), "{}", made[0]);
    }
}
