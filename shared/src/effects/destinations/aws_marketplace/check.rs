//! Whether a credential can meter, tried without sending usage: the role is assumed, and AWS is asked to meter nothing.
//!
//! AWS judges who calls before it looks at what is called, so a call without records tells whether the role may meter, and leaves nothing
//! behind but its line in CloudTrail.

use std::time::Duration;

use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::error::ProvideErrorMetadata;
use serde::Serialize;

use super::clients::SESSION_NAME;
use super::{AwsMarketplace, Called, call};
use crate::decisions::batch::ProductName;
use crate::decisions::verdict::{Answer, ConnectionRefusal};
use crate::values::credential::{AwsRole, IntegrationCredential};
use crate::values::entry::Connection;
use crate::values::marketplace_configuration::METERING_REGION_DEFAULT;

/// Two calls have to be answered before API Gateway gives up after 30 seconds.
const STS_TIMEOUT: Duration = Duration::from_secs(8);

/// What was found of one thing that metering needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was tried.
    pub step: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// In words, with the way out.
    pub message: String,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// It is there.
    Good,
    /// AWS says that it is not.
    Missing,
    /// It could not be found out.
    Unknown,
    /// Nobody but another function could try it.
    NotTried,
}

fn step(step: &'static str, outcome: Outcome, message: String) -> Step {
    Step { step, outcome, message }
}

impl AwsMarketplace {
    /// Tries a credential. Every step up to the first that fails.
    pub async fn check(&self, credential: &IntegrationCredential) -> Vec<Step> {
        let timeouts = TimeoutConfig::builder().operation_timeout(STS_TIMEOUT).build();
        let sts = aws_sdk_sts::config::Builder::from(&self.sdk).timeout_config(timeouts);
        let sts = aws_sdk_sts::Client::from_conf(sts.build());
        let identity = sts.get_caller_identity().send().await;
        let own = match identity {
            Ok(identity) => identity.arn.unwrap_or_else(|| "this function".to_owned()),
            Err(error) => {
                let code = error.code().unwrap_or("no answer");
                let message = format!("AWS did not say who calls ({code}); try again");
                return vec![step("identity", Outcome::Unknown, message)];
            }
        };
        match &credential.aws {
            Some(role) => self.check_role(&sts, &own, role, credential).await,
            None => vec![
                step(
                    "identity",
                    Outcome::Good,
                    format!("AWS knows the functions: this one is {own}"),
                ),
                step(
                    "metering",
                    Outcome::NotTried,
                    "without a role the bill-dispatch function signs with its own, to which the template gives \
                     aws-marketplace:BatchMeterUsage; no other function has it"
                        .to_owned(),
                ),
            ],
        }
    }

    async fn check_role(
        &self,
        sts: &aws_sdk_sts::Client,
        own: &str,
        role: &AwsRole,
        credential: &IntegrationCredential,
    ) -> Vec<Step> {
        let request = sts.assume_role().role_arn(role.arn()).role_session_name(SESSION_NAME);
        let assumed = match request.external_id(&role.external_id).send().await {
            Ok(_) => step("assume", Outcome::Good, format!("{} can be assumed", role.arn())),
            Err(error) if error.code().is_some_and(|code| code.starts_with("AccessDenied")) => step(
                "assume",
                Outcome::Missing,
                format!(
                    "AWS does not let {own} assume {}. One of three is missing: the role itself; a trust policy on it that allows \
                     sts:AssumeRole to this function and to bill-dispatch under the condition sts:ExternalId that was shown when the \
                     credential got its role (who has lost it makes a new credential); the role's name in this stack's parameter \
                     MeteringRoleName",
                    role.arn()
                ),
            ),
            Err(error) => {
                let code = error.code().unwrap_or("no answer");
                let message = format!(
                    "AWS did not say whether {} can be assumed ({code}); try again",
                    role.arn()
                );
                step("assume", Outcome::Unknown, message)
            }
        };
        if assumed.outcome != Outcome::Good {
            return vec![assumed];
        }
        vec![assumed, self.check_metering(role, credential).await]
    }

    async fn check_metering(&self, role: &AwsRole, credential: &IntegrationCredential) -> Step {
        let connection = Connection {
            organization: credential.organization.clone(),
            credential: credential.id.clone(),
            region: METERING_REGION_DEFAULT.to_owned(),
            product_code: String::new(),
        };
        let paced = self.client(&connection, credential).await;
        paced.pace.turn().await;
        let (called, _) = call(&paced.client, &connection, ProductName::License, &[]).await;
        let may = || step("metering", Outcome::Good, format!("{} may meter", role.arn()));
        let unknown = |reason: &str| {
            let message = format!("AWS did not say whether {} may meter ({reason}); try again", role.arn());
            step("metering", Outcome::Unknown, message)
        };
        match called {
            Called::Answered(_) | Called::Rejected { .. } => may(),
            Called::Throttled { reason } => unknown(&reason),
            Called::All(answer) => match answer {
                Answer::ConnectionRefused {
                    kind: ConnectionRefusal::Access,
                    message,
                } => step(
                    "metering",
                    Outcome::Missing,
                    format!(
                        "{} may not meter: {message}. Give it a policy that allows aws-marketplace:BatchMeterUsage on all resources",
                        role.arn()
                    ),
                ),
                // AWS looked at the call itself: the caller is good.
                Answer::ConnectionRefused {
                    kind: ConnectionRefusal::Product | ConnectionRefusal::Request,
                    ..
                } => may(),
                Answer::NotTaken { reason } | Answer::Unknown { reason } => unknown(&reason),
                // AWS says these of records only, and there was none.
                Answer::Success { .. }
                | Answer::DuplicateRecord
                | Answer::CustomerNotSubscribed
                | Answer::BadRecord { .. }
                | Answer::AheadOfAws => may(),
            },
        }
    }
}
