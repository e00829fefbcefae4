//! The end of a message: its runs with their logs, events and tallies, and whether the queue should bring it again.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use serde_json::json;

use super::awaited::{self, came_meanwhile};
use super::batch::{Batch, Draft, EntryName, KeyDraft, Progress, RunDraft};
use super::settle::{Settled, Settlement};
use super::{Delivery, DispatchError, Disposition, isolated, late, log, report, report_of_batch};
use crate::decisions::claim::Reason;
use crate::decisions::conclusion::{self, Conclusion, EntryOutcome, IntegrationEvent, KeyOutcome, Outcome, Tally};
use crate::effects::destinations::aws_marketplace::Exchange;
use crate::effects::mail::Mailed;
use crate::effects::table::StoreError;
use crate::effects::waiting::Awaited;
use crate::values::bill::BillReference;
use crate::values::configuration::{BILL, IntegrationConfiguration};
use crate::values::entry::{EntryState, Origin};
use crate::values::hour::Hour;
use crate::values::ids::{AccountId, RunId};
use crate::values::message::replay_of;
use crate::values::metric::Metric;
use crate::values::run::{IntegrationRun, RunStatus};

//= https://www.m3ter.com/docs/guides/integrations/reviewing-and-resolving-integration-events
//# an integration is disabled after 20 successive errors
const SUCCESSIVE_FAILURES_MAX: usize = 20;
/// So often the queue brings a message whose claims are durable but unanswered; then the tick takes over.
pub(super) const QUEUE_REPEATS_MAX: u32 = 3;
/// Runs that are written at once.
const AT_ONCE_MAX: usize = 16;

/// A run that is about to be written, and what follows from it.
struct Ending {
    run: IntegrationRun,
    /// As text: a batch keeps a document for each of its runs, and text is smaller than the tree.
    log: String,
    bill: BillReference,
    account: Option<AccountId>,
    configuration: Arc<IntegrationConfiguration>,
    conclusion: Conclusion,
    waits_for: Vec<Awaited>,
    /// Whether earlier runs waited for an hour where this one claimed.
    others_waited: bool,
}

/// What a message comes to, before its runs are written.
struct Ended {
    endings: Vec<Ending>,
    disposition: Disposition,
}

/// Writes the runs of a batch: all logs together, then all runs at once, then what follows from each, message by message. Gives what the queue
/// should do with each message, by its place.
pub(super) async fn finish(
    batch: &Batch<'_>,
    deliveries: &[Delivery],
    messages: impl IntoIterator<Item = (usize, Progress)>,
    settled: &Settled,
) -> Vec<(usize, Disposition)> {
    let name = |place: usize| {
        deliveries
            .get(place)
            .map_or("of this batch", |delivery| delivery.id.as_str())
    };
    let mut ended = Vec::new();
    let mut dispositions = Vec::new();
    for (place, progress) in messages {
        let receives = deliveries.get(place).map_or(0, |delivery| delivery.receives);
        match isolated(end(batch, receives, progress, settled))
            .await
            .and_then(|ended| ended)
        {
            Ok((message, failed)) => {
                if let Some(error) = failed {
                    report(name(place), &error);
                }
                ended.push((place, message));
            }
            Err(error) => {
                report(name(place), &error);
                dispositions.push((place, Disposition::Retry));
            }
        }
    }
    let endings = || ended.iter().flat_map(|(_, message)| &message.endings);
    let logs = endings().map(|ending| (&ending.run.organization, &ending.run.id, ending.log.as_str()));
    let runs = &batch.outbill.runs;
    let logged = isolated(runs.append_logs(batch.now, logs)).await;
    if let Err(error) = logged.and_then(|logged| logged.map_err(DispatchError::from)) {
        report_of_batch(
            "the logs of a batch's runs were not written; its messages are delivered again",
            &error,
        );
        let again = |(place, message): (usize, Ended)| match message.endings.is_empty() {
            true => (place, message.disposition),
            false => (place, Disposition::Retry),
        };
        dispositions.extend(ended.into_iter().map(again));
        return dispositions;
    }
    let saves: Vec<_> = endings().map(|ending| isolated(runs.save(&ending.run))).collect();
    let saved: Vec<Result<Result<(), StoreError>, DispatchError>> =
        stream::iter(saves).buffered(AT_ONCE_MAX).collect().await;
    let mut saved = saved.into_iter().map(|saved| Ok(saved??));
    for (place, message) in ended {
        let own: Vec<Result<(), DispatchError>> = saved.by_ref().take(message.endings.len()).collect();
        let own: Result<Vec<()>, DispatchError> = own.into_iter().collect();
        let followed = match own {
            Ok(_) => isolated(follow(batch, message.endings))
                .await
                .and_then(|followed| followed),
            Err(error) => Err(error),
        };
        dispositions.push(match followed {
            Ok(()) => (place, message.disposition),
            Err(error) => {
                report(name(place), &error);
                (place, Disposition::Retry)
            }
        });
    }
    dispositions
}

/// The runs of a message, and why it could not be finished, if it could not.
async fn end(
    batch: &Batch<'_>,
    receives: u32,
    progress: Progress,
    settled: &Settled,
) -> Result<(Ended, Option<DispatchError>), DispatchError> {
    let unanswered = progress
        .claimed
        .iter()
        .any(|name| settled.entries.get(name).is_none_or(|settlement| settlement.again));
    let again = unanswered && receives < QUEUE_REPEATS_MAX;
    let mut endings = Vec::new();
    for draft in progress.runs {
        let earlier = match receives {
            0 | 1 => None,
            _ => told_already(batch, &draft, settled).await?,
        };
        match earlier {
            Some(earlier) => {
                let waits_for = awaited::by(&draft, settled);
                awaited::wait(batch, &draft.bill, &earlier, None, &draft.head, &waits_for).await?;
            }
            None => endings.push(ending(batch, draft, settled)?),
        }
    }
    let disposition = match again || progress.failed.is_some() {
        true => Disposition::Retry,
        false => Disposition::Done,
    };
    Ok((Ended { endings, disposition }, progress.failed))
}

/// The run of an earlier delivery, where this one only sent again what that one had claimed for the same version of the bill. It is this
/// bill event's run, and is told how its entries fared; what it waits for is written again, because it may have ended before that.
async fn told_already(batch: &Batch<'_>, draft: &RunDraft, settled: &Settled) -> Result<Option<RunId>, DispatchError> {
    let (Draft::Metered(keys) | Draft::EqualButOther(keys)) = &draft.draft else {
        return Ok(None);
    };
    if keys.iter().any(|key| key.leaves_units) {
        return Ok(None);
    }
    let names: Vec<EntryName> = keys
        .iter()
        .flat_map(|key| key.entries.iter().map(|taken| (key.key.clone(), taken.hour)))
        .collect();
    let mut earlier: Option<&Origin> = None;
    for name in &names {
        match settled.entries.get(name).map(|settlement| &settlement.entry.origin) {
            Some(origin)
                if origin.run != draft.run
                    && origin.bill == draft.bill
                    && origin.configuration == draft.configuration.id =>
            {
                earlier = Some(origin);
            }
            Some(_) | None => return Ok(None),
        }
    }
    let Some(origin) = earlier else {
        return Ok(None);
    };
    let told = batch.outbill.runs.get(&origin.bill.organization, &origin.run).await?;
    Ok(told
        .filter(|told| told.entity_version == draft.head)
        .map(|told| told.id))
}

fn ending(batch: &Batch<'_>, draft: RunDraft, settled: &Settled) -> Result<Ending, StoreError> {
    let waits_for = awaited::by(&draft, settled);
    let others_waited = match &draft.draft {
        Draft::Metered(keys) | Draft::EqualButOther(keys) => keys.iter().any(|key| key.waited),
        Draft::Decided(_) => false,
    };
    let (outcome, exchanges) = match draft.draft {
        Draft::Decided(outcome) => (outcome, Vec::new()),
        Draft::Metered(keys) => (Outcome::Metered(outcomes(&keys, settled)), exchanges(&keys, settled)),
        Draft::EqualButOther(keys) => (
            Outcome::EqualButOther(outcomes(&keys, settled)),
            exchanges(&keys, settled),
        ),
    };
    let conclusion = conclusion::conclude(&outcome);
    if let Some(reason) = outcome.skipped() {
        batch.measure(|measured| measured.add_for(Metric::BillsSkipped, reason, 1));
    }
    let log = log::of_run(batch.now, &draft.configuration, &draft.input, &outcome, exchanges)?;
    let run = IntegrationRun {
        id: draft.run,
        organization: draft.bill.organization.clone(),
        entity_type: BILL.to_owned(),
        entity_id: draft.bill.bill.as_str().to_owned(),
        entity_version: draft.head,
        status: conclusion.status,
        destination: draft.configuration.destination,
        destination_id: Some(draft.configuration.id.as_str().to_owned()),
        started: batch.now,
        completed: is_final(conclusion.status).then_some(batch.now),
        error: conclusion.error.clone(),
        external_id: None,
        replayed_from: draft.replayed_from,
        version: 1,
    };
    Ok(Ending {
        run,
        log,
        bill: draft.bill,
        account: draft.account,
        configuration: draft.configuration,
        conclusion,
        waits_for,
        others_waited,
    })
}

/// What follows from runs that are written: what waited for the same hour is superseded, failures are counted, and what waits is noted.
async fn follow(batch: &Batch<'_>, endings: Vec<Ending>) -> Result<(), DispatchError> {
    for ending in endings {
        let run = &ending.run;
        if ending.others_waited && run.status == RunStatus::Complete {
            late::supersede(batch, &ending.bill, run).await?;
        }
        let about = About {
            run: &run.id,
            bill: &ending.bill,
            account: ending.account.as_ref(),
        };
        conclude(batch, &ending.configuration, &about, &ending.conclusion).await?;
        let from = run.replayed_from.as_ref();
        awaited::wait(
            batch,
            &ending.bill,
            &run.id,
            from,
            &run.entity_version,
            &ending.waits_for,
        )
        .await?;
        if came_meanwhile(batch, &ending.configuration, &ending.waits_for).await? {
            let replay = replay_of(&run.organization, &run.id, &ending.bill.bill);
            batch.outbill.queue.send(&replay).await?;
        }
    }
    Ok(())
}

/// What a conclusion is about.
pub(super) struct About<'a> {
    pub(super) run: &'a RunId,
    pub(super) bill: &'a BillReference,
    pub(super) account: Option<&'a AccountId>,
}

/// Event and tally of a conclusion.
pub(super) async fn conclude(
    batch: &Batch<'_>,
    configuration: &IntegrationConfiguration,
    about: &About<'_>,
    conclusion: &Conclusion,
) -> Result<(), DispatchError> {
    if let Some(event) = conclusion.event {
        batch.measure(|measured| measured.add_for(Metric::RunsFailed, conclusion.status.name(), 1));
        let text = conclusion.error.clone().unwrap_or_default();
        raise(batch, event, configuration, Some(about), &text).await?;
    }
    match &conclusion.tally {
        Tally::Unchanged => Ok(()),
        Tally::Reset if configuration.failures.is_empty() && !batch.has_counted(&configuration.id) => Ok(()),
        Tally::Reset => Ok(batch
            .outbill
            .configurations
            .reset_failures(&configuration.organization, &configuration.id)
            .await?),
        Tally::Failure { cause } => {
            let cause = format!("{} {cause}", about.bill.bill);
            batch.counts(&configuration.id);
            let count = batch
                .outbill
                .configurations
                .count_failure(&configuration.organization, &configuration.id, &cause)
                .await?;
            if count.total >= SUCCESSIVE_FAILURES_MAX {
                disable(batch, configuration, conclusion).await
            } else {
                Ok(())
            }
        }
    }
}

/// Disables a configuration; only the worker that really did so tells anybody.
async fn disable(
    batch: &Batch<'_>,
    configuration: &IntegrationConfiguration,
    conclusion: &Conclusion,
) -> Result<(), DispatchError> {
    if !batch
        .outbill
        .configurations
        .disable(&configuration.organization, &configuration.id)
        .await?
    {
        return Ok(());
    }
    let name = configuration.name.as_deref().unwrap_or("without a name");
    let last = conclusion.error.as_deref().unwrap_or("no reason was given");
    let text = format!(
        "Integration configuration {name} ({id}) was disabled after {SUCCESSIVE_FAILURES_MAX} runs in a row had failed.\n\n\
         The last of them said: {last}\n\n\
         Outbill keeps every bill that arrives meanwhile. What was already claimed at AWS is still sent; nothing new is claimed.\n\
         Mend the cause, then enable the configuration (POST /organizations/{organization}/integrationconfigs/{id}/enable): \
         what waited is sent by itself.\n",
        id = configuration.id,
        organization = configuration.organization,
    );
    batch.measure(|measured| measured.add(Metric::ConfigurationsDisabled, 1));
    raise(batch, IntegrationEvent::Disabled, configuration, None, &text).await?;
    let users = configuration
        .marketplace()
        .map(|marketplace| marketplace.notification_users)
        .unwrap_or_default();
    let mailer = &batch.outbill.mailer;
    let subject = format!("Integration {name} was disabled");
    // The event says the same; a mail that cannot be sent must not disable the configuration twice.
    match mailer.send(&users, &subject, &text).await {
        Ok(Mailed::Sent | Mailed::NoRecipient) => {}
        Ok(Mailed::NoSender) if users.is_empty() => {}
        Ok(Mailed::NoSender) => tracing::warn!(
            configuration.id = %configuration.id,
            "a configuration was disabled, and nobody got a mail: the stack has no AlertSender"
        ),
        Err(error) => report_of_batch(
            "the mail about a disabled configuration was not sent; its event says the same",
            &error.into(),
        ),
    }
    Ok(())
}

async fn raise(
    batch: &Batch<'_>,
    event: IntegrationEvent,
    configuration: &IntegrationConfiguration,
    about: Option<&About<'_>>,
    error: &str,
) -> Result<(), DispatchError> {
    let mut dto = json!({
        "orgId": configuration.organization,
        "integrationConfigId": configuration.id,
        "entityType": BILL,
        "destination": configuration.destination.name(),
        "destinationId": configuration.id,
        "error": error,
    });
    if let (Some(about), Some(dto)) = (about, dto.as_object_mut()) {
        dto.insert("id".to_owned(), json!(about.run));
        dto.insert("integrationRunId".to_owned(), json!(about.run));
        dto.insert("entityId".to_owned(), json!(about.bill.bill));
        dto.insert("accountId".to_owned(), json!(about.account));
    }
    let m3ter_event = json!({ "eventData": { "newDto": dto } });
    batch
        .outbill
        .events
        .raise(&configuration.organization, batch.now, event.name(), m3ter_event)
        .await?;
    Ok(())
}

/// A key's entries of this run, each followed by the claim that it led to.
fn settlements<'a>(key: &'a KeyDraft, settled: &'a Settled) -> impl Iterator<Item = &'a Settlement> {
    let find = |hour: Hour| settled.entries.get(&(key.key.clone(), hour));
    key.entries.iter().flat_map(move |taken| {
        std::iter::successors(find(taken.hour), move |settlement| settlement.follow_up.and_then(find))
    })
}

fn outcomes(keys: &[KeyDraft], settled: &Settled) -> Vec<KeyOutcome> {
    let outcome = |key: &KeyDraft| {
        let mut entries: Vec<EntryOutcome> = settlements(key, settled).map(entry_outcome).collect();
        let unrecorded = key
            .entries
            .iter()
            .filter(|taken| !settled.entries.contains_key(&(key.key.clone(), taken.hour)));
        entries.extend(unrecorded.map(|taken| EntryOutcome {
            hour: taken.hour.to_string(),
            quantity: taken.quantity,
            state: EntryState::Pending,
            connection: None,
            blocked: None,
            tried_again: false,
            reason: Some(match key.frozen {
                true => Reason::Frozen.to_string(),
                false => "the answer could not be recorded; the entry is sent again unchanged".to_owned(),
            }),
        }));
        KeyOutcome {
            dimension: key.dimension.clone(),
            claim: key.claim,
            entries,
        }
    };
    keys.iter().map(outcome).collect()
}

pub(super) fn entry_outcome(settlement: &Settlement) -> EntryOutcome {
    EntryOutcome {
        hour: settlement.entry.hour.to_string(),
        quantity: settlement.entry.quantity,
        state: settlement.entry.state,
        connection: settlement.connection,
        blocked: settlement.blocked.clone(),
        tried_again: settlement.tried_again,
        reason: settlement.reason.clone(),
    }
}

pub(super) fn dimension(settlement: &Settlement) -> String {
    format!(
        "{}-{}",
        settlement.entry.origin.connection.product_code, settlement.entry.key.dimension
    )
}

fn exchanges(keys: &[KeyDraft], settled: &Settled) -> Vec<Exchange> {
    let names: BTreeSet<EntryName> = keys
        .iter()
        .flat_map(|key| settlements(key, settled).map(|settlement| (key.key.clone(), settlement.entry.hour)))
        .collect();
    let exchanges = settled.exchanges.iter();
    exchanges.filter_map(|exchange| exchange.about(&names)).collect()
}

pub(super) fn is_final(status: RunStatus) -> bool {
    !matches!(
        status,
        RunStatus::Waiting | RunStatus::Started | RunStatus::AwaitingRetry | RunStatus::RateLimitRetry
    )
}
