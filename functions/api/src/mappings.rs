//! `externalmappings`: what things of m3ter's are called in other systems.

use std::collections::BTreeMap;

use axum::{Json, extract::Path};
use outbill::{
    effects::{access::Permission, mappings::Stored, table::StoreError},
    values::{
        configuration::Audit,
        ids::ConfigurationId,
        mapping::{AWS, AWS_ENTITIES, AWS_TABLES, ExternalMapping},
    },
};
use serde_json::{Value, json};

use crate::{
    body::{Body, Fields, version_mismatch},
    call::Call,
    configurations,
    error::ApiError,
    names,
    page::{self, PAGE_MAX},
    query::Query,
    requeue,
    show::audited,
};

const FIELDS: &[&str] = &[
    "m3terEntity",
    "m3terId",
    "externalSystem",
    "externalTable",
    "externalId",
    "integrationConfigId",
    "version",
];

pub(crate) async fn list(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let request = page::request(&query, PAGE_MAX)?;
    let system = query.text("externalSystemId");
    let configuration = query.text("integrationConfigId");
    let m3ter_ids = query.list("m3terIds");
    let wanted = |found: &ExternalMapping| {
        system.is_none_or(|system| found.external_system.eq_ignore_ascii_case(system))
            && configuration.is_none_or(|id| found.configuration.as_ref().map(ConfigurationId::as_str) == Some(id))
            && (m3ter_ids.is_empty() || m3ter_ids.contains(&found.m3ter_id))
    };
    let found = call.outbill.mappings.list(&call.organization, &request, wanted).await?;
    Ok(Json(page::response(&query, found, show)))
}

pub(crate) async fn by_m3ter(
    call: Call,
    Path((_, entity, id)): Path<(String, String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let request = page::request(&query, PAGE_MAX)?;
    let found = call
        .outbill
        .mappings
        .page_of_entity(&call.organization, &entity, &id, &request)
        .await?;
    Ok(Json(page::response(&query, found, show)))
}

pub(crate) async fn by_external(
    call: Call,
    Path((_, system, table, id)): Path<(String, String, String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let request = page::request(&query, PAGE_MAX)?;
    let external = (system.as_str(), table.as_str(), id.as_str());
    let found = call
        .outbill
        .mappings
        .page_of_external(&call.organization, external, &request)
        .await?;
    Ok(Json(page::response(&query, found, show)))
}

pub(crate) async fn retrieve(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    Ok(Json(show(&stored(&call, &id).await?)))
}

pub(crate) async fn create(call: Call, Body(body): Body) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigCreate)?;
    let mut fields = Fields::of_call(&call, body, FIELDS)?;
    fields.no_version();
    let id = call.outbill.ids.text(call.now);
    let made = read(&call, fields, id, 1, Audit::new(call.now, &call.by)).await?;
    let stored = call.outbill.mappings.create(&made).await?;
    mapping_changed(&call, &made.m3ter_entity, &made.m3ter_id).await?;
    Ok(Json(show(&kept(stored, &made)?)))
}

pub(crate) async fn update(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigUpdate)?;
    let mut fields = Fields::of_call(&call, body, FIELDS)?;
    let version = fields.version();
    let before = stored(&call, &id).await?;
    let changed = read(&call, fields, before.id, version, before.audit).await?;
    let stored = call.outbill.mappings.update(&changed, call.now, &call.by).await?;
    mapping_changed(&call, &before.m3ter_entity, &before.m3ter_id).await?;
    if (&before.m3ter_entity, &before.m3ter_id) != (&changed.m3ter_entity, &changed.m3ter_id) {
        mapping_changed(&call, &changed.m3ter_entity, &changed.m3ter_id).await?;
    }
    Ok(Json(show(&kept(stored, &changed)?)))
}

pub(crate) async fn delete(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigDelete)?;
    let deleted = call.outbill.mappings.delete(&call.organization, &id).await?;
    let deleted = deleted.ok_or_else(|| missing(&id))?;
    mapping_changed(&call, &deleted.m3ter_entity, &deleted.m3ter_id).await?;
    Ok(Json(show(&deleted)))
}

/// What follows from a mapping that was made, changed or taken away; also from the repeat of such a call, which may be refused, because the first
/// may have ended before this.
pub(crate) async fn mapping_changed(call: &Call, entity: &str, m3ter_id: &str) -> Result<(), StoreError> {
    requeue::after_mapping(&call.outbill, &call.organization, entity, m3ter_id).await
}

async fn read(
    call: &Call,
    mut fields: Fields,
    id: String,
    version: i64,
    audit: Audit,
) -> Result<ExternalMapping, ApiError> {
    let configuration = fields.parsed("integrationConfigId", |id| ConfigurationId::new(id));
    if let Some(id) = &configuration
        && !configurations::exists(call, id).await?
    {
        let problem = format!("there is no integration configuration {id}; create it first, or leave this out");
        fields.refuse("integrationConfigId", &problem);
    }
    let mapping = ExternalMapping {
        id,
        organization: call.organization.clone(),
        version,
        m3ter_entity: fields.required("m3terEntity"),
        m3ter_id: fields.required("m3terId"),
        external_system: fields.required("externalSystem"),
        external_table: fields.required("externalTable"),
        external_id: fields.required("externalId"),
        configuration,
        audit,
    };
    fields.done()?;
    mapping
        .checked()
        .map_err(|error| ApiError::bad_request(error.to_string()))
}

fn kept(stored: Stored, given: &ExternalMapping) -> Result<ExternalMapping, ApiError> {
    match stored {
        Stored::Done(mapping) => Ok(mapping),
        Stored::Exists(existing) => Err(ApiError::bad_request(format!(
            "{} {} has the {} mapping {} in the table {} already (to {}); change or delete that one",
            existing.m3ter_entity,
            existing.m3ter_id,
            existing.external_system,
            existing.id,
            existing.external_table,
            existing.external_id
        ))),
        Stored::Version(stored) => Err(version_mismatch(given.version, stored)),
        Stored::Missing => Err(missing(&given.id)),
    }
}

async fn stored(call: &Call, id: &str) -> Result<ExternalMapping, ApiError> {
    call.outbill
        .mappings
        .get(&call.organization, id)
        .await?
        .ok_or_else(|| missing(id))
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no external mapping {id}"))
}

/// What can be mapped to what.
pub(crate) async fn configuration(call: Call) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    Ok(Json(json!({
        "m3terEntities": AWS_ENTITIES,
        "externalSystems": [{"name": AWS, "tables": AWS_TABLES, "allowCustomExternalTables": false}],
    })))
}

/// AWS Marketplace offers no list of buyers, and so, as with m3ter, the list is empty.
pub(crate) async fn values(call: Call, Path(path): Path<BTreeMap<String, String>>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    names::destination(path.get("destination").map_or("", String::as_str))?;
    Ok(Json(json!([])))
}

pub(crate) fn show(mapping: &ExternalMapping) -> Value {
    let configuration = mapping.configuration.as_ref();
    audited(&mapping.id, mapping.version, &mapping.audit)
        .with("m3terEntity", mapping.m3ter_entity.as_str())
        .with("m3terId", mapping.m3ter_id.as_str())
        .with("externalSystem", mapping.external_system.as_str())
        .with("externalTable", mapping.external_table.as_str())
        .with("externalId", mapping.external_id.as_str())
        .maybe("integrationConfigId", configuration.map(ConfigurationId::as_str))
        .done()
}
