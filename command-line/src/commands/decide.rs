//! What a person decides: `replay`, `resolve`, `unblock`, `thaw`, `enable`. Each is sent once, and what cannot be reversed is confirmed first.

use serde_json::json;

use super::pending::{self, Waiting};
use super::{Answer, Form, segment};
use crate::api::{Api, Effect};
use crate::arguments::{Replay, Resolve, Thaw, Unblock, Verdict};
use crate::failure::{Failure, REFUSED};
use crate::show::{self, clean, counted, field, whole};
use crate::surroundings::Surroundings;

pub async fn replay(api: &Api, asked: &Replay, form: Form, surroundings: &Surroundings) -> Result<Answer, Failure> {
    if asked.remap && !asked.yes {
        let question = "What is at AWS stays with the old usage key, and only what is not committed yet goes to the new one. This cannot be undone. Cut over?";
        if !surroundings.confirm(question)? {
            return Ok(unchanged());
        }
    }
    let body = if asked.remap { json!({"remap": true}) } else { json!({}) };
    let path = format!("integrationruns/{}/replay", segment(&asked.run));
    let raw = api.post(&path, body.to_string(), Effect::Changes).await?;
    Ok(Answer::well(match form {
        Form::Json => raw.get().to_owned(),
        Form::ForPeople => {
            let bill = clean(&field(&show::read(&raw), "entityId"));
            format!("Bill {bill} is queued once more. What becomes of it: outbill runs --bill {bill}")
        }
    }))
}

pub async fn resolve(api: &Api, asked: &Resolve, form: Form, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let (name, consequence) = match asked.verdict {
        Verdict::Accepted => (
            "ACCEPTED",
            "nothing more is sent for it; if AWS does not have the units, they are never billed",
        ),
        Verdict::Released => (
            "RELEASED",
            "its units are sent again; if AWS has them, the buyer pays twice",
        ),
    };
    if !asked.yes {
        let row = row(api, &asked.entry).await?;
        let question = format!(
            "{}\n{name}: {consequence}. This cannot be reversed. Decide so?",
            described(&row)
        );
        if !surroundings.confirm(&question)? {
            return Ok(unchanged());
        }
    }
    let body = json!({"as": name, "reason": asked.reason});
    let path = format!("{}/{}/resolve", pending::PATH, segment(&asked.entry));
    let raw = api.post(&path, body.to_string(), Effect::Changes).await?;
    Ok(Answer::well(match form {
        Form::Json => raw.get().to_owned(),
        Form::ForPeople => clean(&format!(
            "Entry {} is now {}.",
            asked.entry,
            field(&show::read(&raw), "state")
        )),
    }))
}

pub async fn unblock(api: &Api, asked: &Unblock, form: Form, surroundings: &Surroundings) -> Result<Answer, Failure> {
    if !asked.yes {
        let row = row(api, &asked.key).await?;
        let question = format!(
            "{}\nIts units are sent; what AWS refuses again is blocked again. Lift the block?",
            described(&row)
        );
        if !surroundings.confirm(&question)? {
            return Ok(unchanged());
        }
    }
    let path = format!("{}/{}/unblock", pending::PATH, segment(&asked.key));
    let raw = api
        .post(&path, json!({"reason": asked.reason}).to_string(), Effect::Changes)
        .await?;
    Ok(Answer::well(match form {
        Form::Json => raw.get().to_owned(),
        Form::ForPeople => {
            let key = show::read(&raw);
            let units = counted(whole(&key, "units"), "unit", "units");
            clean(&format!(
                "The block of {} is lifted; {units} wait for the next free hour.",
                asked.key
            ))
        }
    }))
}

pub async fn thaw(api: &Api, asked: &Thaw, form: Form, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let question = "The table is a restored copy. What AWS was sent since and the copy does not know is billed again. Thaw the configuration?";
    if !asked.yes && !surroundings.confirm(question)? {
        return Ok(unchanged());
    }
    let path = format!("integrationconfigs/{}/thaw", segment(&asked.configuration));
    let body = json!({"reason": asked.reason}).to_string();
    let raw = api.post(&path, body, Effect::Changes).await?;
    Ok(Answer::well(match form {
        Form::Json => raw.get().to_owned(),
        Form::ForPeople => {
            let doubted = show::list(&show::read(&raw), "entriesInDoubt").len();
            let doubted = counted(
                doubted as i64,
                "entry that the copy had pending is",
                "entries that the copy had pending are",
            );
            clean(&format!(
                "Configuration {} claims and sends again; {doubted} UNKNOWN now: outbill pending",
                asked.configuration
            ))
        }
    }))
}

pub async fn enable(api: &Api, configuration: &str, form: Form) -> Result<Answer, Failure> {
    let path = format!("integrationconfigs/{}/enable", segment(configuration));
    let raw = api.post(&path, "{}".to_owned(), Effect::Changes).await?;
    Ok(Answer::well(match form {
        Form::Json => raw.get().to_owned(),
        Form::ForPeople => clean(&format!(
            "Configuration {configuration} is enabled, and what waited is queued."
        )),
    }))
}

/// The row of an id, so that a person sees what is decided.
async fn row(api: &Api, id: &str) -> Result<Waiting, Failure> {
    let rows = api.rows(pending::PATH, &[], usize::MAX).await?.rows;
    let found = rows.iter().find(|row| field(&show::read(row), "id") == id);
    let found = found.ok_or_else(|| {
        Failure::new(
            REFUSED,
            format!("nothing that waits has the id {id}"),
            "outbill pending lists what waits; nothing was changed",
        )
    })?;
    Waiting::read(found)
}

fn described(row: &Waiting) -> String {
    let hour = match row.field("hour") {
        hour if hour.is_empty() => String::new(),
        _ => format!(", hour {}", show::time_in(&row.row, "hour")),
    };
    clean(&format!(
        "{} of {}, buyer {}{hour}: {}\n{}",
        counted(row.units, "unit", "units"),
        row.field("dimension"),
        row.field("customer"),
        row.state,
        row.field("reason"),
    ))
}

fn unchanged() -> Answer {
    Answer::well("Nothing was changed.")
}
