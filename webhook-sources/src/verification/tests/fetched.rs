//! Schemes whose keys are fetched: tokens and certificates.

use std::collections::HashMap;
use std::sync::Mutex;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::*;
use crate::preset;
use crate::spec::{Algorithm, JwtAlgorithm, KeySet};

const NOW: u64 = 1_700_000_000;

/// What is there, by what it was asked for with.
#[derive(Debug, Default)]
struct Documents {
    there: Mutex<HashMap<KeyRequest, Arc<[u8]>>>,
    authorities: Vec<Vec<u8>>,
}

impl Documents {
    fn put(&self, request: &KeyRequest, document: impl Into<Vec<u8>>) {
        let mut there = self.there.lock().unwrap();
        there.insert(request.clone(), document.into().into());
    }
}

impl Keys for Documents {
    fn find(&self, request: &KeyRequest) -> Option<Arc<[u8]>> {
        self.there.lock().unwrap().get(request).cloned()
    }

    fn authorities(&self) -> Vec<Vec<u8>> {
        self.authorities.clone()
    }
}

/// A verification by the scheme of a preset.
fn preset_with(
    name: &str,
    settings: &[(&str, &str)],
    keys: &Arc<Documents>,
    change: impl FnOnce(&mut Scheme),
) -> Verification {
    let mut spec = preset::get(name).unwrap().spec.clone();
    change(&mut spec.scheme);
    let own = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    spec.settings.extend(own);
    let secrets = match name {
        "plaid" => Secrets::new()
            .with("client_id", "the id of the client")
            .with("secret", "the \"secret\" of the API"),
        _ => Secrets::new(),
    };
    let options = VerificationOptions {
        settings: spec.settings,
        keys: Some(Arc::<Documents>::clone(keys)),
        ..options()
    };
    Verification::new(&spec.scheme, &secrets, options).unwrap_or_else(|it| panic!("{it:?}"))
}

fn unchanged(_: &mut Scheme) {}

// Tokens

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    Encoding::Base64Url.encode(bytes.as_ref())
}

fn rsa_key() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(&rsa_pkcs8()).unwrap()
}

fn rsa_pkcs8() -> Vec<u8> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("rsa.pem")).unwrap();
    key.secret_pkcs8_der().to_vec()
}

fn rsa_jwk(id: &str) -> Value {
    let public: PublicKeyComponents<Vec<u8>> = rsa_key().public().into();
    json!({
        "kty": "RSA", "kid": id, "alg": "RS256", "use": "sig",
        "n": base64url(public.n), "e": base64url(public.e),
    })
}

fn sign_rsa(content: &[u8]) -> Vec<u8> {
    let key = rsa_key();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        content,
        &mut signature,
    )
    .unwrap();
    signature
}

fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let content = format!(
        "{}.{}",
        base64url(header.to_string()),
        base64url(claims.to_string())
    );
    let signature = sign(content.as_bytes());
    format!("{content}.{}", base64url(signature))
}

const AUDIENCE: &str = "https://example.com/hooks";
const ACCOUNT: &str = "push@project.iam.gserviceaccount.com";
const SETTINGS: [(&str, &str); 2] = [("audience", AUDIENCE), ("service_account", ACCOUNT)];

fn google_claims() -> Value {
    json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT,
        "email_verified": true, "iat": NOW - 10, "exp": NOW + 3_600,
    })
}

fn google_keys() -> KeyRequest {
    KeyRequest::get("https://www.googleapis.com/oauth2/v3/certs")
}

fn bearer(verification: &Verification, token: &str) -> Result<Verified, Unverified> {
    let value = format!("Bearer {token}");
    verify(
        verification,
        &post(&[("Authorization", value.as_bytes())], b"{}"),
        at(NOW),
    )
}

#[test]
fn tokens_of_pubsub_are_verified() {
    let keys = Arc::<Documents>::default();
    let pubsub = preset_with("pubsub", &SETTINGS, &keys, unchanged);
    assert_eq!(pubsub.key_requests(), [google_keys()]);
    let header = json!({"alg": "RS256", "kid": "k1", "typ": "JWT"});
    let genuine = token(&header, &google_claims(), sign_rsa);
    let missing = Unverified::KeyNotFetched {
        request: google_keys(),
    };
    assert_eq!(bearer(&pubsub, &genuine), Err(missing));

    // A key of another sort is in the set, and does no harm.
    let other = json!({"kty": "OKP", "kid": "k3", "crv": "Ed25519", "x": "AA"});
    keys.put(
        &google_keys(),
        json!({"keys": [other, rsa_jwk("k2")]}).to_string(),
    );
    let unknown = Unverified::UnknownKey {
        request: google_keys(),
    };
    assert_eq!(bearer(&pubsub, &genuine), Err(unknown));

    keys.put(
        &google_keys(),
        json!({"keys": [rsa_jwk("k2"), rsa_jwk("k1")]}).to_string(),
    );
    assert!(bearer(&pubsub, &genuine).is_ok());
    let mut several = google_claims();
    several["aud"] = json!(["https://other.example", AUDIENCE]);
    assert!(bearer(&pubsub, &token(&header, &several, sign_rsa)).is_ok());

    let forged = token(&header, &google_claims(), |content| {
        sign_rsa(&[content, b"x"].concat())
    });
    assert_eq!(bearer(&pubsub, &forged), Err(Unverified::NoMatch));
    keys.put(&google_keys(), "<html>");
    let unknown = Unverified::UnknownKey {
        request: google_keys(),
    };
    assert_eq!(bearer(&pubsub, &genuine), Err(unknown));
}

#[test]
fn claims_must_be_what_the_source_requires() {
    let keys = Arc::<Documents>::default();
    let pubsub = preset_with("pubsub", &SETTINGS, &keys, unchanged);
    keys.put(&google_keys(), json!({"keys": [rsa_jwk("k1")]}).to_string());
    let header = json!({"alg": "RS256", "kid": "k1"});
    let with = |name: &str, value: Option<Value>| {
        let mut claims = google_claims();
        match value {
            Some(value) => claims[name] = value,
            None => drop(claims.as_object_mut().unwrap().remove(name)),
        }
        bearer(&pubsub, &token(&header, &claims, sign_rsa))
    };
    for (name, value, problem) in [
        (
            "iss",
            Some(json!("https://evil.example")),
            ClaimProblem::Other,
        ),
        (
            "iss",
            Some(json!(["https://accounts.google.com"])),
            ClaimProblem::Other,
        ),
        ("iss", None, ClaimProblem::Missing),
        (
            "aud",
            Some(json!("https://example.com/hook")),
            ClaimProblem::Other,
        ),
        ("aud", Some(json!([])), ClaimProblem::Other),
        ("aud", None, ClaimProblem::Missing),
        (
            "email",
            Some(json!("other@evil.example")),
            ClaimProblem::Other,
        ),
        ("email", None, ClaimProblem::Missing),
        ("email_verified", Some(json!(false)), ClaimProblem::Other),
        ("email_verified", Some(json!("true")), ClaimProblem::Other),
        ("exp", Some(json!(NOW - 60)), ClaimProblem::Expired),
        ("exp", Some(json!(NOW.to_string())), ClaimProblem::Other),
        ("exp", Some(json!(1e300)), ClaimProblem::Other),
        ("exp", None, ClaimProblem::Missing),
        ("nbf", Some(json!(NOW + 61)), ClaimProblem::NotYet),
    ] {
        let refused = with(name, value.clone());
        let expected = Unverified::Claim {
            name: name.to_owned(),
            problem,
        };
        assert_eq!(refused, Err(expected), "{name} {value:?}");
    }
    for (name, value) in [
        ("exp", json!(NOW - 59)),
        ("exp", json!(1_700_000_000.5)),
        ("nbf", json!(NOW + 60)),
    ] {
        assert!(with(name, Some(value.clone())).is_ok(), "{name} {value}");
    }
}

#[test]
fn tokens_choose_no_algorithm_that_their_key_is_not_for() {
    let keys = Arc::<Documents>::default();
    let pubsub = preset_with("pubsub", &SETTINGS, &keys, unchanged);
    let mut for_other = rsa_jwk("k2");
    for_other["alg"] = json!("PS256");
    let mut to_encrypt = rsa_jwk("k3");
    to_encrypt["use"] = json!("enc");
    let set = json!({"keys": [rsa_jwk("k1"), for_other, to_encrypt]}).to_string();
    keys.put(&google_keys(), set.as_str());
    let not_allowed = Err(Unverified::Algorithm {
        place: place("header:authorization"),
    });
    // The public key as the secret of an HMAC.
    let hmac = |content: &[u8]| {
        let key = MacKey::new(crate::spec::HashFunction::Sha256, set.as_bytes());
        key.tag([content]).as_bytes().to_vec()
    };
    for alg in ["none", "None", "HS256", "ES256", "PS256", "rs256", ""] {
        let header = json!({"alg": alg, "kid": "k1"});
        assert_eq!(
            bearer(&pubsub, &token(&header, &google_claims(), hmac)),
            not_allowed
        );
        assert_eq!(
            bearer(&pubsub, &token(&header, &google_claims(), sign_rsa)),
            not_allowed
        );
    }
    let unsigned = token(
        &json!({"alg": "RS256", "kid": "k1"}),
        &google_claims(),
        |_| Vec::new(),
    );
    assert_eq!(bearer(&pubsub, &unsigned), Err(Unverified::NoMatch));
    for (id, expected) in [
        ("k2", Unverified::NoMatch),
        (
            "k3",
            Unverified::UnknownKey {
                request: google_keys(),
            },
        ),
    ] {
        let header = json!({"alg": "RS256", "kid": id});
        assert_eq!(
            bearer(&pubsub, &token(&header, &google_claims(), sign_rsa)),
            Err(expected)
        );
    }
    // A key of another sort for an algorithm that is allowed.
    let both = preset_with("pubsub", &SETTINGS, &keys, |scheme| {
        let Scheme::Jwt(jwt) = scheme else { panic!() };
        jwt.algorithms.push(JwtAlgorithm::Es256);
    });
    let header = json!({"alg": "ES256", "kid": "k1"});
    assert_eq!(
        bearer(&both, &token(&header, &google_claims(), sign_rsa)),
        Err(Unverified::NoMatch)
    );
}

#[test]
fn malformed_tokens_are_refused() {
    let keys = Arc::<Documents>::default();
    let pubsub = preset_with("pubsub", &SETTINGS, &keys, unchanged);
    keys.put(&google_keys(), json!({"keys": [rsa_jwk("k1")]}).to_string());
    let malformed = Err(Unverified::Malformed {
        place: place("header:authorization"),
    });
    let header = json!({"alg": "RS256", "kid": "k1"});
    let genuine = token(&header, &google_claims(), sign_rsa);
    let long_id = json!({"alg": "RS256", "kid": "k".repeat(300)});
    let critical = json!({"alg": "RS256", "kid": "k1", "crit": ["b64"], "b64": false});
    let made = |header: &Value| token(header, &google_claims(), sign_rsa);
    for wrong in [
        String::new(),
        "a".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{genuine}.x"),
        genuine.replacen('.', "", 1),
        format!("{genuine}{}", "A".repeat(16 * 1024)),
        "e30.e30.e30".to_owned(),
        format!("W10.{}", &genuine[genuine.find('.').unwrap() + 1..]),
        made(&critical),
        made(&long_id),
        made(&json!({"alg": "RS256", "kid": ""})),
        made(&json!({"alg": "RS256", "kid": "a\nb"})),
        made(&json!({"alg": "RS256", "kid": 1})),
        made(&json!({"alg": ["RS256"], "kid": "k1"})),
        made(&json!({"kid": "k1"})),
        token(&header, &json!([]), sign_rsa),
        token(&header, &json!(null), sign_rsa),
    ] {
        assert_eq!(bearer(&pubsub, &wrong), malformed, "{wrong}");
    }
    let twice: [(&str, &[u8]); 2] = [
        ("Authorization", b"Bearer a"),
        ("Authorization", b"Bearer b"),
    ];
    let repeated = Err(Unverified::Repeated {
        place: place("header:authorization"),
    });
    assert_eq!(verify(&pubsub, &post(&twice, b""), at(NOW)), repeated);
    let basic: [(&str, &[u8]); 1] = [("Authorization", b"Basic abc")];
    assert_eq!(verify(&pubsub, &post(&basic, b""), at(NOW)), malformed);
    let missing = Err(Unverified::Missing {
        place: place("header:authorization"),
    });
    assert_eq!(verify(&pubsub, &post(&[], b""), at(NOW)), missing);
    // The name of the authorization scheme has any case.
    let lower = format!("bearer {genuine}");
    let headers: [(&str, &[u8]); 1] = [("Authorization", lower.as_bytes())];
    assert!(verify(&pubsub, &post(&headers, b""), at(NOW)).is_ok());
}

const PLAID_BODY: &[u8] = br#"{"webhook_type":"ITEM","webhook_code":"ERROR","item_id":"x"}"#;
const PLAID_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJpYXQiOjE3MDAwMDAwMDAsInJlcXVlc3RfYm9keV9zaGEyNTYiOiJiNjc4M2JhMzU1NDM2NDE2ZGQ5ZTNlMTIxYjlmZjYxMzEyMTI5N2U3YjQ4MzNkNjUyOWNkOTIyNjlhOTEzN2MzIn0.ylR3lC4U5nd4EwfO1gCWXvf9Y0MCKfBSom7WgfDmpi2gothiGPnL9h72iW4iQ0_3IcUob5-VXgINwv9jEWkRZA";

fn plaid_key() -> Value {
    json!({
        "alg": "ES256", "crv": "P-256", "kid": "k1", "kty": "EC", "use": "sig",
        "x": "qV2DzYftIrDQLiea8_SiZqVuATsRFlPYG8J_YOF193Q",
        "y": "A7QvWEdNwC8Gqm0aD3KaRcBDbFLY00IhNHFCED8JkTQ",
        "created_at": 1_600_000_000, "expired_at": null,
    })
}

fn plaid(verification: &Verification, body: &[u8], seconds: u64) -> Result<Verified, Unverified> {
    let headers: [(&str, &[u8]); 1] = [("Plaid-Verification", PLAID_TOKEN.as_bytes())];
    verify(verification, &post(&headers, body), at(seconds))
}

#[test]
fn keys_of_plaid_are_asked_for_one_by_one() {
    let keys = Arc::<Documents>::default();
    let sandbox = preset_with("plaid", &[("environment", "sandbox")], &keys, unchanged);
    assert_eq!(sandbox.key_requests(), []);
    let Err(Unverified::KeyNotFetched { request }) = plaid(&sandbox, PLAID_BODY, NOW) else {
        panic!("there is no key yet");
    };
    assert_eq!(
        request.url(),
        "https://sandbox.plaid.com/webhook_verification_key/get"
    );
    let body: Value = serde_json::from_str(request.body().unwrap()).unwrap();
    let secret = "the \"secret\" of the API";
    let expected = json!({"client_id": "the id of the client", "secret": secret, "key_id": "k1"});
    assert_eq!(body, expected);

    let answer = |key: &Value| json!({"key": key, "request_id": "r"}).to_string();
    keys.put(&request, answer(&plaid_key()));
    assert!(plaid(&sandbox, PLAID_BODY, NOW + 359).is_ok());
    let old = plaid(&sandbox, PLAID_BODY, NOW + 361);
    assert_eq!(old, Err(Unverified::TooFar { seconds: -361 }));
    let ahead = plaid(&sandbox, PLAID_BODY, NOW - 61);
    assert_eq!(ahead, Err(Unverified::TooFar { seconds: 61 }));
    let other_body = plaid(&sandbox, b"{}", NOW);
    let name = "request_body_sha256".to_owned();
    assert_eq!(
        other_body,
        Err(Unverified::Claim {
            name,
            problem: ClaimProblem::Other
        })
    );

    let mut expired = plaid_key();
    expired["expired_at"] = json!(NOW - 1);
    keys.put(&request, answer(&expired));
    assert_eq!(plaid(&sandbox, PLAID_BODY, NOW), Err(Unverified::NoMatch));
}

#[test]
fn keys_may_be_given_as_secrets() {
    let given = r#"
        [scheme.jwt]
        at = "header:plaid-verification"
        algorithms = ["es256", "rs256"]
        keys = { given = "public_key" }
        max_age = "5m"
    "#;
    let secrets = Secrets::new()
        .with("public_key", json!({"keys": [rsa_jwk("k1")]}).to_string())
        .with("public_key", plaid_key().to_string());
    let verification = named(given, &secrets);
    assert_eq!(
        plaid(&verification, PLAID_BODY, NOW).unwrap().secret_index,
        1
    );
    assert_eq!(verification.secret_count(), 2);

    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let point = key.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..])});
    let verification = named(given, &Secrets::new().with("public_key", jwk.to_string()));
    // Without an id, the only key counts.
    let signed = token(&json!({"alg": "ES256"}), &json!({"iat": NOW}), |content| {
        key.sign(&random, content).unwrap().as_ref().to_vec()
    });
    let headers: [(&str, &[u8]); 1] = [("plaid-verification", signed.as_bytes())];
    assert!(verify(&verification, &post(&headers, b""), at(NOW)).is_ok());

    for wrong in [
        "",
        "{",
        "{}",
        r#"{"keys": []}"#,
        r#"{"kty": "oct", "k": "AAAA"}"#,
    ] {
        let secrets = Secrets::new().with("public_key", wrong);
        let problems = Verification::new(&scheme(given), &secrets, options()).err();
        assert_eq!(problems.map(|it| it.iter().count()), Some(1), "{wrong}");
    }
}

// Certificates

/// An authority, and the certificates that it issues.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn keys(&self) -> Arc<Documents> {
        Arc::new(Documents {
            authorities: vec![self.0.der().to_vec()],
            ..Documents::default()
        })
    }

    /// A certificate with the RSA key, in PEM.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2023, 1, 1);
        params.not_after = rcgen::date_time_ymd(2024, 1, 1);
        change(&mut params);
        let key = KeyPair::from_pem(include_str!("rsa.pem")).unwrap();
        params.signed_by(&key, &self.0).unwrap().pem()
    }
}

const CERT_URL: &str = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ec.pem";
const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";

fn sns_message(change: impl FnOnce(&mut Value)) -> Value {
    let mut message = json!({
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": "Hello\nworld \u{e9}\"!",
        "Timestamp": "2012-05-02T00:54:06.655Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERT_URL,
        "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe",
    });
    change(&mut message);
    message
}

/// Signs a message as the sender does, by the members that it is documented to sign.
fn sns_sign(mut message: Value) -> Vec<u8> {
    let names: &[&str] = match message["Type"].as_str() {
        Some("Notification") => &[
            "Message",
            "MessageId",
            "Subject",
            "Timestamp",
            "TopicArn",
            "Type",
        ],
        _ => &[
            "Message",
            "MessageId",
            "SubscribeURL",
            "Timestamp",
            "Token",
            "TopicArn",
            "Type",
        ],
    };
    let there = names.iter().filter(|name| message.get(name).is_some());
    let content: String = there
        .map(|name| format!("{name}\n{}\n", message[name].as_str().unwrap()))
        .collect();
    message["Signature"] = json!(Encoding::Base64.encode(&sign_rsa(content.as_bytes())));
    message.to_string().into_bytes()
}

fn sns(keys: &Arc<Documents>) -> Verification {
    preset_with("sns", &[("topic_arn", TOPIC)], keys, unchanged)
}

fn there(authority: &Authority) -> Arc<Documents> {
    let keys = authority.keys();
    keys.put(
        &KeyRequest::get(CERT_URL),
        authority.issue("sns.amazonaws.com", |_| {}),
    );
    keys
}

fn received(verification: &Verification, body: &[u8]) -> Result<Verified, Unverified> {
    verify(verification, &post(&[], body), at(NOW))
}

#[test]
fn messages_of_sns_are_verified() {
    let authority = Authority::new("authority");
    let missing = sns(&authority.keys());
    let request = KeyRequest::get(CERT_URL);
    let plain = sns_sign(sns_message(|_| {}));
    assert_eq!(
        received(&missing, &plain),
        Err(Unverified::KeyNotFetched { request })
    );

    let sns = sns(&there(&authority));
    for body in [
        plain,
        sns_sign(sns_message(|it| it["Subject"] = json!("a subject"))),
        sns_sign(sns_message(|it| it["Message"] = json!(""))),
        sns_sign(sns_message(|it| {
            it["Type"] = json!("SubscriptionConfirmation");
            it["Token"] = json!("2336412f37");
            it["SubscribeURL"] =
                json!("https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription");
        })),
    ] {
        assert!(
            received(&sns, &body).is_ok(),
            "{}",
            String::from_utf8_lossy(&body)
        );
    }

    let signed: Value = serde_json::from_slice(&sns_sign(sns_message(|_| {}))).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut message = signed.clone();
        change(&mut message);
        received(&sns, message.to_string().as_bytes())
    };
    for change in [
        &(|it: &mut Value| it["Message"] = json!("other")) as &dyn Fn(&mut Value),
        &|it| it["MessageId"] = json!("other"),
        &|it| it["Timestamp"] = json!("2012-05-02T00:54:06.656Z"),
        &|it| it["Type"] = json!("SubscriptionConfirmation"),
        &|it| it["Subject"] = json!("added"),
        &|it| it["SubscribeURL"] = json!("https://evil.example"),
        &|it| it["Token"] = json!("added"),
    ] {
        assert_eq!(changed(change), Err(Unverified::NoMatch));
    }
    for (pointer, name) in [("json:/MessageId", "MessageId"), ("json:/Type", "Type")] {
        let without = changed(&|it| drop(it.as_object_mut().unwrap().remove(name)));
        assert_eq!(
            without,
            Err(Unverified::Missing {
                place: place(pointer)
            })
        );
    }
}

#[test]
fn messages_of_other_topics_are_refused() {
    let sns = sns(&there(&Authority::new("authority")));
    let topic = "arn:aws:sns:us-west-2:666666666666:Evil";
    let other = || {
        Err(Unverified::OtherValue {
            place: place("json:/TopicArn"),
        })
    };
    let theirs = sns_sign(sns_message(|it| it["TopicArn"] = json!(topic)));
    assert_eq!(received(&sns, &theirs), other());

    // The message of another topic has lines that look like members of ours: what follows them has to go somewhere.
    let inner = format!("x\nMessageId\ny\nTimestamp\nz\nTopicArn\n{TOPIC}\nType\nNotification");
    let theirs = sns_message(|it| {
        it["Message"] = json!(inner);
        it["TopicArn"] = json!(topic);
    });
    let mut theirs: Value = serde_json::from_slice(&sns_sign(theirs)).unwrap();
    let tail = format!(
        "Notification\nMessageId\n{}\nTimestamp\n{}\nTopicArn\n{topic}\nType\nNotification",
        theirs["MessageId"].as_str().unwrap(),
        theirs["Timestamp"].as_str().unwrap(),
    );
    theirs["Message"] = json!("x");
    theirs["MessageId"] = json!("y");
    theirs["Timestamp"] = json!("z");
    theirs["TopicArn"] = json!(TOPIC);
    theirs["Type"] = json!(tail);
    let refused = received(&sns, theirs.to_string().as_bytes());
    assert_eq!(
        refused,
        Err(Unverified::Malformed {
            place: place("json:/Type")
        })
    );
}

#[test]
fn certificates_are_taken_only_from_where_the_sender_has_them() {
    let keys = there(&Authority::new("authority"));
    let sns = sns(&keys);
    for url in [
        "http://sns.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com.evil.example/a.pem",
        "https://evil.example/sns.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com@evil.example/a.pem",
        "https://user@sns.us-west-2.amazonaws.com/a.pem",
        "https://evil.example#@sns.us-west-2.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com:8443/a.pem",
        "https://sns.s3.amazonaws.com/a.pem",
        "https://sns.us-west-2.amazonaws.com/a.txt",
        "https://sns.us-west-2.amazonaws.com/a?.pem",
        "https://sns.us-west-2.amazonaws.com/../a.pem",
        "file:///a.pem",
        "",
    ] {
        // Even if something is there.
        keys.put(
            &KeyRequest::get(url),
            Authority::new("x").issue("sns.amazonaws.com", |_| {}),
        );
        let body = sns_sign(sns_message(|it| it["SigningCertURL"] = json!(url)));
        let refused = Err(Unverified::Url {
            place: place("json:/SigningCertURL"),
        });
        assert_eq!(received(&sns, &body), refused, "{url}");
    }
    let china = "https://sns.cn-north-1.amazonaws.com.cn/a.pem";
    let body = sns_sign(sns_message(|it| it["SigningCertURL"] = json!(china)));
    let request = KeyRequest::get(china);
    assert_eq!(
        received(&sns, &body),
        Err(Unverified::KeyNotFetched { request })
    );
}

#[test]
fn messages_choose_no_algorithm_that_is_not_allowed() {
    let authority = Authority::new("authority");
    let sns = sns(&there(&authority));
    for version in [
        json!("1"),
        json!("3"),
        json!(""),
        json!(["2"]),
        json!({"a": "2"}),
    ] {
        let body = sns_sign(sns_message(|it| it["SignatureVersion"] = version.clone()));
        let refused = Err(Unverified::Algorithm {
            place: place("json:/SignatureVersion"),
        });
        assert_eq!(received(&sns, &body), refused, "{version}");
    }
    // A signature by SHA-256 is none by SHA-1.
    let both = preset_with(
        "sns",
        &[("topic_arn", TOPIC)],
        &there(&authority),
        |scheme| {
            let Scheme::FetchedCertificate(scheme) = scheme else {
                panic!()
            };
            scheme
                .algorithm
                .allowed
                .insert("1".to_owned(), Algorithm::RsaPkcs1Sha1);
        },
    );
    let body = sns_sign(sns_message(|it| it["SignatureVersion"] = json!("1")));
    assert_eq!(received(&both, &body), Err(Unverified::NoMatch));
}

#[test]
fn certificates_that_are_no_longer_valid_are_refused() {
    let authority = Authority::new("authority");
    let keys = authority.keys();
    let sns = sns(&keys);
    let body = sns_sign(sns_message(|_| {}));
    let expired = authority.issue("sns.amazonaws.com", |params| {
        params.not_after = rcgen::date_time_ymd(2023, 11, 1);
    });
    let early = authority.issue("sns.amazonaws.com", |params| {
        params.not_before = rcgen::date_time_ymd(2023, 12, 1);
    });
    let of_ecdsa = authority.0.pem();
    for (document, problem) in [
        (expired, CertificateProblem::NotValidNow),
        (early, CertificateProblem::NotValidNow),
        (of_ecdsa, CertificateProblem::Key),
        (String::new(), CertificateProblem::Unreadable),
        ("<html>".to_owned(), CertificateProblem::Unreadable),
        (
            include_str!("rsa.pem").to_owned(),
            CertificateProblem::Unreadable,
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            CertificateProblem::Unreadable,
        ),
    ] {
        keys.put(&KeyRequest::get(CERT_URL), document.as_str());
        let refused = Err(Unverified::Certificate { problem });
        assert_eq!(received(&sns, &body), refused, "{document}");
    }
}

const WEBHOOK_ID: &str = "1JE4291016473214C";
const PAYPAL_URL: &str =
    "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1d93a270";
const PAYPAL_NAME: &str = "messageverificationcerts.paypal.com";
const PAYPAL_BODY: &[u8] = br#"{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED"}"#;
/// The CRC-32 of [`PAYPAL_BODY`] is at its end.
const PAYPAL_SIGNED: &[u8] =
    b"69cd13f0-d67a-11e5-baa3-778b53f4ae55|2016-02-18T20:01:35Z|1JE4291016473214C|2325436976";

fn paypal(
    verification: &Verification,
    body: &[u8],
    changed: &[(&str, &str)],
) -> Result<Verified, Unverified> {
    let signature = Encoding::Base64.encode(&sign_rsa(PAYPAL_SIGNED));
    let mut headers = HashMap::from([
        (
            "paypal-transmission-id",
            "69cd13f0-d67a-11e5-baa3-778b53f4ae55",
        ),
        ("paypal-transmission-time", "2016-02-18T20:01:35Z"),
        ("paypal-cert-url", PAYPAL_URL),
        ("paypal-auth-algo", "SHA256withRSA"),
        ("paypal-transmission-sig", &signature),
    ]);
    headers.extend(changed.iter().copied());
    let headers: Vec<(&str, &[u8])> = headers
        .into_iter()
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
    verify(verification, &post(&headers, body), at(NOW))
}

fn paypal_with(keys: &Arc<Documents>) -> Verification {
    preset_with("paypal", &[("webhook_id", WEBHOOK_ID)], keys, unchanged)
}

#[test]
fn deliveries_of_paypal_are_verified() {
    let authority = Authority::new("authority");
    let keys = authority.keys();
    let verification = paypal_with(&keys);
    let request = KeyRequest::get(PAYPAL_URL);
    let missing = Unverified::KeyNotFetched {
        request: request.clone(),
    };
    assert_eq!(paypal(&verification, PAYPAL_BODY, &[]), Err(missing));
    keys.put(&request, authority.issue(PAYPAL_NAME, |_| {}));
    assert!(paypal(&verification, PAYPAL_BODY, &[]).is_ok());
    assert_eq!(paypal(&verification, b"{}", &[]), Err(Unverified::NoMatch));
    for (header, value) in [
        ("paypal-transmission-id", "other"),
        ("paypal-transmission-time", "2016-02-18T20:01:36Z"),
    ] {
        let changed = paypal(&verification, PAYPAL_BODY, &[(header, value)]);
        assert_eq!(changed, Err(Unverified::NoMatch), "{header}");
    }
    for (header, value, refused) in [
        (
            "paypal-auth-algo",
            "SHA1withRSA",
            Unverified::Algorithm {
                place: place("header:paypal-auth-algo"),
            },
        ),
        (
            "paypal-cert-url",
            "https://api.paypal.com/v1/other",
            Unverified::Url {
                place: place("header:paypal-cert-url"),
            },
        ),
        (
            "paypal-cert-url",
            "https://api.paypal.com.evil.example/v1/notifications/certs/a",
            Unverified::Url {
                place: place("header:paypal-cert-url"),
            },
        ),
        (
            "paypal-transmission-sig",
            "AAAA",
            Unverified::Malformed {
                place: place("header:paypal-transmission-sig"),
            },
        ),
    ] {
        assert_eq!(
            paypal(&verification, PAYPAL_BODY, &[(header, value)]),
            Err(refused),
            "{value}"
        );
    }
    let other = preset_with("paypal", &[("webhook_id", "another")], &keys, unchanged);
    assert_eq!(paypal(&other, PAYPAL_BODY, &[]), Err(Unverified::NoMatch));
}

#[test]
fn certificates_of_paypal_need_an_authority_and_a_name() {
    let authority = Authority::new("authority");
    let keys = authority.keys();
    let verification = paypal_with(&keys);
    let request = KeyRequest::get(PAYPAL_URL);
    let expired = |params: &mut CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2023, 11, 1);
    };
    for (document, problem) in [
        (
            Authority::new("authority").issue(PAYPAL_NAME, |_| {}),
            CertificateProblem::Untrusted,
        ),
        (
            authority.issue("www.paypal.com", |_| {}),
            CertificateProblem::Name,
        ),
        (
            authority.issue("messageverificationcerts.paypal.com.evil.example", |_| {}),
            CertificateProblem::Name,
        ),
        (
            authority.issue(PAYPAL_NAME, expired),
            CertificateProblem::NotValidNow,
        ),
    ] {
        keys.put(&request, document);
        let refused = Err(Unverified::Certificate { problem });
        assert_eq!(paypal(&verification, PAYPAL_BODY, &[]), refused);
    }

    // Certificates of authorities in between are in the same document.
    let between = {
        let mut params = CertificateParams::new(["between".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "between");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Authority(CertifiedIssuer::signed_by(params, key, &authority.0).unwrap())
    };
    let own = between.issue(PAYPAL_NAME, |_| {});
    keys.put(&request, own.as_str());
    let refused = Err(Unverified::Certificate {
        problem: CertificateProblem::Untrusted,
    });
    assert_eq!(paypal(&verification, PAYPAL_BODY, &[]), refused);
    keys.put(&request, format!("{own}{}", between.0.pem()));
    assert!(paypal(&verification, PAYPAL_BODY, &[]).is_ok());
}

// Specifications

#[test]
fn specifications_that_would_not_work_are_refused() {
    let problems = |scheme: Scheme| {
        let secrets = Secrets::new();
        let problems = Verification::new(&scheme, &secrets, options()).err();
        let problems = problems.into_iter().flatten();
        problems.map(|it| it.to_string()).collect::<Vec<_>>()
    };
    let sns = preset::get("sns").unwrap().spec.scheme.clone();
    assert_eq!(
        problems(sns.clone()),
        ["there is no setting with the name topic_arn"]
    );
    let Scheme::FetchedCertificate(mut wrong) = sns else {
        panic!()
    };
    wrong.hosts.clear();
    wrong.algorithm.allowed.clear();
    wrong.issued_to.push("no name".to_owned());
    wrong.required[0].at = place("json:/Other");
    wrong.required[0].equals = "{body}".parse().unwrap();
    wrong.signed = "{lines:/a}{lines:/b}".parse().unwrap();
    let found = problems(Scheme::FetchedCertificate(wrong));
    assert_eq!(found.len(), 6, "{found:?}");

    let pubsub = preset::get("pubsub").unwrap().spec.scheme.clone();
    let Scheme::Jwt(mut wrong) = pubsub else {
        panic!()
    };
    wrong.algorithms.clear();
    wrong.audience = None;
    wrong.claims.clear();
    for url in [
        "http://a.example/b",
        "https://a.example",
        "https://u@a.example/b",
        "{setting:a}",
    ] {
        wrong.keys = KeySet::Url(url.parse().unwrap());
        assert_eq!(problems(Scheme::Jwt(wrong.clone())).len(), 2, "{url}");
    }
}

// Sources

#[test]
fn confirmation_of_sns_is_an_event_with_the_url_to_visit() {
    let authority = Authority::new("authority");
    let keys = authority.keys();
    let mut spec = preset::get("sns").unwrap().spec.clone();
    spec.settings
        .insert("topic_arn".to_owned(), TOPIC.to_owned());
    let options = crate::SourceOptions {
        keys: Some(Arc::<Documents>::clone(&keys)),
        ..crate::SourceOptions::default()
    };
    let source = crate::Source::new(spec, &Secrets::new(), options).unwrap();
    let visit = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription";
    let body = sns_sign(sns_message(|it| {
        it["Type"] = json!("SubscriptionConfirmation");
        it["Token"] = json!("2336412f37");
        it["SubscribeURL"] = json!(visit);
    }));
    let request = post(&[], &body);

    let crate::Outcome::Refused(refusal) = source.receive(&request, at(NOW)) else {
        panic!("there is no certificate yet");
    };
    assert_eq!(refusal.answer.status, 503);
    let missing = refusal.missing_key().unwrap();
    keys.put(missing, authority.issue("sns.amazonaws.com", |_| {}));
    let crate::Outcome::Received(received) = source.receive(&request, at(NOW)) else {
        panic!("the certificate is there");
    };
    let [event] = received.events.as_slice() else {
        panic!("{received:?}");
    };
    assert_eq!(event.event_type.as_deref(), Some(crate::CONFIRMATION));
    assert_eq!(event.confirm_url.as_deref(), Some(visit));
    assert_eq!(event.id, "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324");
}

#[test]
fn unknown_key_is_refused_unless_it_is_postponed() {
    let keys = Arc::<Documents>::default();
    let mut spec = preset::get("pubsub").unwrap().spec.clone();
    let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    spec.settings.extend(settings);
    let options = crate::SourceOptions {
        keys: Some(Arc::<Documents>::clone(&keys)),
        ..crate::SourceOptions::default()
    };
    let source = crate::Source::new(spec, &Secrets::new(), options).unwrap();
    let [request] = source.key_requests().try_into().unwrap();
    keys.put(&request, json!({"keys": [rsa_jwk("k1")]}).to_string());
    let header = json!({"alg": "RS256", "kid": "k2"});
    let value = format!("Bearer {}", token(&header, &google_claims(), sign_rsa));
    let headers: [(&str, &[u8]); 1] = [("authorization", value.as_bytes())];
    let crate::Outcome::Refused(refusal) = source.receive(&post(&headers, b"{}"), at(NOW)) else {
        panic!("the key is not known");
    };
    assert_eq!(refusal.answer.status, 401);
    assert_eq!(refusal.missing_key(), Some(&request));
    let postponed = refusal.postponed();
    let retry = ("retry-after", "5".to_owned());
    assert_eq!(
        (postponed.answer.status, postponed.answer.headers),
        (503, vec![retry])
    );
}
