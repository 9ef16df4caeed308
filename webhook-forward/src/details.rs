//! What is kept of a failed attempt.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use serde::Serialize;
use webhook_core::MAX_DETAILS_BYTES;

use crate::client::{Exchange, Timings};
use crate::destination::Destination;
use crate::error_class::ErrorClass;

/// The largest number of headers that are kept.
const MAX_HEADERS: usize = 64;

/// The largest size of the headers that are kept: names and values.
const MAX_HEADERS_BYTES: usize = 8 * 1024;

/// The length of the shortest secret that is looked for in an answer. Shorter ones are found by chance.
const MIN_SECRET_BYTES: usize = 8;

/// What stands for a value that may be secret.
const MASKED: &str = "***";

/// The details of a failed attempt, as JSON.
#[derive(Serialize)]
struct Details<'a> {
    error_class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    timings_ms: Millis,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_is_whole: Option<bool>,
}

/// Milliseconds with microseconds as their fraction.
#[derive(Serialize)]
struct Millis {
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte: Option<f64>,
    total: f64,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    value: Cow<'a, str>,
}

/// Returns the details of an attempt: a JSON object of at most [`MAX_DETAILS_BYTES`].
///
/// `destination` got the request: a page for debugging may show its secrets.
pub(crate) fn of(exchange: &Exchange, class: ErrorClass, destination: &Destination) -> Bytes {
    let secrets = secrets(destination);
    let answer = exchange.result.as_ref().ok();
    let mut body = answer.map(|answer| (&*answer.body, answer.is_body_whole));
    let mut headers = answer
        .map(|answer| headers(&answer.headers, &secrets))
        .unwrap_or_default();
    loop {
        let text = body.and_then(|(body, is_whole)| text(body, is_whole));
        let base64 = body.filter(|_| text.is_none());
        let details = Details {
            error_class: class.as_str(),
            status: answer.map(|answer| answer.status.as_u16()),
            peer: exchange.peer.map(|peer| peer.to_string()),
            timings_ms: millis(&exchange.timings),
            headers,
            body: text.map(|text| without(text.into(), &secrets)),
            body_base64: base64.map(|(body, _)| STANDARD.encode(body)),
            body_is_whole: body.map(|(_, is_whole)| is_whole),
        };
        // Numbers and texts are always JSON.
        let json = serde_json::to_vec(&details).unwrap_or_default();
        if json.len() <= MAX_DETAILS_BYTES {
            return json.into();
        }
        headers = details.headers;
        // Escapes in JSON may make it six times as long.
        match body {
            Some((bytes, _)) if bytes.len() > 1 => body = Some((&bytes[..bytes.len() / 2], false)),
            Some(_) => body = None,
            None => {
                headers.pop();
            }
        }
    }
}

/// Returns the body as text. If it was cut within a character, that character is left out.
fn text(body: &[u8], is_whole: bool) -> Option<&str> {
    match str::from_utf8(body) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && !is_whole => {
            str::from_utf8(&body[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn headers<'a>(headers: &'a HeaderMap, secrets: &[&str]) -> Vec<Header<'a>> {
    let mut bytes = 0;
    let shown = headers.iter().map(|(name, value)| Header {
        name: name.as_str(),
        value: without(shown(name, value), secrets),
    });
    shown
        .take(MAX_HEADERS)
        .take_while(|header| {
            bytes += header.name.len() + header.value.len();
            bytes <= MAX_HEADERS_BYTES
        })
        .collect()
}

/// Returns the secrets of a destination: the values in the query of its URL, those of headers that may have one, and
/// what follows a scheme such as `Bearer` in them.
fn secrets(destination: &Destination) -> Vec<&str> {
    let headers = destination.headers.iter();
    let secret = headers.filter(|(name, value)| value.is_sensitive() || is_secret(name.as_str()));
    let values = secret.filter_map(|(_, value)| value.to_str().ok());
    let parts = values.flat_map(|value| [Some(value), value.split_once(' ').map(|(_, rest)| rest)]);
    let query = destination.url.query().unwrap_or_default().split('&');
    let query = query.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let parts = parts.flatten().chain(query).map(str::trim);
    parts
        .filter(|part| part.len() >= MIN_SECRET_BYTES)
        .collect()
}

fn without<'a>(text: Cow<'a, str>, secrets: &[&str]) -> Cow<'a, str> {
    secrets.iter().fold(text, |text, secret| {
        if text.contains(secret) {
            text.replace(secret, MASKED).into()
        } else {
            text
        }
    })
}

fn shown<'a>(name: &HeaderName, value: &'a HeaderValue) -> Cow<'a, str> {
    if is_secret(name.as_str()) {
        return MASKED.into();
    }
    let mut bytes = value.as_bytes();
    if *name == LOCATION {
        // Without the query, which is often that of the destination.
        let is_end = |byte: &u8| matches!(byte, b'?' | b'#');
        bytes = bytes.split(is_end).next().unwrap_or_default();
    }
    String::from_utf8_lossy(bytes)
}

/// Whether a header of this name, in lower case, may have a secret.
///
/// These are headers of answers. The server has a list of its own for the requests of senders, which name their secrets
/// in more ways; this crate depends on `webhook-core` only, which knows no HTTP.
fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 10] = [
        "auth",
        "cookie",
        "token",
        "secret",
        "password",
        "session",
        "credential",
        "api-key",
        "apikey",
        "signature",
    ];
    name.starts_with("proxy-") || PARTS.iter().any(|part| name.contains(part))
}

fn millis(timings: &Timings) -> Millis {
    // Rounded to microseconds.
    let millis = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    Millis {
        dns: timings.dns.map(millis),
        connect: timings.connect.map(millis),
        tls: timings.tls.map(millis),
        first_byte: timings.first_byte.map(millis),
        total: millis(timings.total),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::{Answer, Failure};

    fn answered(headers: HeaderMap, body: &[u8], is_body_whole: bool) -> Exchange {
        Exchange {
            result: Ok(Answer {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                headers,
                body: Bytes::copy_from_slice(body),
                is_body_whole,
            }),
            peer: Some(([127, 0, 0, 1], 3000).into()),
            timings: Timings {
                first_byte: Some(Duration::from_micros(1_234)),
                total: Duration::from_millis(2),
                ..Timings::default()
            },
        }
    }

    fn destination() -> Destination {
        Destination::new(
            "http://app.test/hooks?plain&key=marlin-2026&a=b"
                .parse()
                .unwrap(),
        )
    }

    fn read(exchange: &Exchange) -> Value {
        let details = of(exchange, ErrorClass::Status5xx, &destination());
        assert!(details.len() <= MAX_DETAILS_BYTES);
        serde_json::from_slice(&details).unwrap()
    }

    #[test]
    fn an_answer_is_kept_without_its_secrets() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Basic realm=a"),
            ("proxy-status", "a"),
            ("x-api-key", "a"),
            ("x-csrf-token", "a"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut details = read(&answered(headers, b"broken", true));
        let mut shown: Vec<_> = details["headers"].take().as_array().unwrap().clone();
        shown.sort_by_key(|header| header["name"].to_string());
        let header = |name, value| json!({"name": name, "value": value});
        let expected = [
            header("content-type", "text/plain"),
            header("proxy-status", "***"),
            header("set-cookie", "***"),
            header("www-authenticate", "***"),
            header("x-api-key", "***"),
            header("x-csrf-token", "***"),
        ];
        assert_eq!(shown, expected);
        let rest = json!({
            "error_class": "status_5xx",
            "status": 500,
            "peer": "127.0.0.1:3000",
            "timings_ms": {"first_byte": 1.234, "total": 2.0},
            "headers": null,
            "body": "broken",
            "body_is_whole": true,
        });
        assert_eq!(details, rest);
    }

    #[test]
    fn a_failure_has_no_answer() {
        let exchange = Exchange {
            result: Err(Failure {
                class: ErrorClass::Dns,
                message: "the host name app.test does not resolve".to_owned(),
            }),
            peer: None,
            timings: Timings::default(),
        };
        let details = of(&exchange, ErrorClass::Dns, &destination());
        assert_eq!(
            details,
            r#"{"error_class":"dns","timings_ms":{"total":0.0}}"#
        );
    }

    #[test]
    fn bodies_are_text_or_base64() {
        let body = |bytes: &[u8], is_whole| read(&answered(HeaderMap::new(), bytes, is_whole));
        let details = body("aé".as_bytes(), true);
        assert_eq!(details["body"], "aé");
        // A character that was cut.
        let details = body(b"a\xc3", false);
        assert_eq!(
            (&details["body"], &details["body_is_whole"]),
            (&json!("a"), &json!(false))
        );
        assert_eq!(body(b"a\xc3", true)["body_base64"], "YcM=");
        let details = body(b"\xff\0", false);
        assert_eq!(details["body_base64"], "/wA=");
        assert!(details.get("body").is_none());
        assert_eq!(body(b"", true)["body"], "");
    }

    #[test]
    fn secrets_that_an_answer_repeats_are_masked() {
        let named = |name, value: &'static str| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        let mut sensitive = named("x-app", "of the files");
        sensitive.1.set_sensitive(true);
        let sent = [
            named("authorization", "Bearer swordfish"),
            named("x-api-key", "hunter-hunter-2"),
            named("x-short-token", "abc"),
            named("accept", "application/json"),
            sensitive,
        ];
        let page = "authorization: Bearer swordfish, again swordfish; hunter-hunter-2; of the files; \
                    abc; application/json; /hooks?plain&amp;key=marlin-2026&amp;a=b";
        let mut headers = HeaderMap::new();
        headers.insert("x-debug", HeaderValue::from_static("swordfish"));
        let details = of(
            &answered(headers, page.as_bytes(), true),
            ErrorClass::Status5xx,
            &destination().with_headers(sent),
        );
        let details: Value = serde_json::from_slice(&details).unwrap();
        let masked = "authorization: ***, again ***; ***; ***; abc; application/json; \
                      /hooks?plain&amp;key=***&amp;a=b";
        assert_eq!(details["body"], masked);
        assert_eq!(details["headers"][0]["value"], "***");
    }

    /// Most redirects from http to https repeat the query of the destination.
    #[test]
    fn locations_are_kept_without_their_query() {
        for (location, kept) in [
            (
                "https://app.test/hooks?key=marlin-2026",
                "https://app.test/hooks",
            ),
            ("/hooks?token=1#part", "/hooks"),
            ("https://app.test/v2#part", "https://app.test/v2"),
        ] {
            let location = HeaderValue::from_static(location);
            let headers = HeaderMap::from_iter([(LOCATION, location)]);
            let details = read(&answered(headers, b"", true));
            assert_eq!(details["headers"][0]["value"], kept);
        }
    }

    #[test]
    fn large_answers_are_cut() {
        let mut headers = HeaderMap::new();
        for number in 0..100 {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            let quotes = HeaderValue::from_bytes(&[b'"'; 100]).unwrap();
            headers.insert(name, quotes);
        }
        let details = read(&answered(headers.clone(), &[0; 16 * 1024], true));
        assert_eq!(details["headers"].as_array().unwrap().len(), MAX_HEADERS);
        assert_eq!(details["body_is_whole"], false);
        assert!(details["body"].as_str().unwrap().len() >= 1_024);
        headers.insert("x-long", HeaderValue::from_bytes(&[b'x'; 60_000]).unwrap());
        read(&answered(headers, b"", true));
    }

    proptest! {
        #[test]
        fn any_answer_fits(
            headers in prop::collection::vec((0x20..0x7f_u8, 0..1_000_usize), 0..80),
            part in prop::collection::vec(any::<u8>(), 0..64),
            repeats in 0..=256_usize,
            is_whole: bool,
        ) {
            let body = part.repeat(repeats);
            let named = headers.iter().enumerate().map(|(number, (byte, length))| {
                let name = HeaderName::try_from(format!("x-{number}")).unwrap();
                (name, HeaderValue::from_bytes(&vec![*byte; *length]).unwrap())
            });
            let details = read(&answered(named.collect(), &body, is_whole));
            prop_assert_eq!(&details["status"], 500);
            prop_assert!(details.get("body").is_some() || details.get("body_base64").is_some());
        }
    }
}
