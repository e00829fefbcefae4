//! Signed clients of one service, one for each role and region, kept while the function is warm; and the pace that their accounts share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_config::{Region, SdkConfig, sts::AssumeRoleProvider};
use aws_credential_types::provider::SharedCredentialsProvider;

use super::pace::Pace;
use crate::values::credential::AwsRole;

/// What AWS counts calls by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quota {
    /// Of the role; the functions' own without one.
    account: Option<String>,
    region: String,
}

impl Quota {
    /// The one that calls take which a role signs, or the functions' own without one.
    pub(crate) fn new(role: Option<&AwsRole>, region: &str) -> Quota {
        Quota {
            account: role.map(|role| role.account_id.clone()),
            region: region.to_owned(),
        }
    }
}

/// Who signs, and for which region: the role's ARN with its external id, so that a credential whose role changes gets another client.
type Signer = (Option<(String, String)>, String);

/// The clients of a service. Clones share them and their paces.
#[derive(Clone)]
pub(crate) struct Clients<C> {
    sdk: SdkConfig,
    session_name: &'static str,
    calls_per_second: u32,
    connect: fn(&SdkConfig) -> C,
    clients: Arc<Mutex<HashMap<Signer, C>>>,
    paces: Arc<Mutex<HashMap<Quota, Arc<Pace>>>>,
}

/// Without the clients: they are kept by the external ids of their roles.
impl<C> fmt::Debug for Clients<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("session_name", &self.session_name)
            .field("calls_per_second", &self.calls_per_second)
            .finish_non_exhaustive()
    }
}

/// A client with the pace that its account shares.
pub(crate) struct Paced<C> {
    pub(crate) client: C,
    pub(crate) pace: Arc<Pace>,
}

impl<C: Clone> Clients<C> {
    /// Signs with what `sdk` says, or with a role that it may assume under a session's name. `connect` makes a client that signs so; each account
    /// has so many calls a second in each region.
    pub(crate) fn new(
        sdk: &SdkConfig,
        session_name: &'static str,
        calls_per_second: u32,
        connect: fn(&SdkConfig) -> C,
    ) -> Clients<C> {
        Clients {
            sdk: sdk.clone(),
            session_name,
            calls_per_second,
            connect,
            clients: Arc::default(),
            paces: Arc::default(),
        }
    }

    /// The client that signs with a role, or with the functions' own without one.
    pub(crate) async fn get(&self, role: Option<&AwsRole>, region: &str) -> Paced<C> {
        let signer = (
            role.map(|role| (role.arn(), role.external_id.clone())),
            region.to_owned(),
        );
        let pace = lock(&self.paces)
            .entry(Quota::new(role, region))
            .or_insert_with(|| Arc::new(Pace::new(self.calls_per_second)))
            .clone();
        let known = lock(&self.clients).get(&signer).cloned();
        if let Some(client) = known {
            return Paced { client, pace };
        }
        let made = (self.connect)(&self.signed_by(role, region).await);
        let client = lock(&self.clients).entry(signer).or_insert(made).clone();
        Paced { client, pace }
    }

    async fn signed_by(&self, role: Option<&AwsRole>, region: &str) -> SdkConfig {
        let sdk = self.sdk.to_builder().region(Region::new(region.to_owned()));
        let sdk = match role {
            Some(role) => {
                let assumed = AssumeRoleProvider::builder(role.arn())
                    .session_name(self.session_name)
                    .external_id(&role.external_id);
                let assumed = assumed.configure(&self.sdk).build().await;
                sdk.credentials_provider(SharedCredentialsProvider::new(assumed))
            }
            None => sdk,
        };
        sdk.build()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
