use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use serde::Deserialize;
use webhook_sources::spec::{
    Algorithm, AnswerSpec, BasicScheme, DigestScheme, EachKey, Encoding, FetchedCertificateScheme,
    Guard, Handshake, HandshakeAnswer, HashFunction, HmacScheme, IdRule, JwtAlgorithm, JwtScheme,
    KeyForm, KeySet, NamedAlgorithms, Place, PublicKeyForm, PublicKeyScheme, RequiredValue, Scheme,
    SignatureSpec, SourceSpec, TimeFormat, TimeSpec, TokenForm, TokenScheme, Tolerance,
};

use super::fields::{self, describes_sender};
use super::shape::Field;
use super::*;

/// Reads `text` with the variables `SECRET`, `OTHER` and `SHORT`.
fn read(text: &str) -> Result<SourcesFile, Vec<String>> {
    let variable = |name: &str| {
        let value = match name {
            "SECRET" => "a secret of a sender",
            "OTHER" => "another secret of a sender\nits successor\n",
            "PASSWORD" => "user:a long password",
            _ => return None,
        };
        Some(OsString::from(value))
    };
    read_with(text, variable)
}

/// Reads `text` with the variables of `variable`.
pub(super) fn read_with(
    text: &str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<SourcesFile, Vec<String>> {
    let path = Path::new("/nowhere/webhook.toml");
    parse(text, path, &Config::default(), &variable).map_err(|error| {
        let lines = error.lines();
        let lines = lines
            .iter()
            .map(|line| line.replace("/nowhere/webhook.toml:", ""));
        lines.collect()
    })
}

/// The only source of `text`.
#[track_caller]
fn source(text: &str) -> SourceConfig {
    let file = read(text).unwrap();
    assert_eq!(file.sources.len(), 1);
    file.sources.into_iter().next().unwrap()
}

#[test]
fn preset_needs_only_its_name_and_a_secret() {
    let stripe = source("[sources.payments]\npreset = \"stripe\"\nsecrets = \"env:SECRET\"\n");
    assert_eq!(stripe.name.as_str(), "payments");
    assert_eq!(stripe.path(), "/v1/webhooks/payments");
    assert_eq!(stripe.preset.as_deref(), Some("stripe"));
    assert_eq!(stripe.spec().id, IdRule::At("json:/id".parse().unwrap()));
    assert_eq!(stripe.source.verification().secret_count(), 1);
    assert_eq!(stripe.secret_places.len(), 1);
    assert!(stripe.enabled && !stripe.retired && stripe.reads_need_token);
    assert_eq!(stripe.delay, Duration::ZERO);
    assert_eq!(stripe.max_body_bytes, Config::default().max_body_bytes);
    assert_eq!(stripe.retention(), None);
}

#[test]
fn every_setting_is_read() {
    let source = source(
        r#"
public_url = "https://hooks.example.com/in/"
[sources.github-2]
preset = "github"
secrets = ["env:SECRET", "env:OTHER"]
enabled = false
retired = true
delay = "5m"
max_attempts = 3
concurrency = 7
max_body_bytes = "2MiB"
requests_per_second = 50
max_queued = 10
max_queued_bytes = 4194304
max_stored = 100
keep = "7d"
reads_need_token = false
expect_every = "1h"
keep_refused_bodies = true
keep_headers = ["x-github-hook-id"]
timeout = "10s"
"#,
    );
    assert_eq!(
        source.public_url.as_deref(),
        Some("https://hooks.example.com/in/v1/webhooks/github-2")
    );
    assert_eq!(source.source.verification().secret_count(), 3);
    assert!(!source.enabled && source.retired && !source.reads_need_token);
    assert_eq!(source.delay, Duration::from_secs(300));
    assert_eq!(source.max_attempts.get(), 3);
    assert_eq!(source.concurrency, 7);
    assert_eq!(source.max_body_bytes, 2 << 20);
    assert_eq!(source.requests_per_second.map(NonZeroU32::get), Some(50));
    assert_eq!((source.max_queued, source.max_queued_bytes), (10, 4 << 20));
    assert_eq!(source.max_stored.map(NonZeroU64::get), Some(100));
    let day = |days: u64| Some(Duration::from_secs(days * 86_400));
    assert_eq!((source.keep, source.keep_keys), (day(7), day(30)));
    assert_eq!(source.expect_every, Some(Duration::from_secs(3_600)));
    assert!(source.keep_refused_bodies);
    assert_eq!(source.spec().keep_headers, ["x-github-hook-id"]);
    assert_eq!(source.spec().guard, Guard::Body, "the preset says so");
}

#[test]
fn parts_of_a_preset_are_replaced() {
    let hmac = |text: &str| match source(text).spec().scheme.clone() {
        Scheme::Hmac(hmac) => hmac,
        other => panic!("{other:?}"),
    };
    let own = "[sources.a]\npreset = \"stripe\"\nsecrets = \"env:SECRET\"\n";
    let whole = hmac(&format!("{own}tolerance = \"10m\"\n"));
    let tolerance = whole.time.map(|time| time.tolerance);
    assert_eq!(tolerance, Some(Tolerance::Within(Duration::from_secs(600))));
    let nested = hmac(&format!(
        "{own}[sources.a.scheme.hmac.signature]\nat = \"header:x-own\"\n"
    ));
    assert_eq!(
        nested.signature.at,
        Place::Header("x-own".to_owned()),
        "this key is replaced"
    );
    assert_eq!(
        nested.signature.item.as_deref(),
        Some("v1="),
        "this one stays"
    );
    let other = source(&format!(
        "{own}[sources.a.scheme.token]\nat = \"header:x-token\"\n"
    ));
    assert!(matches!(other.spec().scheme, Scheme::Token(_)));
    let id = source(&format!("{own}id = [\"json:/type\", \"json:/id\"]\n"));
    assert!(matches!(&id.spec().id, IdRule::Joined(parts) if parts.len() == 2));
}

#[test]
fn scheme_of_its_own_needs_no_preset() {
    let own = source(
        r#"
[sources.own]
secrets = { password = "env:PASSWORD", verify_token = ["env:SECRET"] }
scheme.basic.secrets = "password"
handshakes = [{ request = "query", parameter = "challenge", token = "token" }]
"#,
    );
    assert_eq!(own.spec().secret_names(), ["password", "verify_token"]);
    assert_eq!(own.secret_places.len(), 2);
    let open = source("[sources.open]\nscheme = \"none\"\n");
    assert_eq!(open.spec().scheme, Scheme::None);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    for (text, expected) in [
        ("", &[][..]),
        (
            "[source.a]\n",
            &["1:2: unknown key source; did you mean sources?"],
        ),
        (
            "sources = 1\n",
            &["1:11: sources: expected a table for each source, [sources.NAME]"],
        ),
        (
            "[sources.a]\npreset = \"strip\"\ntolerence = \"5m\"\nmax_attempts = 0\n",
            &[
                "2:10: sources.a.preset: there is no such preset; did you mean stripe?",
                "3:1: sources.a: unknown key tolerence; did you mean tolerance?",
                "4:16: sources.a.max_attempts: expected a whole number from 1 to 4294967295",
            ],
        ),
        (
            "[sources.a]\npreset = 1\n[sources.transactions]\nscheme = \"none\"\n",
            &[
                "2:10: sources.a.preset: expected a name",
                "3:10: the name of the source: the server has this source",
            ],
        ),
        (
            "[sources.\"A b\"]\nscheme = \"none\"\n[sources.\"..\"]\nscheme = \"none\"\n",
            &[
                "1:10: the name of the source: expected a name of at most 64",
                "3:10: the name of the source: expected a name",
            ],
        ),
        (
            "[sources.a]\n[sources.b]\nscheme = \"nobody\"\n[sources.c]\nscheme.hmak = {}\n",
            &[
                "1:10: sources.a.scheme is missing: how a request shows",
                "3:10: sources.b.scheme: expected \"none\"",
                "5:8: sources.c.scheme: unknown key hmak; did you mean hmac?",
            ],
        ),
        (
            "[sources.a.scheme.hmac]\nsigned = \"{bodies}\"\nsignature = { at = \"heder:x\" }\n\
             time = { format = \"second\" }\n",
            &[
                "2:10: sources.a.scheme.hmac.signed: expected a text with {body}",
                "3:20: sources.a.scheme.hmac.signature.at: expected a place: header:NAME",
                "4:8: sources.a.scheme.hmac.time.at is missing: the place",
                "4:19: sources.a.scheme.hmac.time.format: expected one of seconds, milliseconds, \
                 rfc3339; did you mean seconds?",
            ],
        ),
        (
            "[sources.a]\nscheme = \"none\"\nid = 5\ncompare = { ignore = [\"x\"] }\n\
             keep_headers = [\"X-A\"]\nmax_body_bytes = \"5MB\"\nguard = \"yes\"\n",
            &[
                "3:6: sources.a.id: expected a place",
                "4:23: sources.a.compare.ignore[0]: expected a JSON pointer",
                "5:17: sources.a.keep_headers[0]: expected the name of a header in lower case",
                "6:18: sources.a.max_body_bytes: expected a number of bytes from 1 to",
                "7:9: sources.a.guard: expected one of none, body, body_and_type",
            ],
        ),
        (
            "[sources.a]\nscheme = \"none\"\nhandshakes = [{ request = \"qwery\" }, { parameter = \"a\" },\n\
             { request = \"query\" }]\n",
            &[
                "3:27: sources.a.handshakes[0].request: expected one of query, header, json, \
                 cloud_events, probe, confirm; did you mean query?",
                "3:38: sources.a.handshakes[1].request is missing",
                "4:1: sources.a.handshakes[2].parameter is missing",
            ],
        ),
        (
            "[sources.a]\npreset = \"stripe\"\nsecrets = [\"whsec_abc\", \"env:UNSET\", \"file:none\"]\n",
            &[
                "3:12: sources.a.secrets[0]: expected env:NAME or file:PATH, which say where the \
                 secret is; never the secret itself",
                "3:25: sources.a.secrets: the variable UNSET is not set",
                "3:38: failed to read sources.a.secrets",
            ],
        ),
        (
            "[sources.a]\nscheme = \"none\"\nkeep = \"5d\"\nkeep_keys = \"1d\"\n\
             max_queued_bytes = 5\ntimeout = \"1s\"\ntolerance = \"1s\"\n",
            &[
                "4:13: sources.a.keep_keys: must not be less than keep",
                "5:20: sources.a.max_queued_bytes: less than max_body_bytes (1048576)",
                "6:11: sources.a.timeout: 1s is too short: the server may take 2s to answer",
                "7:13: sources.a.tolerance: the scheme has no time; remove the key",
            ],
        ),
        (
            "[sources.a]\nsecrets = \"env:SECRET\"\nscheme.any_of = [{ token = { at = \"header:a\", \
             secrets = \"token\" } },\n{ basic = { secrets = \"password\" } }]\n",
            &[
                "2:11: sources.a.secrets: this source takes several secrets; say which is which: \
               secrets = { password = […], token = […] }",
            ],
        ),
        (
            "[sources.a]\nscheme = \"none\"\n[sources.a]\n[sources.b]\npreset = \n[sources.c]\nbad = 1\n",
            &["3:", "5:", "7:1: sources.c: unknown key bad"],
        ),
    ] {
        let errors = read(text).err().unwrap_or_default();
        let is_said = errors.len() == expected.len()
            && errors
                .iter()
                .zip(expected)
                .all(|(error, expected)| error.starts_with(expected));
        assert!(is_said, "{text}\n{errors:#?}\n{expected:#?}");
    }
}

#[test]
fn dangerous_sources_are_warned_of() {
    let warnings = |text: &str| read(&format!("[sources.a]\n{text}")).unwrap().warnings;
    let stripe = "preset = \"stripe\"\nsecrets = \"env:SECRET\"\n";
    let github = "preset = \"github\"\nsecrets = \"env:SECRET\"\n";
    assert!(warnings(stripe).is_empty());
    assert!(warnings(github).is_empty());
    for (text, part) in [
        (
            "scheme = \"none\"".to_owned(),
            "everybody who reaches the server may deliver",
        ),
        (
            format!("{stripe}tolerance = \"off\""),
            "the tolerance is off",
        ),
        (format!("{github}guard = \"none\""), "set guard = \"body\""),
        (
            format!("{github}keep = \"1d\"\nkeep_keys = \"2d\""),
            "keep_keys is less than 30d",
        ),
        (
            format!("{stripe}public_url = \"https://a.example/in\""),
            "does not end with /v1/webhooks/a",
        ),
        (
            format!("{stripe}reads_need_token = false"),
            "everybody who reaches the server may read",
        ),
    ] {
        let warnings = warnings(&text);
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert!(warnings[0].starts_with("source a: "), "{warnings:?}");
        assert!(warnings[0].contains(part), "{warnings:?}");
    }
}

#[test]
fn every_preset_is_understood() {
    for preset in webhook_sources::preset::all() {
        for name in preset.also.iter().chain([&preset.name]) {
            let text = format!("[sources.a]\npreset = \"{name}\"\n");
            let (document, _) = DeTable::parse_recoverable(&text);
            let mut problems = Problems::of(&text);
            let (key, value) = document.get_ref().iter().next().unwrap();
            assert_eq!(key.get_ref(), "sources");
            let (key, value) = value.get_ref().as_table().unwrap().iter().next().unwrap();
            let config = Config::default();
            let context = Context {
                keys: None,
                forward_keys: &|| Config::default().default_keys().map_err(|_| String::new()),
                are_keys_wrong: Cell::new(false),
                config: &config,
                folder: Path::new(""),
                variable: &|_| None,
                public_url: Some("https://example.com"),
                is_damaged: false,
            };
            context.source(key, value, &mut problems, &mut Vec::new());
            let merged = merge::over(&DeTable::new(), preset::table(name).unwrap(), &(0..0));
            let spec = source::spec("a", &merged, &(0..0), &mut problems);
            assert_eq!(spec.as_ref(), Some(&preset.spec), "{name}");
            // Only the lack of secrets and settings is wrong.
            for line in problems
                .into_result(Path::new(""))
                .err()
                .iter()
                .flat_map(SourcesError::lines)
            {
                let is_missing = line.contains("secret") || line.contains("setting");
                assert!(is_missing, "{name}: {line}");
            }
        }
    }
}

#[test]
fn choices_are_those_that_serde_knows() {
    fn choices_of<T: for<'de> Deserialize<'de> + std::fmt::Debug>() -> BTreeSet<String> {
        let value = toml::de::ValueDeserializer::parse("\"zzz\"").unwrap();
        expected(&T::deserialize(value).unwrap_err())
    }
    for (known, names) in [
        (choices_of::<HashFunction>(), fields::HASHES),
        (choices_of::<KeyForm>(), fields::KEY_FORMS),
        (choices_of::<TokenForm>(), fields::TOKEN_FORMS),
        (choices_of::<Algorithm>(), fields::ALGORITHMS),
        (choices_of::<PublicKeyForm>(), fields::PUBLIC_KEY_FORMS),
        (choices_of::<Encoding>(), fields::ENCODINGS),
        (choices_of::<TimeFormat>(), fields::TIME_FORMATS),
        (choices_of::<JwtAlgorithm>(), fields::JWT_ALGORITHMS),
    ] {
        let names = names.iter().map(ToString::to_string);
        assert_eq!(known, names.collect());
    }
}

/// The names that serde expects, from its error about an unknown one, which is `zzz`.
fn expected(error: &toml::de::Error) -> BTreeSet<String> {
    let quoted = error.message().split('`').skip(1).step_by(2);
    quoted
        .filter(|key| *key != "zzz")
        .map(str::to_owned)
        .collect()
}

/// The keys that serde knows of `T`.
fn keys_of<T: for<'de> Deserialize<'de> + std::fmt::Debug>(rest: &str) -> BTreeSet<String> {
    let read = toml::from_str::<T>(&format!("zzz = 1\n{rest}"));
    expected(&read.unwrap_err())
}

#[test]
fn keys_are_those_that_serde_knows() {
    let named = |fields: &[Field]| -> BTreeSet<String> {
        let of_sender = fields.iter().filter(|field| {
            fields.len() < fields::SOURCE_FIELDS.len() || describes_sender(field.key)
        });
        of_sender.map(|field| field.key.to_owned()).collect()
    };
    for (name, known, fields) in [
        ("source", keys_of::<SourceSpec>(""), fields::SOURCE_FIELDS),
        ("answer", keys_of::<AnswerSpec>(""), fields::ANSWER_FIELDS),
        ("hmac", keys_of::<HmacScheme>(""), fields::HMAC_FIELDS),
        ("token", keys_of::<TokenScheme>(""), fields::TOKEN_FIELDS),
        ("basic", keys_of::<BasicScheme>(""), fields::BASIC_FIELDS),
        (
            "public_key",
            keys_of::<PublicKeyScheme>(""),
            fields::PUBLIC_KEY_FIELDS,
        ),
        ("digest", keys_of::<DigestScheme>(""), fields::DIGEST_FIELDS),
        ("jwt", keys_of::<JwtScheme>(""), fields::JWT_FIELDS),
        ("keys", keys_of::<KeySet>(""), fields::KEY_SETS),
        ("each", keys_of::<EachKey>(""), fields::EACH_KEY_FIELDS),
        (
            "fetched_certificate",
            keys_of::<FetchedCertificateScheme>(""),
            fields::FETCHED_CERTIFICATE_FIELDS,
        ),
        (
            "algorithm",
            keys_of::<NamedAlgorithms>(""),
            fields::NAMED_ALGORITHMS_FIELDS,
        ),
        (
            "required",
            keys_of::<RequiredValue>(""),
            fields::REQUIRED_VALUE_FIELDS,
        ),
        (
            "signature",
            keys_of::<SignatureSpec>(""),
            fields::SIGNATURE_FIELDS,
        ),
        ("time", keys_of::<TimeSpec>(""), fields::TIME_FIELDS),
        (
            "handshake answer",
            keys_of::<HandshakeAnswer>(""),
            fields::HANDSHAKE_ANSWER_FIELDS,
        ),
    ] {
        assert_eq!(known, named(fields), "{name}");
    }
    let mut schemes = keys_of::<Scheme>("");
    schemes.remove("none");
    assert_eq!(schemes, named(fields::SCHEMES));
    let requests: BTreeSet<String> = keys_of::<Handshake>("request = \"zzz\"");
    let names = fields::HANDSHAKES
        .iter()
        .map(|(name, _)| (*name).to_owned());
    assert_eq!(requests, names.collect());
    for (name, fields) in fields::HANDSHAKES {
        let known = keys_of::<Handshake>(&format!("request = \"{name}\""));
        assert_eq!(known, named(fields), "{name}");
    }
}

#[test]
fn examples_of_the_pages_about_senders_are_read() {
    let variable = |_: &str| Some(OsString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let page = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let blocks = page.split("```toml\n").skip(1);
        let blocks = blocks.filter_map(|block| block.split("```").next());
        for block in blocks.filter(|block| block.contains("[sources.")) {
            let path = Path::new("/nowhere/webhook.toml");
            let file = parse(block, path, &Config::default(), &variable);
            assert_eq!(file.unwrap().sources.len(), 1, "{block}");
            examples += 1;
        }
    }
    assert!(examples > 10, "{examples}");
}

/// Pieces of texts. Each value that may be a secret is `Hunter2`, in quotation marks.
const PIECES: [&str; 60] = [
    "[sources.a]\n",
    "[sources.b]\n",
    "[sources.",
    "]\n",
    "[[",
    "]]",
    "sources",
    "preset = ",
    "\"stripe\"\n",
    "\"gitlab\"\n",
    "secrets = ",
    "\"Hunter2\"\n",
    "\"Hunter2\"",
    "\"env:Hunter2\"\n",
    "\"file:Hunter2\"\n",
    "\"env:SECRET\"\n",
    "scheme = ",
    "\"none\"\n",
    "scheme.hmac = ",
    "{",
    "}\n",
    "[",
    "]\n",
    ", ",
    "id = ",
    "compare = ",
    "event_type = ",
    "answer = ",
    "handshakes = ",
    "request = \"json\"",
    "signed = ",
    "\"{body}\"",
    "signature = ",
    "at = ",
    "\"header:x\"",
    "timeout = ",
    "forward = ",
    "forward.url = ",
    "\"http://127.0.0.1:3000/\"\n",
    "\"https://user:Hunter2@example.com/\"\n",
    "sign_with = ",
    "bearer = ",
    "headers = { hunter2 = ",
    "rate = ",
    "fail_on = ",
    "schedule = ",
    "ca = ",
    "client_key = ",
    "\"5m\"\n",
    "max_attempts = ",
    "5\n",
    "-1\n",
    "1e999\n",
    "true\n",
    "1979-05-27T07:32:00Z\n",
    "\"\"\"",
    "#",
    "\0",
    "\u{feff}",
    "é",
];

#[test]
fn no_text_makes_the_reader_panic_or_quote_a_secret() {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    let mut rng = SmallRng::seed_from_u64(7);
    for _ in 0..1_500 {
        let pieces = rng.random_range(0..24);
        let text: String = (0..pieces)
            .map(|_| PIECES[rng.random_range(0..PIECES.len())])
            .collect();
        for error in read(&text).err().unwrap_or_default() {
            assert!(
                !error.to_uppercase().contains("HUNTER2"),
                "{text:?}: {error}"
            );
        }
    }
    for deep in ["[", "{a=", "a.", "[["] {
        let _ = read(&deep.repeat(10_000));
        let _ = read(&format!("sources.a.scheme = {}", deep.repeat(10_000)));
    }
    let nested = format!(
        "sources.a.id = {}\"sha256\"{}",
        "[".repeat(70),
        "]".repeat(70)
    );
    assert!(read(&nested).is_err());
}
