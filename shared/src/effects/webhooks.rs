//! The keys under which m3ter may notify of an organization's bills.
//!
//! m3ter's scheme of signing is not public, so a notification proves nothing: the key only keeps strangers from making work, and what a
//! notification says is asked of m3ter itself. As with access keys, only hashes are kept: `{"secretSha256": ["…", …]}` in the secret
//! `<organization>/webhook`. Two of them let a key be exchanged without a notification being refused.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use jiff::Timestamp;
use serde::Deserialize;
use subtle::{Choice, ConstantTimeEq};

use super::{
    access::{believed, hash},
    secrets::{Secrets, name_part},
    store_error::StoreError,
};
use crate::values::ids::OrganizationId;

/// Organizations remembered; more than any deployment has.
const REMEMBERED_MAX: usize = 1_000;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    secret_sha256: Vec<String>,
}

/// The keys of all organizations, each read again after a minute.
#[derive(Debug, Clone)]
pub struct Webhooks {
    secrets: Secrets,
    remembered: Arc<RwLock<HashMap<OrganizationId, (Keys, Timestamp)>>>,
}

impl Webhooks {
    /// Over the secrets.
    pub fn new(secrets: Secrets) -> Webhooks {
        Webhooks {
            secrets,
            remembered: Arc::default(),
        }
    }

    /// Whether this is a key of the organization's. An organization without any takes no notifications.
    pub async fn admits(&self, organization: &OrganizationId, key: &str, now: Timestamp) -> Result<bool, StoreError> {
        let given = hash(key);
        let keys = self.keys(organization, now).await?;
        // All are compared, each in constant time.
        let same = |known: &String| known.as_bytes().ct_eq(given.as_bytes());
        let found = keys
            .secret_sha256
            .iter()
            .map(same)
            .fold(Choice::from(0), |found, same| found | same);
        Ok(bool::from(found))
    }

    async fn keys(&self, organization: &OrganizationId, now: Timestamp) -> Result<Keys, StoreError> {
        let remembered = self
            .remembered
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(organization)
            .cloned();
        if let Some((keys, _)) = remembered.filter(|(_, at)| believed(*at, now)) {
            return Ok(keys);
        }
        let name = format!("{}/webhook", name_part(organization.as_str()));
        let keys = match self.secrets.get(&name).await? {
            Some(text) => serde_json::from_str(&text).map_err(|_| StoreError::corrupt(name, "secretSha256"))?,
            None => Keys::default(),
        };
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(organization.clone(), (Keys::clone(&keys), now));
        Ok(keys)
    }

    /// Makes `key` the only key of an organization.
    pub async fn keep(&self, organization: &OrganizationId, key: &str) -> Result<(), StoreError> {
        let name = format!("{}/webhook", name_part(organization.as_str()));
        let keys = serde_json::json!({ "secretSha256": [hash(key)] });
        self.secrets.put(&name, &keys.to_string()).await
    }
}
