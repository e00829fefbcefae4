//! What the process finds around it: variables, the terminal, standard input, and the time.

use std::io::{BufRead, IsTerminal, Write};

use console::Term;
use jiff::Timestamp;

use crate::failure::Failure;

/// The process's surroundings.
#[derive(Debug)]
pub struct Surroundings {
    /// When the command began.
    pub now: Timestamp,
    /// Whether a person types.
    pub has_typist: bool,
    /// Whether standard output is a terminal.
    pub has_screen: bool,
}

impl Surroundings {
    /// As they are.
    pub fn here() -> Surroundings {
        Surroundings {
            now: Timestamp::now(),
            has_typist: std::io::stdin().is_terminal(),
            has_screen: std::io::stdout().is_terminal(),
        }
    }

    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// Whether colours are wanted: a terminal that has them, and no `NO_COLOR`.
    pub fn has_colours(&self) -> bool {
        let is_dumb = self.variable("TERM").is_some_and(|kind| kind == "dumb");
        self.has_screen && !is_dumb && self.variable("NO_COLOR").is_none()
    }

    /// How many characters fit in a line: what `COLUMNS` says, else the terminal. Nothing where it does not matter.
    pub fn columns(&self) -> Option<u16> {
        let said: Option<u16> = self.variable("COLUMNS").and_then(|columns| columns.parse().ok());
        let size = self.has_screen.then(|| Term::stdout().size_checked()).flatten();
        said.filter(|columns| *columns > 0).or(size.map(|(_, columns)| columns))
    }

    /// A line that is typed, or the next one of standard input.
    pub fn ask(&self, question: &str) -> Result<String, Failure> {
        if self.has_typist {
            eprint!("{question}: ");
            let _ = std::io::stderr().flush();
        }
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        read.map_err(|error| Failure::misused(format!("standard input cannot be read: {error}"), ""))?;
        Ok(line.trim().to_owned())
    }

    /// The same without showing what is typed.
    pub fn ask_secret(&self, question: &str) -> Result<String, Failure> {
        if !self.has_typist {
            return self.ask(question);
        }
        eprint!("{question} (not shown): ");
        let _ = std::io::stderr().flush();
        let typed = Term::stderr().read_secure_line();
        let typed = typed.map_err(|error| Failure::misused(format!("the terminal cannot be read: {error}"), ""))?;
        Ok(typed.trim().to_owned())
    }

    /// Whether a person agrees. Without one: the way to say it on the command line.
    pub fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if !self.has_typist {
            return Err(Failure::misused(
                "this wants to be confirmed, and nobody can be asked: standard input is not a terminal",
                "give --yes; nothing was changed",
            ));
        }
        let answer = self.ask(&format!("{question} [y/N]"))?;
        Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
    }
}
