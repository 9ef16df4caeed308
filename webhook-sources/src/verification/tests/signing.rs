//! What is signed verifies, and nothing else does.

use super::*;

struct Case {
    toml: &'static str,
    secrets: Secrets,
    body: &'static str,
    /// Changes of the body that make it another message; every byte counts if there are none.
    changes: &'static [(&'static str, &'static str)],
}

fn one(toml: &'static str) -> Case {
    Case {
        toml,
        secrets: Secrets::of(["d2hzZWNfYSBzZWNyZXQgb2YgdHdlbnR5LWZvdXIgYnl0ZXM="]),
        body: "{\"a\":1.50, \"b\":[{}]}",
        changes: &[],
    }
}

fn public(toml: &'static str, key: &str) -> Case {
    Case {
        secrets: Secrets::new().with("public_key", key),
        ..one(toml)
    }
}

fn cases() -> Vec<Case> {
    let ecdsa = {
        let made = ring::signature::EcdsaKeyPair::generate_pkcs8(
            &ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            &ring::rand::SystemRandom::new(),
        );
        pem(made.unwrap().as_ref())
    };
    let ed25519 = {
        let random = ring::rand::SystemRandom::new();
        let made = ring::signature::Ed25519KeyPair::generate_pkcs8(&random);
        pem(made.unwrap().as_ref())
    };
    let whsk = format!("whsk_{}", Encoding::Base64.encode(&[7; 32]));
    vec![
        one(r#"scheme.hmac = { signed = "{body}", signature = { at = "header:x-s" } }"#),
        one(
            r#"scheme.hmac = { hash = "sha512", signed = "{body}", signature = { at = "header:x-s", encoding = "base64", prefix = "sha512=" } }"#,
        ),
        one(
            r#"scheme.hmac = { hash = "sha1", key = "base64", signed = "{body}", signature = { at = "header:x-s", encoding = "base64_url" } }"#,
        ),
        one(
            r#"scheme.hmac = { signed = "{timestamp}.{body}", signature = { at = "header:x-s", split = ",", item = "v1=" }, time = { at = "item:t" } }"#,
        ),
        one(r#"
            [scheme.hmac]
            key = "base64"
            signed = "{id}.{timestamp}.{body}"
            signature = { at = "header:webhook-signature", split = " ", item = "v1,", encoding = "base64" }
            time = { at = "header:webhook-timestamp" }
            message_id = "header:webhook-id"
        "#),
        one(
            r#"scheme.hmac = { signed = "v0:{timestamp}:{body}", signature = { at = "header:x-s", prefix = "v0=" }, time = { at = "header:x-t", format = "milliseconds" } }"#,
        ),
        one(
            r#"scheme.hmac = { signed = "{timestamp}{body}", signature = { at = "header:x-s" }, time = { at = "header:x-t", format = "rfc3339" } }"#,
        ),
        one(
            r#"scheme.hmac = { signed = "{method}{url}{body}", signature = { at = "header:x-s" } }"#,
        ),
        one(
            r#"scheme.hmac = { signed = "{body}", signature = { at = "header:x-s" }, time = { at = "json:/at", format = "milliseconds" } }"#,
        ),
        one(
            r#"scheme.hmac = { signed = "{header:x-a}{body}", signature = { at = "header:x-s-{n}" } }"#,
        ),
        Case {
            body: "b=2&a=1&a=0&%C3%A9=+",
            ..one(
                r#"scheme.hmac = { hash = "sha1", signed = "{url}{form+}", signature = { at = "header:x-s" } }"#,
            )
        },
        Case {
            changes: &[("\"token\":\"abc\"", "\"token\":\"abd\"")],
            body: r#"{"signature":{"token":"abc"},"event-data":{}}"#,
            ..one(
                r#"scheme.hmac = { signed = "{json:/signature/timestamp}{json:/signature/token}", signature = { at = "json:/signature/signature" }, time = { at = "json:/signature/timestamp" } }"#,
            )
        },
        Case {
            changes: &[
                ("payload=a", "payload=b"),
                ("payload=a", "payload=a&payload=a"),
                ("payload", "other"),
            ],
            body: "payload=a%0A&other=b",
            ..one(
                r#"scheme.hmac = { key = "sha1_of_text", hash = "sha1", signed = "{form:payload}", signature = { at = "form:signature", split = "&", item = "*|" } }"#,
            )
        },
        Case {
            changes: &[
                ("amount=1", "amount=2"),
                ("txnid=x", "txnid=y"),
                ("key=k", "key=k&key=k"),
            ],
            body: "amount=1&txnid=x&key=k",
            ..one(
                r#"scheme.digest = { hash = "sha512", signed = "{secret}|{form:amount}|{form:txnid}|{form:key}", signature = { at = "form:hash" } }"#,
            )
        },
        one(r#"
            [[scheme.all_of]]
            hmac = { hash = "sha1", signed = "{url}", signature = { at = "header:x-s", encoding = "base64" } }
            [[scheme.all_of]]
            digest = { hash = "sha256", signed = "{body}", signature = { at = "query:bodySHA256" } }
        "#),
        public(
            r#"
            [[scheme.any_of]]
            hmac = { signed = "{body}", signature = { at = "header:webhook-signature" } }
            [[scheme.any_of]]
            [scheme.any_of.public_key]
            algorithm = "ed25519"
            key = "base64"
            key_prefixes = ["whpk_"]
            signed = "{id}.{timestamp}.{body}"
            signature = { at = "header:webhook-signature", split = " ", item = "v1a,", encoding = "base64" }
            time = { at = "header:webhook-timestamp" }
            message_id = "header:webhook-id"
        "#,
            &whsk,
        ),
        public(
            r#"scheme.public_key = { algorithm = "ed25519", key = "hex", signed = "{timestamp}{body}", signature = { at = "header:x-s" }, time = { at = "header:x-t" } }"#,
            &ed25519,
        ),
        public(
            r#"scheme.public_key = { algorithm = "ecdsa_p256_sha256", key = "spki", signed = "{body}", signature = { at = "header:x-s", encoding = "base64" } }"#,
            &ecdsa,
        ),
        public(
            r#"scheme.public_key = { algorithm = "rsa_pkcs1_sha256", key = "spki", signed = "{body}", signature = { at = "header:x-s", encoding = "base64" } }"#,
            include_str!("rsa.pem"),
        ),
    ]
}

fn pem(pkcs8: &[u8]) -> String {
    let encoded = Encoding::Base64.encode(pkcs8);
    format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----")
}

const HEADERS: [(&str, &[u8]); 1] = [("x-a", b"other")];

fn sign(verification: &Verification, body: &str, now: SystemTime) -> Signed {
    let request = Request {
        target: "/v1/webhooks/demo?a=b",
        ..post(&HEADERS, body.as_bytes())
    };
    let outgoing = Outgoing {
        request,
        message_id: Some("msg_1"),
    };
    verification.sign(&outgoing, now).unwrap()
}

fn verify_signed(
    verification: &Verification,
    signed: &Signed,
    now: SystemTime,
) -> Result<Verified, Unverified> {
    let added = signed.headers.iter();
    let added = added.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers: Vec<_> = HEADERS.into_iter().chain(added).collect();
    let request = Request {
        target: &signed.target,
        ..post(&headers, &signed.body)
    };
    verify(verification, &request, now)
}

/// `text` with each of its bytes changed, one after the other.
fn changed(text: &[u8], from: usize) -> impl Iterator<Item = Vec<u8>> {
    (from..text.len()).map(|place| {
        let mut changed = text.to_vec();
        changed[place] = if changed[place] == b'1' { b'2' } else { b'1' };
        changed
    })
}

#[test]
fn signed_requests_verify_and_changed_ones_do_not() {
    let now = at(1_700_000_000);
    for case in cases() {
        let verification = named(case.toml, &case.secrets);
        let signed = sign(&verification, case.body, now);
        let verified = verify_signed(&verification, &signed, now);
        assert!(verified.is_ok(), "{}: {verified:?} {signed:?}", case.toml);
        let refused = |signed: &Signed, what: &str| {
            let verified = verify_signed(&verification, signed, now);
            assert!(verified.is_err(), "{}: {what}", case.toml);
        };
        for (from, to) in case.changes {
            let body = String::from_utf8(signed.body.clone()).unwrap();
            assert!(body.contains(from), "{body}");
            let body = body.replacen(from, to, 1).into_bytes();
            refused(
                &Signed {
                    body,
                    ..signed.clone()
                },
                to,
            );
        }
        if case.changes.is_empty() {
            for body in changed(&signed.body, 0) {
                let what = String::from_utf8_lossy(&body).into_owned();
                refused(
                    &Signed {
                        body,
                        ..signed.clone()
                    },
                    &what,
                );
            }
            for body in [b"".to_vec(), [&signed.body[..], b"1"].concat()] {
                refused(
                    &Signed {
                        body,
                        ..signed.clone()
                    },
                    "another length",
                );
            }
        }
        if verification.signs_url() {
            for target in changed(signed.target.as_bytes(), "/v1/webhooks/demo?".len()) {
                let target = String::from_utf8(target).unwrap();
                refused(
                    &Signed {
                        target: target.clone(),
                        ..signed.clone()
                    },
                    &target,
                );
            }
        }
        for (index, (name, value)) in signed.headers.iter().enumerate() {
            for value in changed(value.as_bytes(), 0) {
                let mut other = signed.clone();
                other.headers[index].1 = String::from_utf8(value).unwrap();
                refused(&other, &other.headers[index].1);
            }
            let mut without = signed.clone();
            without.headers.remove(index);
            refused(&without, name);
        }
    }
}

#[test]
fn times_outside_the_tolerance_are_refused() {
    let now = at(1_700_000_000);
    for case in cases() {
        let verification = named(case.toml, &case.secrets);
        let signed = sign(&verification, case.body, now);
        let is_timed = case.toml.contains("time = ");
        for (distance, is_near) in [(0, true), (300, true), (301, false), (1_000_000, false)] {
            let seconds = i64::try_from(distance).unwrap();
            let distance = Duration::from_secs(distance);
            for (now, seconds) in [(now + distance, -seconds), (now - distance, seconds)] {
                let verified = verify_signed(&verification, &signed, now).map(drop);
                let expected = match is_near || !is_timed {
                    true => Ok(()),
                    false => Err(Unverified::TooFar { seconds }),
                };
                assert_eq!(verified, expected, "{}", case.toml);
            }
        }
    }
}

#[test]
fn tokens_and_passwords_are_sent_as_they_are_expected() {
    let now = at(0);
    for (toml, body, is_in_body) in [
        (r#"scheme.token = { at = "header:x-token" }"#, "", false),
        (
            r#"scheme.token = { at = "header:authorization", prefix = "Bearer ", form = "sha256" }"#,
            "",
            false,
        ),
        (r#"scheme.token = { at = "query:token" }"#, "", false),
        (r#"scheme.token = { at = "form:token" }"#, "a=1", true),
        (
            r#"scheme.token = { at = "json:/value/*/clientState" }"#,
            r#"{"value":[{"a":1},{"clientState":2}]}"#,
            true,
        ),
        ("scheme.basic = {}", "", false),
    ] {
        let verification = verification(toml, &["user:secret one", "user:secret two"]);
        let signed = sign(&verification, body, now);
        assert!(verify_signed(&verification, &signed, now).is_ok(), "{toml}");
        let other = super::verification(toml, &["user:another", "user:secret one"]);
        let verified = verify_signed(&other, &signed, now).unwrap();
        assert_eq!(verified.secret_index, 1, "{toml}");
        let other = super::verification(toml, &["user:another"]);
        let verified = verify_signed(&other, &signed, now);
        assert_eq!(verified, Err(Unverified::NoMatch), "{toml}");
        let is_refused_early = other.check_head(
            &Request {
                target: &signed.target,
                ..post(
                    &signed
                        .headers
                        .iter()
                        .map(|(n, v)| (n.as_str(), v.as_bytes()))
                        .collect::<Vec<_>>(),
                    b"",
                )
            },
            now,
        );
        assert_eq!(is_refused_early.is_ok(), is_in_body, "{toml}");
    }
}

#[test]
fn every_secret_signs_where_there_is_place() {
    let now = at(1_700_000_000);
    let secrets: Vec<String> = (0..20)
        .map(|number| format!("secret number {number}"))
        .collect();
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let listed = r#"scheme.hmac = { signed = "{timestamp}.{body}", signature = { at = "header:x-s", split = ",", item = "v1=" }, time = { at = "item:t" } }"#;
    let numbered = r#"scheme.hmac = { signed = "{body}", signature = { at = "header:x-s-{n}" } }"#;
    let single = r#"scheme.hmac = { signed = "{body}", signature = { at = "header:x-s" } }"#;
    for (toml, count) in [(listed, MAX_SIGNATURES), (numbered, 20), (single, 1)] {
        let signed = sign(&verification(toml, &secrets), "{}", now);
        for (number, secret) in secrets.iter().enumerate() {
            let one = verification(toml, &[secret]);
            let verified = verify_signed(&one, &signed, now);
            assert_eq!(verified.is_ok(), number < count, "{toml}");
        }
    }
}

#[test]
fn nothing_is_signed_without_a_key_an_id_or_a_place() {
    let toml = r#"
        [scheme.public_key]
        algorithm = "ed25519"
        key = "hex"
        signed = "{id}.{timestamp}.{body}"
        signature = { at = "header:x-s" }
        time = { at = "header:x-t" }
        message_id = "header:x-i"
    "#;
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let signing = |secret: &str, message_id, at| {
        let verification = named(toml, &Secrets::new().with("public_key", secret));
        let request = post(&[], b"{}");
        verification
            .sign(
                &Outgoing {
                    request,
                    message_id,
                },
                at,
            )
            .map(drop)
    };
    let private = format!("whsk_{}", Encoding::Base64.encode(&[7; 32]));
    let now = at(1_700_000_000);
    assert_eq!(signing(public, Some("a"), now), Err(Unsigned::NoKey));
    assert_eq!(signing(&private, Some("a"), now), Ok(()));
    for id in [
        None,
        Some(""),
        Some("a.b"),
        Some("a b"),
        Some("a\n"),
        Some("é"),
    ] {
        assert_eq!(signing(&private, id, now), Err(Unsigned::Id), "{id:?}");
    }
    let before = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(signing(&private, Some("a"), before), Err(Unsigned::Time));
    let toml = r#"scheme.hmac = { signed = "{json:/a}", signature = { at = "json:/s" } }"#;
    let verification = verification(toml, &["secret"]);
    for body in ["", "[]", "1", "{"] {
        let outgoing = Outgoing {
            request: post(&[], body.as_bytes()),
            message_id: None,
        };
        let signed = verification.sign(&outgoing, now);
        assert_eq!(signed, Err(Unsigned::Place(place("json:/s"))));
    }
}
