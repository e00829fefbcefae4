//! Who calls AWS Marketplace, and how patiently.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_marketplacemetering::Client;
use aws_sdk_marketplacemetering::config::Builder;
use aws_sdk_marketplacemetering::config::retry::RetryConfig;
use aws_sdk_marketplacemetering::config::timeout::TimeoutConfig;

use crate::effects::aws::clients::{Clients, Paced, Quota};
use crate::effects::random::Random;
use crate::values::credential::IntegrationCredential;
use crate::values::entry::Connection;

/// AWS answers a metering call within a second or two; after this it has not.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
//= https://docs.aws.amazon.com/general/latest/gr/aws-marketplace.html
//# BatchMeterUsage: 10 requests per second, per account and region
const CALLS_PER_SECOND: u32 = 10;
pub(super) const SESSION_NAME: &str = "outbill";

impl Quota {
    /// The one that calls on a connection take.
    pub fn of(connection: &Connection, credential: &IntegrationCredential) -> Quota {
        Quota::new(credential.aws.as_ref(), &connection.region)
    }
}

/// The destination. Clones share their clients and their pace.
#[derive(Debug, Clone)]
pub struct AwsMarketplace {
    pub(super) sdk: SdkConfig,
    pub(super) random: Random,
    clients: Clients<Client>,
}

impl AwsMarketplace {
    /// Signs with what `sdk` says; pauses between tries differ by `random`.
    pub fn new(sdk: &SdkConfig, random: Random) -> AwsMarketplace {
        AwsMarketplace {
            sdk: sdk.clone(),
            random,
            clients: Clients::new(sdk, SESSION_NAME, CALLS_PER_SECOND, connect),
        }
    }

    /// The client of a connection.
    pub(super) async fn client(&self, connection: &Connection, credential: &IntegrationCredential) -> Paced<Client> {
        self.clients.get(credential.aws.as_ref(), &connection.region).await
    }
}

fn connect(sdk: &SdkConfig) -> Client {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    let config = Builder::from(sdk)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    Client::from_conf(config.build())
}
