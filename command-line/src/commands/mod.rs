//! One module a command. Each gives what goes to standard output, and the exit code.

mod decide;
mod explain;
mod login;
mod pending;
mod preview;
mod reconcile;
mod report;
mod runs;
mod status;

use clap::CommandFactory;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::Api;
use crate::arguments::{Arguments, Command};
use crate::failure::{Failure, MISUSED, WELL};
use crate::show::{self, Screen, field};
use crate::surroundings::Surroundings;

/// How an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Tables and sentences.
    ForPeople,
    /// The API's JSON.
    Json,
}

/// What a command ends with.
#[derive(Debug)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Answer {
    /// Nothing needs a person.
    pub fn well(text: impl Into<String>) -> Answer {
        Answer {
            text: text.into(),
            code: WELL,
        }
    }
}

/// Does what the command line says.
pub async fn run(arguments: Arguments, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let form = if arguments.json { Form::Json } else { Form::ForPeople };
    let screen = Screen::of(surroundings);
    let profile = arguments.profile.or_else(|| surroundings.variable("OUTBILL_PROFILE"));
    let api = match &arguments.command {
        Command::Login(login) => return login::log_in(login, profile.as_deref(), form, surroundings).await,
        Command::Logout => return login::log_out(profile.as_deref(), form, surroundings),
        Command::Completions { shell } => return Ok(completions(*shell)),
        _ => login::api(profile.as_deref(), surroundings).await?,
    };
    match &arguments.command {
        Command::Login(_) | Command::Logout | Command::Completions { .. } => Ok(Answer::well("")),
        Command::Status => status::status(&api, form, &screen, surroundings.now).await,
        Command::Pending => pending::pending(&api, form, &screen).await,
        Command::Report(asked) => report::report(&api, asked, form, &screen).await,
        Command::Explain(asked) => explain::explain(&api, asked, form, &screen).await,
        Command::Preview(asked) => preview::preview(&api, asked, form, &screen).await,
        Command::Reconcile(asked) => reconcile::reconcile(&api, asked, form, &screen, surroundings).await,
        Command::Runs(asked) => runs::runs(&api, asked, form, &screen).await,
        Command::Replay(asked) => decide::replay(&api, asked, form, surroundings).await,
        Command::Resolve(asked) => decide::resolve(&api, asked, form, surroundings).await,
        Command::Unblock(asked) => decide::unblock(&api, asked, form, surroundings).await,
        Command::Thaw(asked) => decide::thaw(&api, asked, form, surroundings).await,
        Command::Enable { configuration } => decide::enable(&api, configuration, form).await,
    }
}

fn completions(shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "outbill", &mut script);
    Answer::well(String::from_utf8_lossy(&script).trim_end())
}

/// All integration configurations.
async fn configurations(api: &Api) -> Result<Vec<Box<RawValue>>, Failure> {
    Ok(api.rows("integrationconfigs", &[], usize::MAX).await?.rows)
}

/// The configuration that was named, or the only one that fits.
async fn one_configuration(
    api: &Api,
    named: Option<&str>,
    what: &str,
    fits: impl Fn(&Value) -> bool,
) -> Result<String, Failure> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let all = configurations(api).await?;
    let fitting: Vec<Value> = all.iter().map(|row| show::read(row)).filter(fits).collect();
    match fitting.as_slice() {
        [one] => Ok(field(one, "id")),
        [] => Err(Failure::new(
            MISUSED,
            format!("there is no configuration {what}"),
            "make one, see docs/first-bill.md",
        )),
        several => {
            let ids: Vec<String> = several
                .iter()
                .map(|one| format!("{} ({})", field(one, "id"), field(one, "name")))
                .collect();
            let what = format!("there are {} configurations {what}: {}", several.len(), ids.join(", "));
            Err(Failure::new(MISUSED, what, "give one with --configuration"))
        }
    }
}

/// An id as a part of a path.
fn segment(id: &str) -> String {
    urlencoding::encode(id).into_owned()
}
