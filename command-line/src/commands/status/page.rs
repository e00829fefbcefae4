//! The page of `status`, and the lists that it is made of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Configured;
use crate::commands::pending::Waiting;
use crate::show::{self, Screen, clean, count, counted, field};

/// The page for people.
pub(super) fn text(
    open: &[Waiting],
    configured: &[Configured],
    needed: &[String],
    screen: &Screen,
    now: Timestamp,
) -> String {
    let at_risk: Vec<&Waiting> = open.iter().filter(|row| row.is_at_risk()).collect();
    let units = at_risk.iter().map(|row| row.units).fold(0, i64::saturating_add);
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
        .filter_map(|row| Some((row.refused_from?, *row)))
        .filter(|(end, _)| *end > now)
        .min_by_key(|(end, _)| *end);
    parts.push(match next {
        Some((end, row)) => clean(&format!(
            "Closes next: {}, {}: {} of {}, buyer {}",
            show::time(end),
            show::distance(end, now),
            counted(row.units, "unit", "units"),
            row.field("dimension"),
            row.field("customer")
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
fn amount(at_risk: &[&Waiting], configured: &[Configured]) -> String {
    let (mut sums, mut without) = (BTreeMap::<String, Decimal>::new(), 0);
    for row in at_risk {
        let (units, configuration) = (row.units, row.field("integrationConfigId"));
        let price = configured
            .iter()
            .find(|one| one.id == configuration)
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
fn waiting(open: &[Waiting], screen: &Screen) -> String {
    let mut groups: BTreeMap<(String, String), (i64, i64, Option<Timestamp>)> = BTreeMap::new();
    for row in open {
        let group = groups.entry((row.field("dimension"), row.state.clone())).or_default();
        group.0 += 1;
        group.1 += row.units;
        group.2 = [group.2, row.refused_from].into_iter().flatten().min();
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
        &[0, 1],
    )
}

fn configurations_table(configured: &[Configured], screen: &Screen) -> String {
    let lines: Vec<[String; 5]> = configured
        .iter()
        .map(|one| {
            let state = match (&one.disabled_because, one.is("authorized")) {
                (Some(why), _) => format!("DISABLED: {why}"),
                _ if one.frozen_since.is_some() => "FROZEN: the table is a restored copy".to_owned(),
                (None, false) => "no credential".to_owned(),
                (None, true) if one.setting("marketplaceShadow").and_then(Value::as_bool) == Some(true) => {
                    "shadow: sends nothing".to_owned()
                }
                (None, true) => "enabled".to_owned(),
            };
            let (day, outcome) = match one.days.newest.last_key_value() {
                Some((date, compared)) => (date.to_string(), compared.status.clone()),
                None if one.checks_cloudtrail() => (String::new(), "none yet".to_owned()),
                None => (String::new(), "not checked".to_owned()),
            };
            [field(&one.configuration, "name"), state, day, outcome, one.id.clone()]
        })
        .collect();
    screen.table(
        ["name", "state", "last compared", "with CloudTrail", "id"],
        &lines,
        0..0,
        &[4],
    )
}

/// The lists that the page is made of, each row as the API gave it, and what needs a person in words.
pub(super) fn json(open: &[Box<RawValue>], configured: &[Configured], needed: &[String]) -> String {
    let list = |rows: Vec<&str>| format!("[{}]", rows.join(","));
    let of = |choose: fn(&Configured) -> Vec<&RawValue>| {
        list(configured.iter().flat_map(choose).map(RawValue::get).collect())
    };
    format!(
        "{{\"pending\":{},\"integrationConfigs\":{},\"reconciliations\":{},\"failedRuns\":{},\"needsAPerson\":{}}}",
        list(open.iter().map(|row| row.get()).collect()),
        of(|one| vec![&one.raw]),
        of(|one| one.days.newest.values().map(|compared| &*compared.raw).collect()),
        of(|one| one.failed.iter().map(AsRef::as_ref).collect()),
        Value::from(needed.to_vec()),
    )
}
