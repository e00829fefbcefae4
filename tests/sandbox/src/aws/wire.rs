//! Answers and errors in the forms that AWS's SDKs read.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::journal::JournalError;

/// The protocol that a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// awsJson1.0
    Json10,
    /// awsJson1.0 with the error codes of the XML protocol in a header: SQS
    Json10QueryCompatible,
    /// awsJson1.1
    Json11,
    /// restJson1
    RestJson,
    /// awsQuery: XML answers
    Query,
}

/// An error as a service answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    /// HTTP status.
    pub status: u16,
    /// The error's name, without its namespace.
    pub code: String,
    /// The text for people.
    pub message: String,
}

impl WireError {
    /// An error that the caller made.
    pub fn caller(code: &str, message: impl Into<String>) -> WireError {
        WireError {
            status: 400,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// The answer in the service's protocol.
    pub fn response(&self, protocol: Protocol) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = match protocol {
            Protocol::Query => xml(
                status,
                format!(
                    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
                     <Type>{}</Type><Code>{}</Code><Message>{}</Message></Error>\
                     <RequestId>{}</RequestId></ErrorResponse>",
                    if self.status < 500 { "Sender" } else { "Receiver" },
                    escape_xml(&self.code),
                    escape_xml(&self.message),
                    uuid::Uuid::new_v4()
                ),
            ),
            Protocol::RestJson => json_response(protocol, status, &json!({"message": self.message})),
            Protocol::Json10 | Protocol::Json10QueryCompatible | Protocol::Json11 => json_response(
                protocol,
                status,
                &json!({"__type": self.code, "message": self.message, "Message": self.message}),
            ),
        };
        let mut put = |name, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        };
        put("x-amzn-errortype", &self.code);
        if protocol == Protocol::Json10QueryCompatible {
            put("x-amzn-query-error", &self.query_error());
        }
        response
    }

    // SDKs recognise SQS's errors by the codes of the protocol that it spoke before.
    fn query_error(&self) -> String {
        let code = match self.code.as_str() {
            "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue".to_owned(),
            "EmptyBatchRequest" | "TooManyEntriesInBatchRequest" | "BatchRequestTooLong" => {
                format!("AWS.SimpleQueueService.{}", self.code)
            }
            code => code.to_owned(),
        };
        let fault = if self.status < 500 { "Sender" } else { "Receiver" };
        format!("{code};{fault}")
    }
}

impl From<JournalError> for WireError {
    fn from(error: JournalError) -> WireError {
        WireError {
            status: 500,
            code: "InternalFailure".to_owned(),
            message: format!("the sandbox: {error}"),
        }
    }
}

/// A JSON answer with a status.
pub fn json_response(protocol: Protocol, status: StatusCode, body: &Value) -> Response {
    let content_type = match protocol {
        Protocol::Json10 | Protocol::Json10QueryCompatible => "application/x-amz-json-1.0",
        Protocol::Json11 => "application/x-amz-json-1.1",
        Protocol::RestJson | Protocol::Query => "application/json",
    };
    with_type(status, content_type, body.to_string())
}

/// An XML answer with a status.
pub fn xml(status: StatusCode, body: String) -> Response {
    with_type(status, "text/xml", body)
}

fn with_type(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Text that may stand inside an XML element.
pub fn escape_xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Reads a request body; the error is what AWS's JSON services answer to one that is none.
pub fn read_body<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| WireError::caller("SerializationException", error.to_string()))
}
