//! Errors as m3ter gives them: a status and `{"message"}`.

use std::error::Error;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use outbill::effects::{access::AccessError, ledger::LedgerError, table::StoreError};
use serde_json::json;

/// What a call answers when it does not succeed.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    retry_after_seconds: Option<i64>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            message: message.into(),
            retry_after_seconds: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// m3ter answers 403 both to the unknown and to those who may not.
    pub(crate) fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(crate) fn too_many(message: impl Into<String>, retry_after_seconds: i64) -> ApiError {
        ApiError {
            retry_after_seconds: Some(retry_after_seconds),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// Outbill itself is wrong; the reason goes to the log.
    pub(crate) fn internal(reason: impl std::fmt::Display) -> ApiError {
        tracing::error!(reason = %reason, "A call could not be answered.");
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Outbill could not answer; its log says why",
        )
    }

    /// Whether the caller was refused for who they are.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.status == StatusCode::FORBIDDEN
    }

    /// What may be well the next time; the cause goes to the log.
    pub(crate) fn not_answered(error: &(dyn Error + 'static)) -> ApiError {
        tracing::error!(error.chain = chain(error), "A call could not be answered.");
        ApiError::new(
            StatusCode::BAD_GATEWAY,
            "a service that Outbill needs did not answer, or others were faster each time; try again",
        )
    }

    /// The same with a way out, where the body was too large.
    pub(crate) fn if_too_large(self, way_out: &str) -> ApiError {
        match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!("{}; {way_out}", self.message)),
            _ => self,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        let (status, message) = match &error {
            StoreError::TooLarge { .. } => (StatusCode::BAD_REQUEST, error.to_string()),
            StoreError::Unavailable { .. } | StoreError::Contended { .. } => (
                StatusCode::BAD_GATEWAY,
                "a service that Outbill needs did not answer; try again".to_owned(),
            ),
            StoreError::Corrupt { .. } => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "something that Outbill has stored cannot be read".to_owned(),
            ),
        };
        if status.is_server_error() {
            tracing::error!(error.chain = chain(&error), "A call could not be answered.");
        }
        ApiError::new(status, message)
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> ApiError {
        match error {
            LedgerError::Store(error) => ApiError::from(error),
            LedgerError::Amount(_) | LedgerError::Contended { .. } => ApiError::not_answered(&error),
        }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> ApiError {
        match error {
            AccessError::Denied => ApiError::forbidden(
                "the access key or the token is not valid, or the token has expired (one lasts five hours); get a new token",
            ),
            AccessError::Store(error) => ApiError::from(error),
        }
    }
}

fn chain(error: &dyn Error) -> String {
    let sources = std::iter::successors(Some(error), |&error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"message": self.message}))).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
