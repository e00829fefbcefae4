//! `report`: what AWS accepted, bill by bill, dimension by dimension, hour by hour.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::{Answer, Form};
use crate::api::Api;
use crate::arguments::Report;
use crate::failure::Failure;
use crate::show::{self, Screen, count, field};

const PATH: &str = "integrationdestinations/marketplace/usageReport";

pub async fn report(api: &Api, asked: &Report, form: Form, screen: &Screen) -> Result<Answer, Failure> {
    if let (Some(from), Some(to)) = (asked.from, asked.to)
        && from > to
    {
        return Err(Failure::misused(
            format!("{from} is after {to}"),
            "give --from before --to",
        ));
    }
    let bill_start = asked.bill_start.map(|date| date.to_string());
    let filters = [
        ("billId", &asked.bill),
        ("accountId", &asked.account),
        ("billStartDate", &bill_start),
    ];
    let query: Vec<(&str, &str)> = filters
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    let mut rows = api.rows(PATH, &query, usize::MAX).await?.rows;
    if asked.from.is_some() || asked.to.is_some() {
        rows.retain(|row| !hours(&show::read(row), asked).is_empty());
    }
    if form == Form::Json {
        return Ok(Answer::well(show::joined(&rows)));
    }
    let (mut lines, mut total) = (Vec::new(), 0);
    for bill in rows.iter().map(|row| show::read(row)) {
        let hours = hours(&bill, asked);
        if hours.is_empty() {
            lines.push([
                field(&bill, "billId"),
                field(&bill, "accountId"),
                "nothing accepted yet".to_owned(),
                String::new(),
                "0".to_owned(),
            ]);
        }
        for (dimension, hour, units) in hours {
            total += units;
            let hour = hour.map_or_else(String::new, show::time);
            lines.push([
                field(&bill, "billId"),
                field(&bill, "accountId"),
                dimension,
                hour,
                count(units),
            ]);
        }
    }
    if lines.is_empty() {
        return Ok(Answer::well("AWS has accepted nothing of what was asked for."));
    }
    let table = screen.table(["bill", "account", "dimension", "hour", "units"], &lines, 4..5);
    Ok(Answer::well(format!(
        "{table}\n{} accepted by AWS",
        show::counted(total, "unit", "units")
    )))
}

/// The hours of a bill that were asked for.
fn hours(bill: &Value, asked: &Report) -> Vec<(String, Option<Timestamp>, i64)> {
    let mut found = Vec::new();
    for (dimension, hours) in bill
        .get("reportedUsage")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for (hour, units) in hours.as_object().into_iter().flatten() {
            let hour: Option<Timestamp> = hour.parse().ok();
            let day = hour.map(|hour| hour.to_zoned(TimeZone::UTC).date());
            let is_in = asked.from.is_none_or(|from| day.is_some_and(|day| day >= from))
                && asked.to.is_none_or(|to| day.is_some_and(|day| day <= to));
            if is_in {
                found.push((dimension.clone(), hour, units.as_i64().unwrap_or_default()));
            }
        }
    }
    found
}
