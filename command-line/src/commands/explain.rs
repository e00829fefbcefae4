//! `explain`: where a bill's number at AWS comes from.

use super::{Answer, Form};
use crate::api::Api;
use crate::arguments::Explain;
use crate::failure::Failure;
use crate::show::{self, Screen, clean, count, field, list, time_in, whole};

pub async fn explain(api: &Api, asked: &Explain, form: Form, screen: &Screen) -> Result<Answer, Failure> {
    let mut query = vec![("billId", asked.bill.as_str())];
    query.extend(asked.dimension.as_deref().map(|dimension| ("dimension", dimension)));
    let raw = api.get("integrationdestinations/marketplace/explain", &query).await?;
    if form == Form::Json {
        return Ok(Answer::well(raw.get()));
    }
    let found = show::read(&raw);
    let mut text = format!("Bill {}, {}", field(&found, "billId"), field(&found, "version"));
    if found.get("accountId").is_some() {
        text.push_str(&format!(", account {}", field(&found, "accountId")));
    }
    if found.get("deleted").and_then(serde_json::Value::as_bool) == Some(true) {
        text.push_str(", deleted");
    }
    for key in list(&found, "dimensions") {
        text.push_str(&format!(
            "\n\n{}, buyer {}\n  owes {}, at AWS {} (of all bills there: owed {}, held {})",
            field(key, "dimension"),
            field(key, "customer"),
            show::counted(whole(key, "units"), "unit", "units"),
            count(whole(key, "accepted")),
            count(whole(key, "total")),
            count(whole(key, "atAws")),
        ));
        for words in list(key, "words") {
            text.push_str(&format!("\n  {}", words.as_str().unwrap_or_default()));
        }
        let lines: Vec<[String; 6]> = list(key, "entries")
            .iter()
            .map(|entry| {
                [
                    time_in(entry, "hour"),
                    count(whole(entry, "quantity")),
                    count(whole(entry, "part")),
                    field(entry, "state"),
                    field(entry, "version"),
                    field(entry, "meteringRecordId"),
                ]
            })
            .collect();
        if !lines.is_empty() {
            let header = [
                "hour",
                "quantity",
                "this bill's part",
                "state",
                "claimed for",
                "metering record",
            ];
            text.push_str(&format!("\n{}", screen.table(header, &lines, 1..3, &[0])));
        }
    }
    let versions: Vec<[String; 4]> = list(&found, "versions")
        .iter()
        .map(|version| {
            let lines = match field(version, "lineItemsGone") {
                gone if gone.is_empty() => list(version, "lineItems").len().to_string(),
                gone => gone,
            };
            [
                field(version, "version"),
                time_in(version, "dtStarted"),
                lines,
                field(version, "integrationRunId"),
            ]
        })
        .collect();
    if !versions.is_empty() {
        text.push_str(&format!(
            "\n\n{}",
            screen.table(["version", "came", "line items", "run"], &versions, 0..0, &[3])
        ));
    }
    Ok(Answer::well(clean(&text)))
}
