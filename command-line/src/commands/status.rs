//! `status`: money at risk first, then what closes next, what waits, and what needs a person.
//!
//! A person is needed for what nothing settles by itself: a block, a disabled or unconnected configuration, a failing credential, an entry that no
//! reconciliation decides, units that AWS refuses within three hours, a comparison that differs or could not check, a bill whose newest run in a
//! configuration failed, a restored table without CloudTrail checks. What a configuration in shadow counts is another program's to send, and not
//! at risk here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Answer, Form, configurations, pending, reconcile, runs, segment};
use crate::api::Api;
use crate::failure::{Failure, NEEDS_A_PERSON, WELL};
use crate::show::{self, Screen, clean, count, counted, field, instant, time_in, whole};

/// What the API takes for a unit's price where a configuration says none.
const UNIT_PRICE_DEFAULT: &str = "0.01";
const CURRENCY_DEFAULT: &str = "USD";
/// Statuses of runs that a person has to do something about.
const FAILED: [&str; 2] = ["ERROR", "AUTH_FAILED"];
/// Failed runs of a configuration and status that are looked at.
const FAILED_LOOKED_AT: usize = 50;
/// Runs of a bill that are read at once, newest first, to find the newest of a configuration: it is one of the first.
const RUNS_OF_BILL_AT_ONCE: &str = "20";
/// Comparisons of a configuration among which the newest of a day is looked for.
const COMPARISONS_LOOKED_AT: &str = "20";
/// As the metric `UnitsClosingSoon`.
const CLOSES_SOON: SignedDuration = SignedDuration::from_hours(3);
/// Reconciliation decides an entry after 72 hours, with the run of the day after.
const DECIDED_AFTER: SignedDuration = SignedDuration::from_hours(96);

/// A configuration with what belongs to it.
struct Configured {
    raw: Box<RawValue>,
    configuration: Value,
    disabled_because: Option<String>,
    comparison: Option<Box<RawValue>>,
    failed: Vec<Box<RawValue>>,
}

impl Configured {
    fn id(&self) -> String {
        field(&self.configuration, "id")
    }

    fn setting(&self, name: &str) -> Option<&Value> {
        self.configuration
            .get("configData")?
            .get(name)
            .filter(|value| !value.is_null())
    }

    fn checks_cloudtrail(&self) -> bool {
        self.setting("awsMarketplaceCloudtrailChecks").and_then(Value::as_bool) == Some(true)
    }

    /// Since when it sends nothing because the table is a restored copy.
    fn frozen_since(&self) -> Option<Timestamp> {
        instant(&self.configuration, "frozenSince")
    }

    fn is(&self, name: &str) -> bool {
        self.configuration.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// A unit's price and its currency. None: it cannot be read.
    fn price(&self) -> Option<(Decimal, String)> {
        let price = match self.setting("marketplaceUnitPrice") {
            None => UNIT_PRICE_DEFAULT.to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let currency = self
            .setting("marketplaceCurrency")
            .and_then(Value::as_str)
            .unwrap_or(CURRENCY_DEFAULT);
        Some((price.parse().ok()?, currency.to_owned()))
    }
}

pub async fn status(api: &Api, form: Form, screen: &Screen, now: Timestamp) -> Result<Answer, Failure> {
    let rows = api.rows(pending::PATH, &[], usize::MAX).await?.rows;
    let mut configured = Vec::new();
    for raw in configurations(api).await? {
        configured.push(of(api, raw).await?);
    }
    let open: Vec<Value> = rows.iter().map(|row| show::read(row)).collect();
    let needed = needed(&open, &configured, now);
    let code = if needed.is_empty() { WELL } else { NEEDS_A_PERSON };
    let text = match form {
        Form::Json => json(&rows, &configured, &needed),
        Form::ForPeople => page(&open, &configured, &needed, screen, now),
    };
    Ok(Answer { text, code })
}

async fn of(api: &Api, raw: Box<RawValue>) -> Result<Configured, Failure> {
    let configuration = show::read(&raw);
    let id = field(&configuration, "id");
    let mut configured = Configured {
        raw,
        configuration,
        disabled_because: None,
        comparison: None,
        failed: Vec::new(),
    };
    if !configured.is("enabled") {
        let query = [
            ("eventName", "integration.disabled.error"),
            ("resourceId", id.as_str()),
            ("pageSize", "1"),
        ];
        let events = api.rows("events", &query, 1).await?.rows;
        let said = events.first().map(|event| show::read(event));
        let said = said.and_then(|event| {
            Some(
                event
                    .pointer("/m3terEvent/eventData/newDto/error")?
                    .as_str()?
                    .to_owned(),
            )
        });
        configured.disabled_because = Some(said.unwrap_or_else(|| "no event says why".to_owned()));
    }
    if configured.checks_cloudtrail() {
        let query = [
            ("integrationConfigId", id.as_str()),
            ("pageSize", COMPARISONS_LOOKED_AT),
        ];
        let mut found = api.rows(reconcile::PATH, &query, 20).await?.rows;
        let of_day = found.iter().position(|row| {
            let row = show::read(row);
            field(&row, "scope") == "DAY" && reconcile::is_ended(&row)
        });
        configured.comparison = match (of_day, found.is_empty()) {
            (Some(place), _) => Some(found.swap_remove(place)),
            (None, false) => Some(found.swap_remove(0)),
            (None, true) => None,
        };
    }
    configured.failed = still_failed(api, &id).await?;
    Ok(configured)
}

/// Failed runs of a configuration that are their bill's newest there: what another configuration made of the bill mends nothing.
async fn still_failed(api: &Api, configuration: &str) -> Result<Vec<Box<RawValue>>, Failure> {
    let mut failed = Vec::new();
    let size = FAILED_LOOKED_AT.to_string();
    for status in FAILED {
        let query = [("status", status), ("pageSize", size.as_str())];
        let path = runs::by_configuration(configuration);
        failed.extend(api.rows(&path, &query, FAILED_LOOKED_AT).await?.rows);
    }
    let bills: BTreeSet<String> = failed.iter().map(|run| field(&show::read(run), "entityId")).collect();
    let mut newest = BTreeSet::new();
    for bill in bills {
        let path = format!("integrationruns/Bill/{}", segment(&bill));
        let is_here = |run: &Value| field(run, "destinationId") == configuration;
        let found = api.first(&path, &[("pageSize", RUNS_OF_BILL_AT_ONCE)], is_here).await?;
        newest.extend(found.map(|run| field(&run, "id")));
    }
    failed.retain(|run| newest.contains(&field(&show::read(run), "id")));
    Ok(failed)
}

/// What needs a person: what it is, and the command that goes on.
fn needed(open: &[Value], configured: &[Configured], now: Timestamp) -> Vec<String> {
    let mut needed = Vec::new();
    for row in open {
        let what = format!(
            "{} of {}, buyer {}",
            counted(whole(row, "units"), "unit", "units"),
            field(row, "dimension"),
            field(row, "customer")
        );
        let (id, state) = (field(row, "id"), field(row, "state"));
        let closes_soon = is_at_risk(row) && instant(row, "refusedFrom").is_some_and(|end| end <= now + CLOSES_SOON);
        match state.as_str() {
            "BLOCKED" => needed.push(format!(
                "{what}: blocked. {}. Mend it, then: outbill unblock {id} --reason …",
                field(row, "reason")
            )),
            "UNKNOWN" | "CONFLICT" if !is_decided_by_itself(row, configured, now) => needed.push(format!(
                "{what}: {state}. Look at AWS whether it has them, then: outbill resolve {id} --as accepted|released --reason …"
            )),
            // A key IN_CONFLICT has an entry in CONFLICT, which says when somebody is needed.
            "CONNECTION_FAILING" | "CONFIGURATION_DISABLED" => {
                needed.push(format!("{what}: {state}. {}", field(row, "wayOut")));
            }
            _ if closes_soon => needed.push(format!(
                "{what}: AWS refuses them from {}. {}. See: outbill pending",
                time_in(row, "refusedFrom"),
                field(row, "reason")
            )),
            _ => {}
        }
    }
    for one in configured {
        let name = format!("configuration {} ({})", field(&one.configuration, "name"), one.id());
        if let Some(why) = &one.disabled_because {
            needed.push(format!(
                "{name} is disabled: {why}. Mend it, then: outbill enable {}",
                one.id()
            ));
        }
        if let Some(since) = one.frozen_since().filter(|_| !one.checks_cloudtrail()) {
            needed.push(format!(
                "{name} sends nothing since {}, because the table is a restored copy, and no CloudTrail check will thaw it. Find out what AWS was sent \
                 since the copy was made, then: outbill thaw {} --reason …",
                show::time(since),
                one.id()
            ));
        }
        if !one.is("authorized") {
            needed.push(format!(
                "{name} has no credential and sends nothing: give it one, see docs/access.md"
            ));
        }
        if let Some(found) = one
            .comparison
            .as_ref()
            .map(|raw| show::read(raw))
            .filter(reconcile::needs_a_person)
        {
            needed.push(format!(
                "the comparison of {} is {}: outbill reconcile show {}",
                field(&found, "date"),
                field(&found, "status"),
                field(&found, "id")
            ));
        }
        for run in one.failed.iter().map(|run| show::read(run)) {
            needed.push(format!(
                "bill {}: {}. Log: outbill runs show {} --log",
                field(&run, "entityId"),
                field(&run, "error"),
                field(&run, "id")
            ));
        }
    }
    needed
}

/// Whether reconciliation will decide an entry, and has not had the time yet.
fn is_decided_by_itself(row: &Value, configured: &[Configured], now: Timestamp) -> bool {
    checks_cloudtrail(row, configured) && instant(row, "dtClaimed").is_some_and(|claimed| now < claimed + DECIDED_AFTER)
}

fn checks_cloudtrail(row: &Value, configured: &[Configured]) -> bool {
    let configuration = field(row, "integrationConfigId");
    configured
        .iter()
        .any(|one| one.id() == configuration && one.checks_cloudtrail())
}

/// Units that are owed, not accepted, and Outbill's to send.
fn is_at_risk(row: &Value) -> bool {
    whole(row, "units") > 0 && field(row, "state") != "SHADOW"
}

fn page(open: &[Value], configured: &[Configured], needed: &[String], screen: &Screen, now: Timestamp) -> String {
    let at_risk: Vec<&Value> = open.iter().filter(|row| is_at_risk(row)).collect();
    let units: i64 = at_risk.iter().map(|row| whole(row, "units")).sum();
    let mut parts = vec![screen.verdict(
        &format!(
            "Money at risk: {}{}",
            counted(units, "unit", "units"),
            amount(&at_risk, configured)
        ),
        units == 0,
    )];
    let next = at_risk
        .iter()
        .filter_map(|row| Some((instant(row, "refusedFrom")?, *row)))
        .min_by_key(|(end, _)| *end);
    parts.push(match next {
        Some((end, row)) => clean(&format!(
            "Closes next: {}, {}: {} of {}, buyer {}",
            show::time(end),
            show::distance(end, now),
            counted(whole(row, "units"), "unit", "units"),
            field(row, "dimension"),
            field(row, "customer")
        )),
        None => "Closes next: nothing".to_owned(),
    });
    if !open.is_empty() {
        parts.push(format!("\nWhat AWS has not accepted\n{}", waiting(open, screen)));
    }
    parts.push(match configured.is_empty() {
        true => "\nThere is no integration configuration.".to_owned(),
        false => format!("\nConfigurations\n{}", configurations_table(configured, screen)),
    });
    if needed.is_empty() {
        parts.push(format!("\n{}", screen.verdict("Nothing needs a person.", true)));
    } else {
        parts.push(format!("\n{}", screen.verdict("What needs a person", false)));
        parts.extend(
            needed
                .iter()
                .enumerate()
                .map(|(place, what)| clean(&format!("{}. {what}", place + 1))),
        );
    }
    parts.join("\n")
}

/// What the units cost, where their configurations say it.
fn amount(at_risk: &[&Value], configured: &[Configured]) -> String {
    let (mut sums, mut without) = (BTreeMap::<String, Decimal>::new(), 0);
    for row in at_risk {
        let (units, configuration) = (whole(row, "units"), field(row, "integrationConfigId"));
        let price = configured
            .iter()
            .find(|one| one.id() == configuration)
            .and_then(Configured::price);
        let cost = price.and_then(|(price, currency)| Some((price.checked_mul(Decimal::from(units))?, currency)));
        match cost {
            Some((cost, currency)) => {
                let sum = sums.entry(currency).or_default();
                *sum = sum.saturating_add(cost);
            }
            None => without += units,
        }
    }
    let mut said: Vec<String> = sums
        .into_iter()
        .map(|(currency, sum)| format!("{} {currency}", show::money(sum)))
        .collect();
    if without > 0 {
        said.push(format!("{} without a known price", counted(without, "unit", "units")));
    }
    match said.is_empty() {
        true => String::new(),
        false => clean(&format!(" ({})", said.join(" and "))),
    }
}

/// Rows, units and the earliest end, by dimension and state.
fn waiting(open: &[Value], screen: &Screen) -> String {
    let mut groups: BTreeMap<(String, String), (i64, i64, Option<Timestamp>)> = BTreeMap::new();
    for row in open {
        let group = groups
            .entry((field(row, "dimension"), field(row, "state")))
            .or_default();
        group.0 += 1;
        group.1 += whole(row, "units");
        group.2 = [group.2, instant(row, "refusedFrom")].into_iter().flatten().min();
    }
    let lines: Vec<[String; 5]> = groups
        .into_iter()
        .map(|((dimension, state), (rows, units, end))| {
            [
                dimension,
                state,
                count(rows),
                count(units),
                end.map_or_else(String::new, show::time),
            ]
        })
        .collect();
    screen.table(
        ["dimension", "state", "rows", "units", "AWS refuses it from"],
        &lines,
        2..4,
    )
}

fn configurations_table(configured: &[Configured], screen: &Screen) -> String {
    let lines: Vec<[String; 5]> = configured
        .iter()
        .map(|one| {
            let state = match (&one.disabled_because, one.is("authorized")) {
                (Some(why), _) => format!("DISABLED: {why}"),
                _ if one.frozen_since().is_some() => "FROZEN: the table is a restored copy".to_owned(),
                (None, false) => "no credential".to_owned(),
                (None, true) if one.setting("marketplaceShadow").and_then(Value::as_bool) == Some(true) => {
                    "shadow: sends nothing".to_owned()
                }
                (None, true) => "enabled".to_owned(),
            };
            let (day, outcome) = match &one.comparison {
                Some(raw) => {
                    let found = show::read(raw);
                    (field(&found, "date"), field(&found, "status"))
                }
                None if one.checks_cloudtrail() => (String::new(), "none yet".to_owned()),
                None => (String::new(), "not checked".to_owned()),
            };
            [field(&one.configuration, "name"), state, day, outcome, one.id()]
        })
        .collect();
    screen.table(
        ["name", "state", "last compared", "with CloudTrail", "id"],
        &lines,
        0..0,
    )
}

/// The lists that the page is made of, each row as the API gave it, and what needs a person in words.
fn json(open: &[Box<RawValue>], configured: &[Configured], needed: &[String]) -> String {
    let list = |rows: Vec<&str>| format!("[{}]", rows.join(","));
    let of = |choose: fn(&Configured) -> Vec<&RawValue>| {
        list(configured.iter().flat_map(choose).map(RawValue::get).collect())
    };
    format!(
        "{{\"pending\":{},\"integrationConfigs\":{},\"reconciliations\":{},\"failedRuns\":{},\"needsAPerson\":{}}}",
        list(open.iter().map(|row| row.get()).collect()),
        of(|one| vec![&one.raw]),
        of(|one| one.comparison.as_deref().into_iter().collect()),
        of(|one| one.failed.iter().map(AsRef::as_ref).collect()),
        Value::from(needed.to_vec()),
    )
}
