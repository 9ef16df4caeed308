//! Compares numbers by their digits, without the code under test.

/// A number greater than 0: its digits from the first to the last that is not 0, and the power of
/// ten of the last digit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) digits: String,
    pub(crate) exponent: i128,
}

impl Decimal {
    /// Returns the value of `text`, a JSON number. Its exponent is assumed to be one that an amount
    /// can have.
    pub(crate) fn read(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i128 = exponent.parse().expect("a small exponent");
        Self::new(
            &format!("{whole}{fraction}"),
            exponent - i128::try_from(fraction.len()).expect("a length fits"),
        )
    }

    /// Returns `digits` times ten to the power of `exponent`.
    pub(crate) fn new(digits: &str, exponent: i128) -> Self {
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        let zeros = i128::try_from(digits.len() - significant.len()).expect("a length fits");
        Self {
            digits: significant.to_owned(),
            exponent: exponent + zeros,
        }
    }
}
