//! What this process has taken so far, as Linux tells it.

use std::time::Duration;

use anyhow::Context;

const PROC: &str = "this is read from Linux's /proc";
/// Linux counts a process's time in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// A line of this process's status, in kB.
pub fn memory_kb(name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context(PROC)?;
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .context("a line of the status")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

/// Processor time, the system's for this process included.
pub fn cpu() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context(PROC)?;
    // The program's name, in parentheses, may have spaces.
    let (_, fields) = stat.rsplit_once(')').context("a process's statistics")?;
    let ticks: Result<Vec<u64>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
    let ticks: u64 = ticks?.iter().sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
