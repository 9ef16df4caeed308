//! A transaction's five fields, normalised.

use webhook_server::transaction::{MAX_DECIMAL_PLACES, MAX_NAME_CHARS, MAX_SIGNIFICANT_DIGITS};

use crate::decimal::Decimal;

/// The fields that are compared between deliveries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) id: String,
    pub(super) source_account: String,
    pub(super) destination_account: String,
    pub(super) amount: Decimal,
    pub(super) currency: String,
}

impl Content {
    /// Returns valid content, as similar to `lines` as possible.
    pub(super) fn of_lines(lines: &[String; 5]) -> Self {
        let [id, source_account, destination_account, amount, currency] = lines;
        Self {
            id: name(id),
            source_account: name(source_account),
            destination_account: name(destination_account),
            amount: amount_of(amount),
            currency: currency_of(currency),
        }
    }
}

fn name(line: &str) -> String {
    let line: String = line.chars().filter(|it| !it.is_control()).collect();
    let name: String = line.trim().chars().take(MAX_NAME_CHARS).collect();
    match name.trim_end() {
        "" => "x".to_owned(),
        name => name.to_owned(),
    }
}

/// Returns the digits, point and exponent of `line`, cut to what an amount may have.
fn amount_of(line: &str) -> Decimal {
    let (mantissa, exponent) = line.split_once(['e', 'E']).unwrap_or((line, ""));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| -> String { text.chars().filter(char::is_ascii_digit).collect() };
    let (whole, fraction) = (digits(whole), digits(fraction));
    let places = i128::try_from(fraction.len()).expect("a length fits");
    let exponent = i128::from(exponent.parse::<i8>().unwrap_or(0));
    let amount = Decimal::new(&format!("{whole}{fraction}"), exponent - places);

    let limit = MAX_SIGNIFICANT_DIGITS as usize;
    let cut = &amount.digits[..amount.digits.len().min(limit)];
    let cut = if cut.is_empty() { "1" } else { cut };
    let most_zeros = i128::try_from(limit - cut.len()).expect("a length fits");
    let exponent = amount
        .exponent
        .clamp(-i128::from(MAX_DECIMAL_PLACES), most_zeros);
    // `Decimal::new` drops the zeros that the cut left at the end, and raises the exponent for
    // each.
    Decimal::new(cut, exponent)
}

fn currency_of(line: &str) -> String {
    let letters = line.chars().filter(char::is_ascii_alphabetic);
    let padded = letters.chain(['X', 'X', 'X']).take(3);
    padded.map(|letter| letter.to_ascii_uppercase()).collect()
}
