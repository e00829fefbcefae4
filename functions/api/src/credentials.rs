//! `integrationcredentials`: what integrations send with.
//!
//! Only `AWS_INTEGRATION`: with `accountId` and `roleName` a role is assumed, without either the functions' own role signs. The external id
//! that the role's trust policy asks for is made here and shown once, when the role is given.

use axum::{Json, extract::Path};
use outbill::{
    effects::{
        access::Permission, configurations::Changed, destinations::aws_marketplace::check::Outcome, ledger::Open,
        table::PageRequest,
    },
    values::{
        configuration::{Audit, DestinationKind},
        credential::{AWS_INTEGRATION, AwsRole, IntegrationCredential},
        entry::{EntryState, Origin},
        ids::CredentialId,
    },
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    body::{Body, Fields, version_mismatch},
    call::Call,
    configurations,
    error::ApiError,
    object::Object,
    page::{self, PAGE_MAX},
    query::Query,
    show::{audited, some_of},
};

const FIELDS: &[&str] = &[
    "type",
    "name",
    "destination",
    "empty",
    "accountId",
    "roleName",
    "version",
];

pub(crate) async fn list(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let request = page::request(&query, PAGE_MAX)?;
    let found = call.outbill.credentials.list(&call.organization, &request).await?;
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
    let made = read(&mut fields, new_id(&call)?, &call, 1, Audit::new(call.now, &call.by));
    fields.done()?;
    call.outbill.credentials.create(&made).await?;
    Ok(Json(show_new(&made)))
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
    let changed = read(&mut fields, stored.id, &call, version, stored.audit);
    fields.done()?;
    if stored.version != version {
        credential_changed(&call, &changed.id).await?;
        return Err(version_mismatch(version, stored.version));
    }
    let account = |role: &Option<AwsRole>| role.as_ref().map(|role| role.account_id.clone());
    if account(&stored.aws) != account(&changed.aws) {
        let held = open_with(&call, &changed.id, |open| matches!(open, Open::Entry(_))).await?;
        if held > 0 {
            return Err(ApiError::bad_request(format!(
                "accountId: {held} entries that were metered with the credential are not settled, and only CloudTrail of their account shows what AWS \
                 has of them; nothing was changed: make a new credential for the other account, and connect the configurations to it"
            )));
        }
    }
    let updated = match call.outbill.credentials.update(&changed, call.now, &call.by).await? {
        Changed::Done(updated) => updated,
        Changed::Version(stored) => {
            credential_changed(&call, &changed.id).await?;
            return Err(version_mismatch(version, stored));
        }
        Changed::Missing => return Err(missing(&id)),
    };
    credential_changed(&call, &updated.id).await?;
    let has_new_role = stored.aws.is_none() && updated.aws.is_some();
    Ok(Json(if has_new_role {
        show_new(&updated)
    } else {
        show(&updated)
    }))
}

/// What follows from a credential that was changed; also from the repeat of such a call, which is refused, because the first may have ended
/// before this.
async fn credential_changed(call: &Call, id: &CredentialId) -> Result<(), ApiError> {
    for configuration in configurations::using(call, id).await? {
        configurations::configuration_changed(call, &configuration.id).await?;
    }
    Ok(())
}

pub(crate) async fn delete(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigDelete)?;
    let stored = stored(&call, &id).await?;
    let users = configurations::using(&call, &stored.id).await?;
    if !users.is_empty() {
        let names = users.iter().map(|user| match &user.name {
            Some(name) => format!("{} ({name})", user.id),
            None => user.id.to_string(),
        });
        return Err(ApiError::bad_request(format!(
            "the credential is used by the integration configurations {}; connect them to another one first",
            some_of(names)
        )));
    }
    // Whatever a configuration still owes is sent with the credential that it has by then.
    let configurations = call.outbill.configurations.of_organization(&call.organization).await?;
    let left_in_shadow = call.outbill.configurations.left_in_shadow(&call.organization).await?;
    let is_gone = |origin: &Origin| configurations.iter().all(|known| known.id != origin.configuration);
    let is_sent = |origin: &Origin| is_gone(origin) && !left_in_shadow.contains(&origin.configuration);
    let unsent = open_with(&call, &stored.id, |open| match open {
        Open::Entry(entry) => entry.state == EntryState::Pending && is_gone(&entry.origin),
        Open::Key(key) => key.is_claimable() && is_sent(&key.origin),
    });
    let unsent = unsent.await?;
    if unsent > 0 {
        return Err(ApiError::bad_request(format!(
            "{unsent} entries and usage keys of a deleted configuration are still to be sent with the credential, as `pending` lists them; nothing \
             was deleted: try again when they are sent, which takes an hour, and a day at most"
        )));
    }
    let deleted = call.outbill.credentials.delete(&call.organization, &stored.id).await?;
    deleted.as_ref().map(show).map(Json).ok_or_else(|| missing(&id))
}

/// How much of what is not settled, and `counts`, was claimed with a credential.
async fn open_with(call: &Call, id: &CredentialId, counts: impl Fn(&Open) -> bool) -> Result<usize, ApiError> {
    let is_its_own = |open: &&Open| {
        let origin = match open {
            Open::Entry(entry) => &entry.origin,
            Open::Key(key) => &key.origin,
        };
        origin.connection.credential == *id && counts(open)
    };
    let mut page = PageRequest {
        size: PAGE_MAX,
        after: None,
    };
    let mut found: usize = 0;
    loop {
        let open = call.outbill.ledger.open(&call.organization, &page).await?;
        found = found.saturating_add(open.items.iter().filter(is_its_own).count());
        match open.next {
            Some(after) => page.after = Some(after),
            None => return Ok(found),
        }
    }
}

/// Tries a credential and says in words what is missing; always 200 where it could be tried.
pub(crate) async fn check(call: Call, Path((_, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigUpdate)?;
    let stored = stored(&call, &id).await?;
    let steps = call.outbill.marketplace.check(&stored).await;
    let good = steps
        .iter()
        .all(|step| matches!(step.outcome, Outcome::Good | Outcome::NotTried));
    Ok(Json(json!({"id": stored.id, "good": good, "steps": steps})))
}

/// A credential given within a configuration. None if something about it is wrong, which `outer` then has.
pub(crate) fn inline(
    call: &Call,
    outer: &mut Fields,
    inline: Map<String, Value>,
) -> Result<Option<IntegrationCredential>, ApiError> {
    let mut fields = Fields::of("credentials", Value::Object(inline), FIELDS, &[])?;
    fields.no_version();
    let made = read(&mut fields, new_id(call)?, call, 1, Audit::new(call.now, &call.by));
    let problems = fields.problems();
    let is_good = problems.is_empty();
    problems
        .into_iter()
        .for_each(|problem| outer.note(format!("credentials.{problem}")));
    Ok(is_good.then_some(made))
}

fn new_id(call: &Call) -> Result<CredentialId, ApiError> {
    CredentialId::new(call.outbill.ids.text(call.now)).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn read(fields: &mut Fields, id: CredentialId, call: &Call, version: i64, audit: Audit) -> IntegrationCredential {
    let credential_type = fields.required("type");
    if !credential_type.is_empty() && credential_type != AWS_INTEGRATION {
        let problem = format!("{credential_type:?} is not supported yet; supported: {AWS_INTEGRATION}");
        fields.refuse("type", &problem);
    }
    let destination = fields.parsed("destination", str::parse::<DestinationKind>);
    let (account_id, role_name) = (fields.text("accountId"), fields.text("roleName"));
    let is_empty = fields.flag("empty") == Some(true);
    let aws = match (account_id, role_name) {
        (None, None) => None,
        (Some(_), _) | (_, Some(_)) if is_empty => {
            fields.refuse("empty", "a credential that is empty has neither accountId nor roleName");
            None
        }
        (Some(account_id), Some(role_name)) => AwsRole::new(&account_id, &role_name, &Uuid::new_v4().to_string())
            .map_err(|error| fields.note(error.to_string()))
            .ok(),
        (Some(_), None) => {
            fields.refuse("roleName", "give it together with accountId, or give neither");
            None
        }
        (None, Some(_)) => {
            fields.refuse("accountId", "give it together with roleName, or give neither");
            None
        }
    };
    IntegrationCredential {
        id,
        organization: call.organization.clone(),
        version,
        credential_type,
        destination: destination.unwrap_or(DestinationKind::Aws),
        name: fields.short("name"),
        aws,
        audit,
    }
}

async fn stored(call: &Call, id: &str) -> Result<IntegrationCredential, ApiError> {
    let id = CredentialId::new(id).map_err(|_| missing(id))?;
    let found = call.outbill.credentials.get(&call.organization, &id).await?;
    found.ok_or_else(|| missing(id.as_str()))
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no integration credential {id}"))
}

fn show(credential: &IntegrationCredential) -> Value {
    described(credential).done()
}

/// With the external id, for the seller to put into the role's trust policy.
pub(crate) fn show_new(credential: &IntegrationCredential) -> Value {
    let role = credential.aws.as_ref();
    described(credential)
        .maybe("externalId", role.map(|role| role.external_id.as_str()))
        .done()
}

fn described(credential: &IntegrationCredential) -> Object {
    let role = credential.aws.as_ref();
    audited(credential.id.as_str(), credential.version, &credential.audit)
        .with("type", credential.credential_type.as_str())
        .with("destination", credential.destination.name())
        .maybe("name", credential.name.as_deref())
        .maybe("accountId", role.map(|role| role.account_id.as_str()))
        .maybe("roleName", role.map(|role| role.role_name.as_str()))
}
