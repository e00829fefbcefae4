//! Which buyers are subscribed, and since when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A statement about one buyer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuyerStatement {
    /// The customer's AWS account id or legacy identifier.
    pub customer: String,
    /// Whether the buyer has an active agreement.
    pub subscribed: bool,
    /// The instant from which this holds; before it, the opposite did unless another statement says
    /// otherwise. Absent: it always held, and earlier statements are forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Since {
    from: Option<Timestamp>,
    subscribed: bool,
}

/// All statements about buyers. A buyer nobody spoke of is subscribed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buyers {
    statements: BTreeMap<String, Vec<Since>>,
}

impl Buyers {
    /// Records a statement.
    pub fn state(&mut self, statement: &BuyerStatement) {
        let since = Since {
            from: statement.from,
            subscribed: statement.subscribed,
        };
        let history = self.statements.entry(statement.customer.clone()).or_default();
        match since.from {
            None => *history = vec![since],
            Some(_) => {
                history.retain(|earlier| earlier.from != since.from);
                history.push(since);
                history.sort_by_key(|since| since.from);
            }
        }
    }

    /// Whether the buyer is subscribed at an instant.
    //= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecordResult.html
    //# does not have an active agreement or subscription with this product
    pub fn is_subscribed(&self, customer: &str, at: Timestamp) -> bool {
        let Some(history) = self.statements.get(customer) else {
            return true;
        };
        let last = history
            .iter()
            .rev()
            .find(|since| since.from.is_none_or(|from| from <= at));
        match (last, history.first()) {
            (Some(since), _) => since.subscribed,
            (None, Some(first)) => !first.subscribed,
            (None, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(subscribed: bool, from: Option<&str>) -> BuyerStatement {
        BuyerStatement {
            customer: "buyer".to_owned(),
            subscribed,
            from: from.map(|from| from.parse().unwrap()),
        }
    }

    #[test]
    fn the_latest_statement_that_holds_decides() {
        let ten = Some("2026-03-10T10:00:00Z");
        let twelve = Some("2026-03-10T12:00:00Z");
        for (statements, nine, eleven, thirteen) in [
            (vec![], true, true, true),
            (vec![statement(false, None)], false, false, false),
            (vec![statement(false, ten)], true, false, false),
            (vec![statement(true, ten)], false, true, true),
            (vec![statement(false, twelve), statement(true, ten)], false, true, false),
            (vec![statement(false, ten), statement(true, None)], true, true, true),
        ] {
            let mut buyers = Buyers::default();
            statements.iter().for_each(|one| buyers.state(one));
            let at = |instant: &str| buyers.is_subscribed("buyer", instant.parse::<Timestamp>().unwrap());
            assert_eq!(
                (
                    at("2026-03-10T09:00:00Z"),
                    at("2026-03-10T11:00:00Z"),
                    at("2026-03-10T13:00:00Z")
                ),
                (nine, eleven, thirteen),
                "{statements:?}"
            );
        }
    }
}
