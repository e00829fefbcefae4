//! The account filter of a configuration: which accounts' bills it sends.
//!
//! The grammar is the part of m3ter's expressions that accounts need: comparisons, `AND`, `OR` and parentheses. It is read once, when the
//! configuration is stored, so that a filter that cannot be read is refused where someone can mend it. Once read it always has an answer:
//! a field that an account lacks is null, and values of unlike types are never equal. But m3ter holds as texts what looks like a number, such as a
//! post code: a number without quotes is equal to the text that is written so, too, and `true` and `false` likewise.

use std::cmp::Ordering;
use std::fmt;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use super::{account_filter_parser, amount};

/// A filter as it was written, and its meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountFilter {
    text: String,
    expression: Expression,
}

/// Why a filter cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {message}")]
pub struct FilterError {
    /// The character that cannot be read, counted from 1; one past the end where something is missing.
    pub position: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Compare {
        left: Operand,
        comparison: Comparison,
        right: Operand,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Field(Field),
    Null,
    Flag(bool),
    /// A number, and as it is written.
    Number(Decimal, String),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    /// A key of the account itself.
    Own(&'static str),
    /// A key of one of the account's maps. Custom fields are one flat map, so dots within `key` part nothing.
    Within { map: &'static str, key: String },
}

impl Field {
    /// The fields that a filter may name, for a message.
    pub(super) const KNOWN: &'static str =
        "id, accountName, accountCode, currency, address, address.<field>, customFields, customFields.<name>";

    pub(super) fn parse(word: &str) -> Option<Field> {
        match word {
            "id" => Some(Field::Own("id")),
            "accountName" => Some(Field::Own("name")),
            "accountCode" => Some(Field::Own("code")),
            "currency" => Some(Field::Own("currency")),
            "address" => Some(Field::Own("address")),
            "customFields" => Some(Field::Own("customFields")),
            _ => match word.split_once('.')? {
                (_, "") => None,
                ("address", key) => Some(Field::Within {
                    map: "address",
                    key: key.to_owned(),
                }),
                ("customFields", key) => Some(Field::Within {
                    map: "customFields",
                    key: key.to_owned(),
                }),
                _ => None,
            },
        }
    }

    fn of<'a>(&self, account: &'a Map<String, Value>) -> &'a Value {
        let found = match self {
            Field::Own(key) => account.get(*key),
            Field::Within { map, key } => account
                .get(*map)
                .and_then(Value::as_object)
                .and_then(|map| map.get(key)),
        };
        found.unwrap_or(&Value::Null)
    }
}

impl AccountFilter {
    /// Reads a filter. Errors: it does not follow the grammar, it is too long, or it is nested too deeply.
    pub fn parse(text: &str) -> Result<AccountFilter, FilterError> {
        let expression = account_filter_parser::parse(text)?;
        Ok(AccountFilter {
            text: text.to_owned(),
            expression,
        })
    }

    /// Whether the filter is true of an account as m3ter describes it. A document that is no object has no field.
    pub fn admits(&self, account: &Value) -> bool {
        match account {
            Value::Object(fields) => self.admits_fields(fields),
            _ => self.admits_fields(&Map::new()),
        }
    }

    /// As [`AccountFilter::admits`], for the document of a [`super::account::Account`].
    pub fn admits_fields(&self, account: &Map<String, Value>) -> bool {
        self.expression.holds(account)
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for AccountFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A value as comparisons see it.
#[derive(Debug, PartialEq)]
enum Seen<'a> {
    Null,
    Flag(bool),
    Number(Decimal),
    Text(&'a str),
    /// A map, a list, or a number that no decimal holds: unlike everything.
    Other,
}

impl Expression {
    fn holds(&self, account: &Map<String, Value>) -> bool {
        match self {
            Expression::All(parts) => parts.iter().all(|part| part.holds(account)),
            Expression::Any(parts) => parts.iter().any(|part| part.holds(account)),
            Expression::Compare {
                left,
                comparison,
                right,
            } => comparison.holds(left.beside(right, account)),
        }
    }
}

impl Operand {
    fn seen<'a>(&'a self, account: &'a Map<String, Value>) -> Seen<'a> {
        match self {
            Operand::Null => Seen::Null,
            Operand::Flag(flag) => Seen::Flag(*flag),
            Operand::Number(number, _) => Seen::Number(*number),
            Operand::Text(text) => Seen::Text(text),
            Operand::Field(field) => match field.of(account) {
                Value::Null => Seen::Null,
                Value::Bool(flag) => Seen::Flag(*flag),
                Value::Number(written) => number(&written.to_string()),
                Value::String(text) => Seen::Text(text),
                Value::Array(_) | Value::Object(_) => Seen::Other,
            },
        }
    }
}

/// How two values are to each other: whether they are equal, and which comes first, if they are of a kind that has an order.
type Relation = (bool, Option<Ordering>);

impl Operand {
    fn beside(&self, other: &Operand, account: &Map<String, Value>) -> Relation {
        let (left, right) = (self.seen(account), other.seen(account));
        match (self.written(), &left, other.written(), &right) {
            (Some(written), _, None, Seen::Text(text)) => (written == *text, left.order(&number(text))),
            (None, Seen::Text(text), Some(written), _) => (written == *text, number(text).order(&right)),
            _ => (left == right && left != Seen::Other, left.order(&right)),
        }
    }

    /// A value without quotes, as it is written.
    fn written(&self) -> Option<&str> {
        match self {
            Operand::Flag(true) => Some("true"),
            Operand::Flag(false) => Some("false"),
            Operand::Number(_, written) => Some(written),
            Operand::Field(_) | Operand::Null | Operand::Text(_) => None,
        }
    }
}

impl Seen<'_> {
    fn order(&self, other: &Seen<'_>) -> Option<Ordering> {
        match (self, other) {
            (Seen::Number(left), Seen::Number(right)) => Some(left.cmp(right)),
            (Seen::Text(left), Seen::Text(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }
}

impl Comparison {
    fn holds(self, (equal, order): Relation) -> bool {
        match self {
            Comparison::Equal => equal,
            Comparison::NotEqual => !equal,
            Comparison::Less => order.is_some_and(Ordering::is_lt),
            Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
            Comparison::Greater => order.is_some_and(Ordering::is_gt),
            Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

fn number(text: &str) -> Seen<'static> {
    amount::decimal(text).map_or(Seen::Other, Seen::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_true_or_false_of_every_account() {
        let acme: Value = serde_json::from_str(
            r#"{"id": "a1", "name": "Acme Inc", "code": "acme", "currency": "USD",
                "address": {"country": "UK", "region": "OR", "postCode": "12345"},
                "customFields": {"country": "UK", "tier": 2, "rate": 0.10, "on": true, "text": "true", "a.b": "x"}}"#,
        )
        .unwrap();
        let check = |filter: &str, expect: bool| {
            assert_eq!(AccountFilter::parse(filter).unwrap().admits(&acme), expect, "{filter}");
        };
        check("address.country == UK", true);
        check("address.country = = UK", true);
        check("address.country == US", false);
        check("customFields != null AND customFields.country == 'UK'", true);
        check("customFields == null", false);
        check("accountName == \"Acme Inc\"", true);
        check("accountCode == acme AND id == a1", true);
        check("currency != USD", false);
        check("customFields.tier >= 2", true);
        check("customFields.tier == 2.0", true);
        check("customFields.rate == 0.1", true);
        check("customFields.tier < -1", false);
        check("customFields.tier == '2'", false);
        check("customFields.tier != '2'", true);
        check("customFields.tier > abc", false);
        check("customFields.on == true", true);
        check("customFields.a.b == x", true);
        check("customFields.missing == null", true);
        check("customFields.missing != null", false);
        check("customFields.missing < 3", false);
        check("customFields.missing != 3", true);
        check("null <= null", false);
        check("address.region == OR AND currency == USD", true);
        check("currency == EUR OR currency == USD AND id == nobody", false);
        check("(currency == USD OR currency == EUR) AND id == a1", true);
        check("'UK' == address.country", true);
        check("2 < customFields.tier", false);
        check("address.postCode == '12345'", true);
        check("address.postCode == 12345", true);
        check("address.postCode != 12345", false);
        check("address.postCode == 12345.0", false);
        check("address.postCode == 012345", false);
        check("address.postCode > 9999 AND address.postCode < 100000", true);
        check("12345 == address.postCode AND 9999 < address.postCode", true);
        check("address.country > 1", false);
        check("address.country == 1", false);
        check("customFields.text == true AND customFields.text != false", true);
        check("customFields.on == 'true'", false);
        check("currency == true", false);
        check("currency >= EUR", true);
        assert!(
            !AccountFilter::parse("address.country == UK")
                .unwrap()
                .admits(&Value::Null)
        );
    }

    #[test]
    fn every_comparison_below_at_and_above() {
        let account: Value = serde_json::from_str(
            r#"{"id": "a1", "currency": "USD", "address": {"country": "UK"},
                "customFields": {"tier": 7, "off": false, "list": [7], "map": {"tier": 7}, "huge": 1e99}}"#,
        )
        .unwrap();
        let check = |operand: &str, comparison: &str, values: [&str; 3], expect: [bool; 3]| {
            for (value, expect) in values.into_iter().zip(expect) {
                let filter = AccountFilter::parse(&format!("{operand} {comparison} {value}")).unwrap();
                assert_eq!(filter.admits(&account), expect, "{filter}");
            }
        };
        for (comparison, expect) in [
            ("==", [false, true, false]),
            ("!=", [true, false, true]),
            ("<", [false, false, true]),
            ("<=", [false, true, true]),
            (">", [true, false, false]),
            (">=", [true, true, false]),
        ] {
            check("customFields.tier", comparison, ["6.9", "7", "7.1"], expect);
            check("currency", comparison, ["USC", "USD", "USE"], expect);
        }
        // Only numbers and texts have an order.
        for comparison in ["<", "<=", ">", ">="] {
            check("customFields.off", comparison, ["false", "true", "null"], [false; 3]);
            check("null", comparison, ["null", "accountName", "7"], [false; 3]);
        }
        // Maps, lists and numbers that no decimal holds are equal to nothing.
        for field in ["address", "customFields.list", "customFields.map", "customFields.huge"] {
            check(field, "==", ["7", "UK", "null"], [false; 3]);
            check(field, "!=", ["7", "UK", "null"], [true; 3]);
        }
        check(
            "customFields.off",
            "==",
            ["false", "true", "'false'"],
            [true, false, false],
        );
        check(
            "null",
            "==",
            ["accountName", "accountCode", "address"],
            [true, true, false],
        );
    }

    #[test]
    fn a_filter_is_shown_as_it_was_written() {
        let text = "currency  ==  'USD'";
        let filter = AccountFilter::parse(text).unwrap();
        assert_eq!((filter.as_str(), filter.to_string().as_str()), (text, text));
        let error = AccountFilter::parse("currency").unwrap_err().to_string();
        assert!(
            error.starts_with("at character 9: a comparison was expected"),
            "{error}"
        );
    }

    #[test]
    fn an_account_is_filtered_by_its_document() {
        let usd: Value = serde_json::from_str(r#"{"id": "a1", "currency": "USD"}"#).unwrap();
        let check = |filter: &str, expect: bool| {
            let filter = AccountFilter::parse(filter).unwrap();
            let Value::Object(fields) = &usd else {
                unreachable!("the test's document is an object")
            };
            assert_eq!(filter.admits_fields(fields), expect, "{filter}");
        };
        check("currency == USD", true);
        check("currency == EUR", false);
    }

    #[test]
    fn a_filter_names_only_fields_that_accounts_have() {
        let check = |word: &str, expect: Option<Field>| assert_eq!(Field::parse(word), expect, "{word}");
        let within = |map: &'static str, key: &str| {
            let key = key.to_owned();
            Some(Field::Within { map, key })
        };
        for (word, key) in [
            ("id", "id"),
            ("accountName", "name"),
            ("accountCode", "code"),
            ("currency", "currency"),
            ("address", "address"),
            ("customFields", "customFields"),
        ] {
            check(word, Some(Field::Own(key)));
            assert!(Field::KNOWN.split(", ").any(|known| known == word), "{word}");
        }
        check("address.country", within("address", "country"));
        check("customFields.a.b", within("customFields", "a.b"));
        for word in [
            "",
            ".",
            "name",
            "code",
            "address.",
            "customFields.",
            "currency.x",
            "Address.country",
        ] {
            check(word, None);
        }
    }
}
