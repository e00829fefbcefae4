//! What a run waits for comes, changes or goes away: the run is sent again by itself, whenever that happens.

use end_to_end::{
    ACME, DIMENSION, GLOBEX_LICENSE, INITECH, INITECH_CUSTOMER, Scene, acme, and, bill, message, per_bill, set_up,
};
use outbill::values::ids::{ConfigurationId, OrganizationId};
use sandbox::Service;
use serde_json::{Value, json};

const TEN: &str = "2025-06-10T10";
const ELEVEN: &str = "2025-06-10T11";

async fn disable(scene: &Scene, configuration: &str) {
    let organization = OrganizationId::new(scene.organization()).unwrap();
    let configuration = ConfigurationId::new(configuration).unwrap();
    let outbill = scene.outbill().await;
    let disabled = outbill.configurations.disable(&organization, &configuration).await;
    assert!(disabled.unwrap());
}

async fn delete_configuration(scene: &mut Scene) {
    let path = format!("integrationconfigs/{}", scene.configuration);
    scene.seller.delete(&path).await.unwrap();
    scene.rest().await;
}

#[tokio::test]
async fn a_bill_that_waits_for_a_configuration_goes_to_the_next_when_that_is_deleted() {
    let mut scene = Scene::ready().await;
    disable(&scene, &scene.configuration).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.assert_run("june", "DISABLED", "disabled").await;
    scene.configure(per_bill()).await;
    delete_configuration(&mut scene).await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.assert_run("june", "COMPLETE", "").await;
    scene.end().await;
}

/// A bill that its configuration sent once and may not send now, and two more configurations that would.
async fn owned() -> (Scene, [String; 2]) {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let others = [scene.configure(per_bill()).await, scene.configure(per_bill()).await];
    disable(&scene, &scene.configuration).await;
    scene.until("2025-06-10T11:05:00Z").await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    (scene, others)
}

/// The rest of the bill was sent, by this configuration.
async fn assert_sent_by(scene: Scene, configuration: &str) {
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    let sent = scene
        .runs("june")
        .await
        .into_iter()
        .find(|run| run.status == "COMPLETE");
    assert_eq!(sent.unwrap().json["destinationId"], json!(configuration));
    scene.end().await;
}

#[tokio::test]
async fn a_bill_that_another_configuration_owns_is_taken_over_when_that_is_deleted() {
    let (mut scene, others) = owned().await;
    delete_configuration(&mut scene).await;
    assert_sent_by(scene, &others[0]).await;
}

#[tokio::test]
async fn a_bill_whose_owner_is_deleted_goes_past_a_configuration_that_may_not_send() {
    let (mut scene, others) = owned().await;
    disable(&scene, &others[0]).await;
    delete_configuration(&mut scene).await;
    assert_sent_by(scene, &others[1]).await;
}

#[tokio::test]
async fn a_bill_goes_on_where_it_is_owned_when_that_is_enabled_again() {
    let (mut scene, _) = owned().await;
    scene.enable().await;
    let owner = scene.configuration.clone();
    assert_sent_by(scene, &owner).await;
}

/// The worker itself sent its run again, and the API, which was faster, had found nothing that waits: it would have sent it in a batch.
fn assert_sent_again_by_the_worker(scene: &Scene) {
    let sent = ["SendMessage", "SendMessageBatch"].map(|action| scene.requests(Service::Sqs, action));
    assert_eq!(sent, [1, 0]);
}

#[tokio::test]
async fn a_configuration_that_is_mended_while_a_bill_is_on_its_way_sends_it() {
    let euros = and(per_bill(), json!({ "marketplaceCurrency": "EUR" }));
    let mut scene = Scene::start().await.with(euros).await;
    let june = message::updated(scene.organization(), &bill("june", ACME, 1).of("101.03"));
    let (seller, configuration) = (scene.seller.clone(), scene.configuration.clone());
    let settings = per_bill();
    let mend = set_up::reconfigure(&seller, &configuration, &settings);
    let again = scene.deliver_around([june], mend).await;
    assert_eq!(again, Vec::<String>::new());
    assert_sent_again_by_the_worker(&scene);
    scene.rest().await;
    scene.assert_billed(&[acme(TEN, 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn a_mapping_too_many_that_is_deleted_while_a_bill_is_on_its_way_sends_it() {
    let mut scene = Scene::start().await.with(per_bill()).await;
    scene.map("Account", INITECH, "Customer", INITECH_CUSTOMER).await;
    // A licence wants an AWS account beside it, and this buyer has none.
    let licence = scene.map("Account", INITECH, "License", GLOBEX_LICENSE).await;
    let june = message::updated(scene.organization(), &bill("june", INITECH, 1).of("101.03"));
    let seller = scene.seller.clone();
    let mend = async {
        seller.delete(&format!("externalmappings/{licence}")).await.unwrap();
    };
    let again = scene.deliver_around([june], mend).await;
    assert_eq!(again, Vec::<String>::new());
    assert_sent_again_by_the_worker(&scene);
    scene.rest().await;
    scene.assert_billed(&[(INITECH_CUSTOMER, DIMENSION, TEN, 10_103)]);
    scene.end().await;
}

#[tokio::test]
async fn a_credential_stays_while_something_is_still_to_be_sent_with_it() {
    let mut scene = Scene::ready().await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    scene.bill(&bill("june", ACME, 2).of("103.07")).await;
    let path = format!("integrationconfigs/{}", scene.configuration);
    let known = scene.seller.get(&path).await.unwrap();
    let credential = known["integrationCredentialsId"].as_str().unwrap();
    let credential = format!("integrationcredentials/{credential}");
    delete_configuration(&mut scene).await;
    Scene::assert_refused(scene.seller.delete(&credential).await, 400, &["1 ", "pending"]);
    scene.until("2025-06-10T11:02:00Z").await;
    scene.assert_billed(&[acme(TEN, 10_103), acme(ELEVEN, 204)]);
    scene.log_in().await;
    scene.seller.delete(&credential).await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn a_credential_that_a_configuration_has_exchanged_is_not_needed_any_more() {
    let mut scene = Scene::start().await;
    scene = scene.with(and(per_bill(), json!({ "marketplaceShadow": true }))).await;
    scene.bill(&bill("june", ACME, 1).of("101.03")).await;
    let path = format!("integrationconfigs/{}", scene.configuration);
    let mut known = scene.seller.get(&path).await.unwrap();
    let credential = format!(
        "integrationcredentials/{}",
        known["integrationCredentialsId"].as_str().unwrap()
    );
    let other = json!({ "type": "AWS_INTEGRATION", "destination": "AWS" });
    let other = scene.seller.post("integrationcredentials", &other).await.unwrap();
    known["integrationCredentialsId"] = other["id"].clone();
    let fields = [
        "entityType",
        "destination",
        "name",
        "configData",
        "version",
        "integrationCredentialsId",
    ];
    let change: serde_json::Map<String, Value> = fields
        .iter()
        .map(|field| ((*field).to_owned(), known[*field].clone()))
        .collect();
    scene.seller.put(&path, &Value::Object(change)).await.unwrap();
    scene.rest().await;
    scene.seller.delete(&credential).await.unwrap();
    // What is in shadow is owed and never billed, which no law allows.
    scene.end_unwatched().await;
}
