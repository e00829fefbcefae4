//! What can go wrong with anything that Outbill keeps or calls.

use std::error::Error;

use aws_sdk_dynamodb::error::SdkError;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The service did not answer as asked. Whether a write happened is not known; every write of this ring can be repeated.
    #[error("{operation} did not succeed; it can be tried again")]
    Unavailable {
        /// What was asked of which service.
        operation: &'static str,
        /// What the SDK says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Others changed the same rows again and again.
    #[error("{operation} met other writers each time; it can be tried again")]
    Contended {
        /// What was asked.
        operation: &'static str,
    },
    /// A row that Outbill cannot have written.
    #[error("the stored {field} of {key} cannot be read")]
    Corrupt {
        /// Where it is.
        key: String,
        /// The attribute.
        field: String,
    },
    /// More than the service takes.
    #[error("{what} has {bytes} bytes, more than the {bytes_max} that can be kept")]
    TooLarge {
        /// What was to be kept.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
}

impl StoreError {
    pub(crate) fn corrupt(key: impl Into<String>, field: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            key: key.into(),
            field: field.into(),
        }
    }

    pub(crate) fn other(operation: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        StoreError::Unavailable {
            operation,
            source: source.into(),
        }
    }
}

/// Wraps the SDK's error with what was asked.
pub(crate) fn unavailable<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> StoreError
where
    E: Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    move |error| StoreError::Unavailable {
        operation,
        source: Box::new(error),
    }
}
