//! Request lines, hosts, headers: what they may look like, and how long they may be.

use super::case::{Case, GET, case, get, get_with, good_with, smuggled};

/// The longest head, that of hyper's buffer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The longest target.
const MAX_TARGET_BYTES: usize = 8 * 1024;

/// `request`, and another behind it.
fn then_smuggled(request: impl AsRef<[u8]>) -> Vec<u8> {
    [request.as_ref(), &smuggled()].concat()
}

pub(super) fn targets() -> Vec<Case> {
    let path = |bytes: usize| format!("/v1/{}", "x".repeat(bytes - "/v1/".len()));
    let absolute = "RFC 9112, 3.2.2: absolute-form is accepted; its host is ignored";
    let form = "RFC 9112, 3.2: not a valid form of a request target";
    let line = "RFC 9112, 3: not a request line";
    let mut cases = vec![
        case(
            "`GET http://b.example/readyz`",
            get("http://b.example/readyz"),
        )
        .gets(&[200], absolute),
        case("`GET https://b.example`", get("https://b.example")).gets(&[200], absolute),
        case(
            "`GET http://b.example/` without a `Host`",
            "GET http://b.example/ HTTP/1.1\r\n\r\n",
        )
        .ends_with(&[400], "RFC 9112, 3.2: every request needs a `Host`"),
        case(
            "`OPTIONS *`",
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        .gets(&[204], "RFC 9112, 3.2.4: asterisk-form"),
    ];
    for (target, why) in [
        ("*", "RFC 9112, 3.2.4: asterisk-form is for OPTIONS only"),
        (
            "b.example",
            "RFC 9112, 3.2.3: authority-form is for CONNECT only",
        ),
        (
            "b.example:80",
            "RFC 9112, 3.2.3: authority-form is for CONNECT only",
        ),
        (
            "ftp://b.example/",
            "RFC 9110, 7.4: a scheme that the server does not serve",
        ),
        (
            "http://user@b.example/",
            "RFC 9110, 4.2.4: user information is not allowed",
        ),
        ("http:///", form),
        ("http://", form),
        ("", form),
        ("readyz?", form),
        ("/a b", line),
        ("/a\tb", line),
        ("/\0", line),
        ("/\u{1}", line),
        ("/\u{7f}", line),
    ] {
        let name = format!("`GET {}`", target.escape_debug());
        cases.push(case(name, then_smuggled(get(target))).ends_with(&[400], why));
    }
    cases.extend([
        case(
            "a target that is not UTF-8",
            then_smuggled(b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        )
        .ends_with(&[400], line),
        case("a target in UTF-8, `GET /café`", get("/café")).gets(
            &[404],
            "RFC 3986, 2.1: should be encoded; browsers and curl do not encode it, so it is accepted",
        ),
        case("a fragment, `GET /readyz#x`", get("/readyz#x"))
            .gets(&[200], "RFC 9112, 3.2.1: clients should not send fragments; they are dropped"),
        case("`GET /v1/../readyz`", get("/v1/../readyz"))
            .gets(&[404], "RFC 3986, 6.2.2.3: dot segments are not removed"),
        case("`GET //readyz`", get("//readyz"))
            .gets(&[404], "RFC 3986, 3.3: an empty segment is a segment"),
        case("`GET /%72eadyz`", get("/%72eadyz")).gets(
            &[404],
            "RFC 3986, 6.2.2.2: fixed paths are not decoded",
        ),
        case("a target of 8 KiB", get(&path(MAX_TARGET_BYTES)))
            .gets(&[404], "RFC 9112, 3: at least 8,000 bytes must be supported"),
        case(
            "a longer one",
            then_smuggled(get(&path(MAX_TARGET_BYTES + 1))),
        )
        .ends_with(&[414], "RFC 9110, 15.5.15"),
        case(
            "a target of a million bytes",
            then_smuggled(get(&path(1_000_000))),
        )
        .ends_with(&[431], "RFC 6585, 5: longer than the whole head may be"),
    ]);
    cases
}

pub(super) fn lines() -> Vec<Case> {
    let line = "RFC 9112, 3: not a request line";
    let version = "RFC 9112, 2.3: unsupported version";
    let bare = "RFC 9112, 2.2: a bare LF may end a line";
    let mut cases = vec![
        case("an empty line before the request", format!("\r\n{GET}")).gets(
            &[200],
            "RFC 9112, 2.2: an empty line before a request is ignored",
        ),
        case("lines that end with a bare LF", GET.replace("\r\n", "\n")).gets(&[200], bare),
        case("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n").ends_with(
            &[200],
            "RFC 9112, 9.3: HTTP/1.0 connections close unless the client asks for keep-alive",
        ),
        case(
            "a method of 1,000 letters",
            format!(
                "{} / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "A".repeat(1_000)
            ),
        )
        .gets(&[405], "RFC 9110, 9.1: a valid token, but no known method"),
        case("`get /`", GET.replace("GET", "get"))
            .gets(&[405], "RFC 9110, 9.1: methods are case-sensitive"),
    ];
    for (request, why) in [
        ("hello\r\n\r\n", line),
        ("GET /\r\n\r\n", line),
        ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", line),
        ("GET\t/ HTTP/1.1\r\nHost: localhost\r\n\r\n", line),
        ("GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n", line),
        ("GET / HTTP/1.1\rHost: a\r\n\r\n", line),
        (" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", line),
        ("G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n", line),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", version),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", version),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", version),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", version),
        ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", version),
    ] {
        let first = request.split("\r\n").next().unwrap();
        let name = format!("`{}`", first.escape_debug());
        cases.push(case(name, then_smuggled(request)).ends_with(&[400], why));
    }
    cases.push(
        case(
            "the first bytes of TLS",
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        )
        .ends_with(&[400], line),
    );
    cases
}

pub(super) fn hosts() -> Vec<Case> {
    let why = "RFC 9112, 3.2: exactly one valid `Host` is required";
    let mut cases = Vec::new();
    for hosts in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a, b\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: user@a\r\n",
        "Host: a/b\r\n",
        "Host: a:x\r\n",
        "Host: a:80:80\r\n",
        "Host: [::1\r\n",
        "Host: a\\b\r\n",
        "Host: <script>\r\n",
        "Host: caf\u{e9}\r\n",
        "Host : a\r\n",
        " Host: a\r\n",
    ] {
        let shown = hosts.trim_end().escape_debug().to_string();
        let name = match shown.replace("\\\\", "\\").as_str() {
            "" => "no `Host`".to_owned(),
            shown => format!("`{shown}`"),
        };
        let bytes = then_smuggled(format!("GET / HTTP/1.1\r\n{hosts}\r\n"));
        cases.push(case(name, bytes).ends_with(&[400], why));
    }
    cases.push(
        case(
            "`Host: [::1]:8000`",
            "GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
        )
        .gets(&[200], "RFC 9110, 7.2"),
    );
    cases
}

pub(super) fn headers() -> Vec<Case> {
    let name_why = "RFC 9110, 5.6.2: not a field name";
    let value_why = "RFC 9110, 5.5: no control characters";
    let flood = "RFC 6585, 5";
    let mut cases = Vec::new();
    for (line, why) in [
        ("x: \0", value_why),
        ("x: a\u{1}b", value_why),
        ("x: a\u{8}b", value_why),
        ("x: a\u{1b}[31mb", value_why),
        ("x: a\u{7f}b", value_why),
        ("x: a\rb", "RFC 9112, 2.2: a bare CR is invalid"),
        ("x\0: y", name_why),
        ("x y: z", name_why),
        ("x(: y", name_why),
        ("caf\u{e9}: y", name_why),
        (": y", name_why),
        ("broken", "RFC 9112, 5: not a field line"),
        ("x: y\r\n z: folded", "RFC 9112, 5.2: no folded lines"),
    ] {
        let name = format!("`{}`", line.escape_debug());
        let bytes = then_smuggled(get_with(&format!("{line}\r\n")));
        cases.push(case(name, bytes).ends_with(&[400], why));
    }
    let padded = |bytes: usize| {
        let bare = get_with("x: \r\n").len();
        get_with(&format!("x: {}\r\n", "y".repeat(bytes - bare)))
    };
    cases.extend([
        case(
            "`x: café`, in UTF-8 and in Latin-1",
            get_bytes(b"x: caf\xc3\xa9\r\nx: caf\xe9\r\n"),
        )
        .gets(&[200], "RFC 9110, 5.5: opaque bytes, ignored"),
        case(
            "`Content-Type` twice",
            good_with("Content-Type: application/json\r\n"),
        )
        .gets(&[415], "RFC 9110, 5.3: the field must not be repeated"),
        case(
            "`Authorization: \\xff`",
            get_bytes(b"Authorization: Bearer \xff\xfe\r\n"),
        )
        .gets(
            &[200],
            "RFC 9110, 5.5: opaque bytes, which this path ignores",
        ),
        case("100 headers", get_with(&"x: y\r\n".repeat(99)))
            .gets(&[200], "RFC 9110, 5.4: the server sets the limit"),
        case(
            "101 headers",
            then_smuggled(get_with(&"x: y\r\n".repeat(100))),
        )
        .ends_with(&[431], flood),
        case(
            "10,000 headers",
            then_smuggled(get_with(&"x: y\r\n".repeat(10_000))),
        )
        .ends_with(&[431], flood),
        case("a head of 16 KiB", padded(MAX_HEAD_BYTES))
            .gets(&[200], "RFC 9110, 5.4: the server sets the limit"),
        case("a longer one", then_smuggled(padded(MAX_HEAD_BYTES + 1))).ends_with(&[431], flood),
        case(
            "a head of a million bytes",
            then_smuggled(padded(1_000_000)),
        )
        .ends_with(&[431], flood),
        case(
            "a header name of 70,000 bytes",
            then_smuggled(get_with(&format!("{}: y\r\n", "x".repeat(70_000)))),
        )
        .ends_with(&[431], flood),
    ]);
    cases
}

fn get_bytes(line: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n", line, b"\r\n"].concat()
}
