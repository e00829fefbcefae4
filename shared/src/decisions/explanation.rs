//! Where a bill's units at AWS come from, in numbers that add up and in words.
//!
//! # Invariant
//! On every key: what the sources count, with what a cut-over left there, is what the bill owes; and accepted + unsettled + open + corrected is
//! that same number. `corrected` is what AWS turned out to hold beside what was sent; without such a finding it is 0.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::totals::{self, SourceTotal};
use crate::values::amount::{self, Units};
use crate::values::bill::{Bill, BillReference, LineItem};
use crate::values::entry::{Entry, EntryState, KeyHistory};
use crate::values::manifest::{Fixed, Manifest, Placement, Source};
use crate::values::marketplace_configuration::MarketplaceConfiguration;
use crate::values::usage_key::KeyHash;

/// Amounts that are written out as a sum; more are only counted.
const ADDENDS_SHOWN_MAX: usize = 12;

/// The line items of one version, as the configuration of its run divided them.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionLines {
    bill: Bill,
    by_source: BTreeMap<Source, SourceTotal>,
    unit_price: Decimal,
    /// Lines that count for nothing: excluded types, and amounts of zero.
    pub left_out: Vec<usize>,
}

impl VersionLines {
    /// Divides a bill as it was divided when it was metered.
    pub fn of(bill: Bill, marketplace: &MarketplaceConfiguration) -> VersionLines {
        let by_source = totals::totals(&bill, marketplace).by_source;
        let counts = |index: &usize| by_source.values().any(|total| total.lines.contains(index));
        let left_out = (0..bill.line_items.len()).filter(|index| !counts(index)).collect();
        VersionLines {
            by_source,
            unit_price: marketplace.unit_price,
            left_out,
            bill,
        }
    }

    /// What each source of this version comes to.
    pub fn sources(&self) -> Vec<SourceShare> {
        let share = |(source, total): (&Source, &SourceTotal)| {
            let units = amount::units(total.money, self.unit_price).ok()?;
            Some(SourceShare::of(
                source,
                units,
                Decimal::ZERO,
                self.unit_price,
                Some(self),
            ))
        };
        self.by_source.iter().filter_map(share).collect()
    }

    /// All lines in the bill's order.
    pub fn lines(&self) -> &[LineItem] {
        &self.bill.line_items
    }
}

/// What one source counts on a key.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceShare {
    pub source: Source,
    /// The lines' sum; none: the lines are not kept any more.
    pub money: Option<Decimal>,
    /// Places of the lines in the version's `lineItems`.
    pub lines: Vec<usize>,
    /// Money that a cut-over left with other keys.
    pub deducted: Decimal,
    pub unit_price: Decimal,
    pub units: Units,
    pub words: String,
}

impl SourceShare {
    /// A source's share as the manifest has it.
    pub fn placed(source: &Source, placement: &Placement, version: Option<&VersionLines>) -> SourceShare {
        let Placement { units, deducted, .. } = *placement;
        SourceShare::of(source, units, deducted, placement.unit_price, version)
    }

    /// `units` is what was counted; `version` says from which lines.
    pub fn of(
        source: &Source,
        units: Units,
        deducted: Decimal,
        unit_price: Decimal,
        version: Option<&VersionLines>,
    ) -> SourceShare {
        let total = version.map(|version| version.by_source.get(source));
        let money = total.map(|total| total.map_or(Decimal::ZERO, |total| total.money));
        let lines = total.flatten().map(|total| total.lines.clone()).unwrap_or_default();
        let words = match (version, money) {
            (Some(version), Some(money)) => {
                let amounts: Vec<Decimal> = lines
                    .iter()
                    .filter_map(|index| version.lines().get(*index))
                    .map(|line| line.amount)
                    .collect();
                arithmetic(&amounts, money, deducted, unit_price, units)
            }
            _ => format!(
                "{units} units by the bill's manifest; the line items are not kept any more, because logs of runs expire after 90 days"
            ),
        };
        SourceShare {
            source: source.clone(),
            money,
            lines,
            deducted,
            unit_price,
            units,
            words: format!("{}: {words}", source.as_str()),
        }
    }
}

/// `1.01 + 2.02 = 3.03; 3.03 ÷ 0.01 = 303 units`, and the rounding where there is any.
pub fn arithmetic(amounts: &[Decimal], money: Decimal, deducted: Decimal, unit_price: Decimal, units: Units) -> String {
    let mut words = match amounts {
        [] => "no line of this version counts here: 0".to_owned(),
        [one] => format!("1 line of {one}"),
        several if several.len() <= ADDENDS_SHOWN_MAX => {
            format!("{} lines: {} = {money}", several.len(), sum_text(several))
        }
        many => format!("{} lines that add up to {money}", many.len()),
    };
    let mut owed = money;
    if !deducted.is_zero() {
        owed = money.checked_sub(deducted).unwrap_or(money);
        words = format!("{words}; less {deducted} that a cut-over left with another dimension: {owed}");
    }
    let Some(exact) = owed.checked_div(unit_price) else {
        return format!("{words}; counted as {units} units");
    };
    let exact = exact.normalize();
    if exact == Decimal::from(units) {
        return format!("{words}; {owed} ÷ {unit_price} = {units} units");
    }
    if amount::units(owed, unit_price) == Ok(units) {
        return format!("{words}; {owed} ÷ {unit_price} = {exact}, rounded half away from zero to {units} units");
    }
    format!("{words}; {owed} ÷ {unit_price} = {exact}, but the bill's manifest counts {units} units")
}

/// `a + b - c`.
fn sum_text(amounts: &[Decimal]) -> String {
    let mut text = String::new();
    for (index, amount) in amounts.iter().enumerate() {
        match (index, amount.is_sign_negative()) {
            (0, _) => text.push_str(&amount.to_string()),
            (_, true) => text.push_str(&format!(" - {}", amount.abs())),
            (_, false) => text.push_str(&format!(" + {amount}")),
        }
    }
    text
}

/// A bill on one usage key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyExplanation {
    pub sources: Vec<SourceShare>,
    /// What cut-overs left here.
    pub fixed: Vec<Fixed>,
    /// What the bill owes here.
    pub units: Units,
    /// Its parts of accepted entries.
    pub accepted: Units,
    /// Its parts of entries that are committed and not accepted.
    pub unsettled: Units,
    /// What no entry holds of it yet; negative: AWS has so much more of it than it owes.
    pub open: Units,
    /// What AWS turned out to hold beside what was sent.
    pub corrected: Units,
    pub words: Vec<String>,
}

/// What a bill counts on a key, and what cut-overs left there.
pub fn shares(manifest: &Manifest, key: &KeyHash, version: Option<&VersionLines>) -> (Vec<SourceShare>, Vec<Fixed>) {
    let here = manifest.sources.iter().filter(|(_, placement)| placement.key == *key);
    let fixed = manifest.fixed.iter().filter(|fixed| fixed.key == *key);
    (
        here.map(|(source, placement)| SourceShare::placed(source, placement, version))
            .collect(),
        fixed.cloned().collect(),
    )
}

/// Explains what a bill owes on a key, and where it is. `version` is the newest one's lines, if they are still kept.
pub fn explain(
    manifest: &Manifest,
    key: &KeyHash,
    history: &KeyHistory,
    version: Option<&VersionLines>,
) -> KeyExplanation {
    let bill = &manifest.bill;
    let (sources, fixed) = shares(manifest, key, version);
    let units = history.bills.get(bill).copied().unwrap_or_default();
    let part = |wanted: fn(EntryState) -> bool| -> Units {
        let parts = history
            .entries
            .iter()
            .filter(|entry| wanted(entry.state))
            .filter_map(|entry| entry.parts.get(bill));
        parts.map(|part| part.units).sum()
    };
    let accepted = part(|state| state == EntryState::Accepted);
    let unsettled = part(|state| state != EntryState::Accepted && state.is_committed());
    let open = history.state.residuals.get(bill).map_or(0, |residual| residual.units);
    let corrected = units
        .saturating_sub(accepted)
        .saturating_sub(unsettled)
        .saturating_sub(open);
    let mut explanation = KeyExplanation {
        sources,
        fixed,
        units,
        accepted,
        unsettled,
        open,
        corrected,
        words: Vec::new(),
    };
    explanation.words = words(&explanation, manifest, history);
    explanation
}

fn words(explanation: &KeyExplanation, manifest: &Manifest, history: &KeyHistory) -> Vec<String> {
    let bill = &manifest.bill;
    let mut words: Vec<String> = explanation.sources.iter().map(|share| share.words.clone()).collect();
    words.extend(explanation.fixed.iter().map(|fixed| {
        format!(
            "{} units at {} stayed here when a source was cut over to another dimension",
            fixed.units, fixed.unit_price
        )
    }));
    let addends: Vec<Units> = explanation
        .sources
        .iter()
        .map(|share| share.units)
        .chain(explanation.fixed.iter().map(|fixed| fixed.units))
        .collect();
    let owed = match (manifest.deleted, addends.as_slice()) {
        (true, _) => "the bill was deleted and owes 0 units".to_owned(),
        (false, []) => "nothing of the bill counts here any more: 0 units".to_owned(),
        (false, [one]) => format!("the bill owes {one} units here"),
        (false, several) => format!(
            "the bill owes {} = {} units here",
            units_text(several),
            explanation.units
        ),
    };
    words.push(owed);
    words.push(held_text(explanation));
    if history.bills.len() > 1 {
        let addends: Vec<String> = history
            .bills
            .iter()
            .map(|(other, units)| format!("{} of bill {}", units, name(other, bill)))
            .collect();
        words.push(format!(
            "all bills on this dimension of the buyer owe {} = {} units",
            addends.join(" + "),
            history.state.total
        ));
    }
    words.push(claimed_text(history));
    words
}

fn held_text(explanation: &KeyExplanation) -> String {
    let mut addends = vec![format!("{} accepted by AWS", explanation.accepted)];
    if explanation.unsettled != 0 {
        addends.push(format!("{} sent or claimed, not settled", explanation.unsettled));
    }
    match explanation.open {
        0 => {}
        open if open > 0 => addends.push(format!("{open} not claimed yet")),
        open => addends.push(format!(
            "({open}) that AWS has too many of it, held against later growth"
        )),
    }
    if explanation.corrected != 0 {
        addends.push(format!(
            "({}) by what AWS turned out to hold beside what was sent",
            explanation.corrected
        ));
    }
    format!("of them: {} = {}", addends.join(" + "), explanation.units)
}

fn claimed_text(history: &KeyHistory) -> String {
    let counted: Vec<Units> = history
        .entries
        .iter()
        .map(Entry::committed)
        .filter(|units| *units != 0)
        .collect();
    let state = &history.state;
    let sum = match counted.len() {
        0 => "0 units".to_owned(),
        1 => format!("{} units", state.committed),
        2..=ADDENDS_SHOWN_MAX => format!("{} = {} units", units_text(&counted), state.committed),
        many => format!("{} units in {many} hours", state.committed),
    };
    let delta = state.total.saturating_sub(state.committed);
    format!(
        "entries hold {sum}; {} owed - {} held = {delta}",
        state.total, state.committed
    )
}

fn units_text(units: &[Units]) -> String {
    let decimals: Vec<Decimal> = units.iter().copied().map(Decimal::from).collect();
    sum_text(&decimals)
}

/// A bill as its own organization names it.
fn name(other: &BillReference, own: &BillReference) -> String {
    if other.organization == own.organization {
        other.bill.to_string()
    } else {
        other.to_string()
    }
}

/// What one entry has to do with a bill.
pub fn entry_words(entry: &Entry, bill: &BillReference, version: Option<&str>) -> String {
    let part = entry.parts.get(bill).map_or(0, |part| part.units);
    let hour = entry.hour;
    let quantity = entry.quantity;
    if entry.state == EntryState::Adopted {
        let observed = entry.observed.unwrap_or_default();
        return format!(
            "{hour}: {observed} units that another program reported; they are held against what the bills owe"
        );
    }
    let fate = match entry.state {
        EntryState::Accepted | EntryState::Adopted => match (&entry.metering_record_id, &entry.resolution) {
            (Some(receipt), _) => format!("AWS accepted them with receipt {receipt}"),
            (None, Some(resolution)) => format!(
                "{} decided that AWS has them: {}",
                resolution.decided.by, resolution.decided.reason
            ),
            (None, None) => "AWS accepted them".to_owned(),
        },
        EntryState::Pending => "they are sent until AWS answers".to_owned(),
        EntryState::Unknown => "whether AWS accepted them is not known; they count as sent".to_owned(),
        EntryState::Conflict => {
            "AWS holds another quantity for the hour; they count as sent until that is settled".to_owned()
        }
        EntryState::Refused => "AWS refused them; they count for nothing".to_owned(),
        EntryState::Released => match &entry.resolution {
            Some(resolution) => format!(
                "{} decided that AWS does not have them: {}; they count for nothing",
                resolution.decided.by, resolution.decided.reason
            ),
            None => {
                let reason = entry.reason.as_deref();
                format!(
                    "{}; they count for nothing",
                    reason.unwrap_or("AWS's window closed before it had them")
                )
            }
        },
    };
    let observed = entry.observed.map_or_else(String::new, |observed| {
        format!("; AWS turned out to hold {observed}, and that is what counts")
    });
    let version = version.map_or_else(String::new, |version| format!(" as of {version}"));
    match entry.parts.len() {
        0 | 1 => format!("{hour}: {quantity} units, all of this bill{version}; {fate}{observed}"),
        bills => format!("{hour}: {quantity} units of {bills} bills, {part} of this one{version}; {fate}{observed}"),
    }
}

#[cfg(test)]
#[path = "explanation_tests.rs"]
mod tests;
