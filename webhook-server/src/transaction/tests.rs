use super::*;

const GOOD: [(&str, &str); 5] = [
    ("transaction_id", r#""tx-1""#),
    ("source_account", r#""ACC-100""#),
    ("destination_account", r#""ACC-200""#),
    ("amount", "1500.50"),
    ("currency", r#""EUR""#),
];

/// A good body, but for one member.
fn with(name: &str, value: &str) -> String {
    body(GOOD.map(|(member, good)| (member, if member == name { value } else { good })))
}

fn body<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, value)| format!("\"{name}\": {value}"))
        .collect();
    format!("{{{}}}", members.join(", "))
}

fn decode(body: impl AsRef<[u8]>) -> Result<Transaction, InvalidPayload> {
    Transaction::from_json(body.as_ref())
}

fn good(body: impl AsRef<[u8]>) -> Transaction {
    match decode(&body) {
        Ok(transaction) => transaction,
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(body.as_ref())),
    }
}

/// The field errors of `body` as `pointer detail`.
fn errors(body: impl AsRef<[u8]>) -> Vec<String> {
    match decode(body) {
        Err(InvalidPayload::Fields(errors)) => errors
            .into_iter()
            .map(|error| format!("{} {}", error.pointer, error.detail))
            .collect(),
        other => panic!("not field errors: {other:?}"),
    }
}

fn malformed(body: impl AsRef<[u8]>) -> String {
    match decode(&body) {
        Err(InvalidPayload::Malformed { detail }) => detail,
        other => panic!(
            "not malformed: {other:?} for {}",
            String::from_utf8_lossy(body.as_ref())
        ),
    }
}

#[test]
fn a_good_body_is_read() {
    let transaction = good(body(GOOD));
    assert_eq!(transaction.id(), "tx-1");
    assert_eq!(transaction.id(), "tx-1");
    assert_eq!(transaction.source_account().as_str(), "ACC-100");
    assert_eq!(transaction.destination_account().as_str(), "ACC-200");
    assert_eq!(transaction.amount().to_string(), "1500.50");
    assert_eq!(transaction.currency().as_str(), "EUR");
}

#[test]
fn strings_are_trimmed_and_the_currency_is_upper_cased() {
    let transaction = good(body([
        ("currency", r#"" eur\n""#),
        ("amount", r#"" 12.50\t""#),
        ("destination_account", r#""\u3000B B\u00a0""#),
        ("source_account", r#""  A""#),
        (
            "transaction_id",
            r#""\r\n tx \u0000""#.replace("\\u0000", "").as_str(),
        ),
    ]));
    assert_eq!(transaction.id(), "tx");
    assert_eq!(transaction.source_account().as_str(), "A");
    assert_eq!(transaction.destination_account().as_str(), "B B");
    assert_eq!(transaction.amount().to_string(), "12.50");
    assert_eq!(transaction.currency().as_str(), "EUR");
}

#[test]
fn names_keep_every_character_that_is_not_a_control() {
    for (written, read) in [
        (r#""a/b%2F?c""#, "a/b%2F?c"),
        (r#""\"\\\/""#, "\"\\/"),
        (r#""caf\u00e9""#, "café"),
        ("\"café 漢字 \u{1f4a9}\"", "café 漢字 \u{1f4a9}"),
        (r#""\ud83d\udca9""#, "\u{1f4a9}"),
        (r#""\u200b""#, "\u{200b}"),
        (r#""\ufeffx""#, "\u{feff}x"),
        (r#""\uffff""#, "\u{ffff}"),
    ] {
        assert_eq!(good(with("transaction_id", written)).id(), read);
    }
}

#[test]
fn names_have_1_to_128_characters() {
    for name in ["transaction_id", "source_account", "destination_account"] {
        let wrong = vec![format!("/{name} must have 1 to 128 characters")];
        for (characters, fits) in [(0, false), (1, true), (128, true), (129, false)] {
            for character in ["x", "é", "\u{1f4a9}"] {
                let body = with(name, &format!("\" {} \"", character.repeat(characters)));
                if fits {
                    good(body);
                } else {
                    assert_eq!(errors(body), wrong);
                }
            }
        }
    }
}

#[test]
fn names_hold_no_control_characters() {
    for escape in ["\\u0000", "\\n", "\\u001f", "\\u007f", "\\u0085", "\\u009f"] {
        for name in ["transaction_id", "source_account", "destination_account"] {
            assert_eq!(
                errors(with(name, &format!("\"a{escape}b\""))),
                [format!("/{name} must not contain control characters")],
                "{escape}"
            );
        }
    }
    // DEL and the C1 controls may stand in a JSON string unescaped.
    for control in ["\u{7f}", "\u{9f}"] {
        assert_eq!(
            errors(with("transaction_id", &format!("\"a{control}b\""))),
            ["/transaction_id must not contain control characters"]
        );
    }
}

#[test]
fn lone_surrogates_are_rejected_in_known_members() {
    for lone in [
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        r#""\ud800x""#,
        r#""\ud800\n""#,
    ] {
        for (name, _) in GOOD {
            assert_eq!(
                errors(with(name, lone)),
                [format!("/{name} must not contain a lone surrogate")],
                "{lone}"
            );
        }
        let members = GOOD.into_iter().chain([("note", lone), (r"n\ud800", lone)]);
        good(body(members));
    }
}

#[test]
fn other_types_are_refused() {
    for value in [
        "null",
        "true",
        "false",
        "{}",
        "[]",
        r#"["x"]"#,
        "7",
        "{\"a\":[1]}",
    ] {
        for name in [
            "transaction_id",
            "source_account",
            "destination_account",
            "currency",
        ] {
            assert_eq!(
                errors(with(name, value)),
                [format!("/{name} must be a string")]
            );
        }
    }
    for value in ["null", "true", "[1]", "{\"amount\":1}"] {
        assert_eq!(
            errors(with("amount", value)),
            ["/amount must be a number or a decimal string"]
        );
    }
}

#[test]
fn amounts_are_exact_as_numbers_and_as_strings() {
    for (text, kept) in [("1500.50", "1500.50"), ("0.1", "0.1"), ("1.5e3", "1500")] {
        assert_eq!(good(with("amount", text)).amount().to_string(), kept);
        let string = format!("\" {text} \"");
        assert_eq!(good(with("amount", &string)).amount().to_string(), kept);
    }
    for (text, detail) in [
        ("0", "must be greater than 0"),
        ("-0.0", "must be greater than 0"),
        ("-5", "must be greater than 0"),
        ("1e999999999", "must have at most 28 significant digits"),
        (
            "1234567890123456789012345678901234567890",
            "must have at most 28 significant digits",
        ),
        ("1e-400", "must have at most 28 decimal places"),
        (r#""""#, "must be a number or a decimal string"),
        (r#""NaN""#, "must be a number or a decimal string"),
        (r#""Infinity""#, "must be a number or a decimal string"),
        (r#""+1""#, "must be a number or a decimal string"),
        (r#""1_000""#, "must be a number or a decimal string"),
        (r#""0x10""#, "must be a number or a decimal string"),
        (r#"".5""#, "must be a number or a decimal string"),
        (r#""5.""#, "must be a number or a decimal string"),
        (r#""1\u00002""#, "must be a number or a decimal string"),
    ] {
        assert_eq!(
            errors(with("amount", text)),
            [format!("/amount {detail}")],
            "{text}"
        );
    }
    for text in [
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "1_000",
        "0x10",
        ".5",
        "5.",
        "01",
        "--1",
    ] {
        malformed(with("amount", text));
    }
}

#[test]
fn currencies_are_three_ascii_letters() {
    for (written, read) in [
        (r#""usd""#, "USD"),
        (r#""\u0055sD""#, "USD"),
        (r#""XXX""#, "XXX"),
    ] {
        let currency = good(with("currency", written)).currency();
        assert_eq!(currency.as_str(), read);
        assert_eq!(currency.to_string(), read);
    }
    for wrong in [
        r#""""#,
        r#""EU""#,
        r#""EURO""#,
        r#""E1R""#,
        r#""É€""#,
        r#""ＥＵＲ""#,
        r#""E R""#,
    ] {
        assert_eq!(
            errors(with("currency", wrong)),
            ["/currency must be 3 ASCII letters"],
            "{wrong}"
        );
    }
}

#[test]
fn all_field_errors_are_reported_at_once_and_in_order() {
    assert_eq!(
        errors("{}"),
        GOOD.map(|(name, _)| format!("/{name} is required"))
    );
    assert_eq!(
        errors(r#"{"amount": -1, "currency": 7, "source_account": "", "transaction_id": "t"}"#),
        [
            "/source_account must have 1 to 128 characters",
            "/destination_account is required",
            "/amount must be greater than 0",
            "/currency must be a string",
        ]
    );
}

#[test]
fn repeated_members_are_rejected() {
    for (name, value) in GOOD {
        for repeats in [1, 2] {
            let members = GOOD.into_iter().chain([(name, value)].repeat(repeats));
            assert_eq!(
                errors(body(members)),
                [format!("/{name} appears more than once")]
            );
        }
    }
    let escaped = body(GOOD.into_iter().chain([(r"\u0061mount", "7")]));
    assert_eq!(errors(escaped), ["/amount appears more than once"]);
}

#[test]
fn other_members_are_accepted_and_not_compared() {
    let plain = good(body(GOOD));
    for extra in [
        vec![("note", "null")],
        vec![("note", "1"), ("note", "{\"amount\": 1, \"amount\": 2}")],
        vec![("", "[[], {}, \"]}\", \"\\\"\"]")],
        vec![("Amount", "1e999999999"), ("AMOUNT", "-1")],
        vec![("n\\u0000", r#""\u0000""#)],
    ] {
        let extended = good(body(GOOD.into_iter().chain(extra)));
        assert_eq!(extended, plain);
        assert_eq!(extended.fingerprint(), plain.fingerprint());
    }
}

#[test]
fn names_of_members_may_be_escaped() {
    let escaped = body(GOOD).replace("amount\"", "\\u0061mount\"");
    assert_eq!(good(escaped), good(body(GOOD)));
}

#[test]
fn body_that_is_no_json_object_is_malformed() {
    let whole = body(GOOD);
    for text in [
        "",
        " ",
        "\n",
        "null",
        "true",
        "1",
        "-",
        "\"x\"",
        "[]",
        "[1]",
        "{",
        "}",
        "{]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{\"a\":01}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":tru}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\n\"}",
        "{\"\n\":1}",
        "{\"a\":\"\0\"}",
        "{\"a\":/**/1}",
        "a=b&c=d",
        "<xml/>",
    ] {
        malformed(text);
    }
    assert_eq!(
        malformed("[]"),
        "invalid type: sequence, expected a JSON object at line 1 column 0"
    );
    for trailing in ["x", "{}", ",", "\0", "]", "}"] {
        malformed(format!("{whole}{trailing}"));
    }
    for misplaced in [
        "\u{feff}".to_owned(),
        format!("\u{feff}\u{feff}{whole}"),
        format!(" \u{feff}{whole}"),
        format!("{whole}\u{feff}"),
        format!("\u{fffe}{whole}"),
    ] {
        malformed(misplaced);
    }
    let marked = format!("\u{feff}{whole}");
    good(&marked);
    assert_eq!(good(&marked).fingerprint(), good(&whole).fingerprint());
    malformed(format!("[{whole}]"));
    good(format!(" \t\r\n{whole}\r\n\t "));
    for end in 0..whole.len() {
        malformed(&whole[..end]);
    }
}

#[test]
fn body_that_is_not_utf_8_is_malformed() {
    let whole = body(GOOD).into_bytes();
    for bad in [
        &b"\xff"[..],
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
    ] {
        for place in ["tx-1", "amount", "EUR"] {
            let at = whole
                .windows(place.len())
                .position(|window| window == place.as_bytes())
                .unwrap();
            let mut body = whole.clone();
            body.splice(at..at, bad.iter().copied());
            malformed(body);
        }
        let mut extra = br#"{"note":""#.to_vec();
        extra.extend_from_slice(bad);
        extra.extend_from_slice(b"\"}");
        malformed(extra);
    }
    let utf_16: Vec<u8> = body(GOOD)
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    malformed(utf_16);
}

#[test]
fn nesting_has_a_limit() {
    let nested = |levels: usize, open: &str, inner: &str, close: &str| {
        let value = format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
        body(GOOD.into_iter().chain([("note", value.as_str())]))
    };
    for (open, inner, close) in [
        ("[", "", "]"),
        ("{\"a\":", "1", "}"),
        ("[\"]\\\"[[\",", "1", "]"),
    ] {
        good(nested(MAX_NESTING - 1, open, inner, close));
        let detail = malformed(nested(MAX_NESTING, open, inner, close));
        assert!(detail.contains("must not nest deeper than 128"), "{detail}");
    }
    let amount = format!("{}{}", "[".repeat(MAX_NESTING), "]".repeat(MAX_NESTING));
    malformed(with("amount", &amount));
    // Depth does not reach the stack.
    let megabyte = 1 << 20;
    malformed("[".repeat(megabyte));
    malformed("{\"a\":".repeat(megabyte / 5));
    malformed(format!("{{\"note\":{}", "[".repeat(megabyte)));
    malformed(nested(megabyte / 2, "[", "", "]"));
}

#[test]
fn the_fingerprint_is_that_of_the_normalised_fields() {
    let fingerprint = |name, value| good(with(name, value)).fingerprint();
    let same = fingerprint("amount", "1500");
    for spelling in [
        "1500.0",
        "1.5e3",
        "1500.000",
        r#""1500""#,
        r#"" 15E+2 ""#,
        "150000e-2",
    ] {
        assert_eq!(fingerprint("amount", spelling), same, "{spelling}");
    }
    assert_eq!(
        fingerprint("currency", r#"" eur ""#),
        good(body(GOOD)).fingerprint()
    );
    for (name, other) in [
        ("transaction_id", r#""tx-2""#),
        ("source_account", r#""acc-100""#),
        ("destination_account", r#""ACC-100""#),
        ("amount", "1500.51"),
        ("currency", r#""USD""#),
    ] {
        assert_ne!(
            fingerprint(name, other),
            good(body(GOOD)).fingerprint(),
            "{name}"
        );
    }
}

/// Another digest would make conflicts of all redeliveries of what is stored already. This one was
/// reckoned elsewhere.
#[test]
fn the_fingerprint_is_the_same_in_every_version() {
    let digest = "74abf07e8ee284e9bcfccd392cda05b44279c2119a5adb7680579a0c0e8133b9";
    assert_eq!(format!("{:?}", good(body(GOOD)).fingerprint()), digest);
}

#[test]
fn accounts_are_masked_in_logs() {
    for (account, masked) in [
        ("DE89370400440532013000", "****3000"),
        ("12345678", "****5678"),
        ("1234567", "****567"),
        ("1234", "****34"),
        ("1", "****"),
        ("ééééééééé", "****éééé"),
    ] {
        let transaction = good(with("source_account", &format!("\"{account}\"")));
        assert_eq!(transaction.source_account().masked().to_string(), masked);
        assert_eq!(format!("{:?}", transaction.source_account()), masked);
    }
    assert!(!format!("{:?}", good(body(GOOD))).contains("ACC"));
}
