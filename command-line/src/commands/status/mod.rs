//! `status`: money at risk first, then what closes next, what waits, and what needs a person.
//!
//! A person is needed for what nothing settles by itself: a block, a disabled or unconnected configuration, a failing credential, an entry that no
//! reconciliation decides, units that AWS refuses within three hours, a day whose comparison differs, could not check or is overdue, a bill whose
//! newest run in a configuration failed, a restored table without CloudTrail checks. What a configuration in shadow counts is another program's to
//! send, and not at risk here.

mod days;
mod needed;
mod page;

use std::collections::BTreeSet;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;
use serde_json::value::RawValue;

use super::pending::{self, Waiting};
use super::{Answer, Form, configurations, runs, segment};
use crate::api::Api;
use crate::decisive;
use crate::failure::{Failure, NEEDS_A_PERSON, WELL};
use crate::show::{self, Screen, field};

use days::Days;

/// What the API takes for a unit's price where a configuration says none.
const UNIT_PRICE_DEFAULT: &str = "0.01";
const CURRENCY_DEFAULT: &str = "USD";
/// Statuses of runs that a person has to do something about.
const FAILED: [&str; 2] = ["ERROR", "AUTH_FAILED"];
/// Failed runs of a configuration and status that are looked at.
const FAILED_LOOKED_AT: usize = 50;
/// Runs of a bill that are read at once, newest first, to find the newest of a configuration: it is one of the first.
const RUNS_OF_BILL_AT_ONCE: &str = "20";

/// A configuration with what belongs to it.
struct Configured {
    raw: Box<RawValue>,
    configuration: Value,
    id: String,
    disabled_because: Option<String>,
    /// Since when it sends nothing because the table is a restored copy.
    frozen_since: Option<Timestamp>,
    days: Days,
    failed: Vec<Box<RawValue>>,
}

impl Configured {
    /// As sentences call it.
    fn name(&self) -> String {
        format!("configuration {} ({})", field(&self.configuration, "name"), self.id)
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
    let open = Waiting::all(&rows)?;
    let mut configured = Vec::new();
    for raw in configurations(api).await? {
        configured.push(of(api, raw).await?);
    }
    let unread = days::look(api, &mut configured, now).await?;
    let needed = needed::needed(&open, &configured, unread, now);
    let code = if needed.is_empty() { WELL } else { NEEDS_A_PERSON };
    let text = match form {
        Form::Json => page::json(&rows, &configured, &needed),
        Form::ForPeople => page::text(&open, &configured, &needed, screen, now),
    };
    Ok(Answer { text, code })
}

async fn of(api: &Api, raw: Box<RawValue>) -> Result<Configured, Failure> {
    let configuration = show::read(&raw);
    let id = decisive::text(&configuration, "id", "a configuration")?;
    let of = format!("the configuration {id}");
    let mut configured = Configured {
        raw,
        id: id.clone(),
        disabled_because: None,
        frozen_since: decisive::maybe_instant(&configuration, "frozenSince", &of)?,
        configuration,
        days: Days::default(),
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
