//! Which permissions a request needs, restated from AWS's Service Authorization Reference.

use std::collections::BTreeMap;

use marketplace::lake::Query;
use permissions::Request;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Asked;
use super::identity::{Caller, HOME_ACCOUNT};
use crate::world::World;

/// Stands for the six characters that Secrets Manager would append to the ARN of a secret that is not there.
const SUFFIX_OF_NONE: &str = "-000000";

/// What a request needs, all of it. A request that cannot be read needs nothing: its service refuses it.
pub fn needs(world: &World, asked: &Asked, caller: &Caller, body: &[u8]) -> Vec<Request> {
    match asked {
        Asked::DynamoDb(action) => dynamodb(action, caller, body),
        Asked::Sqs(action) => sqs(action, caller, body),
        Asked::SecretsManager(action) => secret(world, action, caller, body),
        Asked::CloudTrail(action) => cloudtrail(world, action, caller, body),
        Asked::Ses => mail(caller, body),
        // Neither action knows resources.
        Asked::Metering(action) => vec![Request::new(format!("aws-marketplace:{action}"), "*")],
        // Everybody may ask who they are.
        Asked::Sts(action, _) if action == "GetCallerIdentity" => Vec::new(),
        Asked::Sts(action, fields) => {
            let role = fields.get("RoleArn").map_or("*", String::as_str);
            vec![Request::new(format!("sts:{action}"), role)]
        }
        Asked::M3ter(_) => Vec::new(),
    }
}

fn arn(service: &str, caller: &Caller, resource: &str) -> String {
    format!("arn:aws:{service}:{}:{HOME_ACCOUNT}:{resource}", caller.region)
}

fn read<T: for<'a> Deserialize<'a> + Default>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_default()
}

/// As much of a DynamoDB request as names a table.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Tables {
    table_name: String,
    index_name: Option<String>,
    /// Of batches, by table.
    request_items: BTreeMap<String, IgnoredAny>,
    /// Of transactions: what is done, and where.
    transact_items: Vec<BTreeMap<String, Table>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Table {
    table_name: String,
}

//= https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
//# permissions for Put, Update, Delete and ConditionCheck are those of the underlying operations
fn dynamodb(action: &str, caller: &Caller, body: &[u8]) -> Vec<Request> {
    let tables: Tables = read(body);
    let need = |action: &str, table: &str| {
        Request::new(
            format!("dynamodb:{action}"),
            arn("dynamodb", caller, &format!("table/{table}")),
        )
    };
    if action.starts_with("Transact") {
        let parts = tables.transact_items.iter().flatten();
        let part = |(kind, table): (&String, &Table)| match kind.as_str() {
            "ConditionCheck" => need("ConditionCheckItem", &table.table_name),
            kind => need(&format!("{kind}Item"), &table.table_name),
        };
        return parts.map(part).collect();
    }
    if action.starts_with("Batch") {
        return tables.request_items.keys().map(|table| need(action, table)).collect();
    }
    match &tables.index_name {
        None => vec![need(action, &tables.table_name)],
        Some(index) => vec![need(action, &format!("{}/index/{index}", tables.table_name))],
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Queue {
    queue_url: String,
    queue_name: Option<String>,
}

fn sqs(action: &str, caller: &Caller, body: &[u8]) -> Vec<Request> {
    let queue: Queue = read(body);
    let of_url = || queue.queue_url.rsplit('/').next().unwrap_or_default().to_owned();
    let name = queue.queue_name.clone().unwrap_or_else(of_url);
    // A batch needs what its messages need.
    let action = action.strip_suffix("Batch").unwrap_or(action);
    vec![Request::new(format!("sqs:{action}"), arn("sqs", caller, &name))]
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Secret {
    secret_id: Option<String>,
    name: Option<String>,
}

/// A secret that is there is judged by its ARN. How AWS judges a name that no secret has is not documented: with other six characters, or
/// without any; a policy has to allow both, or what is missing would look like what is forbidden.
fn secret(world: &World, action: &str, caller: &Caller, body: &[u8]) -> Vec<Request> {
    let named: Secret = read(body);
    let id = named.secret_id.or(named.name).unwrap_or_default();
    let kept = world.read(|holdings| {
        let secret = holdings.secrets.values().find(|secret| secret.is_meant_by(&id));
        secret.map(|secret| secret.arn.clone())
    });
    let arns = match kept {
        Some(arn) => vec![arn],
        None => {
            let bare = arn("secretsmanager", caller, &format!("secret:{id}"));
            vec![format!("{bare}{SUFFIX_OF_NONE}"), bare]
        }
    };
    let need = |arn| Request::new(format!("secretsmanager:{action}"), arn);
    arns.into_iter().map(need).collect()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Lake {
    event_data_store: Option<String>,
    query_statement: Option<String>,
    query_id: Option<String>,
}

/// A query belongs to the store that its statement names.
fn cloudtrail(world: &World, action: &str, caller: &Caller, body: &[u8]) -> Vec<Request> {
    let lake: Lake = read(body);
    let of_statement = |statement: &str| Query::parse(statement).ok().map(|query| query.store);
    let of_query = |id: &str| world.read(|holdings| Some(holdings.queries.get(id)?.statement.clone()));
    let store = match action {
        "LookupEvents" => return vec![Request::new("cloudtrail:LookupEvents", "*")],
        "StartQuery" => lake.query_statement.as_deref().and_then(of_statement),
        "GetQueryResults" => {
            let statement = lake.query_id.as_deref().and_then(of_query);
            statement.as_deref().and_then(of_statement)
        }
        _ => lake.event_data_store,
    };
    let need = |store: String| {
        let resource = match store.starts_with("arn:") {
            true => store,
            false => arn("cloudtrail", caller, &format!("eventdatastore/{store}")),
        };
        Request::new(format!("cloudtrail:{action}"), resource)
    };
    store.map(need).into_iter().collect()
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Mail {
    from_email_address: String,
}

/// The sender's identity has a default configuration set here, because such a sender needs more than one that has none.
fn mail(caller: &Caller, body: &[u8]) -> Vec<Request> {
    let Mail {
        from_email_address: from,
    } = read(body);
    let need = |resource: &str| Request {
        context: BTreeMap::from([("ses:FromAddress".to_owned(), from.clone())]),
        ..Request::new("ses:SendEmail", arn("ses", caller, resource))
    };
    vec![need(&format!("identity/{from}")), need("configuration-set/default")]
}
