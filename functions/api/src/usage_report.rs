//! `integrationdestinations/marketplace/usageReport`: what AWS accepted, bill by bill, dimension by dimension, hour by hour.

use axum::Json;
use jiff::civil::Date;
use outbill::{
    effects::{
        access::Permission,
        usage::{BillUsage, UsageFilter},
    },
    values::{
        configuration::DestinationKind,
        ids::{AccountId, BillId, IdError},
    },
};
use serde_json::{Map, Value, json};

use crate::{call::Call, error::ApiError, page, query::Query};

/// m3ter's largest page of this report.
pub(crate) const PAGE_MAX: usize = 50;
/// m3ter's longest `billId`.
pub(crate) const BILL_ID_CHARACTERS_MAX: usize = 50;

/// Bills that were metered, newest first. A bill whose usage AWS has not accepted yet has an empty `reportedUsage`. A page ends before it is too
/// large for an answer; a bill that alone is larger stays whole.
pub(crate) async fn list(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageRetrieve)?;
    let request = page::request(&query, PAGE_MAX)?;
    let filter = filter(&query)?;
    let own = |system: &str| system.eq_ignore_ascii_case(DestinationKind::Aws.name());
    let found = match query.text("externalSystem").is_none_or(own) {
        true => call.outbill.usage.page(&call.organization, &filter, &request).await?,
        // Nothing is reported to another marketplace.
        false => page::empty(),
    };
    Ok(Json(page::response(&query, found, show)))
}

fn filter(query: &Query) -> Result<UsageFilter, ApiError> {
    let bad = |name: &str, error: IdError| ApiError::bad_request(format!("{name}: {error}"));
    let bill = query.text("billId").map(BillId::new).transpose();
    let bill = bill.map_err(|error| bad("billId", error))?;
    if bill
        .as_ref()
        .is_some_and(|bill| bill.as_str().chars().count() > BILL_ID_CHARACTERS_MAX)
    {
        let message = format!("billId: give at most {BILL_ID_CHARACTERS_MAX} characters");
        return Err(ApiError::bad_request(message));
    }
    let account = query.text("accountId").map(AccountId::new).transpose();
    Ok(UsageFilter {
        bill,
        account: account.map_err(|error| bad("accountId", error))?,
        bill_start_date: query
            .parsed("billStartDate", date, "give a date such as 2025-06-01")?
            .map(|date| date.to_string()),
    })
}

/// A date in the one form that m3ter writes.
fn date(text: &str) -> Option<Date> {
    text.parse().ok().filter(|date: &Date| date.to_string() == text)
}

fn show(usage: &BillUsage) -> Value {
    let hours = |hours: &std::collections::BTreeMap<_, _>| -> Map<String, Value> {
        hours
            .iter()
            .map(|(hour, units): (&outbill::values::hour::Hour, &i64)| (format!("{hour}:00:00Z"), json!(units)))
            .collect()
    };
    let reported: Map<String, Value> = usage
        .reported
        .iter()
        .map(|(dimension, units)| (dimension.clone(), Value::Object(hours(units))))
        .collect();
    json!({
        "accountId": usage.account,
        "billId": usage.bill,
        "externalSystem": DestinationKind::Aws.name(),
        "reportedUsage": reported,
    })
}
