//! AWS's quotas, kept: a token bucket of so many calls a second, which several workers share without knowing of each other.
//!
//! A worker that is alone has the whole quota. Where AWS throttles, somebody else calls too: each gives up a quarter of its rate, and takes it back little by
//! little while it is not throttled, as TCP shares a line. Nothing is written down for it, and no worker waits for another.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::effects::random::Random;

/// A bucket that was left alone allows what one second does, at once.
const BURST: Duration = Duration::from_secs(1);
/// The slowest: one call in two seconds.
const SLOWEST_MILLICALLS: u64 = 500;
/// What each second gives back: so much, and a twentieth of what is there. From a quarter below ten a second that is six seconds; of sixteen workers
/// together it is a call or two.
const RECOVERED_MILLICALLS: u64 = 50;
const RECOVERED_PART: u64 = 20;
/// Calls that were under way together are throttled together; that counts once.
const ONCE_IN: Duration = Duration::from_millis(500);

/// Spaces calls evenly, after a burst of what one second allows.
#[derive(Debug)]
pub(crate) struct Pace {
    fastest_millicalls: u64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Calls in a thousand seconds.
    millicalls: u64,
    /// Since when that many.
    since: Instant,
    throttled: Option<Instant>,
    /// When a bucket that was left alone would have been full again.
    full_at: Instant,
}

impl Bucket {
    /// The rate at an instant.
    fn recover(&mut self, now: Instant, fastest: u64) {
        let seconds = now.saturating_duration_since(self.since).as_secs();
        for _ in 0..seconds {
            if self.millicalls >= fastest {
                break;
            }
            let part = self.millicalls.checked_div(RECOVERED_PART).unwrap_or_default();
            self.millicalls = self
                .millicalls
                .saturating_add(RECOVERED_MILLICALLS)
                .saturating_add(part);
        }
        if seconds > 0 {
            self.millicalls = self.millicalls.min(fastest);
            self.since = now;
        }
    }
}

impl Pace {
    /// So many calls a second; 0 counts as 1.
    pub(crate) fn new(calls_per_second: u32) -> Pace {
        let fastest_millicalls = u64::from(calls_per_second.max(1)).saturating_mul(1_000);
        Pace {
            fastest_millicalls,
            bucket: Mutex::new(Bucket {
                millicalls: fastest_millicalls,
                since: Instant::now(),
                throttled: None,
                full_at: Instant::now(),
            }),
        }
    }

    /// Waits for the caller's turn.
    pub(crate) async fn turn(&self) {
        if let Some(start) = self.next(None).await {
            tokio::time::sleep_until(start).await;
        }
    }

    /// The same if the turn comes before `until`. If not, it says so at once, and the turn is somebody else's: a worker that runs out of time
    /// takes nothing from its next invocation.
    pub(crate) async fn turn_before(&self, until: Instant) -> bool {
        match self.next(Some(until)).await {
            Some(start) => {
                tokio::time::sleep_until(start).await;
                true
            }
            None => false,
        }
    }

    /// When the next turn is, which is taken if it comes before `until`.
    async fn next(&self, until: Option<Instant>) -> Option<Instant> {
        let mut bucket = self.bucket.lock().await;
        let now = Instant::now();
        bucket.recover(now, self.fastest_millicalls);
        let spacing = Duration::from_micros(1_000_000_000_u64.checked_div(bucket.millicalls).unwrap_or_default());
        let next = bucket.full_at.max(now) + spacing;
        let start = next.checked_sub(BURST.max(spacing)).unwrap_or(now).max(now);
        if until.is_some_and(|until| start >= until) {
            return None;
        }
        bucket.full_at = next;
        Some(start)
    }

    /// AWS throttled a call.
    pub(crate) async fn throttled(&self) {
        let mut bucket = self.bucket.lock().await;
        let now = Instant::now();
        let just_now = |at: Instant| now.saturating_duration_since(at) < ONCE_IN;
        if bucket.throttled.is_some_and(just_now) {
            return;
        }
        bucket.recover(now, self.fastest_millicalls);
        bucket.millicalls = (bucket.millicalls / 4).saturating_mul(3).max(SLOWEST_MILLICALLS);
        bucket.since = now;
        bucket.throttled = Some(now);
        // What the bucket had saved is spent by others.
        bucket.full_at = bucket.full_at.max(now + BURST);
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
    use std::sync::Arc;

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

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_too_late_is_not_taken() {
        let pace = Pace::new(10);
        let start = Instant::now();
        let until = start + Duration::from_secs(1);
        let mut taken = 0;
        for _ in 0..100 {
            taken += u32::from(pace.turn_before(until).await);
        }
        // Ten at once, and nine in the second after.
        assert_eq!(taken, 19);
        assert!(!pace.turn_before(start).await);
        // The next second is as if the others had never asked.
        let begun = Instant::now();
        for _ in 0..10 {
            pace.turn().await;
        }
        assert!(begun.elapsed() <= Duration::from_millis(1_110), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_worker_slows_down_and_recovers() {
        let pace = Pace::new(10);
        let taken = async |calls: u32| {
            let start = Instant::now();
            for _ in 0..calls {
                pace.turn().await;
            }
            start.elapsed().as_millis()
        };
        taken(10).await;
        // Five calls that were under way together count once.
        for _ in 0..5 {
            pace.throttled().await;
        }
        assert_eq!(taken(1).await, 134);
        // After a quarter of a minute it has its ten a second again.
        tokio::time::sleep(Duration::from_secs(15)).await;
        taken(10).await;
        assert_eq!(taken(10).await, 1_000);
        // However often: a call in two seconds remains.
        for _ in 0..20 {
            pace.throttled().await;
            tokio::time::sleep(ONCE_IN).await;
        }
        assert!(taken(1).await <= 2_000);
    }

    /// AWS's quota: so many calls in each whole second.
    #[derive(Debug, Default)]
    struct Quota {
        second: u64,
        calls: u32,
    }

    /// Workers that call as fast as they may, each with 60 ms a call; gives what each got through in a minute, and what was throttled.
    async fn a_minute_of(workers: usize) -> (Vec<u32>, u32) {
        let (quota, begun) = (Arc::new(Mutex::new(Quota::default())), Instant::now());
        let throttled = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let running = (0..workers).map(|_| {
            let (quota, throttled) = (Arc::clone(&quota), Arc::clone(&throttled));
            tokio::spawn(async move {
                let (pace, mut through) = (Pace::new(10), 0);
                while begun.elapsed() < Duration::from_secs(60) {
                    pace.turn().await;
                    let second = begun.elapsed().as_secs();
                    let takes = {
                        let mut quota = quota.lock().await;
                        if quota.second != second {
                            *quota = Quota { second, calls: 0 };
                        }
                        quota.calls += 1;
                        quota.calls <= 10
                    };
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    if takes {
                        through += 1;
                    } else {
                        throttled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        pace.throttled().await;
                    }
                }
                through
            })
        });
        let mut through = Vec::new();
        for worker in running.collect::<Vec<_>>() {
            through.push(worker.await.unwrap());
        }
        (through, throttled.load(std::sync::atomic::Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn many_workers_share_ten_calls_a_second_without_starving_or_storming() {
        // Workers, and how many of ten attempts may be in vain.
        for (workers, vain_tenths) in [(1, 1), (2, 1), (4, 2), (8, 3), (16, 5)] {
            let (through, throttled) = a_minute_of(workers).await;
            let all: u32 = through.iter().sum();
            let fair = all / u32::try_from(workers).unwrap();
            println!("{workers:>2} workers: {all} calls in a minute, {throttled} throttled, each {through:?}");
            // Of the 600 calls that AWS takes, nine of ten are made; nobody gets less than half of his share.
            assert!(all >= 540, "{workers} workers got {all} calls through");
            assert!(
                throttled * 10 <= (all + throttled) * vain_tenths,
                "{throttled} calls were throttled"
            );
            assert!(through.iter().all(|one| *one * 2 >= fair), "{through:?}");
        }
    }
}
