//! Sends again what waited for something that is there now.
//!
//! A change is stored first and followed by this, so a call may end between the two. Its repeat finds the change stored and is refused, or has
//! nothing left to do: it sends what still waits all the same.

use outbill::{
    Outbill,
    decisions::validation::EntityReference,
    effects::{table::StoreError, waiting::Awaited},
    values::ids::{ConfigurationId, OrganizationId},
    values::message::replay_of,
};
use serde_json::{Value, json};

/// Runs that are queued before they are taken from the list. Where a call ends early, at API Gateway's 29 seconds or on an error, its repeat goes
/// on from there: thousands of bills may wait for one thing.
const RUNS_TOGETHER_MAX: usize = 100;

/// Queues every run that waits for a mapping of one thing of m3ter's.
pub(crate) async fn after_mapping(
    outbill: &Outbill,
    organization: &OrganizationId,
    entity: &str,
    m3ter_id: &str,
) -> Result<(), StoreError> {
    match EntityReference::of_mapping(entity, m3ter_id) {
        Some(entity) => send_again(outbill, organization, &Awaited::MappingOf(entity), |replay| replay).await,
        None => Ok(()),
    }
}

/// Queues every run that waits for a configuration: its credential, its being enabled, its settings.
pub(crate) async fn after_configuration(
    outbill: &Outbill,
    organization: &OrganizationId,
    id: &ConfigurationId,
) -> Result<(), StoreError> {
    let awaited = Awaited::Configuration(id.clone());
    send_again(outbill, organization, &awaited, |replay| replay).await
}

/// Queues every run that waits for a configuration whose settings changed, or that is gone; and those of the bills that it owned, for whichever
/// configuration admits them now.
pub(crate) async fn after_other_settings(
    outbill: &Outbill,
    organization: &OrganizationId,
    id: &ConfigurationId,
) -> Result<(), StoreError> {
    after_configuration(outbill, organization, id).await?;
    let to_every = |mut replay: Value| {
        replay["everyConfiguration"] = json!(true);
        replay
    };
    send_again(outbill, organization, &Awaited::EndOf(id.clone()), to_every).await
}

/// Queued first, taken from the list after: a crash between the two queues a run twice, which changes nothing.
async fn send_again(
    outbill: &Outbill,
    organization: &OrganizationId,
    what: &Awaited,
    message: impl Fn(Value) -> Value,
) -> Result<(), StoreError> {
    let waiting = outbill.waiting.list(organization, what).await?;
    for runs in waiting.chunks(RUNS_TOGETHER_MAX) {
        let messages: Vec<_> = runs
            .iter()
            .map(|(bill, run)| message(replay_of(organization, run, bill)))
            .collect();
        outbill.queue.send_all(&messages).await?;
        outbill.waiting.remove_all(organization, what, runs).await?;
    }
    Ok(())
}
