//! An import that failed after it had copied a mapping is repeated: nothing is left to copy, and the bill that waited is sent.

use end_to_end::{ACME, ACME_AWS_ACCOUNT, DIMENSION, Scene, bill, per_bill};
use sandbox::{Fault, FaultKind, Service};
use serde_json::json;

const IMPORT: &str = "externalmappings/import";

#[tokio::test]
async fn an_import_that_is_repeated_sends_what_the_first_could_not() {
    let mut scene = Scene::start().await;
    scene.configuration = scene.configure(per_bill()).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.assert_run("june", "ERROR", "has no external mapping").await;
    scene.m3ter_has_mappings(&[json!({
        "id": "m-1", "version": 1, "dtCreated": "2025-06-01T09:00:00.000Z", "m3terEntity": "Account", "m3terId": ACME,
        "externalSystem": "AWS", "externalTable": "Customer", "externalId": ACME_AWS_ACCOUNT,
    })]);
    let refused = Fault {
        action: Some("SendMessageBatch".to_owned()),
        ..Fault::new(Service::Sqs, FaultKind::AccessDenied, u32::MAX)
    };
    scene.sandbox.faults(vec![refused]).expect("faults");
    let first = scene.seller.post(IMPORT, &json!({})).await;
    Scene::assert_refused(first, 502, &["try again"]);
    scene.heal();
    let again = scene.seller.post(IMPORT, &json!({})).await.expect("an answer");
    assert_eq!(
        (&again["created"], &again["unchanged"]),
        (&json!(0), &json!(1)),
        "{again:#}"
    );
    scene.rest().await;
    scene.assert_run("june", "COMPLETE", "").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, DIMENSION), 10_103);
    scene.end().await;
}
