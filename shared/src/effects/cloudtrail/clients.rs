//! Signed clients, one for each role and region, kept while the function is warm; and what AWS's errors mean.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{Region, SdkConfig, sts::AssumeRoleProvider};
use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::config::retry::RetryConfig;
use aws_sdk_cloudtrail::config::timeout::TimeoutConfig;
use aws_sdk_cloudtrail::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::{Place, TrailError};
use crate::effects::destinations::aws_marketplace::pace::Pace;
use crate::effects::destinations::aws_marketplace::verdict::{Unsigned, unsigned};
use crate::effects::random::Random;
use crate::values::credential::AwsRole;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// CloudTrail throttles early, and a reading can wait.
const ATTEMPTS_MAX: u32 = 5;
const SESSION_NAME: &str = "outbill-reconcile";
const OWN_ACCOUNT: &str = "own";
//= https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
//# The rate of lookup requests is limited to two per second, per account, per Region
const LOOKUPS_PER_SECOND: u32 = 2;

/// CloudTrail. Clones share their clients and their pace.
#[derive(Debug, Clone)]
pub struct CloudTrail {
    sdk: SdkConfig,
    pub(super) random: Random,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By role and region, so that a credential whose role changes gets another client.
    clients: HashMap<(Option<(String, String)>, String), Client>,
    /// By AWS account and region, as AWS counts.
    paces: HashMap<(String, String), Arc<Pace>>,
}

impl CloudTrail {
    /// Signs with what `sdk` says; pauses between polls differ by `random`.
    pub fn new(sdk: &SdkConfig, random: Random) -> CloudTrail {
        CloudTrail {
            sdk: sdk.clone(),
            random,
            kept: Arc::default(),
        }
    }

    /// The client of whoever reads at a place.
    pub(super) async fn client(&self, place: &Place) -> Client {
        let role = place.credential.aws.as_ref();
        let name = (
            role.map(|role| (role.arn(), role.external_id.clone())),
            place.checks.region.clone(),
        );
        let known = self.lock().clients.get(&name).cloned();
        if let Some(client) = known {
            return client;
        }
        let client = self.make(role, &place.checks.region).await;
        self.lock().clients.entry(name).or_insert(client).clone()
    }

    /// Waits for a turn to look something up.
    pub(super) async fn turn(&self, place: &Place) {
        let role = place.credential.aws.as_ref();
        let account = role.map_or_else(|| OWN_ACCOUNT.to_owned(), |role| role.account_id.clone());
        let pace = {
            let mut kept = self.lock();
            let pace = kept.paces.entry((account, place.checks.region.clone()));
            Arc::clone(pace.or_insert_with(|| Arc::new(Pace::new(LOOKUPS_PER_SECOND))))
        };
        pace.turn().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(&self, role: Option<&AwsRole>, region: &str) -> Client {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build();
        let config = aws_sdk_cloudtrail::config::Builder::from(&self.sdk)
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts);
        let config = match role {
            Some(role) => {
                let assumed = AssumeRoleProvider::builder(role.arn())
                    .session_name(SESSION_NAME)
                    .external_id(&role.external_id);
                config.credentials_provider(assumed.configure(&self.sdk).build().await)
            }
            None => config,
        };
        Client::from_conf(config.build())
    }
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
                message: DisplayErrorContext(&error).to_string(),
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
