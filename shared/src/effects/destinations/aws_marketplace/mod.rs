//! AWS Marketplace Metering: claims go out as usage records, answers come back as [`Answer`]s.
//!
//! # Invariants
//! - Only a [`Claim`] is sent, at its entry's hour and quantity; a repeat is the same record.
//! - One call is one attempt: the SDK's own repeats are off, because a hidden attempt would be an ambiguous one. A batch that AWS rejects
//!   as a whole was not processed (AWS's word), so its halves may go again under the same started attempt.
//! - What AWS did not clearly answer is [`Answer::Unknown`].

pub mod check;
mod clients;
mod exchange;
mod request;
mod verdict;

use std::time::Duration;

use aws_sdk_marketplacemetering::Client;
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::decisions::batch::{self, ProductName};
use crate::decisions::verdict::{Answer, BadRecord};
use crate::effects::aws::clients::Paced;
use crate::effects::aws::pace::jittered;
use crate::effects::ledger::Claim;
use crate::values::credential::IntegrationCredential;
use crate::values::entry::Connection;

pub use crate::effects::aws::clients::Quota;
pub use clients::AwsMarketplace;
pub use exchange::Exchange;

/// Calls in flight at once. The pace bounds what they start in a second; this bounds what they wait for.
const CALLS_AT_ONCE_MAX: usize = 10;
/// Times that records which AWS surely did not take go again within one submission.
const NOT_TAKEN_TRIES_MAX: u32 = 3;
const NOT_TAKEN_PAUSE: Duration = Duration::from_millis(200);

/// The answer of every claim, and what went over the wire.
#[derive(Debug, Default)]
pub struct Submission {
    pub answers: Vec<(Claim, Answer)>,
    pub exchanges: Vec<Exchange>,
}

/// How one call ended.
#[derive(Debug)]
enum Called {
    /// AWS answered record by record; the answers are in the order of the claims.
    Answered(Vec<Answer>),
    /// One bad record rejected the batch; nothing of it was processed.
    Rejected {
        kind: BadRecord,
        message: String,
        aws_now: Option<Timestamp>,
    },
    /// AWS Marketplace throttled the call, which alone slows the pace; nothing of it was taken.
    Throttled { reason: String },
    /// The same answer for all; also where the call could not be signed, and was never sent.
    All(Answer),
}

impl AwsMarketplace {
    /// Sends claims, at most 25 a call, several calls at once, within AWS's quota; no call is begun after `until`. `credential` gives the role of
    /// a connection.
    pub async fn submit(
        &self,
        claims: Vec<Claim>,
        until: Instant,
        credential: impl Fn(&Connection) -> Result<IntegrationCredential, Answer>,
    ) -> Submission {
        let calls = batch::calls(claims, Claim::entry);
        let running = calls.into_iter().map(|(connection, name, claims)| {
            let credential = credential(&connection);
            async move {
                match credential {
                    Ok(credential) => {
                        let paced = self.client(&connection, &credential).await;
                        self.send(&paced, &connection, name, claims, until).await
                    }
                    Err(answer) => unsent(claims, &answer),
                }
            }
        });
        let mut running = stream::iter(running).buffer_unordered(CALLS_AT_ONCE_MAX);
        let mut submission = Submission::default();
        while let Some(part) = running.next().await {
            submission.answers.extend(part.answers);
            submission.exchanges.extend(part.exchanges);
        }
        submission
    }

    /// One batch: sent, halved where AWS rejects it for one record, and sent again where AWS surely did not take it.
    async fn send(
        &self,
        paced: &Paced<Client>,
        connection: &Connection,
        name: ProductName,
        claims: Vec<Claim>,
        until: Instant,
    ) -> Submission {
        let mut submission = Submission::default();
        let mut waiting: Vec<(Vec<Claim>, u32)> = vec![(claims, 1)];
        while let Some((mut claims, tries)) = waiting.pop() {
            if !paced.pace.turn_before(until).await {
                // What AWS rejected or throttled before was not taken either.
                submission.answers.extend(late(claims));
                continue;
            }
            let (called, exchange) = call(&paced.client, connection, name, &claims).await;
            submission.exchanges.push(exchange);
            let answers: Vec<Answer> = match called {
                Called::Answered(answers) => answers,
                Called::Rejected { kind, message, aws_now } => {
                    let second = claims.split_off(claims.len().div_ceil(2));
                    if !second.is_empty() {
                        waiting.push((second, tries));
                        waiting.push((claims, tries));
                        continue;
                    }
                    let culprits = claims.iter().map(|claim| culprit(claim, kind, &message, aws_now));
                    culprits.collect()
                }
                Called::Throttled { reason } => {
                    paced.pace.throttled().await;
                    vec![Answer::NotTaken { reason }; claims.len()]
                }
                Called::All(answer) => {
                    if matches!(answer, Answer::ConnectionRefused { .. }) {
                        // The halves that still wait would meet the same refusal; nothing of them was sent since AWS rejected them.
                        claims.extend(waiting.drain(..).flat_map(|(claims, _)| claims));
                    }
                    vec![answer; claims.len()]
                }
            };
            let goes_again = |answer: &Answer| tries < NOT_TAKEN_TRIES_MAX && matches!(answer, Answer::NotTaken { .. });
            let answered = claims.into_iter().zip(answers);
            let (again, done): (Vec<_>, Vec<_>) = answered.partition(|(_, answer)| goes_again(answer));
            submission.answers.extend(done);
            if !again.is_empty() {
                tokio::time::sleep(jittered(NOT_TAKEN_PAUSE, tries, &self.random)).await;
                let again = again.into_iter().map(|(claim, _)| claim).collect();
                waiting.push((again, tries.saturating_add(1)));
            }
        }
        submission
    }
}

/// A timestamp that AWS refuses although its hour is not over for AWS yet: our clock is ahead, and the entry waits.
fn culprit(claim: &Claim, kind: BadRecord, message: &str, aws_now: Option<Timestamp>) -> Answer {
    if kind == BadRecord::Timestamp && aws_now.is_some_and(|aws_now| claim.entry().hour.start() > aws_now) {
        return Answer::AheadOfAws;
    }
    Answer::BadRecord {
        kind,
        message: message.to_owned(),
    }
}

/// Nothing was sent, for a reason that holds for all.
fn unsent(claims: Vec<Claim>, answer: &Answer) -> Submission {
    let answers = claims.into_iter().map(|claim| (claim, answer.clone())).collect();
    Submission {
        answers,
        exchanges: Vec::new(),
    }
}

/// Claims that there is no time for. That nothing was sent is written down, so that no attempt of theirs stays in doubt.
fn late(claims: Vec<Claim>) -> impl Iterator<Item = (Claim, Answer)> {
    tracing::warn!(
        entries = claims.len(),
        "Entries were claimed and not sent, because the function's time was nearly over; the queue brings their messages again."
    );
    let reason = "nothing was sent, because the function's time was nearly over".to_owned();
    let answer = Answer::NotTaken { reason };
    claims.into_iter().map(move |claim| (claim, answer.clone()))
}

async fn call(client: &Client, connection: &Connection, name: ProductName, claims: &[Claim]) -> (Called, Exchange) {
    let wire = exchange::Wire::default();
    let product_code = match name {
        ProductName::Code => Some(connection.product_code.clone()),
        ProductName::License => None,
    };
    let records = claims.iter().map(|claim| request::usage_record(claim.entry()));
    let built: Result<Vec<_>, _> = records.collect();
    let answer = match built {
        Ok(records) => {
            let call = client
                .batch_meter_usage()
                .set_product_code(product_code)
                .set_usage_records(Some(records));
            call.customize().interceptor(wire.clone()).send().await
        }
        Err(error) => Err(aws_sdk_marketplacemetering::error::SdkError::construction_failure(
            error,
        )),
    };
    let called = verdict::read(answer, claims, wire.aws_now());
    let entries = claims
        .iter()
        .map(|claim| (claim.entry().key.hash(), claim.entry().hour))
        .collect();
    (
        called,
        Exchange {
            entries,
            ..wire.exchange()
        },
    )
}
