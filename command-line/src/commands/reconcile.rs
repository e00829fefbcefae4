//! `reconcile`: comparisons with CloudTrail.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::Date;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Answer, Form, one_configuration, segment};
use crate::api::{Api, Effect};
use crate::arguments::{Reconcile, ReconcileCommand};
use crate::decisive;
use crate::failure::{Failure, NEEDS_A_PERSON, NOT_ENDED, WELL};
use crate::show::{self, Screen, count, field, list, time_in, whole};
use crate::surroundings::Surroundings;

/// The list.
pub const PATH: &str = "reconciliations";
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub async fn reconcile(
    api: &Api,
    asked: &Reconcile,
    form: Form,
    screen: &Screen,
    surroundings: &Surroundings,
) -> Result<Answer, Failure> {
    match &asked.command {
        None => several(api, asked, form, screen).await,
        Some(ReconcileCommand::Show { id }) => {
            let raw = api.get(&one(id), &[]).await?;
            shown(api, id, &raw, form).await
        }
        Some(ReconcileCommand::Ask {
            date,
            configuration,
            wait,
            timeout,
        }) => {
            let raw = ask(api, *date, configuration.as_deref()).await?;
            let id = field(&show::read(&raw), "id");
            if *wait {
                let ended = ended(api, &id, Duration::from_secs(*timeout), surroundings).await?;
                return shown(api, &id, &ended, form).await;
            }
            Ok(Answer::well(match form {
                Form::Json => raw.get().to_owned(),
                Form::ForPeople => format!("{date} will be compared. How it goes: outbill reconcile show {id}"),
            }))
        }
    }
}

async fn several(api: &Api, asked: &Reconcile, form: Form, screen: &Screen) -> Result<Answer, Failure> {
    let date = asked.date.map(|date| date.to_string());
    let filters = [
        ("date", &date),
        ("status", &asked.status),
        ("integrationConfigId", &asked.configuration),
    ];
    let query: Vec<(&str, &str)> = filters
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    let listed = api.rows(PATH, &query, asked.limit).await?;
    if form == Form::Json {
        return Ok(Answer::well(show::joined(&listed.rows)));
    }
    if listed.rows.is_empty() {
        return Ok(Answer::well(
            "There are no such comparisons; a configuration needs awsMarketplaceCloudtrailChecks.",
        ));
    }
    let lines: Vec<[String; 7]> = listed.rows.iter().map(|row| line(&show::read(row))).collect();
    let header = ["day", "scope", "status", "discrepancies", "difference", "ended", "id"];
    let mut text = screen.table(header, &lines, 3..5, &[6]);
    if listed.has_more {
        text.push_str(&format!(
            "\nThere are more than these {}; --limit N shows more.",
            lines.len()
        ));
    }
    Ok(Answer::well(text))
}

fn line(found: &Value) -> [String; 7] {
    let by_reason = found.get("discrepanciesByReason").and_then(Value::as_object);
    let discrepancies: i64 = by_reason
        .into_iter()
        .flatten()
        .filter_map(|(_, number)| number.as_i64())
        .sum();
    let difference: i64 = list(found, "dimensions")
        .iter()
        .map(|line| whole(line, "difference"))
        .sum();
    [
        field(found, "date"),
        field(found, "scope"),
        field(found, "status"),
        count(discrepancies),
        count(difference),
        time_in(found, "dtCompleted"),
        field(found, "id"),
    ]
}

async fn ask(api: &Api, date: Date, configuration: Option<&str>) -> Result<Box<RawValue>, Failure> {
    let checks = |one: &Value| {
        let data = one.get("configData");
        data.and_then(|data| data.get("awsMarketplaceCloudtrailChecks"))
            .and_then(Value::as_bool)
            == Some(true)
    };
    let configuration = one_configuration(api, configuration, "that checks CloudTrail", checks).await?;
    let body = json!({"date": date.to_string(), "integrationConfigId": configuration});
    api.post(PATH, body.to_string(), Effect::Changes).await
}

/// Looks until the comparison has ended; how it stands goes to standard error.
async fn ended(api: &Api, id: &str, at_most: Duration, surroundings: &Surroundings) -> Result<Box<RawValue>, Failure> {
    let begun = Instant::now();
    let spinner = surroundings.has_screen.then(|| {
        let spinner = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
        spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        spinner.enable_steady_tick(Duration::from_millis(200));
        spinner
    });
    let mut last = String::new();
    loop {
        let raw = api.get(&one(id), &[]).await?;
        let found = show::read(&raw);
        let status = status(&found)?;
        if is_ended(&status) {
            return Ok(raw);
        }
        let counts = found.get("counts").cloned().unwrap_or_default();
        let said = format!(
            "{status}: {} read in {}",
            show::counted(whole(&counts, "events"), "event", "events"),
            show::counted(whole(&counts, "requests"), "request", "requests"),
        );
        match &spinner {
            Some(spinner) => spinner.set_message(said),
            None if said != last => {
                eprintln!("{}", show::clean(&said));
                last = said;
            }
            None => {}
        }
        if begun.elapsed() + LOOK_EVERY > at_most {
            return Err(Failure::new(
                NOT_ENDED,
                format!("the comparison {id} had not ended after {} seconds", at_most.as_secs()),
                format!("it goes on by itself: outbill reconcile show {id}"),
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn shown(api: &Api, id: &str, raw: &RawValue, form: Form) -> Result<Answer, Failure> {
    let status = status(&show::read(raw))?;
    let code = if needs_a_person(&status) { NEEDS_A_PERSON } else { WELL };
    let text = match form {
        Form::Json => raw.get().to_owned(),
        Form::ForPeople => show::clean(api.get_text(&one(id), &[("format", "text")]).await?.trim_end()),
    };
    Ok(Answer { text, code })
}

/// The status of a comparison, on which the exit code depends.
pub fn status(found: &Value) -> Result<String, Failure> {
    decisive::text(found, "status", &format!("the comparison {}", field(found, "id")))
}

/// Whether a comparison of this status has ended.
pub fn is_ended(status: &str) -> bool {
    !matches!(status, "WAITING" | "RUNNING")
}

/// Whether it found or missed something that nothing was done about. What this program does not know is not taken for well.
pub fn needs_a_person(status: &str) -> bool {
    is_ended(status) && !matches!(status, "MATCHES" | "CORRECTED")
}

fn one(id: &str) -> String {
    format!("{PATH}/{}", segment(id))
}
