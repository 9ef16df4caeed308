//! Decides which bodies are valid transactions, without the code under test.

use serde_json::value::RawValue;
use webhook_server::transaction::MAX_NESTING;

use super::members::{Members, depth};
use crate::decimal::Decimal;

/// Returns whether `body` is a transaction, or `None` if serde cannot tell.
pub(crate) fn is_transaction(body: &[u8]) -> Option<bool> {
    let body = super::text_of(body);
    let Ok(text) = str::from_utf8(body) else {
        return Some(false);
    };
    if serde_json::from_str::<&RawValue>(text).is_err() {
        return Some(false);
    }
    // The cause may be a name that is not a text, or nesting that is too deep.
    let members: Members<'_> = serde_json::from_str(text).ok()?;
    let holds = |name: &str, check: fn(&str) -> bool| {
        let Some(raw) = members.the_one(name) else {
            return false;
        };
        let text: String = match serde_json::from_str(raw) {
            Ok(text) => text,
            Err(_) if name == "amount" => raw.to_owned(),
            Err(_) => return false,
        };
        check(text.trim())
    };
    let is_valid = holds("transaction_id", is_name)
        && holds("source_account", is_name)
        && holds("destination_account", is_name)
        && holds("amount", is_amount)
        && holds("currency", is_currency);
    Some(is_valid && depth(body) <= MAX_NESTING)
}

fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn is_amount(text: &str) -> bool {
    let is_number = text.starts_with(|it: char| it.is_ascii_digit())
        && serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let is_zero = mantissa.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if !is_number || is_zero || exponent.parse::<i64>().is_err() {
        return false;
    }
    // Digits are counted as written, including zeros at the end.
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let written = digits.trim_start_matches('0').len();
    let Decimal { exponent, digits } = Decimal::read(text);
    // The length fits.
    let length = |length: usize| i128::try_from(length).unwrap_or(i128::MAX);
    let last = exponent + length(digits.len()) - length(written);
    length(written) + last.max(0) <= 28 && last >= -28
}
