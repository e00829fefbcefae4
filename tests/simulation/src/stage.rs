//! Where a history is played: workers, the wire, AWS and the laws, on one thread.
//!
//! The only things that happen at all are a worker's step to its next request, and one request's arrival. Both are chosen here, so a history
//! is a function of its values. Time is tokio's paused clock: it passes when a history says so, or when everybody sleeps.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::SharedTimeSource;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use outbill::effects::metrics::Metrics;
use outbill::effects::random::Random;
use outbill::{Environment, Outbill};
use sandbox::Service;
use sandbox::aws::{Asked, Refused, Thoroughness};
use sandbox::functions::BILL_DISPATCH_TIMEOUT;
use sandbox::queues::QueueName;

use crate::TABLE;
use crate::aws::{Aws, ENDPOINT, REGION, json_answer, plain};
use crate::books::Calm;
use crate::history::{Among, Fate, Fault, Round};
use crate::network::{Caller, Network, Reply, Waiting};
use crate::variant::Variant;

/// Turns after which a round is taken for endless.
const TURNS_MAX: usize = 50_000;

/// A worker's invocation that is over.
#[derive(Debug)]
pub struct Ended {
    /// Which worker.
    pub caller: Caller,
    /// Its answer to the queue; none: it was killed.
    pub answer: Option<SqsBatchResponse>,
}

/// What a worker is invoked with.
#[derive(Debug)]
pub enum Work {
    /// Messages of the queue.
    Batch(SqsEvent),
    /// A schedule's event, for the reconcile function.
    Reconciliation(reconcile::Event),
}

/// See the module.
pub struct Stage {
    /// The other end of the wire.
    pub aws: Aws,
    network: Network,
    seed: u64,
    made: u64,
}

/// Workers under way, and what each was disturbed by.
struct Running {
    caller: Caller,
    future: BoxFuture<'static, SqsBatchResponse>,
    calm: Calm,
}

impl Stage {
    /// An empty AWS. Must be called on a tokio runtime whose clock is paused.
    pub fn new(seed: u64, start: Timestamp, variant: Option<Variant>) -> anyhow::Result<Stage> {
        Ok(Stage {
            aws: Aws::new(start, variant)?,
            network: Network::default(),
            seed,
            made: 0,
        })
    }

    /// A new process of a caller's: a cold start.
    pub fn start(&mut self, caller: Caller) -> Outbill {
        self.made += 1;
        let random = Random::seeded(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(self.made));
        let environment = Environment {
            table: TABLE.to_owned(),
            bill_queue_url: sandbox::aws::queue_url(ENDPOINT, QueueName::Bills),
            secret_prefix: "outbill/".to_owned(),
            m3ter_base_url: format!("{ENDPOINT}/m3ter"),
            alert_sender: "outbill@seller.example".to_owned(),
            log: "off".to_owned(),
        };
        Outbill {
            metrics: Metrics::new(&environment.secret_prefix, Arc::new(|_| ())),
            ..Outbill::connect_with(&self.sdk(caller), &environment, &random)
        }
    }

    /// The SDK's configuration of a caller: its own line, the virtual clock, and otherwise what the SDK does by itself.
    pub fn sdk(&self, caller: Caller) -> SdkConfig {
        let credentials = Credentials::new("AKIASIMULATEDSELLER0", "simulated", None, None, "simulation");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.network.line(caller))
            .endpoint_url(ENDPOINT)
            .region(Region::new(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .time_source(SharedTimeSource::new(self.aws.clock))
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .build()
    }

    /// Lets a caller do something while nothing goes wrong.
    pub async fn calmly<T>(&mut self, work: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut work = pin!(work);
        loop {
            let network = self.network.clone();
            let done = poll_fn(|context| match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if network.is_quiet() => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            });
            if let Some(done) = done.await {
                return Ok(done);
            }
            let waiting = self.network.take(0);
            let answer = self.aws.arrive(&waiting, Thoroughness::Whole)?;
            waiting.reply(Reply::Answer(answer));
        }
    }

    /// Lets workers handle their batches, in a given order and with given faults, until all have ended.
    pub async fn work(
        &mut self,
        batches: Vec<(Caller, Outbill, Work, Timestamp)>,
        round: &Round,
    ) -> anyhow::Result<Vec<Ended>> {
        let mut running: Vec<Running> = batches
            .into_iter()
            .map(|(caller, outbill, work, now)| Running {
                caller,
                future: async move {
                    match work {
                        Work::Batch(event) => bill_dispatch::handle(&outbill, event, now, BILL_DISPATCH_TIMEOUT).await,
                        Work::Reconciliation(event) => {
                            // What fails is continued by the next invocation.
                            let _ = reconcile::handle(&outbill, event, now).await;
                            SqsBatchResponse::default()
                        }
                    }
                }
                .boxed(),
                calm: Calm::Yes,
            })
            .collect();
        let mut ended = Vec::new();
        let mut counted = BTreeMap::new();
        for turn in 0..TURNS_MAX {
            self.step(&mut running, &mut ended).await;
            if running.is_empty() {
                break;
            }
            anyhow::ensure!(turn + 1 < TURNS_MAX, "a round did not end within {TURNS_MAX} turns");
            if !self.network.is_quiet() {
                let byte = round.order.get(turn).copied().unwrap_or(0);
                let waiting = self.choose(byte);
                let fate = fate(&waiting, &mut counted, &round.faults);
                self.meet(waiting, fate, &mut running, &mut ended).await?;
            }
        }
        // What workers that are gone left on the wire arrives after all.
        while !self.network.is_quiet() {
            let waiting = self.network.take(0);
            self.aws.arrive(&waiting, Thoroughness::Whole)?;
        }
        Ok(ended)
    }

    /// Lets everybody run until a request waits or a worker ends. Time passes only if all sleep.
    async fn step(&mut self, running: &mut Vec<Running>, ended: &mut Vec<Ended>) {
        let network = self.network.clone();
        let answers = poll_fn(|context| {
            let mut answers = Vec::new();
            for worker in running.iter_mut() {
                if let Poll::Ready(answer) = worker.future.poll_unpin(context) {
                    answers.push((worker.caller, answer));
                }
            }
            if answers.is_empty() && network.is_quiet() && !running.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(answers)
            }
        })
        .await;
        for (caller, answer) in answers {
            let calm = running
                .iter()
                .find(|worker| worker.caller == caller)
                .map_or(Calm::No, |worker| worker.calm);
            self.aws.books.ended(caller, calm);
            self.aws.tell_broken();
            running.retain(|worker| worker.caller != caller);
            self.aws.note(caller as u64 + 1000, || format!("worker {caller} ends"));
            ended.push(Ended {
                caller,
                answer: Some(answer),
            });
        }
    }

    /// Whose request is next, by a byte: one of the callers, then one of its requests.
    fn choose(&self, byte: u8) -> Waiting {
        let place = self.network.look(|waiting| {
            let mut callers: Vec<Caller> = waiting.iter().map(|waiting| waiting.caller).collect();
            callers.sort_unstable();
            callers.dedup();
            let caller = callers[usize::from(byte) % callers.len()];
            let own: Vec<usize> = (0..waiting.len())
                .filter(|place| waiting[*place].caller == caller)
                .collect();
            own[usize::from(byte) / 16 % own.len()]
        });
        self.network.take(place)
    }

    async fn meet(
        &mut self,
        mut waiting: Waiting,
        fate: Option<Fate>,
        running: &mut Vec<Running>,
        ended: &mut Vec<Ended>,
    ) -> anyhow::Result<()> {
        let caller = waiting.caller;
        let asked = Asked::of(&waiting.parts, &waiting.body);
        let service = asked.as_ref().map(Asked::service);
        let metering = service == Some(Service::Metering);
        let transaction = asked
            .as_ref()
            .is_some_and(|asked| asked.action() == "TransactWriteItems");
        // What cannot happen to this request does not.
        let fate = fate.filter(|fate| match fate {
            Fate::Unprocessed => metering,
            Fate::Cancelled => transaction,
            _ => true,
        });
        if let Some(fate) = fate {
            self.aws.counts.faults += 1;
            self.aws.note(u64::from(waiting.is_awaited()), || format!("  {fate}"));
            if !metering && let Some(worker) = running.iter_mut().find(|worker| worker.caller == caller) {
                worker.calm = Calm::No;
            }
        }
        let refused = |refused, body: &[u8]| service.map(|service| sandbox::aws::refusal(service, refused, body));
        match fate {
            None => {
                let answer = self.aws.arrive(&waiting, Thoroughness::Whole)?;
                self.answer(waiting, answer);
            }
            Some(Fate::Unprocessed) => {
                let answer = self.aws.arrive(&waiting, Thoroughness::Partial)?;
                self.answer(waiting, answer);
            }
            Some(Fate::RequestLost) => self.lose(waiting, metering),
            Some(Fate::AnswerLost) => {
                self.aws.arrive(&waiting, Thoroughness::Whole)?;
                self.lose(waiting, metering);
            }
            Some(fate @ (Fate::Throttled | Fate::Failed | Fate::Cancelled)) => {
                let how = match fate {
                    Fate::Throttled => Refused::Throttled,
                    Fate::Failed => Refused::InternalError,
                    _ => Refused::Conflict,
                };
                match (refused(how, &waiting.body), fate, self.aws.rewriting.lost_answer()) {
                    (Some(_), Fate::Failed, Some(_)) if metering => self.lose(waiting, metering),
                    (Some(answer), ..) => {
                        let answer = plain(answer)?;
                        self.answer(waiting, answer);
                    }
                    (None, ..) => self.lose(waiting, metering),
                }
            }
            Some(Fate::Slow(seconds)) => {
                tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
                waiting.counted = true;
                self.network.put_back(waiting);
            }
            Some(Fate::KilledBefore) => {
                self.network.forget(caller);
                self.kill(caller, running, ended);
            }
            Some(Fate::KilledAfter) => {
                self.aws.arrive(&waiting, Thoroughness::Whole)?;
                self.kill(caller, running, ended);
            }
        }
        Ok(())
    }

    fn kill(&mut self, caller: Caller, running: &mut Vec<Running>, ended: &mut Vec<Ended>) {
        running.retain(|worker| worker.caller != caller);
        self.aws.counts.kills += 1;
        self.aws.books.ended(caller, Calm::No);
        ended.push(Ended { caller, answer: None });
    }

    fn answer(&mut self, waiting: Waiting, answer: http::Response<Vec<u8>>) {
        let told = (waiting.is_awaited() && is_metering(&waiting))
            .then(|| serde_json::from_slice(answer.body()).ok())
            .flatten();
        let caller = waiting.caller;
        if waiting.reply(Reply::Answer(answer))
            && let Some(told) = told
        {
            self.aws.books.told(caller, REGION, &told);
        }
    }

    fn lose(&mut self, waiting: Waiting, metering: bool) {
        let reply = match self.aws.rewriting.lost_answer().filter(|_| metering) {
            Some(body) => json_answer(400, body.to_string().into_bytes()).map_or(Reply::Lost, Reply::Answer),
            None => Reply::Lost,
        };
        waiting.reply(reply);
    }
}

/// Counts a request, and finds what is meant to happen to it.
fn fate(waiting: &Waiting, counted: &mut BTreeMap<Among, u16>, faults: &[Fault]) -> Option<Fate> {
    if waiting.counted {
        return None;
    }
    let asked = Asked::of(&waiting.parts, &waiting.body)?;
    let mut found = None;
    for among in [Among::Metering, Among::Transactions, Among::Table, Among::All] {
        let is_meant = match among {
            Among::Metering => asked.service() == Service::Metering,
            Among::Transactions => asked.action() == "TransactWriteItems",
            Among::Table => asked.service() == Service::DynamoDb,
            Among::All => true,
        };
        if is_meant {
            let place = counted.entry(among).or_insert(0);
            let here = faults
                .iter()
                .find(|fault| fault.among == among && fault.place == *place);
            found = found.or(here.map(|fault| fault.fate));
            *place = place.saturating_add(1);
        }
    }
    found
}

fn is_metering(waiting: &Waiting) -> bool {
    matches!(Asked::of(&waiting.parts, &waiting.body), Some(Asked::Metering(_)))
}
