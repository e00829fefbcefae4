//! Secrets Manager: texts under one prefix.

use aws_sdk_secretsmanager::{
    Client,
    operation::{
        create_secret::CreateSecretError,
        delete_secret::DeleteSecretError,
        get_secret_value::{GetSecretValueError, GetSecretValueOutput},
        put_secret_value::PutSecretValueError,
    },
};
use jiff::Timestamp;
use uuid::Uuid;

use super::store_error::{StoreError, unavailable};

//= https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
//# The secret value can be up to 65536 bytes
const SECRET_BYTES_MAX: usize = 65_536;

/// Which version of a secret: Secrets Manager keeps the one before the current when a new text is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// What was put last.
    Current,
    /// What was put before it.
    Previous,
}

/// One version of a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// Its id; a version never changes.
    pub id: String,
    /// The secret itself.
    pub text: String,
    /// When it was put.
    pub made: Timestamp,
}

impl std::fmt::Debug for SecretVersion {
    /// Without the text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretVersion")
            .field("id", &self.id)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

/// The secrets under Outbill's prefix.
#[derive(Debug, Clone)]
pub struct Secrets {
    client: Client,
    prefix: String,
}

impl Secrets {
    /// The secrets whose names start with `prefix`.
    pub fn new(client: Client, prefix: impl Into<String>) -> Secrets {
        Secrets {
            client,
            prefix: prefix.into(),
        }
    }

    fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The secret's text. None: there is no such secret, or it is to be deleted.
    pub async fn get(&self, name: &str) -> Result<Option<String>, StoreError> {
        let found = self.read(name, Stage::Current).await?;
        let text = |answer: GetSecretValueOutput| {
            answer
                .secret_string
                .ok_or_else(|| StoreError::corrupt(self.id(name), "SecretString"))
        };
        found.map(text).transpose()
    }

    /// One version of a secret. None: there is no such secret, no such version of it, or it is to be deleted.
    pub async fn version(&self, name: &str, stage: Stage) -> Result<Option<SecretVersion>, StoreError> {
        let Some(answer) = self.read(name, stage).await? else {
            return Ok(None);
        };
        let corrupt = |field: &str| StoreError::corrupt(self.id(name), field);
        let made = answer.created_date.ok_or_else(|| corrupt("CreatedDate"))?;
        Ok(Some(SecretVersion {
            id: answer.version_id.ok_or_else(|| corrupt("VersionId"))?,
            text: answer.secret_string.ok_or_else(|| corrupt("SecretString"))?,
            made: Timestamp::from_second(made.secs()).map_err(|_| corrupt("CreatedDate"))?,
        }))
    }

    async fn read(&self, name: &str, stage: Stage) -> Result<Option<GetSecretValueOutput>, StoreError> {
        let stage = match stage {
            Stage::Current => "AWSCURRENT",
            Stage::Previous => "AWSPREVIOUS",
        };
        let request = self.client.get_secret_value().secret_id(self.id(name));
        match request.version_stage(stage).send().await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.as_service_error().is_some_and(is_gone) => Ok(None),
            Err(error) => Err(unavailable("Secrets Manager GetSecretValue")(error)),
        }
    }

    /// Makes a secret. False: there is one of this name already, and it stays as it is.
    pub async fn create(&self, name: &str, value: &str) -> Result<bool, StoreError> {
        check_size(value)?;
        let request = self.client.create_secret().name(self.id(name)).secret_string(value);
        // The token makes the SDK's repeat of a lost attempt the same request, not a second one.
        match request.client_request_token(Uuid::new_v4().to_string()).send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(CreateSecretError::is_resource_exists_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(unavailable("Secrets Manager CreateSecret")(error)),
        }
    }

    /// Makes a secret or gives it a new text.
    pub async fn put(&self, name: &str, value: &str) -> Result<(), StoreError> {
        check_size(value)?;
        let request = self
            .client
            .put_secret_value()
            .secret_id(self.id(name))
            .secret_string(value);
        match request.client_request_token(Uuid::new_v4().to_string()).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutSecretValueError::is_resource_not_found_exception) =>
            {
                self.create(name, value).await.map(|_| ())
            }
            Err(error) => Err(unavailable("Secrets Manager PutSecretValue")(error)),
        }
    }

    /// Takes a secret away at once, if it is there.
    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let request = self
            .client
            .delete_secret()
            .secret_id(self.id(name))
            .force_delete_without_recovery(true);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DeleteSecretError::is_resource_not_found_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(unavailable("Secrets Manager DeleteSecret")(error)),
        }
    }
}

//= https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html
//# When a secret is scheduled for deletion, you cannot retrieve the secret value.
/// What AWS says then. Only its words tell this from the other states of a secret that make a request invalid.
const TO_BE_DELETED: &str = "marked for deletion";

/// Whether there is no such secret, or none until somebody restores it.
fn is_gone(error: &GetSecretValueError) -> bool {
    match error {
        GetSecretValueError::ResourceNotFoundException(_) => true,
        GetSecretValueError::InvalidRequestException(invalid) => {
            invalid.message().is_some_and(|message| message.contains(TO_BE_DELETED))
        }
        _ => false,
    }
}

fn check_size(value: &str) -> Result<(), StoreError> {
    if value.len() > SECRET_BYTES_MAX {
        return Err(StoreError::TooLarge {
            what: "a secret",
            bytes: value.len(),
            bytes_max: SECRET_BYTES_MAX,
        });
    }
    Ok(())
}

/// A part of a secret's name, which may hold letters, digits and few signs: every other byte is written `=` and its two hexadecimal digits.
pub fn name_part(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-_.+@".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("={byte:02x}")
        }
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::types::error::{
        InternalServiceError, InvalidRequestException, ResourceNotFoundException,
    };

    use super::*;

    #[test]
    fn a_secret_that_is_to_be_deleted_is_none() {
        let not_found = ResourceNotFoundException::builder().build();
        assert!(is_gone(&GetSecretValueError::ResourceNotFoundException(not_found)));
        let failed = InternalServiceError::builder().build();
        assert!(!is_gone(&GetSecretValueError::InternalServiceError(failed)));
        let check = |message: &str, expect: bool| {
            let invalid = InvalidRequestException::builder().message(message).build();
            assert_eq!(
                is_gone(&GetSecretValueError::InvalidRequestException(invalid)),
                expect,
                "{message}"
            );
        };
        check(
            "You can't perform this operation on the secret because it was marked for deletion.",
            true,
        );
        check("The secret is managed by another service.", false);
    }

    #[test]
    fn no_two_texts_share_a_name() {
        let check = |text: &str, expect: &str| assert_eq!(name_part(text), expect);
        check("396d788d-5174", "396d788d-5174");
        check("a/b", "a=2fb");
        check("a=2fb", "a=3d2fb");
        check("ö", "=c3=b6");
    }
}
