//! Secrets Manager.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::checksums::md5_of_text;
use super::identity::HOME_ACCOUNT;
use super::wire::{WireError, read_body};
use crate::holdings::{Change, Holdings};
use crate::secrets::{CURRENT, Secret, SecretVersion};
use crate::world::World;

/// The largest secret value.
const SECRET_BYTES_MAX: usize = 65_536;

/// The most secrets on one page.
const SECRETS_PER_PAGE_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    name: Option<String>,
    secret_id: Option<String>,
    client_request_token: Option<String>,
    description: Option<String>,
    secret_string: Option<String>,
    secret_binary: Option<String>,
    version_id: Option<String>,
    version_stage: Option<String>,
    #[serde(default)]
    force_delete_without_recovery: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

type Decision = Result<(Vec<Change>, Value), WireError>;

/// Answers an action of `secretsmanager`.
pub fn answer(world: &World, action: &str, body: &[u8]) -> Result<Value, WireError> {
    let request: Request = read_body(body)?;
    let now = world.now();
    let decide = |holdings: &Holdings| -> Decision {
        match action {
            "CreateSecret" => create(holdings, &request, now),
            "PutSecretValue" => put(holdings, &request, now),
            "UpdateSecret" => update(holdings, &request, now),
            "DeleteSecret" => delete(holdings, &request, now),
            "RestoreSecret" => restore(holdings, &request),
            "GetSecretValue" => get(holdings, &request).map(|value| (Vec::new(), value)),
            "DescribeSecret" => find(holdings, &request).map(|secret| (Vec::new(), describe(secret))),
            "ListSecrets" => Ok((Vec::new(), list(holdings, &request))),
            other => Err(WireError::caller(
                "UnknownOperationException",
                format!("the sandbox has no {other}"),
            )),
        }
    };
    world.decide(|holdings| match decide(holdings) {
        Ok((changes, value)) => (changes, Ok(value)),
        Err(error) => (Vec::new(), Err(error)),
    })?
}

fn invalid(message: &str) -> WireError {
    WireError::caller("InvalidParameterException", message)
}

fn find<'a>(holdings: &'a Holdings, request: &Request) -> Result<&'a Secret, WireError> {
    let id = request
        .secret_id
        .as_deref()
        .ok_or_else(|| invalid("SecretId is missing."))?;
    holdings
        .secrets
        .values()
        .find(|secret| secret.is_meant_by(id))
        .ok_or_else(|| {
            WireError::caller(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret.",
            )
        })
}

fn find_live<'a>(holdings: &'a Holdings, request: &Request) -> Result<&'a Secret, WireError> {
    let secret = find(holdings, request)?;
    if secret.deleted_at.is_some() {
        return Err(WireError::caller(
            "InvalidRequestException",
            "You can't perform this operation on the secret because it was marked for deletion.",
        ));
    }
    Ok(secret)
}

fn new_version(request: &Request, now: jiff::Timestamp) -> Result<Option<(String, SecretVersion)>, WireError> {
    let bytes = match (&request.secret_string, &request.secret_binary) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(invalid("You can't specify both SecretString and SecretBinary."));
        }
        (Some(text), None) => text.len(),
        (None, Some(base64)) => base64.len() / 4 * 3,
    };
    if bytes > SECRET_BYTES_MAX {
        return Err(invalid("The secret value has more than 65536 bytes."));
    }
    let id = request
        .client_request_token
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let version = SecretVersion {
        string: request.secret_string.clone(),
        binary: request.secret_binary.clone(),
        stages: BTreeSet::new(),
        created_at: now,
    };
    Ok(Some((id, version)))
}

fn create(holdings: &Holdings, request: &Request, now: jiff::Timestamp) -> Decision {
    let name = request
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| invalid("Name is missing."))?;
    let version = new_version(request, now)?;
    if let Some(existing) = holdings.secrets.get(name) {
        return repeat_of_create(existing, version.as_ref());
    }
    let suffix: String = md5_of_text(&format!("{name} {now}")).chars().take(6).collect();
    let mut secret = Secret {
        name: name.to_owned(),
        arn: format!("arn:aws:secretsmanager:us-east-1:{HOME_ACCOUNT}:secret:{name}-{suffix}"),
        description: request.description.clone(),
        created_at: now,
        deleted_at: None,
        versions: BTreeMap::new(),
    };
    let mut answer = name_of(&secret);
    if let Some((id, version)) = version {
        answer.insert("VersionId".to_owned(), json!(id));
        secret.put(id, version);
    }
    Ok((vec![Change::SecretKept { secret }], Value::Object(answer)))
}

// The same token with the same value is the same request once more.
fn repeat_of_create(existing: &Secret, version: Option<&(String, SecretVersion)>) -> Decision {
    if existing.deleted_at.is_some() {
        return Err(WireError::caller(
            "InvalidRequestException",
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        ));
    }
    if let Some((id, version)) = version
        && existing.versions.get(id).is_some_and(|kept| same(kept, version))
    {
        let mut answer = name_of(existing);
        answer.insert("VersionId".to_owned(), json!(id));
        return Ok((Vec::new(), Value::Object(answer)));
    }
    Err(WireError::caller(
        "ResourceExistsException",
        format!(
            "The operation failed because the secret {} already exists.",
            existing.name
        ),
    ))
}

fn same(one: &SecretVersion, other: &SecretVersion) -> bool {
    one.string == other.string && one.binary == other.binary
}

fn put(holdings: &Holdings, request: &Request, now: jiff::Timestamp) -> Decision {
    let secret = find_live(holdings, request)?;
    let (id, version) =
        new_version(request, now)?.ok_or_else(|| invalid("You must provide either SecretString or SecretBinary."))?;
    keep_version(secret.clone(), id, version)
}

fn keep_version(mut secret: Secret, id: String, version: SecretVersion) -> Decision {
    let mut answer = name_of(&secret);
    answer.insert("VersionId".to_owned(), json!(id));
    answer.insert("VersionStages".to_owned(), json!([CURRENT]));
    match secret.versions.get(&id) {
        Some(kept) if same(kept, &version) => Ok((Vec::new(), Value::Object(answer))),
        Some(_) => Err(WireError::caller(
            "ResourceExistsException",
            "A version with this ClientRequestToken and another value already exists.",
        )),
        None => {
            secret.put(id, version);
            Ok((vec![Change::SecretKept { secret }], Value::Object(answer)))
        }
    }
}

fn update(holdings: &Holdings, request: &Request, now: jiff::Timestamp) -> Decision {
    let mut secret = find_live(holdings, request)?.clone();
    if request.description.is_some() {
        secret.description.clone_from(&request.description);
    }
    match new_version(request, now)? {
        Some((id, version)) => keep_version(secret, id, version),
        None => {
            let answer = Value::Object(name_of(&secret));
            Ok((vec![Change::SecretKept { secret }], answer))
        }
    }
}

fn delete(holdings: &Holdings, request: &Request, now: jiff::Timestamp) -> Decision {
    let mut secret = find(holdings, request)?.clone();
    let mut answer = name_of(&secret);
    answer.insert("DeletionDate".to_owned(), json!(now.as_second()));
    let change = if request.force_delete_without_recovery {
        Change::SecretRemoved { name: secret.name }
    } else {
        secret.deleted_at = Some(now);
        Change::SecretKept { secret }
    };
    Ok((vec![change], Value::Object(answer)))
}

fn restore(holdings: &Holdings, request: &Request) -> Decision {
    let mut secret = find(holdings, request)?.clone();
    secret.deleted_at = None;
    let answer = Value::Object(name_of(&secret));
    Ok((vec![Change::SecretKept { secret }], answer))
}

fn get(holdings: &Holdings, request: &Request) -> Result<Value, WireError> {
    let secret = find_live(holdings, request)?;
    let stage = request.version_stage.as_deref().unwrap_or(CURRENT);
    let (id, version) = secret.version(request.version_id.as_deref(), stage).ok_or_else(|| {
        WireError::caller(
            "ResourceNotFoundException",
            format!("Secrets Manager can't find the specified secret value for staging label: {stage}"),
        )
    })?;
    let mut answer = name_of(secret);
    answer.insert("VersionId".to_owned(), json!(id));
    answer.insert("VersionStages".to_owned(), json!(version.stages));
    answer.insert("CreatedDate".to_owned(), json!(version.created_at.as_second()));
    if let Some(text) = &version.string {
        answer.insert("SecretString".to_owned(), json!(text));
    }
    if let Some(base64) = &version.binary {
        answer.insert("SecretBinary".to_owned(), json!(base64));
    }
    Ok(Value::Object(answer))
}

fn name_of(secret: &Secret) -> Map<String, Value> {
    let mut name = Map::new();
    name.insert("ARN".to_owned(), json!(secret.arn));
    name.insert("Name".to_owned(), json!(secret.name));
    name
}

fn describe(secret: &Secret) -> Value {
    let mut answer = name_of(secret);
    let stages: BTreeMap<_, _> = secret
        .versions
        .iter()
        .map(|(id, version)| (id, &version.stages))
        .collect();
    answer.insert("VersionIdsToStages".to_owned(), json!(stages));
    answer.insert("CreatedDate".to_owned(), json!(secret.created_at.as_second()));
    if let Some(description) = &secret.description {
        answer.insert("Description".to_owned(), json!(description));
    }
    if let Some(deleted_at) = secret.deleted_at {
        answer.insert("DeletedDate".to_owned(), json!(deleted_at.as_second()));
    }
    Value::Object(answer)
}

fn list(holdings: &Holdings, request: &Request) -> Value {
    let wanted = request.max_results.unwrap_or(SECRETS_PER_PAGE_MAX);
    let after = request.next_token.as_deref().unwrap_or_default();
    let is_wanted = |secret: &&Secret| {
        secret.deleted_at.is_none()
            && secret.name.as_str() > after
            && request
                .filters
                .iter()
                .all(|filter| filter.key != "name" || filter.values.iter().any(|value| secret.name.starts_with(value)))
    };
    let mut found: Vec<&Secret> = holdings.secrets.values().filter(is_wanted).take(wanted + 1).collect();
    let has_more = found.len() > wanted;
    found.truncate(wanted);
    let mut answer = Map::new();
    if let (true, Some(last)) = (has_more, found.last()) {
        answer.insert("NextToken".to_owned(), json!(last.name));
    }
    let secrets: Vec<Value> = found.into_iter().map(describe).collect();
    answer.insert("SecretList".to_owned(), json!(secrets));
    Value::Object(answer)
}
