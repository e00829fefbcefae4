//! Counts of calls by service and action.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Calls by service and action.
pub type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// The calls since the start or since they were last cleared.
#[derive(Debug, Default)]
pub struct Requests {
    counts: Mutex<Counts>,
}

impl Requests {
    /// Counts a call.
    pub fn count(&self, service: &str, action: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts
            .entry(service.to_owned())
            .or_default()
            .entry(action.to_owned())
            .or_insert(0) += 1;
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins again at zero.
    pub fn clear(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
