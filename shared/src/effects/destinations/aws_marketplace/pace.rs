//! AWS's quotas, kept: a token bucket of so many calls a second.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::effects::random::Random;

/// Spaces calls evenly, after a burst of what one second allows.
#[derive(Debug)]
pub(crate) struct Pace {
    spacing: Duration,
    /// When a bucket that was left alone would have been full again.
    full_at: Mutex<Instant>,
}

impl Pace {
    /// So many calls a second; 0 counts as 1.
    pub(crate) fn new(calls_per_second: u32) -> Pace {
        Pace {
            spacing: Duration::from_secs(1) / calls_per_second.max(1),
            full_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the caller's turn.
    pub(crate) async fn turn(&self) {
        let burst = Duration::from_secs(1);
        let start = {
            let mut full_at = self.full_at.lock().await;
            let now = Instant::now();
            let next = (*full_at).max(now) + self.spacing;
            *full_at = next;
            (next.checked_sub(burst)).unwrap_or(now)
        };
        tokio::time::sleep_until(start).await;
    }
}

/// A pause that doubles with each try, and differs between workers.
pub(crate) fn jittered(pause: Duration, tries: u32, random: &Random) -> Duration {
    let doubled = pause.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)));
    let thousandths = 500_u32.saturating_add(random.below(1000));
    doubled.saturating_mul(thousandths) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_at_once_and_then_ten_a_second() {
        let pace = Pace::new(10);
        let start = Instant::now();
        for _ in 0..10 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            pace.turn().await;
        }
        let elapsed = start.elapsed();
        assert!(
            elapsed >= Duration::from_millis(1990) && elapsed <= Duration::from_millis(2010),
            "{elapsed:?}"
        );
    }
}
