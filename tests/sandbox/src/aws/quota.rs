//! AWS's quota of calls a second, in real time: calls that come faster are throttled.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What may come at once after a pause.
const BURST: Duration = Duration::from_secs(1);

/// A bucket that holds the calls of a second.
#[derive(Debug)]
pub struct Quota {
    each: Duration,
    /// When the bucket will be full again.
    full_at: Mutex<Instant>,
}

impl Quota {
    /// So many calls a second; 0 counts as 1.
    pub fn new(calls_per_second: u32) -> Quota {
        Quota {
            each: Duration::from_secs(1) / calls_per_second.max(1),
            full_at: Mutex::new(Instant::now()),
        }
    }

    /// Whether one more call is taken now.
    pub fn takes(&self) -> bool {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let then = now.max(*full_at) + self.each;
        let is_taken = then <= now + BURST;
        if is_taken {
            *full_at = then;
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_s_calls_pass_at_once_and_then_one_for_each_that_is_due() {
        let quota = Quota::new(10);
        let taken = |calls: usize| (0..calls).filter(|_| quota.takes()).count();
        assert_eq!(taken(15), 10);
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(taken(15), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(15), 10);
    }
}
