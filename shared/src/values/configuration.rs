//! An integration configuration as m3ter's API holds it. What its `configData` means is [`super::marketplace_configuration`]'s.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{ConfigurationId, CredentialId, OrganizationId};
use super::marketplace_configuration::SHADOW;
pub use super::marketplace_configuration::{
    CloudtrailChecks, CloudtrailSource, ConfigurationError, ConfigurationErrors, MappingScope,
    MarketplaceConfiguration, Sending, Split,
};

/// The entity types that integrations can be of: m3ter also knows `Notification`, which Outbill does not send.
pub const ENTITY_TYPES: &[&str] = &["Bill"];

/// The destinations that m3ter knows; Outbill sends to those that [`DestinationKind`] has.
pub const DESTINATIONS: &[&str] = &[
    "WEBHOOK",
    "NETSUITE",
    "STRIPE",
    "STRIPE_TEST",
    "AWS",
    "PADDLE",
    "PADDLE_SANDBOX",
    "SALESFORCE",
    "XERO",
    "CHARGEBEE",
    "QUICKBOOKS",
    "QUICKBOOKS_SANDBOX",
    "M3TER",
];

/// The entity type of everything Outbill sends.
pub const BILL: &str = "Bill";

/// Who made and last changed something of m3ter's, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed by someone.
    pub last_modified: Timestamp,
    /// The id of the access key that made it.
    pub created_by: String,
    /// The id of the access key that last changed it.
    pub last_modified_by: String,
}

impl Audit {
    /// Of something made at `now`.
    pub fn new(now: Timestamp, by: &str) -> Audit {
        Audit {
            created: now,
            last_modified: now,
            created_by: by.to_owned(),
            last_modified_by: by.to_owned(),
        }
    }

    /// The same after a change at `now`.
    pub fn changed(&self, now: Timestamp, by: &str) -> Audit {
        Audit {
            last_modified: now,
            last_modified_by: by.to_owned(),
            ..self.clone()
        }
    }
}

/// Where bills can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DestinationKind {
    /// AWS Marketplace metering.
    Aws,
}

/// A destination that Outbill does not send to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the destination {0:?} is not supported yet; supported: AWS")]
pub struct DestinationError(String);

impl DestinationKind {
    /// m3ter's name of the destination.
    pub fn name(self) -> &'static str {
        match self {
            DestinationKind::Aws => "AWS",
        }
    }
}

impl FromStr for DestinationKind {
    type Err = DestinationError;
    /// Without regard to case: m3ter's own examples write `Stripe` where its list says `STRIPE`.
    fn from_str(text: &str) -> Result<DestinationKind, DestinationError> {
        if text.eq_ignore_ascii_case("AWS") {
            return Ok(DestinationKind::Aws);
        }
        Err(DestinationError(text.to_owned()))
    }
}

impl fmt::Display for DestinationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<String> for DestinationKind {
    type Error = DestinationError;
    fn try_from(text: String) -> Result<DestinationKind, DestinationError> {
        text.parse()
    }
}

impl From<DestinationKind> for String {
    fn from(kind: DestinationKind) -> String {
        kind.name().to_owned()
    }
}

/// What an organization wants sent where.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegrationConfiguration {
    /// Its id; ordered by creation.
    pub id: ConfigurationId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// 1 when made, one more with each change by a user.
    pub version: i64,
    /// What the Console shows.
    pub name: Option<String>,
    /// One of [`ENTITY_TYPES`].
    pub entity_type: String,
    /// The one entity it is for; none for bills.
    pub entity_id: Option<String>,
    /// Where it sends.
    pub destination: DestinationKind,
    /// The destination's own id, where it has one.
    pub destination_id: Option<String>,
    /// The settings as they were given.
    pub config_data: Map<String, Value>,
    /// The credential that it sends with. None: not connected, nothing is sent.
    pub credential: Option<CredentialId>,
    /// False after 20 successive failures, until someone enables it.
    pub enabled: bool,
    /// Who and when.
    pub audit: Audit,
    /// The distinct causes of failure since the last completed run.
    pub failures: BTreeSet<String>,
}

impl IntegrationConfiguration {
    /// What the settings mean for AWS Marketplace. Errors: every setting that is unknown or bad.
    pub fn marketplace(&self) -> Result<MarketplaceConfiguration, ConfigurationErrors> {
        MarketplaceConfiguration::parse(&self.config_data)
    }

    /// Whether it counts bills and sends nothing, be its other settings as they may.
    pub fn is_in_shadow(&self) -> bool {
        self.config_data.get(SHADOW).is_some_and(|shadow| *shadow == true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_without_regard_to_case() {
        let check = |text: &str, expect: Option<DestinationKind>| {
            assert_eq!(text.parse::<DestinationKind>().ok(), expect, "{text}");
        };
        check("AWS", Some(DestinationKind::Aws));
        check("Aws", Some(DestinationKind::Aws));
        check("Stripe", None);
        check("", None);
        let error = "Stripe".parse::<DestinationKind>().unwrap_err().to_string();
        assert!(error.contains("supported: AWS"), "{error}");
    }
}
