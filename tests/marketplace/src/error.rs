//! The errors that refuse a whole call.

use serde::{Deserialize, Serialize};

/// An error AWS answers for the whole call: nothing of the batch was processed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct MeteringError {
    /// The exception's name as it travels in `__type`, for example `TimestampOutOfBoundsException`.
    pub code: String,
    /// The HTTP status of the answer.
    pub http_status: u16,
    /// What AWS would say.
    pub message: String,
}

impl MeteringError {
    pub(crate) fn refused(code: &str, message: impl Into<String>) -> MeteringError {
        MeteringError {
            code: code.to_owned(),
            http_status: 400,
            message: message.into(),
        }
    }

    pub(crate) fn validation(message: impl Into<String>) -> MeteringError {
        MeteringError::refused("ValidationException", message)
    }
}
