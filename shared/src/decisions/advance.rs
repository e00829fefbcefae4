//! What a bill's new version makes of its manifest.
//!
//! # Invariants
//! - A manifest's head only moves forward; a deletion is final and wins at any version, so the end does not depend on the order of arrival.
//! - Money is conserved: what a source has at AWS under its old key (`fixed`) plus what it counts under its new one is what it owes.
//!   AWS takes nothing back, so a source that has units there changes its key only by a cut-over ([`Mode::Remap`]); otherwise it is held.
//! - A source that vanished keeps its key at 0 units; it is not a source that moved.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rust_decimal::Decimal;

use super::target::Target;
use super::validation::{Culprit, Invalid};
use crate::values::amount::{self, AmountError, Units};
use crate::values::bill::{Bill, BillReference, Head};
use crate::values::ids::{AccountId, ConfigurationId};
use crate::values::manifest::{Fixed, Manifest, Placement, Source, SplitKind, TouchedKey};
use crate::values::message::ReplayMode;
use crate::values::usage_key::KeyHash;

/// How an incoming head stands to the newest known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    First,
    Newer,
    Equal,
    /// Ignored.
    Older(Head),
    /// `version` beside `dtLastModified`: ignored, because the two cannot be ordered.
    Incomparable(Head),
    /// The bill was deleted: no update passes.
    Deleted,
}

/// Compares an incoming head with the manifest's.
pub fn standing(known: Option<&Manifest>, incoming: Head) -> Standing {
    let Some(known) = known else { return Standing::First };
    if known.deleted {
        return Standing::Deleted;
    }
    let order = match (incoming, known.head) {
        (Head::Version(incoming), Head::Version(known)) => incoming.cmp(&known),
        (Head::LastModified(incoming), Head::LastModified(known)) => incoming.cmp(&known),
        (Head::Version(_), Head::LastModified(_)) | (Head::LastModified(_), Head::Version(_)) => {
            return Standing::Incomparable(known.head);
        }
    };
    match order {
        std::cmp::Ordering::Less => Standing::Older(known.head),
        std::cmp::Ordering::Equal => Standing::Equal,
        std::cmp::Ordering::Greater => Standing::Newer,
    }
}

/// How far a message may change a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only a newer version changes anything.
    Ordinary,
    /// A replay or re-queue: an equal version counts as the mappings and the configuration now say.
    Apply,
    /// A cut-over: what AWS holds stays with the old key, the rest goes to the new one.
    Remap,
}

impl From<ReplayMode> for Mode {
    fn from(mode: ReplayMode) -> Mode {
        match mode {
            ReplayMode::Apply => Mode::Apply,
            ReplayMode::Remap => Mode::Remap,
        }
    }
}

/// A bill as the owning configuration sends it.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub bill: &'a Bill,
    pub owner: &'a ConfigurationId,
    pub split: SplitKind,
    pub unit_price: Decimal,
    pub targets: &'a BTreeMap<Source, Target>,
}

/// What becomes of the manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Advance {
    /// An equal version with the same units: submission goes on, nothing is counted anew.
    Unchanged,
    /// An equal version that would now count otherwise: ignored until a replay says so.
    EqualButOther,
    /// Write this manifest. `left` are the keys that a source moved away from: their units change in the manifest's own transaction, so that
    /// nothing is claimed there between the look and the move.
    Changed {
        manifest: Box<Manifest>,
        left: BTreeSet<KeyHash>,
    },
}

/// Applies a calculated bill. `attributed` is what committed entries hold for this bill on the keys of the known manifest.
/// Errors: a source that is held; an amount that cannot be counted.
pub fn advance(
    known: Option<&Manifest>,
    incoming: Incoming<'_>,
    attributed: &BTreeMap<KeyHash, Units>,
    mode: Mode,
    now: Timestamp,
) -> Result<Advance, Invalid> {
    let equal = matches!(standing(known, incoming.bill.head), Standing::Equal);
    let placed = match place(known, incoming, attributed, mode) {
        Err(_) if equal && mode == Mode::Ordinary => return Ok(Advance::EqualButOther),
        placed => placed?,
    };
    if let Some(known) = known.filter(|_| equal) {
        let same = known.split == placed.split && known.sources == placed.sources && known.fixed == placed.fixed;
        match (same, mode) {
            (true, _) => return Ok(Advance::Unchanged),
            (false, Mode::Ordinary) => return Ok(Advance::EqualButOther),
            (false, Mode::Apply | Mode::Remap) => {}
        }
    }
    let mut keys = known.map(|known| known.keys.clone()).unwrap_or_default();
    for target in incoming.targets.values() {
        keys.insert(
            target.key.hash(),
            TouchedKey {
                key: target.key.clone(),
                product_code: target.product_code.clone(),
            },
        );
    }
    let manifest = Manifest {
        bill: incoming.bill.reference.clone(),
        head: incoming.bill.head,
        deleted: false,
        owner: Some(incoming.owner.clone()),
        account: Some(incoming.bill.account.clone()),
        start_date: incoming.bill.start_date.clone(),
        ends_at: incoming.bill.ends_at,
        split: placed.split,
        sources: placed.sources,
        fixed: placed.fixed,
        keys,
        revision: known.map_or(0, |known| known.revision).saturating_add(1),
        first_seen: known.map_or(now, |known| known.first_seen),
    };
    Ok(Advance::Changed {
        manifest: Box::new(manifest),
        left: placed.left,
    })
}

/// A deletion: every key to 0, for good.
pub fn delete(
    known: Option<&Manifest>,
    bill: &BillReference,
    head: Head,
    account: Option<&AccountId>,
    now: Timestamp,
) -> Advance {
    if known.is_some_and(|known| known.deleted) {
        return Advance::Unchanged;
    }
    let manifest = match known {
        Some(known) => Manifest {
            head,
            deleted: true,
            sources: BTreeMap::new(),
            fixed: Vec::new(),
            revision: known.revision.saturating_add(1),
            ..known.clone()
        },
        None => Manifest {
            bill: bill.clone(),
            head,
            deleted: true,
            owner: None,
            account: account.cloned(),
            start_date: None,
            ends_at: None,
            split: SplitKind::ItemPerBill,
            sources: BTreeMap::new(),
            fixed: Vec::new(),
            keys: BTreeMap::new(),
            revision: 1,
            first_seen: now,
        },
    };
    Advance::Changed {
        manifest: Box::new(manifest),
        left: BTreeSet::new(),
    }
}

struct Placed {
    split: SplitKind,
    sources: BTreeMap<Source, Placement>,
    fixed: Vec<Fixed>,
    left: BTreeSet<KeyHash>,
}

/// The sources that leave one key at one unit price, with the money they leave behind.
#[derive(Default)]
struct Leaving<'a> {
    sources: Vec<(&'a Source, &'a Placement)>,
}

fn place(
    known: Option<&Manifest>,
    incoming: Incoming<'_>,
    attributed: &BTreeMap<KeyHash, Units>,
    mode: Mode,
) -> Result<Placed, Invalid> {
    // A version without any money has nothing to place elsewhere: all its sources have vanished.
    let split = known
        .filter(|_| incoming.targets.is_empty())
        .map_or(incoming.split, |known| known.split);
    let same_split = known.is_none_or(|known| known.split == split);
    let mut fixed = known.map(|known| known.fixed.clone()).unwrap_or_default();
    let mut deducted: BTreeMap<Source, Decimal> = BTreeMap::new();
    let mut sources = BTreeMap::new();
    let mut staying: BTreeMap<KeyHash, Units> = BTreeMap::new();
    let mut leaving: BTreeMap<(KeyHash, Decimal), Leaving<'_>> = BTreeMap::new();
    for fixed in &fixed {
        add(&mut staying, &fixed.key, fixed.units)?;
    }
    for (source, placement) in known.map(|known| &known.sources).into_iter().flatten() {
        match incoming.targets.get(source).filter(|_| same_split) {
            Some(target) if target.key.hash() == placement.key && incoming.unit_price == placement.unit_price => {
                add(&mut staying, &placement.key, placement.units)?;
                deducted.insert(source.clone(), placement.deducted);
            }
            None if same_split => {
                add(&mut staying, &placement.key, placement.units)?;
                let units = count(source, Decimal::ZERO, placement.deducted, placement.unit_price)?;
                sources.insert(
                    source.clone(),
                    Placement {
                        units,
                        ..placement.clone()
                    },
                );
            }
            Some(_) | None => {
                leaving
                    .entry((placement.key.clone(), placement.unit_price))
                    .or_default()
                    .sources
                    .push((source, placement));
            }
        }
    }
    let mut pool = Decimal::ZERO;
    let mut held = Vec::new();
    for ((key, unit_price), group) in &leaving {
        let at_aws = attributed.get(key).copied().unwrap_or_default();
        let share = at_aws
            .saturating_sub(staying.get(key).copied().unwrap_or_default())
            .max(0);
        add(&mut staying, key, share)?;
        if share > 0 && mode != Mode::Remap {
            held.extend(
                group
                    .sources
                    .first()
                    .map(|(source, _)| held_culprit(known, incoming, key, source, share)),
            );
            continue;
        }
        if share > 0 {
            fixed.push(Fixed {
                key: key.clone(),
                unit_price: *unit_price,
                units: share,
            });
        }
        let mut rest = amount::money(share, *unit_price)
            .map_err(|error| invalid(group.sources.first().map(|(source, _)| *source), error))?;
        for (index, (source, placement)) in group.sources.iter().enumerate() {
            let is_last = index + 1 == group.sources.len();
            let own =
                amount::money(placement.units.max(0), *unit_price).map_err(|error| invalid(Some(source), error))?;
            let taken = if is_last { rest } else { rest.min(own) };
            rest -= taken;
            let carried = placement.deducted + taken;
            if same_split {
                deducted.insert((*source).clone(), carried);
            } else {
                pool += carried;
            }
        }
    }
    if let Some(invalid) = Invalid::of(held) {
        return Err(invalid);
    }
    if !same_split {
        spread(pool, incoming.targets, &mut deducted);
    }
    for (source, target) in incoming.targets {
        let deducted = deducted.get(source).copied().unwrap_or_default();
        let units = count(source, target.money, deducted, incoming.unit_price)?;
        sources.insert(
            source.clone(),
            Placement {
                key: target.key.hash(),
                unit_price: incoming.unit_price,
                units,
                deducted,
            },
        );
    }
    Ok(Placed {
        split,
        sources,
        fixed,
        left: leaving.into_keys().map(|(key, _)| key).collect(),
    })
}

/// Money fixed elsewhere is taken from the new sources in turn, from none more than it owes, except the last.
fn spread(pool: Decimal, targets: &BTreeMap<Source, Target>, deducted: &mut BTreeMap<Source, Decimal>) {
    let mut rest = pool;
    for (index, (source, target)) in targets.iter().enumerate() {
        let is_last = index + 1 == targets.len();
        let taken = if is_last {
            rest
        } else {
            rest.min(target.money.max(Decimal::ZERO))
        };
        rest -= taken;
        deducted.insert(source.clone(), taken);
    }
}

fn held_culprit(
    known: Option<&Manifest>,
    incoming: Incoming<'_>,
    key: &KeyHash,
    source: &Source,
    units: Units,
) -> Culprit {
    let name = |touched: &TouchedKey| {
        format!(
            "{}-{} of buyer {}",
            touched.product_code,
            touched.key.dimension,
            touched.key.buyer.customer()
        )
    };
    let from = known
        .and_then(|known| known.keys.get(key))
        .map_or_else(|| key.to_string(), name);
    let to = match incoming.targets.get(source) {
        Some(target) if target.key.hash() == *key => format!("the same at a unit price of {}", incoming.unit_price),
        Some(target) => format!(
            "{}-{} of buyer {}",
            target.product_code,
            target.key.dimension,
            target.key.buyer.customer()
        ),
        None => "another split".to_owned(),
    };
    Culprit::Held {
        source_of_units: source.clone(),
        units,
        from,
        to,
    }
}

fn count(source: &Source, money: Decimal, deducted: Decimal, unit_price: Decimal) -> Result<Units, Invalid> {
    let owed = money.checked_sub(deducted).ok_or(AmountError::TooLarge);
    owed.and_then(|owed| amount::units(owed, unit_price))
        .map_err(|error| invalid(Some(source), error))
}

fn add(sums: &mut BTreeMap<KeyHash, Units>, key: &KeyHash, units: Units) -> Result<(), Invalid> {
    let sum = sums.entry(key.clone()).or_default();
    *sum = sum
        .checked_add(units)
        .ok_or(AmountError::TooLarge)
        .map_err(|error| invalid(None, error))?;
    Ok(())
}

fn invalid(source: Option<&Source>, error: AmountError) -> Invalid {
    let source_of_units = source.map_or_else(|| "the bill".to_owned(), |source| source.as_str().to_owned());
    Invalid::one(Culprit::Amount { source_of_units, error })
}

#[cfg(test)]
#[path = "advance_tests.rs"]
mod tests;
