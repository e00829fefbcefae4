//! What a sandbox is started with, and how the command line says it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::access_key::AccessKeyOptions;
use crate::aws::Latency;
use crate::cost::CostOptions;
use crate::load::LoadOptions;

/// The port of the API unless another is given.
pub const PORT_DEFAULT: u16 = 9000;

/// How a sandbox is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The API's port; the stand-ins take the next, the controls the one after. 0: any free ports.
    pub port: u16,
    /// The folder that keeps everything; absent: memory.
    pub data: Option<PathBuf>,
    /// Whether answers take as long as AWS's.
    pub latency: Latency,
    /// How many metering calls a second are taken, in real time; absent: all.
    pub metering_per_second: Option<u32>,
    /// Where the clock of a new sandbox stands; absent: at the machine's time.
    pub start_at: Option<Timestamp>,
    /// How many batches are handled at once; one keeps the queue's order. With none, the sandbox must start with an empty queue.
    pub workers: usize,
    /// The template whose policies the functions have; absent: the deployed one.
    pub template: Option<String>,
}

impl Options {
    /// For tests: free ports, in memory, no delays, one worker.
    pub fn for_tests() -> Options {
        Options {
            port: 0,
            data: None,
            latency: Latency::None,
            metering_per_second: None,
            start_at: None,
            workers: 1,
            template: None,
        }
    }
}

/// What follows the program's name.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "sandbox",
    about = "Outbill on this machine: the functions, with stand-ins for AWS and m3ter",
    args_conflicts_with_subcommands = true
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Exit after the demo, non-zero if it found something wrong
    #[arg(long, conflicts_with = "no_demo")]
    pub once: bool,
    /// Start empty
    #[arg(long)]
    pub no_demo: bool,
    /// Keep everything in this folder
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The API's port; the AWS stand-ins listen on the next, the controls on the one after
    #[arg(long, value_name = "N", default_value_t = PORT_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=65533))]
    pub port: u16,
    /// Answer as slowly as AWS does
    #[arg(long)]
    pub latency: bool,
}

/// What else the program does.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Send many bills at once, with and without faults, and check that each is metered exactly
    Load(LoadOptions),
    /// Play a seller's day and say what it costs at AWS
    Cost(CostOptions),
    /// Make one more access key in the sandbox that is running
    AccessKey(AccessKeyOptions),
}

impl Arguments {
    /// The options that the arguments mean.
    pub fn options(&self) -> Options {
        Options {
            port: self.port,
            data: self.data.clone(),
            latency: if self.latency { Latency::LikeAws } else { Latency::None },
            metering_per_second: None,
            start_at: if self.no_demo {
                None
            } else {
                crate::demo::STARTS_AT.parse().ok()
            },
            workers: 1,
            template: None,
        }
    }
}

/// Reads the command line. The error is what to print and the exit code: help goes out as it is, a
/// mistake is one line.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Arguments, (String, u8)> {
    Arguments::try_parse_from(arguments).map_err(|error| {
        let text = error.render().to_string();
        if error.use_stderr() {
            (one_line(&text), 2)
        } else {
            (text, 0)
        }
    })
}

// clap's first paragraph says what is wrong; usage and hints follow after an empty line.
fn one_line(text: &str) -> String {
    let paragraph: Vec<&str> = text
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect();
    format!("{}; --help lists all flags", paragraph.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Arguments, (String, u8)> {
        parse(
            ["sandbox"]
                .iter()
                .chain(arguments)
                .map(|argument| (*argument).to_owned()),
        )
    }

    #[test]
    fn the_flags_mean_options() {
        let options = read(&["--port", "8000", "--data", "folder", "--latency"])
            .unwrap()
            .options();
        assert_eq!(options.port, 8000);
        assert_eq!(options.data, Some(PathBuf::from("folder")));
        assert_eq!(options.latency, Latency::LikeAws);
        assert_eq!(read(&[]).unwrap().options().port, PORT_DEFAULT);
    }

    #[test]
    fn load_has_flags_of_its_own() {
        let Some(Command::Load(load)) = read(&["load", "--bills", "7", "--faults", "0.25"]).unwrap().command else {
            panic!("no load");
        };
        assert_eq!((load.bills, load.dimensions, load.faults), (7, 3, 0.25));
    }

    #[test]
    fn a_mistake_is_one_line() {
        for arguments in [
            &["--port", "0"][..],
            &["--port", "65534"],
            &["--port", "x"],
            &["--frobnicate"],
            &["--data"],
            &["--once", "--no-demo"],
            &["load", "--faults", "0.9"],
            &["load", "--bills", "0"],
            &["--once", "load"],
            &["cost", "--recalculations", "5"],
            &["cost", "--price", "sqs=1"],
        ] {
            let (line, code) = read(arguments).unwrap_err();
            assert_eq!((line.lines().count(), code), (1, 2), "{line}");
        }
        let (help, code) = read(&["--help"]).unwrap_err();
        assert!(help.lines().count() > 5 && code == 0);
    }
}
