//! Reads settings one by one and remembers everything that was wrong, so that all of it is told at once.

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    ids::AccountId,
    marketplace_configuration::{ConfigurationError, SETTINGS},
};

/// More than any Console shows; keeps one document from growing past what a row holds.
const LIST_ITEMS_MAX: usize = 5_000;

/// As many as SES takes in one message. Who may write a configuration may not mail the world in the seller's name.
const RECIPIENTS_MAX: usize = 50;

fn items_max(key: &str) -> usize {
    match key {
        "integrationDisabledNotificationUsers" => RECIPIENTS_MAX,
        _ => LIST_ITEMS_MAX,
    }
}

/// The settings as they are read, with what was wrong so far.
pub(super) struct Settings<'a> {
    pub(super) given: &'a Map<String, Value>,
    pub(super) errors: Vec<ConfigurationError>,
}

impl<'a> Settings<'a> {
    pub(super) fn refuse(&mut self, key: &str, problem: impl Into<String>) {
        self.errors.push(ConfigurationError {
            key: key.to_owned(),
            problem: problem.into(),
        });
    }

    pub(super) fn refuse_unknown(&mut self) {
        let given = self.given;
        for key in given.keys().filter(|key| !SETTINGS.contains(&key.as_str())) {
            self.refuse(
                key,
                format!(
                    "this setting is unknown; leave it out. The known ones are {}",
                    SETTINGS.join(", ")
                ),
            );
        }
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.given.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&mut self, key: &str) -> bool {
        match self.value(key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.refuse(key, "give true or false");
                false
            }
        }
    }

    pub(super) fn text<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match self.value(key)? {
            // A Console sends the empty text for a field that was cleared.
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => match read(text) {
                Ok(value) => Some(value),
                Err(problem) => {
                    self.refuse(key, format!("{text:?}: {problem}"));
                    None
                }
            },
            _ => {
                self.refuse(key, "give a text");
                None
            }
        }
    }

    pub(super) fn list<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let items_max = items_max(key);
        let items = match self.value(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) if items.len() <= items_max => items,
            Some(Value::Array(_)) => {
                self.refuse(key, format!("give at most {items_max} items"));
                return Vec::new();
            }
            Some(_) => {
                self.refuse(key, "give a list of texts");
                return Vec::new();
            }
        };
        let mut read_items = Vec::new();
        for item in items {
            match item.as_str().ok_or_else(|| "give a text".to_owned()).and_then(&read) {
                Ok(value) => read_items.push(value),
                Err(problem) => self.refuse(key, format!("{item}: {problem}")),
            }
        }
        read_items
    }
}

pub(super) fn shown<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

pub(super) fn account_id(text: &str) -> Result<AccountId, String> {
    AccountId::new(text).map_err(|error| error.to_string())
}

//= https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1
//# local part 64, domain 255
const ADDRESS_CHARACTERS_MAX: usize = 320;

pub(super) fn address(text: &str) -> Result<String, String> {
    let parts = text
        .split_once('@')
        .filter(|(name, domain)| !name.is_empty() && domain.contains('.'));
    let plain = !text
        .chars()
        .any(|character| character.is_whitespace() || character.is_control() || ",;<>".contains(character));
    if parts.is_some() && plain && text.matches('@').count() == 1 && text.chars().count() <= ADDRESS_CHARACTERS_MAX {
        return Ok(text.to_owned());
    }
    Err("give an e-mail address".to_owned())
}

pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| "give an instant such as 2025-06-10T00:00:00Z".to_owned())
}

pub(super) fn currency(text: &str) -> Result<String, String> {
    if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Ok(text.to_owned());
    }
    Err("give the three capital letters of ISO 4217, such as USD".to_owned())
}

pub(super) fn region(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('-').collect();
    let lower = |part: &str| part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let well_formed = match parts.split_last() {
        Some((number, words)) => {
            !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && (2..=3).contains(&words.len())
                && words.iter().all(|word| lower(word))
        }
        None => false,
    };
    if well_formed {
        Ok(text.to_owned())
    } else {
        Err("give an AWS region such as us-east-1".to_owned())
    }
}

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/metering-regions.html
//# BatchMeterUsage is supported in the following AWS Regions; of the commercial ones
const METERING_REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ca-central-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// A region without metering has no endpoint: each attempt would have no answer, and its units would count as sent.
pub(super) fn metering_region(text: &str) -> Result<String, String> {
    if METERING_REGIONS.contains(&text) {
        return Ok(text.to_owned());
    }
    let regions = METERING_REGIONS.join(", ");
    Err(format!(
        "AWS meters in {regions}; choose the one that the listing is metered in"
    ))
}

pub(super) fn store_id(text: &str) -> Result<String, String> {
    const STORE_ID_CHARACTERS_MAX: usize = 256;
    let plain = |character: char| character.is_ascii_alphanumeric() || "-:/._".contains(character);
    if text.len() <= STORE_ID_CHARACTERS_MAX && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("give the id or ARN of an event data store".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mail_goes_to_fewer_than_a_configuration_has_accounts() {
        let check = |key: &str, items: usize, expect: Option<&str>| {
            let given = Map::from_iter([(key.to_owned(), json!(vec!["a@b.example"; items]))]);
            let mut settings = Settings {
                given: &given,
                errors: Vec::new(),
            };
            let read = settings.list(key, address).len();
            let problems: Vec<&str> = settings.errors.iter().map(|error| error.problem.as_str()).collect();
            assert_eq!(problems, expect.into_iter().collect::<Vec<_>>(), "{key} {items}");
            assert_eq!(read, if expect.is_none() { items } else { 0 }, "{key} {items}");
        };
        check("integrationDisabledNotificationUsers", 50, None);
        check(
            "integrationDisabledNotificationUsers",
            51,
            Some("give at most 50 items"),
        );
        check("accountIds", 5_000, None);
        check("accountIds", 5_001, Some("give at most 5000 items"));
    }
}
