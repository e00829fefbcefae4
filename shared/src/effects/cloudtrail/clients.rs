//! Who asks CloudTrail, and how patiently; and what its errors mean.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::config::Builder;
use aws_sdk_cloudtrail::config::retry::RetryConfig;
use aws_sdk_cloudtrail::config::timeout::TimeoutConfig;
use aws_sdk_cloudtrail::error::{ProvideErrorMetadata, SdkError};

use super::{Place, TrailError};
use crate::effects::aws::clients::{Clients, Paced};
use crate::effects::aws::signing::{Unsigned, chain, unsigned};
use crate::effects::random::Random;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// CloudTrail throttles early, and a reading can wait.
const ATTEMPTS_MAX: u32 = 5;
const SESSION_NAME: &str = "outbill-reconcile";
//= https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
//# The rate of lookup requests is limited to two per second, per account, per Region
const LOOKUPS_PER_SECOND: u32 = 2;

/// CloudTrail. Clones share their clients and their pace.
#[derive(Debug, Clone)]
pub struct CloudTrail {
    pub(super) random: Random,
    clients: Clients<Client>,
}

impl CloudTrail {
    /// Signs with what `sdk` says; pauses between polls differ by `random`.
    pub fn new(sdk: &SdkConfig, random: Random) -> CloudTrail {
        CloudTrail {
            random,
            clients: Clients::new(sdk, SESSION_NAME, LOOKUPS_PER_SECOND, connect),
        }
    }

    /// The client of whoever reads at a place. Its pace is that of lookups alone.
    pub(super) async fn client(&self, place: &Place) -> Paced<Client> {
        let role = place.credential.aws.as_ref();
        self.clients.get(role, &place.checks.region).await
    }
}

fn connect(sdk: &SdkConfig) -> Client {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    let config = Builder::from(sdk)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
        .timeout_config(timeouts);
    Client::from_conf(config.build())
}

/// What an error of CloudTrail's means: AWS's own refusals stay refusals, all else can be tried again.
pub(super) fn failed<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> TrailError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    move |error| {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        match code {
            Some("InvalidNextTokenException" | "QueryIdNotFoundException") => TrailError::Expired,
            Some(code) if is_refusal(code) => TrailError::Refused {
                operation,
                message: format!(
                    "{code}: {}",
                    error
                        .as_service_error()
                        .and_then(ProvideErrorMetadata::message)
                        .unwrap_or("no reason was given")
                ),
            },
            Some(_) | None if unsigned(&error) == Some(Unsigned::Refused) => TrailError::Refused {
                operation,
                message: chain(&error),
            },
            Some(_) | None => TrailError::Unavailable {
                operation,
                source: Box::new(error),
            },
        }
    }
}

fn is_refusal(code: &str) -> bool {
    const REFUSALS: [&str; 6] = [
        "AccessDenied",
        "Inactive",
        "Invalid",
        "NotFound",
        "NotPermitted",
        "Unsupported",
    ];
    const KEYS: [&str; 3] = [
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "ExpiredTokenException",
    ];
    REFUSALS.iter().any(|part| code.contains(part)) || KEYS.contains(&code)
}
