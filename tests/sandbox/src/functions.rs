//! The functions that the sandbox runs: their real handlers, on real SDK clients, on the virtual clock.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use futures::FutureExt;
use outbill::effects::access::{Access, Permission};
use outbill::effects::metrics::Metrics;
use outbill::effects::secrets::Secrets;
use outbill::effects::table;
use outbill::values::ids::OrganizationId;
use outbill::{Environment, Outbill};

use crate::authorization::Function;
use crate::holdings::AccessKey;
use crate::seam::{BuildError, Functions, Surroundings};

/// The table that the functions are told.
pub const TABLE: &str = "outbill";
/// The region that the functions run in.
pub const REGION: &str = "us-east-1";
/// How long the template lets bill-dispatch work on a batch.
pub const BILL_DISPATCH_TIMEOUT: Duration = Duration::from_secs(120);
/// What the names of secrets start with.
pub const SECRET_PREFIX: &str = "outbill/";
/// The sender of mails; the stand-in delivers to the outbox.
pub const ALERT_SENDER: &str = "outbill@seller.example";
/// The roles that the stack's parameter `MeteringRoleName` lets the functions assume.
pub const METERING_ROLES: &str = "OutbillMetering*";
/// The id of the event data store that the stack's parameter `EventDataStoreArn` names.
pub const EVENT_DATA_STORE: &str = "8c3d1f4e-0000-4000-8000-123456789abc";
/// Keys of the seller's account that the stand-ins know; nothing checks their signatures.
const ACCESS_KEY_ID: &str = "AKIASANDBOXSELLER000";
const SECRET_ACCESS_KEY: &str = "sandbox";

/// What the functions are told about their surroundings.
pub fn environment(surroundings: &Surroundings) -> Environment {
    Environment {
        table: TABLE.to_owned(),
        bill_queue_url: surroundings.bill_queue_url.clone(),
        secret_prefix: SECRET_PREFIX.to_owned(),
        m3ter_base_url: surroundings.m3ter_base_url.clone(),
        alert_sender: ALERT_SENDER.to_owned(),
        log: "info".to_owned(),
    }
}

/// The SDK's configuration as the SDK's own variables would make it, without touching this process's variables: many sandboxes may run in
/// one test program. It signs as the operator, who may do everything.
pub async fn sdk(aws_endpoint_url: &str, region: &str) -> SdkConfig {
    sdk_with(aws_endpoint_url, region, ACCESS_KEY_ID).await
}

/// The same with a function's own access key, which may do what the template lets that function do.
pub async fn sdk_of(function: Function, aws_endpoint_url: &str, region: &str) -> SdkConfig {
    sdk_with(aws_endpoint_url, region, function.access_key_id()).await
}

async fn sdk_with(aws_endpoint_url: &str, region: &str, access_key_id: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(aws_endpoint_url)
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new(
            access_key_id,
            SECRET_ACCESS_KEY,
            None,
            None,
            "sandbox",
        ))
        .load()
        .await
}

/// Makes what a deployment has, where it is not there yet, and the functions around it.
pub async fn build(surroundings: Surroundings) -> Result<Functions, BuildError> {
    let operator = sdk(&surroundings.aws_endpoint_url, &surroundings.region).await;
    make_table(&operator).await?;
    let environment = environment(&surroundings);
    make_secrets(&Outbill::connect(&operator, &environment), &surroundings).await?;
    let cloudwatch = surroundings.cloudwatch.clone();
    let output = move |line: &str| {
        // CloudWatch drops what it cannot read without a word; here it is said.
        if let Err(error) = cloudwatch.read(line) {
            tracing::error!(error, "a line that CloudWatch would make no metric of");
        }
    };
    let metrics = Metrics::new(&environment.secret_prefix, Arc::new(output));
    let connect = async |function: Function| {
        let sdk = sdk_of(function, &surroundings.aws_endpoint_url, &surroundings.region).await;
        Outbill {
            metrics: metrics.clone(),
            ..Outbill::connect(&sdk, &environment)
        }
    };
    let dispatches = connect(Function::BillDispatch).await;
    let reconciles = connect(Function::Reconcile).await;
    let clock = surroundings.clock.clone();
    let api = api::router(connect(Function::Api).await, Arc::new(move || clock.now()));
    Ok(Functions {
        dispatch: Arc::new(move |event, now| {
            let outbill = dispatches.clone();
            async move { bill_dispatch::handle(&outbill, event, now, BILL_DISPATCH_TIMEOUT).await }.boxed()
        }),
        reconcile: Arc::new(move |event, now| {
            let outbill = reconciles.clone();
            async move {
                let event = serde_json::from_value(event).map_err(|error| error.to_string())?;
                let done = reconcile::handle(&outbill, event, now).await;
                done.map_err(|error| error.to_string())
            }
            .boxed()
        }),
        api,
    })
}

/// Makes one more access key, as the documented command does on AWS.
pub async fn make_access_key(
    aws_endpoint_url: &str,
    organization: &OrganizationId,
    permissions: &[Permission],
) -> Result<AccessKey, BuildError> {
    let sdk = sdk(aws_endpoint_url, REGION).await;
    let secrets = Secrets::new(aws_sdk_secretsmanager::Client::new(&sdk), SECRET_PREFIX);
    let (access_key_id, api_secret) = Access::new(secrets)
        .create_access_key(organization, permissions)
        .await?;
    Ok(AccessKey {
        org_id: organization.to_string(),
        access_key_id,
        api_secret,
    })
}

async fn make_table(sdk: &SdkConfig) -> Result<(), BuildError> {
    let client = aws_sdk_dynamodb::Client::new(sdk);
    match table::definition()?.table_name(TABLE).send_with(&client).await {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_in_use_exception()) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn make_secrets(outbill: &Outbill, surroundings: &Surroundings) -> Result<(), BuildError> {
    let key = &surroundings.access_key;
    let organization = OrganizationId::new(&key.org_id)?;
    outbill
        .access
        .keep_access_key(&key.access_key_id, &key.api_secret, &organization, Permission::ALL)
        .await?;
    outbill.webhooks.keep(&organization, &key.webhook_key()).await?;
    let m3ter = serde_json::json!({ "accessKeyId": "sandbox", "apiSecret": "sandbox" });
    outbill
        .secrets
        .create(&format!("{organization}/m3ter"), &m3ter.to_string())
        .await?;
    Ok(())
}
