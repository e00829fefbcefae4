//! The simulation can fail: every wrong algorithm breaks a law within a few random histories, or in one of those that are kept, which the right
//! one passes in `histories.rs`.

use std::path::Path;

use clap::ValueEnum;
use indicatif::ProgressBar;
use simulation::campaign::{EndsAtFirst, Plan, run, threads};
use simulation::history::History;
use simulation::play::{Telling, play};
use simulation::variant::Variant;

/// Histories within which each variant must be caught. `cargo run --release -p simulation -- --variants` says how many break how many.
const HISTORIES_MAX: u64 = 120;

#[test]
fn every_variant_is_caught() {
    let plan = Plan {
        first: 0,
        count: HISTORIES_MAX,
        time: None,
        jobs: threads(),
        variant: None,
        ends_at_first: EndsAtFirst::Yes,
    };
    let mut escaped = Vec::new();
    for variant in Variant::value_variants() {
        let found = run(
            &Plan {
                variant: Some(*variant),
                ..plan
            },
            &ProgressBar::hidden(),
        )
        .unwrap();
        match found.broken.first_key_value() {
            Some((seed, violation)) => {
                println!("{}: seed {seed}: {}: {}", variant.text(), violation.law, violation.how);
            }
            None => match kept(*variant) {
                Some(violation) => println!("{}: a kept history: {violation}", variant.text()),
                None => escaped.push(variant.text()),
            },
        }
    }
    assert!(
        escaped.is_empty(),
        "not caught in {HISTORIES_MAX} random histories and those that are kept: {escaped:?}"
    );
}

/// How a variant breaks a law in one of the histories that are kept.
fn kept(variant: Variant) -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories");
    for file in std::fs::read_dir(folder).unwrap() {
        let history: History = serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        let outcome = play(&history, Some(variant), Telling::Nothing).unwrap();
        if let Some(violation) = outcome.violations.first() {
            return Some(format!("{}: {}", violation.law, violation.how));
        }
    }
    None
}
