//! `integrationdestinations/marketplace/explain`: from units at AWS back through entries to a bill's versions and line items.

use axum::Json;
use outbill::{
    decisions::explanation::{SourceShare, VersionLines},
    effects::access::Permission,
    stories::explain::{self, ExplainedEntry, ExplainedKey, ExplainedVersion, Lines},
    values::{
        amount::Units,
        bill::{BillReference, LineItem},
        entry::{Entry, EntryState},
        ids::{AccountId, BillId, ConfigurationId},
        manifest::Fixed,
    },
};
use serde_json::{Value, json};

use crate::{call::Call, error::ApiError, object::Object, query::Query, show};

/// Line items that are shown of one version; the rest are counted.
const LINES_SHOWN_MAX: usize = 500;

pub(crate) async fn explain(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::MarketplaceUsageRetrieve)?;
    let Some(bill) = query.text("billId") else {
        return Err(ApiError::bad_request("billId: it is missing; give the id of a bill"));
    };
    let bill = BillReference {
        organization: call.organization.clone(),
        bill: BillId::new(bill).map_err(|error| ApiError::bad_request(format!("billId: {error}")))?,
    };
    let dimension = query.text("dimension");
    let explained = explain::explain(&call.outbill, &bill, dimension).await?;
    let explained = explained.ok_or_else(|| {
        let what = match dimension {
            Some(dimension) => format!("bill {} never counted anything on dimension {dimension}", bill.bill),
            None => format!("bill {} never counted anything", bill.bill),
        };
        ApiError::not_found(format!("{what}; its runs (integrationruns/Bill/{{id}}) say why"))
    })?;
    let manifest = &explained.manifest;
    let keys: Vec<Value> = explained.keys.iter().map(|key| show_key(&bill, key)).collect();
    let versions: Vec<Value> = explained.versions.iter().map(show_version).collect();
    let shown = Object::default()
        .with("billId", bill.bill.as_str())
        .maybe("accountId", manifest.account.as_ref().map(AccountId::as_str))
        .maybe(
            "integrationConfigId",
            manifest.owner.as_ref().map(ConfigurationId::as_str),
        )
        .with("version", manifest.head.to_string())
        .with("deleted", manifest.deleted)
        .with("dimensions", keys)
        .with("versions", versions);
    Ok(Json(shown.done()))
}

fn show_key(bill: &BillReference, key: &ExplainedKey) -> Value {
    let (history, explanation) = (&key.history, &key.explanation);
    let held = history
        .entries
        .iter()
        .filter(|entry| matches!(entry.state, EntryState::Accepted | EntryState::Adopted));
    let at_aws: Units = held.map(Entry::committed).sum();
    let list = |list: Vec<Value>| Value::Array(list);
    show::usage_key(&key.touched.key, key.touched.dimension_name())
        .with("units", explanation.units)
        .with("accepted", explanation.accepted)
        .with("unsettled", explanation.unsettled)
        .with("open", explanation.open)
        .with("corrected", explanation.corrected)
        .with("words", explanation.words.clone())
        .with("sources", list(explanation.sources.iter().map(show_source).collect()))
        .with("fixed", list(explanation.fixed.iter().map(show_fixed).collect()))
        .with(
            "bills",
            show::by_bill(history.bills.iter().map(|(bill, units)| (bill, *units))),
        )
        .with("total", history.state.total)
        .with("committed", history.state.committed)
        .with("atAws", at_aws)
        .with(
            "entries",
            list(key.entries.iter().map(|entry| show_entry(bill, entry)).collect()),
        )
        .done()
}

fn show_entry(bill: &BillReference, explained: &ExplainedEntry) -> Value {
    let part = explained.entry.parts.get(bill).map_or(0, |part| part.units);
    let version = explained.version.as_ref();
    show::entry(&explained.entry)
        .with("part", part)
        .maybe("version", version.map(|(name, _)| name.as_str()))
        .maybe("versionRunId", version.map(|(_, run)| run.id.as_str()))
        .with("words", explained.words.as_str())
        .done()
}

pub(crate) fn show_source(share: &SourceShare) -> Value {
    Object::default()
        .with("source", share.source.as_str())
        .maybe("money", share.money.map(|money| money.to_string()))
        .maybe(
            "deducted",
            (!share.deducted.is_zero()).then(|| share.deducted.to_string()),
        )
        .with("unitPrice", share.unit_price.to_string())
        .with("units", share.units)
        .with("lineItems", share.lines.clone())
        .with("words", share.words.as_str())
        .done()
}

pub(crate) fn show_fixed(fixed: &Fixed) -> Value {
    json!({"units": fixed.units, "unitPrice": fixed.unit_price.to_string()})
}

fn show_version(version: &ExplainedVersion) -> Value {
    let shown = Object::default()
        .with("version", version.name.as_str())
        .with("integrationRunId", version.run.id.as_str())
        .with("dtStarted", version.run.started.to_string());
    match &version.lines {
        Lines::Kept(lines) => show_lines(shown, lines),
        Lines::Gone(why) => shown.with("lineItemsGone", *why),
    }
    .done()
}

fn show_lines(shown: Object, lines: &VersionLines) -> Object {
    let sources: Vec<Value> = lines.sources().iter().map(show_source).collect();
    let line = |(index, line): (usize, &LineItem)| {
        Object::default()
            .with("index", index)
            .maybe("id", line.id.as_deref())
            .with("lineItemType", line.kind.name())
            .with("convertedSubtotal", line.amount.to_string())
            .done()
    };
    let all = lines.lines();
    let omitted = all.len().saturating_sub(LINES_SHOWN_MAX);
    let all: Vec<Value> = all.iter().enumerate().take(LINES_SHOWN_MAX).map(line).collect();
    shown
        .with("sources", sources)
        .with("leftOut", lines.left_out.clone())
        .with("lineItems", all)
        .maybe("lineItemsOmitted", (omitted > 0).then_some(omitted))
}
