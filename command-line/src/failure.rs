//! Why a command did not do what was asked: what happened, the way out, and the exit code.

use std::fmt;

/// Nothing needs a person.
pub const WELL: u8 = 0;
/// The API refused, or its answer or something on this machine cannot be used.
pub const REFUSED: u8 = 1;
/// The command line cannot be understood; clap's own code.
pub const MISUSED: u8 = 2;
/// Something needs a person.
pub const NEEDS_A_PERSON: u8 = 3;
/// Not logged in, or not permitted.
pub const NO_ACCESS: u8 = 4;
/// The API gave no answer.
pub const NO_ANSWER: u8 = 5;
/// What was waited for had not ended in time.
pub const NOT_ENDED: u8 = 6;

/// The end of `outbill --help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done; for `status`, `reconcile show` and `--wait`: nothing needs a person
  1  the API refused, or its answer or a file cannot be used
  2  the command line cannot be understood
  3  something needs a person
  4  not logged in, or the access key may not do this
  5  the API gave no answer
  6  what was waited for had not ended in time";

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    /// What happened.
    pub what: String,
    /// What to do; empty where `what` says it.
    pub way_out: String,
}

impl Failure {
    /// A failure with its way out.
    pub fn new(code: u8, what: impl Into<String>, way_out: impl Into<String>) -> Failure {
        Failure {
            code,
            what: what.into(),
            way_out: way_out.into(),
        }
    }

    /// A command line that cannot be followed.
    pub fn misused(what: impl Into<String>, way_out: impl Into<String>) -> Failure {
        Failure::new(MISUSED, what, way_out)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.what)?;
        match self.way_out.is_empty() {
            true => Ok(()),
            false => write!(formatter, "\n       {}", self.way_out),
        }
    }
}
