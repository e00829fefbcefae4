//! `cargo run --release -p simulation`: plays histories, and says which laws they broke.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use clap::ValueEnum;
use simulation::books::Violation;
use simulation::campaign::{EndsAtFirst, Found, Plan, bar, plain_table, run, summary, table, threads};
use simulation::history::History;
use simulation::play::{Telling, play};
use simulation::shrink::shrink;
use simulation::tell;
use simulation::variant::Variant;

/// A third of a history's time goes into small pieces of memory.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays random histories of bills, faults and crashes on the real functions, and checks after every step that nothing is lost and nothing is
/// billed twice.
#[derive(Debug, Parser)]
#[command(name = "simulation")]
struct Options {
    /// How many histories to play.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed. Alone, without --seeds, it plays that one history and tells it.
    #[arg(long)]
    seed: Option<u64>,
    /// Begin no history after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Threads; each history runs on one.
    #[arg(long)]
    jobs: Option<usize>,
    /// Take one rule away: the histories should break a law.
    #[arg(long)]
    variant: Option<Variant>,
    /// Take each rule away in turn, and print how many histories each variant breaks.
    #[arg(long, conflicts_with_all = ["variant", "history"])]
    variants: bool,
    /// Play the history in a file that an earlier run has printed, and tell it.
    #[arg(long)]
    history: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    let options = Options::parse();
    let is_given = |flag: &str| {
        arguments
            .iter()
            .any(|argument| argument.split('=').next() == Some(flag))
    };
    if let Some(file) = &options.history {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("--history: {} cannot be read", file.display()))?;
        let history: History =
            serde_json::from_str(&text).with_context(|| format!("--history: {} is no history", file.display()))?;
        return told(&history, options.variant);
    }
    if let (Some(seed), false) = (options.seed, is_given("--seeds")) {
        return told(&History::of_seed(seed), options.variant);
    }
    let plan = Plan {
        first: options.seed.unwrap_or(0),
        count: options.seeds,
        time: options.minutes.map(|minutes| Duration::from_secs(minutes * 60)),
        jobs: options.jobs.unwrap_or_else(threads),
        variant: options.variant,
        ends_at_first: EndsAtFirst::No,
    };
    if options.variants {
        return compared(&plan);
    }
    let bar = bar(plan.count);
    let found = run(&plan, &bar)?;
    bar.finish_and_clear();
    println!("{}\n\n{}", table(&found), summary(&found));
    let Some((seed, violation)) = found.broken.first_key_value() else {
        return Ok(ExitCode::SUCCESS);
    };
    println!();
    for (seed, violation) in &found.broken {
        println!("Seed {seed} broke a law: {}\n  {}", violation.law, violation.how);
    }
    shown(*seed, violation, plan.variant)?;
    Ok(ExitCode::FAILURE)
}

/// One history, every line of it.
fn told(history: &History, variant: Option<Variant>) -> anyhow::Result<ExitCode> {
    tell::history(history)
        .iter()
        .take(1)
        .for_each(|line| println!("{line}"));
    let outcome = play(history, variant, Telling::Words)?;
    outcome.lines.iter().for_each(|line| println!("{line}"));
    println!(
        "\n{} requests, {} faults; digest {:016x}",
        outcome.counts.requests, outcome.counts.faults, outcome.digest
    );
    for violation in &outcome.violations {
        println!("BROKEN: {}: {}", violation.law, violation.how);
    }
    Ok(if outcome.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A violation: the seed, the shortest history that shows it, and how to see it again.
fn shown(seed: u64, violation: &Violation, variant: Option<Variant>) -> anyhow::Result<()> {
    println!("\nLooking for the shortest history that breaks it as seed {seed} does …");
    let (history, violation) = shrink(&History::of_seed(seed), violation, variant);
    println!();
    for line in tell::history(&history) {
        println!("  {line}");
    }
    println!("\n  BROKEN: {}: {}\n", violation.law, violation.how);
    let with = variant
        .and_then(|variant| variant.to_possible_value())
        .map_or(String::new(), |value| format!(" --variant {}", value.get_name()));
    println!("Replay the seed:             cargo run --release -p simulation -- --seed {seed}{with}");
    let file = format!("history-{seed}.json");
    std::fs::write(&file, serde_json::to_string(&history)?).with_context(|| format!("{file} cannot be written"))?;
    println!("Replay the shortest history: cargo run --release -p simulation -- --history {file}{with}");
    Ok(())
}

/// How many histories each variant breaks.
fn compared(plan: &Plan) -> anyhow::Result<ExitCode> {
    let mut rows = plain_table(&[
        "variant",
        "histories",
        "broken",
        "first seed",
        "the law that most of them break",
    ]);
    let mut escaped = Vec::new();
    for variant in std::iter::once(None).chain(Variant::value_variants().iter().copied().map(Some)) {
        let bar = bar(plan.count);
        let found = run(&Plan { variant, ..*plan }, &bar)?;
        bar.finish_and_clear();
        let name = variant.map_or("the algorithm as it is", Variant::text);
        let first = found.broken.keys().next().map_or("-".to_owned(), u64::to_string);
        rows.add_row([
            name.to_owned(),
            found.histories.to_string(),
            found.broken.len().to_string(),
            first,
            most(&found),
        ]);
        if found.broken.is_empty() != variant.is_none() {
            escaped.push(name);
        }
    }
    println!("{rows}");
    if escaped.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nNot as it should be: {}", escaped.join(", "));
    Ok(ExitCode::FAILURE)
}

fn most(found: &Found) -> String {
    let mut counted = std::collections::BTreeMap::new();
    for violation in found.broken.values() {
        *counted.entry(violation.law).or_insert(0_u64) += 1;
    }
    let most = counted.into_iter().max_by_key(|(_, count)| *count);
    most.map_or("-".to_owned(), |(law, _)| law.to_owned())
}
