//! What the Secrets Manager stand-in keeps of a secret.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The stage of the version that is read by default.
pub const CURRENT: &str = "AWSCURRENT";
/// The stage of the version that was current before.
pub const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret with its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// The name, unique in the sandbox.
    pub name: String,
    /// The ARN, which ends in the name and six characters.
    pub arn: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was scheduled for deletion, if it was.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
    /// Versions by id.
    pub versions: BTreeMap<String, SecretVersion>,
}

/// One version of a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretVersion {
    /// The value as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string: Option<String>,
    /// The value as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
    /// Its stages.
    pub stages: BTreeSet<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Secret {
    /// Makes a value the current version; the one before becomes the previous.
    pub fn put(&mut self, id: String, mut version: SecretVersion) {
        for earlier in self.versions.values_mut() {
            earlier.stages.remove(PREVIOUS);
            if earlier.stages.remove(CURRENT) {
                earlier.stages.insert(PREVIOUS.to_owned());
            }
        }
        version.stages.insert(CURRENT.to_owned());
        self.versions.insert(id, version);
        self.versions.retain(|_, version| !version.stages.is_empty());
    }

    /// The version with an id, or with a stage.
    pub fn version(&self, id: Option<&str>, stage: &str) -> Option<(&String, &SecretVersion)> {
        match id {
            Some(id) => self.versions.get_key_value(id),
            None => self.versions.iter().find(|(_, version)| version.stages.contains(stage)),
        }
    }

    /// Whether a `SecretId` (name, ARN, or ARN without its last six characters) means this secret.
    pub fn is_meant_by(&self, id: &str) -> bool {
        self.name == id
            || self.arn == id
            || (id.starts_with("arn:")
                && self
                    .arn
                    .strip_prefix(id)
                    .is_some_and(|rest| rest.len() == 7 && rest.starts_with('-')))
    }
}
