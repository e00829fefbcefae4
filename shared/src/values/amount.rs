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

/// Reads a decimal from the number's own text, `1.5e3` included. Of `1.7763568394002505E-15`, which a sum of doubles leaves, 28 decimal places count.
pub fn decimal(text: &str) -> Result<Decimal, AmountError> {
    let parsed = if text.contains(['e', 'E']) {
        Decimal::from_scientific_lossy(text)
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
        check("1.7763568394002505E-15", Some("0.0000000000000017763568394003"));
        check("-2.5e-28", Some("-0.0000000000000000000000000003"));
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

    #[test]
    fn an_amount_that_cannot_be_read_is_shown_as_far_as_a_line_goes() {
        let check = |text: &str, shown: &str| {
            let error = decimal(text).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("{shown} is not an amount: write it as a decimal number of at most 28 digits")
            );
        };
        let digits = "1234567890";
        check("12,50", "12,50");
        check(&digits.repeat(4), &digits.repeat(4));
        check(&format!("{}1", digits.repeat(4)), &format!("{}…", digits.repeat(4)));
    }

    #[test]
    fn amounts_add_up_or_are_too_large() {
        let largest = Decimal::MAX.to_string();
        let check = |amounts: &[&str], expect: Option<&str>| {
            let sum = sum(amounts.iter().map(|text| decimal(text).unwrap()));
            assert_eq!(sum, expect.map_or(Err(AmountError::TooLarge), decimal), "{amounts:?}");
        };
        check(&[], Some("0"));
        check(&["1.01", "-0.07", "2.03"], Some("2.97"));
        check(&[&largest, "0.4"], Some(&largest));
        check(&[&largest, "1"], None);
    }

    #[test]
    fn units_cost_their_price() {
        let check = |units: Units, price: &str, expect: Option<&str>| {
            assert_eq!(
                money(units, decimal(price).unwrap()),
                expect.map_or(Err(AmountError::TooLarge), decimal),
                "{units} at {price}"
            );
        };
        check(101, "0.01", Some("1.01"));
        check(-7, "0.5", Some("-3.5"));
        check(0, "0.01", Some("0"));
        check(Units::MAX, "99999999999", None);
    }

    #[test]
    fn why_an_amount_cannot_be_counted_is_told() {
        let check = |money: &str, price: &str, expect: &str| {
            let error = units(decimal(money).unwrap(), decimal(price).unwrap()).unwrap_err();
            assert_eq!(error.to_string(), expect, "{money} at {price}");
        };
        check("1", "0", "the unit price 0 is not above zero");
        check("1", "-0.01", "the unit price -0.01 is not above zero");
        check(
            "92233720368547758.08",
            "0.01",
            "the amount is too large to be counted in whole units",
        );
        assert_eq!(
            units(decimal("92233720368547758.07").unwrap(), decimal("0.01").unwrap()),
            Ok(Units::MAX)
        );
    }
}
