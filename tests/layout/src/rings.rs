//! The rings of `shared`: values ← decisions ← effects ← stories.
//!
//! An inner ring never names an outer one, and a decision names nothing that could make it come out
//! differently the next time or that reaches the world: no clock, chance, environment, network, log.

use crate::Finding;
use crate::code::{Named, named};
use crate::files::TextFile;

/// Where the crate's sources are.
pub const SOURCES: &str = "shared/src/";

/// A module of the crate's root, and how far out it lies.
const RINGS: [(&str, usize); 8] = [
    ("values", 0),
    ("decisions", 1),
    ("effects", 2),
    // The environment and what holds all effects may name effects; only stories are further out.
    ("environment", 3),
    ("outbill", 3),
    // Both are also known at the root by their types.
    ("Environment", 3),
    ("Outbill", 3),
    ("stories", 4),
];

/// Crates that no decision names.
const NO_CRATES: [&str; 12] = [
    "async_trait",
    "fastrand",
    "futures",
    "getrandom",
    "http",
    "hyper",
    "log",
    "rand",
    "reqwest",
    "tokio",
    "tower",
    "tracing",
];

/// Words that no decision uses, wherever they stand: `X::now()` reads a clock, `new_v4` draws.
const NO_WORDS: [&str; 7] = ["async", "await", "now_v7", "new_v4", "new_v7", "SystemTime", "Instant"];

/// Modules of `std` that no decision names.
const NO_STD: [&str; 5] = ["env", "fs", "net", "process", "thread"];

/// Whether a file is part of the rings.
pub fn applies(file: &TextFile) -> bool {
    file.path.starts_with(SOURCES) && file.extension() == "rs"
}

/// Checks one source of `shared`.
pub fn check(file: &TextFile) -> Vec<Finding> {
    let module = module_path(&file.path);
    let Some(own) = module.first() else {
        // The crate's root declares all rings.
        return Vec::new();
    };
    let Some(ring) = ring_of(own) else {
        let rule = format!("`{own}` belongs to no ring: put it into values, decisions, effects or stories");
        return vec![Finding::new(&file.path, 0, rule)];
    };
    let all = match named(&file.text) {
        Ok(all) => all,
        Err(error) => return vec![Finding::new(&file.path, 0, format!("cannot be read as Rust: {error}"))],
    };
    let mut findings = Vec::new();
    for name in &all {
        if let Some(outer) = root_module(&module, name)
            && let Some(other) = ring_of(&outer)
            && other > ring
        {
            let rule = format!(
                "`{own}` names `{}`: an inner ring never names an outer one",
                name.text()
            );
            findings.push(Finding::new(&file.path, name.line, rule));
        }
        if own == "decisions"
            && let Some(reason) = impure(name)
        {
            let rule = format!("a decision names `{}`: {reason}", name.text());
            findings.push(Finding::new(&file.path, name.line, rule));
        }
    }
    findings
}

fn ring_of(module: &str) -> Option<usize> {
    RINGS.iter().find(|(name, _)| *name == module).map(|(_, ring)| *ring)
}

/// `shared/src/effects/ledger/mod.rs` is `["effects", "ledger"]`; the root is empty.
fn module_path(path: &str) -> Vec<String> {
    let path = path.trim_start_matches(SOURCES).trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

/// The module of the crate's root that a path leads to, if it starts at `crate` or climbs up with `super`.
///
/// Inline modules are not counted, so a path in one seems to climb one level further than it does. That
/// can only find too much, and only where a module has the name of a ring.
fn root_module(module: &[String], name: &Named) -> Option<String> {
    let first = name.parts.first()?;
    if first == "crate" {
        return name.parts.get(1).cloned();
    }
    let ups = name.parts.iter().take_while(|part| *part == "super").count();
    if ups > 0 && ups >= module.len() {
        return name.parts.get(ups).cloned();
    }
    None
}

fn impure(name: &Named) -> Option<&'static str> {
    if name.parts.iter().any(|part| NO_WORDS.contains(&part.as_str())) {
        return Some("decisions wait for nothing, read no clock and draw nothing; time is the argument `now`");
    }
    let is_path = name.parts.len() > 1;
    if is_path && name.parts.last().is_some_and(|last| last == "now") {
        return Some("decisions read no clock; time is the argument `now`");
    }
    let first = name.parts.first().filter(|_| is_path || name.imported)?;
    if NO_CRATES.contains(&first.as_str()) || first.starts_with("aws_") {
        return Some("decisions know no SDK, runtime, network or log");
    }
    if first == "std" && name.parts.get(1).is_some_and(|part| NO_STD.contains(&part.as_str())) {
        return Some("decisions do not reach the world");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text` that break a rule as the file `path` of `shared`.
    fn lines(path: &str, text: &str) -> Vec<usize> {
        let file = TextFile::new(&format!("{SOURCES}{path}"), text);
        assert!(applies(&file));
        check(&file).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn an_inner_ring_that_names_an_outer_one_is_found() {
        let refused = [
            ("values/hour.rs", "use crate::decisions::claim;"),
            ("values/hour.rs", "use crate::{values::ids, effects::mail};"),
            ("values/hour.rs", "fn f() { crate::stories::dispatch() }"),
            ("values/hour.rs", "use super::super::effects;"),
            ("decisions/mod.rs", "use super::effects::table::Table;"),
            ("decisions/claim.rs", "pub use crate::effects::*;"),
            ("effects/ledger/rows.rs", "use super::super::super::stories;"),
            ("effects/mail.rs", "use crate::Environment;"),
            ("effects/mail.rs", "use crate::{Outbill};"),
            ("outbill.rs", "use crate::stories;"),
            ("environment.rs", "use super::stories;"),
        ];
        for (path, text) in refused {
            assert_eq!(lines(path, text), [1], "{path}: {text}");
        }
        let allowed = [
            ("values/hour.rs", "use super::ids; use crate::values::bill;"),
            ("values/hour.rs", "//! Unlike [`crate::effects`].\n/* crate::stories */"),
            ("decisions/claim.rs", "use crate::values::hour::Hour;"),
            (
                "effects/ledger/rows.rs",
                "use super::super::table; use crate::decisions;",
            ),
            ("outbill.rs", "use crate::{Environment, effects::mail::Mailer};"),
            ("stories/dispatch/mod.rs", "use crate::Outbill; use crate::effects;"),
            ("lib.rs", "pub mod stories; pub use outbill::Outbill;"),
        ];
        for (path, text) in allowed {
            assert_eq!(lines(path, text), [0; 0], "{path}: {text}");
        }
    }

    #[test]
    fn a_module_outside_the_rings_is_found() {
        assert_eq!(lines("helpers.rs", ""), [0]);
        assert_eq!(lines("helpers/mod.rs", ""), [0]);
        assert_eq!(lines("values/hour.rs", "fn f( {"), [0]);
    }

    #[test]
    fn a_decision_that_is_not_pure_is_found() {
        let refused = [
            "async fn f() {}",
            "fn f() { g().await }",
            "use aws_sdk_dynamodb::Client;",
            "use aws_config;",
            "use tokio as runtime;",
            "fn f() { tracing::info!(\"x\") }",
            "fn f(status: http::StatusCode) {}",
            "fn f() { jiff::Timestamp::now(); }",
            "fn f() { Timestamp::now(); }",
            "use std::time::SystemTime;",
            "use std::time::{Duration, Instant};",
            "fn f() { rand::random() }",
            "fn f() { fastrand::bool() }",
            "fn f() { Uuid::new_v4() }",
            "fn f() { std::env::var(\"X\") }",
            "use std::{collections::BTreeMap, env};",
        ];
        for text in refused {
            assert_eq!(lines("decisions/claim.rs", text), [1], "{text}");
            assert_eq!(lines("effects/mail.rs", text), [0; 0], "{text}");
        }
        let allowed = [
            "fn f(now: Timestamp) { let http = now; }",
            "use std::time::Duration;",
            "// Timestamp::now\nfn f() { \"tokio::spawn\"; }",
            "fn f(plan: &Plan) { plan.aws_account }",
        ];
        for text in allowed {
            assert_eq!(lines("decisions/claim.rs", text), [0; 0], "{text}");
        }
    }
}
