//! The simulation in every test run: random histories for as long as five minutes, at least a thousand; the histories that once broke a law;
//! and the proof that a seed says everything.

use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use simulation::campaign::{EndsAtFirst, Plan, run, summary, table, threads};
use simulation::history::History;
use simulation::play::{Telling, play};

const HISTORIES_MIN: u64 = 1_000;
/// The build around them takes its part of what a test run may take.
const TIME: Duration = Duration::from_secs(240);

#[test]
fn random_histories_break_no_law() {
    let plan = Plan {
        first: 0,
        count: HISTORIES_MIN,
        time: None,
        jobs: threads(),
        variant: None,
        ends_at_first: EndsAtFirst::Yes,
    };
    let least = run(&plan, &ProgressBar::hidden()).unwrap();
    let more = Plan {
        first: HISTORIES_MIN,
        count: u64::MAX,
        time: Some(TIME.saturating_sub(least.took)),
        ..plan
    };
    for found in [least, run(&more, &ProgressBar::hidden()).unwrap()] {
        println!("{}\n\n{}", table(&found), summary(&found));
        assert!(found.broken.is_empty(), "replay with --seed: {:?}", found.broken);
    }
}

#[test]
fn histories_that_once_broke_a_law_break_none() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories");
    let mut played = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let history: History = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let outcome = play(&history, None, Telling::Nothing).unwrap();
        assert!(
            outcome.violations.is_empty(),
            "{}: {:?}",
            file.display(),
            outcome.violations
        );
        played += 1;
    }
    assert!(played > 0, "the folder of histories is empty");
}

#[test]
fn a_seed_is_a_history() {
    for seed in [3, 17, 204] {
        let history = History::of_seed(seed);
        let again = History::of_seed(seed);
        assert_eq!(history, again);
        let told = |history: &History| {
            let outcome = play(history, None, Telling::Words).unwrap();
            (outcome.digest, outcome.counts, outcome.lines)
        };
        let (first, second) = (told(&history), told(&again));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.2.len() > history.steps.len());
    }
    let digest = |seed| play(&History::of_seed(seed), None, Telling::Nothing).unwrap().digest;
    assert_ne!(digest(3), digest(17));
}
