//! Events as they really come: JSON in JSON, dates in words, names in more than one case, elements left out.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::values::amount::{RECORD_UNITS_MAX, Units};
use crate::values::hour::Hour;
use crate::values::trail::{Content, EVENT_NAME, EVENT_SOURCE, Observation, TrailEvent};
use crate::values::usage_key::{Buyer, Customer, UsageKey};

/// What an event is made of, wherever it was read.
pub(super) struct Parts {
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) account: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) product_code: Option<String>,
    /// `requestParameters` or `responseElements` were left out.
    pub(super) omitted: bool,
    /// `responseElements.results`.
    pub(super) results: Option<Value>,
}

/// Reads an event of the event history. `None`: it is about something else. One that cannot be read hides what happened at its time.
pub fn read(id: Option<&str>, at: Option<Timestamp>, json: &str, region: &str) -> Option<TrailEvent> {
    let Ok(Value::Object(event)) = serde_json::from_str::<Value>(json) else {
        return Some(TrailEvent {
            id: id.unwrap_or(json).to_owned(),
            at: at.unwrap_or(Timestamp::UNIX_EPOCH),
            account: None,
            content: unreadable("the event is no JSON object"),
        });
    };
    let text_of = |name: &str| text(&event, name);
    let other = |name: &str, expect: &str| text_of(name).is_some_and(|found| found != expect);
    if other("eventSource", EVENT_SOURCE) || other("eventName", EVENT_NAME) || other("awsRegion", region) {
        return None;
    }
    let at = at.or_else(|| text_of("eventTime")?.parse().ok());
    let element = |name: &str| nested(field(&event, name).cloned());
    let (request, response) = (element("requestParameters"), element("responseElements"));
    let part = |element: &Option<Value>, name: &str| {
        let object = element.as_ref().and_then(Value::as_object);
        object.and_then(|object| field(object, name)).cloned()
    };
    let omitted = |element: &Option<Value>| part(element, "omitted").is_some_and(|value| is_true(&value));
    let parts = Parts {
        id: text_of("eventID").or_else(|| id.map(str::to_owned)).unwrap_or_default(),
        at: at.unwrap_or(Timestamp::UNIX_EPOCH),
        account: text_of("recipientAccountId"),
        error_code: text_of("errorCode"),
        product_code: part(&request, "productCode").and_then(|code| code.as_str().map(str::to_owned)),
        omitted: omitted(&request) || omitted(&response),
        results: part(&response, "results"),
    };
    Some(parts.read(region))
}

impl Parts {
    /// What the event says about the records of its call.
    pub(super) fn read(self, region: &str) -> TrailEvent {
        let content = self.content(region);
        TrailEvent {
            id: self.id,
            at: self.at,
            account: self.account,
            content,
        }
    }

    fn content(&self, region: &str) -> Content {
        if let Some(code) = self.error_code.as_ref().filter(|code| !code.is_empty()) {
            return Content::Refused { code: code.clone() };
        }
        if self.omitted {
            return Content::Omitted;
        }
        let Some(Value::Array(results)) = nested(self.results.clone()) else {
            return unreadable("responseElements.results is no list");
        };
        let mut accepted = Vec::new();
        let mut not_accepted: usize = 0;
        for result in results {
            let Some(Value::Object(result)) = nested(Some(result)) else {
                return unreadable("a result is no object");
            };
            match text(&result, "status") {
                Some(status) if status == "Success" => match self.observation(&result, region) {
                    Ok(observation) => accepted.push(observation),
                    Err(reason) => return unreadable(reason),
                },
                Some(_) => not_accepted = not_accepted.saturating_add(1),
                None => return unreadable("a result has no status"),
            }
        }
        Content::Answered { accepted, not_accepted }
    }

    fn observation(&self, result: &Map<String, Value>, region: &str) -> Result<Observation, &'static str> {
        let record = nested(field(result, "usageRecord").cloned());
        let Some(Value::Object(record)) = record else {
            return Err("a result has no usageRecord");
        };
        let timestamp = field(&record, "timestamp").ok_or("a usage record has no timestamp")?;
        let at = instant(timestamp).ok_or("a usage record's timestamp cannot be read")?;
        let given = |name: &str| text(&record, name).filter(|text| !text.is_empty());
        let account_id = given("customerAWSAccountId").map(Customer::AwsAccountId);
        let identifier = given("customerIdentifier").map(Customer::Identifier);
        let (customer, other) = match (account_id, identifier) {
            (Some(account_id), identifier) => (account_id, identifier),
            (None, Some(identifier)) => (identifier, None),
            (None, None) => return Err("a usage record names no customer"),
        };
        let product_code = self.product_code.clone().filter(|code| !code.is_empty());
        let buyer = match (given("licenseArn"), &product_code, customer) {
            (Some(license_arn), _, Customer::AwsAccountId(id) | Customer::Identifier(id)) => Buyer::License {
                license_arn,
                customer_aws_account_id: id,
            },
            (None, Some(product_code), customer) => Buyer::Product {
                product_code: product_code.clone(),
                customer,
            },
            (None, None, _) => return Err("the request has neither a product code nor a licence"),
        };
        let dimension = given("dimension").ok_or("a usage record has no dimension")?;
        let key_of = |buyer: Buyer| UsageKey {
            region: region.to_owned(),
            buyer,
            dimension: dimension.clone(),
        };
        let other_buyer = match &buyer {
            Buyer::Product { product_code, .. } => other.map(|customer| Buyer::Product {
                product_code: product_code.clone(),
                customer,
            }),
            Buyer::License { .. } => None,
        };
        Ok(Observation {
            other_key: other_buyer.map(key_of),
            key: key_of(buyer),
            product_code,
            hour: Hour::containing(at),
            quantity: quantity(field(&record, "quantity")).ok_or("a usage record's quantity cannot be read")?,
            metering_record_id: text(result, "meteringRecordId"),
            event: self.id.clone(),
            at: self.at,
        })
    }
}

fn unreadable(reason: &str) -> Content {
    Content::Unreadable {
        reason: reason.to_owned(),
    }
}

/// A field by its name, in whatever case: CloudTrail writes `customerAWSAccountId` as the service does, and services differ.
fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let exact = object.get(name);
    let folded = || {
        let mut fields = object.iter();
        fields
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    exact.or_else(folded).filter(|value| !value.is_null())
}

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    match field(object, name)? {
        Value::String(text) => Some(text.clone()),
        // An account id without its quotes.
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A value that may be JSON as text: CloudTrail Lake gives maps of texts.
fn nested(value: Option<Value>) -> Option<Value> {
    match value? {
        Value::String(text) => serde_json::from_str(&text).ok(),
        other => Some(other),
    }
}

pub(super) fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true) || value.as_str() == Some("true")
}

/// Whole units; a record without a quantity is one of 0, as AWS counts it.
fn quantity(value: Option<&Value>) -> Option<Units> {
    let units = match value {
        None => Some(0),
        Some(Value::Number(number)) => number.to_string().parse().ok(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    units.filter(|units| (0..=RECORD_UNITS_MAX).contains(units))
}

/// `Apr 19, 2018 4:32:50 PM` as CloudTrail writes it, UTC; also an RFC 3339 instant, and seconds or milliseconds since 1970.
pub(super) fn instant(value: &Value) -> Option<Timestamp> {
    /// Later than this in seconds, it is milliseconds.
    const SECONDS_MAX: i64 = 100_000_000_000;
    if let Value::Number(number) = value {
        let text = number.to_string();
        let whole = text.split('.').next().unwrap_or_default();
        let count: i64 = whole.parse().ok()?;
        let seconds = if count > SECONDS_MAX {
            count.div_euclid(1000)
        } else {
            count
        };
        return Timestamp::from_second(seconds).ok();
    }
    // Newer runtimes put a narrow no-break space before AM and PM.
    let text: String = value
        .as_str()?
        .chars()
        .map(|character| if character.is_whitespace() { ' ' } else { character })
        .collect();
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    let of_clock = |text: &str, format: &str, hours: i64| {
        let date = strtime::parse(format, text)
            .and_then(|parsed| parsed.to_datetime())
            .ok()?;
        let instant = DateTime::to_zoned(date, TimeZone::UTC).ok()?.timestamp();
        instant.checked_add(SignedDuration::from_hours(hours)).ok()
    };
    // The hour of a clock of twelve: 12 AM is midnight, 12 PM is noon.
    let (clock, half) = match (text.strip_suffix(" AM"), text.strip_suffix(" PM")) {
        (Some(clock), _) => (clock, 0),
        (None, Some(clock)) => (clock, 12),
        (None, None) => return of_clock(text, "%Y-%m-%d %H:%M:%S%.f", 0),
    };
    let is_twelve = clock.rsplit(' ').next().is_some_and(|time| time.starts_with("12:"));
    let hours = if is_twelve { half - 12 } else { half };
    // Newer ones also put a comma behind the year.
    of_clock(&clock.replace(',', ""), "%b %d %Y %H:%M:%S", hours)
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
