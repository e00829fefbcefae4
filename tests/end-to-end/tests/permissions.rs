//! Least privilege: what the template lets each function do is what it does.
//!
//! The sandbox denies what the policies of `template.yaml` do not allow, as AWS would, so every other test fails if a permission is missing.
//! Here is the other half: stories that together use every permission, after which none may be left over.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::KeySchemaElement;
use end_to_end::{ACME, ACME_AWS_ACCOUNT, Scene, and, bill, checks, message, per_bill};
use permissions::Grant;
use sandbox::authorization::TEMPLATE;
use sandbox::seller::Seller;
use sandbox::{AccessKey, Fault, FaultKind, Function, Options, Sandbox, Service};
use serde_json::{Value, json};

type Unused = BTreeSet<(Function, Grant)>;

/// What Lambda does in a function's name and no call of the function's shows.
///
/// Lambda takes messages from the queue for the function, and refuses to be connected to a queue without these (it also wants
/// `GetQueueAttributes`, which the function needs itself). It writes what the function prints to its log group, and a trace to X-Ray.
fn lambdas_own(function: Function, grant: &Grant) -> bool {
    match (grant.sid.as_str(), function) {
        ("LambdaReceives", Function::BillDispatch) => {
            grant.resource.ends_with(":outbill-bills")
                && ["sqs:ReceiveMessage", "sqs:DeleteMessage"].contains(&grant.action.as_str())
        }
        ("LambdaLogs", _) => {
            !grant.resource.starts_with('*')
                && ["logs:CreateLogStream", "logs:PutLogEvents"].contains(&grant.action.as_str())
        }
        ("LambdaTraces", _) => ["xray:PutTraceSegments", "xray:PutTelemetryRecords"].contains(&grant.action.as_str()),
        _ => false,
    }
}

/// Each function's log, each function's trace, and the queue: this many grants are Lambda's own.
const LAMBDAS_OWN: usize = 3 * 2 + 3 * 2 + 2;

fn role() -> Value {
    json!({ "type": "AWS_INTEGRATION", "destination": "AWS", "accountId": "444455556666", "roleName": "OutbillMetering" })
}

/// Who calls AWS Marketplace and CloudTrail.
enum Signer {
    Function,
    Role,
}

/// One configuration whose credential has a role of another account, and Acme mapped.
async fn configure_with_role(scene: &mut Scene, settings: Value) {
    let credential = scene.seller.post("integrationcredentials", &role()).await.unwrap();
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": "bills", "integrationCredentialsId": credential["id"],
        "configData": settings,
    });
    scene.seller.post("integrationconfigs", &configuration).await.unwrap();
    scene.map("Account", ACME, "Customer", ACME_AWS_ACCOUNT).await;
}

async fn unused(scene: Scene) -> Unused {
    let unused = scene.sandbox.unused_grants();
    scene.end().await;
    unused
}

/// A seller sets Outbill up, changes things and takes them away again, and looks at everything.
async fn the_seller_works() -> Unused {
    let mut scene = Scene::start().await.with(checks(json!({}))).await;
    let made = scene.seller.post("integrationcredentials", &role()).await.unwrap();
    let path = format!("integrationcredentials/{}", made["id"].as_str().unwrap());
    let checked = scene.seller.post(&format!("{path}/check"), &json!({})).await.unwrap();
    assert_eq!(checked["good"], true, "{checked}");
    scene
        .seller
        .put(&path, &and(role(), json!({ "version": 1 })))
        .await
        .unwrap();
    scene.seller.delete(&path).await.unwrap();

    scene
        .reconfigure(checks(json!({ "excludedLineItemTypes": ["AD_HOC"] })))
        .await;
    let stranger = AccessKey {
        api_secret: "guessed".to_owned(),
        ..scene.sandbox.access_key().clone()
    };
    assert!(Seller::log_in(&scene.sandbox.addresses().api, &stranger).await.is_err());

    // A bill that m3ter holds: previewed, notified, sent and looked at.
    let june = bill("june", ACME, 1).of("101.03");
    scene.m3ter_has(&[june.json()], &[]);
    let preview = format!("integrationconfigs/{}/preview", scene.configuration);
    scene.seller.post(&preview, &json!({ "billId": "june" })).await.unwrap();
    let key = scene.sandbox.access_key().webhook_key();
    let notice: Value = serde_json::from_str(include_str!("../../../events/m3ter-notification.json")).unwrap();
    scene.seller.notify(&key, &notice).await.unwrap();
    scene.rest().await;
    for path in [
        "integrationruns/Bill/june".to_owned(),
        "integrationruns/Bill/latest/june".to_owned(),
        format!("integrationruns/destinations/{}", scene.configuration),
        "integrationdestinations/marketplace/pending".to_owned(),
        "integrationdestinations/marketplace/usageReport".to_owned(),
    ] {
        scene.seller.get(&path).await.unwrap();
    }
    unused(scene).await
}

/// Bills come in every way and fail in the ways that another permission mends.
async fn bills_come() -> Unused {
    let mut scene = Scene::start().await;
    let users = json!({ "integrationDisabledNotificationUsers": ["ops@seller.example"] });
    configure_with_role(&mut scene, and(per_bill(), users)).await;
    // AWS refuses the role once, and later lets it in.
    scene.m3ter_has(&[bill("june", ACME, 1).of("101.03").json()], &[]);
    let denied = Fault::new(Service::Metering, FaultKind::AccessDenied, 1);
    scene.sandbox.faults(vec![denied]).unwrap();
    scene.send(message::reference(scene.organization(), "june")).await;
    scene.until("2025-06-10T11:32:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.until("2025-06-10T12:02:00Z").await;
    assert_eq!(scene.paid(ACME_AWS_ACCOUNT, end_to_end::DIMENSION), 10_307);
    scene.send(json!("no message")).await;
    scene.sweep().await;
    let failing = (0..20).map(|number| {
        let failing = bill(&format!("bad-{number}"), &format!("nobody-{number}"), 1).of("7.01");
        message::updated(scene.organization(), &failing)
    });
    let failing: Vec<Value> = failing.collect();
    scene.send_together(failing).await;
    assert_eq!(scene.sandbox.outbox().len(), 1);
    // Its units go from the key after its head is written.
    scene.delete(&bill("june", ACME, 3)).await;
    unused(scene).await
}

/// Days are compared: from CloudTrail's event history, from a store, and with a role of another account.
async fn days_are_compared(settings: Value, signer: Signer) -> Unused {
    let mut scene = Scene::start().await;
    match signer {
        Signer::Function => scene = scene.with(checks(settings)).await,
        Signer::Role => configure_with_role(&mut scene, checks(settings)).await,
    }
    // Another program holds the hour: the ledger is amended, and what is owed now goes back to the queue.
    scene.foreign_usage(ACME_AWS_ACCOUNT, end_to_end::DIMENSION, "2025-06-10T10", 7);
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-11T11:02:00Z").await;
    scene.reconcile("2025-06-10").await;
    unused(scene).await
}

/// A copy is put into the table's place, with an entry that was never answered.
async fn the_table_is_restored() -> Unused {
    let mut scene = Scene::start().await.with(checks(json!({}))).await;
    // One that CloudTrail shows, without which its silence would prove nothing.
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.until("2025-06-10T11:02:00Z").await;
    scene.metering_always_fails(FaultKind::Throttle);
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    let backup = scene.back_up().await;
    scene.heal();
    scene.restore(&backup).await;
    scene.until_unwatched("2025-06-10T14:45:00Z").await;
    let entries = scene.entries(ACME_AWS_ACCOUNT, end_to_end::DIMENSION).await;
    assert_eq!(entries.last().expect("an entry").2, "UNKNOWN", "{entries:?}");
    // An operator decides it, which its run's log says.
    let pending = "integrationdestinations/marketplace/pending";
    let listed = scene.seller.get(pending).await.expect("a list");
    let undecided = listed["data"].as_array().expect("a list").iter();
    let mut undecided = undecided.filter(|open| open["state"] == "UNKNOWN");
    let id = undecided.next().expect("an undecided entry")["id"]
        .as_str()
        .expect("an id");
    let decision = json!({ "as": "RELEASED", "reason": "AWS's usage report does not have it" });
    let resolved = scene.seller.post(&format!("{pending}/{id}/resolve"), &decision).await;
    resolved.expect("resolved");
    unused(scene).await
}

#[tokio::test]
async fn every_permission_is_used() {
    let lake = json!({ "awsMarketplaceCloudtrailStoreId": sandbox::functions::EVENT_DATA_STORE });
    let stories = [
        the_seller_works().await,
        bills_come().await,
        days_are_compared(json!({}), Signer::Function).await,
        days_are_compared(lake, Signer::Function).await,
        days_are_compared(json!({}), Signer::Role).await,
        the_table_is_restored().await,
    ];
    let unused = stories.into_iter().reduce(|one, other| &one & &other);
    let (own, unused): (Vec<_>, Vec<_>) = unused
        .unwrap_or_default()
        .into_iter()
        .partition(|(function, grant)| lambdas_own(*function, grant));
    assert!(
        unused.is_empty(),
        "template.yaml gives what nothing here uses:{}",
        listed(&unused)
    );
    assert_eq!(own.len(), LAMBDAS_OWN, "{}", listed(&own));
}

fn listed(grants: &[(Function, Grant)]) -> String {
    let line = |(function, grant): &(Function, Grant)| format!("\n  {}: {grant}", function.logical_id());
    grants.iter().map(line).collect()
}

/// A sandbox whose functions have the policies of another template, in which somebody logged in and sent a bill.
async fn a_bill_under(template: &str) -> Sandbox {
    let options = Options {
        template: Some(template.to_owned()),
        ..Options::for_tests()
    };
    let sandbox = Sandbox::start(options, sandbox::functions::build).await.unwrap();
    let seller = Seller::log_in(&sandbox.addresses().api, sandbox.access_key())
        .await
        .unwrap();
    end_to_end::set_up::configure(&seller, "bills", &per_bill()).await;
    end_to_end::set_up::map(&seller, "Account", ACME, "Customer", ACME_AWS_ACCOUNT, None).await;
    let sent = message::updated(seller.organization(), &bill("june", ACME, 1).of("101.03"));
    sandbox.send(&sent).await.unwrap();
    sandbox
}

#[tokio::test]
async fn a_permission_too_few_or_too_many_is_found() {
    let changed = |right: &str, wrong: &str| {
        let changed = TEMPLATE.replace(right, wrong);
        assert_ne!(changed, TEMPLATE, "{right}");
        changed
    };
    let meters = "Action: aws-marketplace:BatchMeterUsage";
    let sandbox = a_bill_under(TEMPLATE).await;
    assert_eq!(
        (sandbox.denials(), sandbox.marketplace().billed().len()),
        (Vec::new(), 1)
    );

    let sandbox = a_bill_under(&changed(meters, "Action: aws-marketplace:MeterUsage")).await;
    assert_eq!(sandbox.marketplace().billed().len(), 0);
    let denials = sandbox.denials();
    let denied = denials.first().map(|denial| (denial.function, denial.action.as_str()));
    assert_eq!(
        denied,
        Some((Function::BillDispatch, "aws-marketplace:BatchMeterUsage"))
    );

    // A narrower resource is a permission too few as well.
    let sandbox = a_bill_under(&changed("/index/work", "/index/other")).await;
    assert!(sandbox.flush().await.is_ok());
    let denials = sandbox.denials();
    let index = denials
        .iter()
        .find(|denial| denial.resource.ends_with("table/outbill/index/work"));
    assert!(
        index.is_some_and(|denial| denial.action == "dynamodb:Query"),
        "{denials:?}"
    );

    let more = "Action: [aws-marketplace:BatchMeterUsage, aws-marketplace:MeterUsage]";
    let sandbox = a_bill_under(&changed(meters, more)).await;
    let unused = sandbox.unused_grants();
    let metering: Vec<&str> = unused
        .iter()
        .filter(|(_, grant)| grant.sid == "Meter")
        .map(|(_, grant)| grant.action.as_str())
        .collect();
    assert_eq!(metering, ["aws-marketplace:MeterUsage"]);
}

/// Nearly every test runs on a table that Outbill's own definition makes.
#[test]
fn the_table_that_tests_make_is_the_template_s() {
    let template = permissions::yaml::read(TEMPLATE).unwrap();
    let declared = &template["Resources"]["Table"]["Properties"];
    let made = outbill::effects::table::definition().unwrap();
    let keys = |keys: &[KeySchemaElement]| -> Value {
        let key = |key: &KeySchemaElement| json!({ "AttributeName": key.attribute_name(), "KeyType": key.key_type().as_str() });
        keys.iter().map(key).collect()
    };
    let attributes = made.get_attribute_definitions().iter().flatten();
    let attributes: Value = attributes
        .map(|one| json!({ "AttributeName": one.attribute_name(), "AttributeType": one.attribute_type().as_str() }))
        .collect();
    let indexes = made.get_global_secondary_indexes().iter().flatten();
    let indexes: Value = indexes
        .map(|index| {
            let projection = index.projection().and_then(|projection| projection.projection_type());
            json!({
                "IndexName": index.index_name(), "KeySchema": keys(index.key_schema()),
                "Projection": { "ProjectionType": projection.map(|projection| projection.as_str()) },
            })
        })
        .collect();
    assert_eq!(declared["AttributeDefinitions"], attributes);
    assert_eq!(
        declared["KeySchema"],
        keys(made.get_key_schema().as_deref().unwrap_or_default())
    );
    assert_eq!(declared["GlobalSecondaryIndexes"], indexes);
    let ends = &declared["TimeToLiveSpecification"]["AttributeName"];
    assert_eq!(ends, outbill::effects::table::EXPIRES_AT);
}
