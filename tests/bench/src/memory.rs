//! What the program of bill-dispatch holds: with the batches that Lambda hands over, with far larger ones, and after many of them.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_lambda_events::sqs::SqsBatchResponse;
use clap::Args;
use outbill::values::ids::OrganizationId;
use sandbox::Function;
use tempfile::TempDir;

use crate::clones::{self, Sample};
use crate::dispatch;
use crate::figures::{self, Figure, Goal};
use crate::process::memory_kb;
use crate::program::{self, Program, Programs};

/// What Lambda hands over at once, and far more.
const FEW: usize = 100;
const MANY: usize = 1_000;
/// SQS hands over again what failed.
const DELIVERIES: usize = 3;
const GOAL_MEGABYTES: f64 = 30.0;

/// How much is sent.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Batches of a hundred messages, and as many of a thousand
    #[arg(long, default_value_t = 5)]
    pub batches: usize,
    /// Bills that one program then sends in batches of a thousand; a million take 20 GB for the stand-ins and more than an hour, because the
    /// program keeps AWS's quota
    #[arg(long, default_value_t = 10_000)]
    pub bills: usize,
    /// Where the functions' programs lie; beside this one unless given
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Where the figures go as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The child's side: the seller of the backlog, now and without delays.
pub async fn serve() -> anyhow::Result<()> {
    dispatch::serve(&dispatch::Plan::without_delays(), None).await
}

/// Sends, and looks at the program after each batch.
pub async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let folder = Programs::folder(plan.programs.as_deref())?;
    let (child, _, organization) = clones::begin().await?;
    // Nothing was sent for the sample: its rows are a mapping's.
    let (few, many) = (plan.batches * FEW, plan.batches * (FEW + MANY));
    let all = many + plan.bills;
    Sample::take(&child).await?.write(&child, 0..all).await?;
    let temporary = TempDir::new()?;
    let programs = Programs::before(&child, folder, temporary.path()).await?;
    let mut figures = Vec::new();
    for (bills, size, name) in [
        (0..few, FEW, "batches of 100 messages, as Lambda hands them over"),
        (few..many, MANY, "batches of 1,000 messages"),
        (many..all, MANY, "many batches of 1,000 messages"),
    ] {
        if !bills.is_empty() {
            figures.push(held(&programs, &organization, bills, size, name).await?);
        }
    }
    figures::print(&figures);
    figures::keep(&figures, plan.json.as_deref())
}

/// What one program holds that sends these bills.
async fn held(
    programs: &Programs,
    organization: &OrganizationId,
    bills: Range<usize>,
    size: usize,
    name: &'static str,
) -> anyhow::Result<Figure> {
    let mut program = programs.start(Function::BillDispatch, &[]).await?;
    let bar = dispatch::bar(bills.len(), "bills");
    let places: Vec<usize> = bills.collect();
    let (mut after, mut sent, mut next, mut again) = (Vec::new(), 0, size, 0);
    let mut slowest = Duration::ZERO;
    for batch in places.chunks(size) {
        let (first, last) = (batch.first().context("a bill")?, batch.last().context("a bill")?);
        let mut messages = program::bills(organization, *first..*last + 1);
        let mut deliveries = 0..DELIVERIES;
        while !messages.is_empty() {
            anyhow::ensure!(
                deliveries.next().is_some(),
                "after {sent} bills, {} messages failed {DELIVERIES} times; the program wrote {}",
                messages.len(),
                program.complaint()?
            );
            let begun = Instant::now();
            let id = program.enqueue(program::event(messages.clone())?).await;
            let answer = program.answered(&id).await?.response.context("an answer")?;
            slowest = slowest.max(begun.elapsed());
            let answer: SqsBatchResponse = serde_json::from_value(answer.payload)?;
            let failed = answer.batch_item_failures.into_iter();
            let failed: Vec<String> = failed.map(|failure| failure.item_identifier).collect();
            messages.retain(|message| message.message_id.as_ref().is_some_and(|id| failed.contains(id)));
            again += messages.len();
        }
        sent += batch.len();
        // The first few, and then ever fewer.
        if sent >= next {
            after.push(format!("{sent}: {:.1}", resident(&program, "VmRSS")?));
            next = if after.len() < 5 { sent + size } else { sent * 2 };
            bar.println(format!("{sent} bills: {:.1} MB", resident(&program, "VmRSS")?));
        }
        bar.inc(u64::try_from(batch.len())?);
    }
    bar.finish_and_clear();
    let value = resident(&program, "VmHWM")?;
    let complaint = match again {
        0 => String::new(),
        again => format!("; {again} messages came again: {}", program.complaint()?),
    };
    program.end().await?;
    Ok(Figure {
        name: format!("bill-dispatch, peak memory, {name}").into(),
        value,
        unit: "MB",
        places: 1,
        of: format!(
            "resident after so many bills: {}; slowest batch {:.1} s{complaint}",
            after.join(", "),
            slowest.as_secs_f64()
        ),
        goal: Some(Goal::AtMost(GOAL_MEGABYTES)),
    })
}

fn resident(program: &Program, what: &str) -> anyhow::Result<f64> {
    Ok(figures::megabytes(memory_kb(&program.id()?, what)?))
}
