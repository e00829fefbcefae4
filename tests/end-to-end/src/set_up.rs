//! A seller sets Outbill up through the API.

use sandbox::seller::Seller;
use serde_json::{Value, json};

/// The product of the listing.
pub const PRODUCT: &str = "3mgmp9q6okn47u0rgmzzjdi9k";
/// The dimension that whole bills go to.
pub const DIMENSION: &str = "m3BillTotal";

/// A m3ter account whose buyer is named by AWS account id.
pub const ACME: &str = "acme";
/// Acme at AWS.
pub const ACME_AWS_ACCOUNT: &str = "111122223333";
/// A m3ter account whose buyer holds a licence.
pub const GLOBEX: &str = "globex";
/// Globex at AWS.
pub const GLOBEX_AWS_ACCOUNT: &str = "444455556666";
/// Globex's licence.
pub const GLOBEX_LICENSE: &str = "arn:aws:license-manager::294406891311:license:l-e52ca6f38bf84d0fafb8802ca15ac11a";
/// A m3ter account whose buyer is named by the legacy customer identifier.
pub const INITECH: &str = "initech";
/// Initech at AWS.
pub const INITECH_CUSTOMER: &str = "ifAPi5AcF3";

/// `<productCode>-<key>` of the listing.
pub fn dimension(key: &str) -> String {
    format!("{PRODUCT}-{key}")
}

/// Settings that send whole bills to [`DIMENSION`].
pub fn per_bill() -> Value {
    json!({ "splitUsageLineItems": "ITEM_PER_BILL", "marketplaceBillDimension": dimension(DIMENSION) })
}

/// Settings that send each product to its own dimension.
pub fn per_product() -> Value {
    json!({ "splitUsageLineItems": "ITEM_PER_PRODUCT" })
}

/// Settings that send each aggregation to its own dimension.
pub fn per_aggregation() -> Value {
    json!({ "splitUsageLineItems": "ITEM_PER_AGGREGATION" })
}

/// Settings of [`per_bill`] with CloudTrail read, and some more.
pub fn checks(more: Value) -> Value {
    and(and(per_bill(), json!({ "awsMarketplaceCloudtrailChecks": true })), more)
}

/// Acme's usage of [`DIMENSION`] in an hour, as AWS bills it.
pub fn acme(hour: &str, quantity: i64) -> (&'static str, &'static str, &str, i64) {
    (ACME_AWS_ACCOUNT, DIMENSION, hour, quantity)
}

/// Settings with some more.
pub fn and(settings: Value, more: Value) -> Value {
    let mut fields = settings.as_object().cloned().unwrap_or_default();
    fields.extend(more.as_object().cloned().unwrap_or_default());
    Value::Object(fields)
}

/// Creates a credential without a role, and a configuration with it. Gives the configuration's id.
pub async fn configure(seller: &Seller, name: &str, settings: &Value) -> String {
    let credential = json!({ "type": "AWS_INTEGRATION", "destination": "AWS", "name": "the functions' own role" });
    let credential = seller
        .post("integrationcredentials", &credential)
        .await
        .expect("a credential");
    let configuration = json!({
        "entityType": "Bill", "destination": "AWS", "name": name,
        "integrationCredentialsId": credential["id"], "configData": settings,
    });
    let made = seller.post("integrationconfigs", &configuration).await;
    id(&made.expect("a configuration"))
}

/// Replaces a configuration's settings.
pub async fn reconfigure(seller: &Seller, configuration: &str, settings: &Value) {
    let path = format!("integrationconfigs/{configuration}");
    let known = seller.get(&path).await.expect("the configuration");
    let mut changed = json!({ "configData": settings });
    for field in [
        "entityType",
        "destination",
        "name",
        "integrationCredentialsId",
        "version",
    ] {
        changed[field] = known[field].clone();
    }
    seller.put(&path, &changed).await.expect("the changed configuration");
}

/// Creates an external mapping to AWS, linked to a configuration if one is given. Gives its id.
pub async fn map(
    seller: &Seller,
    entity: &str,
    m3ter_id: &str,
    table: &str,
    external_id: &str,
    configuration: Option<&str>,
) -> String {
    let mut mapping = json!({
        "m3terEntity": entity, "m3terId": m3ter_id, "externalSystem": "AWS", "externalTable": table, "externalId": external_id,
    });
    if let Some(configuration) = configuration {
        mapping["integrationConfigId"] = json!(configuration);
    }
    id(&seller.post("externalmappings", &mapping).await.expect("a mapping"))
}

/// Gives a mapping another external id.
pub async fn change_mapping(seller: &Seller, mapping: &str, external_id: &str) {
    let path = format!("externalmappings/{mapping}");
    let known = seller.get(&path).await.expect("the mapping");
    let mut changed = json!({ "externalId": external_id });
    for field in ["m3terEntity", "m3terId", "externalSystem", "externalTable", "version"] {
        changed[field] = known[field].clone();
    }
    seller.put(&path, &changed).await.expect("the changed mapping");
}

fn id(made: &Value) -> String {
    made["id"].as_str().expect("an id").to_owned()
}
