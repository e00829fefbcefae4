//! Outbill in a sandbox, with a seller who works.

mod seen;
mod stand_ins;

use std::future::poll_fn;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::{SignedDuration, Timestamp};
use outbill::Outbill;
use outbill::values::ids::OrganizationId;
use sandbox::laws::Rest;
use sandbox::queues::QueueName;
use sandbox::seller::Seller;
use sandbox::{Change, Dispatch, Handled, Message, Options, Sandbox, Service, Surroundings};
use serde_json::{Value, json};

use crate::bill::Bill;
use crate::logs;
use crate::set_up::{self, ACME, ACME_AWS_ACCOUNT};
use crate::watch::Watch;
use crate::{checks, message, per_bill};

/// When a scene begins unless a test says otherwise: two minutes into an hour, after its tick.
pub const MORNING: &str = "2025-06-10T10:02:00Z";

/// Outbill in a sandbox with a seller.
pub struct Scene {
    pub sandbox: Sandbox,
    pub seller: Seller,
    /// The configuration that [`Scene::ready`] and [`Scene::with`] make.
    pub configuration: String,
    surroundings: Surroundings,
    dispatch: Dispatch,
    ledger: aws_sdk_dynamodb::Client,
    pub(crate) watch: Watch,
    /// Tokens that were given out, and buyers that were mapped: no log may hold them.
    pub(crate) secrets: Mutex<Vec<String>>,
}

impl Scene {
    /// Nothing is set up.
    pub async fn start() -> Scene {
        Scene::start_at(MORNING).await
    }

    /// The same at another time.
    pub async fn start_at(instant: &str) -> Scene {
        Scene::open(Options::for_tests(), at(instant), SignedDuration::ZERO).await
    }

    /// The same with a folder that keeps everything.
    pub async fn start_in(folder: &Path) -> Scene {
        let options = Options {
            data: Some(folder.to_owned()),
            ..Options::for_tests()
        };
        Scene::open(options, at(MORNING), SignedDuration::ZERO).await
    }

    /// Workers whose clock is ahead of AWS's.
    pub async fn start_with_clock_ahead(instant: &str, ahead: SignedDuration) -> Scene {
        Scene::open(Options::for_tests(), at(instant), ahead).await
    }

    async fn open(options: Options, start_at: Timestamp, ahead: SignedDuration) -> Scene {
        logs::listen();
        let options = Options {
            start_at: Some(start_at),
            ..options
        };
        let kept: Arc<OnceLock<(Surroundings, Dispatch)>> = Arc::default();
        let keep = Arc::clone(&kept);
        let build = move |surroundings: Surroundings| async move {
            let mut functions = sandbox::functions::build(surroundings.clone()).await?;
            let dispatch = functions.dispatch;
            functions.dispatch = Arc::new(move |event, now| dispatch(event, now + ahead));
            let _ = keep.set((surroundings, functions.dispatch.clone()));
            Ok(functions)
        };
        let sandbox = Sandbox::start(options, build).await.expect("a sandbox");
        let (surroundings, dispatch) = kept.get().expect("the surroundings").clone();
        let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key())
            .await
            .expect("a token");
        let sdk = sandbox::functions::sdk(&sandbox.addresses().aws, sandbox::functions::REGION).await;
        Scene {
            sandbox,
            seller,
            configuration: String::new(),
            surroundings,
            dispatch,
            ledger: aws_sdk_dynamodb::Client::new(&sdk),
            watch: Watch::default(),
            secrets: Mutex::default(),
        }
    }

    /// Whole bills go to one dimension, and Acme is mapped.
    pub async fn ready() -> Scene {
        Scene::start().await.with(per_bill()).await
    }

    /// The same, and CloudTrail is read.
    pub async fn checked() -> Scene {
        Scene::start().await.with(checks(json!({}))).await
    }

    /// One configuration with these settings, and Acme mapped.
    pub async fn with(mut self, settings: Value) -> Scene {
        self.configuration = self.configure(settings).await;
        self.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
        self
    }

    /// One more configuration; gives its id.
    pub async fn configure(&self, settings: Value) -> String {
        set_up::configure(&self.seller, "AWS Marketplace bills", &settings).await
    }

    /// Replaces the settings of the configuration; what waited for it is sent.
    pub async fn reconfigure(&mut self, settings: Value) {
        set_up::reconfigure(&self.seller, &self.configuration, &settings).await;
        self.rest().await;
    }

    /// Maps a thing of m3ter's to AWS; what waited for it is sent. Gives the mapping's id.
    pub async fn map(&mut self, entity: &str, m3ter_id: &str, table: &str, external_id: &str) -> String {
        if ["Customer", "License"].contains(&table) {
            self.keep_secret(external_id);
        }
        let mapping = set_up::map(&self.seller, entity, m3ter_id, table, external_id, None).await;
        self.rest().await;
        mapping
    }

    /// Gives a mapping another external id; what waited for it is sent.
    pub async fn change_mapping(&mut self, mapping: &str, external_id: &str) {
        set_up::change_mapping(&self.seller, mapping, external_id).await;
        self.rest().await;
    }

    /// Enables the configuration; what waited is sent.
    pub async fn enable(&mut self) {
        let path = format!("integrationconfigs/{}/enable", self.configuration);
        self.seller.post(&path, &json!({})).await.expect("enabled");
        self.rest().await;
    }

    /// The stores and clients of one more process of the deployment.
    pub async fn outbill(&self) -> Outbill {
        let sdk = sandbox::functions::sdk(&self.sandbox.addresses().aws, sandbox::functions::REGION).await;
        Outbill::connect(&sdk, &sandbox::functions::environment(&self.surroundings))
    }

    /// A seller of another organization on the same deployment.
    pub async fn other_organization(&self, id: &str) -> Seller {
        let outbill = self.outbill().await;
        let organization = OrganizationId::new(id).expect("an organization's id");
        let seller = Seller::of_another(&self.sandbox.addresses().api, &outbill.access, &organization).await;
        let seller = seller.expect("a seller");
        self.keep_secret(seller.token());
        seller
    }

    /// The seller's organization.
    pub fn organization(&self) -> &str {
        self.seller.organization()
    }

    /// Puts a message on the bill queue and waits until it was handled.
    pub async fn send(&mut self, message: Value) -> Handled {
        let handled = self.sandbox.send(&message).await.expect("a message that SQS takes");
        self.look(Rest::Moving).await;
        handled
    }

    /// Puts messages on the bill queue at once, so that they travel in one batch, and waits until all were handled.
    pub async fn send_together<T: ToString>(&mut self, bodies: impl IntoIterator<Item = T>) {
        let now = self.sandbox.clock().now();
        for body in bodies {
            let message = Message::new(body.to_string(), Default::default(), now);
            let queue = QueueName::Bills;
            self.change(Change::MessageSent { queue, message });
        }
        self.rest().await;
    }

    /// Hands messages to one worker, past the queue, and gives those that must come again: when they do is up to the test.
    pub async fn deliver<T: ToString>(&mut self, bodies: impl IntoIterator<Item = T>) -> Vec<String> {
        let bodies: Vec<String> = bodies.into_iter().map(|body| body.to_string()).collect();
        let answer = (self.dispatch)(event(&bodies), self.sandbox.clock().now()).await;
        self.look(Rest::Moving).await;
        comes_again(&bodies, answer)
    }

    /// The same with a worker that stands still in the middle, until `meanwhile` is done: it has read all that it decides on, is about to write down
    /// its runs, and has let none of them wait for anything yet. Requests are counted from the start of the delivery.
    pub async fn deliver_around<T: ToString>(
        &mut self,
        bodies: impl IntoIterator<Item = T>,
        meanwhile: impl Future<Output = ()>,
    ) -> Vec<String> {
        let bodies: Vec<String> = bodies.into_iter().map(|body| body.to_string()).collect();
        self.sandbox.clear_requests();
        let mut handling = (self.dispatch)(event(&bodies), self.sandbox.clock().now());
        let is_there = poll_fn(|context| {
            // The runs' logs are what a worker writes first when it has decided. It has not seen the answer: only being polled it goes on.
            if self.requests(Service::DynamoDb, "BatchWriteItem") > 0 {
                return Poll::Ready(true);
            }
            handling.as_mut().poll(context).map(|_| false)
        });
        assert!(is_there.await, "the worker ended and wrote down no run");
        meanwhile.await;
        let answer = handling.await;
        self.look(Rest::Moving).await;
        comes_again(&bodies, answer)
    }

    /// m3ter made or changed a bill.
    pub async fn bill(&mut self, bill: &Bill) {
        let event = message::updated(self.organization(), bill);
        self.send(event).await;
    }

    /// m3ter deleted a bill.
    pub async fn delete(&mut self, bill: &Bill) {
        let event = message::deleted(self.organization(), bill);
        self.send(event).await;
    }

    /// The newest run of a bill again.
    pub async fn replay(&mut self, bill: &str) {
        let run = self.run(bill).await.id;
        self.send(message::replay(self.organization(), &run)).await;
    }

    /// The newest run of a bill again, as a cut-over.
    pub async fn remap(&mut self, bill: &str) {
        let run = self.run(bill).await.id;
        self.send(message::remap(self.organization(), &run)).await;
    }

    /// Moves the clock forward; every tick on the way runs. The seller logs in again, because a token lasts five hours.
    pub async fn until(&mut self, instant: &str) {
        self.sandbox.advance_to(at(instant)).await.expect("a later instant");
        self.look(Rest::Moving).await;
        self.log_in().await;
    }

    /// Runs the tick now.
    pub async fn tick(&mut self) {
        self.sandbox.flush().await.expect("a tick");
        self.look(Rest::Moving).await;
    }

    /// Waits until nothing is under way on the queue.
    pub async fn rest(&mut self) {
        self.sandbox.drain().await;
        self.look(Rest::Moving).await;
    }

    /// Asks m3ter for changed bills now.
    pub async fn sweep(&mut self) {
        self.sandbox.sweep().await.expect("a sweep");
        self.look(Rest::Moving).await;
    }

    /// Reconciles a day now, and gives the newest report.
    pub async fn reconcile(&mut self, date: &str) -> Value {
        self.sandbox.reconcile(Some(date)).await;
        self.rest().await;
        self.report().await
    }

    /// A token of now.
    pub async fn log_in(&mut self) {
        self.keep_secret(self.seller.token());
        self.seller = Seller::log_in(&self.sandbox.addresses().api, self.sandbox.access_key())
            .await
            .expect("a token");
    }

    /// Deletes every row that expires, as DynamoDB does in its own time.
    pub async fn forget_logs(&self) {
        let table = sandbox::functions::TABLE;
        let rows = self
            .ledger
            .scan()
            .table_name(table)
            .filter_expression("attribute_exists(expiresAt)");
        for row in rows.send().await.expect("rows").items() {
            let key = |name: &str| row.get(name).expect("a key").clone();
            let gone = self.ledger.delete_item().table_name(table);
            let gone = gone.key("PK", key("PK")).key("SK", key("SK")).send().await;
            gone.expect("a row that is deleted");
        }
    }

    async fn look(&mut self, rest: Rest) {
        let ledger = self.ledger().await;
        let wrong = self.watch.look(&ledger, rest);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// The end of a test: nothing is under way, all laws hold at rest, nothing secret was logged, and no policy denied anything.
    pub async fn end(mut self) {
        self.heal();
        self.rest().await;
        self.look(Rest::Quiet).await;
        self.assert_nothing_told_or_denied();
    }

    /// As [`Scene::end`], without looking at the laws, which know nothing of a shadow, of a copy that was not read, and of an operator's mere word.
    pub async fn end_unwatched(self) {
        self.heal();
        self.sandbox.drain().await;
        self.assert_nothing_told_or_denied();
    }

    fn assert_nothing_told_or_denied(&self) {
        let told = logs::lines_with(&self.never_logged());
        assert!(told.is_empty(), "{told:#?}");
        let denied = self.sandbox.denials();
        assert!(denied.is_empty(), "{denied:#?}");
    }

    /// Stops everything as a kill would, and starts it anew on the same folder.
    pub async fn restarted(self, folder: &Path) -> Scene {
        self.keep_secret(self.seller.token());
        let Scene {
            sandbox,
            configuration,
            watch,
            secrets,
            ..
        } = self;
        drop(sandbox);
        // The servers that were cut off let go of the folder in their own time.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let opened = Scene::start_in(folder).await;
        Scene {
            configuration,
            watch,
            secrets,
            ..opened
        }
    }
}

/// Messages as Lambda hands them over; each is known by its place.
fn event(bodies: &[String]) -> SqsEvent {
    let mut event = SqsEvent::default();
    for (place, body) in bodies.iter().enumerate() {
        let mut message = SqsMessage::default();
        message.message_id = Some(place.to_string());
        message.body = Some(body.clone());
        event.records.push(message);
    }
    event
}

/// Those of the messages that an answer brings again.
fn comes_again(bodies: &[String], answer: SqsBatchResponse) -> Vec<String> {
    let again = answer.batch_item_failures.into_iter();
    again
        .map(|failure| bodies[failure.item_identifier.parse::<usize>().expect("a place")].clone())
        .collect()
}

/// An instant as a test writes it.
#[track_caller]
pub fn at(instant: &str) -> Timestamp {
    instant.parse().expect("an instant")
}
