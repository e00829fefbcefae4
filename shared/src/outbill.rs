//! Everything that Outbill keeps and calls, in one place that functions hold.

use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

use crate::{
    Environment,
    effects::{
        access::Access, attempts::Attempts, bodies::Bodies, cloudtrail::CloudTrail, configurations::Configurations,
        connections::Connections, credentials::Credentials, destinations::aws_marketplace::AwsMarketplace,
        events::Events, freeze::Freeze, ids::Ids, ledger::Ledger, m3ter::M3ter, mail::Mailer, mappings::Mappings,
        metrics::Metrics, queue::BillQueue, random::Random, reconciliations::Reconciliations, runs::Runs,
        secrets::Secrets, sweeps::Sweeps, table::Table, usage::Usage, waiting::Waiting, webhooks::Webhooks,
    },
};

/// The stores and clients of one process. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Outbill {
    /// The table itself.
    pub table: Table,
    /// Integration configurations.
    pub configurations: Configurations,
    /// Whether the table is a restored copy.
    pub freeze: Freeze,
    /// Connections that AWS refuses.
    pub connections: Connections,
    /// External mappings.
    pub mappings: Mappings,
    /// Integration credentials.
    pub credentials: Credentials,
    /// Secrets under Outbill's prefix.
    pub secrets: Secrets,
    /// Integration runs and their logs.
    pub runs: Runs,
    /// Events that were raised.
    pub events: Events,
    /// Runs that wait for something.
    pub waiting: Waiting,
    /// How far m3ter was asked for changed bills.
    pub sweeps: Sweeps,
    /// Keys of m3ter's notifications.
    pub webhooks: Webhooks,
    /// Manifests, usage keys and entries.
    pub ledger: Ledger,
    /// What was metered, by bill.
    pub usage: Usage,
    /// m3ter's API.
    pub m3ter: M3ter,
    /// AWS Marketplace's metering.
    pub marketplace: AwsMarketplace,
    /// What AWS recorded of it.
    pub cloudtrail: CloudTrail,
    /// Comparisons of the two.
    pub reconciliations: Reconciliations,
    /// The bill queue.
    pub queue: BillQueue,
    /// Bodies too large for the queue.
    pub bodies: Bodies,
    /// Mail to the seller's people.
    pub mailer: Mailer,
    /// Access keys and tokens.
    pub access: Access,
    /// Failed requests for a token.
    pub attempts: Attempts,
    /// What is counted for CloudWatch.
    pub metrics: Metrics,
    /// The maker of ids.
    pub ids: Arc<Ids>,
}

impl Outbill {
    /// Connects with the SDK's configuration. Nothing is called yet.
    pub fn connect(sdk: &SdkConfig, environment: &Environment) -> Outbill {
        Outbill::connect_with(sdk, environment, &Random::of_the_system())
    }

    /// As [`Outbill::connect`], with a given source for what is random in ids and pauses.
    pub fn connect_with(sdk: &SdkConfig, environment: &Environment, random: &Random) -> Outbill {
        let ids = Arc::new(Ids::new(random.clone()));
        let table = Table::new(aws_sdk_dynamodb::Client::new(sdk), &environment.table);
        let secrets = Secrets::new(aws_sdk_secretsmanager::Client::new(sdk), &environment.secret_prefix);
        let bodies = Bodies::new(table.clone(), Arc::clone(&ids));
        let queue = BillQueue::new(
            aws_sdk_sqs::Client::new(sdk),
            &environment.bill_queue_url,
            bodies.clone(),
        );
        Outbill {
            configurations: Configurations::new(table.clone()),
            connections: Connections::new(table.clone()),
            freeze: Freeze::new(table.clone()),
            ledger: Ledger::new(table.clone()),
            usage: Usage::new(table.clone()),
            m3ter: M3ter::new(&environment.m3ter_base_url, secrets.clone()),
            marketplace: AwsMarketplace::new(sdk, random.clone()),
            cloudtrail: CloudTrail::new(sdk, random.clone()),
            reconciliations: Reconciliations::new(table.clone()),
            mappings: Mappings::new(table.clone()),
            credentials: Credentials::new(table.clone(), secrets.clone()),
            runs: Runs::new(table.clone(), Arc::clone(&ids)),
            events: Events::new(table.clone(), Arc::clone(&ids)),
            waiting: Waiting::new(table.clone()),
            sweeps: Sweeps::new(table.clone()),
            webhooks: Webhooks::new(secrets.clone()),
            queue,
            bodies,
            mailer: Mailer::new(aws_sdk_sesv2::Client::new(sdk), &environment.alert_sender),
            access: Access::new(secrets.clone()),
            metrics: Metrics::to_stdout(&environment.secret_prefix),
            attempts: Attempts::new(table.clone()),
            secrets,
            table,
            ids,
        }
    }
}

/// The SDK's configuration from its own variables and profile. HTTPS is rustls on ring, whose start costs no entropy gathering.
pub async fn sdk_config() -> SdkConfig {
    let https = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .load()
        .await
}
