//! `POST externalmappings/import`: the AWS mappings that m3ter has, copied.
//!
//! Each call copies a page and says where to go on. It can be repeated: what is here already stays as it is, and where it differs from m3ter's
//! it is listed, never overwritten.

use axum::Json;
use outbill::{
    effects::{access::Permission, m3ter::M3terError, m3ter::MAPPINGS_PER_PAGE_MAX, mappings::Stored},
    values::{
        configuration::Audit,
        ids::ConfigurationId,
        mapping::{AWS, ExternalMapping},
    },
};
use serde_json::{Map, Value};

use crate::{
    body::{Fields, MaybeBody},
    call::Call,
    configurations,
    error::ApiError,
    mappings::{mapping_changed, show},
    object::Object,
    page,
    query::Query,
};

/// How much was done.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    read: usize,
    created: usize,
    unchanged: usize,
    conflicts: usize,
}

/// What became of one of m3ter's mappings.
enum Copied {
    Created,
    Unchanged,
    /// Why it was not copied, and the mapping that stands in its way.
    Conflict(String, Option<Box<ExternalMapping>>),
}

pub(crate) async fn import(call: Call, query: Query, MaybeBody(body): MaybeBody) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigCreate)?;
    if let Some(body) = body {
        Fields::of_call(&call, body, &[])?.done()?;
    }
    let request = page::request(&query, MAPPINGS_PER_PAGE_MAX)?;
    let (before, next_token) = match request.after.as_deref().map(Progress::read_token) {
        None => (Progress::default(), None),
        Some(read) => read
            .map(|(progress, token)| (progress, Some(token)))
            .ok_or_else(page::bad_token)?,
    };
    let m3ter = &call.outbill.m3ter;
    let listed = m3ter
        .mappings(&call.organization, AWS, request.size, next_token, call.now)
        .await;
    let listed = listed.map_err(|error| match error {
        M3terError::Refused { .. } | M3terError::NoCredentials { .. } => ApiError::bad_request(error.to_string()),
        M3terError::Unavailable { .. } | M3terError::Store(_) => ApiError::not_answered(&error),
    })?;
    let mut page = Progress::default();
    let mut conflicts = Vec::new();
    for given in &listed.items {
        page.read += 1;
        match copy(&call, given).await? {
            Copied::Created => page.created += 1,
            Copied::Unchanged => page.unchanged += 1,
            Copied::Conflict(reason, existing) => {
                page.conflicts += 1;
                let conflict = Object::default()
                    .with("m3ter", given.clone())
                    .maybe("existing", existing.as_deref().map(show))
                    .with("reason", reason);
                conflicts.push(conflict.done());
            }
        }
    }
    let so_far = before.and(page);
    tracing::info!(
        access_key.id = call.by,
        mappings.created = page.created,
        mappings.conflicts = page.conflicts,
        "External mappings were copied from m3ter."
    );
    let next = listed
        .next
        .map(|token| page::close(&query.list_name(), &so_far.token(&token)));
    let answer = page
        .show()
        .with("conflicts", conflicts)
        .with("soFar", so_far.show().with("conflicts", so_far.conflicts).done())
        .with("done", next.is_none())
        .maybe("nextToken", next);
    Ok(Json(answer.done()))
}

impl Progress {
    fn and(self, more: Progress) -> Progress {
        Progress {
            read: self.read.saturating_add(more.read),
            created: self.created.saturating_add(more.created),
            unchanged: self.unchanged.saturating_add(more.unchanged),
            conflicts: self.conflicts.saturating_add(more.conflicts),
        }
    }

    fn show(self) -> Object {
        Object::default()
            .with("read", self.read)
            .with("created", self.created)
            .with("unchanged", self.unchanged)
    }

    /// What was done before a page, and m3ter's token of it.
    fn token(self, m3ter: &str) -> String {
        let Progress {
            read,
            created,
            unchanged,
            conflicts,
        } = self;
        format!("{read}|{created}|{unchanged}|{conflicts}|{m3ter}")
    }

    fn read_token(token: &str) -> Option<(Progress, &str)> {
        let mut parts = token.splitn(5, '|');
        let mut number = || parts.next()?.parse::<usize>().ok();
        let progress = Progress {
            read: number()?,
            created: number()?,
            unchanged: number()?,
            conflicts: number()?,
        };
        Some((progress, parts.next()?))
    }
}

async fn copy(call: &Call, given: &Map<String, Value>) -> Result<Copied, ApiError> {
    let text = |field: &str| given.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let linked = text("integrationConfigId");
    let configuration = match linked.as_str() {
        "" => None,
        id => match ConfigurationId::new(id) {
            Ok(id) if configurations::exists(call, &id).await? => Some(id),
            Ok(_) | Err(_) => {
                let reason = format!(
                    "it is linked to m3ter's integration configuration {id}, which is none of Outbill's; create the mapping here, linked to \
                     the configuration that takes its place, or to none"
                );
                return Ok(Copied::Conflict(reason, None));
            }
        },
    };
    let mapping = ExternalMapping {
        id: call.outbill.ids.text(call.now),
        organization: call.organization.clone(),
        version: 1,
        m3ter_entity: text("m3terEntity"),
        m3ter_id: text("m3terId"),
        external_system: text("externalSystem"),
        external_table: text("externalTable"),
        external_id: text("externalId"),
        configuration,
        audit: Audit::new(call.now, &call.by),
    };
    let mapping = match mapping.checked() {
        Ok(mapping) => mapping,
        Err(error) => return Ok(Copied::Conflict(error.to_string(), None)),
    };
    match call.outbill.mappings.create(&mapping).await? {
        Stored::Done(made) => {
            mapping_changed(call, &made.m3ter_entity, &made.m3ter_id).await?;
            Ok(Copied::Created)
        }
        Stored::Exists(existing) if existing.external_id == mapping.external_id => {
            mapping_changed(call, &existing.m3ter_entity, &existing.m3ter_id).await?;
            Ok(Copied::Unchanged)
        }
        Stored::Exists(existing) => {
            let reason = format!(
                "{} {} is mapped to {} here and to {} in m3ter; the one here stays. Change it, or delete it and import again",
                existing.m3ter_entity, existing.m3ter_id, existing.external_id, mapping.external_id
            );
            Ok(Copied::Conflict(reason, Some(Box::new(existing))))
        }
        Stored::Version(_) | Stored::Missing => Ok(Copied::Conflict(
            "others changed it meanwhile; import again".to_owned(),
            None,
        )),
    }
}
