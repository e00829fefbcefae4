//! Every request is a place where a worker can die: before it arrives, and after it was done.

use simulation::campaign::play_all;
use simulation::history::{Among, Fate, Fault, History, Round, Step, WORKERS_MAX};
use simulation::play::{Telling, play};

/// What one delivery of one bill with two products asks, in order. A new request belongs into this list; every one of them is a crash point
/// below.
const REQUESTS: [&str; 18] = [
    "dynamodb Query",
    "dynamodb GetItem MANIFEST",
    // The mappings of the account and of two products, the failing connections, and whether the table is a restored copy; all at once.
    "dynamodb Query",
    "dynamodb Query",
    "dynamodb Query",
    "dynamodb Query",
    "dynamodb DescribeTable",
    "dynamodb Query",
    // The first worker ever writes that the table is no copy.
    "dynamodb PutItem TABLE",
    "dynamodb BatchGetItem",
    "dynamodb TransactWriteItems claim",
    "dynamodb GetItem CREDENTIAL",
    "metering BatchMeterUsage",
    "dynamodb TransactWriteItems accepted",
    // A run for each of the three configurations, and the logs of all of them.
    "dynamodb BatchWriteItem LOG",
    "dynamodb PutItem RUN",
    "dynamodb PutItem RUN",
    "dynamodb PutItem RUN",
];

fn round(faults: Vec<Fault>) -> Step {
    Step::Worked(Round {
        batches: vec![vec![0]],
        order: Vec::new(),
        faults,
        reconciles: None,
    })
}

fn killed(place: usize, fate: Fate) -> Vec<Fault> {
    let place = u16::try_from(place).unwrap();
    let among = Among::All;
    vec![Fault { among, place, fate }]
}

fn history(rounds: Vec<Vec<Fault>>) -> History {
    let mut steps = vec![Step::Calculated {
        bill: 0,
        cents: [7919, 104_729, 0],
        approved: true,
    }];
    steps.extend(rounds.into_iter().map(round));
    History {
        seed: 1,
        start: "2025-06-10T10:20:00Z".parse::<jiff::Timestamp>().unwrap().as_second(),
        repeats_are_duplicates: false,
        skews: [0; WORKERS_MAX],
        trail: None,
        steps,
    }
}

/// The requests of the first delivery, as the play tells them.
fn requests() -> Vec<String> {
    let outcome = play(&history(vec![Vec::new()]), None, Telling::Words).unwrap();
    let lines = outcome.lines.iter().skip_while(|line| !line.starts_with("* worker"));
    let lines = lines.skip(1).take_while(|line| !line.starts_with("worker"));
    lines
        .map(|line| {
            line.split_once(": ")
                .unwrap()
                .1
                .trim_end_matches(": 200")
                .trim()
                .to_owned()
        })
        .collect()
}

#[test]
fn a_delivery_makes_these_requests_and_no_other() {
    let found = requests();
    for (place, (found, expect)) in found.iter().zip(REQUESTS).enumerate() {
        let mut words = expect.split(' ');
        let same = words.by_ref().take(2).all(|word| found.contains(word));
        let about = match words.next() {
            Some("claim") => "HOUR#",
            Some("accepted") => "USAGE#",
            Some(about) => about,
            None => "",
        };
        assert!(
            same && found.contains(about),
            "request {place} is {found:?}, not {expect:?}: {:#?}",
            requests()
        );
    }
    assert_eq!(found.len(), REQUESTS.len(), "{found:#?}");
}

#[test]
fn a_worker_may_die_at_every_request_alone_and_in_pairs() {
    let fates = [Fate::KilledBefore, Fate::KilledAfter];
    let mut histories = Vec::new();
    for first in 0..REQUESTS.len() {
        for fate in fates {
            histories.push(history(vec![killed(first, fate)]));
            // The redelivery makes fewer requests or more; a place beyond its last kills nobody.
            for second in 0..REQUESTS.len() + 4 {
                histories.extend(fates.map(|again| history(vec![killed(first, fate), killed(second, again)])));
            }
        }
    }
    let undisturbed = play(&history(vec![Vec::new()]), None, Telling::Nothing).unwrap();
    let mut kills = 0;
    for (history, outcome) in histories.iter().zip(play_all(&histories).unwrap()) {
        assert!(
            outcome.violations.is_empty(),
            "{:?}\n{:?}",
            outcome.violations,
            history.steps
        );
        assert_eq!(outcome.billed, undisturbed.billed, "{:?}", history.steps);
        kills += outcome.counts.kills;
    }
    println!("{} histories, {kills} kills", histories.len());
    assert!(
        kills > u64::try_from(histories.len()).unwrap(),
        "only {kills} workers died"
    );
}
