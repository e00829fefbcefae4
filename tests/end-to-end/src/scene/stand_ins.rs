//! What a test does to the stand-ins.

use sandbox::{Change, Fault, FaultKind, Service};
use serde_json::{Value, json};

use super::Scene;
use crate::PRODUCT;

impl Scene {
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
            "region": "us-east-1", "productCode": PRODUCT, "customer": customer, "dimension": dimension,
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
}

fn named(entities: &[Value]) -> Vec<(String, Value)> {
    let id = |entity: &Value| entity["id"].as_str().expect("an id").to_owned();
    entities.iter().map(|entity| (id(entity), entity.clone())).collect()
}
