//! Bad input: requests that anybody may send, and schemes and secrets that an operator may write.

use super::*;
use crate::error::{InvalidSource, InvalidSources, SecretProblem};

const SIMPLE: &str = r#"scheme.hmac = { signed = "{body}", signature = { at = "header:x-s" } }"#;

const TIMED: &str = r#"
    [scheme.hmac]
    signed = "{id}.{timestamp}.{body}"
    signature = { at = "header:x-s", split = " ", item = "v1,", encoding = "base64" }
    time = { at = "header:x-t" }
    message_id = "header:x-i"
"#;

const ITEMS: &str = r#"
    [scheme.hmac]
    signed = "{timestamp}.{body}"
    signature = { at = "header:x-s", split = ",", item = "v1=" }
    time = { at = "item:t" }
"#;

const NOW: u64 = 1_700_000_000;

fn missing(at: &str) -> Result<(), Unverified> {
    Err(Unverified::Missing { place: place(at) })
}

fn repeated(at: &str) -> Result<(), Unverified> {
    Err(Unverified::Repeated { place: place(at) })
}

fn malformed(at: &str) -> Result<(), Unverified> {
    Err(Unverified::Malformed { place: place(at) })
}

fn too_many(at: &str) -> Result<(), Unverified> {
    Err(Unverified::TooManySignatures { place: place(at) })
}

fn refusal(toml: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Result<(), Unverified> {
    let verification = verification(toml, &["user:secret of twenty-four bytes"]);
    verify(&verification, &post(headers, body), at(NOW)).map(drop)
}

#[test]
fn headers_that_are_not_as_they_must_be_have_specific_reasons() {
    let hex = "00".repeat(32);
    let hex = hex.as_bytes();
    let long = "v".repeat(100_000);
    let no_match = Err(Unverified::NoMatch);
    for (headers, expected) in [
        (&[][..], missing("header:x-s")),
        (&[("x-t", hex)], missing("header:x-s")),
        (&[("x-s", b"")], malformed("header:x-s")),
        (&[("x-s", b" ")], malformed("header:x-s")),
        (&[("x-s", b"zz")], malformed("header:x-s")),
        (&[("x-s", b"00")], malformed("header:x-s")),
        (&[("x-s", &hex[1..])], malformed("header:x-s")),
        (&[("x-s", b"\xff\xfe")], malformed("header:x-s")),
        (&[("x-s", "\u{e9}".as_bytes())], malformed("header:x-s")),
        (&[("x-s", long.as_bytes())], malformed("header:x-s")),
        (&[("x-s", hex)], no_match.clone()),
        (&[("X-S", hex)], no_match.clone()),
        // Any signature may match, and what is none does not hinder the others.
        (&[("x-s", b"zz"), ("x-s", hex)], no_match.clone()),
        (&[("x-s", hex), ("x-s", b"\xff")], malformed("header:x-s")),
        (&[("x-s", hex); MAX_SIGNATURES], no_match.clone()),
        (&[("x-s", hex); MAX_SIGNATURES + 1], too_many("header:x-s")),
    ] {
        assert_eq!(refusal(SIMPLE, headers, b"{}"), expected, "{headers:?}");
    }
}

#[test]
fn one_genuine_signature_among_others_is_enough() {
    let signed = b"b8bf10fa4bdd2d48a1aa32eebcecdfb817ea0d347144016e1a74bb26bd69ddd9";
    let body = br#"{"id":"evt_1","type":"demo","n":1.50}"#;
    let wrong = [b'0'; 64];
    let several = verification(SIMPLE, &["shh-this-is-a-secret"]);
    let family = SIMPLE.replace("x-s", "x-s-{n}");
    let numbered = verification(&family, &["shh-this-is-a-secret"]);
    for headers in [
        [("x-s", &wrong[..]), ("x-s", signed)],
        [("x-s", signed), ("x-s", b"zz")],
    ] {
        assert!(verify(&several, &post(&headers, body), at(0)).is_ok());
    }
    for (name, is_read) in [
        ("x-s-1", true),
        ("X-S-7", true),
        ("x-s-100", true),
        ("x-s-0", false),
        ("x-s-01", false),
        ("x-s-101", false),
        ("x-s-", false),
        ("x-s", false),
        ("x-s-1-", false),
        ("x-s-+1", false),
        ("x-s-99999999999999999999999999", false),
        ("é-s-1", false),
        ("x-sé1", false),
    ] {
        let headers = [("x-s-2", &wrong[..]), (name, signed)];
        let verified = verify(&numbered, &post(&headers, body), at(0));
        assert_eq!(verified.is_ok(), is_read, "{name}");
    }
    let names: Vec<String> = (1..=101)
        .map(|number| format!("x-s-{}", number.min(100)))
        .collect();
    let mut headers: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), &wrong[..]))
        .collect();
    let verified = verify(&numbered, &post(&headers, body), at(0)).map(drop);
    assert_eq!(verified, too_many("header:x-s-{n}"));
    headers.pop();
    headers[99].1 = signed;
    assert!(verify(&numbered, &post(&headers, body), at(0)).is_ok());
}

#[test]
fn times_and_ids_that_are_not_as_they_must_be_have_specific_reasons() {
    let signature = format!("v1,{}", Encoding::Base64.encode(&[0; 32]));
    let signature = ("x-s", signature.as_bytes());
    let (time, id) = (("x-t", &b"1700000000"[..]), ("x-i", &b"msg_1"[..]));
    let no_match = Err(Unverified::NoMatch);
    for (headers, expected) in [
        (&[signature, time, id][..], no_match),
        (&[signature, id], missing("header:x-t")),
        (&[signature, time], missing("header:x-i")),
        (&[time, id], missing("header:x-s")),
        (&[signature, time, time, id], repeated("header:x-t")),
        (&[signature, time, id, id], repeated("header:x-i")),
        (
            &[signature, ("x-t", b"1700000000.0"), id],
            malformed("header:x-t"),
        ),
        (&[signature, ("x-t", b"\xff"), id], malformed("header:x-t")),
        (&[signature, ("x-t", b""), id], malformed("header:x-t")),
        (&[signature, time, ("x-i", b"")], malformed("header:x-i")),
        (&[signature, time, ("x-i", b"a.b")], malformed("header:x-i")),
        (
            &[signature, time, ("x-i", "é".as_bytes())],
            malformed("header:x-i"),
        ),
        (
            &[("x-s", b"v1a,AAAA v2,AAAA"), time, id],
            malformed("header:x-s"),
        ),
        (
            &[
                (
                    "x-s",
                    &[b"v1,AAAA ".repeat(10_000), signature.1.to_vec()].concat(),
                ),
                time,
                id,
            ],
            too_many("header:x-s"),
        ),
        (
            &[signature, ("x-t", b"1699999588"), id],
            Err(Unverified::TooFar { seconds: -412 }),
        ),
        (
            &[signature, ("x-t", b"1700000412"), id],
            Err(Unverified::TooFar { seconds: 412 }),
        ),
    ] {
        assert_eq!(refusal(TIMED, headers, b"{}"), expected, "{headers:?}");
    }
    assert_eq!(
        Unverified::TooFar { seconds: -412 }.to_string(),
        "signed at a time too far from now: 412 s ago"
    );
}

#[test]
fn items_that_are_not_as_they_must_be_have_specific_reasons() {
    let zeros = "0".repeat(64);
    for (value, expected) in [
        (format!("t=1700000000,v1={zeros}"), Err(Unverified::NoMatch)),
        (
            format!("t=1700000000, v1={zeros}, v0=0"),
            Err(Unverified::NoMatch),
        ),
        (
            format!("v1={zeros},t=1700000000,"),
            Err(Unverified::NoMatch),
        ),
        (format!("v1={zeros}"), missing("item:t")),
        (format!("t,v1={zeros}"), missing("item:t")),
        (
            format!("t=1700000000,t=1700000000,v1={zeros}"),
            repeated("item:t"),
        ),
        (format!("t=1700000000,t=0,v1={zeros}"), repeated("item:t")),
        (format!("t=,v1={zeros}"), malformed("item:t")),
        (format!("t=soon,v1={zeros}"), malformed("item:t")),
        ("t=1700000000".to_owned(), malformed("header:x-s")),
        ("t=1700000000,v1=".to_owned(), malformed("header:x-s")),
        ("t=1700000000,v0=00".to_owned(), malformed("header:x-s")),
        (
            format!("t=1700000000{}", ",v1=00".repeat(17)),
            too_many("header:x-s"),
        ),
        (",".repeat(10_000), malformed("header:x-s")),
    ] {
        let headers = [("x-s", value.as_bytes())];
        assert_eq!(refusal(ITEMS, &headers, b"{}"), expected, "{value}");
    }
    // A time in another value of the header is another time.
    let value = format!("t=1700000000,v1={zeros}");
    let headers = [("x-s", value.as_bytes()); 2];
    assert_eq!(refusal(ITEMS, &headers, b"{}"), repeated("item:t"));
}

#[test]
fn bodies_that_are_not_what_the_scheme_needs_are_refused() {
    let json = r#"scheme.hmac = { signed = "{json:/a/0/b}", signature = { at = "json:/s" } }"#;
    let form = r#"scheme.hmac = { signed = "{form:a}", signature = { at = "form:s" } }"#;
    let all = r#"scheme.hmac = { signed = "{url}{form+}", signature = { at = "query:s" } }"#
        .replace("{url}", "");
    let zeros = "0".repeat(64);
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let many = "a=1&".repeat(5_000);
    let signed_json = format!(r#"{{"s":"{zeros}","a":[{{"b":1}}]}}"#);
    let signed_form = format!("a=1&s={zeros}");
    for (toml, body, expected) in [
        (json, "", missing("json:/s")),
        (json, "a=1&s=2", missing("json:/s")),
        (json, "{\"s\":", missing("json:/s")),
        (json, "{\"s\":null}", missing("json:/s")),
        (json, "[1]", missing("json:/s")),
        (json, "{\"s\":[]}", malformed("json:/s")),
        (json, "{\"s\":{}}", malformed("json:/s")),
        (json, "{\"s\":\"\\ud800\"}", missing("json:/s")),
        (json, "{\"s\":\"é\"}", malformed("json:/s")),
        (json, &deep, missing("json:/s")),
        (json, &signed_json, Err(Unverified::NoMatch)),
        (form, "", missing("form:s")),
        (form, &signed_json, missing("form:s")),
        (form, "s=1&s=2", repeated("form:s")),
        (form, "s=%ff", malformed("form:s")),
        (form, &format!("a=1&a=2&s={zeros}"), repeated("form:a")),
        (form, &many, missing("form:s")),
        (form, &signed_form, Err(Unverified::NoMatch)),
        (&all, &many, missing("query:s")),
    ] {
        let shown = &body[..body.len().min(40)];
        assert_eq!(refusal(toml, &[], body.as_bytes()), expected, "{shown}");
        // A head says nothing about what is in the body.
        let verification = verification(toml, &["user:secret"]);
        let is_in_query = toml == all;
        let checked = verification.check_head(&post(&[], b""), at(NOW));
        assert_eq!(checked.is_err(), is_in_query);
    }
}

#[test]
fn tokens_that_are_not_as_they_must_be_have_specific_reasons() {
    let header = r#"scheme.token = { at = "header:x-t", prefix = "Bearer " }"#;
    let array = r#"scheme.token = { at = "json:/value/*/clientState" }"#;
    let hashed = r#"scheme.token = { at = "header:x-t", form = "sha256" }"#;
    let secret = "user:secret of twenty-four bytes";
    for (toml, value, body, expected) in [
        (header, format!("Bearer {secret}"), "", Ok(())),
        (header, format!("bearer   {secret}"), "", Ok(())),
        (header, secret.to_owned(), "", malformed("header:x-t")),
        (header, "Bearer".to_owned(), "", malformed("header:x-t")),
        (header, "Bearer x".to_owned(), "", Err(Unverified::NoMatch)),
        (
            header,
            format!("Bearer {secret}x"),
            "",
            Err(Unverified::NoMatch),
        ),
        (
            header,
            format!("Bearer {}", &secret[..5]),
            "",
            Err(Unverified::NoMatch),
        ),
        (header, "é".repeat(10), "", malformed("header:x-t")),
        (hashed, secret.to_owned(), "", malformed("header:x-t")),
        (hashed, "00".repeat(32), "", Err(Unverified::NoMatch)),
        (
            array,
            String::new(),
            "{}",
            missing("json:/value/*/clientState"),
        ),
        (
            array,
            String::new(),
            "{\"value\":[]}",
            missing("json:/value/*/clientState"),
        ),
        (
            array,
            String::new(),
            "{\"value\":[{\"clientState\":null}]}",
            malformed("json:/value/*/clientState"),
        ),
        (
            array,
            String::new(),
            "{\"value\":[{\"clientState\":\"x\"}]}",
            Err(Unverified::NoMatch),
        ),
        (
            array,
            String::new(),
            &format!(r#"{{"value":[{{"clientState":"{secret}"}}]}}"#),
            Ok(()),
        ),
        (
            array,
            String::new(),
            &format!(r#"{{"value":[{{"clientState":"{secret}"}},{{"clientState":"x"}}]}}"#),
            Err(Unverified::NoMatch),
        ),
    ] {
        let headers = [("x-t", value.as_bytes())];
        assert_eq!(
            refusal(toml, &headers, body.as_bytes()),
            expected,
            "{value} {body}"
        );
    }
    let twice = [("x-t", &b"Bearer a"[..]); 2];
    assert_eq!(refusal(header, &twice, b""), repeated("header:x-t"));
    let is_without = format!(r#"{{"value":[{{"clientState":"{secret}"}},{{}}]}}"#);
    let expected = missing("json:/value/*/clientState");
    assert_eq!(refusal(array, &[], is_without.as_bytes()), expected);
}

#[test]
fn passwords_that_are_not_as_they_must_be_have_specific_reasons() {
    let place = "header:authorization";
    let encoded = |text: &str| format!("Basic {}", Encoding::Base64.encode(text.as_bytes()));
    for (value, expected) in [
        (encoded("user:secret of twenty-four bytes"), Ok(())),
        (
            encoded("user:secret of twenty-four byte"),
            Err(Unverified::NoMatch),
        ),
        (encoded("user"), Err(Unverified::NoMatch)),
        ("Basic".to_owned(), malformed(place)),
        ("Basic ".to_owned(), malformed(place)),
        ("Basic ???".to_owned(), malformed(place)),
        ("Bearer dXNlcg==".to_owned(), malformed(place)),
        ("é".to_owned(), malformed(place)),
    ] {
        let headers = [("authorization", value.as_bytes())];
        assert_eq!(
            refusal("scheme.basic = {}", &headers, b""),
            expected,
            "{value}"
        );
    }
    assert_eq!(refusal("scheme.basic = {}", &[], b""), missing(place));
    let verification = verification("scheme.basic = {}", &["user:secret"]);
    assert_eq!(
        verification.challenge(),
        Some("Basic realm=\"webhooks\", charset=\"UTF-8\"")
    );
}

#[test]
fn the_reason_of_several_schemes_is_that_of_the_one_that_came_farthest() {
    let toml = r#"
        [[scheme.any_of]]
        token = { at = "header:x-token" }
        [[scheme.any_of]]
        hmac = { signed = "{timestamp}{body}", signature = { at = "header:x-s" }, time = { at = "header:x-t" } }
    "#;
    let zeros = "0".repeat(64);
    let signature = ("x-s", zeros.as_bytes());
    for (headers, expected) in [
        (&[][..], missing("header:x-token")),
        (&[("x-token", &b"x"[..])], Err(Unverified::NoMatch)),
        (&[signature], missing("header:x-token")),
        (&[signature, ("x-t", b"x")], malformed("header:x-t")),
        (
            &[signature, ("x-t", b"0")],
            Err(Unverified::TooFar {
                seconds: -1_700_000_000,
            }),
        ),
        (&[("x-token", b"user:secret of twenty-four bytes")], Ok(())),
    ] {
        assert_eq!(refusal(toml, headers, b""), expected, "{headers:?}");
    }
    let both = toml.replace("any_of", "all_of");
    let token = ("x-token", &b"user:secret of twenty-four bytes"[..]);
    assert_eq!(refusal(&both, &[token], b""), missing("header:x-s"));
    assert_eq!(refusal("scheme = \"none\"", &[], b""), Ok(()));
}

#[test]
fn pairs_of_signature_and_public_key_are_limited() {
    let toml = r#"
        [[scheme.any_of]]
        public_key = { algorithm = "ed25519", key = "base64", signed = "{body}", signature = { at = "header:x-s", split = " " } }
        [[scheme.any_of]]
        public_key = { algorithm = "ed25519", key = "base64", signed = "{body}", signature = { at = "header:x-other", split = " " } }
    "#;
    let keys: Vec<String> = (1..=5)
        .map(|seed| format!("whsk_{}", Encoding::Base64.encode(&[seed; 32])))
        .collect();
    let of = |keys: &[String]| {
        let secrets = keys.iter().fold(Secrets::new(), |all, key| {
            all.with("public_key", key.as_str())
        });
        Verification::new(&scheme(toml), &secrets, options())
    };
    assert_eq!(
        of(&keys).map(drop),
        Err(InvalidSources::new(vec![InvalidSource::TooManyKeys {
            name: "public_key".to_owned()
        }]))
    );
    let two = of(&keys[..2]).unwrap();
    let outgoing = Outgoing {
        request: post(&[], b"{}"),
        message_id: None,
    };
    let signed = of(&keys[1..2]).unwrap().sign(&outgoing, at(0)).unwrap();
    let genuine = signed.headers[0].1.as_str();
    let wrong = Encoding::Hex.encode(&[0; 64]);
    for (wrongs, is_verified) in [(0, true), (1, true), (2, false), (15, false)] {
        let value = format!("{}{genuine}", format!("{wrong} ").repeat(wrongs));
        for headers in [[("x-s", value.as_bytes())], [("x-other", value.as_bytes())]] {
            let verified = verify(&two, &post(&headers, b"{}"), at(0));
            assert_eq!(verified.is_ok(), is_verified, "{wrongs}");
        }
        // Both schemes share the limit.
        let spent = format!("{wrong} {wrong}");
        let headers = [("x-s", spent.as_bytes()), ("x-other", value.as_bytes())];
        assert!(verify(&two, &post(&headers, b"{}"), at(0)).is_err());
    }
}

fn problems(toml: &str, secrets: &Secrets) -> Vec<String> {
    let made = Verification::new(&scheme(toml), secrets, VerificationOptions::default());
    let problems = made.map(drop).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn schemes_that_cannot_be_right_are_refused() {
    let hmac = |lines: &str| format!("[scheme.hmac]\n{lines}");
    for (toml, expected) in [
        (
            hmac("signed = \"{body}\"\nsignature = { at = \"json:/s\" }"),
            "the signature at json:/s is in a part of the request that {body} signs",
        ),
        (
            hmac("signed = \"{form+}\"\nsignature = { at = \"form:s\" }"),
            "the signature at form:s is in a part of the request that {form+} signs",
        ),
        (
            hmac("signed = \"{body}\"\nsignature = { at = \"item:s\" }"),
            "item:s cannot hold a signature",
        ),
        (
            hmac("signed = \"{body}\"\nsignature = { at = \"header:s\" }\ntime.at = \"header:t\""),
            "header:t is not signed: write {timestamp} in what is signed",
        ),
        (
            hmac("signed = \"{body}\"\nsignature = { at = \"header:s\" }\nmessage_id = \"header:i\""),
            "header:i is not signed: write {id} in what is signed",
        ),
        (
            hmac("signed = \"{timestamp}\"\nsignature = { at = \"header:s\" }"),
            "{timestamp} is signed, and the scheme has no time",
        ),
        (
            hmac("signed = \"{id}\"\nsignature = { at = \"header:s\" }"),
            "{id} is signed, and the scheme has no message_id",
        ),
        (
            hmac("signed = \"{secret}{body}\"\nsignature = { at = \"header:s\" }"),
            "{secret} is signed, and only a digest has it",
        ),
        (
            hmac("signed = \"{timestamp}\"\nsignature = { at = \"header:s\" }\ntime.at = \"item:t\""),
            "the items of the signature need a separator: write split = \",\"",
        ),
        (
            hmac("signed = \"{url}\"\nsignature = { at = \"header:s\" }"),
            "the sender signs the URL that it was given, and no public URL is set",
        ),
        (
            "[scheme.digest]\nhash = \"sha1\"\nsigned = \"{secret}\"\nsignature = { at = \"header:s\" }".to_owned(),
            "a digest by SHA-1 is not safe: only SHA-256 and SHA-512 are supported",
        ),
        (
            "[scheme.digest]\nhash = \"sha256\"\nsigned = \"{body}\"\nsignature = { at = \"header:s\" }".to_owned(),
            "the scheme proves nothing: each of its alternatives needs a secret or a public key; write scheme = \"none\" to receive requests of anybody",
        ),
        (
            "[[scheme.any_of]]\ntoken = { at = \"header:t\" }\n[[scheme.any_of]]\ndigest = { hash = \"sha256\", signed = \"{body}\", signature = { at = \"header:s\" } }".to_owned(),
            "the scheme proves nothing: each of its alternatives needs a secret or a public key; write scheme = \"none\" to receive requests of anybody",
        ),
    ] {
        assert_eq!(problems(&toml, &Secrets::of(["a long secret"])), [expected], "{toml}");
    }
    for toml in [
        "scheme.any_of = []",
        "scheme.all_of = []",
        "scheme.any_of = [\"none\"]",
        "scheme.all_of = [\"none\"]",
    ] {
        assert!(!problems(toml, &Secrets::of(["a long secret"])).is_empty());
    }
}

#[test]
fn secrets_of_the_wrong_form_are_refused_and_not_shown() {
    let secret = "Zq7-secret";
    let form = |key: &str| SIMPLE.replace("signed =", &format!("key = \"{key}\", signed ="));
    let public = |algorithm: &str, key: &str| {
        format!(
            "scheme.public_key = {{ secrets = \"secret\", algorithm = \"{algorithm}\", key = \"{key}\", signed = \"{{body}}\", signature = {{ at = \"header:s\" }} }}"
        )
    };
    let ed25519_spki = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let whsk = format!("whsk_{}", Encoding::Base64.encode(&[7; 31]));
    for (toml, secret, expected) in [
        (form("base64"), secret, "not Base64"),
        (form("hex"), secret, "not hexadecimal"),
        (
            form("hex"),
            "00ff",
            "too short to be safe: it needs at least 24 bytes",
        ),
        (
            form("text"),
            "Zq7-sec",
            "too short to be safe: it needs at least 8 bytes",
        ),
        (
            form("sha1_of_text"),
            "Zq7-sec",
            "too short to be safe: it needs at least 8 bytes",
        ),
        (
            form("html_text"),
            "&amp;&amp;",
            "too short to be safe: it needs at least 8 bytes",
        ),
        (form("text"), "", "empty"),
        (
            "scheme.basic = {}".to_owned(),
            secret,
            "not a user and a password: write user:password",
        ),
        (
            "scheme.token = { at = \"header:t\" }".to_owned(),
            "short",
            "too short to be safe: it needs at least 8 bytes",
        ),
        (
            public("ed25519", "hex"),
            secret,
            "not an Ed25519 key: 32 bytes in hexadecimal",
        ),
        (
            public("ed25519", "base64"),
            secret,
            "not an Ed25519 key: 32 bytes in Base64",
        ),
        (
            public("ed25519", "base64"),
            &whsk,
            "not an Ed25519 private key: 32 or 64 bytes in Base64 after whsk_",
        ),
        (
            public("ed25519", "spki"),
            secret,
            "not a public key: a SubjectPublicKeyInfo, as PEM (BEGIN PUBLIC KEY) or as its DER in Base64",
        ),
        (
            public("ecdsa_p256_sha256", "spki"),
            ed25519_spki,
            "not a key of the curve P-256",
        ),
        (
            public("rsa_pkcs1_sha256", "spki"),
            ed25519_spki,
            "not an RSA key of 2,048 to 8,192 bits",
        ),
    ] {
        let shown = problems(&toml, &Secrets::of(["another valid secret", secret]));
        let expected = format!("secret 2 with the name secret is {expected}");
        assert!(shown.contains(&expected), "{toml}: {shown:?}");
        assert!(shown.iter().all(|it| !it.contains("Zq7")), "{shown:?}");
    }
    assert_eq!(
        problems(SIMPLE, &Secrets::new()),
        ["there is no secret with the name secret"]
    );
    let either = r#"
        [[scheme.any_of]]
        token = { at = "header:x-token", secrets = "token" }
        [[scheme.any_of]]
        hmac = { signed = "{body}", signature = { at = "header:x-s" } }
    "#;
    assert_eq!(
        problems(either, &Secrets::new()),
        ["there is no secret with the name secret or token"]
    );
    assert!(Verification::new(&scheme(either), &Secrets::of(["a long secret"]), options()).is_ok());
    let both = either.replace("any_of", "all_of");
    assert_eq!(
        problems(&both, &Secrets::of(["a long secret"])),
        ["there is no secret with the name token"]
    );
    // The specification allows 24 bytes and more; tests and some senders use shorter ones.
    let short = Secrets::of(["short"]);
    let unchecked = Verification::new(&scheme(SIMPLE), &short, options());
    assert!(unchecked.is_ok());
    let empty = Verification::new(&scheme(SIMPLE), &Secrets::of([""]), options());
    let problem = SecretProblem::Empty;
    let name = "secret".to_owned();
    assert_eq!(
        empty.map(drop),
        Err(InvalidSources::new(vec![InvalidSource::Secret {
            name,
            position: 0,
            problem
        }]))
    );
}

#[test]
fn debug_output_shows_no_secret() {
    let secret = "Zq7user:password-of-24-bytes";
    for toml in [
        SIMPLE,
        "scheme.basic = {}",
        "scheme.token = { at = \"header:t\" }",
        "[scheme.digest]\nhash = \"sha256\"\nsigned = \"{secret}\"\nsignature = { at = \"header:s\" }",
    ] {
        let verification = verification(toml, &[secret]);
        let outgoing = Outgoing {
            request: post(&[], b"Zq7"),
            message_id: None,
        };
        let signed = verification.sign(&outgoing, at(0)).unwrap();
        let shown = format!(
            "{verification:?} {:?} {outgoing:?} {signed:?}",
            Secrets::of([secret])
        );
        for part in [
            "Zq7",
            "password",
            &Encoding::Base64.encode(secret.as_bytes()),
        ] {
            assert!(!shown.contains(part), "{shown}");
        }
    }
    let whsk = format!(
        "whsk_{}",
        Encoding::Base64.encode(b"Zq7-key-of-thirty-two-bytes-long")
    );
    let toml = r#"scheme.public_key = { algorithm = "ed25519", key = "hex", signed = "{body}", signature = { at = "header:s" } }"#;
    let shown = format!(
        "{:?}",
        named(toml, &Secrets::new().with("public_key", whsk.as_str()))
    );
    assert!(
        !shown.contains("Zq7") && !shown.contains(&whsk[5..]) && !shown.contains("90, 113"),
        "{shown}"
    );
}

/// Otherwise a signature of the URL alone, which Twilio makes for JSON, would be one of any body without readable
/// fields.
#[test]
fn a_form_of_no_fields_and_one_of_too_many_are_not_signed() {
    let url =
        r#"scheme.hmac = { hash = "sha1", signed = "{url}", signature = { at = "header:x-s" } }"#;
    let with_form = verification(&url.replace("{url}", "{url}{form+}"), &["a secret"]);
    let outgoing = Outgoing {
        request: post(&[], b""),
        message_id: None,
    };
    let signed = verification(url, &["a secret"])
        .sign(&outgoing, at(0))
        .unwrap();
    let headers = [("x-s", signed.headers[0].1.as_bytes())];
    for body in ["", "&&", "=", "=&=", &"a=1&".repeat(1_001)] {
        let verified = verify(&with_form, &post(&headers, body.as_bytes()), at(0));
        assert_eq!(verified, Err(Unverified::NotForm));
    }
    let verified = verify(&with_form, &post(&headers, b"{}"), at(0));
    assert_eq!(verified, Err(Unverified::NoMatch));
    let field = r#"scheme.digest = { hash = "sha256", signed = "{secret}{form:a}", signature = { at = "header:x-s" } }"#;
    let field = verification(field, &["a secret"]);
    let signed = field.sign(&outgoing, at(0)).unwrap();
    let headers = [("x-s", signed.headers[0].1.as_bytes())];
    let long = "a=1&".repeat(1_001);
    let verified = verify(&field, &post(&headers, long.as_bytes()), at(0));
    assert_eq!(verified, Err(Unverified::NotForm));
}
