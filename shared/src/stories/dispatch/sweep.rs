//! The sweep: m3ter is asked which bills changed, so that a lost notification costs an hour and not a bill.
//!
//! One message lists the organizations, one message each goes through a page of bills, and what changed is queued as a reference, to be fetched
//! as a bill. An organization that cannot be asked holds up no other. The cursor moves when the last page is through, to where the sweep
//! began: whatever fails on the way is asked again by the next one. A reference that is queued twice changes nothing.
//!
//! m3ter has no list of what changed, only of bills by date; so the bills of the last months are gone through, without their lines. A bill that
//! was deleted is in no list: its deletion has to arrive as an event.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::DispatchError;
use super::batch::Batch;
use crate::effects::m3ter::M3terError;
use crate::values::bill::{self, Head};
use crate::values::configuration::BILL;
use crate::values::ids::{BillId, OrganizationId};
use crate::values::metric::Metric;
use crate::values::sweep::SweepPage;

/// A sweep asks again for what changed so long before the last one began: m3ter's clock is not ours, and its lists may lag.
const OVERLAP: SignedDuration = SignedDuration::from_hours(1);
/// Bills dated earlier than this before a sweep are not looked at: a quarter, and the grace that approving it takes.
const BILL_DATES_BACK: SignedDuration = SignedDuration::from_hours(120 * 24);

/// Queues the first page of every organization that sends bills.
pub(super) async fn sweep(batch: &Batch<'_>) -> Result<(), DispatchError> {
    let mut pages = Vec::new();
    for organization in batch.outbill.configurations.organizations().await? {
        if let Some(since) = since(batch, &organization).await? {
            let page = SweepPage {
                organization,
                since,
                began: batch.now,
                next_token: None,
            };
            pages.push(page.to_json());
        }
    }
    batch.outbill.queue.send_all(&pages).await?;
    Ok(())
}

/// Where the organization's sweep starts; none if nothing of it is sent. The first starts with its oldest configuration: what m3ter
/// calculated before is not for Outbill to send.
async fn since(batch: &Batch<'_>, organization: &OrganizationId) -> Result<Option<Timestamp>, DispatchError> {
    let configurations = batch.configurations(organization).await?;
    let bills = |configuration: &&Arc<_>| is_for_bills(configuration);
    let oldest = configurations
        .iter()
        .filter(bills)
        .map(|configuration| configuration.audit.created)
        .min();
    let Some(oldest) = oldest else { return Ok(None) };
    let swept_until = batch.outbill.sweeps.swept_until(organization).await?;
    let since = swept_until.map_or(oldest, |until| until.saturating_sub(OVERLAP).unwrap_or(until));
    Ok(Some(since.max(oldest)))
}

fn is_for_bills(configuration: &crate::values::configuration::IntegrationConfiguration) -> bool {
    configuration.enabled && configuration.entity_type.eq_ignore_ascii_case(BILL)
}

/// Goes through a page, and queues what changed, and the next page or the end.
pub(super) async fn page(batch: &Batch<'_>, page: &SweepPage) -> Result<(), DispatchError> {
    let organization = &page.organization;
    let from = page.since.saturating_sub(BILL_DATES_BACK).unwrap_or(page.since);
    let from = from.to_zoned(TimeZone::UTC).date();
    let m3ter = &batch.outbill.m3ter;
    let bills = m3ter.bills(organization, from, page.next_token.as_deref(), batch.now);
    let listed = match batch.ask(bills).await {
        Ok(listed) => listed,
        Err(error @ M3terError::NoCredentials { .. }) => {
            tracing::info!(
                organization.id = %organization,
                error = %error,
                "an organization is not swept: bills whose events are lost are not found"
            );
            return Ok(());
        }
        Err(error @ M3terError::Refused { .. }) => {
            let reason = format!(
                "the bills of organization {organization} that changed since {} could not be listed: {error}. Correct the secret with \
                 m3ter's key; the next sweep asks from the same instant on, and this message needs nothing more",
                page.since
            );
            let body = page.to_json().to_string();
            batch.outbill.queue.dead_letter(batch.now, &body, &reason).await?;
            batch.measure(|measured| measured.add(Metric::MessagesDeadLettered, 1));
            tracing::warn!(organization.id = %organization, reason, "a sweep went to the dead-letter queue");
            return Ok(());
        }
        Err(error @ (M3terError::Unavailable { .. } | M3terError::Store(_))) => return Err(error.into()),
    };
    let mut messages = Vec::new();
    for bill in &listed.items {
        if let Some(id) = changed(bill, page.since)
            && !is_known(batch, organization, &id, bill).await?
        {
            messages.push(json!({ "orgId": organization, "billId": id }));
        }
    }
    let found = messages.len();
    let next = listed.next.map(|token| SweepPage {
        next_token: Some(token),
        ..page.clone()
    });
    messages.extend(next.as_ref().map(SweepPage::to_json));
    batch.outbill.queue.send_all(&messages).await?;
    if found > 0 {
        tracing::info!(organization.id = %organization, bills = found, "m3ter has bills that no event told of");
    }
    if next.is_none() {
        batch.outbill.sweeps.swept(organization, page.began).await?;
    }
    Ok(())
}

/// The id of a bill that changed since. One that does not say when it changed is taken for changed.
fn changed(bill: &Map<String, Value>, since: Timestamp) -> Option<BillId> {
    let instant = |field: &str| bill.get(field).and_then(Value::as_str)?.parse::<Timestamp>().ok();
    let id = bill
        .get("id")
        .and_then(Value::as_str)
        .and_then(|id| BillId::new(id).ok())?;
    instant("dtLastModified").is_none_or(|at| at >= since).then_some(id)
}

/// Whether a run was about this version of the bill, or a newer one. From an index: a run of this moment may be missing, and then the bill is
/// fetched in vain.
async fn is_known(
    batch: &Batch<'_>,
    organization: &OrganizationId,
    id: &BillId,
    bill: &Map<String, Value>,
) -> Result<bool, DispatchError> {
    let Ok(head) = bill::head(bill) else {
        return Ok(false);
    };
    let latest = batch.outbill.runs.latest(organization, BILL, id.as_str()).await?;
    let known = latest.and_then(|run| Head::of_sort_text(&run.entity_version));
    Ok(match (known, head) {
        (Some(Head::Version(known)), Head::Version(listed)) => known >= listed,
        (Some(Head::LastModified(known)), Head::LastModified(listed)) => known >= listed,
        (Some(Head::Version(_)), Head::LastModified(_))
        | (Some(Head::LastModified(_)), Head::Version(_))
        | (None, _) => false,
    })
}
