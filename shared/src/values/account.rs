//! A m3ter account: the buyer, as m3ter describes it.

use serde_json::{Map, Value};

use super::ids::{AccountId, IdError};

/// An account with everything that m3ter said of it, for account filters to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// m3ter's id of the account.
    pub id: AccountId,
    /// The whole document, `id` included.
    pub json: Map<String, Value>,
}

/// Why a document is no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Not a JSON object.
    #[error("an account is a JSON object")]
    NotAnObject,
    /// `id` is missing or is no text.
    #[error("the account has no `id`")]
    NoId,
    /// `id` is no identifier.
    #[error("the account's `id` is not an id")]
    Id(#[source] IdError),
}

impl Account {
    /// Takes m3ter's document; fields that Outbill does not know are kept.
    pub fn from_json(document: Value) -> Result<Account, AccountError> {
        let Value::Object(json) = document else {
            return Err(AccountError::NotAnObject);
        };
        let id = json.get("id").and_then(Value::as_str).ok_or(AccountError::NoId)?;
        let id = AccountId::new(id).map_err(AccountError::Id)?;
        Ok(Account { id, json })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_account_needs_its_id_only() {
        let check = |document: Value, expect: Result<&str, AccountError>| {
            let parsed = Account::from_json(document.clone());
            let id = parsed.as_ref().map(|account| account.id.as_str());
            assert_eq!(id.map_err(Clone::clone), expect, "{document}");
        };
        check(json!({"id": "a1", "anything": [1]}), Ok("a1"));
        check(json!({"name": "Acme"}), Err(AccountError::NoId));
        check(json!({"id": 1}), Err(AccountError::NoId));
        check(json!({"id": ""}), Err(AccountError::Id(IdError::Empty)));
        check(json!("a1"), Err(AccountError::NotAnObject));
    }
}
