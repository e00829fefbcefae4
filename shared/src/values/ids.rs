//! Identifiers as m3ter and AWS give them.
//!
//! Every identifier becomes part of a DynamoDB key, so none may hold the separator `#`, a control character or nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// m3ter's ids are UUIDs of 36 characters; AWS's are shorter. The limit keeps a forged one from growing a key.
const ID_CHARACTERS_MAX: usize = 128;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// Longer than any identifier m3ter makes.
    #[error("it is longer than {ID_CHARACTERS_MAX} characters")]
    TooLong,
    /// A character that no identifier of m3ter has.
    #[error("it holds {0:?}, which no m3ter id does")]
    Character(char),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.chars().count() > ID_CHARACTERS_MAX {
        return Err(IdError::TooLong);
    }
    match text
        .chars()
        .find(|character| character.is_control() || character.is_whitespace() || *character == '#')
    {
        Some(character) => Err(IdError::Character(character)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the text. Errors: empty, too long, or a character no id has.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A m3ter organization.
    OrganizationId
);
id!(
    /// A m3ter bill.
    BillId
);
id!(
    /// A m3ter account: the buyer as m3ter knows it.
    AccountId
);
id!(
    /// An integration configuration.
    ConfigurationId
);
id!(
    /// An integration credential.
    CredentialId
);
id!(
    /// An integration run.
    RunId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_printable_word() {
        let check = |text: &str, expect: Result<(), IdError>| {
            assert_eq!(BillId::new(text).map(|_| ()), expect, "{text:?}");
        };
        check("92d3154f-4c82-40c2-9af0-5d8c14326977", Ok(()));
        check("", Err(IdError::Empty));
        check("a#b", Err(IdError::Character('#')));
        check("a b", Err(IdError::Character(' ')));
        check("a\nb", Err(IdError::Character('\n')));
        check(&"x".repeat(129), Err(IdError::TooLong));
        check(&"x".repeat(128), Ok(()));
    }
}
