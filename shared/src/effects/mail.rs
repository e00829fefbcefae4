//! Mail to the seller's own people, through SES.

use aws_sdk_sesv2::{
    Client,
    types::{Body, Content, Destination, EmailContent, Message},
};

use super::store_error::{StoreError, unavailable};

//= https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_Destination.html
//# at most 50 recipients a message
const RECIPIENTS_MAX: usize = 50;

/// Sends mail from the address that the environment names.
#[derive(Debug, Clone)]
pub struct Mailer {
    client: Client,
    sender: Option<String>,
}

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mailed {
    /// SES has taken it.
    Sent,
    /// No sender is set, so no mail is ever sent.
    NoSender,
    /// There was nobody to send to.
    NoRecipient,
}

impl Mailer {
    /// Sends from `sender`; an empty one sends nothing.
    pub fn new(client: Client, sender: &str) -> Mailer {
        Mailer {
            client,
            sender: Some(sender.to_owned()).filter(|sender| !sender.is_empty()),
        }
    }

    /// Sends a plain text to all of `to`, none of whom sees the others.
    pub async fn send(&self, to: &[String], subject: &str, text: &str) -> Result<Mailed, StoreError> {
        let Some(sender) = &self.sender else {
            return Ok(Mailed::NoSender);
        };
        if to.is_empty() {
            return Ok(Mailed::NoRecipient);
        }
        for recipients in to.chunks(RECIPIENTS_MAX) {
            let destination = Destination::builder()
                .set_bcc_addresses(Some(recipients.to_vec()))
                .build();
            let message = Message::builder()
                .subject(content(subject)?)
                .body(Body::builder().text(content(text)?).build());
            let request = self
                .client
                .send_email()
                .from_email_address(sender)
                .destination(destination);
            let request = request.content(EmailContent::builder().simple(message.build()).build());
            request.send().await.map_err(unavailable("SES SendEmail"))?;
        }
        Ok(Mailed::Sent)
    }
}

fn content(text: &str) -> Result<Content, StoreError> {
    let built = Content::builder().data(text).charset("UTF-8").build();
    built.map_err(|error| StoreError::other("SES SendEmail", error))
}
