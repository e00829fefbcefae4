//! The shortest history that still breaks the same law.

use std::time::{Duration, Instant};

use crate::books::Violation;
use crate::history::{History, Step};
use crate::play::{Telling, play};
use crate::variant::Variant;

/// How long a shorter history is looked for.
const TIME_MAX: Duration = Duration::from_secs(90);

/// Shrinks a history that broke a law. Gives the shortest one found, and how it breaks the law.
pub fn shrink(history: &History, broken: &Violation, variant: Option<Variant>) -> (History, Violation) {
    let mut best = Best {
        history: history.clone(),
        violation: broken.clone(),
        variant,
        begun: Instant::now(),
    };
    loop {
        let before = best.history.clone();
        best.drop_steps();
        best.simplify_steps();
        if best.history == before || best.is_late() {
            return (best.history, best.violation);
        }
    }
}

/// The shortest history so far.
struct Best {
    history: History,
    violation: Violation,
    variant: Option<Variant>,
    begun: Instant,
}

impl Best {
    fn is_late(&self) -> bool {
        self.begun.elapsed() >= TIME_MAX
    }

    /// Takes a candidate if it breaks the same law. One that the simulation cannot play is no proof.
    fn try_one(&mut self, candidate: History) -> bool {
        if self.is_late() {
            return false;
        }
        let Ok(outcome) = play(&candidate, self.variant, Telling::Nothing) else {
            return false;
        };
        let same = outcome
            .violations
            .into_iter()
            .find(|found| found.law == self.violation.law);
        let Some(same) = same else { return false };
        (self.history, self.violation) = (candidate, same);
        true
    }

    fn drop_steps(&mut self) {
        let mut length = self.history.steps.len().div_ceil(2);
        while length > 0 {
            let mut start = 0;
            while start < self.history.steps.len() {
                let mut shorter = self.history.clone();
                shorter
                    .steps
                    .drain(start..(start + length).min(self.history.steps.len()));
                if !self.try_one(shorter) {
                    start += length;
                }
            }
            length /= 2;
        }
    }

    fn simplify_steps(&mut self) {
        let mut unskewed = self.history.clone();
        unskewed.skews = Default::default();
        if unskewed != self.history {
            self.try_one(unskewed);
        }
        for place in 0..self.history.steps.len() {
            let mut tried = 0;
            while let Some(simpler) = simpler(&self.history.steps[place]).into_iter().nth(tried) {
                let mut shorter = self.history.clone();
                shorter.steps[place] = simpler;
                if !self.try_one(shorter) {
                    tried += 1;
                }
            }
        }
    }
}

fn simpler(step: &Step) -> Vec<Step> {
    let mut found = Vec::new();
    match step {
        Step::Worked(round) => {
            if !round.order.is_empty() {
                for order in [Vec::new(), round.order[..round.order.len() / 2].to_vec()] {
                    found.push(Step::Worked(crate::history::Round { order, ..round.clone() }));
                }
            }
            if round.reconciles.is_some() {
                found.push(Step::Worked(crate::history::Round {
                    reconciles: None,
                    ..round.clone()
                }));
            }
            if round.faults.len() > 1 {
                found.push(Step::Worked(crate::history::Round {
                    faults: Vec::new(),
                    ..round.clone()
                }));
            }
            for place in 0..round.faults.len() {
                let mut simpler = round.clone();
                simpler.faults.remove(place);
                found.push(Step::Worked(simpler));
            }
            for (worker, batch) in round.batches.iter().enumerate() {
                for place in 0..batch.len() {
                    let mut simpler = round.clone();
                    simpler.batches[worker].remove(place);
                    found.push(Step::Worked(simpler));
                }
            }
        }
        Step::Calculated { bill, cents, approved } => {
            for (place, amount) in cents.iter().enumerate() {
                if *amount > 0 {
                    let mut cents = *cents;
                    cents[place] = 0;
                    found.push(Step::Calculated {
                        bill: *bill,
                        cents,
                        approved: *approved,
                    });
                }
            }
        }
        Step::Passed { minutes } if *minutes > 1 => found.push(Step::Passed { minutes: minutes / 2 }),
        _ => {}
    }
    found
}
