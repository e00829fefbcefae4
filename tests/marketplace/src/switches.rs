//! The questions that AWS's documents leave open, each a switch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a byte-identical repeat of an accepted record is answered.
///
/// One page calls identical requests idempotent, another says that a repeat is a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdenticalRepeat {
    /// `Success` with the metering record id of the first write.
    Success,
    /// `DuplicateRecord`, although the quantity is the same.
    DuplicateRecord,
}

/// At which instant the buyer's subscription is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscriptionJudged {
    /// When the call is made.
    #[serde(rename = "call")]
    AtCall,
    /// At the hour for which usage is reported.
    #[serde(rename = "usageHour")]
    AtUsageHour,
}

/// When a licence is active. Outside of it AWS refuses its usage as it refuses a licence that it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LicensePeriod {
    /// Whose period it is.
    pub license_arn: String,
    /// Its first instant; absent: it always was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// The first instant after it; absent: it does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl LicensePeriod {
    //= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
    //# usage is within the license activation period
    pub(crate) fn excludes(&self, license_arn: &str, at: Timestamp) -> bool {
        let outside = self.from.is_some_and(|from| at < from) || self.until.is_some_and(|until| at >= until);
        self.license_arn == license_arn && outside
    }
}

/// How the open questions are answered at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Switches {
    /// Default: `Success`.
    pub identical_repeat: IdenticalRepeat,
    /// Default: the call.
    pub subscription_judged: SubscriptionJudged,
    /// Whether the record of a buyer who is not subscribed takes its hour all the same. Default: no.
    pub refused_customer_occupies_hour: bool,
    /// How far ahead of the clock a timestamp may lie. Default: 0.
    pub future_tolerance_seconds: u32,
    /// Calls per account and region in one second of the virtual clock; absent: no limit.
    ///
    /// The virtual clock stands still, so every call between two moves of it falls into one second.
    /// That is why the limit is off unless a test asks for it: AWS's own number is 10.
    pub throttle_calls_per_second: Option<u32>,
    /// Dimensions that the product does not have. All others are known.
    pub bad_dimensions: Vec<String>,
    /// Product codes that do not exist.
    pub bad_products: Vec<String>,
    /// Licence ARNs that are not valid.
    pub bad_licenses: Vec<String>,
    /// Customers (identifier or account id) that do not exist.
    pub bad_customers: Vec<String>,
    /// Licences that are active for a time only.
    #[serde(default)]
    pub license_periods: Vec<LicensePeriod>,
    /// Whether an answer names a buyer by account id and by identifier, whichever of them the request had, as AWS's examples do. Default: no.
    #[serde(default)]
    pub echoes_both_identities: bool,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            identical_repeat: IdenticalRepeat::Success,
            subscription_judged: SubscriptionJudged::AtCall,
            refused_customer_occupies_hour: false,
            future_tolerance_seconds: 0,
            throttle_calls_per_second: None,
            bad_dimensions: Vec::new(),
            bad_products: Vec::new(),
            bad_licenses: Vec::new(),
            bad_customers: Vec::new(),
            license_periods: Vec::new(),
            echoes_both_identities: false,
        }
    }
}

/// A change of some switches; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchChange {
    /// See [`Switches::identical_repeat`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identical_repeat: Option<IdenticalRepeat>,
    /// See [`Switches::subscription_judged`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_judged: Option<SubscriptionJudged>,
    /// See [`Switches::refused_customer_occupies_hour`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_customer_occupies_hour: Option<bool>,
    /// See [`Switches::future_tolerance_seconds`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub future_tolerance_seconds: Option<u32>,
    /// See [`Switches::throttle_calls_per_second`]; 0 takes the limit away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle_calls_per_second: Option<u32>,
    /// Replaces [`Switches::bad_dimensions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_dimensions: Option<Vec<String>>,
    /// Replaces [`Switches::bad_products`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_products: Option<Vec<String>>,
    /// Replaces [`Switches::bad_licenses`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_licenses: Option<Vec<String>>,
    /// Replaces [`Switches::bad_customers`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_customers: Option<Vec<String>>,
    /// Replaces [`Switches::license_periods`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_periods: Option<Vec<LicensePeriod>>,
    /// See [`Switches::echoes_both_identities`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echoes_both_identities: Option<bool>,
}

impl Switches {
    /// Applies a change.
    pub fn change(&mut self, change: SwitchChange) {
        fn put<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        put(&mut self.identical_repeat, change.identical_repeat);
        put(&mut self.subscription_judged, change.subscription_judged);
        put(
            &mut self.refused_customer_occupies_hour,
            change.refused_customer_occupies_hour,
        );
        put(&mut self.future_tolerance_seconds, change.future_tolerance_seconds);
        if let Some(limit) = change.throttle_calls_per_second {
            self.throttle_calls_per_second = (limit > 0).then_some(limit);
        }
        put(&mut self.bad_dimensions, change.bad_dimensions);
        put(&mut self.bad_products, change.bad_products);
        put(&mut self.bad_licenses, change.bad_licenses);
        put(&mut self.bad_customers, change.bad_customers);
        put(&mut self.license_periods, change.license_periods);
        put(&mut self.echoes_both_identities, change.echoes_both_identities);
    }
}
