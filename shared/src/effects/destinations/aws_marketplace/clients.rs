//! Signed clients, one for each credential and region, kept while the function is warm.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{Region, SdkConfig, sts::AssumeRoleProvider};
use aws_sdk_marketplacemetering::Client;
use aws_sdk_marketplacemetering::config::retry::RetryConfig;
use aws_sdk_marketplacemetering::config::timeout::TimeoutConfig;

use super::pace::Pace;
use crate::effects::random::Random;
use crate::values::credential::{AwsRole, IntegrationCredential};
use crate::values::entry::Connection;

/// AWS answers a metering call within a second or two; after this it has not.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
//= https://docs.aws.amazon.com/general/latest/gr/aws-marketplace.html
//# BatchMeterUsage: 10 requests per second, per account and region
const CALLS_PER_SECOND: u32 = 10;
pub(super) const SESSION_NAME: &str = "outbill";

/// What AWS counts calls by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quota {
    /// Of the role; the functions' own without one.
    account: Option<String>,
    region: String,
}

impl Quota {
    /// The one that calls on a connection take.
    pub fn of(connection: &Connection, credential: &IntegrationCredential) -> Quota {
        Quota {
            account: credential.aws.as_ref().map(|role| role.account_id.clone()),
            region: connection.region.clone(),
        }
    }
}

/// The destination. Clones share their clients and their pace.
#[derive(Debug, Clone)]
pub struct AwsMarketplace {
    sdk: SdkConfig,
    pub(super) random: Random,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By role and region, so that a credential whose role changes gets another client.
    clients: HashMap<(Option<(String, String)>, String), Client>,
    paces: HashMap<Quota, Arc<Pace>>,
}

/// A client with the pace that its account shares.
pub(super) struct Paced {
    pub(super) client: Client,
    pub(super) pace: Arc<Pace>,
}

impl AwsMarketplace {
    /// Signs with what `sdk` says; pauses between tries differ by `random`.
    pub fn new(sdk: &SdkConfig, random: Random) -> AwsMarketplace {
        AwsMarketplace {
            sdk: sdk.clone(),
            random,
            kept: Arc::default(),
        }
    }

    pub(super) fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// The client of a connection.
    pub(super) async fn client(&self, connection: &Connection, credential: &IntegrationCredential) -> Paced {
        let role = credential.aws.clone();
        let client_name = (
            role.as_ref().map(|role| (role.arn(), role.external_id.clone())),
            connection.region.clone(),
        );
        let (known, pace) = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let pace = kept
                .paces
                .entry(Quota::of(connection, credential))
                .or_insert_with(|| Arc::new(Pace::new(CALLS_PER_SECOND)))
                .clone();
            (kept.clients.get(&client_name).cloned(), pace)
        };
        if let Some(client) = known {
            return Paced { client, pace };
        }
        let client = self.make(role.as_ref(), &connection.region).await;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let client = kept.clients.entry(client_name).or_insert(client).clone();
        Paced { client, pace }
    }

    async fn make(&self, role: Option<&AwsRole>, region: &str) -> Client {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build();
        let config = aws_sdk_marketplacemetering::config::Builder::from(&self.sdk)
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::disabled())
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
