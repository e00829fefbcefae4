//! What a reconciliation knows before it reads: the configuration, where CloudTrail is read, and what is the configuration's own.

use std::collections::BTreeSet;

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
use crate::values::entry::{Connection, Entry};
use crate::values::ids::{ConfigurationId, CredentialId, OrganizationId};
use crate::values::mapping::{AWS, DIMENSION, folded};
use crate::values::trail::Observation;
use crate::values::usage_key::Buyer;

/// Mappings read at once.
const MAPPINGS_PER_PAGE: usize = 200;

/// One configuration's desk.
pub(super) struct Desk<'a> {
    pub(super) outbill: &'a Outbill,
    pub(super) now: Timestamp,
    pub(super) configuration: IntegrationConfiguration,
    pub(super) settings: MarketplaceConfiguration,
    pub(super) place: Place,
    pub(super) stance: Stance,
    metering: CredentialId,
    /// The organization's configurations: entries of others that are gone are looked at here.
    known: BTreeSet<ConfigurationId>,
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
        let known = configurations
            .iter()
            .map(|configuration| configuration.id.clone())
            .collect();
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
            known,
            dimensions: OnceCell::new(),
            configuration,
            settings,
        }))
    }

    /// Whether this configuration's reconciliation looks after an entry: its own, and those of configurations that are gone.
    pub(super) fn looks_after(&self, entry: &Entry) -> bool {
        let origin = &entry.origin;
        origin.connection.organization == self.stance.organization
            && entry.key.region == self.place.metering_region
            && (origin.configuration == self.configuration.id || !self.known.contains(&origin.configuration))
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
                    let page = PageRequest {
                        size: MAPPINGS_PER_PAGE,
                        after,
                    };
                    let of_dimension = |mapping: &crate::values::mapping::ExternalMapping| {
                        folded(&mapping.external_system) == folded(AWS)
                            && folded(&mapping.external_table) == folded(DIMENSION)
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
