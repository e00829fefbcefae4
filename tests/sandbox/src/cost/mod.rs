//! What a seller's day costs at AWS: counted on the sandbox, times prices that are parameters.
//!
//! Counts are exact for the sandbox's day. Milliseconds are this machine's, with the latency that the stand-ins pretend; Lambda's are others.

pub mod day;
pub mod meter;
pub mod prices;
mod print;
pub mod sheet;

use clap::Args;
use serde_json::json;

use crate::aws::Latency;
use crate::demo::Verdict;
use crate::load::{LoadOptions, plan::Plan};
use day::Counted;
use prices::Given;
use sheet::Sheet;

/// What `cost` is told.
#[derive(Debug, Clone, Args)]
pub struct CostOptions {
    /// How many bills
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub bills: u32,
    /// Dimensions of each bill
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub dimensions: u16,
    /// How often each bill is recalculated in a day
    #[arg(long, default_value_t = 4, value_parser = recalculations)]
    pub recalculations: u32,
    /// Bills that are open all month, for the monthly cost
    #[arg(long, default_value_t = 1_000)]
    pub bills_per_month: u64,
    /// A price in place of the list's, in US dollars; can be repeated
    #[arg(long = "price", value_name = "NAME=DOLLARS")]
    pub prices: Vec<Given>,
    /// Print counts, prices and the sheet as JSON, and nothing else
    #[arg(long)]
    pub json: bool,
    /// Answer at once in place of as slowly as AWS does: milliseconds then say nothing
    #[arg(long)]
    pub no_latency: bool,
    /// Seeds amounts
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

fn recalculations(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|_| format!("{text} is no number"))?;
    match number {
        1 | 2 | 3 | 4 | 6 | 8 | 12 | 24 => Ok(number),
        _ => Err(format!("{number} does not divide a day's 24 hours")),
    }
}

/// A day with bills, and the same day without.
#[derive(Debug, Clone)]
pub struct Measured {
    pub busy: Counted,
    pub idle: Counted,
}

/// Plays both days. Errors: the sandbox itself.
pub async fn measure(options: &CostOptions) -> Result<Measured, Box<dyn std::error::Error + Send + Sync>> {
    let plan = Plan::new(&LoadOptions {
        bills: options.bills,
        dimensions: options.dimensions,
        faults: 0.0,
        seed: options.seed,
    });
    let latency = if options.no_latency {
        Latency::None
    } else {
        Latency::LikeAws
    };
    Ok(Measured {
        busy: day::play(&plan, options.recalculations, latency).await?,
        idle: day::play(&plan, 0, latency).await?,
    })
}

/// Plays both days and prints what they cost.
pub async fn run(options: &CostOptions) -> Result<Verdict, Box<dyn std::error::Error + Send + Sync>> {
    let Measured { busy, idle } = measure(options).await?;
    let prices = prices::prices(&options.prices);
    let sheet = Sheet::of(&busy, &idle, options.bills, &prices, options.bills_per_month);
    if options.json {
        println!(
            "{}",
            json!({"bills": options.bills, "busy": busy, "idle": idle, "sheet": sheet})
        );
    } else {
        println!(
            "{} bills in {} dimensions, each recalculated {} times in a day; {}, {}.\n",
            options.bills,
            options.dimensions,
            options.recalculations,
            if options.no_latency {
                "answers at once"
            } else {
                "answers as slow as AWS's"
            },
            if cfg!(debug_assertions) {
                "an unoptimized build"
            } else {
                "an optimized build"
            },
        );
        print::sheet(&sheet);
        print::requests(&busy, &idle);
    }
    let wrong: Vec<&String> = busy.wrong.iter().chain(&idle.wrong).collect();
    wrong.iter().for_each(|wrong| eprintln!("WRONG: {wrong}"));
    Ok(if wrong.is_empty() {
        Verdict::AllHeld
    } else {
        Verdict::Broken
    })
}
