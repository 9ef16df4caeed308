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
    verify_pairs(verifier, &pairs(headers), body, now).map(drop)
}

/// Verifies headers that may repeat. Asserts that the check of the headers alone refuses nothing that
/// is genuine, and gives no other reason.
fn verify_pairs(
    verifier: &dyn Verifier,
    pairs: &[(&str, &str)],
    body: &[u8],
    now: SystemTime,
) -> Result<usize, Unverified> {
    let header = |name: &str| {
        let values = pairs.iter().filter(|(known, _)| *known == name);
        values.map(|(_, value)| value.as_bytes()).collect()
    };
    let verified = verifier.verify(&Delivery::new(&header, body, now));
    if let Err(refused) = verifier.check_headers(&header, now) {
        assert_eq!(verified, Err(refused));
    }
    verified.map(|it| it.secret_index)
}

fn pairs(headers: &Headers) -> Vec<(&str, &str)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
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
    let body = |scheme| Box::new(BodyHmac::new(scheme, ["a secret of text"]).unwrap());
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
            Box::new(Stripe::new(["whsec_a_secret_of_stripe"]).unwrap()),
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

fn mac_secret(seed: u8) -> String {
    format!("whsec_{}", Encoding::Base64.encode(&[seed; 24]))
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
    let verifier = BodyHmac::with_length(
        BodyHmacScheme::razorpay(),
        SecretLength::Unchecked,
        ["Jefe"],
    )
    .unwrap();
    let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    for tag in [tag.to_owned(), tag.to_uppercase()] {
        let sent = headers(&[("x-razorpay-signature", &tag)]);
        let body = b"what do ya want for nothing?";
        assert_eq!(verify(&verifier, &sent, body, at(0)), Ok(()));
    }
    let verifier =
        BodyHmac::with_length(BodyHmacScheme::shopify(), SecretLength::Unchecked, ["Jefe"])
            .unwrap();
    let made = signed(&verifier, at(0), b"what do ya want for nothing?");
    assert_eq!(
        made["x-shopify-hmac-sha256"],
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
    );
}

#[test]
fn the_standardwebhooks_crate_agrees() {
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
fn signed_deliveries_verify_and_changed_ones_do_not() {
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
fn signatures_outside_the_tolerance_are_refused() {
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
fn tolerance_is_configurable() {
    let now = at(1_700_000_000);
    let within = |tolerance| -> [Box<dyn Both>; 2] {
        [
            Box::new(Stripe::new(["a secret"]).unwrap().with_tolerance(tolerance)),
            Box::new(
                StandardWebhooks::new([PUBLISHED_SECRET])
                    .unwrap()
                    .with_tolerance(tolerance),
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

#[test]
fn malformed_times_are_refused() {
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
    let scheme = Stripe::new(["a secret"]).unwrap();
    let sent = signed(&scheme, now, b"{}");
    for time in ["t=1700000000", "t=0"] {
        let value = format!("{time},{}", sent["stripe-signature"]);
        let twice = with(sent.clone(), "stripe-signature", &value);
        let verified = verify(&scheme, &twice, b"{}", now);
        assert_eq!(verified, malformed("stripe-signature"));
    }
}

#[test]
fn malformed_signatures_are_refused() {
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
        let header = |name: &str| {
            (name == signature)
                .then_some(&raw[..])
                .into_iter()
                .collect()
        };
        let delivery = Delivery::new(&header, b"{}", now);
        assert!(scheme.verify(&delivery).is_err());
    }
}

#[test]
fn any_of_several_secrets_verifies() {
    let now = at(1_700_000_000);
    let (old, new) = (mac_secret(1), mac_secret(2));
    let (old, new) = (old.as_str(), new.as_str());
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
    let other = StandardWebhooks::new([mac_secret(3)]).unwrap();
    let sent = signed(&other, now, b"{}");
    assert_eq!(verify(&both, &sent, b"{}", now), Err(Unverified::NoMatch));
    let stripe = Stripe::new(["secret a", "secret b"]).unwrap();
    for one in ["secret a", "secret b"] {
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
fn signers_write_at_most_the_signatures_that_verifiers_read() {
    let now = at(1_700_000_000);
    let secrets =
        || (0..=MAX_SIGNATURES).map(|number| format!("a+secret+of+{number:02}+thirty+two+letter"));
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
fn ids_with_a_full_stop_are_refused() {
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
    let verifier = BodyHmac::new(BodyHmacScheme::cashfree(), ["a secret of text"]).unwrap();
    let now = UNIX_EPOCH + Duration::from_millis(1_746_427_759_733);
    let made = signed(&verifier, now, b"{\"a\":1}");
    assert_eq!(made["x-webhook-timestamp"], "1746427759733");
    let plain = BodyHmac::new(
        BodyHmacScheme::base64("x-webhook-signature"),
        ["a secret of text"],
    )
    .unwrap();
    let joined = signed(&plain, now, b"1746427759733{\"a\":1}");
    assert_eq!(made["x-webhook-signature"], joined["x-webhook-signature"]);
    assert_eq!(verify(&verifier, &made, b"{\"a\":1}", now), Ok(()));
}

#[test]
fn invalid_secrets_have_specific_errors() {
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
fn short_secrets_are_refused_unless_the_caller_allows_them() {
    fn key(bytes: usize) -> String {
        Encoding::Base64.encode(&vec![7; bytes])
    }
    let standard = |length, bytes| StandardWebhooks::with_length(length, [key(bytes)]).map(drop);
    let stripe = |length, bytes| Stripe::with_length(length, ["x".repeat(bytes)]).map(drop);
    let body = |length, bytes| {
        let secrets = ["x".repeat(bytes)];
        BodyHmac::with_length(BodyHmacScheme::github(), length, secrets).map(drop)
    };
    let too_short = |min_bytes| Err(InvalidSecret::TooShort { min_bytes });
    for bytes in [1, 7, 8, 23, 24, 64] {
        let expected = |min_bytes| {
            if bytes < min_bytes {
                too_short(min_bytes)
            } else {
                Ok(())
            }
        };
        assert_eq!(standard(SecretLength::Checked, bytes), expected(24));
        assert_eq!(stripe(SecretLength::Checked, bytes), expected(8));
        assert_eq!(body(SecretLength::Checked, bytes), expected(8));
        for unchecked in [standard, stripe, body] as [fn(_, _) -> _; 3] {
            assert_eq!(unchecked(SecretLength::Unchecked, bytes), Ok(()));
        }
    }
    for unchecked in [standard, stripe, body] as [fn(_, _) -> _; 3] {
        let empty = unchecked(SecretLength::Unchecked, 0);
        assert_eq!(empty, Err(InvalidSecret::Empty));
    }
    // One short secret among good ones is found, too.
    let mixed = StandardWebhooks::new([key(24), key(3)]).map(drop);
    assert_eq!(mixed, too_short(24));
}

#[test]
fn secrets_may_be_written_with_their_version() {
    let now = at(1_700_000_000);
    let private = private(9);
    let plain = StandardWebhooks::new([PUBLISHED_SECRET, &private]).unwrap();
    let versions = [format!("v1,{PUBLISHED_SECRET}"), format!("v1a,{private}")];
    let versioned = StandardWebhooks::new(versions).unwrap();
    let sent = signed(&plain, now, b"{}");
    assert_eq!(sent, signed(&versioned, now, b"{}"));
    for wrong in [
        "v2,whsec_",
        "v1,v1,whsec_",
        "v1a,whsec_",
        "V1,whsec_",
        "v1 whsec_",
    ] {
        let secret = PUBLISHED_SECRET.replace("whsec_", wrong);
        let refused = StandardWebhooks::new([secret]).map(drop);
        assert_eq!(refused, Err(InvalidSecret::NotBase64), "{wrong}");
    }
}

#[test]
fn the_index_of_the_matching_secret_is_returned() {
    let now = at(1_700_000_000);
    let secrets = [mac_secret(1), private(2), mac_secret(3), private(4)];
    let all = StandardWebhooks::new(&secrets).unwrap();
    assert_eq!(all.secret_count(), 4);
    for (position, secret) in secrets.iter().enumerate() {
        let sent = signed(&StandardWebhooks::new([secret]).unwrap(), now, b"{}");
        assert_eq!(verify_pairs(&all, &pairs(&sent), b"{}", now), Ok(position));
    }
    let texts = ["secret a", "secret b", "secret c"];
    let stripe = Stripe::new(texts).unwrap();
    let github = BodyHmac::new(BodyHmacScheme::github(), texts).unwrap();
    assert_eq!((stripe.secret_count(), github.secret_count()), (3, 3));
    for (position, text) in texts.into_iter().enumerate() {
        let sent = signed(&Stripe::new([text]).unwrap(), now, b"{}");
        let verified = verify_pairs(&stripe, &pairs(&sent), b"{}", now);
        assert_eq!(verified, Ok(position));
        let one = BodyHmac::new(BodyHmacScheme::github(), [text]).unwrap();
        let sent = signed(&one, now, b"{}");
        let verified = verify_pairs(&github, &pairs(&sent), b"{}", now);
        assert_eq!(verified, Ok(position));
    }
    // Several match: the first is told.
    let twice = Stripe::new(["secret a", "secret b", "secret b"]).unwrap();
    let sent = signed(&twice, now, b"{}");
    assert_eq!(verify_pairs(&twice, &pairs(&sent), b"{}", now), Ok(0));
    let sent = signed(&Stripe::new(["secret b"]).unwrap(), now, b"{}");
    assert_eq!(verify_pairs(&twice, &pairs(&sent), b"{}", now), Ok(1));
}

#[test]
fn a_header_given_twice_is_refused_whatever_its_values_are() {
    let now = at(1_700_000_000);
    for (scheme, ..) in schemes() {
        let sent = signed(&*scheme, now, b"{}");
        for (name, value) in &sent {
            let repeated = Unverified::Repeated {
                header: name.clone(),
            };
            for second in [value.as_str(), "", "0", "v1,AAAA", "\u{fffd}"] {
                for first_place in [true, false] {
                    let mut twice = pairs(&sent);
                    let place = if first_place { 0 } else { twice.len() };
                    twice.insert(place, (name, second));
                    let verified = verify_pairs(&*scheme, &twice, b"{}", now);
                    assert_eq!(verified, Err(repeated.clone()), "{scheme:?} {twice:?}");
                }
            }
        }
    }
}

/// Otherwise a proxy that checks the one spelling and a handler that reads the other could differ.
#[test]
fn two_spellings_of_a_header_must_agree() {
    let now = at(1_700_000_000);
    let scheme = StandardWebhooks::new([PUBLISHED_SECRET]).unwrap();
    let newer = signed(&scheme, now, b"{}");
    let to_older = |name: &str| name.replace("webhook-", "svix-");
    let older: Headers = newer
        .iter()
        .map(|(name, value)| (to_older(name), value.clone()))
        .collect();
    assert_eq!(verify(&scheme, &older, b"{}", now), Ok(()));
    let both: Headers = newer.clone().into_iter().chain(older.clone()).collect();
    assert_eq!(verify(&scheme, &both, b"{}", now), Ok(()));
    for name in both.keys() {
        let changed = with(both.clone(), name, "1700000001");
        let verified = verify(&scheme, &changed, b"{}", now);
        assert!(
            matches!(verified, Err(Unverified::Repeated { .. })),
            "{name}"
        );
        // One spelling alone must be complete.
        let mut split = newer.clone();
        if let Some(value) = split.remove(name) {
            split.insert(to_older(name), value);
            assert!(verify(&scheme, &split, b"{}", now).is_err(), "{name}");
        }
        let mut twice = pairs(&both);
        twice.push((name, &both[name]));
        let verified = verify_pairs(&scheme, &twice, b"{}", now);
        assert!(
            matches!(verified, Err(Unverified::Repeated { .. })),
            "{name}"
        );
    }
    let missing = Unverified::Missing {
        header: "webhook-signature".to_owned(),
    };
    let verified = verify(&scheme, &Headers::new(), b"{}", now);
    assert_eq!(verified, Err(missing));
}

#[test]
fn forged_headers_are_refused_before_the_body_is_read() {
    let now = at(1_700_000_000);
    let check = |scheme: &dyn Verifier, headers: &Headers, now| {
        let header = |name: &str| {
            let value = headers.get(name).map(|value| value.as_bytes());
            value.into_iter().collect()
        };
        scheme.check_headers(&header, now)
    };
    for (scheme, signature, time) in schemes() {
        let sent = signed(&*scheme, now, b"{}");
        assert_eq!(check(&*scheme, &sent, now), Ok(()));
        for header in sent.keys() {
            let mut without = sent.clone();
            without.remove(header);
            let checked = check(&*scheme, &without, now);
            assert!(matches!(checked, Err(Unverified::Missing { .. })));
        }
        for forged in [
            "",
            "v1,AAAA",
            "v1a,AAAA",
            "v9,AAAA",
            "sha256=00",
            "t=1700000000,v1=00",
        ] {
            let forged = with(sent.clone(), signature, forged);
            assert!(check(&*scheme, &forged, now).is_err(), "{scheme:?}");
        }
        if time.is_some() || signature == "stripe-signature" {
            let late = now + Duration::from_secs(301);
            assert_eq!(check(&*scheme, &sent, late), Err(Unverified::TooFar));
        }
    }
    // A signature of a version for which there is no key.
    let mac = StandardWebhooks::new([PUBLISHED_SECRET]).unwrap();
    let public = StandardWebhooks::new([private(1)]).unwrap();
    let of_public = signed(&public, now, b"{}");
    assert_eq!(check(&mac, &of_public, now), Err(Unverified::NoMatch));
    let of_mac = signed(&mac, now, b"{}");
    assert_eq!(check(&public, &of_mac, now), Err(Unverified::NoMatch));
}

#[test]
fn pairs_of_signature_and_public_key_are_limited() {
    let now = at(1_700_000_000);
    let keys = |count| (1..=count).map(private);
    let most = u8::try_from(MAX_PUBLIC_KEYS).unwrap();
    let too_many = StandardWebhooks::new(keys(most + 1)).map(drop);
    assert_eq!(too_many, Err(InvalidSecret::TooManyKeys));
    let all = StandardWebhooks::new(keys(most)).unwrap();
    // A signature alone is tried with every key.
    for seed in 1..=most {
        let sent = signed(&StandardWebhooks::new([private(seed)]).unwrap(), now, b"{}");
        assert_eq!(verify(&all, &sent, b"{}", now), Ok(()));
    }
    // Two keys and two signatures, as in a rotation, are tried in every pair.
    let two = StandardWebhooks::new(keys(2)).unwrap();
    let genuine = signed(&StandardWebhooks::new([private(2)]).unwrap(), now, b"{}");
    let forged = format!("v1a,{}", Encoding::Base64.encode(&[1; 64]));
    let after = |count: usize| {
        let list = format!(
            "{} {}",
            vec![forged.clone(); count].join(" "),
            genuine["webhook-signature"]
        );
        with(genuine.clone(), "webhook-signature", &list)
    };
    assert_eq!(verify(&two, &after(1), b"{}", now), Ok(()));
    for count in [MAX_PUBLIC_KEY_CHECKS, MAX_SIGNATURES - 1] {
        let verified = verify(&two, &after(count), b"{}", now);
        assert_eq!(verified, Err(Unverified::NoMatch));
    }
}

#[test]
fn errors_show_no_part_of_a_secret() {
    for secret in [
        "whsec_hunter2!hunter2!",
        "hunter2",
        "whpk_hunter2",
        "whsk_hunter2~",
        "v1,whsec_hunter2",
        "whsec_hunter2=hunter2",
    ] {
        let error = StandardWebhooks::new([secret]).unwrap_err();
        let shown = format!("{error} {error:?}");
        for part in ["hunter", "!", "~", "=", "104", "0x"] {
            assert!(!shown.contains(part), "{shown}");
        }
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let shown = [
        format!(
            "{:?}",
            StandardWebhooks::new([PUBLISHED_SECRET, &private(65)]).unwrap()
        ),
        format!("{:?}", Stripe::new(["hunter2hunter2"]).unwrap()),
        format!(
            "{:?}",
            BodyHmac::new(BodyHmacScheme::github(), ["hunter2hunter2"]).unwrap()
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
