//! `pending`: everything that AWS has not accepted, and the way out of each.

use serde_json::Value;

use super::{Answer, Form};
use crate::api::Api;
use crate::failure::Failure;
use crate::show::{self, Screen, count, field, time_in, whole};

/// The list.
pub const PATH: &str = "integrationdestinations/marketplace/pending";

pub async fn pending(api: &Api, form: Form, screen: &Screen) -> Result<Answer, Failure> {
    let rows = api.rows(PATH, &[], usize::MAX).await?.rows;
    if form == Form::Json {
        return Ok(Answer::well(show::joined(&rows)));
    }
    if rows.is_empty() {
        return Ok(Answer::well("AWS has accepted everything."));
    }
    let rows: Vec<Value> = rows.iter().map(|row| show::read(row)).collect();
    let lines: Vec<[String; 7]> = rows
        .iter()
        .map(|row| {
            [
                field(row, "state"),
                count(whole(row, "units")),
                field(row, "dimension"),
                field(row, "customer"),
                time_in(row, "hour"),
                time_in(row, "refusedFrom"),
                field(row, "id"),
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
    let mut text = screen.table(header, &lines, 1..2);
    // Rows that differ in nothing but the buyer say the same.
    let mut said: Vec<(String, String, Vec<String>)> = Vec::new();
    for row in &rows {
        let (reason, way_out) = (field(row, "reason"), field(row, "wayOut"));
        match said
            .iter_mut()
            .find(|(known, way, _)| *known == reason && *way == way_out)
        {
            Some((_, _, ids)) => ids.push(field(row, "id")),
            None => said.push((reason, way_out, vec![field(row, "id")])),
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
