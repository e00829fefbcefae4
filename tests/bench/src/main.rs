//! `cargo run --release -p bench`: what one worker does with a backlog, beside the straightforward design; how the tick drains many
//! keys; how a large day is reconciled; how fast the functions' own programs start, how many instructions an invocation takes and how much
//! memory; whether a bill's cost grows with the table; and what lists of the API take.
//!
//! Several processes each, so that the memory and the processor time of one are not the other's: a child holds the sandbox, this one works as
//! the function does, or watches the functions' programs. Machines are noisy: believe counts, and ratios of one run; seconds only in comparison.

mod baseline;
mod child;
mod clones;
mod dispatch;
mod figures;
mod gateway;
mod growth;
mod lists;
mod memory;
mod process;
mod program;
mod reconcile;
mod start;
mod tick;

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
    /// Reconcile a large day: records a second, memory, requests
    Reconcile(reconcile::Plan),
    /// Start the functions' programs: time to the first answer, instructions
    Start(start::Plan),
    /// Let bill-dispatch's program send large batches, and many of them: what it holds
    Memory(memory::Plan),
    /// Drain many keys by the tick, with several workers on AWS's quota
    Tick(tick::Plan),
    /// Dispatch the same bills over a larger and larger table
    Growth(growth::Plan),
    /// Read long lists of the API, beside the engine's own time
    Lists(lists::Plan),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = match (arguments.serve, &arguments.what) {
        (true, _) | (_, Some(What::Start(_) | What::Memory(_))) => tokio::runtime::Builder::new_multi_thread(),
        // As the function runs.
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(async {
        match (arguments.what, arguments.serve) {
            (Some(What::Reconcile(plan)), true) => reconcile::serve(&plan).await,
            (Some(What::Reconcile(plan)), false) => reconcile::measure(&plan).await,
            (Some(What::Start(plan)), true) => start::serve(&plan).await,
            (Some(What::Start(plan)), false) => start::measure(&plan).await,
            (Some(What::Memory(_)), true) => memory::serve().await,
            (Some(What::Memory(plan)), false) => memory::measure(&plan).await,
            (Some(What::Tick(_)), true) => tick::serve().await,
            (Some(What::Tick(plan)), false) => tick::measure(&plan).await,
            (Some(What::Growth(_)), true) => growth::serve().await,
            (Some(What::Growth(plan)), false) => growth::measure(&plan).await,
            (Some(What::Lists(_)), true) => lists::serve().await,
            (Some(What::Lists(plan)), false) => lists::measure(&plan).await,
            (None, true) => dispatch::serve(&arguments.dispatch, Some(dispatch::now()?)).await,
            (None, false) => dispatch::measure(&arguments.dispatch).await,
        }
    })
}
