//! What happens in the demo, in order.

use marketplace::reckoning::Rules;
use serde_json::{Value, json};

use super::{DemoError, Stage};

/// How many steps there are.
pub(super) const STEPS: usize = 17;

const PRODUCT: &str = "3mgmp9q6okn47u0rgmzzjdi9k";
const API_CALLS: &str = "m3BillAgg1";
const STORAGE: &str = "m3BillAgg2";
const API_CALLS_ID: &str = "2b7c0a10-0000-4000-8000-000000000001";
const STORAGE_ID: &str = "2b7c0a10-0000-4000-8000-000000000002";
const ACME: &str = "07fc9a71-74ab-492a-b6e1-f48fd8500916";
const GLOBEX: &str = "1cf2a754-476c-498c-b05a-7d41abfc404d";
const ACME_BILL: &str = "92d3154f-4c82-40c2-9af0-5d8c14326977";
const GLOBEX_BILL: &str = "480d317e-2030-416b-b64b-c07577c418b4";
const ACME_AWS_ACCOUNT: &str = "111122223333";
const GLOBEX_AWS_ACCOUNT: &str = "444455556666";
const GLOBEX_LICENSE: &str = "arn:aws:license-manager::294406891311:license:l-e52ca6f38bf84d0fafb8802ca15ac11a";
/// So late that the hourly looks find nothing, and the run at eleven does.
const EVENTS_LATE_SECONDS: u32 = 60_600;
const NAME: &str = "AWS Marketplace bills";

/// The same rules, told to the reckoning that knows nothing of Outbill.
pub(super) fn rules() -> Rules {
    super::rules(json!({
        "split": "ITEM_PER_AGGREGATION",
        "excludedLineItemTypes": ["CREDIT_MEMO"],
        "dimensions": {
            API_CALLS_ID: format!("{PRODUCT}-{API_CALLS}"),
            STORAGE_ID: format!("{PRODUCT}-{STORAGE}"),
        },
        "buyers": { ACME: ACME_AWS_ACCOUNT, GLOBEX: GLOBEX_AWS_ACCOUNT },
    }))
}

/// A version of Acme's bill: charges for API calls and storage, and a credit memo, which is excluded.
fn acme(version: i64, api_calls: &str, storage: &str) -> Value {
    let lines = [
        line("USAGE", API_CALLS_ID, api_calls),
        line("USAGE", STORAGE_ID, storage),
        line("CREDIT_MEMO", API_CALLS_ID, "-10"),
    ];
    bill(ACME_BILL, ACME, version, &lines)
}

/// A version of Globex's bill: charges less a prepayment that is drawn down.
fn globex(version: i64, api_calls: &str, prepaid: &str) -> Value {
    bill(
        GLOBEX_BILL,
        GLOBEX,
        version,
        &[
            line("USAGE", API_CALLS_ID, api_calls),
            line("COMMITMENT_CONSUMED", API_CALLS_ID, prepaid),
        ],
    )
}

fn bill(id: &str, account: &str, version: i64, lines: &[Value]) -> Value {
    json!({
        "id": id, "accountId": account, "version": version, "status": "PENDING", "currency": "USD",
        "startDate": "2025-06-01", "endDate": "2025-07-01",
        "startDateTimeUTC": "2025-06-01T00:00:00Z", "endDateTimeUTC": "2025-07-01T00:00:00Z",
        "billingFrequency": "MONTHLY", "lineItems": lines,
    })
}

fn line(kind: &str, aggregation: &str, amount: &str) -> Value {
    // The amount goes in as the text of a JSON number, so that no float ever holds it.
    let amount: Value = serde_json::from_str(amount).unwrap_or(Value::Null);
    json!({
        "lineItemType": kind, "description": kind, "aggregationId": aggregation, "quantity": 1, "units": 1, "unit": "unit",
        "subtotal": amount, "convertedSubtotal": amount, "currency": "USD", "conversionRate": 1, "averageUnitPrice": amount,
    })
}

pub(super) async fn play(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    set_up(stage).await?;
    first_bill(stage).await?;
    growth(stage).await?;
    outage(stage).await?;
    decreases(stage).await?;
    license(stage).await?;
    end_of_day(stage).await?;
    troubled_evening(stage).await?;
    reconciliation(stage).await
}

async fn set_up(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.say(
        "The seller sets Outbill up: a credential, and a configuration that sends each aggregation to a dimension.",
    );
    let known = stage.seller.get("integrationconfigs").await?;
    let found = known["data"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|configuration| configuration["name"] == NAME);
    let configuration = match found {
        Some(configuration) => configuration.clone(),
        None => {
            let credential =
                json!({ "type": "AWS_INTEGRATION", "destination": "AWS", "name": "the functions' own role" });
            let credential = stage.seller.post("integrationcredentials", &credential).await?;
            let configuration = json!({
                "entityType": "Bill", "destination": "AWS", "name": NAME, "integrationCredentialsId": credential["id"],
                "configData": { "splitUsageLineItems": "ITEM_PER_AGGREGATION", "excludedLineItemTypes": ["CREDIT_MEMO"], "awsMarketplaceCloudtrailChecks": true },
            });
            stage.seller.post("integrationconfigs", &configuration).await?
        }
    };
    stage.configuration = configuration["id"].as_str().unwrap_or_default().to_owned();
    stage.result(&format!("configuration {}", stage.configuration));
    stage
        .say("External mappings: who Acme is at AWS, and the dimension of API calls. The one of storage is forgotten.");
    map(stage, "Account", ACME, "Customer", ACME_AWS_ACCOUNT).await?;
    map(
        stage,
        "Aggregation",
        API_CALLS_ID,
        "Dimension",
        &format!("{PRODUCT}-{API_CALLS}"),
    )
    .await
}

/// Creates a mapping unless it is there.
async fn map(stage: &Stage<'_>, entity: &str, id: &str, table: &str, external_id: &str) -> Result<(), DemoError> {
    let known = stage
        .seller
        .get(&format!("externalmappings/external/{entity}/{id}"))
        .await?;
    if known["data"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|mapping| mapping["externalTable"] == table)
    {
        return Ok(());
    }
    let mapping = json!({ "m3terEntity": entity, "m3terId": id, "externalSystem": "AWS", "externalTable": table, "externalId": external_id });
    stage.seller.post("externalmappings", &mapping).await?;
    stage.sandbox.drain().await;
    Ok(())
}

async fn first_bill(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.until("2025-06-10T10:05:00Z").await?;
    stage.say("m3ter calculates Acme's bill: 11,900.00 for API calls, 1,800.00 for storage.");
    stage.bill(&acme(1, "11900", "1800")).await?;
    stage.result(&format!("run {}", stage.run(ACME_BILL).await?));
    stage.say("The seller adds the mapping. What waited for it is sent by itself, in hour 10.");
    map(
        stage,
        "Aggregation",
        STORAGE_ID,
        "Dimension",
        &format!("{PRODUCT}-{STORAGE}"),
    )
    .await?;
    stage.result(&format!(
        "run {}; AWS bills {} units",
        stage.run(ACME_BILL).await?,
        stage.billed()
    ));
    stage.say("The queue delivers the same event twice more. Nothing is sent again.");
    stage.event("billing.bill.updated", &acme(1, "11900", "1800")).await?;
    stage.event("billing.bill.updated", &acme(1, "11900", "1800")).await?;
    stage.result(&format!("AWS bills {} units", stage.billed()));
    Ok(())
}

async fn growth(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.until("2025-06-10T10:20:00Z").await?;
    stage.say("The bill is recalculated: 19,800.00 and 3,800.00. AWS takes one quantity an hour, so the growth waits for 11:00.");
    stage.bill(&acme(2, "19800", "3800")).await?;
    stage.result(&format!(
        "run {}; AWS bills {} units",
        stage.run(ACME_BILL).await?,
        stage.billed()
    ));
    stage.until("2025-06-10T11:02:00Z").await?;
    stage.result(&format!(
        "11:01, the tick: AWS bills {} units; the run is {}",
        stage.billed(),
        stage.run(ACME_BILL).await?
    ));
    Ok(())
}

async fn outage(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.until("2025-06-10T12:10:00Z").await?;
    stage.say(
        "An outage: AWS takes the next records, but its answer is lost; the call after that fails before it arrives.",
    );
    stage.faults(json!([
        { "service": "metering", "kind": "lost-answer", "times": 1 },
        { "service": "metering", "kind": "error", "times": 1 },
    ]))?;
    stage.bill(&acme(3, "25200", "5800")).await?;
    stage.faults(json!([]))?;
    stage.result(&format!(
        "the same records went again: run {}; AWS bills {} units",
        stage.run(ACME_BILL).await?,
        stage.billed()
    ));
    Ok(())
}

async fn decreases(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.until("2025-06-10T13:10:00Z").await?;
    stage.say(
        "The bill falls: API calls from 25,200.00 to 24,000.00. AWS takes nothing back, so 120,000 units are carried.",
    );
    stage.bill(&acme(4, "24000", "5800")).await?;
    stage.result(&format!("AWS bills {} units", stage.billed()));
    stage.until("2025-06-10T14:10:00Z").await?;
    stage.say("It rises to 26,000.00. The carry absorbs 1,200.00 of that; only 80,000 units are sent.");
    stage.bill(&acme(5, "26000", "5800")).await?;
    stage.result(&format!("AWS bills {} units", stage.billed()));
    Ok(())
}

async fn license(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.until("2025-06-10T15:10:00Z").await?;
    stage.say("A second buyer, Globex, bought under a licence, and drew down a prepayment: 703.33 less 200.00.");
    map(stage, "Account", GLOBEX, "License", GLOBEX_LICENSE).await?;
    map(stage, "Account", GLOBEX, "Customer", GLOBEX_AWS_ACCOUNT).await?;
    stage.bill(&globex(1, "703.33", "-200")).await?;
    stage.result(&format!(
        "run {}; AWS bills {} units",
        stage.run(GLOBEX_BILL).await?,
        stage.billed()
    ));
    Ok(())
}

async fn end_of_day(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.until("2025-06-10T16:10:00Z").await?;
    stage.say("Storage falls to 5,000.00 for good. What AWS has is 800.00 more; the carry stays visible.");
    stage.bill(&acme(6, "26000", "5000")).await?;
    stage.until("2025-06-10T17:02:00Z").await?;
    stage.result(&format!("17:01, the last tick: AWS bills {} units", stage.billed()));
    Ok(())
}

/// What nobody can repair by sending again: an answer that is lost for good, a buyer who is suspended meanwhile, and another program.
async fn troubled_evening(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.until("2025-06-10T18:05:00Z").await?;
    stage.trail(json!({ "delaySeconds": EVENTS_LATE_SECONDS }))?;
    stage.switches(json!({ "identicalRepeat": "DuplicateRecord" }))?;
    stage.say("A bad evening. API calls rise to 27,000.00; AWS's answer is lost, and it calls the repeat a duplicate.");
    stage.faults(json!([{ "service": "metering", "kind": "lost-answer", "times": 1 }]))?;
    stage.bill(&acme(7, "27000", "5000")).await?;
    stage.result(&format!("run {}", stage.run(ACME_BILL).await?));
    stage.say("Globex rises by 200.00. The answer is lost, and before the repeat the buyer is suspended: nobody knows what AWS holds.");
    stage.faults(json!([
        { "service": "metering", "kind": "lost-answer", "times": 1 },
        { "service": "metering", "kind": "lost-request", "times": 100 },
    ]))?;
    stage.bill(&globex(2, "903.33", "-200")).await?;
    stage.faults(json!([]))?;
    stage.buyer(GLOBEX_AWS_ACCOUNT, false)?;
    stage.until("2025-06-10T19:02:00Z").await?;
    stage.buyer(GLOBEX_AWS_ACCOUNT, true)?;
    stage.result(&format!("run {}", stage.run(GLOBEX_BILL).await?));
    stage.say("And another program of the seller's reports 30,000 units of Acme's storage.");
    stage.foreign(json!({
        "region": "us-east-1", "productCode": PRODUCT, "customer": ACME_AWS_ACCOUNT, "dimension": STORAGE,
        "hour": "2025-06-10T18:00:00Z", "at": "2025-06-10T18:08:00Z", "quantity": 30_000,
    }))?;
    stage.result(&format!("AWS bills {} units", stage.billed()));
    Ok(())
}

async fn reconciliation(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    stage.until("2025-06-11T10:58:00Z").await?;
    stage.say("The next morning: CloudTrail has caught up. The ledger still knows nothing of it.");
    for line in stage.unsettled().await? {
        stage.result(&line);
    }
    stage.until("2025-06-11T11:00:00Z").await?;
    stage.say("11:00: the reconcile function compares the day with what AWS itself recorded.");
    stage.reconciled().await?;
    stage.report().await?;
    for line in stage.unsettled().await? {
        stage.result(&line);
    }
    stage.until("2025-06-11T11:10:00Z").await?;
    stage.say("The next bill: 500.00 more for API calls, and storage at 6,500.00. What the other program reported is not billed again.");
    stage.bill(&acme(8, "27500", "6500")).await?;
    stage.result(&format!(
        "run {}; AWS bills {} units",
        stage.run(ACME_BILL).await?,
        stage.billed()
    ));
    Ok(())
}
