use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

#[test]
fn amounts_are_kept_as_written() {
    for (text, kept) in [
        ("1500.50", "1500.50"),
        ("0.1", "0.1"),
        ("1500", "1500"),
        ("1500.0", "1500.0"),
        ("1.5e3", "1500"),
        ("1.5E+3", "1500"),
        ("1.5000e3", "1500.0"),
        ("15000e-1", "1500.0"),
        ("1e3", "1000"),
        ("1e-28", "0.0000000000000000000000000001"),
        ("1e27", "1000000000000000000000000000"),
        (
            "9999999999999999999999999999",
            "9999999999999999999999999999",
        ),
        (
            "0.1234567890123456789012345678",
            "0.1234567890123456789012345678",
        ),
        ("0.0000000000000000000000000000e0001", "error"),
        ("0.10e1", "1.0"),
        ("1e0", "1"),
        ("1e-0", "1"),
        ("1e00000000000000000000000000000000002", "100"),
    ] {
        let shown = text
            .parse::<Amount>()
            .map_or("error".to_owned(), |amount| amount.to_string());
        assert_eq!(shown, kept, "{text}");
    }
}

#[test]
fn invalid_amounts_are_rejected_with_a_reason() {
    use InvalidAmount::{NotANumber, NotPositive, TooManyDigits, TooManyPlaces};
    let digits_28 = "1234567890123456789012345678";
    let digits_40 = "1234567890123456789012345678901234567890";
    for (text, reason) in [
        ("", NotANumber),
        ("NaN", NotANumber),
        ("Infinity", NotANumber),
        ("-Infinity", NotANumber),
        ("inf", NotANumber),
        ("+1", NotANumber),
        ("1_000", NotANumber),
        ("1,000", NotANumber),
        ("1 000", NotANumber),
        ("0x10", NotANumber),
        (".5", NotANumber),
        ("5.", NotANumber),
        ("5.e1", NotANumber),
        ("007", NotANumber),
        ("00", NotANumber),
        ("1e", NotANumber),
        ("1e+", NotANumber),
        ("1e-+1", NotANumber),
        ("1e1.5", NotANumber),
        ("e5", NotANumber),
        ("-", NotANumber),
        ("--1", NotANumber),
        (" 1", NotANumber),
        ("1\0", NotANumber),
        ("12.5€", NotANumber),
        ("١٢", NotANumber),
        ("0", NotPositive),
        ("-0", NotPositive),
        ("0.000", NotPositive),
        ("0e999999999", NotPositive),
        ("-0.0e-999999999", NotPositive),
        ("-5", NotPositive),
        ("-1e999999999", NotPositive),
        ("1e999999999", TooManyDigits),
        ("1e99999999999999999999999999999999", TooManyDigits),
        ("1e28", TooManyDigits),
        (digits_40, TooManyDigits),
        (&format!("{digits_28}9"), TooManyDigits),
        (&format!("{digits_28}.0"), TooManyDigits),
        ("1.0000000000000000000000000000", TooManyDigits),
        ("1e-29", TooManyPlaces),
        ("1e-400", TooManyPlaces),
        ("1e-99999999999999999999999999999999", TooManyPlaces),
        ("0.00000000000000000000000000001", TooManyPlaces),
    ] {
        assert_eq!(text.parse::<Amount>(), Err(reason), "{text}");
    }
}

#[test]
fn amount_of_a_megabyte_of_digits_is_rejected() {
    let ones = "1".repeat(1 << 20);
    let zeros = "0".repeat(1 << 20);
    for (text, reason) in [
        (ones.clone(), InvalidAmount::TooManyDigits),
        (format!("0.{zeros}1"), InvalidAmount::TooManyPlaces),
        (format!("0.{zeros}"), InvalidAmount::NotPositive),
        (format!("1e{ones}"), InvalidAmount::TooManyDigits),
        (format!("1e-{ones}"), InvalidAmount::TooManyPlaces),
    ] {
        assert_eq!(text.parse::<Amount>(), Err(reason));
    }
}

/// Whatever digits, point and exponent: the text comes back digit by digit, and every other way
/// to write the value is the same amount with the same canonical bytes.
#[test]
fn every_spelling_of_a_value_is_the_same_amount() {
    const SEED: u64 = 0x5eed;
    let mut random = StdRng::seed_from_u64(SEED);
    for round in 0..20_000 {
        let len = random.random_range(1..=28_usize);
        let mut digits: String = (0..len)
            .map(|_| char::from(random.random_range(b'0'..=b'9')))
            .collect();
        digits.replace_range(..1, &random.random_range(1..=9_u8).to_string());
        let places = random.random_range(0..=28_usize);
        let plain = with_point(&digits, places);
        let context = format!("seed {SEED:#x}, round {round}: {plain}");

        let amount: Amount = plain.parse().expect(&context);
        assert_eq!(amount.to_string(), plain, "{context}");

        // Not so low that the zeros it asks for count as digits too many.
        let (len_i64, places_i64) = (i64::try_from(len).unwrap(), i64::try_from(places).unwrap());
        let lowest = (len_i64 - places_i64 - 28).clamp(-28, 0);
        let exponent = random.random_range(lowest..=40);
        let point = places_i64 + exponent;
        let shifted = if point >= 0 {
            with_point(&digits, usize::try_from(point).unwrap())
        } else {
            format!(
                "{digits}{}",
                "0".repeat(point.unsigned_abs().try_into().unwrap())
            )
        };
        let letter = ["e", "E"][random.random_range(0..2)];
        let sign = if exponent >= 0 {
            ["", "+"][random.random_range(0..2)]
        } else {
            ""
        };
        let spelled: Amount = match format!("{shifted}{letter}{sign}{exponent}").parse() {
            Ok(amount) => amount,
            Err(error) => panic!("{context}: {shifted}{letter}{sign}{exponent} {error}"),
        };
        assert_eq!(spelled, amount, "{context}");
        assert_eq!(
            spelled.canonical_bytes(),
            amount.canonical_bytes(),
            "{context}"
        );

        if len < 28 && places < 28 {
            let padded = with_point(&format!("{digits}0"), places + 1);
            let padded: Amount = padded.parse().expect(&context);
            assert_eq!(padded.canonical_bytes(), amount.canonical_bytes());
        }
        let mut other = digits.clone();
        let last = other.pop().unwrap();
        other.push(if last == '9' { '1' } else { '9' });
        if other != digits {
            let other: Amount = with_point(&other, places).parse().expect(&context);
            assert_ne!(other.canonical_bytes(), amount.canonical_bytes());
        }
    }
}

/// `digits` with `places` of them behind the point.
fn with_point(digits: &str, places: usize) -> String {
    if places == 0 {
        return digits.to_owned();
    }
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    format!("{whole}.{fraction}")
}
