//! The kinds of line that a m3ter bill has.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A text that is none of m3ter's line item types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a line item type; the known ones are {known}", known = LineItemType::names())]
pub struct LineItemTypeError(String);

macro_rules! line_item_types {
    ($($variant:ident = $name:literal,)*) => {
        /// What a bill's line charges or credits. m3ter's own list; an unknown one is an error, because it decides money.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[expect(missing_docs, reason = "the variants are m3ter's words; m3ter's documentation of bills explains them")]
        pub enum LineItemType {
            $($variant,)*
        }

        impl LineItemType {
            /// Every type, in m3ter's order.
            pub const ALL: &'static [LineItemType] = &[$(LineItemType::$variant,)*];

            /// m3ter's name, in upper case with underscores.
            pub fn name(self) -> &'static str {
                match self {
                    $(LineItemType::$variant => $name,)*
                }
            }
        }

        impl FromStr for LineItemType {
            type Err = LineItemTypeError;
            fn from_str(text: &str) -> Result<LineItemType, LineItemTypeError> {
                match text {
                    $($name => Ok(LineItemType::$variant),)*
                    unknown => Err(LineItemTypeError(unknown.to_owned())),
                }
            }
        }
    };
}

line_item_types! {
    StandingCharge = "STANDING_CHARGE",
    Usage = "USAGE",
    CounterRunningTotalCharge = "COUNTER_RUNNING_TOTAL_CHARGE",
    CounterAdjustmentDebit = "COUNTER_ADJUSTMENT_DEBIT",
    CounterAdjustmentCredit = "COUNTER_ADJUSTMENT_CREDIT",
    UsageCredit = "USAGE_CREDIT",
    MinimumSpend = "MINIMUM_SPEND",
    MinimumSpendRefund = "MINIMUM_SPEND_REFUND",
    CreditDeduction = "CREDIT_DEDUCTION",
    ManualAdjustment = "MANUAL_ADJUSTMENT",
    CreditMemo = "CREDIT_MEMO",
    DebitMemo = "DEBIT_MEMO",
    CommitmentConsumed = "COMMITMENT_CONSUMED",
    CommitmentFee = "COMMITMENT_FEE",
    OverageSurcharge = "OVERAGE_SURCHARGE",
    OverageUsage = "OVERAGE_USAGE",
    BalanceConsumed = "BALANCE_CONSUMED",
    BalanceFee = "BALANCE_FEE",
    AdHoc = "AD_HOC",
}

impl LineItemType {
    /// Every name, joined with commas, for a message.
    pub fn names() -> String {
        let names: Vec<&str> = LineItemType::ALL.iter().map(|known| known.name()).collect();
        names.join(", ")
    }
}

impl fmt::Display for LineItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<String> for LineItemType {
    type Error = LineItemTypeError;
    fn try_from(text: String) -> Result<LineItemType, LineItemTypeError> {
        text.parse()
    }
}

impl From<LineItemType> for String {
    fn from(known: LineItemType) -> String {
        known.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_are_m3ters() {
        assert_eq!(LineItemType::ALL.len(), 19);
        for known in LineItemType::ALL {
            assert_eq!(known.name().parse(), Ok(*known));
            assert_eq!(serde_json::to_string(known).unwrap(), format!("\"{known}\""));
        }
        let unknown = "usage".parse::<LineItemType>().unwrap_err().to_string();
        assert!(
            unknown.contains("\"usage\"") && unknown.contains("USAGE, COUNTER_RUNNING"),
            "{unknown}"
        );
    }
}
