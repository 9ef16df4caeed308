//! Transactions that a server accepts and that a view in SQL has trouble with.

use super::with_amount;

/// Unknown members that PostgreSQL's JSON functions reject, and others like them.
const EXTRAS: [&str; 12] = [
    r#""x":"\u0000""#,
    r#""\u0000":1"#,
    r#""x":"\ud800""#,
    r#""x":"\udc00\ud800""#,
    r#""x":"\ud800\ud800\udc00""#,
    r#""x":"\ud83d\ude00\udc00""#,
    r#""x":"\\\u0000 \\u0000""#,
    r#""x":1e999999"#,
    r#""x":-1e-999999999999,"x":[[[[{}]]]]"#,
    r#""x":"\ud800","y":{"z":["\u0000",1e999999]}"#,
    r#""x":"\ud83d\ude00""#,
    r#""x":"\\ud800\udc00""#,
];

/// Amounts as written, and what they are.
const AMOUNTS: [(&str, &str); 9] = [
    ("1500.50", "1500.50"),
    (r#"" \t1500.50\n""#, "1500.50"),
    (r#""\u00a01500.50\u3000""#, "1500.50"),
    (r#""\u0031.5\u00653""#, "1500"),
    ("1.5e3", "1500"),
    ("1E-28", "0.0000000000000000000000000001"),
    (
        "9999999999999999999999999999",
        "9999999999999999999999999999",
    ),
    ("1e0000000000000000000000000000000001", "10"),
    ("0.1", "0.1"),
];

/// What a view shows of each: columns, and their values.
pub(crate) const SHOWN: [(&str, &str); 4] = [
    ("source_account", "DE89370400440532013000"),
    ("destination_account", "GB29NWBK60161331926819"),
    ("currency", "EUR"),
    ("status", "PROCESSING"),
];

/// The id, the body and the amount of each.
pub(crate) fn transactions() -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (number, extra) in EXTRAS.iter().enumerate() {
        let id = format!("extra-{number:02}");
        let body = with_amount(&id, "12.50").replacen('{', &format!("{{{extra},"), 1);
        all.push((id, body, "12.50".to_owned()));
    }
    let marked = format!("\u{feff}{}", with_amount("marked", "12.50"));
    all.push(("marked".to_owned(), marked, "12.50".to_owned()));
    let zeros = format!("0.{}1e20001", "0".repeat(20_000));
    let amounts = AMOUNTS.into_iter().chain([(zeros.as_str(), "1")]);
    for (number, (written, amount)) in amounts.enumerate() {
        let id = format!("shown-{number:02}");
        let body = with_amount(&id, written);
        all.push((id, body, amount.to_owned()));
    }
    all
}
