//! Order and repetition change nothing.

use fastrand::Rng;
use simulation::campaign::play_all;
use simulation::history::{BILLS, History, Round, Step, WORKERS_MAX};

const AT_ONCE: usize = 64;
const REPEATS: [usize; 8] = [1, 2, 3, 7, 13, 21, 34, 50];

fn history(seed: u64, steps: Vec<Step>) -> History {
    History {
        seed,
        start: "2025-06-10T10:20:00Z".parse::<jiff::Timestamp>().unwrap().as_second(),
        repeats_are_duplicates: seed.is_multiple_of(2),
        skews: [0; WORKERS_MAX],
        trail: None,
        steps,
    }
}

fn calculated(bill: u8, units: u32) -> Step {
    Step::Calculated {
        bill,
        cents: [units, 0, units % 7919],
        approved: true,
    }
}

fn worked(batches: Vec<Vec<u8>>, order: Vec<u8>) -> Step {
    let faults = Vec::new();
    Step::Worked(Round {
        batches,
        order,
        faults,
        reconciles: None,
    })
}

fn check(histories: &[History]) -> u64 {
    let mut deliveries = 0;
    for (history, outcome) in histories.iter().zip(play_all(histories).unwrap()) {
        assert!(
            outcome.violations.is_empty(),
            "{:?}\n{:?}",
            outcome.violations,
            history.steps
        );
        deliveries += outcome.counts.deliveries;
    }
    deliveries
}

/// The places at which to take `count` things one after the other, for the order of a number below count!.
fn places(mut number: usize, count: usize) -> Vec<usize> {
    let mut places = Vec::new();
    for left in (1..=count).rev() {
        places.push(number % left);
        number /= left;
    }
    places
}

#[test]
fn six_versions_of_a_bill_in_all_720_orders() {
    let amounts = [101, 30_011, 7, 20_011, 40_009, 25_013];
    let mut histories = Vec::new();
    for number in 0..720 {
        let mut steps: Vec<Step> = amounts.iter().map(|units| calculated(0, *units)).collect();
        for (taken, place) in places(number, amounts.len()).into_iter().enumerate() {
            steps.push(worked(vec![vec![u8::try_from(place).unwrap()]], Vec::new()));
            // In half of the orders an hour passes between, so that every version could claim one.
            if number % 2 == 0 && taken % 2 == 0 {
                steps.push(Step::Passed { minutes: 60 });
            }
        }
        histories.push(history(u64::try_from(number).unwrap(), steps));
    }
    assert!(check(&histories) >= 720 * 6);
}

#[test]
fn every_message_many_times_with_64_at_once() {
    let mut histories = Vec::new();
    for repeats in REPEATS {
        let mut random = Rng::with_seed(u64::try_from(repeats).unwrap());
        let bills = 0..u8::try_from(BILLS).unwrap();
        let mut steps: Vec<Step> = bills.map(|bill| calculated(bill, random.u32(1..30_000))).collect();
        for _ in 1..repeats {
            steps.extend((0..u16::try_from(BILLS).unwrap()).map(|message| Step::Repeated { message }));
        }
        for _ in 0..(repeats * BILLS).div_ceil(AT_ONCE) {
            let batches = (0..AT_ONCE).map(|_| vec![random.u8(..)]).collect();
            let order = (0..4_000).map(|_| random.u8(..)).collect();
            steps.push(worked(batches, order));
        }
        histories.push(history(u64::try_from(repeats).unwrap(), steps));
    }
    let expect: usize = REPEATS.iter().map(|repeats| repeats * BILLS).sum();
    assert!(check(&histories) >= u64::try_from(expect).unwrap());
}
