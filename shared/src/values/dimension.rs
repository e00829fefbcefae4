//! A Marketplace dimension as external mappings and configurations write it: `<productCode>-<dimensionKey>`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecord.html
//# Dimension: length 1 to 255
const KEY_CHARACTERS_MAX: usize = 255;
//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_BatchMeterUsage.html
//# ProductCode: length 1 to 255
const PRODUCT_CODE_CHARACTERS_MAX: usize = 255;

/// One thing that a listing charges for: the product that AWS lists, and the key of the dimension within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MarketplaceDimension {
    product_code: String,
    key: String,
}

/// Why a text is no dimension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DimensionError {
    /// Nothing parts the product code from the dimension's key.
    #[error("it has no hyphen; a dimension is written <productCode>-<dimensionKey>")]
    NoHyphen,
    /// Nothing before the first hyphen.
    #[error("nothing stands before its first hyphen; a dimension is written <productCode>-<dimensionKey>")]
    NoProductCode,
    /// Nothing after the first hyphen.
    #[error("nothing stands after its first hyphen; a dimension is written <productCode>-<dimensionKey>")]
    NoKey,
    /// A product code that AWS never makes.
    #[error("its product code holds {0:?}; AWS's product codes are letters and digits")]
    ProductCode(char),
    /// A product code that AWS would refuse.
    #[error("its product code is longer than {PRODUCT_CODE_CHARACTERS_MAX} characters")]
    ProductCodeTooLong,
    /// A key that AWS would refuse.
    #[error("its dimension key is longer than {KEY_CHARACTERS_MAX} characters")]
    KeyTooLong,
    /// A key that no listing can have.
    #[error("its dimension key holds the control character {0:?}")]
    Key(char),
}

impl MarketplaceDimension {
    /// AWS's product code: letters and digits.
    pub fn product_code(&self) -> &str {
        &self.product_code
    }

    /// The key of the dimension in the listing, as `BatchMeterUsage` takes it.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl FromStr for MarketplaceDimension {
    type Err = DimensionError;

    /// Splits at the first hyphen: a product code has none, a dimension's key may.
    fn from_str(text: &str) -> Result<MarketplaceDimension, DimensionError> {
        let (product_code, key) = text.split_once('-').ok_or(DimensionError::NoHyphen)?;
        if product_code.is_empty() {
            return Err(DimensionError::NoProductCode);
        }
        if key.is_empty() {
            return Err(DimensionError::NoKey);
        }
        if let Some(character) = product_code
            .chars()
            .find(|character| !character.is_ascii_alphanumeric())
        {
            return Err(DimensionError::ProductCode(character));
        }
        if product_code.chars().count() > PRODUCT_CODE_CHARACTERS_MAX {
            return Err(DimensionError::ProductCodeTooLong);
        }
        if key.chars().count() > KEY_CHARACTERS_MAX {
            return Err(DimensionError::KeyTooLong);
        }
        if let Some(character) = key.chars().find(|character| character.is_control()) {
            return Err(DimensionError::Key(character));
        }
        Ok(MarketplaceDimension {
            product_code: product_code.to_owned(),
            key: key.to_owned(),
        })
    }
}

impl fmt::Display for MarketplaceDimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.product_code, self.key)
    }
}

impl TryFrom<String> for MarketplaceDimension {
    type Error = DimensionError;
    fn try_from(text: String) -> Result<MarketplaceDimension, DimensionError> {
        text.parse()
    }
}

impl From<MarketplaceDimension> for String {
    fn from(dimension: MarketplaceDimension) -> String {
        dimension.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dimension_is_split_at_the_first_hyphen() {
        let check = |text: &str, expect: Result<(&str, &str), DimensionError>| {
            let parsed = text.parse::<MarketplaceDimension>();
            if let Ok(dimension) = &parsed {
                assert_eq!(dimension.to_string(), text);
            }
            let parts = parsed
                .as_ref()
                .map(|dimension| (dimension.product_code(), dimension.key()));
            assert_eq!(parts.map_err(Clone::clone), expect, "{text}");
        };
        check(
            "78qogxeqwt7zyevfefsw6q48i-measurements",
            Ok(("78qogxeqwt7zyevfefsw6q48i", "measurements")),
        );
        check("abc-a-b-c", Ok(("abc", "a-b-c")));
        check("abc--x", Ok(("abc", "-x")));
        check("abc", Err(DimensionError::NoHyphen));
        check("", Err(DimensionError::NoHyphen));
        check("-x", Err(DimensionError::NoProductCode));
        check("abc-", Err(DimensionError::NoKey));
        check("a_b-x", Err(DimensionError::ProductCode('_')));
        check(" abc-x", Err(DimensionError::ProductCode(' ')));
        check(
            &format!("{}-x", "p".repeat(256)),
            Err(DimensionError::ProductCodeTooLong),
        );
        check(&format!("p-{}", "k".repeat(256)), Err(DimensionError::KeyTooLong));
        check("p-a\nb", Err(DimensionError::Key('\n')));
        let longest = format!("{}-{}", "p".repeat(255), "k".repeat(255));
        assert!(longest.parse::<MarketplaceDimension>().is_ok());
    }
}
