//! What a test sees: through the API as a seller, in the table, and of what AWS holds.

use base64::{Engine, engine::general_purpose::STANDARD};
use sandbox::laws::{KeyReport, Ledger};
use sandbox::seller::CallError;
use sandbox::{Message, Service};
use serde_json::Value;

use super::Scene;
use crate::run::Run;

impl Scene {
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

    /// How many requests of an action there were since the count was cleared.
    pub fn requests(&self, service: Service, action: &str) -> u64 {
        let counts = self.sandbox.requests();
        let of_action = counts.get(service.as_str()).and_then(|actions| actions.get(action));
        of_action.copied().unwrap_or_default()
    }

    /// How many `BatchMeterUsage` calls there were since the count was cleared.
    pub fn metering_calls(&self) -> u64 {
        self.requests(Service::Metering, "BatchMeterUsage")
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
}
