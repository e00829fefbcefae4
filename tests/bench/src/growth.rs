//! What a bill costs as the table grows: the same bills dispatched over more and more that were sent before.

use std::path::PathBuf;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use clap::Args;

use crate::clones::{self, Sample};
use crate::dispatch::{self, as_f64, count};
use crate::figures::{self, Figure, within};
use crate::process::{SELF, cpu, memory_kb};

const STEP: usize = 10;

/// How far.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// The largest table, in bills; each step is ten times the one before, from a thousand on
    #[arg(long, default_value_t = 100_000)]
    pub bills: usize,
    /// Bills that are dispatched at each step
    #[arg(long, default_value_t = 500)]
    pub dispatched: usize,
    /// Where the figures go as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The child's side.
pub async fn serve() -> anyhow::Result<()> {
    dispatch::serve(&dispatch::Plan::without_delays(), Some(dispatch::now()?)).await
}

/// Fills, and measures at each step.
pub async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let (child, outbill, organization) = clones::begin().await?;
    let backlog = dispatch::Plan::without_delays();
    dispatch::invoke(&backlog, &outbill, from_ref(&organization), &[clones::sample_bill()]).await?;
    let sample = Sample::take(&child).await?;

    let mut figures = Vec::new();
    let (mut size, mut filled, mut number) = (1_000, 1, 10_000_000);
    while size <= plan.bills {
        sample.write(&child, filled..size).await?;
        let bills: Vec<usize> = (number..number + plan.dispatched).collect();
        dispatch::map(number..number + plan.dispatched, &outbill, from_ref(&organization)).await?;
        child.clear_requests()?;
        let (begun, cpu_before) = (Instant::now(), cpu()?);
        let mut times = Vec::new();
        for batch in bills.chunks(dispatch::MESSAGES_PER_BATCH) {
            times.push(dispatch::invoke(&backlog, &outbill, from_ref(&organization), batch).await?);
        }
        let (took, used) = (begun.elapsed(), cpu()?.saturating_sub(cpu_before));
        let requests = count(&child.requests()?, "dynamodb") / as_f64(plan.dispatched);
        let figure = |what: &str, value: f64, unit, of: String| Figure {
            name: format!("{what} over {size} bills").into(),
            value,
            unit,
            places: 2,
            of,
            goal: None,
        };
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / as_f64(plan.dispatched);
        figures.extend([
            figure(
                "DynamoDB requests per bill",
                requests,
                "requests",
                format!("{} bills", plan.dispatched),
            ),
            figure(
                "processor time per bill",
                milliseconds(used),
                "ms",
                format!(
                    "{:.2} ms each with the engine's; a hundred within {:.0} ms; {:.1} MB resident at most so far",
                    milliseconds(took),
                    within(&mut times, 50),
                    figures::megabytes(memory_kb(SELF, "VmHWM")?),
                ),
            ),
        ]);
        filled = size;
        number += plan.dispatched;
        size *= STEP;
    }
    figures::print(&figures);
    figures::keep(&figures, plan.json.as_deref())
}
