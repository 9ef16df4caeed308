//! An exact, positive decimal.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;

/// How many significant digits an amount may have.
pub const MAX_SIGNIFICANT_DIGITS: u32 = 28;

/// How many digits an amount may have after its point.
pub const MAX_DECIMAL_PLACES: u32 = 28;

/// An amount of money: greater than 0, exact, with at most [`MAX_SIGNIFICANT_DIGITS`] digits and
/// [`MAX_DECIMAL_PLACES`] of them after the point.
///
/// The syntax is that of a JSON number (RFC 8259, section 6), also inside a string: `12.50` and `1e3`, but
/// not `+1`, `007`, `.5`, `5.`, `1_000`, `0x10` or `NaN`. Digits are counted after the exponent is applied,
/// without leading zeros: `1500.50` has six, `1e3` has four.
///
/// `Display` writes it back with the digits it came with: `1500.50` as `1500.50`, `1.5e3` as
/// `1500`. Two amounts are equal when their values are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(Decimal);

impl Amount {
    /// The amount as a number for calculations.
    pub const fn to_decimal(self) -> Decimal {
        self.0
    }

    /// The same bytes for the same value: coefficient and scale, trailing zeros removed.
    pub(super) fn canonical_bytes(self) -> [u8; 20] {
        let normal = self.0.normalize();
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&normal.mantissa().to_be_bytes());
        bytes[16..].copy_from_slice(&normal.scale().to_be_bytes());
        bytes
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;

    /// Reads an amount in time linear in its text and without allocating, whatever its digits and
    /// exponent.
    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let number = Number::scan(text.as_bytes()).ok_or(InvalidAmount::NotANumber)?;
        if number.negative || number.digits == 0 {
            return Err(InvalidAmount::NotPositive);
        }
        let places = number.places.saturating_sub(number.exponent);
        let digits = number.digits.saturating_add(places.saturating_neg().max(0));
        if digits > i64::from(MAX_SIGNIFICANT_DIGITS) {
            return Err(InvalidAmount::TooManyDigits);
        }
        if places > i64::from(MAX_DECIMAL_PLACES) {
            return Err(InvalidAmount::TooManyPlaces);
        }
        // Both conversions hold: at most 28 digits are below 2^96, and so is the power, whose
        // exponent is below 28.
        let shift = u32::try_from(-places).unwrap_or(0);
        let scale = u32::try_from(places).unwrap_or(0);
        let coefficient = number.coefficient * 10_i128.pow(shift);
        Decimal::try_from_i128_with_scale(coefficient, scale)
            .map(Self)
            .map_err(|_| InvalidAmount::TooManyDigits)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAmount {
    /// It is not written as a number.
    #[error("must be a number or a decimal string")]
    NotANumber,
    /// It is zero or negative.
    #[error("must be greater than 0")]
    NotPositive,
    /// It has more than [`MAX_SIGNIFICANT_DIGITS`].
    #[error("must have at most {MAX_SIGNIFICANT_DIGITS} significant digits")]
    TooManyDigits,
    /// It has more than [`MAX_DECIMAL_PLACES`].
    #[error("must have at most {MAX_DECIMAL_PLACES} decimal places")]
    TooManyPlaces,
}

/// The parts of a number: coefficient / 10^places * 10^exponent.
#[derive(Default)]
struct Number {
    negative: bool,
    /// The first [`MAX_SIGNIFICANT_DIGITS`] digits.
    coefficient: i128,
    /// How many digits follow the zeros in front; 0 for zero.
    digits: i64,
    /// How many of them follow the point.
    places: i64,
    exponent: i64,
}

impl Number {
    /// Follows the grammar of RFC 8259, section 6.
    fn scan(mut text: &[u8]) -> Option<Self> {
        let mut number = Self {
            negative: skip(&mut text, b"-"),
            ..Self::default()
        };
        if !skip(&mut text, b"0") {
            number.coefficient_digits(&mut text)?;
        }
        if skip(&mut text, b".") {
            number.places = number.coefficient_digits(&mut text)?;
        }
        if skip(&mut text, b"eE") {
            let negative = skip(&mut text, b"-");
            if !negative {
                skip(&mut text, b"+");
            }
            let mut exponent = 0_i64;
            digits(&mut text, |digit| {
                exponent = exponent.saturating_mul(10).saturating_add(i64::from(digit));
            })?;
            number.exponent = if negative { -exponent } else { exponent };
        }
        text.is_empty().then_some(number)
    }

    fn coefficient_digits(&mut self, text: &mut &[u8]) -> Option<i64> {
        digits(text, |digit| {
            if self.digits > 0 || digit > 0 {
                if self.digits < i64::from(MAX_SIGNIFICANT_DIGITS) {
                    self.coefficient = self.coefficient * 10 + i128::from(digit);
                }
                self.digits += 1;
            }
        })
    }
}

/// Removes the first byte if it is one of `any`. Returns whether it was.
fn skip(text: &mut &[u8], any: &[u8]) -> bool {
    match text.split_first() {
        Some((first, rest)) if any.contains(first) => {
            *text = rest;
            true
        }
        _ => false,
    }
}

/// Removes the digits at the front, at least one. Returns how many.
fn digits(text: &mut &[u8], mut each: impl FnMut(u8)) -> Option<i64> {
    let mut count = 0;
    while let Some((digit @ b'0'..=b'9', rest)) = text.split_first() {
        each(digit - b'0');
        count += 1;
        *text = rest;
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests;
