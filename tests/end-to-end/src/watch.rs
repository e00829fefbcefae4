//! What must hold after every step, whatever the step was.

use std::collections::BTreeMap;

use outbill::values::hour::Hour;
use outbill::values::usage_key::KeyHash;
use sandbox::laws::{Ledger, Rest};

/// What was seen of the ledger so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    quantities: BTreeMap<(KeyHash, Hour), i64>,
    highest: BTreeMap<KeyHash, i64>,
}

impl Watch {
    /// Looks at the ledger as it is now; gives what is wrong, in words.
    pub(crate) fn look(&mut self, ledger: &Ledger, rest: Rest) -> Vec<String> {
        let mut wrong: Vec<String> = ledger
            .laws(rest)
            .into_iter()
            .flat_map(|law| {
                let told = move |violation: String| format!("{}: {violation}", law.text);
                law.violations.into_iter().map(told)
            })
            .collect();
        for ((key, hour), quantity) in &self.quantities {
            let entries = ledger
                .keys
                .get(key)
                .map(|key| key.entries.as_slice())
                .unwrap_or_default();
            match entries.iter().find(|entry| entry.hour == *hour) {
                Some(entry) if entry.quantity == *quantity => {}
                Some(entry) => wrong.push(format!("the entry of {hour} was {quantity} and is {}", entry.quantity)),
                None => wrong.push(format!("the entry of {hour} over {quantity} is gone")),
            }
        }
        for (hash, key) in &ledger.keys {
            for entry in &key.entries {
                self.quantities.insert((hash.clone(), entry.hour), entry.quantity);
            }
            let highest = self.highest.entry(hash.clone()).or_default();
            *highest = key.state.total.max(*highest);
            // What another program reported was never owed, and counts all the same.
            let committed = key.state.committed;
            if committed > *highest + key.adopted() {
                wrong.push(format!(
                    "{committed} units are committed, but never more than {highest} were owed"
                ));
            }
        }
        wrong
    }
}
