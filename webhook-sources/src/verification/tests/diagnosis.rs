//! What is found out about requests whose signatures do not match.

use super::*;

const NOW: u64 = 1_700_000_000;

const BODY: &str = r#"scheme.hmac = { signed = "{body}", signature = { at = "header:x-s" } }"#;

fn diagnose(
    verification: &Verification,
    signer: &Verification,
    sent: &[u8],
    received: &[u8],
    former: Option<&Verification>,
) -> Option<Hint> {
    let target = "/v1/webhooks/demo?a=b";
    let outgoing = Outgoing {
        request: Request {
            target,
            ..post(&[], sent)
        },
        message_id: Some("msg_1"),
    };
    let signed = signer.sign(&outgoing, at(NOW)).unwrap();
    let added = signed.headers.iter();
    let added = added.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers: Vec<_> = added.chain([("host", &b"proxied.example"[..])]).collect();
    let request = Request {
        target,
        ..post(&headers, received)
    };
    verification.diagnose(&request, at(NOW), former)
}

#[test]
fn former_secrets_are_recognised() {
    let former = verification(BODY, &["the oldest secret", "the old secret"]);
    let signer = verification(BODY, &["the old secret"]);
    let current = verification(BODY, &["the new secret"]);
    let hint = diagnose(&current, &signer, b"{}", b"{}", Some(&former)).unwrap();
    assert_eq!(
        hint,
        Hint::FormerSecret {
            name: "secret".to_owned(),
            position: 1
        }
    );
    assert_eq!(
        hint.to_string(),
        "signed with former secret 2 with the name secret: the sender still uses it"
    );
    assert_eq!(diagnose(&current, &signer, b"{}", b"{}", None), None);
    assert_eq!(
        diagnose(&signer, &signer, b"{}", b"{}", Some(&former)),
        None
    );
}

#[test]
fn changed_bodies_are_recognised() {
    let same = verification(BODY, &["a secret"]);
    for (sent, received, form) in [
        (
            r#"{"b":1.50,"a":[",: "]}"#,
            "{ \"b\" : 1.50,\n\"a\": [ \",: \"] }",
            BodyForm::CompactJson,
        ),
        (
            r#"{"b": "\", :", "a": 1}"#,
            r#"{"b":"\", :","a":1}"#,
            BodyForm::SpacedJson,
        ),
        (
            r#"{"a":{"c":1,"d":2},"b":1.50}"#,
            r#"{"b": 1.50, "a": {"d":2, "c":1}}"#,
            BodyForm::SortedJson,
        ),
        (
            r#"{"a": [{"c": 1, "d": 2}], "b": 3}"#,
            r#"{"b":3,"a":[{"d":2,"c":1}]}"#,
            BodyForm::SortedSpacedJson,
        ),
        ("a\nb\n", "a\r\nb\r\n", BodyForm::Lf),
        ("a\r\nb", "a\nb", BodyForm::CrLf),
        ("a\n", "a", BodyForm::FinalLf),
        ("a\r\n", "a", BodyForm::FinalCrLf),
        ("a", "a\n", BodyForm::NoFinalLineEnd),
        ("a", "a\r\n", BodyForm::NoFinalLineEnd),
    ] {
        let hint = diagnose(&same, &same, sent.as_bytes(), received.as_bytes(), None);
        assert_eq!(hint, Some(Hint::Body(form)), "{received:?}");
    }
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for received in ["{}", "[", "\"", "", "\n", "\u{fffd}", &deep] {
        let hint = diagnose(&same, &same, b"something else", received.as_bytes(), None);
        assert_eq!(hint, None, "{received:?}");
    }
}

#[test]
fn secrets_in_another_form_are_recognised() {
    let base64 = BODY.replace(
        "signed =",
        "key = \"base64\", key_prefixes = [\"whsec_\"], signed =",
    );
    let hex = BODY.replace("signed =", "key = \"hex\", signed =");
    let encoded = Encoding::Base64.encode(b"a secret of twenty-four b");
    let prefixed = format!("whsec_{encoded}");
    let digits = Encoding::Hex.encode(b"a secret of twenty-four b");
    for (used, right, secret, form) in [
        (BODY, base64.as_str(), prefixed.as_str(), KeyForm::Base64),
        (BODY, &base64, &encoded, KeyForm::Base64),
        (BODY, &hex, &digits, KeyForm::Hex),
        (&base64, BODY, &prefixed, KeyForm::Text),
        (&hex, BODY, &digits, KeyForm::Text),
    ] {
        let used = verification(
            used,
            &["another secret of this length", secret][usize::from(used != BODY)..],
        );
        let right = verification(right, &[secret]);
        let hint = diagnose(&used, &right, b"{}", b"{}", None);
        let position = used.secret_count() - 1;
        let name = "secret".to_owned();
        assert_eq!(
            hint,
            Some(Hint::SecretForm {
                name,
                position,
                form
            })
        );
    }
}

#[test]
fn other_urls_are_recognised() {
    let toml = r#"scheme.hmac = { signed = "{url}{body}", signature = { at = "header:x-s" } }"#;
    let of = |url: &str| {
        let options = VerificationOptions {
            public_url: Some(url.to_owned()),
            ..options()
        };
        Verification::new(&scheme(toml), &Secrets::of(["a secret"]), options).unwrap()
    };
    let configured = of("https://example.com/v1/webhooks/demo");
    for url in [
        "http://example.com/v1/webhooks/demo",
        "https://example.com:443/v1/webhooks/demo",
        "http://example.com:80/v1/webhooks/demo",
        "https://example.com/v1/webhooks/demo/",
        "https://proxied.example/v1/webhooks/demo",
    ] {
        let hint = diagnose(&configured, &of(url), b"{}", b"{}", None);
        let url = url.to_owned();
        assert_eq!(
            hint,
            Some(Hint::Url {
                url,
                has_query: true
            })
        );
        let reverse = diagnose(
            &of("https://example.com:443/x"),
            &configured,
            b"{}",
            b"{}",
            None,
        );
        assert_eq!(reverse, None);
    }
    let without_query = verification(
        r#"scheme.hmac = { signed = "https://example.com/v1/webhooks/demo{body}", signature = { at = "header:x-s" } }"#,
        &["a secret"],
    );
    let hint = diagnose(&configured, &without_query, b"{}", b"{}", None);
    let url = "https://example.com/v1/webhooks/demo".to_owned();
    assert_eq!(
        hint,
        Some(Hint::Url {
            url,
            has_query: false
        })
    );
}
