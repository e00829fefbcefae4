//! A report as people read it: each discrepancy with the entry that was claimed for it since.

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::Outbill;
use crate::decisions::report::{Discrepancy, Reconciliation, Shown};
use crate::effects::table::StoreError;
use crate::values::hour::Hour;
use crate::values::ids::OrganizationId;

/// Keys that are looked at together.
const AT_ONCE_MAX: usize = 16;

/// One report with its discrepancies; none: there is no such reconciliation.
pub async fn shown(
    outbill: &Outbill,
    organization: &OrganizationId,
    id: &str,
) -> Result<Option<(Reconciliation, Vec<Shown>)>, StoreError> {
    let store = &outbill.reconciliations;
    let Some(reconciliation) = store.get(organization, id).await? else {
        return Ok(None);
    };
    let mut looks = Vec::new();
    for found in store.discrepancies(organization, id).await? {
        looks.push(with_corrective(outbill, found));
    }
    let listed = stream::iter(looks).buffered(AT_ONCE_MAX).try_collect().await?;
    Ok(Some((reconciliation, listed)))
}

async fn with_corrective(outbill: &Outbill, found: Discrepancy) -> Result<Shown, StoreError> {
    if !found.is_owed() {
        return Ok(Shown {
            found,
            corrective: None,
        });
    }
    // A claim may lie in any hour that AWS still took then.
    let now = Hour::containing(found.at);
    let earliest = Hour::usable(found.at).last().unwrap_or(now);
    let entries = outbill.ledger.entries_from(&found.key, earliest).await?;
    let corrective = found.corrective(&entries);
    Ok(Shown { found, corrective })
}
