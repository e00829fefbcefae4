//! Outbill in a sandbox, and what can be seen of it from outside.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use outbill::Outbill;
use outbill::values::ids::OrganizationId;
use sandbox::aws::Latency;
use sandbox::laws::{KeyReport, Ledger, Rest};
use sandbox::queues::QueueName;
use sandbox::seller::{CallError, Seller};
use sandbox::{Change, Dispatch, Fault, FaultKind, Handled, Message, Options, Sandbox, Service, Surroundings};
use serde_json::{Value, json};

use crate::bill::Bill;
use crate::logs;
use crate::run::Run;
use crate::set_up::{self, ACME, ACME_AWS_ACCOUNT};
use crate::watch::Watch;
use crate::{message, per_bill};

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

    /// The same with a DynamoDB that takes its time.
    pub async fn start_slow(dynamodb: Duration) -> Scene {
        let (metering, others) = (Duration::ZERO, Duration::ZERO);
        let mut options = Options::for_tests();
        options.latency = Latency::Of {
            dynamodb,
            metering,
            others,
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
        }
    }

    /// Whole bills go to one dimension, and Acme is mapped.
    pub async fn ready() -> Scene {
        Scene::start().await.with(per_bill()).await
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
        Seller::of_another(&self.sandbox.addresses().api, &outbill.access, &organization)
            .await
            .expect("a seller")
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
        let mut event = SqsEvent::default();
        for (place, body) in bodies.iter().enumerate() {
            let mut message = SqsMessage::default();
            message.message_id = Some(place.to_string());
            message.body = Some(body.clone());
            event.records.push(message);
        }
        let answer = (self.dispatch)(event, self.sandbox.clock().now()).await;
        self.look(Rest::Moving).await;
        let again = answer.batch_item_failures.into_iter();
        again
            .map(|failure| bodies[failure.item_identifier.parse::<usize>().expect("a place")].clone())
            .collect()
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

    /// Changes a stand-in.
    pub fn change(&self, change: Change) {
        self.sandbox.change(change).expect("a change that the journal keeps");
    }

    /// Answers open questions about AWS another way, in the words of the control.
    pub fn switch(&self, switches: Value) {
        let switches = serde_json::from_value(switches).expect("switches");
        self.change(Change::SwitchesChanged { switches });
    }

    /// A buyer subscribes or leaves.
    pub fn subscribed(&self, customer: &str, subscribed: bool) {
        let statement = serde_json::from_value(json!({ "customer": customer, "subscribed": subscribed }));
        let statement = statement.expect("a statement");
        self.change(Change::BuyerStated { statement });
    }

    /// Another program reports usage of the listing.
    pub fn foreign_usage(&self, customer: &str, dimension: &str, hour: &str, quantity: i64) {
        let usage = json!({
            "region": "us-east-1", "productCode": crate::PRODUCT, "customer": customer, "dimension": dimension,
            "hour": format!("{hour}:00:00Z"), "quantity": quantity,
        });
        let usage = serde_json::from_value(usage).expect("usage");
        self.change(Change::ForeignUsageReported { usage });
    }

    /// What m3ter serves from now on.
    pub fn m3ter_has(&self, bills: &[Value], accounts: &[Value]) {
        self.change(Change::M3terFilled {
            bills: named(bills),
            accounts: named(accounts),
            mappings: Vec::new(),
        });
    }

    /// External mappings that m3ter serves from now on.
    pub fn m3ter_has_mappings(&self, mappings: &[Value]) {
        self.change(Change::M3terFilled {
            bills: Vec::new(),
            accounts: Vec::new(),
            mappings: named(mappings),
        });
    }

    /// Asks m3ter for changed bills now.
    pub async fn sweep(&mut self) {
        self.sandbox.sweep().await.expect("a sweep");
        self.look(Rest::Moving).await;
    }

    /// The next metering calls fail in this order; after them everything is well.
    pub fn metering_fails(&self, kinds: &[FaultKind]) {
        let faults = kinds
            .iter()
            .map(|kind| Fault::new(Service::Metering, *kind, 1))
            .collect();
        self.sandbox.faults(faults).expect("faults");
    }

    /// Every metering call fails so until [`Scene::heal`].
    pub fn metering_always_fails(&self, kind: FaultKind) {
        let faults = vec![Fault::new(Service::Metering, kind, u32::MAX)];
        self.sandbox.faults(faults).expect("faults");
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.sandbox.faults(Vec::new()).expect("no faults");
    }

    /// CloudTrail records later, better or worse, in the words of the control.
    pub fn cloudtrail(&self, change: Value) {
        let change = serde_json::from_value(change).expect("a change of CloudTrail");
        self.change(Change::TrailChanged { change });
    }

    /// Reconciles a day now, and gives the newest report.
    pub async fn reconcile(&mut self, date: &str) -> Value {
        self.sandbox.reconcile(Some(date)).await;
        self.rest().await;
        self.report().await
    }

    /// The newest report, with its discrepancies.
    pub async fn report(&mut self) -> Value {
        self.reports().await.into_iter().next().expect("a report")
    }

    /// All reports, newest first, with their discrepancies.
    pub async fn reports(&mut self) -> Vec<Value> {
        // A token lasts five hours, and a day passed.
        self.log_in().await;
        let listed = self.seller.get("reconciliations").await.expect("a list of reports");
        let mut reports = Vec::new();
        for report in listed["data"].as_array().into_iter().flatten() {
            let path = format!("reconciliations/{}", report["id"].as_str().expect("an id"));
            reports.push(self.seller.get(&path).await.expect("a report"));
        }
        reports
    }

    /// A token of now.
    pub async fn log_in(&mut self) {
        self.seller = Seller::log_in(&self.sandbox.addresses().api, self.sandbox.access_key())
            .await
            .expect("a token");
    }

    /// How many `BatchMeterUsage` calls there were since the count was cleared.
    pub fn metering_calls(&self) -> u64 {
        let counts = self.sandbox.requests();
        let calls = counts
            .get("metering")
            .and_then(|actions| actions.get("BatchMeterUsage"));
        calls.copied().unwrap_or_default()
    }

    /// What the buyers pay: customer, dimension, hour, quantity.
    pub fn billed(&self) -> Vec<(String, String, String, i64)> {
        let mut billed: Vec<_> = self
            .sandbox
            .marketplace()
            .billed()
            .into_iter()
            .map(|row| {
                (
                    row.customer,
                    row.dimension,
                    row.hour.strftime("%Y-%m-%dT%H").to_string(),
                    row.quantity,
                )
            })
            .collect();
        billed.sort();
        billed
    }

    /// Checks everything that the buyers pay.
    #[track_caller]
    pub fn assert_billed(&self, expect: &[(&str, &str, &str, i64)]) {
        let mut expect: Vec<(String, String, String, i64)> = expect
            .iter()
            .map(|(customer, dimension, hour, quantity)| {
                (
                    (*customer).to_owned(),
                    (*dimension).to_owned(),
                    (*hour).to_owned(),
                    *quantity,
                )
            })
            .collect();
        expect.sort();
        assert_eq!(self.billed(), expect);
    }

    /// What a buyer pays for a dimension, all hours together.
    pub fn paid(&self, customer: &str, dimension: &str) -> i64 {
        let of = |row: &&(String, String, String, i64)| row.0 == customer && row.1 == dimension;
        self.billed().iter().filter(of).map(|row| row.3).sum()
    }

    /// The runs of a bill, newest first.
    pub async fn runs(&self, bill: &str) -> Vec<Run> {
        let listed = self.seller.get(&format!("integrationruns/Bill/{bill}")).await;
        let listed = listed.expect("a list of runs");
        listed["data"].as_array().into_iter().flatten().map(Run::of).collect()
    }

    /// The newest run of a bill.
    pub async fn run(&self, bill: &str) -> Run {
        Run::of(
            &self
                .seller
                .get(&format!("integrationruns/Bill/latest/{bill}"))
                .await
                .expect("a run"),
        )
    }

    /// Checks status and error of a bill's newest run; the error is given in part.
    pub async fn assert_run(&self, bill: &str, status: &str, error: &str) {
        let run = self.run(bill).await;
        assert_eq!(run.status, status, "{}", run.json);
        assert!(
            run.error.contains(error) && error.is_empty() == run.error.is_empty(),
            "{}",
            run.json
        );
    }

    /// The log of a run.
    pub async fn log(&self, run: &str) -> Vec<Value> {
        let log = self
            .seller
            .get(&format!("integrationruns/logs/{run}"))
            .await
            .expect("a log");
        let payload = STANDARD
            .decode(log["Payload"].as_str().expect("a payload"))
            .expect("base64");
        serde_json::from_slice(&payload).expect("a list of JSON")
    }

    /// The requests to AWS that a bill's newest run shows, in order.
    pub async fn requests_of(&self, bill: &str) -> Vec<Value> {
        let run = self.run(bill).await;
        let log = self.log(&run.id).await;
        let exchanges = log
            .iter()
            .flat_map(|entry| entry["exchanges"].as_array().into_iter().flatten());
        exchanges.map(|exchange| exchange["request"].clone()).collect()
    }

    /// Names of the events that were raised, oldest first, and what each says.
    pub async fn events(&self) -> Vec<(String, Value)> {
        let listed = self.seller.get("events?pageSize=100").await.expect("a list of events");
        let mut events: Vec<(String, Value)> = listed["data"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|event| {
                let dto = event
                    .pointer("/m3terEvent/eventData/newDto")
                    .cloned()
                    .unwrap_or_default();
                (event["eventName"].as_str().unwrap_or_default().to_owned(), dto)
            })
            .collect();
        events.reverse();
        events
    }

    /// The dead letters: body and reason.
    pub fn dead_letters(&self) -> Vec<(String, String)> {
        let told = |letter: Message| {
            let reason = letter
                .attributes
                .get("reason")
                .and_then(|reason| reason.string_value.clone());
            (letter.body, reason.unwrap_or_default())
        };
        self.sandbox.dead_letters().into_iter().map(told).collect()
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

    /// Checks that a call was refused with a status, in words that hold every hint.
    #[track_caller]
    pub fn assert_refused(answer: Result<Value, CallError>, status: u16, hints: &[&str]) {
        let Err(CallError::Refused {
            status: found, body, ..
        }) = answer
        else {
            panic!("not refused: {answer:?}");
        };
        let message = body["message"].as_str().expect("a message");
        assert_eq!(found, status, "{message}");
        for hint in hints {
            assert!(message.contains(hint), "{hint:?} is not in {message:?}");
        }
    }

    /// What the table says of a buyer's dimension.
    pub async fn key(&self, customer: &str, dimension: &str) -> KeyReport {
        let ledger = self.ledger().await;
        let mut keys = ledger
            .keys
            .into_values()
            .filter(|key| key.state.key.buyer.customer() == customer && key.state.key.dimension == dimension);
        keys.next().expect("a usage key")
    }

    /// The entries of a buyer's dimension, oldest hour first: hour, quantity, state.
    pub async fn entries(&self, customer: &str, dimension: &str) -> Vec<(String, i64, &'static str)> {
        let key = self.key(customer, dimension).await;
        let row =
            |entry: &outbill::values::entry::Entry| (entry.hour.to_string(), entry.quantity, entry.state.as_str());
        key.entries.iter().map(row).collect()
    }

    /// Everything in the table, beside what AWS holds.
    pub async fn ledger(&self) -> Ledger {
        let marketplace = self.sandbox.marketplace();
        Ledger::read(&self.ledger, &marketplace)
            .await
            .expect("a ledger that can be read")
    }

    async fn look(&mut self, rest: Rest) {
        let ledger = self.ledger().await;
        let wrong = self.watch.look(&ledger, rest);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// The end of every test: nothing is under way, all laws hold at rest, nothing secret was logged, and no policy denied anything.
    pub async fn end(mut self) {
        let told = logs::lines_with(&self.never_logged());
        assert!(told.is_empty(), "{told:#?}");
        let denied = self.sandbox.denials();
        assert!(denied.is_empty(), "{denied:#?}");
        self.heal();
        self.rest().await;
        self.look(Rest::Quiet).await;
    }

    /// Stops everything as a kill would, and starts it anew on the same folder.
    pub async fn restarted(self, folder: &Path) -> Scene {
        let Scene {
            sandbox,
            configuration,
            watch,
            ..
        } = self;
        drop(sandbox);
        // The servers that were cut off let go of the folder in their own time.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let opened = Scene::start_in(folder).await;
        Scene {
            configuration,
            watch,
            ..opened
        }
    }
}

fn named(entities: &[Value]) -> Vec<(String, Value)> {
    let id = |entity: &Value| entity["id"].as_str().expect("an id").to_owned();
    entities.iter().map(|entity| (id(entity), entity.clone())).collect()
}

pub(crate) fn at(instant: &str) -> Timestamp {
    instant.parse().expect("an instant")
}
