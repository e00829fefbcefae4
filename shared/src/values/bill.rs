//! A m3ter Bill, read as far as it decides money.
//!
//! Unknown fields pass; an unknown line item type, a missing amount or a number that is no decimal does not: each is an error that names
//! the field, and every culprit of a bill is named at once.

use std::fmt;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::amount;
use super::ids::{AccountId, BillId, OrganizationId};
use super::line_item_type::LineItemType;

/// Culprits named in one message; the rest are counted.
const CULPRITS_SHOWN_MAX: usize = 20;

/// The organization and id of a bill: ids are unique within an organization only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BillReference {
    pub organization: OrganizationId,
    pub bill: BillId,
}

impl fmt::Display for BillReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.organization, self.bill)
    }
}

impl TryFrom<String> for BillReference {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (organization, bill) = text
            .split_once('#')
            .ok_or_else(|| format!("{text:?} is not <organization>#<bill>"))?;
        Ok(Self {
            organization: OrganizationId::new(organization).map_err(|error| error.to_string())?,
            bill: BillId::new(bill).map_err(|error| error.to_string())?,
        })
    }
}

impl From<BillReference> for String {
    fn from(reference: BillReference) -> String {
        reference.to_string()
    }
}

/// Which version of a bill this is. The two kinds are never compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Head {
    Version(i64),
    LastModified(Timestamp),
}

impl Head {
    /// A text that sorts as the heads of one kind do.
    pub fn sort_text(self) -> String {
        match self {
            Head::Version(version) => format!("V{version:020}"),
            Head::LastModified(instant) => format!("M{:020}", instant.as_microsecond()),
        }
    }

    /// Reads what [`Head::sort_text`] wrote.
    pub fn of_sort_text(text: &str) -> Option<Head> {
        match text.split_at_checked(1)? {
            ("V", version) => version.parse().ok().map(Head::Version),
            ("M", micros) => Timestamp::from_microsecond(micros.parse().ok()?)
                .ok()
                .map(Head::LastModified),
            _ => None,
        }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Head::Version(version) => write!(f, "version {version}"),
            Head::LastModified(instant) => write!(f, "dtLastModified {instant}"),
        }
    }
}

/// `status` of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillStatus {
    Pending,
    Approved,
}

/// What measured the usage of a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aggregation {
    Simple(String),
    Compound(String),
}

/// One line, as far as it decides money.
#[derive(Debug, Clone, PartialEq)]
pub struct LineItem {
    pub id: Option<String>,
    pub kind: LineItemType,
    pub product: Option<String>,
    pub aggregation: Option<Aggregation>,
    /// `convertedSubtotal`: in the bill's currency, and so the only field that adds up.
    pub amount: Decimal,
}

/// A bill of some version. See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Bill {
    pub reference: BillReference,
    pub account: AccountId,
    pub head: Head,
    pub status: BillStatus,
    pub currency: String,
    /// `startDate`, as m3ter wrote it.
    pub start_date: Option<String>,
    /// `endDateTimeUTC`: the first instant after the billing period.
    pub ends_at: Option<Timestamp>,
    pub line_items: Vec<LineItem>,
}

/// What is wrong with a bill: every culprit, by field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct BillError {
    culprits: Vec<String>,
}

impl BillError {
    fn text(&self) -> String {
        let shown = self
            .culprits
            .iter()
            .take(CULPRITS_SHOWN_MAX)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ");
        match self.culprits.len().saturating_sub(CULPRITS_SHOWN_MAX) {
            0 => shown,
            more => format!("{shown}; and {more} more of the same kind"),
        }
    }

    pub(crate) fn one(culprit: impl Into<String>) -> BillError {
        BillError {
            culprits: vec![culprit.into()],
        }
    }
}

/// Collects what is wrong while it reads.
#[derive(Default)]
struct Reader {
    culprits: Vec<String>,
}

impl Reader {
    fn wrong<T>(&mut self, culprit: String) -> Option<T> {
        self.culprits.push(culprit);
        None
    }

    fn text<'a>(&mut self, object: &'a Map<String, Value>, path: &str, field: &str) -> Option<&'a str> {
        match present(object, field) {
            None => self.wrong(format!("{path}{field} is missing")),
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            Some(_) => self.wrong(format!("{path}{field} must be a text that is not empty")),
        }
    }

    fn optional_text(&mut self, object: &Map<String, Value>, path: &str, field: &str) -> Option<String> {
        present(object, field)?;
        self.text(object, path, field).map(str::to_owned)
    }

    fn instant(&mut self, object: &Map<String, Value>, field: &str) -> Option<Timestamp> {
        let text = self.optional_text(object, "", field)?;
        match text.parse() {
            Ok(instant) => Some(instant),
            Err(_) => self.wrong(format!("{field} is {text:?}, which is no ISO 8601 date-time")),
        }
    }

    fn amount(&mut self, object: &Map<String, Value>, path: &str, field: &str) -> Option<Decimal> {
        match present(object, field) {
            None => self.wrong(format!(
                "{path}{field} is missing; a missing amount is never taken for 0"
            )),
            Some(Value::Number(number)) => match amount::decimal(&number.to_string()) {
                Ok(amount) => Some(amount),
                Err(error) => self.wrong(format!("{path}{field}: {error}")),
            },
            Some(other) => self.wrong(format!("{path}{field} is {other}, which is no JSON number")),
        }
    }

    fn line_item(&mut self, value: &Value, index: usize) -> Option<LineItem> {
        let path = format!("lineItems[{index}].");
        let Value::Object(line) = value else {
            return self.wrong(format!("lineItems[{index}] must be an object"));
        };
        let kind = self
            .text(line, &path, "lineItemType")
            .and_then(|text| match text.parse::<LineItemType>() {
                Ok(kind) => Some(kind),
                Err(error) => self.wrong(format!("{path}lineItemType: {error}")),
            });
        let amount = self.amount(line, &path, "convertedSubtotal");
        self.text(line, &path, "currency");
        let simple = self
            .optional_text(line, &path, "aggregationId")
            .map(Aggregation::Simple);
        let compound = self
            .optional_text(line, &path, "compoundAggregationId")
            .map(Aggregation::Compound);
        // Where a line has both, the compound one is priced, and the other contributes to it.
        let aggregation = compound.or(simple);
        let id = self.optional_text(line, &path, "id");
        let product = self.optional_text(line, &path, "productId");
        Some(LineItem {
            id,
            kind: kind?,
            product,
            aggregation,
            amount: amount?,
        })
    }
}

/// A field that is there and not null: m3ter writes an absent one either way.
fn present<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

/// The version of a bill in JSON: `version`, else `dtLastModified`.
pub fn head(bill: &Map<String, Value>) -> Result<Head, BillError> {
    if let Some(version) = present(bill, "version") {
        return match version.as_i64() {
            Some(version) if version >= 0 => Ok(Head::Version(version)),
            _ => Err(BillError::one(format!(
                "version is {version}, which is no whole number from 0 up"
            ))),
        };
    }
    let mut reader = Reader::default();
    match reader.instant(bill, "dtLastModified") {
        Some(instant) => Ok(Head::LastModified(instant)),
        None if reader.culprits.is_empty() => Err(BillError::one(
            "version is missing, and dtLastModified too; one of them tells an older bill from a newer",
        )),
        None => Err(BillError {
            culprits: reader.culprits,
        }),
    }
}

impl Bill {
    /// Reads m3ter's JSON. Errors: every field that is missing or decides money and cannot be read.
    pub fn from_json(organization: &OrganizationId, bill: &Map<String, Value>) -> Result<Bill, BillError> {
        let mut reader = Reader::default();
        let id = reader.text(bill, "", "id").and_then(|text| match BillId::new(text) {
            Ok(id) => Some(id),
            Err(error) => reader.wrong(format!("id: {error}")),
        });
        let account = reader
            .text(bill, "", "accountId")
            .and_then(|text| match AccountId::new(text) {
                Ok(id) => Some(id),
                Err(error) => reader.wrong(format!("accountId: {error}")),
            });
        let head = match head(bill) {
            Ok(head) => Some(head),
            Err(error) => {
                reader.culprits.extend(error.culprits);
                None
            }
        };
        let status = match present(bill, "status").map(|status| status.as_str()) {
            None | Some(Some("PENDING")) => Some(BillStatus::Pending),
            Some(Some("APPROVED")) => Some(BillStatus::Approved),
            Some(other) => reader.wrong(format!("status is {other:?}; known are PENDING and APPROVED")),
        };
        let currency = reader.text(bill, "", "currency").map(str::to_owned);
        let start_date = reader.optional_text(bill, "", "startDate");
        let ends_at = reader.instant(bill, "endDateTimeUTC");
        let line_items = match present(bill, "lineItems") {
            None => reader.wrong("lineItems is missing; a bill without lines has an empty list".to_owned()),
            Some(Value::Array(lines)) => Some(
                lines
                    .iter()
                    .enumerate()
                    .filter_map(|(index, line)| reader.line_item(line, index))
                    .collect(),
            ),
            Some(_) => reader.wrong("lineItems must be a list".to_owned()),
        };
        if !reader.culprits.is_empty() {
            return Err(BillError {
                culprits: reader.culprits,
            });
        }
        match (id, account, head, status, currency, line_items) {
            (Some(bill), Some(account), Some(head), Some(status), Some(currency), Some(line_items)) => Ok(Bill {
                reference: BillReference {
                    organization: organization.clone(),
                    bill,
                },
                account,
                head,
                status,
                currency,
                start_date,
                ends_at,
                line_items,
            }),
            _ => Err(BillError::one("the bill could not be read")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Bill, String> {
        let organization = OrganizationId::new("org").unwrap();
        match serde_json::from_str(text).unwrap() {
            Value::Object(bill) => Bill::from_json(&organization, &bill).map_err(|error| error.to_string()),
            _ => unreachable!("the test's text is an object"),
        }
    }

    fn line(extra: &str) -> String {
        format!(
            r#"{{"id":"b","accountId":"a","version":3,"currency":"USD","lineItems":[{{"lineItemType":"USAGE","currency":"USD"{extra}}}]}}"#
        )
    }

    #[test]
    fn a_head_s_sort_text_is_read_back() {
        let instant = "2025-06-10T10:02:11.120Z".parse().unwrap();
        for head in [Head::Version(0), Head::Version(i64::MAX), Head::LastModified(instant)] {
            assert_eq!(Head::of_sort_text(&head.sort_text()), Some(head));
        }
        for bad in ["", "V", "Vx", "X1", "ö1"] {
            assert_eq!(Head::of_sort_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_bill_is_read() {
        let bill = read(&line(
            r#","convertedSubtotal":1.19e4,"productId":"p","compoundAggregationId":"c","unknown":1"#,
        ))
        .unwrap();
        assert_eq!(bill.head, Head::Version(3));
        assert_eq!(bill.line_items[0].amount, Decimal::from(11900));
        assert_eq!(bill.line_items[0].aggregation, Some(Aggregation::Compound("c".into())));
        assert_eq!(bill.status, BillStatus::Pending);
        let of_both = read(&line(
            r#","convertedSubtotal":1,"aggregationId":"a","compoundAggregationId":"c""#,
        ));
        let aggregation = of_both.unwrap().line_items[0].aggregation.clone();
        assert_eq!(aggregation, Some(Aggregation::Compound("c".into())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expect: &str| {
            let error = read(text).unwrap_err();
            assert!(error.contains(expect), "{text}\n{error}\nlacks {expect}");
        };
        check(&line(""), "lineItems[0].convertedSubtotal is missing");
        check(
            &line(r#","convertedSubtotal":"NaN""#),
            "lineItems[0].convertedSubtotal is \"NaN\"",
        );
        check(
            &line(r#","convertedSubtotal":1e400"#),
            "lineItems[0].convertedSubtotal: 1e+400 is not an amount",
        );
        check(&line(r#","convertedSubtotal":null"#), "convertedSubtotal is missing");
        check(
            "{}",
            "id is missing; accountId is missing; version is missing, and dtLastModified too",
        );
        check(
            r#"{"id":"b#","accountId":"a","version":1,"currency":"USD","lineItems":[]}"#,
            "id: it holds '#'",
        );
        check(
            r#"{"id":"b","accountId":"a","version":1.5,"currency":"USD","lineItems":[]}"#,
            "version is 1.5",
        );
        check(
            r#"{"id":"b","accountId":"a","version":1,"lineItems":[]}"#,
            "currency is missing",
        );
        check(
            r#"{"id":"b","accountId":"a","version":1,"currency":"USD"}"#,
            "lineItems is missing",
        );
        check(
            r#"{"id":"b","accountId":"a","version":1,"currency":"USD","lineItems":[{"lineItemType":"GIFT","currency":"USD","convertedSubtotal":1}]}"#,
            "GIFT",
        );
        check(
            r#"{"id":"b","accountId":"a","version":1,"currency":"USD","status":"OPEN","lineItems":[]}"#,
            "OPEN",
        );
    }
}
