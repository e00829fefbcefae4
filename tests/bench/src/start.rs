//! The functions' own programs: how long from their start to their first answer, and what an invocation takes of the processor.
//!
//! Everything that a first answer needs goes over TLS to loopback, to stand-ins without delays. The breakdown says whose time it is: the
//! stand-ins' part would be AWS's.

use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use outbill::values::ids::OrganizationId;
use sandbox::Function;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::{Child, Counts};
use crate::dispatch;
use crate::figures::{self, Figure, Goal, spread, within};
use crate::gateway::Seen;
use crate::process::{cpu_of_threads, memory_kb};
use crate::program::{self, Program, Programs};

/// Invocations under callgrind: the difference of two programs, one with few and one with many, is that of the warm ones.
const FEW: usize = 5;

/// How often.
#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// Starts of each function
    #[arg(long, default_value_t = 50)]
    pub starts: usize,
    /// Where the functions' programs lie; beside this one unless given
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Count the instructions of so many warm invocations of one bill, with valgrind's callgrind
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub instructions: usize,
    /// Where the figures go as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// The child's side: the seller of the backlog, now and without delays.
pub async fn serve(plan: &Plan) -> anyhow::Result<()> {
    dispatch::serve(&backlog(plan), None).await
}

fn backlog(plan: &Plan) -> dispatch::Plan {
    dispatch::Plan {
        bills: plan.starts + 2 * FEW + plan.instructions,
        ..dispatch::Plan::without_delays()
    }
}

/// Events, each with a bill that was not sent before.
struct Events {
    organization: OrganizationId,
    token: String,
    bills: std::ops::Range<usize>,
}

impl Events {
    fn next(&mut self, function: Function) -> anyhow::Result<Value> {
        match function {
            Function::BillDispatch => {
                let bill = self.bills.next().context("a bill that is left")?;
                program::event(program::bills(&self.organization, bill..bill + 1))
            }
            Function::Api => Ok(self.usage_report()),
            Function::Reconcile => Ok(json!({ "continue": {} })),
        }
    }

    /// An event of an HTTP API, payload format 2.0, that asks for what was metered.
    fn usage_report(&self) -> Value {
        let organization = &self.organization;
        let path = format!("/organizations/{organization}/integrationdestinations/marketplace/usageReport");
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "pageSize=5",
            "headers": { "authorization": format!("Bearer {}", self.token), "host": "id.execute-api.us-east-1.amazonaws.com" },
            "requestContext": {
                "accountId": "123456789012", "apiId": "id", "domainName": "id.execute-api.us-east-1.amazonaws.com", "domainPrefix": "id",
                "http": { "method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "bench" },
                "requestId": "id", "routeKey": "$default", "stage": "$default", "time": "12/Mar/2026:19:03:58 +0000", "timeEpoch": 1773342238000_u64,
            },
            "isBase64Encoded": false,
        })
    }
}

/// What the starts of one function took.
#[derive(Debug, Default)]
struct Starts {
    answered: Vec<Duration>,
    /// Until it asked for its first event.
    asked: Vec<Duration>,
    handshakes: Vec<Duration>,
    waited: Vec<Duration>,
    cpu: Vec<Duration>,
    last: Seen,
    /// The requests of the last start.
    asked_for: String,
    memory_kb: u64,
}

fn told(counts: &Counts) -> String {
    let services = counts.iter().filter(|(_, actions)| !actions.is_empty());
    let services: Vec<String> = services
        .map(|(service, _)| format!("{service}: {}", dispatch::told(counts, service)))
        .collect();
    services.join("; ")
}

/// Starts the programs, and prints what they took.
pub async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let folder = Programs::folder(plan.programs.as_deref())?;
    let child = Child::start()?;
    let mut events = Events {
        organization: child.organization()?,
        token: child.text("token").to_owned(),
        bills: 0..backlog(plan).bills,
    };
    // The engine counts all rows when it is asked for its table, as a first invocation does; the other accounts come when they are needed.
    let outbill = child.outbill().await;
    dispatch::map(0..plan.starts, &outbill, from_ref(&events.organization)).await?;
    let temporary = TempDir::new()?;
    let programs = Programs::before(&child, folder, temporary.path()).await?;
    let mut figures = Vec::new();
    let bar = dispatch::bar(plan.starts * Function::ALL.len(), "starts");
    for function in Function::ALL {
        let mut starts = Starts::default();
        for _ in 0..plan.starts {
            child.clear_requests()?;
            start(&programs, function, events.next(function)?, &mut starts).await?;
            bar.inc(1);
        }
        starts.asked_for = told(&child.requests()?);
        figures.extend(starts.told(function));
    }
    bar.finish_and_clear();
    dispatch::map(plan.starts..events.bills.end, &outbill, from_ref(&events.organization)).await?;
    if plan.instructions > 0 {
        figures.extend(instructions(plan, &programs, &mut events, temporary.path()).await?);
    }
    figures::print(&figures);
    figures::keep(&figures, plan.json.as_deref())
}

async fn start(programs: &Programs, function: Function, event: Value, starts: &mut Starts) -> anyhow::Result<()> {
    programs.gateway.take();
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut program = programs.start(function, &[]).await?;
    let id = program.enqueue(event).await;
    let state = program.answered(&id).await?;
    let process = program.id()?;
    starts.cpu.push(cpu_of_threads(&process)?);
    starts.memory_kb = starts.memory_kb.max(memory_kb(&process, "VmHWM")?);
    let since = |microseconds: i64| {
        let at = Duration::from_micros(u64::try_from(microseconds).unwrap_or_default());
        at.saturating_sub(begun)
    };
    let asked = state.started_at.context("an event that was taken")?;
    let answered = state.response.context("an answer")?.received_at;
    starts.asked.push(since(asked.timestamp_micros()));
    starts.answered.push(since(answered.timestamp_micros()));
    starts.last = programs.gateway.take();
    starts.handshakes.push(starts.last.handshakes);
    starts.waited.push(starts.last.waited);
    program.end().await.map(|_| ())
}

impl Starts {
    fn told(mut self, function: Function) -> [Figure; 6] {
        let name = match function {
            Function::BillDispatch => "bill-dispatch, from its start to its first answer",
            Function::Api => "api, from its start to its first answer",
            Function::Reconcile => "reconcile, from its start to its first answer",
        };
        let part = |name: &'static str, times: &mut [Duration], of| Figure {
            name: name.into(),
            value: within(times, 50),
            unit: "ms",
            places: 1,
            of,
            goal: None,
        };
        // Before anything is sorted.
        let own = self.answered.iter().zip(&self.waited);
        let mut own: Vec<Duration> = own.map(|(all, waited)| all.saturating_sub(*waited)).collect();
        let mut first = part(name, &mut self.answered, String::new());
        first.of = spread(&mut self.answered);
        first.goal = Some(Goal::AtMost(20.0));
        [
            first,
            part("- without the stand-ins' part", &mut own, String::new()),
            part("- until it asks for an event", &mut self.asked, String::new()),
            part(
                "- handshakes",
                &mut self.handshakes,
                format!("{} connections", self.last.connections),
            ),
            part(
                "- waiting for the stand-ins",
                &mut self.waited,
                format!("{} answers: {}", self.last.requests, self.asked_for),
            ),
            part(
                "- processor time, all of it",
                &mut self.cpu,
                format!("{:.1} MB resident at most", figures::megabytes(self.memory_kb)),
            ),
        ]
    }
}

/// Instructions of the bill-dispatch function, started and warm.
async fn instructions(
    plan: &Plan,
    programs: &Programs,
    events: &mut Events,
    folder: &Path,
) -> anyhow::Result<[Figure; 2]> {
    let few = counted(programs, events, FEW, folder).await?;
    let many = counted(programs, events, FEW + plan.instructions, folder).await?;
    let warm = (many - few) / dispatch::as_f64(plan.instructions);
    let millions = |name: &'static str, count: f64, of: String| Figure {
        name: name.into(),
        value: count / 1e6,
        unit: "million",
        places: 2,
        of,
        goal: None,
    };
    Ok([
        millions(
            "instructions of a warm invocation of one bill",
            warm,
            format!("{} invocations under callgrind", plan.instructions),
        ),
        millions(
            "instructions from the start to the first answer",
            few - warm * dispatch::as_f64(FEW - 1),
            "all processes under callgrind".to_owned(),
        ),
    ])
}

/// All instructions of a program that answers so many bills.
async fn counted(programs: &Programs, events: &mut Events, bills: usize, folder: &Path) -> anyhow::Result<f64> {
    let out = folder.join(format!("callgrind-{bills}"));
    let out_file = format!("--callgrind-out-file={}", out.display());
    let wrapper = ["valgrind", "--tool=callgrind", "--quiet", &out_file].map(str::to_owned);
    let mut program: Program = programs
        .start(Function::BillDispatch, &wrapper)
        .await
        .context("--instructions needs valgrind")?;
    let bar = dispatch::bar(bills, "bills under callgrind");
    for _ in 0..bills {
        let id = program.enqueue(events.next(Function::BillDispatch)?).await;
        program.answered(&id).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    program.end().await?;
    let counts = std::fs::read_to_string(&out).context("callgrind's counts")?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.context("callgrind's total")?.trim().parse()?)
}
