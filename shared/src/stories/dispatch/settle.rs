//! Claims out, answers in: everything a batch claimed is submitted together, and every answer recorded.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};

use super::batch::{Batch, EntryName, Progress, entry_name};
use super::{DispatchError, awaited, report_of_batch};
use crate::decisions::claim::ConnectionHealth;
use crate::decisions::verdict::{Answer, ConnectionRefusal};
use crate::effects::destinations::aws_marketplace::{Exchange, Quota};
use crate::effects::ledger::{Claim, EarlierHour, Recorded};
use crate::values::credential::IntegrationCredential;
use crate::values::entry::{Connection, Entry, EntryState, Origin};
use crate::values::hour::Hour;
use crate::values::metric::Metric;

/// A refused buyer leads to one claim in an earlier hour, which ends it.
const ROUNDS_MAX: usize = 3;
/// Claims of one quota that are sent before the answers are recorded: ten full calls, which is what AWS takes in a second.
const CLAIMS_TOGETHER_MAX: usize = 250;
/// Quotas that are drawn on at once.
const LINES_AT_ONCE_MAX: usize = 16;
/// Answers that are recorded at once.
const AT_ONCE_MAX: usize = 16;
const NOT_RECORDED: &str = "an answer of AWS's was not recorded; the entry stays pending and is sent again unchanged";

/// How an entry stands after its answer.
#[derive(Debug, Clone)]
pub(super) struct Settlement {
    pub(super) entry: Entry,
    pub(super) connection: Option<ConnectionRefusal>,
    /// What AWS said, or did not.
    pub(super) reason: Option<String>,
    pub(super) blocked: Option<String>,
    /// Whether the next hour's tick lifts that block.
    pub(super) tried_again: bool,
    pub(super) follow_up: Option<Hour>,
    /// Whether the queue should bring the message again so that the entry is sent again.
    pub(super) again: bool,
}

/// How a batch ended.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) entries: BTreeMap<EntryName, Settlement>,
    pub(super) exchanges: Vec<Exchange>,
}

/// Submits and records. An answer that could not be recorded leaves its entry pending and ambiguous, and is no settlement.
pub(super) async fn settle(batch: &Batch<'_>, progress: &mut [Progress]) -> Result<Settled, DispatchError> {
    let mut settled = Settled::default();
    let mut waiting: Vec<Claim> = Vec::new();
    for progress in progress {
        waiting.append(&mut progress.claims);
        for closed in progress.closed.drain(..) {
            let name = (closed.entry.key.hash(), closed.entry.hour);
            batch.measure_settled(&closed.entry);
            settled.entries.insert(name, settlement(closed, None, None, false));
        }
        for entry in progress.settled.drain(..) {
            let name = (entry.key.hash(), entry.hour);
            let told = settlement(Recorded::plain(entry), None, None, false);
            settled.entries.insert(name, told);
        }
    }
    for _ in 0..ROUNDS_MAX {
        let credentials = credentials(batch, &waiting).await;
        let lines = lines(std::mem::take(&mut waiting), &credentials);
        let running = lines.map(|claims| line(batch, claims, &credentials));
        let mut running = stream::iter(running.collect::<Vec<_>>()).buffer_unordered(LINES_AT_ONCE_MAX);
        while let Some((line, follow_ups)) = running.next().await {
            settled.entries.extend(line.entries);
            settled.exchanges.extend(line.exchanges);
            waiting.extend(follow_ups);
        }
        if waiting.is_empty() {
            break;
        }
    }
    Ok(settled)
}

/// Claims by whose quota they take: those of one do not wait for those of another.
fn lines(claims: Vec<Claim>, credentials: &Credentials) -> impl Iterator<Item = Vec<Claim>> {
    let mut lines: BTreeMap<Option<Quota>, Vec<Claim>> = BTreeMap::new();
    for claim in claims {
        let connection = &claim.entry().origin.connection;
        let credential = credentials.get(connection).and_then(|found| found.as_ref().ok());
        let quota = credential.map(|credential| Quota::of(connection, credential));
        lines.entry(quota).or_default().push(claim);
    }
    lines.into_values()
}

/// Submits and records claims, so many at a time. Gives the claims that follow from the answers, too.
async fn line(batch: &Batch<'_>, mut waiting: Vec<Claim>, credentials: &Credentials) -> (Settled, Vec<Claim>) {
    let unknown = || Answer::NotTaken {
        reason: "the credential was not looked up".to_owned(),
    };
    let credential = |connection: &Connection| credentials.get(connection).cloned().unwrap_or_else(|| Err(unknown()));
    // Each part ends with a full call.
    waiting.sort_by(|one, other| one.entry().origin.connection.cmp(&other.entry().origin.connection));
    let (mut settled, mut follow_ups) = (Settled::default(), Vec::new());
    while !waiting.is_empty() {
        let rest = waiting.split_off(waiting.len().min(CLAIMS_TOGETHER_MAX));
        let marketplace = &batch.outbill.marketplace;
        let submission = marketplace.submit(waiting, batch.sends_until(), &credential).await;
        settled.exchanges.extend(submission.exchanges);
        follow_ups.extend(record(batch, submission.answers, &mut settled).await);
        waiting = rest;
    }
    (settled, follow_ups)
}

/// The credential of each connection, or what stands in for AWS's answer where there is none.
type Credentials = BTreeMap<Connection, Result<IntegrationCredential, Answer>>;

async fn credentials(batch: &Batch<'_>, claims: &[Claim]) -> Credentials {
    let mut found = BTreeMap::new();
    for claim in claims {
        let origin = &claim.entry().origin;
        if !found.contains_key(&origin.connection) {
            let credential = credential(batch, origin).await.unwrap_or_else(|error| {
                report_of_batch(
                    "a credential was not read; the entries stay pending and are sent again",
                    &error,
                );
                let reason = "the credential could not be read; nothing was sent".to_owned();
                Err(Answer::NotTaken { reason })
            });
            found.insert(origin.connection.clone(), credential);
        }
    }
    found
}

async fn credential(
    batch: &Batch<'_>,
    origin: &Origin,
) -> Result<Result<IntegrationCredential, Answer>, DispatchError> {
    let connection = &origin.connection;
    let credentials = &batch.outbill.credentials;
    if let Some(credential) = credentials
        .get(&connection.organization, &connection.credential)
        .await?
    {
        return Ok(Ok(credential));
    }
    // The credential was exchanged for another since the claim.
    let configurations = batch.configurations(&connection.organization).await?;
    let current = configurations
        .iter()
        .find(|configuration| configuration.id == origin.configuration);
    if let Some(current) = current.and_then(|configuration| configuration.credential.as_ref())
        && let Some(credential) = credentials.get(&connection.organization, current).await?
    {
        return Ok(Ok(credential));
    }
    let message = format!(
        "credential {} does not exist any more; connect another one to configuration {}",
        connection.credential, origin.configuration
    );
    let kind = ConnectionRefusal::Access;
    Ok(Err(Answer::ConnectionRefused { kind, message }))
}

/// Records all answers and gives the claims that follow from them.
async fn record(batch: &Batch<'_>, answers: Vec<(Claim, Answer)>, settled: &mut Settled) -> Vec<Claim> {
    mark(batch, &answers).await;
    let mut accepted = Vec::new();
    let mut others = Vec::new();
    for (claim, answer) in answers {
        match answer {
            Answer::Success { metering_record_id } => accepted.push((claim, metering_record_id)),
            other => others.push((claim, other)),
        }
    }
    // One that CloudTrail did not show goes again although it is accepted; its units are counted already.
    let again = |(claim, _): &&(Claim, String)| claim.entry().state == EntryState::Accepted;
    let counted: BTreeSet<EntryName> = accepted
        .iter()
        .filter(again)
        .map(|(claim, _)| entry_name(claim))
        .collect();
    let ledger = &batch.outbill.ledger;
    let mut follow_ups = Vec::new();
    let (recorded, failed) = ledger.record_accepted(accepted, batch.now).await;
    for recorded in recorded {
        let name = (recorded.entry.key.hash(), recorded.entry.hour);
        if !counted.contains(&name) {
            batch.measure_settled(&recorded.entry);
        }
        settled.entries.insert(name, settlement(recorded, None, None, false));
    }
    if let Some(error) = failed {
        report_of_batch(NOT_RECORDED, &error.into());
    }
    let mut recording = Vec::new();
    for (claim, answer) in others {
        batch.measure(|measured| match answer {
            Answer::NotTaken { .. } => measured.add(Metric::RecordsNotTaken, 1),
            Answer::Unknown { .. } => measured.add(Metric::RecordsUnanswered, 1),
            Answer::Success { .. }
            | Answer::DuplicateRecord
            | Answer::CustomerNotSubscribed
            | Answer::BadRecord { .. }
            | Answer::ConnectionRefused { .. }
            | Answer::AheadOfAws => {}
        });
        recording.push(record_other(batch, claim, answer));
    }
    let mut recorded = stream::iter(recording).buffer_unordered(AT_ONCE_MAX);
    while let Some(recorded) = recorded.next().await {
        match recorded {
            Ok((name, settlement, follow_up)) => {
                settled.entries.insert(name, settlement);
                follow_ups.extend(follow_up);
            }
            Err(error) => report_of_batch(NOT_RECORDED, &error),
        }
    }
    follow_ups
}

/// Records an answer that is no receipt.
async fn record_other(
    batch: &Batch<'_>,
    claim: Claim,
    answer: Answer,
) -> Result<(EntryName, Settlement, Option<Claim>), DispatchError> {
    let name = entry_name(&claim);
    let state_before = claim.entry().state;
    let (connection, reason, again) = told(&answer);
    if may_block(&answer) {
        wait(batch, &claim.entry().origin, &name).await?;
    }
    // What cannot be read must not keep the answer from being recorded.
    let may_claim = !may_block(&answer)
        || batch
            .health(&claim.entry().origin)
            .await
            .is_ok_and(ConnectionHealth::tries_again);
    let earlier_hour = match may_claim {
        true => EarlierHour::Taken,
        false => EarlierHour::Left,
    };
    let ledger = &batch.outbill.ledger;
    let recorded = ledger.record(claim, answer, earlier_hour, batch.now).await?;
    if recorded.entry.state != state_before {
        batch.measure_settled(&recorded.entry);
    }
    batch.measure_claims(recorded.follow_up.as_slice());
    let follow_up = recorded.follow_up.clone();
    Ok((name, settlement(recorded, connection, reason, again), follow_up))
}

/// Whether an answer can block the key.
fn may_block(answer: &Answer) -> bool {
    match answer {
        Answer::CustomerNotSubscribed | Answer::BadRecord { .. } => true,
        Answer::Success { .. }
        | Answer::DuplicateRecord
        | Answer::NotTaken { .. }
        | Answer::Unknown { .. }
        | Answer::ConnectionRefused { .. }
        | Answer::AheadOfAws => false,
    }
}

/// Lets the run of an entry wait for what could lift a block of its key, before the key is blocked: a run that waits for nothing is sent again
/// in vain, but a block that nobody waits for is never lifted. The run may not be written yet, by this worker or another, or never will be.
async fn wait(batch: &Batch<'_>, origin: &Origin, (key, _): &EntryName) -> Result<(), DispatchError> {
    let Some(manifest) = batch.outbill.ledger.manifest(&origin.bill).await? else {
        return Ok(());
    };
    let lifters = awaited::lifters(&manifest, &origin.configuration).remove(key);
    for awaited in lifters.unwrap_or_default() {
        let waiting = &batch.outbill.waiting;
        let head = manifest.head.sort_text();
        waiting.put_first(&origin.bill, &awaited, &origin.run, &head).await?;
    }
    Ok(())
}

fn settlement(
    recorded: Recorded,
    connection: Option<ConnectionRefusal>,
    reason: Option<String>,
    again: bool,
) -> Settlement {
    let reason = reason.or_else(|| recorded.entry.reason.clone());
    Settlement {
        connection,
        reason,
        blocked: recorded.blocked,
        tried_again: recorded.tried_again,
        follow_up: recorded.follow_up.map(|claim| claim.entry().hour),
        again,
        entry: recorded.entry,
    }
}

/// What an answer says about the connection, in words, and whether the queue should bring the message again.
fn told(answer: &Answer) -> (Option<ConnectionRefusal>, Option<String>, bool) {
    match answer {
        Answer::NotTaken { reason } | Answer::Unknown { reason } => (None, Some(reason.clone()), true),
        Answer::AheadOfAws => (None, None, true),
        Answer::ConnectionRefused { kind, message } => (Some(*kind), Some(message.clone()), false),
        Answer::Success { .. } | Answer::DuplicateRecord | Answer::CustomerNotSubscribed | Answer::BadRecord { .. } => {
            (None, None, false)
        }
    }
}

/// Marks the connections that AWS refused, and takes the mark from those it answered on. A mark is a brake, not a record of money: if it
/// cannot be written, the next call meets the same refusal.
async fn mark(batch: &Batch<'_>, answers: &[(Claim, Answer)]) {
    let mut seen = BTreeSet::new();
    for (claim, answer) in answers {
        let connection = &claim.entry().origin.connection;
        let refused = match answer {
            Answer::ConnectionRefused { message, .. } => Some(message),
            Answer::Success { .. } => None,
            Answer::DuplicateRecord
            | Answer::CustomerNotSubscribed
            | Answer::NotTaken { .. }
            | Answer::Unknown { .. }
            | Answer::BadRecord { .. }
            | Answer::AheadOfAws => continue,
        };
        if !seen.insert(connection) {
            continue;
        }
        let marked = match refused {
            Some(message) => batch.outbill.connections.mark(connection, message, batch.now).await,
            None => match batch.failing(&connection.organization).await {
                Ok(failing) if failing.is_marked(connection) => batch.outbill.connections.clear(connection).await,
                other => other.map(|_| ()),
            },
        };
        if let Err(error) = marked {
            report_of_batch(
                "whether a connection fails was not noted; the next call shows it again",
                &error.into(),
            );
        }
    }
}
