//! Signatures that senders publish, and signatures that were computed with other programs.

use super::*;

const SECRET: &str = "shh-this-is-a-secret";
const BODY: &[u8] = br#"{"id":"evt_1","type":"demo","n":1.50}"#;
const MILLISECONDS: &[u8] = b"1700000000123";
const NOW: u64 = 1_700_000_000;

/// Asserts that the request is verified, and that it is not with another body.
fn check(toml: &str, secret: &str, headers: &[(&str, &[u8])], body: &[u8], now: u64) {
    let verification = verification(toml, &[secret]);
    let verified = verify(&verification, &post(headers, body), at(now));
    assert!(verified.is_ok(), "{toml}: {verified:?}");
    let changed = [body, b" "].concat();
    let verified = verify(&verification, &post(headers, &changed), at(now));
    assert_eq!(verified, Err(Unverified::NoMatch), "{toml}");
}

#[test]
fn forms_of_signatures_by_hmac() {
    let signature = r#"scheme.hmac.signature.at = "header:x-signature""#;
    let time = r#"scheme.hmac.time.at = "header:x-time""#;
    for (lines, sent) in [
        (
            r#"scheme.hmac.signed = "{body}""#,
            "b8bf10fa4bdd2d48a1aa32eebcecdfb817ea0d347144016e1a74bb26bd69ddd9",
        ),
        (
            r#"
            scheme.hmac.signed = "{body}"
            scheme.hmac.signature.encoding = "base64"
            "#,
            "uL8Q+kvdLUihqjLuvOzfuBfqDTRxRAFuGnS7Jr1p3dk=",
        ),
        (
            r#"
            scheme.hmac.hash = "sha1"
            scheme.hmac.signed = "{body}"
            scheme.hmac.signature.prefix = "sha1="
            "#,
            "sha1=8e1b76b126d2294aa685d54f48db01401f864b25",
        ),
        (
            r#"
            scheme.hmac.signed = "{url}{body}"
            scheme.hmac.signature.encoding = "base64"
            "#,
            "lcmsv7xgRqOc2FAWBqRFuAIrStrCs4pSOTuLoAylsOM=",
        ),
        (
            r#"
            scheme.hmac.hash = "sha1"
            scheme.hmac.signed = "{body}{url}"
            scheme.hmac.signature.encoding = "base64"
            "#,
            "3rbtkasXevDpBEmqRfe4PUCU0Ls=",
        ),
    ] {
        let headers = [("X-Signature", sent.as_bytes())];
        check(&format!("{lines}\n{signature}"), SECRET, &headers, BODY, 0);
    }
    for (lines, written, sent) in [
        (
            r#"
            scheme.hmac.signed = "v0:{timestamp}:{body}"
            scheme.hmac.signature.prefix = "v0="
            "#,
            &b"1700000000"[..],
            "v0=5966f141de95fd9c8df5317283e8249959b522098b7d3f0a289b2e7ea4abfff9",
        ),
        (
            r#"
            scheme.hmac.signed = "{timestamp}{body}"
            scheme.hmac.signature.encoding = "base64"
            scheme.hmac.time.format = "milliseconds"
            "#,
            MILLISECONDS,
            "t+DSMbJmrizAPic5egIYJPd+xCkeDOUOrv/6IzYdzw0=",
        ),
        (
            r#"
            scheme.hmac.signed = "{timestamp}{body}"
            scheme.hmac.signature.encoding = "base64"
            scheme.hmac.time.format = "rfc3339"
            "#,
            b"2023-11-14T22:13:20Z",
            "l6fngW4+k455uA1P/f9RKOxP+sTz9B+5luxvm1yCbUQ=",
        ),
        (
            r#"
            scheme.hmac.signed = "{method}{url}{body}{timestamp}"
            scheme.hmac.signature.encoding = "base64"
            scheme.hmac.time.format = "milliseconds"
            "#,
            MILLISECONDS,
            "Zmju64sRbEGBfTiIS7C8lwRW1qctMlnwAQ/7VxBrTd0=",
        ),
    ] {
        let headers = [("x-signature", sent.as_bytes()), ("x-time", written)];
        let toml = format!("{lines}\n{signature}\n{time}");
        check(&toml, SECRET, &headers, BODY, NOW);
    }
}

#[test]
fn items_of_one_header() {
    for (lines, sent) in [
        (
            r#"
            scheme.hmac.signed = "{timestamp}.{body}"
            scheme.hmac.signature = { at = "header:x-signature", split = ",", item = "v1=" }
            scheme.hmac.time.at = "item:t"
            "#,
            "t=1700000000,v1=9156363d0eb4af217042d1bf77bae557c0cbf4478926da3e941f5de16d93e039",
        ),
        (
            r#"
            scheme.hmac.signed = "{timestamp}:{body}"
            scheme.hmac.signature = { at = "header:x-signature", split = ";", item = "h1=" }
            scheme.hmac.time.at = "item:ts"
            "#,
            "ts=1700000000;h1=394328157fe4c518436caf31a70437db6db6fc672811de0072e594f3c80e7dc5",
        ),
    ] {
        let headers = [("x-signature", sent.as_bytes())];
        check(lines, SECRET, &headers, BODY, NOW);
    }
}

#[test]
fn keys_in_hexadecimal() {
    let toml = r#"
        scheme.hmac.key = "hex"
        scheme.hmac.signed = "{body}"
        scheme.hmac.signature = { at = "header:x-signature", encoding = "base64" }
    "#;
    let key = format!("{}01", "00".repeat(31));
    let headers = [(
        "x-signature",
        &b"SQPIbPcDJyOLZGoeojYLjSmorGQj1c9m1wrHcal/UyY="[..],
    )];
    check(toml, &key, &headers, BODY, 0);
}
