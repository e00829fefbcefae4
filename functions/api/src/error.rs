//! Errors as m3ter gives them: a status and `{"message"}`.

use std::error::Error;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use outbill::effects::{access::AccessError, table::StoreError};
use serde_json::json;

/// What a call answers when it does not succeed.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
        }
    }

    /// m3ter answers 403 both to the unknown and to those who may not.
    pub(crate) fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::FORBIDDEN,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
        }
    }

    /// What may be well the next time; the cause goes to the log.
    pub(crate) fn not_answered(error: &(dyn Error + 'static)) -> ApiError {
        tracing::error!(error.chain = chain(error), "A call could not be answered.");
        ApiError {
            status: StatusCode::BAD_GATEWAY,
            message: "a service that Outbill needs did not answer, or others were faster each time; try again"
                .to_owned(),
        }
    }

    /// The same with a way out, where the body was too large.
    pub(crate) fn if_too_large(self, way_out: &str) -> ApiError {
        match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!("{}; {way_out}", self.message)),
            _ => self,
        }
    }

    pub(crate) fn too_large(message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            message: message.into(),
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
        ApiError { status, message }
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
        (self.status, Json(json!({"message": self.message}))).into_response()
    }
}
