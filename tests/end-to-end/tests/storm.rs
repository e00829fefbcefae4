//! Two workers, random recalculations, repeats and reorderings, and faults beneath them: once the storm is over, the laws hold and AWS has what
//! the newest versions owe. A seed makes a storm; `OUTBILL_STORM_SEEDS=first..last` runs others than the few of every test run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use outbill::values::amount::Units;
use sandbox::laws::{Ledger, Rest};
use sandbox::seller::Seller;
use sandbox::{Dispatch, Fault, Options, Sandbox, functions};
use serde_json::{Value, json};

use end_to_end::{PRODUCT, bill, message, usage};

type SqsEvent = aws_lambda_events::sqs::SqsEvent;

const SEEDS: std::ops::Range<u64> = 0..6;
const STEPS: usize = 9;
/// Deliveries after which a message must have gone through once the faults are over.
const CALM_ROUNDS_MAX: usize = 6;
const BILLS: [(&str, &str); 4] = [("june-a", "a"), ("extra-a", "a"), ("june-b", "b"), ("june-c", "c")];
/// Accounts a and b are one buyer at AWS, so their bills share usage keys.
const BUYERS: [(&str, &str); 3] = [("a", "111122223333"), ("b", "111122223333"), ("c", "444455556666")];
const PRODUCTS: [&str; 2] = ["calls", "storage"];

struct Storm {
    random: fastrand::Rng,
    sandbox: Sandbox,
    dispatch: Dispatch,
    organization: String,
    /// Every version that was made, by bill: cents of each product.
    made: BTreeMap<&'static str, Vec<[u32; 2]>>,
    /// Messages to be delivered again, with how often they were.
    again: Vec<(String, u32)>,
}

impl Storm {
    async fn new(seed: u64) -> Storm {
        let options = Options {
            start_at: "2025-06-30T20:10:00Z".parse().ok(),
            ..Options::for_tests()
        };
        let kept: Arc<Mutex<Option<Dispatch>>> = Arc::default();
        let keep = kept.clone();
        let sandbox = Sandbox::start(options, |surroundings| async move {
            let functions = functions::build(surroundings).await?;
            *keep.lock().unwrap() = Some(functions.dispatch.clone());
            Ok(functions)
        })
        .await
        .unwrap();
        let dispatch = kept.lock().unwrap().clone().unwrap();
        let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key())
            .await
            .unwrap();
        end_to_end::set_up::configure(&seller, "bills", &end_to_end::per_product()).await;
        for (account, customer) in BUYERS {
            end_to_end::set_up::map(&seller, "Account", account, "Customer", customer, None).await;
        }
        for product in PRODUCTS {
            end_to_end::set_up::map(
                &seller,
                "Product",
                product,
                "Dimension",
                &end_to_end::dimension(product),
                None,
            )
            .await;
        }
        let organization = seller.organization().to_owned();
        Storm {
            random: fastrand::Rng::with_seed(seed),
            sandbox,
            dispatch,
            organization,
            made: BTreeMap::new(),
            again: Vec::new(),
        }
    }

    fn body(&self, index: usize, version: usize) -> String {
        let (id, account) = BILLS[index];
        let mut bill = bill(id, account, i64::try_from(version).unwrap() + 1);
        for (product, cents) in PRODUCTS.iter().zip(self.made[id][version]) {
            if cents > 0 {
                bill = bill.line(usage(&format!("{}.{:02}", cents / 100, cents % 100)).product(product));
            }
        }
        message::updated(&self.organization, &bill).to_string()
    }

    /// A new version, an old one, or one that waits to be delivered again.
    fn next_message(&mut self) -> (String, u32) {
        if !self.again.is_empty() && self.random.bool() {
            let index = self.random.usize(..self.again.len());
            return self.again.swap_remove(index);
        }
        let index = self.random.usize(..BILLS.len());
        let versions = self.made.entry(BILLS[index].0).or_default();
        if versions.is_empty() || self.random.u8(..4) > 0 {
            // A bill mostly grows, sometimes falls, and sometimes loses a product.
            let mut amount = || {
                if self.random.u8(..6) == 0 {
                    0
                } else {
                    self.random.u32(1..30_000)
                }
            };
            versions.push([amount(), amount()]);
            let newest = versions.len() - 1;
            return (self.body(index, newest), 0);
        }
        let version = self.random.usize(..versions.len());
        (self.body(index, version), 0)
    }

    fn faults(&mut self) -> Vec<Fault> {
        let kinds = [
            ("metering", "lost-answer"),
            ("metering", "lost-request"),
            ("metering", "error"),
            ("metering", "throttle"),
            ("metering", "unprocessed"),
            ("dynamodb", "conflict"),
            ("dynamodb", "lost-answer"),
            ("dynamodb", "error"),
        ];
        let count = self.random.usize(..3);
        (0..count)
            .map(|_| {
                let (service, kind) = kinds[self.random.usize(..kinds.len())];
                let (times, after) = (self.random.u32(1..5), self.random.u32(..8));
                serde_json::from_value(json!({ "service": service, "kind": kind, "times": times, "after": after }))
                    .unwrap()
            })
            .collect()
    }

    /// Delivers two batches at once, as two workers would get them.
    async fn deliver(&mut self, batches: [Vec<(String, u32)>; 2]) {
        let now = self.sandbox.clock().now();
        let [first, second] = &batches;
        let (one, two) = tokio::join!((self.dispatch)(event(first), now), (self.dispatch)(event(second), now));
        for (batch, answer) in batches.iter().zip([one, two]) {
            for failure in answer.batch_item_failures {
                let index: usize = failure.item_identifier.parse().unwrap();
                self.again.push((batch[index].0.clone(), batch[index].1 + 1));
            }
        }
    }

    async fn blow(&mut self) {
        for _ in 0..STEPS {
            let faults = self.faults();
            self.sandbox.faults(faults).unwrap();
            let sizes = [self.random.usize(1..4), self.random.usize(1..4)];
            let batches = sizes.map(|size| (0..size).map(|_| self.next_message()).collect());
            self.deliver(batches).await;
            let minutes = self.random.i64(5..80);
            self.sandbox.advance(SignedDuration::from_mins(minutes)).await.unwrap();
        }
    }

    /// The faults are over: what waits is delivered, and every bill's newest version once more, for it may have been lost with its message.
    async fn calm(&mut self) {
        self.sandbox.faults(Vec::new()).unwrap();
        for (index, (id, _)) in BILLS.iter().enumerate() {
            if let Some(versions) = self.made.get(id) {
                self.again.push((self.body(index, versions.len() - 1), 0));
            }
        }
        for _ in 0..CALM_ROUNDS_MAX {
            let waiting = std::mem::take(&mut self.again);
            self.deliver([waiting, Vec::new()]).await;
        }
        assert!(self.again.is_empty(), "{:?}", self.again);
        for _ in 0..3 {
            self.sandbox.advance(SignedDuration::from_hours(1)).await.unwrap();
        }
    }

    /// What the newest versions owe, by buyer and dimension.
    fn owed(&self) -> BTreeMap<(String, String), Units> {
        let mut owed = BTreeMap::new();
        for (id, account) in BILLS {
            let Some(newest) = self.made.get(id).and_then(|versions| versions.last()) else {
                continue;
            };
            let buyer = BUYERS.iter().find(|(known, _)| *known == account).unwrap().1;
            for (product, cents) in PRODUCTS.iter().zip(newest) {
                *owed.entry((buyer.to_owned(), (*product).to_owned())).or_insert(0) += Units::from(*cents);
            }
        }
        owed
    }
}

fn event(messages: &[(String, u32)]) -> SqsEvent {
    let record = |(index, (body, receives)): (usize, &(String, u32))| {
        let attributes: HashMap<&str, String> =
            HashMap::from([("ApproximateReceiveCount", (receives + 1).to_string())]);
        json!({ "messageId": index.to_string(), "body": body, "attributes": attributes, "messageAttributes": {} })
    };
    let records: Vec<Value> = messages.iter().enumerate().map(record).collect();
    serde_json::from_value(json!({ "Records": records })).unwrap()
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("OUTBILL_STORM_SEEDS") else {
        return SEEDS;
    };
    let (first, last) = text.split_once("..").expect("OUTBILL_STORM_SEEDS is first..last");
    first.parse().unwrap()..last.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_storm_the_laws_hold_and_aws_has_what_is_owed() {
    for seed in seeds() {
        let mut storm = Storm::new(seed).await;
        storm.blow().await;
        storm.calm().await;
        let sdk = functions::sdk(&storm.sandbox.addresses().aws, functions::REGION).await;
        let ledger = Ledger::read(&aws_sdk_dynamodb::Client::new(&sdk), &storm.sandbox.marketplace())
            .await
            .unwrap();
        for law in ledger.laws(Rest::Quiet) {
            assert!(
                law.violations.is_empty(),
                "seed {seed}: {}: {:#?}",
                law.text,
                law.violations
            );
        }
        let mut totals: BTreeMap<(String, String), Units> = BTreeMap::new();
        for key in ledger.keys.values() {
            assert_eq!(key.state.origin.connection.product_code, PRODUCT);
            totals.insert(
                (
                    key.state.key.buyer.customer().to_owned(),
                    key.state.key.dimension.clone(),
                ),
                key.state.total,
            );
        }
        totals.retain(|_, units| *units != 0);
        let mut owed = storm.owed();
        owed.retain(|_, units| *units != 0);
        assert_eq!(totals, owed, "seed {seed}");
        println!(
            "seed {seed}: {} keys, {} units owed",
            totals.len(),
            totals.values().sum::<Units>()
        );
    }
}
