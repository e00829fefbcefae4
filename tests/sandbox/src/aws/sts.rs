//! STS: assuming a role and saying who one is.
//!
//! Temporary access keys carry the role's account, so that metering knows who signed. They expire
//! by the machine's clock if that is later, because SDKs compare the expiry with it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::identity::{Caller, HOME_ACCOUNT};
use super::wire::{WireError, escape_xml, xml};
use crate::world::World;

const SESSION_HOURS: i64 = 1;

/// Answers an action with its form fields.
pub fn answer(
    world: &World,
    action: &str,
    fields: &BTreeMap<String, String>,
    caller: Option<&Caller>,
) -> Result<Response, WireError> {
    let result = match action {
        "AssumeRole" => assume_role(world, fields)?,
        "GetCallerIdentity" => {
            let account = caller.map_or(HOME_ACCOUNT, Caller::account);
            format!(
                "<Arn>arn:aws:iam::{account}:user/sandbox</Arn><UserId>sandbox</UserId>\
                 <Account>{account}</Account>"
            )
        }
        other => {
            return Err(WireError::caller(
                "InvalidAction",
                format!("the sandbox has no {other}"),
            ));
        }
    };
    Ok(xml(
        StatusCode::OK,
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <{action}Result>{result}</{action}Result>\
             <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
            uuid::Uuid::new_v4()
        ),
    ))
}

fn assume_role(world: &World, fields: &BTreeMap<String, String>) -> Result<String, WireError> {
    let field = |name: &str| {
        fields
            .get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| WireError::caller("ValidationError", format!("{name} is missing")))
    };
    let role_arn = field("RoleArn")?;
    let session = field("RoleSessionName")?;
    let account = role_arn
        .strip_prefix("arn:aws:iam::")
        .and_then(|rest| rest.split_once(":role/"))
        .map(|(account, _)| account)
        .filter(|account| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| WireError::caller("ValidationError", format!("{role_arn} is not a role's ARN")))?;
    // A role of another account that trusts callers without an external id would be a confused
    // deputy's; the sandbox knows no such role.
    if !fields.contains_key("ExternalId") {
        return Err(WireError {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: format!("not authorized to perform: sts:AssumeRole on resource: {role_arn}"),
        });
    }
    let expires = world.now().max(Timestamp::now()) + SignedDuration::from_hours(SESSION_HOURS);
    let secret = uuid::Uuid::new_v4().simple();
    Ok(format!(
        "<Credentials><AccessKeyId>ASIA{account}0001</AccessKeyId>\
         <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>sandbox-{secret}</SessionToken>\
         <Expiration>{}</Expiration></Credentials>\
         <AssumedRoleUser><Arn>{}/{}</Arn><AssumedRoleId>AROA{account}:{}</AssumedRoleId></AssumedRoleUser>",
        expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        escape_xml(&role_arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")),
        escape_xml(session),
        escape_xml(session),
    ))
}
