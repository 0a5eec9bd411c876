//! Amounts of money: whole billionths of a unit, never a fraction in binary.
//!
//! Invariants: a price reads as it is written and writes as it was read; every line of a bill is rounded up once, and sums
//! are sums of lines, so the parts of a bill add up to its total to the last digit. Nothing wraps round: what does not fit
//! stays at the largest amount there is, which is more than all the money in the world.

use std::fmt;
use std::iter::Sum;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NANOS: u128 = 1_000_000_000;
const DIGITS: usize = 9;

/// An amount, of whatever currency the prices are in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    nanos: u128,
}

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0 };

    /// An amount of billionths.
    pub const fn from_nanos(nanos: u128) -> Self {
        Self { nanos }
    }

    /// In billionths.
    pub const fn nanos(self) -> u128 {
        self.nanos
    }

    /// What `number` cost where `per` of them cost this, rounded up.
    #[must_use]
    pub fn times(self, number: u128, per: u128) -> Self {
        let per = per.max(1);
        let whole = number.checked_div(per).unwrap_or(0);
        let rest = number.checked_rem(per).unwrap_or(0);
        let of_rest = rest.saturating_mul(self.nanos).div_ceil(per);
        Self {
            nanos: whole.saturating_mul(self.nanos).saturating_add(of_rest),
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_add(other.nanos),
        }
    }

    /// What is left; nothing where the other is more.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(other.nanos),
        }
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

/// No amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an amount is written as 0.023, with at most nine digits after the point, found=`{found}`")]
pub struct MoneyError {
    found: String,
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let found = || MoneyError {
            found: text.chars().take(40).collect(),
        };
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(found()),
            None => (text, ""),
        };
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_one_spelling = whole == "0" || !whole.starts_with('0');
        if whole.is_empty()
            || whole.len() > 12
            || fraction.len() > DIGITS
            || !is_one_spelling
            || !is_number(whole)
            || !is_number(fraction)
        {
            return Err(found());
        }
        let whole: u128 = whole.parse().map_err(|_| found())?;
        let fraction: u128 = format!("{fraction:0<DIGITS$}")
            .parse()
            .map_err(|_| found())?;
        let nanos = whole.saturating_mul(NANOS).saturating_add(fraction);
        Ok(Self { nanos })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.nanos.checked_div(NANOS).unwrap_or(0);
        let fraction = self.nanos.checked_rem(NANOS).unwrap_or(0);
        f.pad(&format!("{whole}.{fraction:0DIGITS$}"))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_as_they_are_written() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("0.00099", Some(990_000)),
            ("0.023", Some(23_000_000)),
            ("12.000000001", Some(12_000_000_001)),
            ("", None),
            (".5", None),
            ("5.", None),
            ("01", None),
            ("-1", None),
            ("1e3", None),
            ("1,5", None),
            ("0.0000000001", None),
            ("9999999999999", None),
        ] {
            let read: Option<Money> = text.parse().ok();
            assert_eq!(read.map(Money::nanos), nanos, "{text}");
        }
        assert_eq!(
            Money::from_nanos(12_000_000_001).to_string(),
            "12.000000001"
        );
    }

    proptest! {
        #[test]
        fn lines_are_exact_and_never_wrap(
            price in 0..1_000_000_000_000u128,
            number in any::<u128>(),
            per in 1..40_000_000_000u128,
        ) {
            let cost = Money::from_nanos(price).times(number, per);
            prop_assert_eq!(cost.to_string().parse::<Money>().ok().is_none_or(|read| read == cost), true);
            if let Some(product) = number.checked_mul(price) {
                prop_assert_eq!(cost.nanos(), product.div_ceil(per));
            }
            let more = Money::from_nanos(price).times(number.saturating_add(1), per);
            prop_assert!(more >= cost);
        }
    }
}
