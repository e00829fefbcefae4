//! `runs`: what was tried for which bill, and the log of each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Answer, Form, configurations, segment};
use crate::api::Api;
use crate::arguments::{Runs, RunsCommand};
use crate::failure::{Failure, REFUSED};
use crate::show::{self, Screen, field, time_in};

pub async fn runs(api: &Api, asked: &Runs, form: Form, screen: &Screen) -> Result<Answer, Failure> {
    match &asked.command {
        Some(RunsCommand::Show { id, log: false }) => one(api, id, form).await,
        Some(RunsCommand::Show { id, log: true }) => log(api, id, form).await,
        None => several(api, asked, form, screen).await,
    }
}

/// Runs are listed by bill or by configuration; without either, those of all configurations are put together, newest first.
async fn several(api: &Api, asked: &Runs, form: Form, screen: &Screen) -> Result<Answer, Failure> {
    let (from, to) = (
        asked.from.map(|date| date.to_string()),
        asked.to.map(|date| date.to_string()),
    );
    let filters = [("status", &asked.status), ("startDate", &from), ("endDate", &to)];
    let query: Vec<(&str, &str)> = filters
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    let paths = match (&asked.bill, &asked.configuration) {
        (Some(bill), _) => vec![format!("integrationruns/Bill/{}", segment(bill))],
        (None, Some(configuration)) => vec![by_configuration(configuration)],
        (None, None) => {
            let all = configurations(api).await?;
            all.iter()
                .map(|row| by_configuration(&field(&show::read(row), "id")))
                .collect()
        }
    };
    let (mut rows, mut has_more) = (Vec::new(), false);
    for path in &paths {
        let listed = api.rows(path, &query, asked.limit).await?;
        has_more |= listed.has_more;
        rows.extend(listed.rows);
    }
    let started = |row: &RawValue| show::instant(&show::read(row), "dtStarted");
    rows.sort_by_cached_key(|row| std::cmp::Reverse(started(row)));
    has_more |= rows.len() > asked.limit;
    rows.truncate(asked.limit);
    if form == Form::Json {
        return Ok(Answer::well(show::joined(&rows)));
    }
    if rows.is_empty() {
        return Ok(Answer::well("There are no such runs."));
    }
    let found: Vec<Value> = rows.iter().map(|row| show::read(row)).collect();
    let mut text = table(&found, screen);
    if has_more {
        text.push_str(&format!(
            "\nThere are more than these {}; --limit N shows more.",
            rows.len()
        ));
    }
    Ok(Answer::well(text))
}

/// Runs as a table.
pub fn table(runs: &[Value], screen: &Screen) -> String {
    let lines: Vec<[String; 5]> = runs
        .iter()
        .map(|run| {
            [
                time_in(run, "dtStarted"),
                field(run, "entityId"),
                field(run, "status"),
                field(run, "error"),
                field(run, "id"),
            ]
        })
        .collect();
    screen.table(["started", "bill", "status", "error", "run"], &lines, 0..0, &[4])
}

/// Where the runs of a configuration are listed.
pub fn by_configuration(id: &str) -> String {
    format!("integrationruns/destinations/{}", segment(id))
}

async fn one(api: &Api, id: &str, form: Form) -> Result<Answer, Failure> {
    let raw = api.get(&format!("integrationruns/{}", segment(id)), &[]).await?;
    if form == Form::Json {
        return Ok(Answer::well(raw.get()));
    }
    let run = show::read(&raw);
    let mut text = format!(
        "Run {} of bill {}\n  status         {}\n  started        {}\n  ended          {}\n  configuration  {}",
        field(&run, "id"),
        field(&run, "entityId"),
        field(&run, "status"),
        time_in(&run, "dtStarted"),
        time_in(&run, "dtCompleted"),
        field(&run, "destinationId"),
    );
    for (name, shown) in [
        ("error", "error          "),
        ("replayedFromIntegrationRunId", "replay of      "),
    ] {
        if !field(&run, name).is_empty() {
            text.push_str(&format!("\n  {shown}{}", field(&run, name)));
        }
    }
    text.push_str("\nIts log: the same with --log");
    Ok(Answer::well(show::clean(&text)))
}

/// The log, which the API gives in base64: as JSON here, an entry after the other for people.
async fn log(api: &Api, id: &str, form: Form) -> Result<Answer, Failure> {
    let raw = api.get(&format!("integrationruns/logs/{}", segment(id)), &[]).await?;
    if form == Form::Json {
        return Ok(Answer::well(raw.get()));
    }
    let unreadable = || {
        Failure::new(
            REFUSED,
            "the log cannot be read",
            "give --json to see what the API gave",
        )
    };
    let payload = STANDARD
        .decode(field(&show::read(&raw), "Payload"))
        .map_err(|_| unreadable())?;
    let entries: Vec<Value> = serde_json::from_slice(&payload).map_err(|_| unreadable())?;
    let pages: Vec<String> = entries
        .iter()
        .map(|entry| serde_json::to_string_pretty(entry).unwrap_or_default())
        .collect();
    Ok(Answer::well(match pages.is_empty() {
        true => "The log is empty: it is kept for 90 days.".to_owned(),
        false => show::clean(&pages.join("\n")),
    }))
}
