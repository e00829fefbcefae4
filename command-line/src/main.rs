//! `outbill`: a deployed Outbill from a terminal. It speaks the HTTP API and nothing else, and knows nothing of the crates behind it.
//!
//! Standard output has the answer, standard error what went wrong and progress. Exit codes are in [`failure`].

mod api;
mod arguments;
mod commands;
mod decisive;
mod failure;
mod http_client;
mod profile;
mod show;
mod surroundings;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::surroundings::Surroundings;

/// How the API's access log knows this program.
const USER_AGENT: &str = concat!("outbill/", env!("CARGO_PKG_VERSION"));

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match commands::run(arguments, &Surroundings::here()).await {
        Ok(answer) => {
            // A reader that is gone, such as `head`, has what it wanted.
            let _ = writeln!(std::io::stdout(), "{}", answer.text);
            ExitCode::from(answer.code)
        }
        Err(failure) => {
            eprintln!("{}", show::clean(&failure.to_string()));
            ExitCode::from(failure.code)
        }
    }
}
