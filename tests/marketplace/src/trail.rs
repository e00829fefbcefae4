//! What CloudTrail records of metering, restated from AWS's documents: one event per call, late, sometimes twice.
//!
//! Every call of `BatchMeterUsage` leaves an event in the region and account that were called, refused calls too. The state is a function of
//! the calls, like the Marketplace's own.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::MeteringError;
use crate::rules::hour_of;

pub(crate) const EVENT_SOURCE: &str = "metering-marketplace.amazonaws.com";
pub(crate) const EVENT_NAME: &str = "BatchMeterUsage";
//= https://docs.aws.amazon.com/awscloudtrail/latest/userguide/how-cloudtrail-works.html
//# CloudTrail typically delivers events within an average of about 5 minutes of an API call
const DELAY_SECONDS: i64 = 300;
//= https://docs.aws.amazon.com/awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html
//# requestParameters and responseElements: 100 KB each
const ELEMENT_BYTES_MAX: usize = 100 * 1024;
//= https://docs.aws.amazon.com/awscloudtrail/latest/userguide/view-cloudtrail-events.html
//# the past 90 days of management events
const HISTORY_DAYS: i64 = 90;
//= https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
//# possible values are 1 through 50, the default is 50
const EVENTS_PER_PAGE_MAX: usize = 50;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailEvent {
    /// When the call ended.
    pub at: Timestamp,
    /// From when on it is shown.
    pub shown_from: Timestamp,
    /// Whether it is shown twice.
    pub twice: bool,
    /// The region called.
    pub region: String,
    /// The account that called.
    pub account: String,
    /// Its id.
    pub id: String,
    /// The event's JSON text.
    pub event: String,
}

/// How late and how well events arrive from now on; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrailChange {
    /// Seconds until an event is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u32>,
    /// Whether events are shown twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<bool>,
    /// So many of the next events are never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<u32>,
    /// Elements of events longer than this are left out; AWS's limit is 102,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_bytes_max: Option<usize>,
    /// Pages are no longer than this, whatever is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_max: Option<usize>,
    /// What the event data store says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
}

/// The event data store of CloudTrail Lake; there is one, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// AWS's word, such as `ENABLED`.
    pub status: String,
    /// Whether it records every region.
    pub multi_region_enabled: bool,
    /// Its selectors, as AWS gives them.
    pub advanced_event_selectors: Value,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            status: "ENABLED".to_owned(),
            multi_region_enabled: true,
            advanced_event_selectors: json!([{
                "Name": "Default management events",
                "FieldSelectors": [{ "Field": "eventCategory", "Equals": ["Management"] }],
            }]),
        }
    }
}

/// CloudTrail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trail {
    events: Vec<TrailEvent>,
    recorded: u64,
    delay_seconds: u32,
    duplicates: bool,
    drop: u32,
    element_bytes_max: usize,
    page_max: usize,
    store: Store,
}

impl Default for Trail {
    fn default() -> Trail {
        Trail {
            events: Vec::new(),
            recorded: 0,
            delay_seconds: u32::try_from(DELAY_SECONDS).unwrap_or_default(),
            duplicates: false,
            drop: 0,
            element_bytes_max: ELEMENT_BYTES_MAX,
            page_max: usize::MAX,
            store: Store::default(),
        }
    }
}

impl Trail {
    /// Changes how events arrive from now on.
    pub fn change(&mut self, change: TrailChange) {
        self.delay_seconds = change.delay_seconds.unwrap_or(self.delay_seconds);
        self.duplicates = change.duplicates.unwrap_or(self.duplicates);
        self.drop = change.drop.unwrap_or(self.drop);
        self.element_bytes_max = change.element_bytes_max.unwrap_or(self.element_bytes_max);
        self.page_max = change.page_max.unwrap_or(self.page_max).max(1);
        if let Some(store) = change.store {
            self.store = store;
        }
    }

    /// How events arrive now.
    pub fn behaviour(&self) -> Value {
        json!({
            "delaySeconds": self.delay_seconds, "duplicates": self.duplicates, "drop": self.drop,
            "elementBytesMax": self.element_bytes_max, "store": self.store, "events": self.events.len(),
        })
    }

    /// The longest page of anything.
    pub fn page_max(&self) -> usize {
        self.page_max
    }

    /// What the event data store says of itself.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Records a call and its answer.
    pub(crate) fn record(
        &mut self,
        (region, account, at): (&str, &str, Timestamp),
        request_json: &str,
        answer: &Result<Value, MeteringError>,
    ) {
        self.recorded += 1;
        if self.drop > 0 {
            self.drop -= 1;
            return;
        }
        let request: Value = serde_json::from_str(request_json).unwrap_or(Value::Null);
        let mut event = json!({
            "eventVersion": "1.11",
            "userIdentity": { "type": "AssumedRole", "accountId": account },
            "eventTime": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "eventSource": EVENT_SOURCE,
            "eventName": EVENT_NAME,
            "awsRegion": region,
            "sourceIPAddress": "203.0.113.7",
            "requestParameters": self.element(&camel(&request)),
            "responseElements": Value::Null,
            "eventID": event_id(self.recorded),
            "readOnly": false,
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": account,
            "eventCategory": "Management",
        });
        match answer {
            Ok(answer) => event["responseElements"] = self.element(&camel(answer)),
            Err(error) => {
                event["errorCode"] = json!(error.code);
                event["errorMessage"] = json!(error.message);
            }
        }
        let delay = SignedDuration::from_secs(i64::from(self.delay_seconds));
        self.events.push(TrailEvent {
            at,
            shown_from: at.saturating_add(delay).unwrap_or(at),
            twice: self.duplicates,
            region: region.to_owned(),
            account: account.to_owned(),
            id: event_id(self.recorded),
            event: event.to_string(),
        });
    }

    //= https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
    //# If a field is truncated, omitted is present with a value of true
    fn element(&self, element: &Value) -> Value {
        let bytes = element.to_string().len();
        if bytes > self.element_bytes_max {
            return json!({ "omitted": true, "originalSize": bytes, "reason": "too large" });
        }
        element.clone()
    }

    fn shown<'a>(
        &'a self,
        (region, account): (Option<&'a str>, Option<&'a str>),
        (from, until): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> impl DoubleEndedIterator<Item = &'a TrailEvent> {
        self.events.iter().filter(move |event| {
            region.is_none_or(|region| event.region == region)
                && account.is_none_or(|account| event.account == account)
                && (from..until).contains(&event.at)
                && event.shown_from <= now
        })
    }

    /// What every shown event together says that AWS accepted: customer, dimension and hour.
    pub fn accepted(&self, now: Timestamp) -> Vec<(String, String, Timestamp)> {
        let events = self.events.iter().filter(|event| event.shown_from <= now);
        let parsed = events.filter_map(|event| serde_json::from_str::<Value>(&event.event).ok());
        let mut accepted = Vec::new();
        for event in parsed {
            let results = event.pointer("/responseElements/results").and_then(Value::as_array);
            for result in results
                .into_iter()
                .flatten()
                .filter(|result| result["status"] == "Success")
            {
                let record = &result["usageRecord"];
                let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
                let customer = match text("customerAWSAccountId") {
                    account if account.is_empty() => text("customerIdentifier"),
                    account => account,
                };
                let said = jiff::fmt::strtime::parse("%b %d, %Y %I:%M:%S %p", text("timestamp"));
                let hour = said
                    .and_then(|said| said.to_datetime())
                    .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC));
                if let Ok(hour) = hour {
                    accepted.push((customer, text("dimension"), hour_of(hour.timestamp())));
                }
            }
        }
        accepted
    }

    /// `LookupEvents`: newest first, of one region and account, of the last 90 days. A token is where the last page ended.
    pub fn lookup(&self, caller: (&str, &str), request: &Value, now: Timestamp) -> Result<Value, MeteringError> {
        let attribute = request.pointer("/LookupAttributes/0");
        let name = |field: &str| {
            attribute
                .and_then(|attribute| attribute.get(field))
                .and_then(Value::as_str)
        };
        let wanted = match (name("AttributeKey"), name("AttributeValue")) {
            (Some("EventName"), Some(value)) => Some(value),
            (None, None) => None,
            _ => {
                return Err(MeteringError::refused(
                    "InvalidLookupAttributesException",
                    "the stand-in looks up by EventName",
                ));
            }
        };
        let oldest = now
            .saturating_sub(SignedDuration::from_hours(24 * HISTORY_DAYS))
            .unwrap_or(now);
        let from = seconds(request, "StartTime").unwrap_or(oldest).max(oldest);
        // The end is part of the range.
        let until = seconds(request, "EndTime").unwrap_or(now);
        let until = until.saturating_add(SignedDuration::from_secs(1)).unwrap_or(until);
        if from >= until {
            return Err(MeteringError::refused(
                "InvalidTimeRangeException",
                "the start of the time range is after its end",
            ));
        }
        let size = request.get("MaxResults").and_then(Value::as_u64).unwrap_or(50);
        let size = usize::try_from(size).unwrap_or_default();
        if size == 0 || size > EVENTS_PER_PAGE_MAX {
            return Err(MeteringError::refused(
                "InvalidMaxResultsException",
                "MaxResults is 1 to 50",
            ));
        }
        let skip: usize = match request.get("NextToken").and_then(Value::as_str) {
            None => 0,
            Some(token) => token
                .strip_prefix("after-")
                .and_then(|count| count.parse().ok())
                .ok_or_else(|| MeteringError::refused("InvalidNextTokenException", "the token is not valid"))?,
        };
        let found = self.shown((Some(caller.0), Some(caller.1)), (from, until), now).rev();
        let found = found
            .filter(|_| wanted.is_none_or(|wanted| wanted == EVENT_NAME))
            .flat_map(|event| std::iter::repeat_n(event, if event.twice { 2 } else { 1 }));
        let mut page: Vec<&TrailEvent> = found.skip(skip).take(size + 1).collect();
        let more = page.len() > size;
        page.truncate(size);
        let events: Vec<Value> = page.into_iter().map(looked_up).collect();
        let mut answer = json!({ "Events": events });
        if more {
            answer["NextToken"] = json!(format!("after-{}", skip + size));
        }
        Ok(answer)
    }

    /// The rows of a Lake query: `(columns, events)` as [`crate::lake`] understands a statement.
    pub(crate) fn select<'a>(
        &'a self,
        place: (Option<&'a str>, Option<&'a str>),
        between: (Timestamp, Timestamp),
        now: Timestamp,
    ) -> impl Iterator<Item = &'a TrailEvent> {
        self.shown(place, between, now)
            .flat_map(|event| std::iter::repeat_n(event, if event.twice { 2 } else { 1 }))
    }
}

fn looked_up(event: &TrailEvent) -> Value {
    json!({
        "EventId": event.id, "EventName": EVENT_NAME, "ReadOnly": "false",
        "EventTime": event.at.as_second(), "EventSource": EVENT_SOURCE, "Username": "outbill",
        "Resources": [], "CloudTrailEvent": event.event,
    })
}

fn seconds(request: &Value, field: &str) -> Option<Timestamp> {
    let text = request.get(field)?.to_string();
    let whole = text.split('.').next()?.parse().ok()?;
    Timestamp::from_second(whole).ok()
}

/// CloudTrail writes a request's fields with a small first letter, and its instants in words.
fn camel(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut named = Map::new();
            for (name, value) in fields {
                let mut letters = name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_lowercase());
                let name: String = first.into_iter().chain(letters).collect();
                let value = if name == "timestamp" {
                    in_words(value)
                } else {
                    camel(value)
                };
                named.insert(name, value);
            }
            // The service's own client always has the legacy field.
            if named.contains_key("customerAWSAccountId") {
                named.entry("customerIdentifier").or_insert_with(|| json!(""));
            }
            Value::Object(named)
        }
        Value::Array(items) => Value::Array(items.iter().map(camel).collect()),
        other => other.clone(),
    }
}

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/logging-metering-api-calls-with-cloudtrail.html
//# "timestamp": "Apr 19, 2018 4:32:50 PM"
fn in_words(value: &Value) -> Value {
    let text = value.to_string();
    let whole = text.split('.').next().and_then(|whole| whole.parse().ok());
    match whole.and_then(|whole| Timestamp::from_second(whole).ok()) {
        Some(instant) => json!(instant.strftime("%b %-d, %Y %-I:%M:%S %p").to_string()),
        None => value.clone(),
    }
}

fn event_id(count: u64) -> String {
    let bits = u128::from(count.wrapping_mul(0xD6E8_FEB8_6659_FD93)) << 64 | u128::from(count);
    uuid::Builder::from_random_bytes(bits.to_be_bytes())
        .into_uuid()
        .to_string()
}
