//! SES: mails go to the outbox.

use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{WireError, read_body};
use crate::holdings::{Change, Mail};
use crate::world::World;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    from_email_address: Option<String>,
    #[serde(default)]
    destination: Destination,
    content: Content,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Destination {
    to_addresses: Vec<String>,
    cc_addresses: Vec<String>,
    bcc_addresses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    simple: Option<Simple>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Simple {
    subject: Text,
    body: Body,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    text: Option<Text>,
    html: Option<Text>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Text {
    data: String,
}

/// Answers `SendEmail`.
pub fn answer(world: &World, body: &[u8]) -> Result<Value, WireError> {
    let request: Request = read_body(body)?;
    let bad = |message: &str| WireError::caller("BadRequestException", message);
    let from = request
        .from_email_address
        .filter(|from| !from.is_empty())
        .ok_or_else(|| bad("FromEmailAddress is missing"))?;
    let to: Vec<String> = [
        request.destination.to_addresses,
        request.destination.cc_addresses,
        request.destination.bcc_addresses,
    ]
    .concat();
    if to.is_empty() {
        return Err(bad("Destination has no address"));
    }
    let simple = request
        .content
        .simple
        .ok_or_else(|| bad("the sandbox takes mails with simple content only"))?;
    let mail = Mail {
        message_id: uuid::Uuid::new_v4().to_string(),
        at: world.now(),
        from,
        to,
        subject: simple.subject.data,
        body: simple
            .body
            .text
            .or(simple.body.html)
            .map_or_else(String::new, |text| text.data),
    };
    let answer = json!({"MessageId": mail.message_id});
    world.change(Change::MailSent { mail })?;
    Ok(answer)
}
