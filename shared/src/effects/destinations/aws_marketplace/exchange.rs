//! What went over the wire, for the run's log; and the request set right before it is signed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::values::hour::Hour;
use crate::values::usage_key::KeyHash;

const CUSTOMER_IDENTIFIER: &str = "CustomerIdentifier";

/// What a record is known by, in a request and in the answer's copy of it.
const IDENTITY: [&str; 5] = [
    "Timestamp",
    "Dimension",
    CUSTOMER_IDENTIFIER,
    "CustomerAWSAccountId",
    "LicenseArn",
];

/// One call: the exact payloads. Headers, and with them every credential, stay out.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    pub request: Value,
    /// HTTP status; none if there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Value>,
    /// The entries whose records the call held, in their order.
    #[serde(skip)]
    pub entries: Vec<(KeyHash, Hour)>,
    /// How many records of other bills are left out of both payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<usize>,
    /// AWS's clock, from its `Date` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
}

impl Exchange {
    /// What of the call was about these entries: the payloads without the records of others. None if there were none of them.
    ///
    /// A log is kept for each run, and a call is shared by 25 of them; nor should a bill's log name the buyers of other bills.
    pub fn about(&self, entries: &BTreeSet<(KeyHash, Hour)>) -> Option<Exchange> {
        let is_own: Vec<bool> = self.entries.iter().map(|entry| entries.contains(entry)).collect();
        if !is_own.contains(&true) {
            return None;
        }
        let mut about = self.clone();
        let Some(records) = about.request.get_mut("UsageRecords").and_then(Value::as_array_mut) else {
            return Some(about);
        };
        let mut places = is_own.into_iter();
        let foreign: Vec<Value> = records.extract_if(.., |_| places.next() == Some(false)).collect();
        let is_foreign = |copy: &Value| foreign.iter().any(|record| is_copy(copy, record));
        let answer = about.response.as_mut().and_then(Value::as_object_mut);
        for (list, answers) in answer.into_iter().flatten() {
            if let Some(answers) = answers.as_array_mut() {
                answers.retain(|answer| {
                    !is_foreign(match list.as_str() {
                        "Results" => answer.get("UsageRecord").unwrap_or(answer),
                        _ => answer,
                    })
                });
            }
        }
        about.others = Some(foreign.len()).filter(|count| *count > 0);
        Some(about)
    }
}

/// Whether AWS's copy of a record is of this record. It may write numbers otherwise, and add fields.
fn is_copy(copy: &Value, record: &Value) -> bool {
    IDENTITY.iter().all(|field| match (record.get(field), copy.get(field)) {
        (None, _) => true,
        (Some(Value::Number(ours)), Some(Value::Number(theirs))) => ours.as_f64() == theirs.as_f64(),
        (ours, theirs) => ours == theirs,
    })
}

/// Listens to one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire(Arc<Mutex<Exchange>>);

impl Wire {
    fn note(&self, change: impl FnOnce(&mut Exchange)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn exchange(&self) -> Exchange {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn aws_now(&self) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).date
    }
}

/// A payload as JSON where it is JSON, else as text.
fn payload(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "OutbillWire"
    }

    /// Takes out every empty `CustomerIdentifier`: AWS wants one of the two customer fields, and the SDK always writes this one.
    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let bytes = request.body().bytes().ok_or("the request's body is not in memory")?;
        let mut body: Value = serde_json::from_slice(bytes)?;
        for record in body
            .get_mut("UsageRecords")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(record) = record.as_object_mut()
                && record.get(CUSTOMER_IDENTIFIER).and_then(Value::as_str) == Some("")
            {
                record.remove(CUSTOMER_IDENTIFIER);
            }
        }
        let bytes = serde_json::to_vec(&body)?;
        request.headers_mut().insert("content-length", bytes.len().to_string());
        *request.body_mut() = SdkBody::from(bytes);
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = payload(context.request().body().bytes().unwrap_or_default());
        self.note(|exchange| exchange.request = request);
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let status = response.status().as_u16();
        let date = response.headers().get("date").and_then(http_date);
        self.note(|exchange| {
            exchange.status = Some(status);
            exchange.date = date;
        });
        Ok(())
    }

    /// The body is on the wire until it is read for deserialization; only after that it is in memory.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().map(payload);
        self.note(|exchange| exchange.response = body);
        Ok(())
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::usage_key::{Buyer, Customer, UsageKey};

    #[test]
    fn a_bill_s_part_of_a_shared_call_names_no_other_buyer() {
        let record = |customer: &str| serde_json::json!({ "CustomerAWSAccountId": customer, "Dimension": "calls", "Quantity": 7, "Timestamp": 1749549600 });
        let copy = |customer: &str| {
            let text = r#"{"CustomerIdentifier":"","CustomerAWSAccountId":"C","Dimension":"calls","Quantity":7,"Timestamp":1.7495496E9}"#;
            serde_json::from_str::<Value>(&text.replace("\"C\"", &format!("\"{customer}\""))).unwrap()
        };
        let entry = |customer: &str| {
            let key = UsageKey {
                region: "us-east-1".to_owned(),
                buyer: Buyer::Product {
                    product_code: "code".to_owned(),
                    customer: Customer::AwsAccountId(customer.to_owned()),
                },
                dimension: "calls".to_owned(),
            };
            (key.hash(), Hour::containing("2025-06-10T10:02:00Z".parse().unwrap()))
        };
        let customers = ["111122223333", "222233334444", "333344445555"];
        let whole = Exchange {
            request: serde_json::json!({ "ProductCode": "code", "UsageRecords": customers.map(record) }),
            status: Some(200),
            response: Some(serde_json::json!({
                "Results": [{ "Status": "Success", "UsageRecord": copy(customers[1]) }, { "Status": "Success", "UsageRecord": copy(customers[0]) }],
                "UnprocessedRecords": [copy(customers[2])],
            })),
            entries: customers.map(entry).to_vec(),
            others: None,
            date: None,
        };
        let about = |customer: &str| whole.about(&BTreeSet::from([entry(customer)])).unwrap();
        let first = about(customers[0]);
        assert_eq!(first.request["UsageRecords"], serde_json::json!([record(customers[0])]));
        assert_eq!(
            first.response.as_ref().unwrap(),
            &serde_json::json!({ "Results": [{ "Status": "Success", "UsageRecord": copy(customers[0]) }], "UnprocessedRecords": [] })
        );
        assert_eq!(first.others, Some(2));
        let last = about(customers[2]);
        assert_eq!(
            last.response.unwrap()["UnprocessedRecords"],
            serde_json::json!([copy(customers[2])])
        );
        assert!(whole.about(&BTreeSet::from([entry("444455556666")])).is_none());
        let all = whole.about(&whole.entries.iter().cloned().collect()).unwrap();
        assert_eq!(
            (all.request, all.response, all.others),
            (whole.request, whole.response, None)
        );
    }

    #[test]
    fn aws_tells_the_time() {
        assert_eq!(
            http_date("Tue, 10 Jun 2025 10:59:59 GMT"),
            "2025-06-10T10:59:59Z".parse().ok()
        );
        assert_eq!(http_date("yesterday"), None);
    }
}
