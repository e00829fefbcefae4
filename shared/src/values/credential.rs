//! A credential that an integration sends with: for AWS, a role to assume, or the functions' own.

use super::{
    configuration::{Audit, DestinationKind},
    ids::{CredentialId, OrganizationId},
};

/// m3ter's name of the one type of credential that AWS takes.
pub const AWS_INTEGRATION: &str = "AWS_INTEGRATION";

/// A credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrationCredential {
    /// Its id.
    pub id: CredentialId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// 1 when made, one more with each change.
    pub version: i64,
    /// m3ter's type, such as `AWS_INTEGRATION`.
    pub credential_type: String,
    /// Where it is used.
    pub destination: DestinationKind,
    /// What the Console shows.
    pub name: Option<String>,
    /// The role to assume; none: the functions' own role signs.
    pub aws: Option<AwsRole>,
    /// Who and when.
    pub audit: Audit,
}

/// A role in the AWS account that sells.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsRole {
    /// 12 digits.
    pub account_id: String,
    /// The role's name, without its path.
    pub role_name: String,
    /// What the role's trust policy asks for, made by Outbill so that nobody else can name it.
    pub external_id: String,
}

impl std::fmt::Debug for AwsRole {
    /// Without the external id: it is shown once, when the credential is made.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsRole")
            .field("account_id", &self.account_id)
            .field("role_name", &self.role_name)
            .finish_non_exhaustive()
    }
}

/// Why a role cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsRoleError {
    /// Not an AWS account.
    #[error("accountId: {0:?} is no AWS account id; give its 12 digits")]
    AccountId(String),
    /// Not a role's name.
    #[error(
        "roleName: {0:?} is no role name; give up to 64 letters, digits or any of _+=,.@- (the name alone, no ARN or path)"
    )]
    RoleName(String),
}

//= https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html
//# RoleName: length 1 to 64, pattern [\w+=,.@-]+
const ROLE_NAME_CHARACTERS_MAX: usize = 64;
const ACCOUNT_ID_DIGITS: usize = 12;

impl AwsRole {
    /// Checks and takes a role. Errors: an account id that is not 12 digits, a name that IAM does not allow.
    pub fn new(account_id: &str, role_name: &str, external_id: &str) -> Result<AwsRole, AwsRoleError> {
        if account_id.len() != ACCOUNT_ID_DIGITS || !account_id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AwsRoleError::AccountId(account_id.to_owned()));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        if role_name.is_empty() || role_name.len() > ROLE_NAME_CHARACTERS_MAX || !role_name.bytes().all(allowed) {
            return Err(AwsRoleError::RoleName(role_name.to_owned()));
        }
        Ok(AwsRole {
            account_id: account_id.to_owned(),
            role_name: role_name.to_owned(),
            external_id: external_id.to_owned(),
        })
    }

    /// The role's ARN.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:role/{}", self.account_id, self.role_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_an_account_and_a_name() {
        let check = |account_id: &str, role_name: &str, expect: Option<&str>| {
            let role = AwsRole::new(account_id, role_name, "x");
            assert_eq!(
                role.ok().map(|role| role.arn()).as_deref(),
                expect,
                "{account_id} {role_name}"
            );
        };
        check(
            "123456789012",
            "Metering",
            Some("arn:aws:iam::123456789012:role/Metering"),
        );
        check("12345678901", "Metering", None);
        check("12345678901x", "Metering", None);
        check("123456789012", "", None);
        check("123456789012", "path/Metering", None);
        check("123456789012", &"x".repeat(65), None);
    }

    #[test]
    fn an_external_id_is_never_printed() {
        let role = AwsRole::new("123456789012", "Metering", "never-shown").unwrap();
        assert!(!format!("{role:?}").contains("never-shown"));
    }
}
