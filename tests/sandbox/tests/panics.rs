//! A panic in the middle of a batch, as a dependency may bring it: whose messages come again, and that nothing of the others is lost.

mod common;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use common::stage::{BILLS, Stage};
use outbill::Outbill;
use sandbox::aws::Latency;
use sandbox::functions::{self, BILL_DISPATCH_TIMEOUT};

/// A wire that panics at requests of one action that hold a text.
#[derive(Debug)]
struct Trap {
    action: &'static str,
    text: &'static str,
    wire: SharedHttpConnector,
}

impl Trap {
    fn is_for(&self, request: &HttpRequest) -> bool {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default());
        target.ends_with(self.action) && body.contains(self.text)
    }
}

impl HttpConnector for Trap {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        assert!(!self.is_for(&request), "the trap for {} snaps shut", self.action);
        self.wire.call(request)
    }
}

/// A worker whose HTTP client is such a wire.
async fn trapped(stage: &Stage, action: &'static str, text: &'static str) -> Outbill {
    let surroundings = &stage.surroundings;
    let sdk = functions::sdk(&surroundings.aws_endpoint_url, &surroundings.region).await;
    let client = sdk.http_client().expect("the SDK's HTTP client");
    let client = http_client_fn(move |settings, components| {
        let wire = client.http_connector(settings, components);
        SharedHttpConnector::new(Trap { action, text, wire })
    });
    let sdk = sdk.into_builder().http_client(client).build();
    Outbill::connect(&sdk, &functions::environment(surroundings))
}

#[tokio::test]
async fn a_panic_in_a_message_s_work_is_an_error_of_that_message_and_nothing_else() {
    let stage = Stage::set(Latency::None).await;
    let worker = trapped(&stage, "TransactWriteItems", "bill-1").await;
    let bills = stage.bills(1);
    let again = stage.handle(&worker, bills.clone(), 1, BILL_DISPATCH_TIMEOUT).await;
    assert_eq!(again, ["message-1"]);
    assert_eq!(stage.billed(), [101, 101]);
    for bill in ["bill-0", "bill-2"] {
        assert_eq!(stage.status(bill).await, "COMPLETE", "{bill}");
    }
    assert!(stage.sandbox.dead_letters().is_empty());
    // The message comes again, to a worker that is well.
    let bill = bills[1].clone();
    let again = stage.handle(&stage.outbill, vec![bill], 2, BILL_DISPATCH_TIMEOUT).await;
    assert_eq!(again, [""; 0]);
    assert_eq!(stage.billed(), [101; BILLS]);
    assert_eq!(stage.statuses().await, ["COMPLETE"; BILLS]);
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn a_panic_while_aws_is_asked_brings_every_message_again_that_has_claimed() {
    let stage = Stage::set(Latency::None).await;
    let worker = trapped(&stage, "BatchMeterUsage", "").await;
    let mut messages = stage.bills(1);
    messages.push(stage.message("unmapped", "nobody", 1));
    let again = stage.handle(&worker, messages, 1, BILL_DISPATCH_TIMEOUT).await;
    assert_eq!(again, ["message-0", "message-1", "message-2"]);
    // Who has claimed nothing is told all the same.
    assert_eq!(stage.status("unmapped").await, "ERROR");
    assert_eq!(stage.billed(), [0; 0]);
    // What was claimed is sent when it comes again, once.
    let again = stage
        .handle(&stage.outbill, stage.bills(1), 2, BILL_DISPATCH_TIMEOUT)
        .await;
    assert_eq!(again, [""; 0]);
    assert_eq!(stage.calls("metering"), 1);
    assert_eq!(stage.billed(), [101; BILLS]);
    assert_eq!(stage.statuses().await, ["COMPLETE"; BILLS]);
    stage.sandbox.stop().await;
}
