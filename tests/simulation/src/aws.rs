//! The other end of the wire: where a request arrives, what it does, and what is seen of it.

use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_async::time::TimeSource;
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use sandbox::Change;
use sandbox::aws::{self, Asked, Thoroughness};
use sandbox::world::World;
use serde_json::Value;
use tokio::time::Instant;

use crate::TABLE;
use crate::books::Books;
use crate::engine::Engine;
use crate::network::{Caller, Waiting};
use crate::variant::{Rewriting, Rewritten, Variant};

/// Where AWS seems to be. Nothing is ever connected to it.
pub const ENDPOINT: &str = "http://aws.invalid";
/// The region of everything.
pub const REGION: &str = "us-east-1";
/// The caller that is the seller's API. It makes secrets, which are never from a seed.
pub const SELLER: Caller = Caller::MAX;

/// AWS's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Timestamp,
    began: Instant,
}

impl Clock {
    fn starting_at(start: Timestamp) -> Clock {
        Clock {
            start,
            began: Instant::now(),
        }
    }

    /// AWS's time.
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        self.start.saturating_add(passed).unwrap_or(self.start)
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::from(Clock::now(self))
    }
}

/// What was counted in a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were handled.
    pub requests: u64,
    /// Requests that something happened to.
    pub faults: u64,
    /// Workers that were killed.
    pub kills: u64,
    /// Messages handed to workers.
    pub deliveries: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.requests += other.requests;
        self.faults += other.faults;
        self.kills += other.kills;
        self.deliveries += other.deliveries;
    }
}

/// AWS, the laws that are looked at when something arrives there, and the account of it.
pub struct Aws {
    /// AWS's clock.
    pub clock: Clock,
    /// Every stand-in but DynamoDB.
    pub world: Arc<World>,
    /// DynamoDB.
    pub engine: Engine,
    /// The laws.
    pub books: Books,
    /// What happened, in numbers.
    pub counts: Counts,
    /// What happened, in one number that differs when anything does.
    pub digest: u64,
    /// What happened, in words, if somebody wants them.
    pub lines: Option<Vec<String>>,
    /// The rule that is taken away.
    pub rewriting: Rewriting,
    told: usize,
}

impl Aws {
    /// An empty AWS. Must be made on a tokio runtime whose clock is paused.
    pub fn new(start: Timestamp, variant: Option<Variant>) -> anyhow::Result<Aws> {
        Ok(Aws {
            clock: Clock::starting_at(start),
            world: Arc::new(World::in_memory(start)),
            engine: Engine::new()?,
            books: Books::default(),
            counts: Counts::default(),
            digest: 0,
            lines: None,
            rewriting: Rewriting::new(variant),
            told: 0,
        })
    }

    /// A request arrives at AWS and is done. The laws are looked at.
    pub fn arrive(&mut self, waiting: &Waiting, thoroughness: Thoroughness) -> anyhow::Result<http::Response<Vec<u8>>> {
        let now = self.clock.now();
        self.world.change(Change::ClockMoved { to: now })?;
        self.counts.requests += 1;
        let Some(asked) = Asked::of(&waiting.parts, &waiting.body) else {
            anyhow::bail!("nobody stands in for {} {}", waiting.parts.method, waiting.parts.uri);
        };
        let mut answer = match &asked {
            Asked::DynamoDb(action) => self.table(waiting.caller, action, &waiting.body)?,
            Asked::Metering(_) => self.meter(waiting, &asked, thoroughness)?,
            _ => plain(aws::stand_in(
                &self.world,
                ENDPOINT,
                &asked,
                &waiting.parts,
                &waiting.body,
                thoroughness,
            ))?,
        };
        // The order of a map's fields is drawn by the process; what they add up to is not.
        let weight: u64 = match waiting.caller {
            SELLER => 0,
            _ => waiting.body.iter().map(|byte| u64::from(*byte)).sum(),
        };
        let caller = waiting.caller;
        let status = answer.status().as_u16();
        let who = || {
            if caller == SELLER {
                "the seller".to_owned()
            } else {
                format!("worker {caller}")
            }
        };
        self.note(weight ^ u64::from(status) << 40, || {
            format!(
                "{now} {}: {} {} {}: {status}",
                who(),
                asked.service().as_str(),
                asked.action(),
                subject(&asked, &waiting.body)
            )
        });
        let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        answer.headers_mut().insert("date", date.parse()?);
        self.tell_broken();
        Ok(answer)
    }

    /// What was broken since the last look goes among the lines.
    pub fn tell_broken(&mut self) {
        let broken = self.books.violations();
        if let Some(lines) = &mut self.lines {
            lines.extend(
                broken[self.told..]
                    .iter()
                    .map(|violation| format!("BROKEN: {}: {}", violation.law, violation.how)),
            );
        }
        self.told = broken.len();
    }

    fn table(&mut self, caller: Caller, action: &str, body: &[u8]) -> anyhow::Result<http::Response<Vec<u8>>> {
        let writes = matches!(action, "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems");
        if !writes && !self.rewriting.is_on() {
            let (status, body) = self.engine.answer(action, body);
            return json_answer(status, body);
        }
        let mut request: Value = serde_json::from_slice(body)?;
        let (status, answer) = match self.rewriting.table_request(caller, action, &mut request) {
            Rewritten::Answered(answer) => (200, answer.to_string().into_bytes()),
            Rewritten::Arrives if self.rewriting.is_on() => self.engine.answer(action, request.to_string().as_bytes()),
            Rewritten::Arrives => self.engine.answer(action, body),
        };
        if writes && status == 200 {
            self.written(&request)?;
        }
        json_answer(status, answer)
    }

    fn written(&mut self, request: &Value) -> anyhow::Result<()> {
        let (books, engine) = (&mut self.books, &self.engine);
        self.world
            .read(|holdings| books.written(engine, &holdings.marketplace, request))
    }

    fn meter(
        &mut self,
        waiting: &Waiting,
        asked: &Asked,
        thoroughness: Thoroughness,
    ) -> anyhow::Result<http::Response<Vec<u8>>> {
        let sent: Value = serde_json::from_slice(&waiting.body)?;
        let mut request = sent.clone();
        self.rewriting.metering_request(self.clock.now(), &mut request);
        self.books.sent(REGION, &request);
        let body = if self.rewriting.is_on() {
            request.to_string().into_bytes()
        } else {
            waiting.body.clone()
        };
        let answer = plain(aws::stand_in(
            &self.world,
            ENDPOINT,
            asked,
            &waiting.parts,
            &body,
            thoroughness,
        ))?;
        for claim in self.rewriting.claims_after(waiting.caller) {
            if self.engine.answer("TransactWriteItems", claim.to_string().as_bytes()).0 == 200 {
                self.written(&claim)?;
            }
        }
        let books = &mut self.books;
        self.world
            .read(|holdings| books.metered(&holdings.marketplace, REGION, &request));
        if !self.rewriting.is_on() {
            return Ok(answer);
        }
        let (status, body) =
            self.rewriting
                .metering_answer(&sent, answer.status().as_u16(), serde_json::from_slice(answer.body())?);
        json_answer(status, body.to_string().into_bytes())
    }

    /// Notes what happened: always in the digest, in words if they are wanted.
    pub fn note(&mut self, weight: u64, line: impl FnOnce() -> String) {
        self.digest = self.digest.rotate_left(5).wrapping_mul(0x517C_C1B7_2722_0A95) ^ weight;
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }
}

/// An answer of a stand-in, read.
pub fn plain(response: axum::response::Response) -> anyhow::Result<http::Response<Vec<u8>>> {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).now_or_never();
    let body = body.ok_or_else(|| anyhow::anyhow!("a stand-in's answer is not in memory"))??;
    Ok(http::Response::from_parts(parts, body.to_vec()))
}

/// An answer in JSON.
pub fn json_answer(status: u16, body: Vec<u8>) -> anyhow::Result<http::Response<Vec<u8>>> {
    let answer = http::Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0");
    Ok(answer.body(body)?)
}

/// What a request is about, for people.
fn subject(asked: &Asked, body: &[u8]) -> String {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return String::new();
    };
    let text = |row: &Value, name: &str| {
        row.get(name)
            .and_then(|value| value.get("S"))
            .and_then(Value::as_str)
            .map(short)
    };
    let row = |row: Option<&Value>| row.and_then(|row| Some(format!("{} {}", text(row, "PK")?, text(row, "SK")?)));
    match asked {
        Asked::Metering(_) => {
            let records = body
                .get("UsageRecords")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let record = |record: &Value| {
                format!(
                    "{}={}@{}",
                    record["Dimension"].as_str().unwrap_or_default(),
                    record["Quantity"],
                    record["Timestamp"]
                )
            };
            records.iter().map(record).collect::<Vec<_>>().join(", ")
        }
        Asked::DynamoDb(action) if action == "TransactWriteItems" => {
            let actions = body
                .get("TransactItems")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let one = |action: &Value| {
                let (kind, action) = action.as_object()?.iter().next()?;
                Some(format!("{kind} {}", row(action.get("Item").or(action.get("Key")))?))
            };
            actions.iter().filter_map(one).collect::<Vec<_>>().join("; ")
        }
        Asked::DynamoDb(action) if action == "BatchWriteItem" => {
            let rows = body
                .pointer(&format!("/RequestItems/{TABLE}"))
                .and_then(Value::as_array);
            let puts = rows.into_iter().flatten();
            let puts = puts.filter_map(|put| row(put.pointer("/PutRequest/Item")));
            puts.map(|put| format!("Put {put}")).collect::<Vec<_>>().join("; ")
        }
        Asked::DynamoDb(_) => row(body.get("Item").or(body.get("Key"))).unwrap_or_default(),
        _ => String::new(),
    }
}

fn short(text: &str) -> String {
    match text.strip_prefix("KEY#") {
        Some(hash) => format!("KEY#{}", hash.get(..6).unwrap_or(hash)),
        None => text.to_owned(),
    }
}
