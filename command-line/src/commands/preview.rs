//! `preview`: what a bill would lead to under a configuration. Nothing is written.

use std::io::Read;

use serde_json::value::RawValue;

use super::{Answer, Form, one_configuration, segment};
use crate::api::{Api, Effect};
use crate::arguments::Preview;
use crate::failure::{Failure, REFUSED};
use crate::show::{self, Screen, clean, count, field, list, whole};

pub async fn preview(api: &Api, asked: &Preview, form: Form, screen: &Screen) -> Result<Answer, Failure> {
    let body = bill(asked)?;
    let configuration = one_configuration(api, asked.configuration.as_deref(), "to preview with", |_| true).await?;
    let path = format!("integrationconfigs/{}/preview", segment(&configuration));
    let raw = api.post(&path, body, Effect::Reads).await?;
    if form == Form::Json {
        return Ok(Answer::well(raw.get()));
    }
    let found = show::read(&raw);
    let mut text = format!(
        "Bill {}, {}: {}",
        field(&found, "billId"),
        field(&found, "version"),
        field(&found, "reason")
    );
    for error in list(&found, "validationErrors") {
        text.push_str(&format!("\n  wrong: {}", error.as_str().unwrap_or_default()));
    }
    let keys = list(&found, "dimensions");
    let lines: Vec<[String; 8]> = keys
        .iter()
        .map(|key| {
            let sent: i64 = list(key, "entries").iter().map(|entry| whole(entry, "quantity")).sum();
            [
                field(key, "dimension"),
                field(key, "customer"),
                count(whole(key, "unitsBefore")),
                count(whole(key, "units")),
                count(sent),
                count(whole(key, "waits")),
                count(whole(key, "carry")),
                field(key, "reason"),
            ]
        })
        .collect();
    if !lines.is_empty() {
        let header = [
            "dimension",
            "buyer",
            "units before",
            "units",
            "sent at once",
            "wait",
            "carry",
            "why",
        ];
        text.push_str(&format!("\n{}", screen.table(header, &lines, 2..7, &[0, 1])));
    }
    for source in keys.iter().flat_map(|key| list(key, "sources")) {
        text.push_str(&format!("\n  {}", field(source, "words")));
    }
    text.push_str("\nNothing was written or sent.");
    Ok(Answer::well(clean(&text)))
}

/// The file's text, unchanged, if it is JSON.
fn bill(asked: &Preview) -> Result<String, Failure> {
    let name = asked.file.display();
    let text = match asked.file.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(&asked.file),
    };
    let text = text.map_err(|error| Failure::new(REFUSED, format!("{name} cannot be read: {error}"), ""))?;
    match serde_json::from_str::<Box<RawValue>>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::new(
            REFUSED,
            format!("{name} is not JSON: {error}"),
            "give a bill as m3ter sends it",
        )),
    }
}
