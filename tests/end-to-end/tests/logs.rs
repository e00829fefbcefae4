//! Nothing secret and nothing of a buyer is in any line of any log, whatever goes wrong. Every other end-to-end test that ends a scene looks
//! through the lines as well.

use end_to_end::{
    ACME, ACME_AWS_ACCOUNT, GLOBEX, GLOBEX_AWS_ACCOUNT, GLOBEX_LICENSE, INITECH, INITECH_CUSTOMER, Scene, bill, logs,
    message,
};
use sandbox::{Fault, FaultKind, Service};
use serde_json::json;

const ADDRESS: &str = "accounts-payable@acme.example";
const NAME: &str = "Acme Rockets and Anvils";

#[tokio::test]
async fn nothing_secret_is_logged_whatever_goes_wrong() {
    let mut scene = Scene::ready().await;
    let role = json!({"type": "AWS_INTEGRATION", "accountId": "444455556666", "roleName": "OutbillMetering"});
    let credential = scene.seller.post("integrationcredentials", &role).await.unwrap();
    let external_id = credential["externalId"].as_str().unwrap().to_owned();
    let check = format!("integrationcredentials/{}/check", credential["id"].as_str().unwrap());
    scene.map("Account", GLOBEX, "License", GLOBEX_LICENSE).await;
    scene.map("Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await;
    scene.map("Account", INITECH, "Customer", INITECH_CUSTOMER).await;

    // Good bills, by the API and by the queue, with an account as m3ter has it.
    let account = json!({"id": ACME, "name": NAME, "emailAddress": ADDRESS, "address": {"addressLine1": NAME}});
    let sent = json!({"bill": bill("b1", ACME, 1).of("7.01").json(), "account": account});
    scene.seller.post("bills", &sent).await.unwrap();
    scene.rest().await;
    scene.bill(&bill("b2", GLOBEX, 1).of("11.03")).await;
    scene.bill(&bill("b3", INITECH, 1).of("13.07")).await;
    // Everything that a service can do wrong, during bills, checks, logins and notifications.
    let services = [
        (
            Service::Metering,
            vec![
                FaultKind::Error,
                FaultKind::Throttle,
                FaultKind::AccessDenied,
                FaultKind::LostAnswer,
            ],
        ),
        (
            Service::DynamoDb,
            vec![FaultKind::Error, FaultKind::LostRequest, FaultKind::AccessDenied],
        ),
        (Service::SecretsManager, vec![FaultKind::Error, FaultKind::AccessDenied]),
        (Service::Sts, vec![FaultKind::Error, FaultKind::AccessDenied]),
        (Service::Sqs, vec![FaultKind::Error]),
    ];
    let webhook_key = scene.sandbox.access_key().webhook_key();
    let mut version = 1;
    for (service, kinds) in services {
        for kind in kinds {
            version += 1;
            scene.sandbox.faults(vec![Fault::new(service, kind, 6)]).unwrap();
            for (id, buyer) in [("b1", ACME), ("b2", GLOBEX), ("b3", INITECH)] {
                let amount = format!("{}.17", 20 + version);
                let sent = json!({"bill": bill(id, buyer, version).of(&amount).json(), "account": account});
                // Whether it is taken or refused: what counts is what is written about it.
                let _ = scene.seller.post("bills", &sent).await;
            }
            let _ = scene.seller.post(&check, &json!({})).await;
            let _ = scene.log_in_again("wrong-secret-of-a-caller").await;
            let told = message::updated(scene.organization(), &bill("b1", ACME, version));
            for key in [webhook_key.as_str(), "wrong-key-of-a-caller"] {
                let _ = scene.seller.notify_by_path(key, &told).await;
            }
            scene.heal();
            scene.rest().await;
        }
    }
    // Messages that nobody can read, full of what must not be told.
    for body in [
        json!({"orgId": scene.organization(), "bill": {"id": 1, "accountName": NAME, "email": ADDRESS}}),
        json!({"customer": ACME_AWS_ACCOUNT, "license": GLOBEX_LICENSE, "secret": "hush"}),
    ] {
        scene.send(body).await;
    }
    let lines = logs::lines();
    assert!(
        lines.iter().any(|line| line.contains("A bill was taken from the API.")),
        "what is looked through is what the functions wrote"
    );
    assert!(
        lines.iter().any(|line| line.contains("\"ERROR\"")),
        "errors were written"
    );
    let mut never = scene.never_logged();
    let others = [
        ADDRESS,
        NAME,
        "wrong-secret-of-a-caller",
        "wrong-key-of-a-caller",
        "hush",
    ];
    never.extend(others.map(str::to_owned));
    never.push(external_id);
    let told = logs::lines_with(&never);
    assert!(told.is_empty(), "{told:#?}");
    // The search itself finds what is there.
    assert!(!logs::lines_with(&["A bill was taken from the API.".to_owned()]).is_empty());
    // What waits for the next hours is sent in them.
    scene.until("2025-06-10T14:05:00Z").await;
    scene.end().await;
}
