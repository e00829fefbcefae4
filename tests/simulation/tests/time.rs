//! Which hour a bill's usage lands in, at every edge of the calendar and with clocks that are off.

use jiff::Timestamp;
use simulation::campaign::play_all;
use simulation::history::{Among, Fate, Fault, History, Round, Step, WORKERS_MAX};

/// A bill of the month that began the history.
const THIS: u8 = 0;
/// A bill of the month after it.
const NEXT: u8 = 5;
const UNITS: u32 = 15_485_863;

fn history(start: &str, skew: i16, bill: u8, more: Vec<Step>) -> History {
    let mut steps = vec![Step::Calculated {
        bill,
        cents: [UNITS, 0, 0],
        approved: true,
    }];
    steps.extend(more);
    History {
        seed: 1,
        start: start.parse::<Timestamp>().unwrap().as_second(),
        repeats_are_duplicates: false,
        skews: [skew; WORKERS_MAX],
        trail: None,
        steps,
    }
}

fn worked(faults: Vec<Fault>) -> Step {
    Step::Worked(Round {
        batches: vec![vec![0; 8]],
        order: Vec::new(),
        faults,
        reconciles: None,
    })
}

fn lost() -> Vec<Fault> {
    let fault = |place| Fault {
        among: Among::Metering,
        place,
        fate: Fate::RequestLost,
    };
    (0..8).map(fault).collect()
}

/// Each history with the hours in which AWS bills in the end.
fn check(cases: Vec<(History, &[&str])>) {
    let (histories, expected): (Vec<History>, Vec<&[&str]>) = cases.into_iter().unzip();
    for ((history, outcome), expect) in histories.iter().zip(play_all(&histories).unwrap()).zip(expected) {
        let start = Timestamp::from_second(history.start).unwrap();
        assert!(outcome.violations.is_empty(), "{start}: {:?}", outcome.violations);
        let hours: Vec<String> = outcome
            .billed
            .iter()
            .map(|(_, hour, _)| hour.strftime("%Y-%m-%dT%H").to_string())
            .collect();
        assert_eq!(
            hours, expect,
            "at {start}, off by {} s: {:?}",
            history.skews[0], history.steps
        );
    }
}

#[test]
fn an_hour_ends_to_the_second() {
    let at = |start, hour| (history(start, 0, THIS, vec![worked(Vec::new())]), hour);
    check(vec![
        at("2025-06-10T10:59:59Z", &["2025-06-10T10"] as &[&str]),
        at("2025-06-10T11:00:00Z", &["2025-06-10T11"]),
        at("2025-06-10T11:00:01Z", &["2025-06-10T11"]),
        at("2025-06-10T23:59:59Z", &["2025-06-10T23"]),
        at("2025-06-11T00:00:00Z", &["2025-06-11T00"]),
        at("2025-06-11T00:00:01Z", &["2025-06-11T00"]),
    ]);
}

#[test]
fn every_month_ends_in_its_own_hours() {
    let mut cases = Vec::new();
    for year in [2024_i16, 2025] {
        for month in 1..=12 {
            let last = jiff::civil::date(year, month, 1).last_of_month();
            let first = last.tomorrow().unwrap();
            let ended = format!("{last}T23");
            for (time, bill, hour) in [
                (format!("{last}T23:59:59Z"), THIS, ended.clone()),
                // Last month's bill still finds one of its hours, until Outbill stops claiming there; then it comes too late for that.
                (format!("{first}T00:00:00Z"), THIS, ended.clone()),
                (format!("{first}T00:00:01Z"), THIS, ended.clone()),
                (format!("{first}T05:54:59Z"), THIS, ended.clone()),
                (format!("{first}T05:55:00Z"), THIS, format!("{first}T05")),
                (format!("{first}T05:59:59Z"), THIS, format!("{first}T05")),
                (format!("{first}T06:00:00Z"), THIS, format!("{first}T06")),
                // This month's bill never goes into last month's hours.
                (format!("{first}T00:00:01Z"), NEXT, format!("{first}T00")),
                (format!("{first}T05:59:59Z"), NEXT, format!("{first}T05")),
            ] {
                cases.push((history(&time, 0, bill, vec![worked(Vec::new())]), vec![hour]));
            }
        }
    }
    let texts: Vec<Vec<&str>> = cases
        .iter()
        .map(|(_, hours)| hours.iter().map(String::as_str).collect())
        .collect();
    let histories = cases.iter().map(|(history, _)| history.clone());
    check(histories.zip(texts.iter().map(Vec::as_slice)).collect());
}

#[test]
fn a_record_goes_again_until_aws_stops_taking_it() {
    let late = |start, minutes, hour| {
        let more = vec![
            worked(lost()),
            Step::Passed { minutes },
            worked(Vec::new()),
            worked(Vec::new()),
        ];
        (history(start, 0, THIS, more), hour)
    };
    check(vec![
        // The hour from 10:00 is taken until 10:00 of the next day.
        late("2025-06-10T10:29:00Z", 24 * 60 - 30, &["2025-06-10T10"] as &[&str]),
        // Then nobody knows whether the lost call arrived: it waits for evidence, and nothing is billed twice.
        late("2025-06-10T10:29:00Z", 24 * 60 - 29, &[]),
        // A month's end cuts the 24 hours short.
        late("2025-06-30T20:10:00Z", 9 * 60 + 49, &["2025-06-30T20"]),
        late("2025-06-30T20:10:00Z", 9 * 60 + 51, &[]),
        late("2025-12-31T22:10:00Z", 7 * 60 + 49, &["2025-12-31T22"]),
        late("2025-12-31T22:10:00Z", 7 * 60 + 51, &[]),
    ]);
}

#[test]
fn a_worker_whose_clock_is_off_bills_once_all_the_same() {
    let off = |start, skew, hour| (history(start, skew, THIS, vec![worked(Vec::new())]), hour);
    check(vec![
        // Fast: the hour has not begun for AWS; the record waits for it.
        off("2025-06-10T10:57:00Z", 300, &["2025-06-10T11"] as &[&str]),
        off("2025-06-10T10:57:00Z", 0, &["2025-06-10T10"]),
        // Slow: the hour before is still taken.
        off("2025-06-10T11:02:00Z", -300, &["2025-06-10T10"]),
        off("2025-06-30T23:57:00Z", 300, &["2025-06-30T23"]),
        off("2025-07-01T00:02:00Z", -300, &["2025-06-30T23"]),
        // Five minutes are left to a slow worker before AWS closes the month.
        off("2025-07-01T05:58:00Z", -300, &["2025-06-30T23"]),
        off("2025-07-01T06:01:00Z", -300, &["2025-07-01T05"]),
        off("2025-07-01T05:51:00Z", 300, &["2025-07-01T05"]),
    ]);
}
