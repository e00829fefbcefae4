//! The shape of this repository, as checks: which ring of `shared` names which, which package depends
//! on which, which payload a test reads, and what is never left behind.
//!
//! Every check is a function from text to [`Finding`]s and has a unit test that makes it fail; the
//! integration test `repository` runs them all on the files that are here.

pub mod code;
pub mod files;
pub mod packages;
pub mod payloads;
pub mod residue;
pub mod rings;

use std::fmt;

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the repository's root.
    pub file: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What is wrong, and the rule that says so.
    pub rule: String,
}

impl Finding {
    /// A finding in a line.
    pub fn new(file: &str, line: usize, rule: impl Into<String>) -> Finding {
        Finding {
            file: file.to_owned(),
            line,
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.file, self.rule),
            line => write!(formatter, "{}:{line}: {}", self.file, self.rule),
        }
    }
}

/// One line for each finding.
pub fn report(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("\n  {finding}")).collect()
}
