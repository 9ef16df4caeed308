//! Writes one content as JSON (RFC 8259) in many ways.

use std::fmt::Write as _;

use arbitrary::Unstructured;
use webhook_server::transaction::{MAX_DECIMAL_PLACES, MAX_SIGNIFICANT_DIGITS};

use super::content::Content;
use crate::decimal::Decimal;

/// White space as Unicode defines it: all control characters among it, which must be trimmed before
/// control characters are refused, and some of the rest.
const WHITE_SPACE: [char; 9] = [
    ' ', '\t', '\n', '\u{b}', '\r', '\u{85}', '\u{a0}', '\u{2028}', '\u{3000}',
];

/// Members that are ignored, each hard to parse in its own way.
const UNKNOWN: [&str; 10] = [
    r#""note": null"#,
    r#""": [[], {}, "]}", "\""]"#,
    r#""Amount": 1e999999999"#,
    r#""amount ": -1"#,
    r#""CURRENCY": "\ud800""#,
    r#""\ud800": "\u0000""#,
    r#""transaction_id\u0000": "tx-2""#,
    r#""nested": {"amount": 7, "amount": 8, "transaction_id": "tx-2"}"#,
    r#""note": "a\"amount\": 3""#,
    r#""n": 0.10000000000000000000000000000000001"#,
];

/// Writes `content` as `choices` decide, or in the plainest way when no choices are left.
pub(super) fn json(content: &Content, choices: &mut Unstructured<'_>) -> String {
    let mut members = vec![
        ("transaction_id", padded_string(&content.id, choices)),
        (
            "source_account",
            padded_string(&content.source_account, choices),
        ),
        (
            "destination_account",
            padded_string(&content.destination_account, choices),
        ),
        ("amount", amount(&content.amount, choices)),
        ("currency", currency(&content.currency, choices)),
    ];
    let mut written = Vec::new();
    while !members.is_empty() {
        if pick(choices, 4) == 3 {
            written.push(UNKNOWN[pick(choices, UNKNOWN.len())].to_owned());
        }
        let (name, value) = members.remove(pick(choices, members.len()));
        let name = string(name, choices);
        let (before, after) = (gap(choices), gap(choices));
        written.push(format!("{name}{before}:{after}{value}"));
    }
    if pick(choices, 4) == 3 {
        written.push(UNKNOWN[pick(choices, UNKNOWN.len())].to_owned());
    }
    let mut json = format!("{}{{{}", gap(choices), gap(choices));
    for (position, member) in written.iter().enumerate() {
        if position > 0 {
            json.push(',');
            json.push_str(gap(choices));
        }
        json.push_str(member);
        json.push_str(gap(choices));
    }
    json.push('}');
    json.push_str(gap(choices));
    json
}

/// Returns a number less than `below`, or 0 when no choices are left.
fn pick(choices: &mut Unstructured<'_>, below: usize) -> usize {
    choices.int_in_range(0..=below - 1).unwrap_or(0)
}

/// Returns white space between tokens.
fn gap(choices: &mut Unstructured<'_>) -> &'static str {
    ["", " ", "\n", "\t", "\r\n", "  \t"][pick(choices, 6)]
}

fn padded_string(text: &str, choices: &mut Unstructured<'_>) -> String {
    let padding = |choices: &mut Unstructured<'_>| -> String {
        (0..pick(choices, 3))
            .map(|_| WHITE_SPACE[pick(choices, WHITE_SPACE.len())])
            .collect()
    };
    let padded = format!("{}{text}{}", padding(choices), padding(choices));
    string(&padded, choices)
}

/// Returns a JSON string in which each character is written plainly or escaped.
fn string(text: &str, choices: &mut Unstructured<'_>) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        let short = match character {
            '"' | '\\' | '/' => Some(character),
            '\u{8}' => Some('b'),
            '\t' => Some('t'),
            '\n' => Some('n'),
            '\u{c}' => Some('f'),
            '\r' => Some('r'),
            _ => None,
        };
        let must_be_escaped = matches!(character, '"' | '\\' | '\0'..='\u{1f}');
        match (pick(choices, 4), short) {
            (2, Some(short)) => json.extend(['\\', short]),
            (3, _) => unicode_escape(&mut json, character, true),
            (2, None) => unicode_escape(&mut json, character, false),
            _ if must_be_escaped => unicode_escape(&mut json, character, false),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

fn unicode_escape(json: &mut String, character: char, upper_case: bool) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let written = if upper_case {
            write!(json, "\\u{unit:04X}")
        } else {
            write!(json, "\\u{unit:04x}")
        };
        written.expect("a string takes any text");
    }
}

/// Returns a number or a string with zeros at its end, its point anywhere, and with or without an
/// exponent, but within the limits of digits and places.
fn amount(amount: &Decimal, choices: &mut Unstructured<'_>) -> String {
    let Decimal { digits, exponent } = amount;
    let length = i128::try_from(digits.len()).expect("a length fits");
    let room_for_digits = i128::from(MAX_SIGNIFICANT_DIGITS) - length;
    let room_for_places = i128::from(MAX_DECIMAL_PLACES) + exponent;
    let zeros = room_for_digits.min(room_for_places).max(0);
    let zeros = pick(choices, usize::try_from(zeros).expect("28 at most") + 1);
    let digits = format!("{digits}{}", "0".repeat(zeros));
    let exponent = exponent - i128::try_from(zeros).expect("28 at most");

    // Omits the exponent if possible, otherwise puts the point anywhere.
    let plain_places = usize::try_from(-exponent).ok();
    let places = match (pick(choices, 3), plain_places) {
        (0, Some(places)) => places,
        _ => pick(choices, digits.len() + 4),
    };
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let mut number = whole.to_owned();
    if !fraction.is_empty() {
        number = format!("{whole}.{fraction}");
    }
    let exponent = exponent + i128::try_from(places).expect("a length fits");
    if exponent != 0 || pick(choices, 4) == 3 {
        let letter = ["e", "E"][pick(choices, 2)];
        let plus = ["", "+"][pick(choices, 2)];
        let zeros = ["", "0", "000"][pick(choices, 3)];
        let sign = if exponent < 0 { "-" } else { plus };
        number = format!("{number}{letter}{sign}{zeros}{}", exponent.abs());
    }
    match pick(choices, 2) {
        0 => number,
        _ => padded_string(&number, choices),
    }
}

fn currency(code: &str, choices: &mut Unstructured<'_>) -> String {
    let letters = code.chars().map(|letter| match pick(choices, 2) {
        0 => letter,
        _ => letter.to_ascii_lowercase(),
    });
    let code: String = letters.collect();
    padded_string(&code, choices)
}
