//! The sources that requests are made for.

use std::sync::{Arc, LazyLock};

use webhook_sources::spec::SourceSpec;
use webhook_sources::{KeyRequest, Keys, Secrets, Source, SourceOptions, preset};

/// Presets that differ in their schemes, ids and handshakes.
const PRESETS: [&str; 20] = [
    "adyen",
    "cloudevents",
    "dropbox",
    "github",
    "gocardless",
    "hubspot",
    "intercom",
    "mailgun",
    "meta",
    "msgraph",
    "okta",
    "paypal",
    "payu",
    "plaid",
    "pubsub",
    "slack",
    "sns",
    "standard-webhooks",
    "woocommerce",
    "zoom",
];

/// What no preset of these has.
const OWN: [&str; 4] = [
    r#"
        id = ["header:x-id", { first_of = ["json:/id", "form:id", "query:id"] }, "sha256"]
        event_type = "query:type"
        compare = "json"
        methods = ["POST", "PUT", "GET"]
        answer = { status = 204 }
        refused_status = 498
    "#,
    r#"
        split = "/entry/*/changes/*/value/messages/*"
        id = { first_of = ["json:/id", "sha256"] }
        event_type = "json:/type"
        compare = { only = "/a/*" }
    "#,
    r#"
        split = "/*"
        id = "generated"
        compare = { ignore = ["/a/*/b", "/*", "/0"] }
    "#,
    r#"
        id = "json:/MessageId"
        event_type = "json:/Type"
        compare = "none"
        guard = "body"

        [[handshakes]]
        request = "confirm"
        pointer = "/Type"
        equals = "SubscriptionConfirmation"
        url = "/SubscribeURL"

        [[handshakes]]
        request = "json"
        pointer = "/0/eventType"
        equals = "validation"
        value = "/0/data/code"
        verified = false
        answer = { content_type = "application/json", body = '{"a":"{value}","b":"{mac}"}' }

        [[handshakes]]
        request = "query"
        parameter = "bt_challenge"
        answer = { body = "{secret:public_key}|{mac}", hash = "sha1", key = "sha1_of_text" }
    "#,
];

const SCHEME: &str = r#"
    [scheme.hmac]
    signed = "{body}"
    signature = { at = "header:x-sig" }
"#;

/// In order: the sources of [`PRESETS`], then those of [`OWN`].
pub(super) static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let presets = PRESETS.iter().map(|name| {
        let preset = preset::get(name).expect("a preset");
        source(name, preset.spec.clone())
    });
    let own = OWN.iter().map(|settings| {
        // The scheme stands before the other tables.
        let (own, tables) = settings.split_at(settings.find("[[").unwrap_or(settings.len()));
        let spec = toml::from_str(&format!("{own}{SCHEME}{tables}")).expect("a specification");
        source(settings, spec)
    });
    presets.chain(own).collect()
});

/// Keys that verify nothing. Those of PayPal are not there.
#[derive(Debug)]
struct FetchedKeys;

impl Keys for FetchedKeys {
    fn find(&self, request: &KeyRequest) -> Option<Arc<[u8]>> {
        let document: &[u8] = match request.host() {
            host if host.ends_with("paypal.com") => return None,
            host if host.starts_with("sns.") => {
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            }
            _ => br#"{"keys": [{"kid": "1", "kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#,
        };
        Some(document.into())
    }

    fn authorities(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

fn source(name: &str, mut spec: SourceSpec) -> Source {
    for name in spec.scheme.setting_names() {
        let value = || "production".to_owned();
        spec.settings.entry(name.to_owned()).or_insert_with(value);
    }
    // Also 24 bytes in hexadecimal and in Base64.
    let secret = "0123456789abcdef0123456789abcdef0123456789abcdef";
    let options = || SourceOptions {
        public_url: Some("https://example.com/hooks".to_owned()),
        keys: Some(Arc::new(FetchedKeys)),
        ..SourceOptions::default()
    };
    // No source takes all of these, and none must be given more than it takes.
    let candidates = [
        Secrets::new(),
        Secrets::of([secret]).with("client_id", "a client id"),
        Secrets::of([secret]),
        Secrets::of([secret]).with("verify_token", "a verify token"),
        Secrets::of([secret]).with("public_key", "a public key"),
    ];
    let mut sources = candidates
        .iter()
        .map(|secrets| Source::new(spec.clone(), secrets, options()));
    let valid = sources.find_map(Result::ok);
    valid.unwrap_or_else(|| panic!("no secrets fit {name}"))
}
