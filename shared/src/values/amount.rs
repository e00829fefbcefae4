//! Money as a decimal from the JSON text, and units as whole numbers. No float is ever made of either.

use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};

/// Whole units of a Marketplace dimension; signed, because one bill's part of a shared key may be negative.
pub type Units = i64;

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecord.html
//# Quantity: valid range 0 to 2147483647
/// The most units that one usage record carries.
pub const RECORD_UNITS_MAX: Units = 2_147_483_647;

/// Why a number is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The text is no decimal number that 28 digits can hold.
    #[error("{0} is not an amount: write it as a decimal number of at most 28 digits")]
    NotADecimal(String),
    /// A unit price of nothing, or less.
    #[error("the unit price {0} is not above zero")]
    UnitPrice(Decimal),
    /// Units or a sum too large to count.
    #[error("the amount is too large to be counted in whole units")]
    TooLarge,
}

/// Reads a decimal from the number's own text, `1.5e3` included.
pub fn decimal(text: &str) -> Result<Decimal, AmountError> {
    let parsed = if text.contains(['e', 'E']) {
        Decimal::from_scientific(text)
    } else {
        Decimal::from_str(text)
    };
    parsed.map_err(|_| AmountError::NotADecimal(shorten(text)))
}

fn shorten(text: &str) -> String {
    const SHOWN_CHARACTERS: usize = 40;
    if text.chars().count() <= SHOWN_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARACTERS).chain("…".chars()).collect()
}

/// Adds up, or says that the sum is too large.
pub fn sum(amounts: impl IntoIterator<Item = Decimal>) -> Result<Decimal, AmountError> {
    amounts.into_iter().try_fold(Decimal::ZERO, |total, amount| {
        total.checked_add(amount).ok_or(AmountError::TooLarge)
    })
}

/// Money to whole units at `unit_price`: the one rounding rule, half away from zero, applied once to a cumulative total and never to a difference.
pub fn units(money: Decimal, unit_price: Decimal) -> Result<Units, AmountError> {
    if unit_price <= Decimal::ZERO {
        return Err(AmountError::UnitPrice(unit_price));
    }
    let exact = money.checked_div(unit_price).ok_or(AmountError::TooLarge)?;
    exact
        .round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero)
        .to_i64()
        .ok_or(AmountError::TooLarge)
}

/// What `units` cost at `unit_price`.
pub fn money(units: Units, unit_price: Decimal) -> Result<Decimal, AmountError> {
    Decimal::from(units)
        .checked_mul(unit_price)
        .ok_or(AmountError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_come_from_text() {
        let check = |text: &str, expect: Option<&str>| {
            assert_eq!(
                decimal(text).ok(),
                expect.map(|expect| Decimal::from_str(expect).unwrap()),
                "{text}"
            );
        };
        check("0.1", Some("0.1"));
        check("-10", Some("-10"));
        check("1.19e4", Some("11900"));
        check("12350.250000000002", Some("12350.250000000002"));
        check("NaN", None);
        check("1e400", None);
        check("1e-400", None);
        check("", None);
        check("99999999999999999999999999999999", None);
    }

    #[test]
    fn units_round_half_away_from_zero_once() {
        let check = |money: &str, price: &str, expect: Option<Units>| {
            assert_eq!(
                units(decimal(money).unwrap(), decimal(price).unwrap()).ok(),
                expect,
                "{money} at {price}"
            );
        };
        check("11900", "0.01", Some(1_190_000));
        check("0.005", "0.01", Some(1));
        check("-0.005", "0.01", Some(-1));
        check("0.0049999999", "0.01", Some(0));
        check("1", "3", Some(0));
        check("2", "3", Some(1));
        check("1", "0", None);
        check("1", "-0.01", None);
        check("9999999999999999999999999", "0.01", None);
    }
}
