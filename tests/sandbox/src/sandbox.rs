//! Starts everything and holds it.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use marketplace::Marketplace;
use permissions::Grant;
use tokio::net::TcpListener;

use crate::authorization::{Authorization, Denial, Function};
use crate::aws::{self, Aws, Engine, EngineError, Quota, WireError, queue_url};
use crate::backup::{self, Backup};
use crate::clock::Clock;
use crate::consumption::Consumption;
use crate::controls::{self, Controls};
use crate::faults::{Fault, FaultError, Faults};
use crate::holdings::{AccessKey, Change, Mail};
use crate::journal::JournalError;
use crate::metrics::{CloudWatch, Series};
use crate::options::Options;
use crate::page;
use crate::queue::{EventSource, drain, wait_for};
use crate::queues::{Message, QueueName};
use crate::requests::{Counts, Requests};
use crate::schedules::{self, AdvanceError};
use crate::seam::{BuildError, Functions, Reconcile, Surroundings};
use crate::serve::Server;
use crate::world::World;

/// Why a sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be had.
    #[error("port {port} cannot be used (is another sandbox running? --port N takes N, N+1 and N+2)")]
    Port {
        /// The port.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// The three ports do not exist.
    #[error("port {0} is too high: the sandbox takes it and the next two")]
    PortRange(u16),
    /// The folder cannot be used.
    #[error("the folder {folder} cannot be used")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("the folder {0} is in use by another sandbox")]
    InUse(PathBuf),
    /// The journal in the folder.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The database.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The template's policies cannot be read.
    #[error("what the functions may do cannot be read from the template")]
    Template(#[from] permissions::TemplateError),
    /// The functions cannot be built.
    #[error("the functions do not start")]
    Functions(#[source] BuildError),
}

/// The three addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The API function and the page.
    pub api: String,
    /// All AWS stand-ins.
    pub aws: String,
    /// m3ter's stand-in.
    pub m3ter: String,
    /// The controls.
    pub controls: String,
}

/// What became of a message that was sent and waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Handled {
    /// Whether a handler took it; otherwise it was received too often.
    pub handled: bool,
    /// Whether it is on the dead-letter queue, put there by its handler or by the queue.
    pub dead_lettered: bool,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// SQS would not take it.
    #[error("{}", .0.message)]
    Refused(WireError),
    /// It could not be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A running sandbox. Dropping it stops it as a kill would: nothing is finished, nothing is lost.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) shared: Arc<Shared>,
    event_source: EventSource,
    servers: [Server; 3],
    engine: Engine,
    _lock: Option<File>,
}

/// What the handle and the controls share.
pub struct Shared {
    pub(crate) world: Arc<World>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) consumption: Arc<Consumption>,
    pub(crate) cloudwatch: Arc<CloudWatch>,
    pub(crate) authorization: Arc<Authorization>,
    pub(crate) addresses: Addresses,
    pub(crate) access_key: AccessKey,
    pub(crate) reconcile: Reconcile,
    /// The copy that the control made last.
    pub(crate) backup: tokio::sync::Mutex<Option<Backup>>,
    /// Only one may move the clock at a time.
    moving: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn metrics(&self) -> Vec<Series> {
        let now = self.world.now();
        for queue in QueueName::ALL {
            let put = |name, value| {
                let dimension = ("QueueName", queue.as_str());
                self.cloudwatch.put("AWS/SQS", name, dimension, now, value);
            };
            let (visible, oldest_seconds) = self.world.measure(queue);
            put("ApproximateNumberOfMessagesVisible", visible);
            put("ApproximateAgeOfOldestMessage", oldest_seconds);
        }
        self.cloudwatch.series()
    }

    pub(crate) async fn advance_to(&self, to: Timestamp) -> Result<(), AdvanceError> {
        let _moving = self.moving.lock().await;
        schedules::advance(&self.world, &self.reconcile, to).await
    }

    pub(crate) async fn send(&self, body: String) -> Result<Handled, SendError> {
        let message = Message::new(body, Default::default(), self.world.now());
        aws::check_size(message.size_bytes()).map_err(SendError::Refused)?;
        let (id, body) = (message.id.clone(), message.body.clone());
        let given_up_before = self.world.decide(|holdings| {
            let sent = Change::MessageSent {
                queue: QueueName::Bills,
                message,
            };
            (vec![sent], holdings.dead_letters.len())
        })?;
        wait_for(&self.world, &id).await;
        // What the handler queued itself belongs to it.
        drain(&self.world).await;
        Ok(self.world.read(|holdings| {
            let letters = &holdings.dead_letters;
            let by_queue = letters.get(&id).is_some();
            let by_handler = letters
                .messages()
                .skip(given_up_before)
                .any(|letter| letter.body == body);
            Handled {
                handled: !by_queue,
                dead_lettered: by_queue || by_handler,
            }
        }))
    }

    pub(crate) async fn flush(&self) -> Result<(), JournalError> {
        self.run(schedules::FLUSH).await
    }

    pub(crate) async fn sweep(&self) -> Result<(), JournalError> {
        self.run(schedules::SWEEP).await
    }

    async fn run(&self, scheduled: &str) -> Result<(), JournalError> {
        let id = schedules::send(&self.world, scheduled)?;
        wait_for(&self.world, &id).await;
        drain(&self.world).await;
        Ok(())
    }
}

impl Shared {
    /// Runs the reconcile function now, for a day or for the previous one, and waits until everything it queued has been handled.
    pub(crate) async fn reconcile(&self, date: Option<&str>) {
        let event = match date {
            Some(date) => serde_json::json!({ "day": { "date": date } }),
            None => serde_json::json!({ "daily": {} }),
        };
        self.invoke(event).await;
    }

    pub(crate) async fn invoke(&self, event: serde_json::Value) {
        schedules::invoke(&self.reconcile, event, self.world.now()).await;
        drain(&self.world).await;
    }
}

impl Sandbox {
    /// Starts a sandbox around the functions that `build` makes.
    ///
    /// The stand-ins answer while `build` runs, so it may make tables and secrets. Messages that an
    /// earlier run left behind are handled before this returns.
    pub async fn start<F>(options: Options, build: impl FnOnce(Surroundings) -> F) -> Result<Sandbox, StartError>
    where
        F: Future<Output = Result<Functions, BuildError>>,
    {
        let authorization = Arc::new(Authorization::new(options.template.as_deref())?);
        let start_at = options.start_at.unwrap_or_else(whole_second_now);
        let lock = options.data.as_deref().map(lock_folder).transpose()?;
        let world = Arc::new(match &options.data {
            Some(folder) => World::open(&folder.join("journal.jsonl"), start_at)?,
            None => World::in_memory(start_at),
        });
        let access_key = access_key(&world)?;
        let [api, aws, controls] = listen(options.port).await?;
        let addresses = Addresses {
            api: format!("http://{}", api.1),
            aws: format!("http://{}", aws.1),
            m3ter: format!("http://{}/m3ter", aws.1),
            controls: format!("http://{}", controls.1),
        };
        let database = options.data.map(|folder| folder.join("dynamodb.sqlite"));
        let engine = Engine::start(database.as_deref()).await?;
        let (faults, requests) = (Arc::new(Faults::default()), Arc::new(Requests::default()));
        let consumption = Arc::new(Consumption::default());
        let aws = Server::start(
            aws.0,
            aws.1,
            aws::router(Aws {
                world: world.clone(),
                faults: faults.clone(),
                requests: requests.clone(),
                consumption: consumption.clone(),
                authorization: authorization.clone(),
                engine: engine.client(),
                own_url: addresses.aws.clone(),
                latency: options.latency,
                metering_quota: options.metering_per_second.map(Quota::new),
            }),
        );
        let cloudwatch = Arc::new(CloudWatch::default());
        let functions = build(Surroundings {
            aws_endpoint_url: addresses.aws.clone(),
            region: crate::functions::REGION.to_owned(),
            bill_queue_url: queue_url(&addresses.aws, QueueName::Bills),
            dead_letter_queue_url: queue_url(&addresses.aws, QueueName::DeadLetters),
            m3ter_base_url: addresses.m3ter.clone(),
            clock: world.clock().clone(),
            access_key: access_key.clone(),
            cloudwatch: cloudwatch.clone(),
        })
        .await
        .map_err(StartError::Functions)?;
        let shared = Arc::new(Shared {
            world: world.clone(),
            faults,
            requests,
            consumption,
            cloudwatch,
            authorization,
            addresses,
            access_key,
            reconcile: functions.reconcile,
            backup: tokio::sync::Mutex::new(None),
            moving: tokio::sync::Mutex::new(()),
        });
        let event_source = EventSource::start(&world, &functions.dispatch, options.workers);
        let api = Server::start(api.0, api.1, page::before(&shared, functions.api));
        let controls = Server::start(
            controls.0,
            controls.1,
            controls::router(Controls { shared: shared.clone() }),
        );
        drain(&world).await;
        Ok(Sandbox {
            shared,
            event_source,
            servers: [api, aws, controls],
            engine,
            _lock: lock,
        })
    }

    /// Where everything listens.
    pub fn addresses(&self) -> &Addresses {
        &self.shared.addresses
    }

    /// Where the database engine itself answers.
    pub(crate) fn engine_url(&self) -> &str {
        self.engine.url()
    }

    /// The access key that works from the start.
    pub fn access_key(&self) -> &AccessKey {
        &self.shared.access_key
    }

    /// The virtual clock.
    pub fn clock(&self) -> Clock {
        self.shared.world.clock().clone()
    }

    /// A copy of AWS Marketplace as it is now.
    pub fn marketplace(&self) -> Marketplace {
        self.shared.world.read(|holdings| holdings.marketplace.clone())
    }

    /// Changes AWS Marketplace, for tests that do more than the controls offer.
    pub fn change(&self, change: Change) -> Result<(), JournalError> {
        self.shared.world.change(change)
    }

    /// The metrics that the functions sent and the API's gateway counted, and the queues' own as they are now.
    pub fn metrics(&self) -> Vec<Series> {
        self.shared.metrics()
    }

    /// Calls by service and action.
    pub fn requests(&self) -> Counts {
        self.shared.requests.counts()
    }

    /// What DynamoDB consumes is counted from now on.
    pub fn consumption(&self) -> &Consumption {
        self.shared.consumption.switch_on();
        &self.shared.consumption
    }

    /// Requests of functions that the template's policies denied, oldest first.
    pub fn denials(&self) -> Vec<Denial> {
        self.shared.authorization.denials()
    }

    /// What the template's policies give and no request has used since the start.
    pub fn unused_grants(&self) -> BTreeSet<(Function, Grant)> {
        self.shared.authorization.unused()
    }

    /// Begins counting calls anew.
    pub fn clear_requests(&self) {
        self.shared.requests.clear();
    }

    /// Replaces all faults.
    pub fn faults(&self, faults: Vec<Fault>) -> Result<(), FaultError> {
        self.shared.faults.set(faults)
    }

    /// The messages that wait on the bill queue or are being handled.
    pub fn queue(&self) -> Vec<Message> {
        self.messages(QueueName::Bills)
    }

    /// The messages that were given up; the attribute `reason` says why.
    pub fn dead_letters(&self) -> Vec<Message> {
        self.messages(QueueName::DeadLetters)
    }

    /// Mails sent.
    pub fn outbox(&self) -> Vec<Mail> {
        self.shared.world.read(|holdings| holdings.outbox.clone())
    }

    /// A copy of the table as it is now, once the bill queue has nothing to handle.
    pub async fn back_up(&self) -> Result<Backup, BuildError> {
        self.drain().await;
        backup::make(&self.shared.addresses.aws).await
    }

    /// Puts the copy into the table's place: what was written since is gone.
    pub async fn restore(&self, backup: &Backup) -> Result<(), BuildError> {
        self.drain().await;
        backup::restore(&self.shared.addresses.aws, backup).await
    }

    /// Moves the clock forward; what becomes due on the way is handled first.
    pub async fn advance(&self, by: SignedDuration) -> Result<(), AdvanceError> {
        self.advance_to(self.shared.world.now() + by).await
    }

    /// Moves the clock to an instant; what becomes due on the way is handled first.
    pub async fn advance_to(&self, to: Timestamp) -> Result<(), AdvanceError> {
        self.shared.advance_to(to).await
    }

    /// Puts a message on the bill queue and waits until it, and what its handling queued, has been
    /// handled or given up.
    pub async fn send(&self, message: &serde_json::Value) -> Result<Handled, SendError> {
        self.shared.send(message.to_string()).await
    }

    /// Runs the tick now and waits until everything it queued has been handled.
    pub async fn flush(&self) -> Result<(), JournalError> {
        self.shared.flush().await
    }

    /// Asks m3ter for changed bills now and waits until everything that this queued has been handled.
    pub async fn sweep(&self) -> Result<(), JournalError> {
        self.shared.sweep().await
    }

    /// Runs the reconcile function now, for a day or for the previous one, and waits until everything it queued has been handled.
    pub async fn reconcile(&self, date: Option<&str>) {
        self.shared.reconcile(date).await;
    }

    /// Invokes the reconcile function with a schedule's event, and waits until everything it queued has been handled.
    pub async fn invoke_reconcile(&self, event: serde_json::Value) {
        self.shared.invoke(event).await;
    }

    /// Waits until the bill queue has nothing to handle.
    pub async fn drain(&self) {
        drain(&self.shared.world).await;
    }

    /// Stops everything in order and gives the folder free.
    pub async fn stop(self) {
        drop(self.event_source);
        drop(self.servers);
        self.engine.stop().await;
    }

    fn messages(&self, queue: QueueName) -> Vec<Message> {
        self.shared
            .world
            .read(|holdings| holdings.queue(queue).messages().cloned().collect())
    }
}

fn whole_second_now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn lock_folder(folder: &Path) -> Result<File, StartError> {
    let error = |source| StartError::Folder {
        folder: folder.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(error)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(error(source)),
    }
}

fn access_key(world: &World) -> Result<AccessKey, JournalError> {
    if let Some(kept) = world.read(|holdings| holdings.access_key.clone()) {
        return Ok(kept);
    }
    let access_key = AccessKey {
        org_id: uuid::Uuid::new_v4().to_string(),
        access_key_id: format!("sandbox-{}", uuid::Uuid::new_v4().simple()),
        api_secret: uuid::Uuid::new_v4().simple().to_string(),
    };
    world.change(Change::AccessKeyMade {
        access_key: access_key.clone(),
    })?;
    Ok(access_key)
}

async fn listen(port: u16) -> Result<[(TcpListener, SocketAddr); 3], StartError> {
    let nth = |index: u16| match port {
        0 => Ok(0),
        port => port.checked_add(index).ok_or(StartError::PortRange(port)),
    };
    Ok([bind(nth(0)?).await?, bind(nth(1)?).await?, bind(nth(2)?).await?])
}

async fn bind(port: u16) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Port { port, source };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
}
