//! The simulation can fail: every wrong algorithm breaks a law within a few histories, and the right one does not in the same.

use clap::ValueEnum;
use indicatif::ProgressBar;
use simulation::campaign::{EndsAtFirst, Plan, run, threads};
use simulation::variant::Variant;

/// Histories within which each variant must be caught. `cargo run --release -p simulation -- --variants` says how many break how many.
const HISTORIES_MAX: u64 = 600;

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
            None => escaped.push(variant.text()),
        }
    }
    assert!(
        escaped.is_empty(),
        "not caught in {HISTORIES_MAX} histories: {escaped:?}"
    );
}
