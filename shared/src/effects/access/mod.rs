//! Who may call the API: access keys, and the tokens that they are exchanged for.
//!
//! An access key's secret is kept as its hash. A token is signed with HMAC-SHA-256 and says whose it is and what it permits, so that a call
//! needs no look-up. Tokens are judged at the `now` of the call.
//!
//! The signing key is a secret of which Secrets Manager keeps the version before: putting a new text is the whole of a rotation, and what the
//! old one signed stays good until it expires or the next rotation. The first one is made by whoever needs it first; of two who race, one
//! writes and both use what was written. Every process reads both versions again after [`BELIEVED`], and none signs with a new one before
//! twice that has passed: whoever is shown a token has read the key that signed it.

mod hs256;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{
    secrets::{SecretVersion, Secrets, Stage, name_part},
    store_error::StoreError,
};
use crate::values::ids::OrganizationId;

/// How long a token is valid, in seconds. m3ter's own number.
pub const TOKEN_SECONDS: i64 = 18_000;
/// How long an access key or a signing key is believed before it is read again.
pub const BELIEVED: SignedDuration = SignedDuration::from_secs(60);
/// Access keys remembered; more than any seller has.
const REMEMBERED_MAX: usize = 1_000;
/// Longer than any id that is made; a secret's name may have 512 characters, of which a byte can take three.
const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
const SIGNING_SECRET: &str = "token-signing";
//= https://www.rfc-editor.org/rfc/rfc7518#section-3.2
//# A key of the same size as the hash output (for instance, 256 bits for "HS256") or larger MUST be used with this algorithm.
const SIGNING_BYTES_MIN: usize = 32;

/// What a token permits. m3ter's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// Make configurations, credentials and mappings.
    ConfigCreate,
    /// Read them, runs and events.
    ConfigRetrieve,
    /// Change and enable them.
    ConfigUpdate,
    /// Take them away.
    ConfigDelete,
    /// Send bills, replay runs, decide entries.
    MarketplaceUsageCreate,
    /// Read what was reported.
    MarketplaceUsageRetrieve,
}

impl Permission {
    /// Every permission.
    pub const ALL: &'static [Permission] = &[
        Permission::ConfigCreate,
        Permission::ConfigRetrieve,
        Permission::ConfigUpdate,
        Permission::ConfigDelete,
        Permission::MarketplaceUsageCreate,
        Permission::MarketplaceUsageRetrieve,
    ];
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The id of the access key.
    pub access_key_id: String,
    /// The one organization that it is of.
    pub organization: OrganizationId,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// Why a caller gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The key or the token is not good. Deliberately without more: the caller may be anyone.
    #[error("the access key or token is not valid")]
    Denied,
    /// It could not be found out.
    #[error("access could not be checked")]
    Store(#[from] StoreError),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccessKey {
    org_id: OrganizationId,
    secret_sha256: String,
    permissions: Vec<Permission>,
}

#[derive(Clone)]
struct SigningKeys {
    current: SecretVersion,
    previous: Option<SecretVersion>,
}

impl SigningKeys {
    fn named(&self, id: &str) -> Option<&SecretVersion> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id == id)
    }

    /// The current one, once everybody has read it.
    fn to_sign_with(&self, now: Timestamp) -> &SecretVersion {
        match &self.previous {
            Some(previous) if now.duration_since(self.current.made) < BELIEVED * 2 => previous,
            Some(_) | None => &self.current,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    iss: String,
    sub: String,
    org_id: OrganizationId,
    permissions: Vec<Permission>,
    iat: i64,
    exp: i64,
}

const ISSUER: &str = "outbill";

#[derive(Default)]
struct Remembered {
    signing: Option<(SigningKeys, Timestamp)>,
    access: HashMap<String, (AccessKey, Timestamp)>,
}

/// Access keys and tokens.
#[derive(Clone)]
pub struct Access {
    secrets: Secrets,
    remembered: Arc<RwLock<Remembered>>,
}

impl std::fmt::Debug for Access {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Over the secrets.
    pub fn new(secrets: Secrets) -> Access {
        hs256::install();
        Access {
            secrets,
            remembered: Arc::default(),
        }
    }

    /// Makes an access key and gives its id and its secret, which is shown this once.
    pub async fn create_access_key(
        &self,
        organization: &OrganizationId,
        permissions: &[Permission],
    ) -> Result<(String, String), StoreError> {
        let id = Uuid::new_v4().simple().to_string();
        let secret = random_text();
        self.keep_access_key(&id, &secret, organization, permissions).await?;
        Ok((id, secret))
    }

    /// Keeps a key that was made elsewhere, hashed. One of the same id stays as it is.
    pub async fn keep_access_key(
        &self,
        id: &str,
        secret: &str,
        organization: &OrganizationId,
        permissions: &[Permission],
    ) -> Result<(), StoreError> {
        let key = AccessKey {
            org_id: organization.clone(),
            secret_sha256: hash(secret),
            permissions: permissions.to_vec(),
        };
        let text = serde_json::to_string(&key).map_err(|error| StoreError::other("making an access key", error))?;
        self.secrets.create(&access_key_name(id), &text).await?;
        Ok(())
    }

    /// Exchanges an access key for a token of [`TOKEN_SECONDS`]. Errors: no such key, or another secret.
    pub async fn issue(&self, access_key_id: &str, secret: &str, now: Timestamp) -> Result<String, AccessError> {
        let key = self.access_key(access_key_id, now).await?.ok_or(AccessError::Denied)?;
        if !bool::from(key.secret_sha256.as_bytes().ct_eq(hash(secret).as_bytes())) {
            return Err(AccessError::Denied);
        }
        let signing = self.signing_keys(now).await?;
        let signing = signing.to_sign_with(now);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: access_key_id.to_owned(),
            org_id: key.org_id,
            permissions: key.permissions,
            iat: now.as_second(),
            exp: now.as_second().saturating_add(TOKEN_SECONDS),
        };
        let header = Header {
            kid: Some(signing.id.clone()),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(signing.text.as_bytes()))
            .map_err(|error| AccessError::Store(StoreError::other("signing a token", error)))
    }

    /// Who holds a token. Errors: not signed by Outbill, or expired at `now`.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, AccessError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AccessError::Denied)?;
        let id = header.kid.ok_or(AccessError::Denied)?;
        let keys = self.signing_keys(now).await?;
        let key = keys.named(&id).ok_or(AccessError::Denied)?;
        let mut validation = Validation::new(Algorithm::HS256);
        // Judged below at the `now` of the call, not at this computer's clock.
        validation.validate_exp = false;
        validation.set_issuer(&[ISSUER]);
        let decoding = DecodingKey::from_secret(key.text.as_bytes());
        let decoded = jsonwebtoken::decode::<Claims>(token, &decoding, &validation);
        let claims = decoded.map_err(|_| AccessError::Denied)?.claims;
        if claims.exp <= now.as_second() {
            return Err(AccessError::Denied);
        }
        Ok(Caller {
            access_key_id: claims.sub,
            organization: claims.org_id,
            permissions: claims.permissions,
        })
    }

    async fn access_key(&self, id: &str, now: Timestamp) -> Result<Option<AccessKey>, StoreError> {
        let remembered = self.read(|remembered| {
            remembered
                .access
                .get(id)
                .filter(|(_, at)| believed(*at, now))
                .map(|(key, _)| key.clone())
        });
        if remembered.is_some() {
            return Ok(remembered);
        }
        if id.len() > ACCESS_KEY_ID_BYTES_MAX {
            return Ok(None);
        }
        let name = access_key_name(id);
        let Some(text) = self.secrets.get(&name).await? else {
            return Ok(None);
        };
        let key: AccessKey = serde_json::from_str(&text).map_err(|_| StoreError::corrupt(name, "access key"))?;
        self.write(|remembered| {
            if remembered.access.len() >= REMEMBERED_MAX {
                remembered.access.clear();
            }
            remembered.access.insert(id.to_owned(), (key.clone(), now));
        });
        Ok(Some(key))
    }

    async fn signing_keys(&self, now: Timestamp) -> Result<SigningKeys, StoreError> {
        let remembered = self.read(|remembered| remembered.signing.clone());
        if let Some((keys, at)) = remembered
            && believed(at, now)
        {
            return Ok(keys);
        }
        // At once: the first request of a process waits for it.
        let (current, previous) = futures::join!(self.signing_key(Stage::Current), self.signing_key(Stage::Previous));
        let keys = SigningKeys {
            current: match current? {
                Some(current) => current,
                None => self.make_signing_key().await?,
            },
            previous: previous?,
        };
        self.write(|remembered| remembered.signing = Some((keys.clone(), now)));
        Ok(keys)
    }

    async fn signing_key(&self, stage: Stage) -> Result<Option<SecretVersion>, StoreError> {
        let found = self.secrets.version(SIGNING_SECRET, stage).await?;
        match found {
            Some(key) if key.text.len() < SIGNING_BYTES_MIN => Err(StoreError::corrupt(
                SIGNING_SECRET,
                format!("text, which is shorter than {SIGNING_BYTES_MIN} bytes,"),
            )),
            found => Ok(found),
        }
    }

    async fn make_signing_key(&self) -> Result<SecretVersion, StoreError> {
        self.secrets.create(SIGNING_SECRET, &random_text()).await?;
        // Whoever came first has written; what is stored counts.
        let stored = self.signing_key(Stage::Current).await?;
        stored.ok_or_else(|| StoreError::corrupt(SIGNING_SECRET, "SecretString"))
    }

    fn read<T>(&self, look: impl FnOnce(&Remembered) -> T) -> T {
        look(&self.remembered.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Remembered)) {
        change(&mut self.remembered.write().unwrap_or_else(PoisonError::into_inner));
    }
}

pub(super) fn believed(read_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(read_at).abs() < BELIEVED
}

fn access_key_name(id: &str) -> String {
    format!("access-keys/{}", name_part(id))
}

/// As secrets of callers are kept.
pub(super) fn hash(secret: &str) -> String {
    Sha256::digest(secret.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// 256 bits that nobody can guess: three random UUIDs hold 366.
fn random_text() -> String {
    let mut random = Sha256::new();
    for _ in 0..3 {
        random.update(Uuid::new_v4().as_bytes());
    }
    URL_SAFE_NO_PAD.encode(random.finalize())
}
