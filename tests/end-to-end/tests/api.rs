//! The API on a whole deployment: what only shows when there is an AWS behind it.

use end_to_end::{Scene, per_bill};
use outbill::effects::access::{Access, AccessError, BELIEVED};
use outbill::effects::secrets::Secrets;
use outbill::values::ids::OrganizationId;
use sandbox::seller::CallError;
use sandbox::{Fault, FaultKind, Service};
use serde_json::{Value, json};

fn fault(service: Service, action: &str, kind: FaultKind) -> Fault {
    Fault {
        action: Some(action.to_owned()),
        ..Fault::new(service, kind, 1)
    }
}

fn refusal(answer: Result<Value, CallError>) -> (u16, String) {
    match answer {
        Err(CallError::Refused { status, body, .. }) => {
            (status, body["message"].as_str().unwrap_or_default().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

/// The steps of a check: name, outcome and words of each.
async fn check(scene: &Scene, credential: &Value) -> (bool, Vec<(String, String, String)>) {
    let path = format!("integrationcredentials/{}/check", credential["id"].as_str().unwrap());
    let checked = scene.seller.post(&path, &json!({})).await.unwrap();
    let text = |step: &Value, field: &str| step[field].as_str().unwrap().to_owned();
    let steps = checked["steps"].as_array().unwrap().iter();
    let steps = steps.map(|step| (text(step, "step"), text(step, "outcome"), text(step, "message")));
    (checked["good"].as_bool().unwrap(), steps.collect())
}

fn outcomes(steps: &[(String, String, String)]) -> Vec<(&str, &str)> {
    steps
        .iter()
        .map(|(step, outcome, _)| (step.as_str(), outcome.as_str()))
        .collect()
}

#[tokio::test]
async fn a_credential_is_tried_and_what_is_missing_is_said() {
    let scene = Scene::ready().await;
    let role = json!({"type": "AWS_INTEGRATION", "accountId": "444455556666", "roleName": "OutbillMetering"});
    let made = scene.seller.post("integrationcredentials", &role).await.unwrap();
    let billed_before = scene.billed();

    let (good, steps) = check(&scene, &made).await;
    assert!(good, "{steps:?}");
    assert_eq!(outcomes(&steps), [("assume", "GOOD"), ("metering", "GOOD")]);
    assert!(
        steps[0].2.contains("arn:aws:iam::444455556666:role/OutbillMetering"),
        "{steps:?}"
    );
    assert_eq!(scene.billed(), billed_before, "a check sends no usage");

    let faults = vec![fault(Service::Sts, "AssumeRole", FaultKind::AccessDenied)];
    scene.sandbox.faults(faults).unwrap();
    let (good, steps) = check(&scene, &made).await;
    assert!(!good);
    assert_eq!(outcomes(&steps), [("assume", "MISSING")]);
    for hint in [
        "arn:aws:iam::444455556666:role/OutbillMetering",
        "trust policy",
        "sts:ExternalId",
        "MeteringRoleName",
    ] {
        assert!(steps[0].2.contains(hint), "{hint}: {steps:?}");
    }
    let external_id = made["externalId"].as_str().unwrap();
    assert!(!steps[0].2.contains(external_id), "shown once is once");

    let faults = vec![fault(Service::Metering, "BatchMeterUsage", FaultKind::AccessDenied)];
    scene.sandbox.faults(faults).unwrap();
    let (good, steps) = check(&scene, &made).await;
    assert!(!good);
    assert_eq!(outcomes(&steps), [("assume", "GOOD"), ("metering", "MISSING")]);
    assert!(steps[1].2.contains("aws-marketplace:BatchMeterUsage"), "{steps:?}");

    let faults = vec![fault(Service::Metering, "BatchMeterUsage", FaultKind::Error)];
    scene.sandbox.faults(faults).unwrap();
    let (good, steps) = check(&scene, &made).await;
    assert_eq!((good, outcomes(&steps)[1]), (false, ("metering", "UNKNOWN")));

    let own = json!({"type": "AWS_INTEGRATION"});
    let own = scene.seller.post("integrationcredentials", &own).await.unwrap();
    let (good, steps) = check(&scene, &own).await;
    assert!(good, "nothing is missing: {steps:?}");
    assert_eq!(outcomes(&steps), [("identity", "GOOD"), ("metering", "NOT_TRIED")]);
    let (status, message) = refusal(scene.seller.post("integrationcredentials/none/check", &json!({})).await);
    assert_eq!((status, message.contains("none")), (404, true));
    scene.end().await;
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_made_once() {
    let scene = Scene::start().await;
    let seller = &scene.seller;
    let configuration = json!({"entityType": "Bill", "destination": "AWS", "configData": per_bill()});
    let credential = json!({"type": "AWS_INTEGRATION", "accountId": "444455556666", "roleName": "OutbillMetering"});
    let mapping = json!({
        "m3terEntity": "Account", "m3terId": "a1", "externalSystem": "AWS", "externalTable": "Customer",
        "externalId": "123456789012",
    });
    for (path, body, action) in [
        ("integrationconfigs", configuration, "UpdateItem"),
        ("integrationcredentials", credential, "PutItem"),
        ("externalmappings", mapping, "TransactWriteItems"),
    ] {
        let made = seller.post(path, &body).await.unwrap();
        let path = format!("{path}/{}", made["id"].as_str().unwrap());
        let mut change = body.clone();
        change["version"] = json!(1);
        scene
            .sandbox
            .faults(vec![fault(Service::DynamoDb, action, FaultKind::LostAnswer)])
            .unwrap();
        assert_eq!(seller.put(&path, &change).await.unwrap()["version"], 2, "{path}");
        assert_eq!(seller.get(&path).await.unwrap()["version"], 2, "{path}");
        let (status, message) = refusal(seller.put(&path, &change).await);
        assert!(
            status == 400 && message.contains("stored version is 2"),
            "{path}: {message}"
        );
    }
    scene.end().await;
}

#[tokio::test]
async fn the_signing_secret_is_rotated_without_an_outage() {
    let scene = Scene::start().await;
    let outbill = scene.outbill().await;
    let organization = OrganizationId::new(scene.organization()).unwrap();
    let key = scene.sandbox.access_key();
    let start = scene.sandbox.clock().now();
    let at = |minutes: i64| start + jiff::SignedDuration::from_mins(minutes);
    // Two instances of a function, each with a memory of its own.
    let instance = || Access::new(outbill.secrets.clone());
    let (one, other) = (instance(), instance());
    let issue = async |by: &Access, minutes: i64| {
        by.issue(&key.access_key_id, &key.api_secret, at(minutes))
            .await
            .unwrap()
    };
    let good = async |by: &Access, token: &str, minutes: i64| match by.verify(token, at(minutes)).await {
        Ok(caller) => {
            assert_eq!(caller.organization, organization);
            true
        }
        Err(AccessError::Denied) => false,
        Err(error) => panic!("{error}"),
    };
    let kid = |token: &str| token.split('.').next().unwrap().to_owned();

    let before = issue(&one, 0).await;
    assert!(good(&other, &before, 0).await);
    // The whole of a rotation: the command in docs/access.md.
    let rotate = async |secrets: &Secrets, text: &str| secrets.put("token-signing", text).await.unwrap();
    rotate(&outbill.secrets, "the second signing secret, long enough to sign with").await;
    // Whoever read the keys just before must be able to check whatever others sign now.
    let fresh = instance();
    let meanwhile = issue(&fresh, 0).await;
    assert_eq!(
        kid(&meanwhile),
        kid(&before),
        "nobody signs with a key that not everybody has read"
    );
    assert!(good(&other, &meanwhile, 0).await && good(&one, &meanwhile, 0).await);
    let waited = BELIEVED.as_mins() * 2;
    let after = issue(&one, waited).await;
    assert_ne!(kid(&after), kid(&before));
    for by in [&one, &other, &fresh, &instance()] {
        assert!(good(by, &before, waited).await && good(by, &after, waited).await);
    }
    // A second rotation ends what the first secret signed.
    scene
        .sandbox
        .advance(jiff::SignedDuration::from_mins(10))
        .await
        .unwrap();
    rotate(&outbill.secrets, "the third signing secret, also long enough to sign").await;
    for by in [&one, &other, &instance()] {
        assert!(!good(by, &before, 12).await, "revoked");
        assert!(good(by, &after, 12).await, "the one before is still good");
    }
    assert!(!good(&one, &after, 5 * 60 + waited).await, "expired all the same");

    outbill.secrets.put("token-signing", "short").await.unwrap();
    let refused = instance().issue(&key.access_key_id, &key.api_secret, at(20)).await;
    assert!(
        matches!(refused, Err(AccessError::Store(_))),
        "a short secret signs nothing"
    );
    scene.end().await;
}

#[tokio::test]
async fn seven_megabytes_over_the_wire_are_413() {
    let scene = Scene::start().await;
    let large = json!({"name": "x".repeat(7 * 1024 * 1024)});
    let (status, message) = refusal(scene.seller.post("integrationconfigs", &large).await);
    assert_eq!(status, 413, "{message}");
    let (status, message) = refusal(scene.seller.post("bills", &large).await);
    assert!(status == 413 && message.contains("billId"), "{message}");
    scene.end().await;
}
