//! Whether a call failed before it was sent, because there were no credentials to sign it with.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::http::Response;

/// How the SDK begins to say that it waited for credentials in vain; the error has no public type.
const IDENTITY_IS_LATE: &str = "identity resolver timed out";

/// Why a call could not be signed, so that nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// AWS cannot be asked for the role now, which says nothing about the connection.
    ForNow,
    /// AWS refuses the role.
    Refused,
}

/// Whether a call failed because it could not be signed, and why; `None`: it was signed.
pub(crate) fn unsigned(error: &(dyn Error + 'static)) -> Option<Unsigned> {
    let causes = || causes(error);
    let is_late = causes().any(|cause| {
        matches!(cause.downcast_ref(), Some(CredentialsError::ProviderTimedOut(_)))
            || cause.to_string().starts_with(IDENTITY_IS_LATE)
    });
    if !is_late && !causes().any(|cause| cause.is::<CredentialsError>()) {
        return None;
    }
    let mut assuming = causes().filter_map(|cause| cause.downcast_ref::<SdkError<AssumeRoleError, Response>>());
    Some(match is_late || assuming.any(passes) {
        true => Unsigned::ForNow,
        false => Unsigned::Refused,
    })
}

/// An error and its causes in one line, in their own words: an SDK's Debug would tell what was sent.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said: Vec<String> = causes(error).map(ToString::to_string).collect();
    said.dedup();
    said.join(": ")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

/// Whether STS may answer otherwise in a moment.
fn passes(error: &SdkError<AssumeRoleError, Response>) -> bool {
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            status >= 500 || status == 429 || service.err().code().is_some_and(|code| code.contains("Throttl"))
        }
        _ => true,
    }
}
