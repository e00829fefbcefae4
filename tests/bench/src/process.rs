//! What processes have taken so far, as Linux tells it.

use std::time::Duration;

use anyhow::Context;

const PROC: &str = "this is read from Linux's /proc";
/// Linux counts a process's time in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// This process, for Linux.
pub const SELF: &str = "self";

/// A line of a process's status, in kB.
pub fn memory_kb(process: &str, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context(PROC)?;
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .context("a line of the status")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

/// Processor time of the threads that a process has now, to the nanosecond.
pub fn cpu_of_threads(process: &str) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).context(PROC)? {
        // A thread may end between the two looks.
        let statistics = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let first = statistics.split(' ').next().unwrap_or_default();
        nanoseconds += first.parse().unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Processor time of this process, the system's for it included.
pub fn cpu() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context(PROC)?;
    // The program's name, in parentheses, may have spaces.
    let (_, fields) = stat.rsplit_once(')').context("a process's statistics")?;
    let ticks: Result<Vec<u64>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
    let ticks: u64 = ticks?.iter().sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
