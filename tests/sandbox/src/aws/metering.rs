//! AWS Marketplace metering over HTTP; the rules are in the package `marketplace`.

use marketplace::Call;
use serde_json::Value;

use super::identity::Caller;
use super::wire::WireError;
use crate::world::World;

/// Whether AWS gets to all records of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// Every record is processed.
    Whole,
    /// The later half comes back unprocessed.
    Partial,
}

/// Answers an action of `AWSMPMeteringService`.
pub fn answer(
    world: &World,
    action: &str,
    caller: Option<&Caller>,
    body: &[u8],
    thoroughness: Thoroughness,
) -> Result<Value, WireError> {
    if action != "BatchMeterUsage" {
        return Err(WireError::caller(
            "UnknownOperationException",
            format!("the sandbox has no {action}"),
        ));
    }
    let Some(caller) = caller else {
        return Err(WireError {
            status: 403,
            code: "MissingAuthenticationTokenException".to_owned(),
            message: "the request is not signed".to_owned(),
        });
    };
    let request_json =
        std::str::from_utf8(body).map_err(|error| WireError::caller("SerializationException", error.to_string()))?;
    world
        .meter(Call {
            region: &caller.region,
            account: caller.account(),
            request_json,
            now: world.now(),
            leave_unprocessed: thoroughness == Thoroughness::Partial,
        })?
        .map_err(|error| WireError {
            status: error.http_status,
            code: error.code,
            message: error.message,
        })
}
