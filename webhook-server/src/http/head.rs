//! Checks of a request's head that hyper leaves to its users: host, target, media type.

use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::http::uri::Scheme;
use hyper::{Method, StatusCode, Version};

use super::problem::Problem;
use super::quoted::{split, unquoted};

/// The longest path with its query. RFC 9112, section 3, recommends 8,000 bytes at least.
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// Rejects malformed requests.
///
/// Every rejection closes the connection: the client may disagree on where the next request begins.
pub(super) fn check(head: &Parts) -> Result<(), Problem> {
    check_host(head)?;
    check_target(head)?;
    check_transfer_coding(&head.headers)
}

/// The forms of RFC 9112, section 3.2.
fn check_target(head: &Parts) -> Result<(), Problem> {
    let uri = &head.uri;
    let target_bytes = uri.path_and_query().map_or(0, |it| it.as_str().len());
    if target_bytes > MAX_TARGET_BYTES {
        let detail = format!("Request target longer than {MAX_TARGET_BYTES} bytes");
        return Err(Problem::new(StatusCode::URI_TOO_LONG, detail).closing());
    }
    let is_good = match (uri.scheme(), uri.authority()) {
        // User information before the host is an error: RFC 9110, section 4.2.4.
        (Some(scheme), Some(authority)) => {
            [Scheme::HTTP, Scheme::HTTPS].contains(scheme) && !authority.as_str().contains('@')
        }
        (None, None) => uri.path() != "*" || head.method == Method::OPTIONS,
        // The form of CONNECT.
        _ => head.method == Method::CONNECT,
    };
    if is_good {
        Ok(())
    } else {
        Err(Problem::new(StatusCode::BAD_REQUEST, "Request target invalid").closing())
    }
}

/// hyper accepts every list of codings that ends with `chunked`, but does not decode the others (RFC
/// 9112, section 6.1).
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => {
            let detail = "Transfer-Encoding must be chunked, once";
            Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail).closing())
        }
    }
}

/// RFC 9112, section 3.2: exactly one valid `Host`; only HTTP/1.0 may omit it.
fn check_host(head: &Parts) -> Result<(), Problem> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let wrong = match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => return Ok(()),
        (None, _) if head.version < Version::HTTP_11 => return Ok(()),
        (None, _) => "Host header missing",
        (Some(_), None) => "Host header invalid",
        (Some(_), Some(_)) => "More than one Host header",
    };
    Err(Problem::new(StatusCode::BAD_REQUEST, wrong).closing())
}

/// `uri-host [ ":" port ]` (RFC 9110, section 7.2), by its characters and its port.
fn is_host(host: &[u8]) -> bool {
    let name_end = match host {
        [b'[', ..] => host.iter().position(|&byte| byte == b']').map(|at| at + 1),
        _ => Some(
            host.iter()
                .position(|&byte| byte == b':')
                .unwrap_or(host.len()),
        ),
    };
    let Some((name, port)) = name_end.and_then(|end| host.split_at_checked(end)) else {
        return false;
    };
    let name_is_good = match name {
        [b'[', address @ .., b']'] => address
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b":.%-_~".contains(byte)),
        _ => name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte)),
    };
    let port_is_good = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    !name.is_empty() && name_is_good && port_is_good
}

/// `application/json`, or a type built on it (RFC 6839), in UTF-8 and not encoded.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let wrong = match (types.next(), types.next()) {
        (Some(one), None) if is_json(one) => {
            if headers.get_all(CONTENT_ENCODING).iter().all(is_identity) {
                return Ok(());
            }
            "Content-Encoding must be identity"
        }
        (None, _) => "Content-Type missing; expected application/json",
        _ => "Content-Type must be application/json in UTF-8",
    };
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wrong))
}

fn is_json(value: &HeaderValue) -> bool {
    if value == "application/json" {
        return true;
    }
    // A quoted string may contain bytes that are not UTF-8. They do not matter here.
    let text = String::from_utf8_lossy(value.as_bytes());
    let mut parts = split(&text, ';').into_iter();
    let media_type = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json_type = match media_type.strip_prefix("application/") {
        Some("json") => true,
        Some(subtype) => subtype
            .strip_suffix("+json")
            .is_some_and(|name| !name.is_empty() && name.bytes().all(is_token)),
        None => false,
    };
    is_json_type && parts.all(is_harmless_parameter)
}

/// Whether a parameter of a media type (RFC 9110, section 5.6.6) is compatible with UTF-8. A value may
/// contain characters that should be quoted, except a comma, which begins another media type.
fn is_harmless_parameter(parameter: &str) -> bool {
    let parameter = parameter.trim();
    let Some((name, written)) = parameter.split_once('=') else {
        return parameter.is_empty();
    };
    let Some(value) = unquoted(written) else {
        return false;
    };
    if name.eq_ignore_ascii_case("charset") {
        return ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|charset| value.eq_ignore_ascii_case(charset));
    }
    let is_one = written.starts_with('"') || !written.contains(',');
    is_one && !name.is_empty() && name.bytes().all(is_token)
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_identity(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_hosts_are_rejected() {
        for good in [
            "localhost",
            "localhost:8000",
            "127.0.0.1:8000",
            "[::1]",
            "[::1]:8000",
            "[fe80::1%25eth0]:1",
            "example.com:",
            "a_b.example",
            "xn--caf-dma.example",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":8000",
            "a b",
            "a/b",
            "user@host",
            "a:b",
            "a:80:80",
            "[::1",
            "[::1]x",
            "::1",
            "a,b ",
            "a?b",
            "a#b",
            "a\\b",
            "<a>",
            "a:123456",
            "caf\u{e9}",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn only_json_media_types_are_accepted() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json ; charset=utf8 ; x=y",
            "application/json;",
            "application/json;;charset=utf-8;",
            "application/json; v=\"a;b\"",
            "application/json; v=\"a;charset=latin1\"; charset=utf-8",
            "application/json; v=\"a\\\";charset=latin1\"",
            "application/json; v=\"a, b\"",
            "application/json; charset=\"u\\tf-8\"",
            "application/json; v=\"\"",
            "application/json; profile=https://example.com/x",
            "application/vnd.acme.tx+json",
            "application/cloudevents+json; charset=UTF-8",
        ] {
            assert!(is_json(&HeaderValue::from_str(good).unwrap()), "{good}");
        }
        let not_text = HeaderValue::from_bytes(b"application/json; v=\"\xe9;\xff\"").unwrap();
        assert!(is_json(&not_text));
        for bad in [
            "",
            "text/json",
            "text/plain",
            "application/jsonx",
            "application/json, text/plain",
            "application/+json",
            "application/x y+json",
            "application/xml",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/json; charset=latin1",
            "application/json; charset=utf-16",
            "application/json; charset",
            "application/json; charset=",
            "application/json; charset = utf-16",
            "application/json; charset=\"utf-16\"",
            "application/json; v=\"a;b\"; charset=latin1",
            "application/json; v=\"a;b",
            "application/json; v=a\"b\"",
            "application/json; v=\"a\"b",
            "application/json; v=x, text/plain",
            "application/json; =x",
            "application/json; v v=x",
            "json",
            "*/*",
        ] {
            assert!(!is_json(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
    }
}
