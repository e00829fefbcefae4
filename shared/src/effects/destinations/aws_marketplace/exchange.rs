//! What went over the wire, for the run's log; and the request set right before it is signed.

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
    /// The entries whose records the call held.
    #[serde(skip)]
    pub entries: Vec<(KeyHash, Hour)>,
    /// AWS's clock, from its `Date` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
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
        self.exchange().date
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

    #[test]
    fn aws_tells_the_time() {
        assert_eq!(
            http_date("Tue, 10 Jun 2025 10:59:59 GMT"),
            "2025-06-10T10:59:59Z".parse().ok()
        );
        assert_eq!(http_date("yesterday"), None);
    }
}
