//! What follows the program's name.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::civil::Date;

use crate::failure::EXIT_CODES;

/// Runs that are listed unless told otherwise.
pub const RUNS_SHOWN: usize = 50;

/// A command with what belongs to all of them.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "outbill",
    version,
    about = "Operates a deployed Outbill: what is at risk, why, and what to do",
    after_help = EXIT_CODES
)]
pub struct Arguments {
    /// Print the API's JSON as it is, with the pages of a list joined, and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// The login to use; else OUTBILL_PROFILE, else "default"
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Exchange an access key for a token and keep the token; the secret is asked for, or read from OUTBILL_API_SECRET or standard input
    Login(Login),
    /// Forget the token
    Logout,
    /// Money at risk, what closes next, and what needs a person (then the exit code is 3)
    Status,
    /// Everything that AWS has not accepted, with the way out of each
    Pending,
    /// What AWS accepted, by bill, dimension and hour
    Report(Report),
    /// Where a bill's number at AWS comes from
    Explain(Explain),
    /// What a bill would lead to; writes nothing
    Preview(Preview),
    /// Comparisons with CloudTrail: list them, show one, ask for a day
    #[command(args_conflicts_with_subcommands = true)]
    Reconcile(Reconcile),
    /// Integration runs: list them, show one
    #[command(args_conflicts_with_subcommands = true)]
    Runs(Runs),
    /// Queue a run's bill once more
    Replay(Replay),
    /// Decide an entry in UNKNOWN or CONFLICT by what AWS holds; cannot be reversed
    Resolve(Resolve),
    /// Let a blocked usage key claim again
    Unblock(Unblock),
    /// Enable a configuration that failures have disabled, and send what waited
    Enable {
        /// The configuration's id
        configuration: String,
    },
    /// Let a configuration of a restored table claim and send again
    Thaw(Thaw),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Login {
    /// The API's address: the stack's output ApiUrl; else OUTBILL_API
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,
    /// m3ter's organization id; else OUTBILL_ORGANIZATION
    #[arg(long, value_name = "ORG")]
    pub organization: Option<String>,
    /// The access key's id; else OUTBILL_ACCESS_KEY_ID, else it is asked for
    #[arg(long, value_name = "ID")]
    pub access_key_id: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Report {
    /// Only usage of this day and later, UTC
    #[arg(long, value_name = "DATE")]
    pub from: Option<Date>,
    /// Only usage up to this day, UTC
    #[arg(long, value_name = "DATE")]
    pub to: Option<Date>,
    /// Only this bill
    #[arg(long, value_name = "ID")]
    pub bill: Option<String>,
    /// Only bills of this account
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// Only bills that start on this day
    #[arg(long, value_name = "DATE")]
    pub bill_start: Option<Date>,
}

#[derive(Debug, Clone, Args)]
pub struct Explain {
    /// The bill
    #[arg(long, value_name = "ID")]
    pub bill: String,
    /// Only this dimension: <productCode>-<dimensionKey>, or the dimension key alone
    #[arg(long, value_name = "D")]
    pub dimension: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Preview {
    /// A file with a bill, {"bill", "account"}, {"billId"} or m3ter's event; - is standard input
    pub file: PathBuf,
    /// The configuration's id; needed where there are several
    #[arg(long, value_name = "ID")]
    pub configuration: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Reconcile {
    #[command(subcommand)]
    pub command: Option<ReconcileCommand>,
    /// Only of this day
    #[arg(long, value_name = "DATE")]
    pub date: Option<Date>,
    /// Only of this status, such as DIFFERS
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Only of this configuration
    #[arg(long, value_name = "ID")]
    pub configuration: Option<String>,
    /// The newest, at most so many
    #[arg(long, value_name = "N", default_value_t = RUNS_SHOWN)]
    pub limit: usize,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ReconcileCommand {
    /// One comparison with its discrepancies
    Show {
        /// Its id
        id: String,
    },
    /// Ask for one of the last 90 days to be compared now
    Ask {
        /// The day
        date: Date,
        /// The configuration's id; needed where several check CloudTrail
        #[arg(long, value_name = "ID")]
        configuration: Option<String>,
        /// Wait until it has ended, and show it
        #[arg(long)]
        wait: bool,
        /// How long to wait
        #[arg(long, value_name = "SECONDS", default_value_t = 1_800, requires = "wait")]
        timeout: u64,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Runs {
    #[command(subcommand)]
    pub command: Option<RunsCommand>,
    /// Only of this bill
    #[arg(long, value_name = "ID")]
    pub bill: Option<String>,
    /// Only of this configuration
    #[arg(long, value_name = "ID", conflicts_with = "bill")]
    pub configuration: Option<String>,
    /// Only of this status, such as ERROR
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Only those that started on this day or later, UTC
    #[arg(long, value_name = "DATE")]
    pub from: Option<Date>,
    /// Only those that started up to this day, UTC
    #[arg(long, value_name = "DATE")]
    pub to: Option<Date>,
    /// The newest, at most so many
    #[arg(long, value_name = "N", default_value_t = RUNS_SHOWN)]
    pub limit: usize,
}

#[derive(Debug, Clone, Subcommand)]
pub enum RunsCommand {
    /// One run
    Show {
        /// Its id
        id: String,
        /// Its log in place of it: the configuration of that moment, the reasons, the payloads exchanged
        #[arg(long)]
        log: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// The run's id
    pub run: String,
    /// Cut the bill over to the usage keys that it would go to now
    #[arg(long)]
    pub remap: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// What AWS holds of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verdict {
    /// AWS has the units, or what it holds stands for them: nothing more is sent
    Accepted,
    /// AWS does not have them: they are sent again
    Released,
}

#[derive(Debug, Clone, Args)]
pub struct Resolve {
    /// The entry's id, as `pending` shows it
    pub entry: String,
    /// What AWS holds
    #[arg(long = "as", value_enum)]
    pub verdict: Verdict,
    /// Why; kept with who decided
    #[arg(long)]
    pub reason: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Unblock {
    /// The usage key's id, as `pending` shows it
    pub key: String,
    /// Why; kept with who decided
    #[arg(long)]
    pub reason: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Thaw {
    /// The configuration's id
    pub configuration: String,
    /// Why; kept with who decided
    #[arg(long)]
    pub reason: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}
