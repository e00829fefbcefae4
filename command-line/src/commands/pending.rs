//! `pending`: everything that AWS has not accepted, and the way out of each.

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Answer, Form};
use crate::api::Api;
use crate::decisive;
use crate::failure::Failure;
use crate::show::{self, Screen, count, field, time_in};

/// The list.
pub const PATH: &str = "integrationdestinations/marketplace/pending";

/// A row of the list: what decides whether a person is needed, and the rest for display.
#[derive(Debug)]
pub struct Waiting {
    /// As the API gave it.
    pub row: Value,
    pub state: String,
    pub units: i64,
    /// From when on AWS refuses it; none: it has no hour that closes.
    pub refused_from: Option<Timestamp>,
}

impl Waiting {
    /// Reads a row. One without state or units is refused.
    pub fn read(raw: &RawValue) -> Result<Waiting, Failure> {
        let row = show::read(raw);
        let of = format!("the row {} of {PATH}", field(&row, "id"));
        Ok(Waiting {
            state: decisive::text(&row, "state", &of)?,
            units: decisive::whole(&row, "units", &of)?,
            refused_from: decisive::maybe_instant(&row, "refusedFrom", &of)?,
            row,
        })
    }

    /// Reads them all.
    pub fn all(rows: &[Box<RawValue>]) -> Result<Vec<Waiting>, Failure> {
        rows.iter().map(|row| Waiting::read(row)).collect()
    }

    /// A field for display.
    pub fn field(&self, name: &str) -> String {
        field(&self.row, name)
    }

    /// Whether its units are owed, not accepted, and Outbill's to send.
    pub fn is_at_risk(&self) -> bool {
        self.units > 0 && self.state != "SHADOW"
    }
}

pub async fn pending(api: &Api, form: Form, screen: &Screen) -> Result<Answer, Failure> {
    let rows = api.rows(PATH, &[], usize::MAX).await?.rows;
    if form == Form::Json {
        return Ok(Answer::well(show::joined(&rows)));
    }
    if rows.is_empty() {
        return Ok(Answer::well("AWS has accepted everything."));
    }
    let rows = Waiting::all(&rows)?;
    let lines: Vec<[String; 7]> = rows
        .iter()
        .map(|row| {
            [
                row.state.clone(),
                count(row.units),
                row.field("dimension"),
                row.field("customer"),
                time_in(&row.row, "hour"),
                time_in(&row.row, "refusedFrom"),
                row.field("id"),
            ]
        })
        .collect();
    let header = [
        "state",
        "units",
        "dimension",
        "buyer",
        "hour",
        "AWS refuses it from",
        "id",
    ];
    let mut text = screen.table(header, &lines, 1..2, &[6]);
    // Rows that differ in nothing but the buyer say the same.
    let mut said: Vec<(String, String, Vec<String>)> = Vec::new();
    for row in &rows {
        let (reason, way_out) = (row.field("reason"), row.field("wayOut"));
        match said
            .iter_mut()
            .find(|(known, way, _)| *known == reason && *way == way_out)
        {
            Some((_, _, ids)) => ids.push(row.field("id")),
            None => said.push((reason, way_out, vec![row.field("id")])),
        }
    }
    for (reason, way_out, ids) in said {
        let ids = show::clean(&ids.join(", "));
        text.push_str(&format!(
            "\n\n{ids}\n  why      {}\n  way out  {}",
            show::clean(&reason),
            show::clean(&way_out)
        ));
    }
    Ok(Answer::well(text))
}
