//! Sends again what waited for something that is there now.

use outbill::{
    Outbill,
    effects::table::StoreError,
    values::ids::{ConfigurationId, OrganizationId},
};
use serde_json::json;

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

/// Queued first, taken from the list after: a crash between the two queues a run twice, which changes nothing.
async fn waiting_for(outbill: &Outbill, organization: &OrganizationId, what: &str) -> Result<(), StoreError> {
    let waiting = outbill.waiting.take(organization, what).await?;
    let messages: Vec<_> = waiting
        .iter()
        .map(|(_, run)| json!({"orgId": organization, "integrationRunId": run, "replay": true}))
        .collect();
    outbill.queue.send_all(&messages).await?;
    for (bill, run) in &waiting {
        outbill.waiting.remove(organization, what, bill, run).await?;
    }
    Ok(())
}
