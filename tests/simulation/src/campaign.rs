//! Many histories, on as many threads as are wanted, and what they showed.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use crate::aws::Counts;
use crate::books::{Violation, laws};
use crate::history::History;
use crate::play::{Outcome, Telling, play};
use crate::variant::Variant;

/// How much is played.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The first seed.
    pub first: u64,
    /// So many seeds, one after the other.
    pub count: u64,
    /// No history is begun after this time, if there is one.
    pub time: Option<Duration>,
    /// Threads.
    pub jobs: usize,
    /// A rule that is taken away.
    pub variant: Option<Variant>,
    /// Whether the first history that breaks a law ends it.
    pub ends_at_first: EndsAtFirst,
}

/// Whether one broken law is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndsAtFirst {
    Yes,
    No,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Histories played.
    pub histories: u64,
    /// Steps of all of them.
    pub steps: u64,
    /// What happened in them.
    pub counts: Counts,
    /// Seeds of histories that broke a law, with the first that each broke.
    pub broken: BTreeMap<u64, Violation>,
    /// How long it took.
    pub took: Duration,
}

/// Plays many histories, with a bar. Errors: the simulation itself is broken, with the seed that shows it.
pub fn run(plan: &Plan, bar: &ProgressBar) -> anyhow::Result<Found> {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let found: Mutex<Found> = Mutex::default();
    let failed: Mutex<Option<anyhow::Error>> = Mutex::default();
    let is_over = |found: &Found| {
        let late = plan.time.is_some_and(|time| begun.elapsed() >= time);
        late || plan.ends_at_first == EndsAtFirst::Yes && !found.broken.is_empty()
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let over = is_over(&found.lock().unwrap_or_else(PoisonError::into_inner));
                    let stop = failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                    if place >= plan.count || over || stop {
                        return;
                    }
                    let seed = plan.first.wrapping_add(place);
                    let history = History::of_seed(seed);
                    match play(&history, plan.variant, Telling::Nothing) {
                        Ok(outcome) => {
                            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                            found.histories += 1;
                            found.steps += history.steps.len() as u64;
                            found.counts += outcome.counts;
                            if let Some(violation) = outcome.violations.into_iter().next() {
                                found.broken.insert(seed, violation);
                            }
                            bar.set_message(format!("{} broke a law", found.broken.len()));
                            bar.inc(1);
                        }
                        Err(error) => {
                            let error = error.context(format!("the simulation could not play seed {seed}"));
                            failed
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.took = begun.elapsed();
    Ok(found)
}

/// Plays given histories, and gives how each ended, in their order.
pub fn play_all(histories: &[History]) -> anyhow::Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let ended: Mutex<BTreeMap<usize, anyhow::Result<Outcome>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                while let Some((place, history)) = {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    histories.get(place).map(|history| (place, history))
                } {
                    let outcome = play(history, None, Telling::Nothing);
                    ended
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(place, outcome);
                }
            });
        }
    });
    ended
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect()
}

/// As many threads as the machine runs at once.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// A bar that shows histories; plain lines where nobody watches.
pub fn bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let style = "{bar:30} {pos}/{len} histories, {per_sec}, {eta} left; {msg}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Law × histories × violations.
pub fn table(found: &Found) -> Table {
    let mut table = plain_table(&["law", "histories", "violations", "first seed"]);
    for law in laws() {
        let of = |(_, violation): &(&u64, &Violation)| violation.law == law;
        let violations = found.broken.iter().filter(of).count();
        let first = found
            .broken
            .iter()
            .find(of)
            .map_or("-".to_owned(), |(seed, _)| seed.to_string());
        table.add_row([
            law.to_owned(),
            found.histories.to_string(),
            violations.to_string(),
            first,
        ]);
    }
    table
}

/// Numbers of a run, as one paragraph.
pub fn summary(found: &Found) -> String {
    let seconds = found.took.as_secs_f64().max(0.001);
    format!(
        "{} histories with {} steps in {seconds:.0} s: {:.1} histories a second. {} messages were delivered, {} requests handled; {} of them met a fault, and {} workers were killed.",
        found.histories,
        found.steps,
        found.histories as f64 / seconds,
        found.counts.deliveries,
        found.counts.requests,
        found.counts.faults,
        found.counts.kills,
    )
}

/// A table whose first column is text and whose others are numbers.
pub fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
