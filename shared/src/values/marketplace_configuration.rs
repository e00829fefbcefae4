//! The settings of an integration that sends bills to AWS Marketplace.
//!
//! Read as a whole: every unknown key and every bad value is reported at once, each with its key and the way out. A setting that is null
//! counts as not given.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{
    account_filter::AccountFilter,
    amount,
    dimension::MarketplaceDimension,
    ids::{AccountId, CredentialId},
    line_item_type::LineItemType,
    settings::{Settings, account_id, address, currency, instant, metering_region, region, shown, store_id},
};

/// Every setting that an AWS Marketplace configuration of bills can have.
pub const SETTINGS: &[&str] = &[
    "accountIds",
    "restrictedAccountIds",
    "integrationDisabledNotificationUsers",
    "onlySendBillOnApproval",
    "useExternalMappingAccountCode",
    "excludedLineItemTypes",
    "accountFilter",
    "enforceExternalMappingsForConfig",
    "splitUsageLineItems",
    "marketplaceBillDimension",
    "marketplaceDefaultDimension",
    "marketplaceAdoptFrom",
    "marketplaceUnitPrice",
    "marketplaceCurrency",
    "marketplaceMeteringRegion",
    SHADOW,
    "awsMarketplaceCloudtrailChecks",
    "awsMarketplaceCloudtrailSource",
    "awsMarketplaceCloudtrailStoreId",
    "awsMarketplaceCloudtrailRegion",
    "awsMarketplaceCloudtrailCredentialsId",
];

/// `true`: bills are counted, and nothing is sent.
pub const SHADOW: &str = "marketplaceShadow";

/// m3ter asks for listings whose dimensions cost one cent a unit.
const UNIT_PRICE_DEFAULT: Decimal = Decimal::from_parts(1, 0, 0, false, 2);
/// AWS Marketplace lists in US dollars unless the seller chose otherwise.
const CURRENCY_DEFAULT: &str = "USD";
/// Where AWS takes metering for products that are not bound to a region.
pub const METERING_REGION_DEFAULT: &str = "us-east-1";

/// When a bill is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// With each version of the bill.
    EveryRegeneration,
    /// Only versions whose status is approved.
    OnApproval,
}

/// Which external mappings count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingScope {
    /// One that is linked to the configuration wins over one that is linked to none.
    LinkedFirst,
    /// Only those that are linked to the configuration.
    LinkedOnly,
}

/// How a bill is divided over dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// The whole bill on this one.
    PerBill(MarketplaceDimension),
    /// Each product on the dimension it is mapped to.
    PerProduct,
    /// Each aggregation on the dimension it is mapped to.
    PerAggregation,
}

/// Where CloudTrail's record of metering is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudtrailSource {
    /// A CloudTrail Lake event data store, asked by SQL.
    EventDataStore,
    /// The event history that every account has, asked with `LookupEvents`.
    EventHistory,
}

/// How reconciliation looks at CloudTrail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudtrailChecks {
    /// Which record is read.
    pub source: CloudtrailSource,
    /// The event data store; there for that source only.
    pub store_id: Option<String>,
    /// The AWS region that is asked: the store's, or for event history the metering region.
    pub region: String,
    /// The credential whose role reads CloudTrail; none: the one that meters.
    pub credential: Option<CredentialId>,
}

/// What a configuration of bills for AWS Marketplace says.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketplaceConfiguration {
    /// The accounts whose bills are sent; empty means all.
    pub account_ids: BTreeSet<AccountId>,
    /// The accounts whose bills are not sent.
    pub restricted_account_ids: BTreeSet<AccountId>,
    /// E-mail addresses that are told when the configuration is disabled.
    pub notification_users: Vec<String>,
    /// When a bill is sent.
    pub sending: Sending,
    /// Kept for m3ter's sake; AWS needs the account's mapping either way.
    pub use_external_mapping_account_code: bool,
    /// Lines that do not count.
    pub excluded_line_item_types: BTreeSet<LineItemType>,
    /// Only accounts of which this is true.
    pub account_filter: Option<AccountFilter>,
    /// Which external mappings count.
    pub mappings: MappingScope,
    /// How the bill is divided.
    pub split: Split,
    /// Takes the lines that lack the product or the aggregation that the split needs.
    pub default_dimension: Option<MarketplaceDimension>,
    /// From here on usage that others report counts as committed. None: from the configuration's creation.
    pub adopt_from: Option<Timestamp>,
    /// What one unit costs, in `currency`; above zero.
    pub unit_price: Decimal,
    /// The listing's currency, three capital letters of ISO 4217.
    pub currency: String,
    /// The AWS region whose metering service is called.
    pub metering_region: String,
    /// Reconciliation against CloudTrail; none when it is off.
    pub cloudtrail: Option<CloudtrailChecks>,
}

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigurationError {
    /// The key in `configData`.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Everything that is wrong with a configuration's settings; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ConfigurationError::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConfigurationErrors(pub Vec<ConfigurationError>);

impl MarketplaceConfiguration {
    /// Reads the settings. Errors: every unknown key and bad value.
    pub fn parse(config_data: &Map<String, Value>) -> Result<MarketplaceConfiguration, ConfigurationErrors> {
        let mut settings = Settings {
            given: config_data,
            errors: Vec::new(),
        };
        settings.refuse_unknown();
        let sending = match settings.flag("onlySendBillOnApproval") {
            true => Sending::OnApproval,
            false => Sending::EveryRegeneration,
        };
        let mappings = match settings.flag("enforceExternalMappingsForConfig") {
            true => MappingScope::LinkedOnly,
            false => MappingScope::LinkedFirst,
        };
        settings.flag(SHADOW);
        let split = settings.split();
        let metering_region = settings.text("marketplaceMeteringRegion", metering_region);
        let metering_region = metering_region.unwrap_or_else(|| METERING_REGION_DEFAULT.to_owned());
        let parsed = MarketplaceConfiguration {
            account_ids: settings.list("accountIds", account_id).into_iter().collect(),
            restricted_account_ids: settings.list("restrictedAccountIds", account_id).into_iter().collect(),
            notification_users: settings.list("integrationDisabledNotificationUsers", address),
            sending,
            use_external_mapping_account_code: settings.flag("useExternalMappingAccountCode"),
            excluded_line_item_types: settings.list("excludedLineItemTypes", shown).into_iter().collect(),
            account_filter: settings.account_filter(),
            mappings,
            split: split.unwrap_or(Split::PerProduct),
            default_dimension: settings.text("marketplaceDefaultDimension", shown),
            adopt_from: settings.text("marketplaceAdoptFrom", instant),
            unit_price: settings.unit_price().unwrap_or(UNIT_PRICE_DEFAULT),
            currency: settings
                .text("marketplaceCurrency", currency)
                .unwrap_or_else(|| CURRENCY_DEFAULT.to_owned()),
            cloudtrail: settings.cloudtrail(&metering_region),
            metering_region,
        };
        // The stand-in for a split that could not be read never leaves: then there is an error.
        if settings.errors.is_empty() {
            Ok(parsed)
        } else {
            Err(ConfigurationErrors(settings.errors))
        }
    }
}

impl Settings<'_> {
    fn account_filter(&mut self) -> Option<AccountFilter> {
        self.text("accountFilter", |text| {
            AccountFilter::parse(text).map_err(|error| error.to_string())
        })
    }

    fn split(&mut self) -> Option<Split> {
        let bill_dimension: Option<MarketplaceDimension> = self.text("marketplaceBillDimension", shown);
        const KEY: &str = "splitUsageLineItems";
        const CHOICES: &str = "choose ITEM_PER_BILL, ITEM_PER_PRODUCT or ITEM_PER_AGGREGATION";
        if self.value(KEY).is_none() {
            self.refuse(KEY, format!("it is missing; {CHOICES}"));
            return None;
        }
        // The Console's labels are "Item per bill" and so on.
        let word = self.text(KEY, |text| {
            match text.trim().to_ascii_uppercase().replace(' ', "_").as_str() {
                known @ ("ITEM_PER_BILL" | "ITEM_PER_PRODUCT" | "ITEM_PER_AGGREGATION") => Ok(known.to_owned()),
                _ => Err(CHOICES.to_owned()),
            }
        })?;
        match (word.as_str(), bill_dimension) {
            ("ITEM_PER_PRODUCT", _) => Some(Split::PerProduct),
            ("ITEM_PER_AGGREGATION", _) => Some(Split::PerAggregation),
            (_, Some(dimension)) => Some(Split::PerBill(dimension)),
            (_, None) if self.errors.iter().any(|error| error.key == "marketplaceBillDimension") => None,
            (_, None) => {
                self.refuse(
                    "marketplaceBillDimension",
                    "ITEM_PER_BILL needs it: give <productCode>-<dimensionKey>",
                );
                None
            }
        }
    }

    fn unit_price(&mut self) -> Option<Decimal> {
        const KEY: &str = "marketplaceUnitPrice";
        let text = match self.value(KEY)? {
            Value::String(text) => text.clone(),
            // The number's own text: no float is made of it.
            Value::Number(number) => number.to_string(),
            _ => {
                self.refuse(KEY, "give a decimal number above zero, such as \"0.01\"");
                return None;
            }
        };
        match amount::decimal(&text) {
            Ok(price) if price > Decimal::ZERO => Some(price),
            Ok(_) | Err(_) => {
                self.refuse(
                    KEY,
                    format!("{text:?}: give a decimal number above zero, such as \"0.01\""),
                );
                None
            }
        }
    }

    fn cloudtrail(&mut self, metering_region: &str) -> Option<CloudtrailChecks> {
        const STORE: &str = "awsMarketplaceCloudtrailStoreId";
        const REGION: &str = "awsMarketplaceCloudtrailRegion";
        let checks = self.flag("awsMarketplaceCloudtrailChecks");
        let store_id = self.text(STORE, store_id);
        let region = self.text(REGION, region);
        let credential = self.text("awsMarketplaceCloudtrailCredentialsId", |text| {
            CredentialId::new(text).map_err(|error| error.to_string())
        });
        let source = self.text("awsMarketplaceCloudtrailSource", |text| match text {
            "EVENT_DATA_STORE" => Ok(CloudtrailSource::EventDataStore),
            "EVENT_HISTORY" => Ok(CloudtrailSource::EventHistory),
            _ => Err("choose EVENT_DATA_STORE or EVENT_HISTORY".to_owned()),
        });
        let source = source.unwrap_or(match store_id {
            Some(_) => CloudtrailSource::EventDataStore,
            None => CloudtrailSource::EventHistory,
        });
        if !checks {
            return None;
        }
        match source {
            CloudtrailSource::EventDataStore => {
                if store_id.is_none() && !self.errors.iter().any(|error| error.key == STORE) {
                    self.refuse(
                        STORE,
                        "EVENT_DATA_STORE needs it: give the id or ARN of the event data store",
                    );
                }
                let region = region.unwrap_or_else(|| metering_region.to_owned());
                Some(CloudtrailChecks {
                    source,
                    store_id,
                    region,
                    credential,
                })
            }
            CloudtrailSource::EventHistory => {
                if region.is_some_and(|region| region != metering_region) {
                    let problem = format!(
                        "event history is read where metering is called, in {metering_region}; leave the region out, or give {STORE}"
                    );
                    self.refuse(REGION, problem);
                }
                Some(CloudtrailChecks {
                    source,
                    store_id: None,
                    region: metering_region.to_owned(),
                    credential,
                })
            }
        }
    }
}

#[cfg(test)]
#[path = "marketplace_configuration_tests.rs"]
mod tests;
