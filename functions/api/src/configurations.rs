//! `integrationconfigs`: what an organization wants sent where.
//!
//! What is in use is not deleted, but a deletion and a new use of the same thing can cross. Then a mapping is linked to a configuration that is
//! gone, and counts for none; or a configuration names a credential that is gone, and its runs end in `AUTH_FAILED` and say so.

use axum::{Json, extract::Path};
use outbill::{
    effects::{
        access::Permission,
        configurations::Changed,
        freeze::{Look, Standing},
        table::{PageRequest, StoreError},
    },
    values::{
        configuration::{Audit, DestinationKind, ENTITY_TYPES, IntegrationConfiguration},
        credential::IntegrationCredential,
        ids::{ConfigurationId, CredentialId},
    },
};
use serde_json::{Map, Value};

use crate::{
    body::{Body, Fields, version_mismatch},
    call::Call,
    credentials,
    error::ApiError,
    names,
    object::Object,
    page::{self, PAGE_MAX},
    query::Query,
    requeue,
    show::{audited, some_of},
};

const FIELDS: &[&str] = &[
    "entityType",
    "entityId",
    "destination",
    "destinationId",
    "configData",
    "credentials",
    "integrationCredentialsId",
    "name",
    "version",
];

/// The setting that names a credential of its own for reading CloudTrail.
const CLOUDTRAIL_CREDENTIAL: &str = "awsMarketplaceCloudtrailCredentialsId";

pub(crate) async fn list(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let request = page::request(&query, PAGE_MAX)?;
    let destination_id = query.text("destinationId");
    let wanted = |found: &IntegrationConfiguration| {
        destination_id.is_none_or(|wanted| found.destination_id.as_deref() == Some(wanted))
    };
    let found = call
        .outbill
        .configurations
        .list(&call.organization, &request, wanted)
        .await?;
    let standing = standing(&call).await?;
    Ok(Json(page::response(&query, found, |found| show_now(found, &standing))))
}

/// m3ter declares one object as the answer and paging as parameters. This is both: the newest one's fields, and the page in `data`.
pub(crate) async fn by_entity(
    call: Call,
    Path((_, entity)): Path<(String, String)>,
    query: Query,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let request = page::request(&query, PAGE_MAX)?;
    let entity = names::entity_type(&entity)?;
    let destination = names::asked(&query, "destination", names::destination)?;
    let is = |wanted: Option<&str>, found: Option<&str>| wanted.is_none_or(|wanted| found == Some(wanted));
    let wanted = |found: &IntegrationConfiguration| {
        found.entity_type == entity
            && is(query.text("entityId"), found.entity_id.as_deref())
            && is(query.text("destinationId"), found.destination_id.as_deref())
            && is(destination, Some(found.destination.name()))
    };
    let found = call
        .outbill
        .configurations
        .list(&call.organization, &request, wanted)
        .await?;
    // A page may be empty although the list goes on.
    let standing = standing(&call).await?;
    let show = |found: &IntegrationConfiguration| show_now(found, &standing);
    let newest = found.items.first().map(show);
    if newest.is_none() && found.next.is_none() {
        return Err(ApiError::not_found(format!(
            "there is no integration configuration of entity type {entity}"
        )));
    }
    let page = page::response(&query, found, show);
    Ok(Json(match newest {
        Some(newest) => merged(newest, page),
        None => page,
    }))
}

fn merged(mut left: Value, right: Value) -> Value {
    if let (Value::Object(left), Value::Object(right)) = (&mut left, right) {
        left.extend(right);
    }
    left
}

pub(crate) async fn retrieve(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let stored = stored(&call, &id).await?;
    Ok(Json(show_now(&stored, &standing(&call).await?)))
}

pub(crate) async fn create(call: Call, Body(body): Body) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigCreate)?;
    let mut fields = Fields::of_call(&call, body, FIELDS)?;
    fields.no_version();
    let id = ConfigurationId::new(call.outbill.ids.text(call.now)).map_err(unusable)?;
    let request = Request::read(&call, fields).await?;
    let made = request.configuration(&call, id, 1, Audit::new(call.now, &call.by));
    request.keep_new_credential(&call).await?;
    if let Err(error) = call.outbill.configurations.create(&made).await {
        return Err(request.not_stored(&call, error).await);
    }
    Ok(Json(show_with_credential(&made, &request)))
}

pub(crate) async fn update(
    call: Call,
    Path((_, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigUpdate)?;
    let mut fields = Fields::of_call(&call, body, FIELDS)?;
    let version = fields.version();
    let stored = stored(&call, &id).await?;
    let request = Request::read(&call, fields).await?;
    if stored.version != version {
        settings_changed(&call, &stored.id).await?;
        return Err(version_mismatch(version, stored.version));
    }
    request.keep_new_credential(&call).await?;
    let changed = request.configuration(&call, stored.id, version, stored.audit);
    let updated = match call.outbill.configurations.update(&changed, call.now, &call.by).await {
        Ok(updated) => updated,
        Err(error) => return Err(request.not_stored(&call, error).await),
    };
    match updated {
        Changed::Done(updated) => {
            settings_changed(&call, &updated.id).await?;
            Ok(Json(show_with_credential(&updated, &request)))
        }
        Changed::Version(stored) => {
            request.forget_new_credential(&call).await?;
            settings_changed(&call, &changed.id).await?;
            Err(version_mismatch(version, stored))
        }
        Changed::Missing => {
            request.forget_new_credential(&call).await?;
            Err(missing(&id))
        }
    }
}

/// What follows from settings that were changed: they may admit other accounts than before, so that a bill has another configuration.
async fn settings_changed(call: &Call, id: &ConfigurationId) -> Result<(), StoreError> {
    requeue::after_other_settings(&call.outbill, &call.organization, id).await
}

/// What follows from a configuration that was connected or enabled; also from the repeat of such a call, which may be refused, because
/// the first may have ended before this.
pub(crate) async fn configuration_changed(call: &Call, id: &ConfigurationId) -> Result<(), StoreError> {
    requeue::after_configuration(&call.outbill, &call.organization, id).await
}

pub(crate) async fn delete(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigDelete)?;
    let id = ConfigurationId::new(&*id).map_err(|_| missing(&id))?;
    let linked = call.outbill.mappings.linked_to(&call.organization, &id).await?;
    if !linked.is_empty() {
        let ids = linked.iter().map(|mapping| mapping.id.as_str());
        return Err(ApiError::bad_request(format!(
            "external mappings are linked to the configuration: {}; delete them, or link them to another one, first",
            some_of(ids)
        )));
    }
    let configurations = &call.outbill.configurations;
    let known = configurations.get(&call.organization, &id).await?;
    if known.is_some_and(|known| known.is_in_shadow()) {
        configurations
            .leave_in_shadow(&call.organization, &id, call.now)
            .await?;
    }
    let deleted = configurations.delete(&call.organization, &id).await?;
    requeue::after_other_settings(&call.outbill, &call.organization, &id).await?;
    deleted.as_ref().map(show).map(Json).ok_or_else(|| missing(id.as_str()))
}

pub(crate) async fn enable(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigUpdate)?;
    let id = ConfigurationId::new(&*id).map_err(|_| missing(&id))?;
    let enabled = call.outbill.configurations.enable(&call.organization, &id).await?;
    let enabled = enabled.ok_or_else(|| missing(id.as_str()))?;
    configuration_changed(&call, &id).await?;
    Ok(Json(show(&enabled)))
}

pub(crate) async fn stored(call: &Call, id: &str) -> Result<IntegrationConfiguration, ApiError> {
    let id = ConfigurationId::new(id).map_err(|_| missing(id))?;
    let found = call.outbill.configurations.get(&call.organization, &id).await?;
    found.ok_or_else(|| missing(id.as_str()))
}

pub(crate) fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no integration configuration {id}"))
}

fn unusable(error: impl ToString) -> ApiError {
    ApiError::bad_request(error.to_string())
}

/// Whether a configuration exists, for what links to it.
pub(crate) async fn exists(call: &Call, id: &ConfigurationId) -> Result<bool, ApiError> {
    Ok(call.outbill.configurations.get(&call.organization, id).await?.is_some())
}

/// The configurations that use a credential, to send with or to read CloudTrail with.
pub(crate) async fn using(call: &Call, id: &CredentialId) -> Result<Vec<IntegrationConfiguration>, ApiError> {
    let mut found = Vec::new();
    let mut request = PageRequest {
        size: PAGE_MAX,
        after: None,
    };
    loop {
        let uses = |configuration: &IntegrationConfiguration| {
            configuration.credential.as_ref() == Some(id)
                || reads_cloudtrail_with(&configuration.config_data).as_ref() == Some(id)
        };
        let page = call
            .outbill
            .configurations
            .list(&call.organization, &request, uses)
            .await?;
        found.extend(page.items);
        match page.next {
            Some(after) => request.after = Some(after),
            None => return Ok(found),
        }
    }
}

/// The credential that a setting names for CloudTrail. It counts while CloudTrail is not checked, too: the checks can be switched on.
fn reads_cloudtrail_with(settings: &Map<String, Value>) -> Option<CredentialId> {
    CredentialId::new(settings.get(CLOUDTRAIL_CREDENTIAL)?.as_str()?).ok()
}

/// A request that was read and found good.
struct Request {
    name: Option<String>,
    entity_type: String,
    entity_id: Option<String>,
    destination: DestinationKind,
    destination_id: Option<String>,
    config_data: Map<String, Value>,
    credential: Option<CredentialId>,
    new_credential: Option<IntegrationCredential>,
}

impl Request {
    async fn read(call: &Call, mut fields: Fields) -> Result<Request, ApiError> {
        let destination = fields.required("destination");
        let destination = match destination.as_str() {
            "" => None,
            given => given
                .parse::<DestinationKind>()
                .map_err(|error| fields.refuse("destination", &error.to_string()))
                .ok(),
        };
        let destination = destination.unwrap_or(DestinationKind::Aws);
        let entity_type = fields.required("entityType");
        let known = ENTITY_TYPES
            .iter()
            .find(|known| known.eq_ignore_ascii_case(&entity_type));
        if known.is_none() && !entity_type.is_empty() {
            fields.refuse(
                "entityType",
                &format!(
                    "{entity_type:?} is not supported; supported: {}",
                    ENTITY_TYPES.join(", ")
                ),
            );
        }
        let config_data = fields.object("configData").unwrap_or_default();
        let credential = fields.parsed("integrationCredentialsId", |id| CredentialId::new(id));
        let new_credential = match fields.object("credentials") {
            None => None,
            Some(inline) => credentials::inline(call, &mut fields, inline)?,
        };
        if credential.is_some() && new_credential.is_some() {
            fields.refuse("credentials", "give either credentials or integrationCredentialsId");
        }
        if let Some(id) = &credential
            && call.outbill.credentials.get(&call.organization, id).await?.is_none()
        {
            fields.refuse(
                "integrationCredentialsId",
                &format!("there is no integration credential {id}; create it first"),
            );
        }
        if let Some(id) = reads_cloudtrail_with(&config_data)
            && call.outbill.credentials.get(&call.organization, &id).await?.is_none()
        {
            fields.refuse(
                &format!("configData.{CLOUDTRAIL_CREDENTIAL}"),
                &format!("there is no integration credential {id}; create it first"),
            );
        }
        let request = Request {
            name: fields.short("name"),
            entity_type: known.map_or_else(String::new, |known| (*known).to_owned()),
            entity_id: fields.short("entityId"),
            destination,
            destination_id: fields.short("destinationId"),
            credential: new_credential.as_ref().map(|made| made.id.clone()).or(credential),
            config_data,
            new_credential,
        };
        match destination {
            DestinationKind::Aws => {
                let settings = outbill::values::configuration::MarketplaceConfiguration::parse(&request.config_data);
                if let Err(errors) = settings {
                    errors
                        .0
                        .iter()
                        .for_each(|error| fields.note(format!("configData.{error}")));
                }
            }
        }
        fields.done()?;
        Ok(request)
    }

    fn configuration(&self, call: &Call, id: ConfigurationId, version: i64, audit: Audit) -> IntegrationConfiguration {
        IntegrationConfiguration {
            id,
            organization: call.organization.clone(),
            version,
            name: self.name.clone(),
            entity_type: self.entity_type.clone(),
            entity_id: self.entity_id.clone(),
            destination: self.destination,
            destination_id: self.destination_id.clone(),
            config_data: self.config_data.clone(),
            credential: self.credential.clone(),
            enabled: true,
            audit,
            failures: Default::default(),
        }
    }

    async fn keep_new_credential(&self, call: &Call) -> Result<(), ApiError> {
        match &self.new_credential {
            Some(credential) => Ok(call.outbill.credentials.create(credential).await?),
            None => Ok(()),
        }
    }

    /// The answer where the configuration was not stored. One that is too large is nowhere. Of a table that did not answer nobody knows: the
    /// configuration may be there, and it needs its credential.
    async fn not_stored(&self, call: &Call, error: StoreError) -> ApiError {
        match error {
            StoreError::TooLarge { .. } => match self.forget_new_credential(call).await {
                Ok(()) => ApiError::bad_request(format!("configData: {error}; leave something out")),
                Err(error) => error,
            },
            StoreError::Unavailable { .. } | StoreError::Contended { .. } | StoreError::Corrupt { .. } => {
                ApiError::from(error)
            }
        }
    }

    /// The change did not happen: nobody will ever use the credential that was made for it.
    async fn forget_new_credential(&self, call: &Call) -> Result<(), ApiError> {
        if let Some(made) = &self.new_credential {
            call.outbill.credentials.delete(&call.organization, &made.id).await?;
        }
        Ok(())
    }
}

/// Whether the table is a restored copy.
async fn standing(call: &Call) -> Result<Standing, ApiError> {
    Ok(call.outbill.freeze.standing(Look::Only, call.now).await?)
}

/// With what only reading can tell: since when nothing is sent because the table is a copy.
fn show_now(configuration: &IntegrationConfiguration, standing: &Standing) -> Value {
    let since = standing.frozen_since(&configuration.organization, &configuration.id);
    described(configuration)
        .maybe("frozenSince", since.map(|since| since.to_string()))
        .done()
}

/// A credential that was made with its configuration shows its external id here, this once.
fn show_with_credential(configuration: &IntegrationConfiguration, request: &Request) -> Value {
    let made = request.new_credential.as_ref();
    described(configuration)
        .maybe("credentials", made.map(credentials::show_new))
        .done()
}

fn show(configuration: &IntegrationConfiguration) -> Value {
    described(configuration).done()
}

fn described(configuration: &IntegrationConfiguration) -> Object {
    let credential = configuration.credential.as_ref();
    audited(configuration.id.as_str(), configuration.version, &configuration.audit)
        .maybe("name", configuration.name.as_deref())
        .with("entityType", configuration.entity_type.as_str())
        .maybe("entityId", configuration.entity_id.as_deref())
        .with("destination", configuration.destination.name())
        .maybe("destinationId", configuration.destination_id.as_deref())
        .with("configData", configuration.config_data.clone())
        .maybe("integrationCredentialsId", credential.map(CredentialId::as_str))
        .with("authorized", credential.is_some())
        .with("enabled", configuration.enabled)
        .with("triggerType", "EVENT")
}
