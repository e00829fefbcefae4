//! From units at AWS back through entries to the versions and line items of a bill. Nothing is written.
//!
//! The numbers come from the ledger, which keeps them for good. Line items come from the logs of the bill's runs, which expire; where they are
//! gone the explanation says so, and its numbers still add up.

use std::collections::BTreeMap;

use crate::Outbill;
use crate::decisions::conclusion::Outcome;
use crate::decisions::explanation::{self, KeyExplanation, VersionLines};
use crate::effects::runs::RunFilter;
use crate::effects::table::{PageRequest, StoreError};
use crate::values::bill::{BillReference, Head};
use crate::values::configuration::BILL;
use crate::values::entry::{Entry, KeyHistory};
use crate::values::manifest::{Manifest, TouchedKey};
use crate::values::marketplace_configuration::MarketplaceConfiguration;
use crate::values::message::{Change, Message};
use crate::values::run::IntegrationRun;
use serde_json::Value;

/// Runs of a bill that are looked through: a month of a bill that is calculated every quarter of an hour.
const RUNS_MAX: usize = 3_000;
const RUNS_PER_PAGE: usize = 200;
/// Logs that are read for one explanation; each may have megabytes.
const LOGS_MAX: usize = 40;

/// A bill, explained.
#[derive(Debug)]
pub struct Explained {
    pub manifest: Manifest,
    pub keys: Vec<ExplainedKey>,
    /// The versions that anything rests on, oldest first.
    pub versions: Vec<ExplainedVersion>,
}

/// One usage key of it.
#[derive(Debug)]
pub struct ExplainedKey {
    pub touched: TouchedKey,
    pub history: KeyHistory,
    pub explanation: KeyExplanation,
    /// The entries that have a part of the bill, oldest hour first.
    pub entries: Vec<ExplainedEntry>,
}

/// One entry of it.
#[derive(Debug)]
pub struct ExplainedEntry {
    pub entry: Entry,
    /// The version that was counted when the entry was claimed, in words, and its run; none: not known any more.
    pub version: Option<(String, IntegrationRun)>,
    pub words: String,
}

/// One version of the bill.
#[derive(Debug, Clone)]
pub struct ExplainedVersion {
    pub run: IntegrationRun,
    /// `version 3`.
    pub name: String,
    pub lines: Lines,
}

/// The line items of a version.
#[derive(Debug, Clone)]
pub enum Lines {
    Kept(Box<VersionLines>),
    /// Why there are none.
    Gone(&'static str),
}

const EXPIRED: &str = "the line items are not kept any more: logs of runs expire after 90 days";
const NOT_READ: &str = "not read here, because so many versions have a part in this; the run's log has the line items";
const UNREADABLE: &str = "the run's log cannot be read as a bill; look at it by itself";
const DELETED: &str = "the bill was deleted: every line of it counts 0";

/// What a run's log tells of the version that it was about.
enum Told {
    Counted(Lines),
    /// Ignored, refused, invalid: nothing was counted by this run.
    NotCounted,
}

/// Explains a bill, on one dimension (`<productCode>-<dimension>`, or the dimension alone) or on all that it ever touched. None: it was never
/// metered, or never there.
pub async fn explain(
    outbill: &Outbill,
    bill: &BillReference,
    dimension: Option<&str>,
) -> Result<Option<Explained>, StoreError> {
    let Some(manifest) = outbill.ledger.manifest(bill).await? else {
        return Ok(None);
    };
    let wanted = |touched: &&TouchedKey| {
        dimension.is_none_or(|wanted| wanted == touched.key.dimension || wanted == touched.dimension_name())
    };
    let touched: Vec<&TouchedKey> = manifest.keys.values().filter(wanted).collect();
    let mut versions = Versions::of(outbill, runs(outbill, bill).await?);
    let newest = versions.of_head(manifest.head).await?;
    let mut keys = Vec::new();
    for touched in touched {
        let hash = touched.key.hash();
        let Some(history) = outbill.ledger.history(&hash).await? else {
            continue;
        };
        let lines = newest.as_ref().and_then(Lines::kept);
        let explanation = explanation::explain(&manifest, &hash, &history, lines);
        let mut entries = Vec::new();
        for entry in history.entries.iter().filter(|entry| entry.parts.contains_key(bill)) {
            let version = versions.at_claim(entry, bill).await?;
            let version = version.map(|run| (version_name(&run), run));
            let name = version.as_ref().map(|(name, _)| name.as_str());
            entries.push(ExplainedEntry {
                words: explanation::entry_words(entry, bill, name),
                entry: entry.clone(),
                version,
            });
        }
        keys.push(ExplainedKey {
            touched: touched.clone(),
            history,
            explanation,
            entries,
        });
    }
    let versions = versions.counted();
    Ok((!keys.is_empty()).then_some(Explained {
        manifest,
        keys,
        versions,
    }))
}

impl Lines {
    fn kept(&self) -> Option<&VersionLines> {
        match self {
            Lines::Kept(lines) => Some(lines),
            Lines::Gone(_) => None,
        }
    }
}

/// `version 3`.
fn version_name(run: &IntegrationRun) -> String {
    let head = Head::of_sort_text(&run.entity_version);
    head.map_or_else(|| run.entity_version.clone(), |head| head.to_string())
}

/// All runs of a bill, newest first.
async fn runs(outbill: &Outbill, bill: &BillReference) -> Result<Vec<IntegrationRun>, StoreError> {
    let mut found: Vec<IntegrationRun> = Vec::new();
    let mut after = None;
    while found.len() < RUNS_MAX {
        let page = PageRequest {
            size: RUNS_PER_PAGE,
            after,
        };
        let entity = (BILL, bill.bill.as_str());
        let listed = outbill
            .runs
            .list_by_entity(&bill.organization, entity, &RunFilter::all(), &page)
            .await?;
        found.extend(listed.items);
        after = listed.next;
        if after.is_none() {
            break;
        }
    }
    Ok(found)
}

/// The runs of a bill with what was read of their logs.
struct Versions<'a> {
    outbill: &'a Outbill,
    /// Newest version first, and of one version the newest run: a head only moves forward.
    runs: Vec<IntegrationRun>,
    read: BTreeMap<String, Told>,
}

impl Versions<'_> {
    fn of(outbill: &Outbill, mut runs: Vec<IntegrationRun>) -> Versions<'_> {
        runs.sort_by(|left, right| {
            let order = |run: &IntegrationRun| (run.entity_version.clone(), run.id.clone());
            order(right).cmp(&order(left))
        });
        Versions {
            outbill,
            runs,
            read: BTreeMap::new(),
        }
    }

    /// The lines of a head, by the run that counted it last.
    async fn of_head(&mut self, head: Head) -> Result<Option<Lines>, StoreError> {
        let text = head.sort_text();
        let run = self.first_counted(|run| run.entity_version == text).await?;
        let told = run.and_then(|run| self.read.get(run.id.as_str()));
        Ok(match told {
            Some(Told::Counted(lines)) => Some(lines.clone()),
            Some(Told::NotCounted) | None => None,
        })
    }

    /// The version that stood when an entry was claimed: its own run's, or, where another bill's run claimed it, the newest that had been
    /// counted by then.
    async fn at_claim(&mut self, entry: &Entry, bill: &BillReference) -> Result<Option<IntegrationRun>, StoreError> {
        if entry.origin.bill == *bill
            && let Some(own) = self.first_counted(|run| run.id == entry.origin.run).await?
        {
            return Ok(Some(own));
        }
        self.first_counted(|run| run.started <= entry.claimed_at).await
    }

    async fn first_counted(
        &mut self,
        admits: impl Fn(&IntegrationRun) -> bool,
    ) -> Result<Option<IntegrationRun>, StoreError> {
        for index in 0..self.runs.len() {
            let Some(run) = self.runs.get(index).filter(|run| admits(run)).cloned() else {
                continue;
            };
            if let Told::Counted(_) = self.told(&run).await? {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    async fn told(&mut self, run: &IntegrationRun) -> Result<&Told, StoreError> {
        let id = run.id.as_str().to_owned();
        if !self.read.contains_key(&id) {
            let told = match self.read.len() < LOGS_MAX {
                true => told(&self.outbill.runs.log(&run.organization, &run.id).await?, run),
                false => Told::Counted(Lines::Gone(NOT_READ)),
            };
            self.read.insert(id.clone(), told);
        }
        Ok(self.read.get(&id).unwrap_or(&Told::NotCounted))
    }

    /// Every version that was asked for and found, oldest first, each once.
    fn counted(&self) -> Vec<ExplainedVersion> {
        let mut versions: Vec<ExplainedVersion> = Vec::new();
        for run in self.runs.iter().rev() {
            let Some(Told::Counted(lines)) = self.read.get(run.id.as_str()) else {
                continue;
            };
            versions.push(ExplainedVersion {
                name: version_name(run),
                run: run.clone(),
                lines: lines.clone(),
            });
        }
        versions
    }
}

/// Reads a run's log: whether it counted anything, and the bill as it came.
fn told(log: &[Value], run: &IntegrationRun) -> Told {
    let Some(record) = log.iter().find(|record| record.get("input").is_some()) else {
        return Told::Counted(Lines::Gone(EXPIRED));
    };
    let stays = Outcome::EqualButOther(Vec::new()).to_string();
    let counted = |record: &&Value| {
        let keys = record.get("keys").and_then(Value::as_array);
        keys.is_some_and(|keys| !keys.is_empty()) && record.get("outcome").and_then(Value::as_str) != Some(&stays)
    };
    if log.iter().find(counted).is_none() {
        return Told::NotCounted;
    }
    let input = record.get("input").cloned().unwrap_or_default();
    let settings = record
        .pointer("/configuration/configData")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    match (Message::from_json(input), MarketplaceConfiguration::parse(&settings)) {
        (Ok(Message::Bill(message)), Ok(marketplace)) => match message.change {
            Change::Calculated(bill) => Told::Counted(Lines::Kept(Box::new(VersionLines::of(*bill, &marketplace)))),
            Change::Deleted { .. } => Told::Counted(Lines::Gone(DELETED)),
        },
        _ => {
            tracing::warn!(run.id = %run.id, "the log of a run cannot be read as the bill that it metered");
            Told::Counted(Lines::Gone(UNREADABLE))
        }
    }
}
