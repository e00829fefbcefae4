//! `report`: what AWS accepted, bill by bill, dimension by dimension, hour by hour.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Answer, Form};
use crate::api::Api;
use crate::arguments::Report;
use crate::decisive;
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
    let rows = api.rows(PATH, &query, usize::MAX).await?.rows;
    let is_narrowed = asked.from.is_some() || asked.to.is_some();
    if form == Form::Json && !is_narrowed {
        return Ok(Answer::well(show::joined(&rows)));
    }
    let mut bills = Vec::new();
    for raw in rows {
        let bill = show::read(&raw);
        let hours = hours(&bill, asked)?;
        if !is_narrowed || !hours.is_empty() {
            bills.push((raw, bill, hours));
        }
    }
    if form == Form::Json {
        let rows: Vec<Box<RawValue>> = bills.into_iter().map(|(raw, ..)| raw).collect();
        return Ok(Answer::well(show::joined(&rows)));
    }
    let (mut lines, mut total) = (Vec::new(), 0);
    for (_, bill, hours) in bills {
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
            lines.push([
                field(&bill, "billId"),
                field(&bill, "accountId"),
                dimension,
                show::time(hour),
                count(units),
            ]);
        }
    }
    if lines.is_empty() {
        return Ok(Answer::well("AWS has accepted nothing of what was asked for."));
    }
    let table = screen.table(
        ["bill", "account", "dimension", "hour", "units"],
        &lines,
        4..5,
        &[0, 2, 3],
    );
    Ok(Answer::well(format!(
        "{table}\n{} accepted by AWS",
        show::counted(total, "unit", "units")
    )))
}

/// The hours of a bill that were asked for. What cannot be read is refused: it would be missing in the sum.
fn hours(bill: &Value, asked: &Report) -> Result<Vec<(String, Timestamp, i64)>, Failure> {
    let of = format!("the usage of bill {}", field(bill, "billId"));
    let mut found = Vec::new();
    for (dimension, by_hour) in decisive::object(bill.get("reportedUsage"), "reportedUsage", &of)? {
        for (name, units) in decisive::object(Some(by_hour), dimension, &of)? {
            let hour: Option<Timestamp> = name.parse().ok();
            let hour = hour.ok_or_else(|| decisive::refused(Some(units), name, &of, "the units of an hour"))?;
            let day = hour.to_zoned(TimeZone::UTC).date();
            let is_in = asked.from.is_none_or(|from| day >= from) && asked.to.is_none_or(|to| day <= to);
            let units = decisive::whole(by_hour, name, &of)?;
            if is_in {
                found.push((dimension.clone(), hour, units));
            }
        }
    }
    Ok(found)
}
