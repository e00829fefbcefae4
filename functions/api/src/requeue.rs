//! Sends again what waited for something that is there now.
//!
//! A change is stored first and followed by this, so a call may end between the two. Its repeat finds the change stored and is refused, or has
//! nothing left to do: it sends what still waits all the same.

use outbill::{
    Outbill,
    effects::table::StoreError,
    values::ids::{ConfigurationId, OrganizationId},
    values::message::replay_of,
};

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
    waiting_for(outbill, organization, &format!("MAPPING#{entity}#{m3ter_id}")).await
}

/// Queues every run that waits for a configuration: its credential, its being enabled, its settings.
pub(crate) async fn after_configuration(
    outbill: &Outbill,
    organization: &OrganizationId,
    id: &ConfigurationId,
) -> Result<(), StoreError> {
    waiting_for(outbill, organization, &format!("CONFIG#{id}")).await
}

/// Queues every run that waits for a configuration that is gone now, and those of the bills that it owned.
pub(crate) async fn after_end_of_configuration(
    outbill: &Outbill,
    organization: &OrganizationId,
    id: &ConfigurationId,
) -> Result<(), StoreError> {
    after_configuration(outbill, organization, id).await?;
    waiting_for(outbill, organization, &format!("OWNER#{id}")).await
}

/// Queued first, taken from the list after: a crash between the two queues a run twice, which changes nothing.
async fn waiting_for(outbill: &Outbill, organization: &OrganizationId, what: &str) -> Result<(), StoreError> {
    let waiting = outbill.waiting.take(organization, what).await?;
    for runs in waiting.chunks(RUNS_TOGETHER_MAX) {
        let messages: Vec<_> = runs
            .iter()
            .map(|(bill, run)| replay_of(organization, run, bill))
            .collect();
        outbill.queue.send_all(&messages).await?;
        outbill.waiting.remove_all(organization, what, runs).await?;
    }
    Ok(())
}
