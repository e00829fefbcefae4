//! The state of AWS Marketplace metering and the one call that changes it.
//!
//! Invariants: what is held under a key never changes, and a refused call holds nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::buyers::{BuyerStatement, Buyers};
use crate::error::MeteringError;
use crate::record::{Customer, Held, Identity, UsageKey};
use crate::request::{self, Record};
use crate::rules::{hour_of, window_refusal};
use crate::switches::{IdenticalRepeat, SubscriptionJudged, SwitchChange, Switches};
use crate::trail::{Trail, TrailChange};

/// One `BatchMeterUsage` call.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The region of the endpoint: the scope of the signature.
    pub region: &'a str,
    /// The account that signed.
    pub account: &'a str,
    /// The body as it came.
    pub request_json: &'a str,
    /// AWS's clock.
    pub now: Timestamp,
    /// Whether AWS fails to get to some of the records: the later half, rounded up, comes back as
    /// `UnprocessedRecords` and has no effect.
    pub leave_unprocessed: bool,
}

/// AWS Marketplace as far as metering goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marketplace {
    #[serde(with = "pairs")]
    held: BTreeMap<UsageKey, Held>,
    switches: Switches,
    buyers: Buyers,
    receipts_given: u64,
    violations: Vec<String>,
    throttle: BTreeMap<String, CallsInSecond>,
    pub(crate) trail: Trail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct CallsInSecond {
    second: i64,
    calls: u32,
}

impl Marketplace {
    /// Nothing held, every buyer subscribed, every switch at its default.
    pub fn new() -> Marketplace {
        Marketplace::default()
    }

    /// Answers a call whose records are all processed.
    pub fn batch_meter_usage(
        &mut self,
        region: &str,
        account: &str,
        request_json: &str,
        now: Timestamp,
    ) -> Result<Value, MeteringError> {
        self.call(Call {
            region,
            account,
            request_json,
            now,
            leave_unprocessed: false,
        })
    }

    /// Answers a call: the JSON of the response, or the error that refuses the whole batch.
    pub fn call(&mut self, call: Call<'_>) -> Result<Value, MeteringError> {
        let answer = self.answer(call);
        self.trail
            .record((call.region, call.account, call.now), call.request_json, &answer);
        answer
    }

    /// What CloudTrail recorded.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Changes how CloudTrail records.
    pub fn change_trail(&mut self, change: TrailChange) {
        self.trail.change(change);
    }

    fn answer(&mut self, call: Call<'_>) -> Result<Value, MeteringError> {
        self.throttle(&call)?;
        let records = request::read(call.request_json).map_err(|refusal| {
            self.violations.extend(refusal.violation);
            refusal.error
        })?;
        for record in &records {
            self.check(record, call.now)?;
        }
        let processed = match call.leave_unprocessed {
            true => records.len() / 2,
            false => records.len(),
        };
        let (now_processed, left) = records.split_at(processed);
        let results: Vec<Value> = now_processed.iter().map(|record| self.process(record, &call)).collect();
        let unprocessed: Vec<&Value> = left.iter().map(|record| &record.as_sent).collect();
        Ok(json!({ "Results": results, "UnprocessedRecords": unprocessed }))
    }

    /// Changes how the open questions are answered.
    pub fn change_switches(&mut self, change: SwitchChange) {
        self.switches.change(change);
    }

    /// How the open questions are answered.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Records whether a buyer is subscribed.
    pub fn state_buyer(&mut self, statement: &BuyerStatement) {
        self.buyers.state(statement);
    }

    /// What came in that a careful program never sends, in words. Empty for a correct program.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Everything that is held, billed or not, in the order of the keys.
    pub fn held(&self) -> impl Iterator<Item = (&UsageKey, &Held)> {
        self.held.iter()
    }

    //= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
    //# The calls to the API are throttled.
    fn throttle(&mut self, call: &Call<'_>) -> Result<(), MeteringError> {
        let Some(limit) = self.switches.throttle_calls_per_second else {
            return Ok(());
        };
        let second = call.now.as_second();
        let scope = format!("{}/{}", call.account, call.region);
        let counted = self.throttle.entry(scope).or_insert(CallsInSecond { second, calls: 0 });
        if counted.second != second {
            *counted = CallsInSecond { second, calls: 0 };
        }
        counted.calls += 1;
        if counted.calls > limit {
            Err(MeteringError::refused("ThrottlingException", "Rate exceeded"))
        } else {
            Ok(())
        }
    }

    //= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
    //# For BatchMeterUsage, if any of the records are outside of the allowed range, the entire batch is not processed.
    fn check(&self, record: &Record, now: Timestamp) -> Result<(), MeteringError> {
        let switches = &self.switches;
        let bad = |list: &[String], name: &str| list.iter().any(|one| one == name);
        match &record.identity {
            Identity::Product(code) if bad(&switches.bad_products, code) => {
                return Err(MeteringError::refused(
                    "InvalidProductCodeException",
                    format!("The product code {code} does not match a published product"),
                ));
            }
            Identity::License(license) if bad(&switches.bad_licenses, license) => {
                return Err(MeteringError::refused(
                    "InvalidLicenseException",
                    format!("The license {license} is not valid"),
                ));
            }
            Identity::License(license)
                if switches
                    .license_periods
                    .iter()
                    .any(|period| period.excludes(license, record.timestamp)) =>
            {
                return Err(MeteringError::refused(
                    "InvalidLicenseException",
                    format!("The usage is not within the activation period of license {license}"),
                ));
            }
            Identity::Product(_) | Identity::License(_) => {}
        }
        if bad(&switches.bad_customers, record.customer.as_str()) {
            return Err(MeteringError::refused(
                "InvalidCustomerIdentifierException",
                format!("The customer {} does not exist", record.customer.as_str()),
            ));
        }
        if bad(&switches.bad_dimensions, &record.dimension) {
            return Err(MeteringError::refused(
                "InvalidUsageDimensionException",
                format!("The dimension {} is not the product's", record.dimension),
            ));
        }
        match window_refusal(record.timestamp, now, switches.future_tolerance_seconds) {
            Some(why) => Err(MeteringError::refused("TimestampOutOfBoundsException", why)),
            None => Ok(()),
        }
    }

    fn process(&mut self, record: &Record, call: &Call<'_>) -> Value {
        let hour = hour_of(record.timestamp);
        let key = UsageKey {
            region: call.region.to_owned(),
            identity: record.identity.clone(),
            customer: record.customer.clone(),
            dimension: record.dimension.clone(),
            hour,
        };
        let judged_at = match self.switches.subscription_judged {
            SubscriptionJudged::AtCall => call.now,
            SubscriptionJudged::AtUsageHour => hour,
        };
        if !self.buyers.is_subscribed(record.customer.as_str(), judged_at) {
            if self.switches.refused_customer_occupies_hour {
                self.write(key, record.quantity, false, call.account);
            }
            return self.result(record, "CustomerNotSubscribed", None);
        }
        let is_first = !self.held.contains_key(&key);
        let same_is_success = is_first || self.switches.identical_repeat == IdenticalRepeat::Success;
        let held = self.write(key, record.quantity, true, call.account);
        let receipt = (held.billed && held.quantity == record.quantity && same_is_success)
            .then(|| held.metering_record_id.clone());
        match receipt {
            Some(receipt) => self.result(record, "Success", Some(&receipt)),
            None => self.result(record, "DuplicateRecord", None),
        }
    }

    //= https://docs.aws.amazon.com/marketplace/latest/userguide/saas-code-examples.html
    //# "CustomerIdentifier":"customerID" in the answer to a request with the account id alone
    fn result(&self, record: &Record, status: &str, metering_record_id: Option<&str>) -> Value {
        let mut echo = record.as_sent.clone();
        if let (true, Value::Object(fields)) = (self.switches.echoes_both_identities, &mut echo) {
            let (name, other) = match &record.customer {
                Customer::AwsAccount(id) => ("CustomerIdentifier", format!("legacy-{id}")),
                Customer::Identifier(id) => ("CustomerAWSAccountId", account_id(id)),
            };
            fields.insert(name.to_owned(), json!(other));
        }
        let mut result = json!({ "UsageRecord": echo, "Status": status });
        if let (Some(id), Value::Object(fields)) = (metering_record_id, &mut result) {
            fields.insert("MeteringRecordId".to_owned(), json!(id));
        }
        result
    }

    /// Writes if nothing is held under the key; gives what is held afterwards.
    pub(crate) fn write(&mut self, key: UsageKey, quantity: i64, billed: bool, reported_by: &str) -> &Held {
        let receipts_given = &mut self.receipts_given;
        self.held.entry(key).or_insert_with(|| {
            *receipts_given += 1;
            Held {
                quantity,
                metering_record_id: receipt(*receipts_given),
                billed,
                reported_by: reported_by.to_owned(),
            }
        })
    }
}

/// The account behind an identifier of old: twelve digits that depend on it alone.
fn account_id(identifier: &str) -> String {
    let digits = identifier.bytes().fold(0_u64, |digits, byte| {
        (digits * 257 + u64::from(byte)) % 1_000_000_000_000
    });
    format!("{digits:012}")
}

// Looks like AWS's identifiers and depends on the count alone.
fn receipt(count: u64) -> String {
    let spread = |seed: u64| {
        let mut mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 27)
    };
    let bits = (u128::from(spread(count)) << 64) | u128::from(spread(!count));
    uuid::Builder::from_random_bytes(bits.to_be_bytes())
        .into_uuid()
        .to_string()
}

/// JSON has no maps with structured keys, so the map travels as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::record::{Held, UsageKey};

    pub fn serialize<S: Serializer>(held: &BTreeMap<UsageKey, Held>, serializer: S) -> Result<S::Ok, S::Error> {
        held.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<UsageKey, Held>, D::Error> {
        Ok(Vec::<(UsageKey, Held)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}
