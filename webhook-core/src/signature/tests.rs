use std::collections::HashMap;
use std::time::UNIX_EPOCH;

use super::*;

/// The vector that the Svix and Standard Webhooks libraries publish in their tests.
const PUBLISHED_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PUBLISHED_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const PUBLISHED_TIME: u64 = 1_614_265_330;
const PUBLISHED_BODY: &[u8] = br#"{"test": 2432232314}"#;
const PUBLISHED_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

type Headers = HashMap<String, String>;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn headers(pairs: &[(&str, &str)]) -> Headers {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn verify(
    verifier: &dyn Verifier,
    headers: &Headers,
    body: &[u8],
    now: SystemTime,
) -> Result<(), Unverified> {
    let header = |name: &str| headers.get(name).map(|value| value.as_bytes());
    verifier.verify(&Delivery::new(&header, body, now))
}

fn signed(signer: &dyn Signer, now: SystemTime, body: &[u8]) -> Headers {
    signer
        .sign("msg_1", now, body)
        .unwrap()
        .into_iter()
        .collect()
}

fn with(mut headers: Headers, name: &str, value: &str) -> Headers {
    headers.insert(name.to_owned(), value.to_owned());
    headers
}

fn malformed(header: &str) -> Result<(), Unverified> {
    Err(Unverified::malformed(header))
}

/// One of each scheme, and the headers that hold its signature and its time.
fn schemes() -> Vec<(Box<dyn Both>, &'static str, Option<&'static str>)> {
    let body = |scheme| Box::new(BodyHmac::new(scheme, ["secret"]).unwrap());
    vec![
        (
            Box::new(StandardWebhooks::new([PUBLISHED_SECRET]).unwrap()),
            "webhook-signature",
            Some("webhook-timestamp"),
        ),
        (
            Box::new(StandardWebhooks::new([private(1)]).unwrap()),
            "webhook-signature",
            Some("webhook-timestamp"),
        ),
        (
            Box::new(Stripe::new(["whsec_secret"]).unwrap()),
            "stripe-signature",
            None,
        ),
        (body(BodyHmacScheme::github()), "x-hub-signature-256", None),
        (
            body(BodyHmacScheme::razorpay()),
            "x-razorpay-signature",
            None,
        ),
        (
            body(BodyHmacScheme::shopify()),
            "x-shopify-hmac-sha256",
            None,
        ),
        (
            body(BodyHmacScheme::cashfree()),
            "x-webhook-signature",
            Some("x-webhook-timestamp"),
        ),
    ]
}

trait Both: Verifier + Signer {}
impl<T: Verifier + Signer> Both for T {}

fn private(seed: u8) -> String {
    format!("whsk_{}", Encoding::Base64.encode(&[seed; 32]))
}

#[test]
fn the_published_vector_of_standard_webhooks() {
    let verifier = StandardWebhooks::new([PUBLISHED_SECRET]).unwrap();
    let made = verifier.sign(PUBLISHED_ID, at(PUBLISHED_TIME), PUBLISHED_BODY);
    let made: Headers = made.unwrap().into_iter().collect();
    assert_eq!(made["webhook-signature"], PUBLISHED_SIGNATURE);
    let now = at(PUBLISHED_TIME);
    assert_eq!(verify(&verifier, &made, PUBLISHED_BODY, now), Ok(()));
    let svix = headers(&[
        ("svix-id", PUBLISHED_ID),
        ("svix-timestamp", "1614265330"),
        ("svix-signature", PUBLISHED_SIGNATURE),
    ]);
    assert_eq!(verify(&verifier, &svix, PUBLISHED_BODY, now), Ok(()));
    let bare = StandardWebhooks::new([&PUBLISHED_SECRET["whsec_".len()..]]).unwrap();
    assert_eq!(verify(&bare, &svix, PUBLISHED_BODY, now), Ok(()));
}

#[test]
fn the_published_vector_of_github() {
    let verifier = BodyHmac::new(BodyHmacScheme::github(), ["It's a Secret to Everybody"]).unwrap();
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let sent = headers(&[("x-hub-signature-256", signature)]);
    assert_eq!(verify(&verifier, &sent, b"Hello, World!", at(0)), Ok(()));
    let made = signed(&verifier, at(0), b"Hello, World!");
    assert_eq!(made["x-hub-signature-256"], signature);
}

/// RFC 4231, test case 2.
#[test]
fn the_published_vector_of_hmac_sha256() {
    let verifier = BodyHmac::new(BodyHmacScheme::razorpay(), ["Jefe"]).unwrap();
    let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    for tag in [tag.to_owned(), tag.to_uppercase()] {
        let sent = headers(&[("x-razorpay-signature", &tag)]);
        let body = b"what do ya want for nothing?";
        assert_eq!(verify(&verifier, &sent, body, at(0)), Ok(()));
    }
    let verifier = BodyHmac::new(BodyHmacScheme::shopify(), ["Jefe"]).unwrap();
    let made = signed(&verifier, at(0), b"what do ya want for nothing?");
    assert_eq!(
        made["x-shopify-hmac-sha256"],
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
    );
}

#[test]
fn the_public_crate_agrees() {
    let own = StandardWebhooks::new([PUBLISHED_SECRET]).unwrap();
    let theirs = standardwebhooks::Webhook::new(PUBLISHED_SECRET).unwrap();
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (id, body) in [
        ("msg_1", &b"{}"[..]),
        ("a-b_C", b""),
        ("x", &[0xc3, 0xa9, 0x0a]),
    ] {
        let made: Headers = own.sign(id, now, body).unwrap().into_iter().collect();
        let signature = theirs.sign(id, seconds.try_into().unwrap(), body).unwrap();
        assert_eq!(made["webhook-signature"], signature);
        assert_eq!(verify(&own, &made, body, now), Ok(()));
    }
}

#[test]
fn what_is_signed_is_verified_and_nothing_else() {
    let now = at(1_700_000_000);
    let body = b"{\"amount\":1}";
    for (scheme, signature, _) in schemes() {
        let sent = signed(&*scheme, now, body);
        assert_eq!(verify(&*scheme, &sent, body, now), Ok(()), "{scheme:?}");
        for other in [&b"{\"amount\":2}"[..], b"", b"{\"amount\":1} "] {
            let verified = verify(&*scheme, &sent, other, now);
            assert_eq!(verified, Err(Unverified::NoMatch), "{scheme:?}");
        }
        for header in sent.keys() {
            let mut without = sent.clone();
            without.remove(header);
            let verified = verify(&*scheme, &without, body, now);
            assert!(verified.is_err(), "{scheme:?} without {header}");
        }
        // Every character of the signature counts, but for what only fills up its last byte.
        let value = &sent[signature];
        for place in 0..value.trim_end_matches('=').len() - 1 {
            let mut changed = value.clone().into_bytes();
            changed[place] = if changed[place] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(changed).unwrap();
            let verified = verify(
                &*scheme,
                &with(sent.clone(), signature, &changed),
                body,
                now,
            );
            assert!(verified.is_err(), "{scheme:?}: {changed}");
        }
    }
}

#[test]
fn signatures_are_of_their_time() {
    let now = at(1_700_000_000);
    for (scheme, signature, time) in schemes() {
        let sent = signed(&*scheme, now, b"{}");
        let is_timed = time.is_some() || signature == "stripe-signature";
        for (seconds, far) in [(300, false), (301, true), (1_000_000, true)] {
            let distance = Duration::from_secs(seconds);
            let expected = if far && is_timed {
                Err(Unverified::TooFar)
            } else {
                Ok(())
            };
            assert_eq!(verify(&*scheme, &sent, b"{}", now + distance), expected);
            assert_eq!(verify(&*scheme, &sent, b"{}", now - distance), expected);
        }
        if let Some(time) = time {
            let other = with(sent.clone(), time, "1700000001");
            assert!(verify(&*scheme, &other, b"{}", now).is_err(), "{scheme:?}");
        }
    }
}

#[test]
fn the_tolerance_may_be_chosen() {
    let now = at(1_700_000_000);
    let within = |tolerance| -> [Box<dyn Both>; 2] {
        [
            Box::new(Stripe::new(["s"]).unwrap().within(tolerance)),
            Box::new(
                StandardWebhooks::new([PUBLISHED_SECRET])
                    .unwrap()
                    .within(tolerance),
            ),
        ]
    };
    for patient in within(Duration::MAX) {
        let sent = signed(&*patient, at(0), b"{}");
        assert_eq!(verify(&*patient, &sent, b"{}", now), Ok(()));
    }
    for strict in within(Duration::from_secs(1)) {
        let sent = signed(&*strict, now, b"{}");
        for (seconds, expected) in [(1, Ok(())), (2, Err(Unverified::TooFar))] {
            let later = now + Duration::from_secs(seconds);
            assert_eq!(verify(&*strict, &sent, b"{}", later), expected);
        }
    }
}

/// Otherwise a proxy that checks the one set and a handler that reads the other could differ.
#[test]
fn the_older_names_count_only_where_the_newer_signature_is_missing() {
    let scheme = StandardWebhooks::new([PUBLISHED_SECRET]).unwrap();
    let now = at(1_700_000_000);
    let newer = signed(&scheme, now, b"{}");
    let older: Headers = newer
        .iter()
        .map(|(name, value)| (name.replace("webhook-", "svix-"), value.clone()))
        .collect();
    assert_eq!(verify(&scheme, &older, b"{}", now), Ok(()));
    let both: Headers = newer.into_iter().chain(older).collect();
    let changed = |name| with(both.clone(), name, "v1,AAAA");
    let verified = verify(&scheme, &changed("svix-signature"), b"{}", now);
    assert_eq!(verified, Ok(()));
    let verified = verify(&scheme, &changed("webhook-signature"), b"{}", now);
    assert_eq!(verified, Err(Unverified::NoMatch));
    let missing = Unverified::Missing {
        header: "webhook-signature".to_owned(),
    };
    let verified = verify(&scheme, &Headers::new(), b"{}", now);
    assert_eq!(verified, Err(missing));
}

#[test]
fn hostile_times_are_refusals() {
    let now = at(1_700_000_000);
    let hostile = [
        "",
        " ",
        "0",
        "-1",
        "+1700000000",
        "1700000000 ",
        "1700000000.0",
        "1.7e9",
        "0x6553f100",
        "-9223372036854775808",
        "9223372036854775807",
        "18446744073709551616",
        "1700000000170000000017000000001700000000",
        "NaN",
        "１７００００００００",
        "\u{0}",
    ];
    for (scheme, signature, time) in schemes() {
        let sent = signed(&*scheme, now, b"{}");
        for text in hostile {
            let changed = match time {
                Some(time) => with(sent.clone(), time, text),
                None if signature == "stripe-signature" => {
                    let value = sent[signature].replace("1700000000", text);
                    with(sent.clone(), signature, &value)
                }
                None => continue,
            };
            let verified = verify(&*scheme, &changed, b"{}", now);
            assert!(verified.is_err(), "{scheme:?}: {text:?}");
            assert!(
                verify(
                    &*scheme,
                    &changed,
                    b"{}",
                    UNIX_EPOCH - Duration::from_secs(1)
                )
                .is_err()
            );
        }
    }
}

#[test]
fn a_time_is_one_to_fourteen_digits() {
    for (text, number) in [
        ("0", Some(0)),
        ("1700000000", Some(1_700_000_000)),
        ("99999999999999", Some(99_999_999_999_999)),
        ("100000000000000", None),
        ("+1700000000", None),
        ("1700000000 ", None),
        ("", None),
    ] {
        assert_eq!(timestamp::parse(text), number, "{text:?}");
    }
}

#[test]
fn a_time_given_twice_is_refused() {
    let now = at(1_700_000_000);
    let scheme = Stripe::new(["s"]).unwrap();
    let sent = signed(&scheme, now, b"{}");
    for time in ["t=1700000000", "t=0"] {
        let value = format!("{time},{}", sent["stripe-signature"]);
        let twice = with(sent.clone(), "stripe-signature", &value);
        let verified = verify(&scheme, &twice, b"{}", now);
        assert_eq!(verified, malformed("stripe-signature"));
    }
}

#[test]
fn hostile_signatures_are_refusals() {
    let now = at(1_700_000_000);
    let many = "v1,AAAA ".repeat(10_000);
    let hostile = [
        "",
        " ",
        ",",
        "=",
        "v1",
        "v1,",
        "v1,=",
        "v1,!!!",
        "v2,AAAA",
        "t=1700000000",
        "t=1700000000,v1=",
        "t=1700000000,t=1700000000,v1=00",
        "sha256=",
        "sha256=zz",
        "sha1=00",
        "\u{fffd}",
        &many,
    ];
    for (scheme, signature, _) in schemes() {
        let sent = signed(&*scheme, now, b"{}");
        for text in hostile {
            let changed = with(sent.clone(), signature, text);
            let verified = verify(&*scheme, &changed, b"{}", now);
            assert!(verified.is_err(), "{scheme:?}: {text:?}");
        }
        let raw = [0xff, 0xfe];
        let header = |name: &str| (name == signature).then_some(&raw[..]);
        let delivery = Delivery::new(&header, b"{}", now);
        assert!(scheme.verify(&delivery).is_err());
    }
}

#[test]
fn any_of_several_secrets_will_do() {
    let now = at(1_700_000_000);
    let (old, new) = ("whsec_b2xkIG9sZCBvbGQ=", "whsec_bmV3IG5ldyBuZXc=");
    let both = StandardWebhooks::new([new, old]).unwrap();
    for one in [old, new] {
        let one = StandardWebhooks::new([one]).unwrap();
        let sent = signed(&one, now, b"{}");
        assert_eq!(verify(&both, &sent, b"{}", now), Ok(()));
        // A sender that rolls its secret signs with both.
        let sent = signed(&both, now, b"{}");
        assert_eq!(sent["webhook-signature"].split(' ').count(), 2);
        assert_eq!(verify(&one, &sent, b"{}", now), Ok(()));
    }
    let other = StandardWebhooks::new(["whsec_b3RoZXI="]).unwrap();
    let sent = signed(&other, now, b"{}");
    assert_eq!(verify(&both, &sent, b"{}", now), Err(Unverified::NoMatch));
    let stripe = Stripe::new(["a", "b"]).unwrap();
    for one in ["a", "b"] {
        let sent = signed(&Stripe::new([one]).unwrap(), now, b"{}");
        assert_eq!(verify(&stripe, &sent, b"{}", now), Ok(()));
        let sent = signed(&stripe, now, b"{}");
        assert_eq!(
            verify(&Stripe::new([one]).unwrap(), &sent, b"{}", now),
            Ok(())
        );
    }
}

#[test]
fn public_keys_verify_and_private_ones_sign() {
    let now = at(1_700_000_000);
    let signer = StandardWebhooks::new([private(7)]).unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let encode = |bytes: &[u8]| Encoding::Base64.encode(bytes);
    let public = format!("whpk_{}", encode(key.verifying_key().as_bytes()));
    let pair = format!("whsk_{}", encode(&key.to_keypair_bytes()));
    let verifier = StandardWebhooks::new([&public]).unwrap();
    let sent = signed(&signer, now, b"{}");
    assert!(sent["webhook-signature"].starts_with("v1a,"));
    assert_eq!(verify(&verifier, &sent, b"{}", now), Ok(()));
    assert_eq!(
        signed(&StandardWebhooks::new([pair]).unwrap(), now, b"{}"),
        sent
    );
    assert_eq!(verifier.sign("a", now, b"{}"), Err(Unsigned::NoKey));
    // A signature of one version is none of another.
    let as_v1 = sent["webhook-signature"].replace("v1a,", "v1,");
    let relabelled = with(sent.clone(), "webhook-signature", &as_v1);
    let mixed = StandardWebhooks::new([public.as_str(), PUBLISHED_SECRET]).unwrap();
    assert_eq!(
        verify(&mixed, &relabelled, b"{}", now),
        Err(Unverified::NoMatch)
    );
    let list = format!(
        "v9,AAAA v1,{} {}",
        encode(&[0; 32]),
        sent["webhook-signature"]
    );
    assert_eq!(
        verify(&mixed, &with(sent, "webhook-signature", &list), b"{}", now),
        Ok(())
    );
}

#[test]
fn no_more_is_signed_than_is_looked_at() {
    let now = at(1_700_000_000);
    let secrets = || (0..=MAX_SIGNATURES).map(|number| format!("secret{number:02}"));
    let schemes: [(Box<dyn Both>, _, _); 2] = [
        (
            Box::new(StandardWebhooks::new(secrets()).unwrap()),
            "webhook-signature",
            " v1,AAAA",
        ),
        (
            Box::new(Stripe::new(secrets()).unwrap()),
            "stripe-signature",
            ",v1=00",
        ),
    ];
    for (scheme, header, another) in schemes {
        let sent = signed(&*scheme, now, b"{}");
        assert_eq!(verify(&*scheme, &sent, b"{}", now), Ok(()));
        let value = format!("{}{another}", sent[header]);
        let more = with(sent, header, &value);
        assert_eq!(verify(&*scheme, &more, b"{}", now), malformed(header));
    }
}

#[test]
fn ids_that_could_be_disputed_are_refused() {
    let now = at(1_700_000_000);
    let scheme = StandardWebhooks::new([PUBLISHED_SECRET]).unwrap();
    let sent = signed(&scheme, now, b"{}");
    for id in ["", "a.b", "."] {
        let changed = with(sent.clone(), "webhook-id", id);
        assert_eq!(
            verify(&scheme, &changed, b"{}", now),
            malformed("webhook-id")
        );
    }
    for id in ["", "a.b", "a b", "a\n", "é"] {
        assert_eq!(scheme.sign(id, now, b"{}"), Err(Unsigned::Id), "{id:?}");
    }
    let before = UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(scheme.sign("a", before, b"{}"), Err(Unsigned::Time));
}

#[test]
fn cashfree_signs_milliseconds_and_the_body() {
    let verifier = BodyHmac::new(BodyHmacScheme::cashfree(), ["secret"]).unwrap();
    let now = UNIX_EPOCH + Duration::from_millis(1_746_427_759_733);
    let made = signed(&verifier, now, b"{\"a\":1}");
    assert_eq!(made["x-webhook-timestamp"], "1746427759733");
    let plain = BodyHmac::new(BodyHmacScheme::base64("x-webhook-signature"), ["secret"]).unwrap();
    let joined = signed(&plain, now, b"1746427759733{\"a\":1}");
    assert_eq!(made["x-webhook-signature"], joined["x-webhook-signature"]);
    assert_eq!(verify(&verifier, &made, b"{\"a\":1}", now), Ok(()));
}

#[test]
fn what_is_no_secret_is_told() {
    let none: [&str; 0] = [];
    assert_eq!(
        StandardWebhooks::new(none).unwrap_err(),
        InvalidSecret::None
    );
    assert_eq!(Stripe::new(none).unwrap_err(), InvalidSecret::None);
    assert_eq!(Stripe::new([""]).unwrap_err(), InvalidSecret::Empty);
    let scheme = BodyHmacScheme::github();
    assert_eq!(
        BodyHmac::new(scheme, [""]).unwrap_err(),
        InvalidSecret::Empty
    );
    for (secret, error) in [
        ("", InvalidSecret::Empty),
        ("whsec_", InvalidSecret::Empty),
        ("whsec_not base64", InvalidSecret::NotBase64),
        ("whpk_AAAA", InvalidSecret::NotEd25519),
        ("whsk_AAAA", InvalidSecret::NotEd25519),
        ("whpk_!", InvalidSecret::NotBase64),
    ] {
        assert_eq!(
            StandardWebhooks::new([secret]).unwrap_err(),
            error,
            "{secret}"
        );
    }
}

#[test]
fn no_secret_is_shown() {
    let shown = [
        format!(
            "{:?}",
            StandardWebhooks::new([PUBLISHED_SECRET, &private(65)]).unwrap()
        ),
        format!("{:?}", Stripe::new(["hunter2"]).unwrap()),
        format!(
            "{:?}",
            BodyHmac::new(BodyHmacScheme::github(), ["hunter2"]).unwrap()
        ),
    ];
    for shown in shown {
        for secret in [
            "hunter2", "MfKQ9r8", "QUFBQUFB", "AAAAAAAA", "65, 65", "41, 41",
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
