//! `cargo run --release -p bench`: what one worker does with a backlog, beside the straightforward design; and how a large day is reconciled.
//!
//! Two processes each, so that the memory and the processor time of one are not the other's: a child holds the sandbox, this one works as the
//! function does. Machines are noisy: believe counts, and ratios of one run; seconds only in comparison.

mod baseline;
mod child;
mod dispatch;
mod figures;
mod process;
mod reconcile;

use clap::{Parser, Subcommand};

/// What is measured.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    dispatch: dispatch::Plan,
    /// Hold the sandbox: what the program starts itself with.
    #[arg(long, hide = true, global = true)]
    serve: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Reconcile a large day: records a second, memory, requests.
    Reconcile(reconcile::Plan),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = match arguments.serve {
        true => tokio::runtime::Builder::new_multi_thread(),
        // As the function runs.
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        match (arguments.what, arguments.serve) {
            (Some(What::Reconcile(plan)), true) => reconcile::serve(&plan).await,
            (Some(What::Reconcile(plan)), false) => reconcile::measure(&plan).await,
            (None, true) => dispatch::serve(&arguments.dispatch).await,
            (None, false) => dispatch::measure(&arguments.dispatch).await,
        }
    })
}
