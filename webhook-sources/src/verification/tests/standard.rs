//! Standard Webhooks and Svix, by their preset.

use super::*;
use crate::preset;

/// The vector that the Svix and Standard Webhooks libraries publish in their tests.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &[u8] = b"msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME: u64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn svix(secrets: &Secrets) -> Verification {
    let scheme = &preset::get("svix").unwrap().spec.scheme;
    Verification::new(scheme, secrets, options()).unwrap()
}

/// The headers with `signature` in this spelling.
fn headers<'a>(spelling: &str, signature: &'a str) -> [(&'static str, &'a [u8]); 3] {
    let names = match spelling {
        "svix" => ["svix-id", "svix-timestamp", "svix-signature"],
        _ => ["webhook-id", "webhook-timestamp", "webhook-signature"],
    };
    [
        (names[0], ID),
        (names[1], b"1614265330"),
        (names[2], signature.as_bytes()),
    ]
}

fn sign(
    verification: &Verification,
    id: &str,
    now: SystemTime,
    body: &[u8],
) -> Vec<(String, String)> {
    let outgoing = Outgoing {
        request: post(&[], body),
        message_id: Some(id),
    };
    verification.sign(&outgoing, now).unwrap().headers
}

#[test]
fn the_published_vector_is_verified_in_both_spellings() {
    let without_prefix = &SECRET["whsec_".len()..];
    let with_version = format!("v1,{SECRET}");
    for secret in [SECRET, without_prefix, &with_version] {
        let verification = svix(&Secrets::of([secret]));
        for spelling in ["webhook", "svix"] {
            let sent = headers(spelling, SIGNATURE);
            let verified = verify(&verification, &post(&sent, BODY), at(TIME)).unwrap();
            assert_eq!(verified.message_id.as_deref().map(str::as_bytes), Some(ID));
        }
        let made = sign(
            &verification,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at(TIME),
            BODY,
        );
        assert!(made.iter().any(|(_, value)| value == SIGNATURE));
    }
}

/// The id is that of the spelling that is signed, whatever the other one says.
#[test]
fn an_id_in_the_other_spelling_does_not_count() {
    let verification = svix(&Secrets::of([SECRET]));
    for (signed, other) in [("webhook", "svix-id"), ("svix", "webhook-id")] {
        let sent = headers(signed, SIGNATURE);
        let sent: Vec<_> = sent.into_iter().chain([(other, &b"another"[..])]).collect();
        let verified = verify(&verification, &post(&sent, BODY), at(TIME)).unwrap();
        assert_eq!(verified.message_id.as_deref().map(str::as_bytes), Some(ID));
    }
}

#[test]
fn the_standardwebhooks_crate_agrees() {
    let own = svix(&Secrets::of([SECRET]));
    let theirs = standardwebhooks::Webhook::new(SECRET).unwrap();
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (id, body) in [
        ("msg_1", &b"{}"[..]),
        ("a-b_C", b""),
        ("x", &[0xc3, 0xa9, 0x0a]),
    ] {
        let made = sign(&own, id, now, body);
        let signature = theirs.sign(id, seconds.try_into().unwrap(), body).unwrap();
        assert!(made.iter().any(|(_, value)| *value == signature));
    }
}

#[test]
fn signatures_of_one_version_are_none_of_another() {
    let now = at(1_700_000_000);
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let encode = |bytes: &[u8]| Encoding::Base64.encode(bytes);
    let private = format!("whsk_{}", encode(key.as_bytes()));
    let pair = format!("v1a,whsk_{}", encode(&key.to_keypair_bytes()));
    let public = encode(key.verifying_key().as_bytes());
    let made = sign(
        &svix(&Secrets::new().with("public_key", private)),
        "msg_1",
        now,
        b"{}",
    );
    assert_eq!(
        made,
        sign(
            &svix(&Secrets::new().with("public_key", pair)),
            "msg_1",
            now,
            b"{}"
        )
    );
    for public in [
        format!("whpk_{public}"),
        format!("v1a,whpk_{public}"),
        public,
    ] {
        let mixed = svix(&Secrets::of([SECRET]).with("public_key", public));
        let with = |change: &dyn Fn(&str) -> String| {
            let changed = made
                .iter()
                .map(|(name, value)| (name.as_str(), change(value)));
            let changed: Vec<_> = changed.collect();
            let sent: Vec<_> = changed
                .iter()
                .map(|(name, value)| (*name, value.as_bytes()))
                .collect();
            verify(&mixed, &post(&sent, b"{}"), now).map(|verified| verified.secret_index)
        };
        assert_eq!(with(&str::to_owned), Ok(1));
        let as_v1 = with(&|value| value.replace("v1a,", "v1,"));
        assert!(
            matches!(as_v1, Err(Unverified::Malformed { .. })),
            "{as_v1:?}"
        );
        // Other versions, and signatures of others, do not hinder.
        let wrong = encode(&[0; 32]);
        let listed = with(&|value| value.replace("v1a,", &format!("v9,AAAA v1,{wrong} v1a,")));
        assert_eq!(listed, Ok(1));
    }
}
