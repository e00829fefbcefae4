//! What a reconciliation knows before it reads: the configuration, where CloudTrail is read, and what is the configuration's own.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::ReconcileError;
use crate::Outbill;
use crate::decisions::comparison::Stance;
use crate::effects::cloudtrail::Place;
use crate::effects::table::{PageRequest, StoreError};
use crate::values::configuration::{CloudtrailSource, IntegrationConfiguration, MarketplaceConfiguration, Split};
use crate::values::credential::IntegrationCredential;
use crate::values::dimension::MarketplaceDimension;
use crate::values::entry::{Connection, Entry, KeyState};
use crate::values::ids::{ConfigurationId, CredentialId, OrganizationId};
use crate::values::mapping::{ACCOUNT, AWS, folded};
use crate::values::trail::Observation;
use crate::values::usage_key::Buyer;

/// Mappings or credentials read at once.
const PAGE_SIZE: usize = 200;

/// One configuration's desk.
pub(super) struct Desk<'a> {
    pub(super) outbill: &'a Outbill,
    pub(super) now: Timestamp,
    pub(super) configuration: IntegrationConfiguration,
    pub(super) settings: MarketplaceConfiguration,
    pub(super) place: Place,
    pub(super) stance: Stance,
    metering: CredentialId,
    /// The organization's credentials that meter in the account that is looked at: silence of one account says nothing of another's records.
    of_account: BTreeSet<CredentialId>,
    /// The organization's configurations, and from when each adopts. Entries of others that are gone are looked at here.
    adopts_from: BTreeMap<ConfigurationId, Timestamp>,
    dimensions: OnceCell<BTreeSet<MarketplaceDimension>>,
}

impl<'a> Desk<'a> {
    /// Sets a desk up. The inner error says, in words, why nothing can be checked.
    pub(super) async fn set_up(
        outbill: &'a Outbill,
        organization: &OrganizationId,
        id: &ConfigurationId,
        now: Timestamp,
    ) -> Result<Result<Desk<'a>, String>, ReconcileError> {
        let configurations = outbill.configurations.of_organization(organization).await?;
        let mut adopts_from = BTreeMap::new();
        for configuration in &configurations {
            let settings = configuration.marketplace().ok();
            let from = settings.and_then(|settings| settings.adopt_from);
            adopts_from.insert(configuration.id.clone(), from.unwrap_or(configuration.audit.created));
        }
        let Some(configuration) = configurations.into_iter().find(|configuration| configuration.id == *id) else {
            return Ok(Err(format!("configuration {id} does not exist any more")));
        };
        let settings = match configuration.marketplace() {
            Ok(settings) => settings,
            Err(errors) => return Ok(Err(format!("the configuration's settings cannot be used: {errors}"))),
        };
        let Some(checks) = settings.cloudtrail.clone() else {
            return Ok(Err(
                "awsMarketplaceCloudtrailChecks is off: turn it on to compare with CloudTrail".to_owned(),
            ));
        };
        let Some(metering) = configuration.credential.clone() else {
            return Ok(Err("the configuration has no credential: connect one".to_owned()));
        };
        let reading = checks.credential.clone().unwrap_or_else(|| metering.clone());
        let meters = outbill.credentials.get(organization, &metering).await?;
        let reads = outbill.credentials.get(organization, &reading).await?;
        let Some(reads) = reads else {
            return Ok(Err(format!(
                "credential {reading}, which reads CloudTrail, does not exist: connect another one, or mend awsMarketplaceCloudtrailCredentialsId"
            )));
        };
        let account = |credential: &IntegrationCredential| credential.aws.as_ref().map(|role| role.account_id.clone());
        let (metered, read) = (meters.as_ref().and_then(account), account(&reads));
        if checks.source == CloudtrailSource::EventHistory && metered.is_some() && read.is_some() && metered != read {
            return Ok(Err(format!(
                "event history is read in account {}, and account {} meters: give awsMarketplaceCloudtrailCredentialsId a role in the account that meters",
                read.unwrap_or_default(),
                metered.unwrap_or_default()
            )));
        }
        let mut of_account = BTreeSet::from([metering.clone()]);
        for credential in all_credentials(outbill, organization).await? {
            if account(&credential) == metered {
                of_account.insert(credential.id);
            }
        }
        let stance = Stance {
            organization: organization.clone(),
            adopt_from: settings.adopt_from.unwrap_or(configuration.audit.created),
        };
        Ok(Ok(Desk {
            outbill,
            now,
            place: Place {
                checks,
                metering_region: settings.metering_region.clone(),
                account: metered,
                credential: reads,
            },
            stance,
            metering,
            of_account,
            adopts_from,
            dimensions: OnceCell::new(),
            configuration,
            settings,
        }))
    }

    /// Whether this configuration's reconciliation looks after an entry: its own, and those of configurations that are gone, as far as they were
    /// metered in the account that it looks at.
    pub(super) fn looks_after(&self, entry: &Entry) -> bool {
        let origin = &entry.origin;
        origin.connection.organization == self.stance.organization
            && entry.key.region == self.place.metering_region
            && self.of_account.contains(&origin.connection.credential)
            && (origin.configuration == self.configuration.id || !self.adopts_from.contains_key(&origin.configuration))
    }

    /// What may be adopted on a key: as the configuration has it that counts there, whoever looks.
    pub(super) fn stance_on(&self, state: Option<&KeyState>) -> Stance {
        let from = state.and_then(|state| self.adopts_from.get(&state.origin.configuration));
        Stance {
            organization: self.stance.organization.clone(),
            adopt_from: from.copied().unwrap_or(self.stance.adopt_from),
        }
    }

    /// The dimension of the listing that a record without a key is for, if the configuration sends there.
    pub(super) async fn dimension_of(&self, seen: &Observation) -> Result<Option<MarketplaceDimension>, StoreError> {
        let dimensions = self.dimensions.get_or_try_init(|| self.read_dimensions()).await?;
        let mut fitting = dimensions.iter().filter(|dimension| {
            dimension.key() == seen.key.dimension
                && match &seen.key.buyer {
                    Buyer::Product { product_code, .. } => dimension.product_code() == product_code,
                    // The licence names the product; where two products have the dimension, nobody knows which it is.
                    Buyer::License { .. } => true,
                }
        });
        Ok(match (fitting.next(), fitting.next()) {
            (Some(one), None) => Some(one.clone()),
            (Some(_), Some(_)) | (None, _) => None,
        })
    }

    async fn read_dimensions(&self) -> Result<BTreeSet<MarketplaceDimension>, StoreError> {
        let mut found: BTreeSet<MarketplaceDimension> = self.settings.default_dimension.iter().cloned().collect();
        match &self.settings.split {
            Split::PerBill(dimension) => {
                found.insert(dimension.clone());
            }
            Split::PerProduct | Split::PerAggregation => {
                let mut after = None;
                loop {
                    let page = PageRequest { size: PAGE_SIZE, after };
                    let of_dimension = |mapping: &crate::values::mapping::ExternalMapping| {
                        folded(&mapping.external_system) == folded(AWS)
                            && folded(&mapping.m3ter_entity) != folded(ACCOUNT)
                            && mapping
                                .configuration
                                .as_ref()
                                .is_none_or(|id| *id == self.configuration.id)
                    };
                    let mappings = &self.outbill.mappings;
                    let page = mappings.list(&self.stance.organization, &page, of_dimension).await?;
                    found.extend(page.items.iter().filter_map(|mapping| mapping.external_id.parse().ok()));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
        }
        Ok(found)
    }

    /// How usage of a product reaches AWS by this configuration.
    pub(super) fn connection(&self, product_code: &str) -> Connection {
        Connection {
            organization: self.stance.organization.clone(),
            credential: self.metering.clone(),
            region: self.place.metering_region.clone(),
            product_code: product_code.to_owned(),
        }
    }
}

async fn all_credentials(
    outbill: &Outbill,
    organization: &OrganizationId,
) -> Result<Vec<IntegrationCredential>, StoreError> {
    let mut found = Vec::new();
    let mut page = PageRequest {
        size: PAGE_SIZE,
        after: None,
    };
    loop {
        let credentials = outbill.credentials.list(organization, &page).await?;
        found.extend(credentials.items);
        if credentials.next.is_none() {
            return Ok(found);
        }
        page.after = credentials.next;
    }
}
