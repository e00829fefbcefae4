//! A function's own program, as Lambda runs it: a process on the Runtime API.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use jiff::Timestamp;
use lambda_simulator::{InvocationState, InvocationStatus, Simulator, SimulatorError};
use outbill::values::ids::OrganizationId;
use sandbox::functions;
use serde_json::Value;
use tokio::process::Command;

use crate::child::Child;
use crate::dispatch;
use crate::gateway::Gateway;

/// Under callgrind a function takes fifty times as long.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// The simulator can forget to wake who waits for an answer that comes in the very moment of the question.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Where the programs lie, and what they are told.
#[derive(Debug)]
pub struct Programs {
    folder: PathBuf,
    pub gateway: Gateway,
    bill_queue_url: String,
    m3ter_base_url: String,
    /// What the programs write goes into files here.
    output: PathBuf,
}

impl Programs {
    /// Before the child's stand-ins, which they reach over TLS. `temporary` takes what they write.
    pub async fn before(child: &Child, folder: PathBuf, temporary: &Path) -> anyhow::Result<Programs> {
        Ok(Programs {
            folder,
            gateway: Gateway::start(child.text("aws"), temporary).await?,
            bill_queue_url: child.text("queue").to_owned(),
            m3ter_base_url: child.text("m3ter").to_owned(),
            output: temporary.to_owned(),
        })
    }

    /// The folder of the programs: `given`, or this program's own.
    pub fn folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe()?;
        let folder = given.or(own.parent()).context("a folder of programs")?;
        for function in sandbox::Function::ALL {
            ensure!(
                folder.join(function.program()).is_file(),
                "{} has no {}: build the functions first, with cargo build --release -p bench -p bill-dispatch -p api -p reconcile",
                folder.display(),
                function.program()
            );
        }
        Ok(folder.to_owned())
    }

    /// Starts a function's program, under `wrapper` if there is one.
    pub async fn start(&self, function: sandbox::Function, wrapper: &[String]) -> anyhow::Result<Program> {
        let simulator = Simulator::builder()
            .function_name(function.program())
            .region(functions::REGION)
            .invocation_timeout(ANSWER_WITHIN)
            .build()
            .await?;
        let program = self.folder.join(function.program());
        let output = self.output.join(format!("{}.log", function.program()));
        let mut command = match wrapper.split_first() {
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(program);
                command
            }
            None => Command::new(program),
        };
        let process = command
            .env_clear()
            .envs(simulator.lambda_env_vars())
            .envs(self.gateway.variables())
            .env("AWS_ACCESS_KEY_ID", function.access_key_id())
            .env("AWS_SECRET_ACCESS_KEY", "test-only")
            .env("OUTBILL_TABLE", functions::TABLE)
            .env("OUTBILL_BILL_QUEUE_URL", &self.bill_queue_url)
            .env("OUTBILL_M3TER_BASE_URL", &self.m3ter_base_url)
            .env("OUTBILL_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&output)?)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Program {
            simulator,
            process,
            output,
        })
    }
}

/// Messages with these bills, in their first version and of this month.
pub fn bills(organization: &OrganizationId, bills: Range<usize>) -> Vec<SqsMessage> {
    let month = dispatch::month(Timestamp::now());
    bills
        .map(|bill| dispatch::message(1, month, organization, dispatch::Bill::first(bill)))
        .collect()
}

/// An event of SQS with these messages.
pub fn event(messages: Vec<SqsMessage>) -> anyhow::Result<Value> {
    let mut event = SqsEvent::default();
    event.records = messages;
    Ok(serde_json::to_value(event)?)
}

/// A running program; dropping it ends it.
pub struct Program {
    simulator: Simulator,
    process: tokio::process::Child,
    output: PathBuf,
}

impl Program {
    /// Puts an event in its way before it asks for one; gives the event's id.
    pub async fn enqueue(&self, event: Value) -> String {
        self.simulator.enqueue_payload(event).await
    }

    /// Waits for its answer to an event.
    pub async fn answered(&mut self, id: &str) -> anyhow::Result<InvocationState> {
        let begun = Instant::now();
        let state = loop {
            let state = tokio::select! {
                state = self.simulator.wait_for_invocation_complete(id, LOOKS_EVERY) => state,
                status = self.process.wait() => bail!("the program ended: {}", status?),
            };
            match state {
                Err(SimulatorError::Timeout(_)) if begun.elapsed() < ANSWER_WITHIN => {}
                state => break state?,
            }
        };
        ensure!(state.status == InvocationStatus::Success, "{:?}", state.error);
        Ok(state)
    }

    /// What it wrote about something that went wrong, the first of it.
    pub fn complaint(&self) -> anyhow::Result<String> {
        let output = std::fs::read_to_string(&self.output)?;
        let complains = |line: &&str| line.contains("\"ERROR\"") || line.contains("\"WARN\"");
        Ok(output.lines().find(complains).unwrap_or("nothing").to_owned())
    }

    /// Its process, as `/proc` names it.
    pub fn id(&self) -> anyhow::Result<String> {
        Ok(self.process.id().context("a process")?.to_string())
    }

    /// Asks it to end, and waits until it has.
    pub async fn end(mut self) -> anyhow::Result<ExitStatus> {
        // The shell's own: a small system has no program of that name.
        let kill = ["-c", "kill -TERM \"$0\"", &self.id()?];
        Command::new("sh").args(kill).status().await?;
        Ok(self.process.wait().await?)
    }
}
