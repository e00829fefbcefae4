//! What happens in a history, as values: they can be made from a seed, written down, shrunk and read by people.

use std::fmt;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// Workers of the dispatch function.
pub const WORKERS_MAX: usize = 3;
/// Bills of the seller; see [`crate::seller`].
pub const BILLS: usize = 6;
/// Products that a bill has a line for, at most.
pub const PRODUCTS: usize = 3;

/// One history: everything that is not decided by the code under test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Seeds ids and pauses.
    pub seed: u64,
    /// When it begins, in seconds since 1970.
    pub start: i64,
    /// AWS answers an identical repeat with `DuplicateRecord`.
    pub repeats_are_duplicates: bool,
    /// How far each worker's clock is off, in seconds.
    pub skews: [i16; WORKERS_MAX],
    /// How CloudTrail records; none: nothing is reconciled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trail: Option<Trail>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// How late and how well CloudTrail shows events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trail {
    /// Minutes until an event is shown.
    pub delay_minutes: u16,
    /// Every event is shown twice.
    pub duplicates: bool,
    /// So many of the first events are never shown.
    pub missing: u8,
}

/// What the reconcile function is invoked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reconciles {
    /// The day that has begun.
    Today,
    /// What AWS still takes.
    Window,
    /// What is not finished.
    Rest,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// m3ter makes a version of a bill: cents by product. Its event is queued.
    Calculated {
        bill: u8,
        cents: [u32; PRODUCTS],
        approved: bool,
    },
    /// m3ter deletes a bill.
    Deleted { bill: u8 },
    /// A message that was there before comes again.
    Repeated { message: u16 },
    /// Workers handle what is queued.
    Worked(Round),
    /// Time passes; the tick is queued when it is due.
    Passed { minutes: u16 },
    /// A buyer's agreement ends or begins.
    Subscribed { buyer: u8, subscribed: bool },
    /// AWS does not know a dimension any more, or knows it again.
    Listed { product: u8, listed: bool },
    /// Another program of the seller reports usage.
    Foreign {
        buyer: u8,
        product: u8,
        hours_ago: u8,
        quantity: u32,
    },
    /// A configuration is disabled or enabled.
    Enabled { configuration: u8, enabled: bool },
}

/// Several workers at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Round {
    /// For each worker the places in the queue that it takes its messages from; places wrap around.
    pub batches: Vec<Vec<u8>>,
    /// Whose request is handled next, turn by turn; 0, the first worker's oldest, after the end.
    pub order: Vec<u8>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The reconcile function runs beside the workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciles: Option<Reconciles>,
}

/// Which requests a fault counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Among {
    /// All of DynamoDB's.
    Table,
    /// DynamoDB's transactions.
    Transactions,
    /// BatchMeterUsage.
    Metering,
    /// Everything.
    All,
}

/// Something that goes wrong with one request of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Which requests are counted.
    pub among: Among,
    /// The place among them, from 0, in the order in which they are handled.
    pub place: u16,
    /// What happens to it.
    pub fate: Fate,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It never arrives.
    RequestLost,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// Throttled.
    Throttled,
    /// 5xx.
    Failed,
    /// Metering: half of the records come back unprocessed.
    Unprocessed,
    /// A transaction is cancelled by another one.
    Cancelled,
    /// The worker dies before it arrives.
    KilledBefore,
    /// The worker dies after it was done; what else it asked may still arrive.
    KilledAfter,
    /// It is on its way for so many seconds, while time passes for everyone.
    Slow(u8),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::RequestLost => f.write_str("its request is lost"),
            Fate::AnswerLost => f.write_str("its answer is lost"),
            Fate::Throttled => f.write_str("it is throttled"),
            Fate::Failed => f.write_str("it is answered with 5xx"),
            Fate::Unprocessed => f.write_str("half of its records come back unprocessed"),
            Fate::Cancelled => f.write_str("it is cancelled by another transaction"),
            Fate::KilledBefore => f.write_str("its worker is killed before it arrives"),
            Fate::KilledAfter => f.write_str("its worker is killed when it is done"),
            Fate::Slow(seconds) => write!(f, "it takes {seconds} seconds"),
        }
    }
}

/// A start in the middle of a month, at its end, at the end of a leap February, of a common one, and of a year.
const STARTS: [&str; 8] = [
    "2025-06-10T10:20:00Z",
    "2025-06-10T10:58:30Z",
    "2025-06-30T20:10:00Z",
    "2025-06-30T23:40:00Z",
    "2025-07-01T04:50:00Z",
    "2024-02-29T21:30:00Z",
    "2025-02-28T22:55:00Z",
    "2025-12-31T22:15:00Z",
];

impl History {
    /// The history of a seed.
    pub fn of_seed(seed: u64) -> History {
        let mut random = Rng::with_seed(seed);
        let start: jiff::Timestamp = random
            .choice(STARTS)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default();
        let mut skews = [0; WORKERS_MAX];
        if random.u8(..3) == 0 {
            skews = std::array::from_fn(|_| *random.choice(&[0, 0, -300, 300, -7, 7]).unwrap_or(&0));
        }
        let mut history = History {
            seed,
            start: start.as_second() + random.i64(0..600),
            repeats_are_duplicates: random.bool(),
            skews,
            trail: None,
            steps: Vec::new(),
        };
        // A calm history says more about order, a rough one about repeats: each has its own weather.
        let roughness = random.u8(..4);
        let steps = random.usize(8..26);
        for _ in 0..steps {
            let step = step(&mut random, roughness);
            let calculated = matches!(step, Step::Calculated { .. } | Step::Deleted { .. });
            history.steps.push(step);
            if calculated && random.u8(..3) > 0 {
                history.steps.push(Step::Worked(round(&mut random, roughness)));
            }
        }
        history.reconciled(seed)
    }

    /// The same history with reconciliation in it, in one of four: it is the slowest step. Drawn apart, so that all else stays as the seed made it.
    fn reconciled(mut self, seed: u64) -> History {
        let mut random = Rng::with_seed(seed ^ 0xC10D_7A11);
        if random.u8(..4) != 0 {
            return self;
        }
        self.trail = Some(Trail {
            delay_minutes: *random.choice(&[0, 5, 15, 180, 2880]).unwrap_or(&5),
            duplicates: random.bool(),
            missing: *random.choice(&[0, 0, 0, 1, 3]).unwrap_or(&0),
        });
        for step in &mut self.steps {
            if let Step::Worked(round) = step
                && random.u8(..4) == 0
            {
                let kinds = [Reconciles::Today, Reconciles::Window, Reconciles::Rest];
                round.reconciles = random.choice(kinds);
            }
        }
        self
    }
}

fn step(random: &mut Rng, roughness: u8) -> Step {
    match random.u8(..100) {
        0..36 => calculated(random),
        36..39 => Step::Deleted {
            bill: below(random, BILLS),
        },
        39..45 => Step::Repeated {
            message: random.u16(..64),
        },
        45..70 => Step::Worked(round(random, roughness)),
        70..90 => Step::Passed {
            minutes: *random.choice(&[1, 2, 7, 20, 41, 60, 61, 95, 180]).unwrap_or(&1),
        },
        90..92 => Step::Subscribed {
            buyer: below(random, 3),
            subscribed: random.bool(),
        },
        92..94 => Step::Listed {
            product: below(random, PRODUCTS),
            listed: random.bool(),
        },
        94..96 => Step::Foreign {
            buyer: below(random, 3),
            product: below(random, PRODUCTS),
            hours_ago: random.u8(..3),
            quantity: random.u32(1..50_000),
        },
        _ => Step::Enabled {
            configuration: below(random, 3),
            enabled: random.bool(),
        },
    }
}

fn calculated(random: &mut Rng) -> Step {
    // A bill mostly grows, sometimes falls, and sometimes loses a product.
    let mut amount = || match random.u8(..6) {
        0 | 1 => 0,
        2 => random.u32(1..20),
        _ => random.u32(1..30_000),
    };
    let cents = std::array::from_fn(|_| amount());
    Step::Calculated {
        bill: below(random, BILLS),
        cents,
        approved: random.u8(..3) > 0,
    }
}

fn round(random: &mut Rng, roughness: u8) -> Round {
    let workers = *random.choice(&[1, 2, 2, 2, WORKERS_MAX]).unwrap_or(&1);
    let mut batches = Vec::new();
    for _ in 0..workers {
        let size = random.usize(1..5);
        batches.push((0..size).map(|_| random.u8(..16)).collect());
    }
    let mut order = Vec::new();
    if workers > 1 {
        // Long stretches of one worker find other races than a change at every turn.
        let stretch = *random.choice(&[1_usize, 2, 6, 20]).unwrap_or(&1);
        while order.len() < 120 {
            let whose = random.u8(..);
            let length = random.usize(1..=stretch);
            order.extend(std::iter::repeat_n(whose, length));
        }
    }
    let mut faults = Vec::new();
    let count = match roughness {
        0 => 0,
        1 => random.usize(..2),
        2 => random.usize(..4),
        _ => random.usize(..7),
    };
    for _ in 0..count {
        let fate = fate(random);
        let (among, places) = match fate {
            Fate::Unprocessed => (Among::Metering, 4),
            Fate::Cancelled => (Among::Transactions, 12),
            _ => *random
                .choice(&[
                    (Among::Table, 60),
                    (Among::Transactions, 12),
                    (Among::Metering, 4),
                    (Among::Metering, 2),
                    (Among::All, 90),
                ])
                .unwrap_or(&(Among::All, 90)),
        };
        let place = random.u16(..places);
        // The SDK repeats DynamoDB's requests twice by itself: only a row of faults gets through to the code above it.
        let length = if random.bool() { 1 } else { random.u16(1..9) };
        faults.extend((place..place + length).map(|place| Fault { among, place, fate }));
    }
    faults.sort();
    Round {
        batches,
        order,
        faults,
        reconciles: None,
    }
}

fn fate(random: &mut Rng) -> Fate {
    match random.u8(..18) {
        0..3 => Fate::RequestLost,
        3..7 => Fate::AnswerLost,
        7 => Fate::Throttled,
        8 => Fate::Failed,
        9..11 => Fate::Unprocessed,
        11..13 => Fate::Cancelled,
        13 => Fate::KilledBefore,
        14..16 => Fate::KilledAfter,
        _ => Fate::Slow(*random.choice(&[3, 25, 70]).unwrap_or(&3)),
    }
}

fn below(random: &mut Rng, count: usize) -> u8 {
    u8::try_from(random.usize(..count)).unwrap_or_default()
}
