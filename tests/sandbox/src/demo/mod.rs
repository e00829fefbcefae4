//! The demo: a day in the life of two bills and the morning after, step by step, in plain words.
//!
//! Every step can be done again: a demo that was killed and started anew with the same folder repeats what it finds done and goes on.

mod print;
mod script;

use jiff::{SignedDuration, Timestamp};
use marketplace::reckoning::{Reckoning, Rules};
use outbill::values::entry::EntryState;
use serde_json::{Value, json};

use crate::laws::{Ledger, Rest};
use crate::seller::{CallError, Seller};
use crate::{Change, Fault, Sandbox, functions};

/// How often a comparison that was cut off is gone on with.
const RECONCILED_TRIES_MAX: usize = 3;

/// When the demo's day begins, on the virtual clock.
pub const STARTS_AT: &str = "2025-06-10T10:02:00Z";

/// Why the demo could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A call of the API.
    #[error("the demo could not go on")]
    Call(#[from] CallError),
    /// The sandbox itself.
    #[error("the demo could not go on: {0}")]
    Sandbox(String),
}

/// How the demo ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every law held, and the buyers are billed what the bills say.
    AllHeld,
    /// Something was wrong; it was printed.
    Broken,
}

/// The demo's stage.
struct Stage<'a> {
    sandbox: &'a Sandbox,
    seller: Seller,
    configuration: String,
    reckoning: Reckoning,
    steps: usize,
    step: usize,
}

/// Plays the demo and prints what it did.
pub async fn play(sandbox: &Sandbox) -> Result<Verdict, DemoError> {
    let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key()).await?;
    let mut stage = Stage {
        sandbox,
        seller,
        configuration: String::new(),
        reckoning: Reckoning::new(script::rules()),
        steps: script::STEPS,
        step: 0,
    };
    print::title();
    script::play(&mut stage).await?;
    stage.conclude().await
}

impl Stage<'_> {
    /// Says what happens next.
    fn say(&mut self, text: &str) {
        self.step += 1;
        print::step(self.step, self.steps, self.sandbox.clock().now(), text);
    }

    /// Says what came of it.
    fn result(&self, text: &str) {
        print::result(text);
    }

    /// Moves the clock forward to an instant; one that is past already stays past. The seller logs in again: a token lasts five hours.
    async fn until(&mut self, instant: &str) -> Result<(), DemoError> {
        let instant: Timestamp = instant.parse().map_err(sandbox_error)?;
        if instant > self.sandbox.clock().now() {
            self.sandbox.advance_to(instant).await.map_err(sandbox_error)?;
        }
        self.seller = Seller::log_in(&self.sandbox.addresses().api, self.sandbox.access_key()).await?;
        Ok(())
    }

    /// m3ter sends a bill event.
    async fn event(&self, name: &str, bill: &Value) -> Result<(), DemoError> {
        let mut bill = bill.clone();
        bill["orgId"] = json!(self.seller.organization());
        let event = json!({ "eventName": name, "m3terEvent": { "eventData": { "newDto": bill } } });
        self.sandbox.send(&event).await.map_err(sandbox_error)?;
        Ok(())
    }

    /// A bill of a new version: sent, and reckoned beside Outbill.
    async fn bill(&mut self, bill: &Value) -> Result<(), DemoError> {
        self.reckoning.bill(bill).map_err(sandbox_error)?;
        self.event("billing.bill.updated", bill).await
    }

    fn faults(&self, faults: Value) -> Result<(), DemoError> {
        let faults: Vec<Fault> = serde_json::from_value(faults).map_err(sandbox_error)?;
        self.sandbox.faults(faults).map_err(sandbox_error)
    }

    fn trail(&self, change: Value) -> Result<(), DemoError> {
        let change = serde_json::from_value(change).map_err(sandbox_error)?;
        self.sandbox
            .change(Change::TrailChanged { change })
            .map_err(sandbox_error)
    }

    fn switches(&self, switches: Value) -> Result<(), DemoError> {
        let switches = serde_json::from_value(switches).map_err(sandbox_error)?;
        self.sandbox
            .change(Change::SwitchesChanged { switches })
            .map_err(sandbox_error)
    }

    fn buyer(&self, customer: &str, subscribed: bool) -> Result<(), DemoError> {
        let statement = json!({ "customer": customer, "subscribed": subscribed });
        let statement = serde_json::from_value(statement).map_err(sandbox_error)?;
        self.sandbox
            .change(Change::BuyerStated { statement })
            .map_err(sandbox_error)
    }

    fn foreign(&self, usage: Value) -> Result<(), DemoError> {
        let usage = serde_json::from_value(usage).map_err(sandbox_error)?;
        self.sandbox
            .change(Change::ForeignUsageReported { usage })
            .map_err(sandbox_error)
    }

    /// Entries that are not what AWS gave a receipt for, in words.
    async fn unsettled(&self) -> Result<Vec<String>, DemoError> {
        let ledger = self.ledger().await?;
        let mut lines = Vec::new();
        for key in ledger.keys.values() {
            let open = key.entries.iter().filter(|entry| entry.state != EntryState::Accepted);
            lines.extend(open.map(|entry| {
                let observed = entry
                    .observed
                    .map_or_else(String::new, |units| format!(", {units} observed at AWS"));
                format!(
                    "{}, hour {}: {} units {}{observed}",
                    key.name(),
                    entry.hour,
                    entry.quantity,
                    entry.state
                )
            }));
        }
        if lines.is_empty() {
            lines.push("every entry is ACCEPTED".to_owned());
        }
        Ok(lines)
    }

    /// Prints the newest report of a day, as people read it.
    async fn report(&self) -> Result<(), DemoError> {
        let newest = self.newest_report().await?;
        let id = newest["id"].as_str().unwrap_or_default();
        print::page(
            &self
                .seller
                .get_text(&format!("reconciliations/{id}?format=text"))
                .await?,
        );
        Ok(())
    }

    /// A demo that was killed while a day was compared goes on as in AWS: the event comes again, and a schedule asks every few minutes for
    /// what is open.
    async fn reconciled(&self) -> Result<(), DemoError> {
        for _ in 0..RECONCILED_TRIES_MAX {
            if self.newest_report().await?["dtCompleted"].is_string() {
                return Ok(());
            }
            let later = SignedDuration::from_mins(5);
            self.sandbox.advance(later).await.map_err(sandbox_error)?;
            for event in [json!({ "daily": {} }), json!({ "continue": {} })] {
                self.sandbox.invoke_reconcile(event).await;
            }
        }
        Err(sandbox_error("the day is not compared with CloudTrail to its end"))
    }

    /// The newest report of a day; null: there is none.
    async fn newest_report(&self) -> Result<Value, DemoError> {
        let listed = self.seller.get("reconciliations").await?;
        let mut reports = listed["data"].as_array().into_iter().flatten();
        let newest = reports.find(|report| report["scope"] == "DAY");
        Ok(newest.cloned().unwrap_or_default())
    }

    async fn ledger(&self) -> Result<Ledger, DemoError> {
        let sdk = functions::sdk(&self.sandbox.addresses().aws, functions::REGION).await;
        let client = aws_sdk_dynamodb::Client::new(&sdk);
        Ledger::read(&client, &self.sandbox.marketplace())
            .await
            .map_err(sandbox_error)
    }

    /// The newest run of a bill, in words.
    async fn run(&self, bill: &str) -> Result<String, DemoError> {
        let run = self.seller.get(&format!("integrationruns/Bill/latest/{bill}")).await?;
        let text = |field: &str| run.get(field).and_then(Value::as_str).map(str::to_owned);
        let status = text("status").unwrap_or_default();
        Ok(match text("error") {
            Some(error) => format!("{status}: {error}"),
            None => status,
        })
    }

    /// What AWS bills now, in units.
    fn billed(&self) -> i64 {
        self.sandbox
            .marketplace()
            .billed()
            .iter()
            .map(|billed| billed.quantity)
            .sum()
    }

    /// Prints report, bill and laws.
    async fn conclude(&self) -> Result<Verdict, DemoError> {
        let report = self
            .seller
            .get("integrationdestinations/marketplace/usageReport")
            .await?;
        print::report(&report);
        let ledger = self.ledger().await?;
        let reckoned = print::billed(&self.reckoning, &ledger);
        let held = print::laws(&ledger.laws(Rest::Quiet));
        print::requests(&self.sandbox.requests());
        Ok(if reckoned && held {
            Verdict::AllHeld
        } else {
            Verdict::Broken
        })
    }
}

fn sandbox_error(error: impl std::fmt::Display) -> DemoError {
    DemoError::Sandbox(error.to_string())
}

/// The rules by which the demo's bills are reckoned beside Outbill.
fn rules(value: Value) -> Rules {
    serde_json::from_value(value).unwrap_or_else(|error| unreachable!("the demo's own rules are readable: {error}"))
}
