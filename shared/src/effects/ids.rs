//! Ids that are ordered by the time at which they were made.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use uuid::{Builder, Uuid};

use super::random::Random;

/// Ids that one millisecond has room for; what is made beyond counts as made in the next.
const IDS_PER_MILLISECOND: u16 = 1 << 12;

/// Makes ids. Within one instant they are in the order in which they were made: a virtual clock may stand still for long.
#[derive(Debug)]
pub struct Ids {
    random: Random,
    /// The millisecond of the last id, and how many it has.
    last: Mutex<(u64, u16)>,
}

impl Ids {
    /// A maker of ids; share one.
    pub fn new(random: Random) -> Ids {
        Ids {
            random,
            last: Mutex::new((0, 0)),
        }
    }

    /// An id made at `now`: a UUID of version 7 whose first random field counts. A `now` before the last one counts as that.
    pub fn next(&self, now: Timestamp) -> Uuid {
        let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let (milliseconds, count) = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = match *last {
                (known, _) if milliseconds > known => (milliseconds, 1),
                (known, count) if count < IDS_PER_MILLISECOND => (known, count.saturating_add(1)),
                (known, _) => (known.saturating_add(1), 1),
            };
            *last
        };
        let [first, second] = count.saturating_sub(1).to_be_bytes();
        let [a, b, c, d, e, f, g, h] = self.random.bits().to_be_bytes();
        Builder::from_unix_timestamp_millis(milliseconds, &[first, second, a, b, c, d, e, f, g, h]).into_uuid()
    }

    /// As [`Ids::next`], as text.
    pub fn text(&self, now: Timestamp) -> String {
        self.next(now).to_string()
    }
}

/// When an id of [`Ids`] was made; none: it is none of them.
pub fn made_at(id: &str) -> Option<Timestamp> {
    let (seconds, nanoseconds) = Uuid::parse_str(id).ok()?.get_timestamp()?.to_unix();
    let (seconds, nanoseconds) = (i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?);
    Timestamp::new(seconds, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_instant_keep_their_order() {
        let ids = Ids::new(Random::of_the_system());
        let now: Timestamp = "2025-06-10T10:00:00Z".parse().unwrap();
        let made: Vec<String> = (0..10_000).map(|_| ids.text(now)).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.text("2025-06-10T10:00:00.010Z".parse().unwrap()) > made[9_999]);
        assert!(
            ids.text(now) > made[9_999],
            "a clock that is set back makes no older ids"
        );
        assert!(made[0].starts_with("01975948"), "{}", made[0]);
        assert_eq!(Uuid::parse_str(&made[0]).unwrap().get_version_num(), 7);
        assert_eq!(made_at(&made[0]), Some(now));
        assert_eq!(made_at("run"), None);
    }
}
