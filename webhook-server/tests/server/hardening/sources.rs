//! Deliveries to a source, which are verified by their bytes: what ends a request for a transaction ends one for a
//! source as well.

use crate::sources::Sender;

use super::case::{Case, GOOD, SMUGGLED, Then, case, chunk, smuggled};

/// The configuration of every server: one source.
pub(super) const TOML: &str = "[sources.github]\npreset = \"github\"\nsecrets = \"file:secret\"\n";

const BODY: &str = "{\"a\": [1, 2, 3]}";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// The first lines of a delivery of `body` with this id, whose signature is that of `body`, with further `lines`, and
/// then `rest`.
fn delivery(id: &str, body: &str, lines: &str, rest: impl AsRef<[u8]>) -> Vec<u8> {
    let whole = String::from_utf8(Sender::of("github").github(id, body)).unwrap();
    let mut signature = whole.split("\r\n");
    let signature = signature.find(|line| line.starts_with("x-hub-signature-256:"));
    let head = format!(
        "POST /v1/webhooks/github HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         X-GitHub-Event: push\r\nX-GitHub-Delivery: {id}\r\n{}\r\n{lines}\r\n",
        signature.unwrap()
    );
    [head.as_bytes(), rest.as_ref()].concat()
}

/// A delivery that is stored, with these lines in its head.
fn good_with(lines: &str) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n{lines}", BODY.len());
    delivery(GOOD, BODY, &length, BODY)
}

/// A delivery to the source that must not be accepted, and one of a transaction.
fn both_smuggled() -> Vec<u8> {
    let body = "\"smuggled\"";
    let lines = format!("Content-Length: {}\r\n", body.len());
    [delivery(SMUGGLED, body, &lines, body), smuggled()].concat()
}

/// A delivery in chunks.
fn in_chunks(lines: &str) -> Vec<u8> {
    let rest = [chunk(BODY), b"0\r\n\r\n".to_vec()].concat();
    delivery(GOOD, BODY, lines, rest)
}

fn then_smuggled(request: impl AsRef<[u8]>) -> Vec<u8> {
    [request.as_ref(), &both_smuggled()].concat()
}

/// A request with this first line, without its version, and with the headers of a good delivery.
fn first_line(line: &str) -> Vec<u8> {
    let good = String::from_utf8(good_with("")).unwrap();
    good.replacen("POST /v1/webhooks/github", line, 1)
        .into_bytes()
}

pub(super) fn framing() -> Vec<Case> {
    let both = "RFC 9112, 6.1 and 6.3: only Transfer-Encoding counts, and the connection is closed";
    let no_number = "RFC 9112, 6.3: an invalid Content-Length is an unrecoverable error";
    let grammar = "RFC 9112, 7.1: not a valid chunk";
    let length = BODY.len();
    let hidden = [b"0\r\n\r\n".to_vec(), both_smuggled()].concat();
    let sized = |lines: &str| then_smuggled(delivery(GOOD, BODY, lines, BODY));
    vec![
        case("a signed delivery in chunks", in_chunks(CHUNKED))
            .gets(&[200], "the signature is that of the body without its chunks"),
        case(
            "`Content-Length` of everything, `Transfer-Encoding: chunked` with an empty body, then a request (CL.TE)",
            delivery(GOOD, BODY, &format!("Content-Length: {}\r\n{CHUNKED}", hidden.len()), &hidden),
        )
        .ends_with(&[401], both),
        case(
            "a request as the only chunk, `Content-Length: 4` (TE.CL)",
            delivery(
                GOOD,
                BODY,
                &format!("Content-Length: 4\r\n{CHUNKED}"),
                [chunk(both_smuggled()), b"0\r\n\r\n".to_vec()].concat(),
            ),
        )
        .ends_with(&[401], both),
        case(
            "a valid chunked body with any `Content-Length`, then a request",
            then_smuggled(in_chunks(&format!("Content-Length: {length}\r\n{CHUNKED}"))),
        )
        .ends_with(&[200], both),
        case(
            "`Content-Length` twice, different",
            sized(&format!("Content-Length: {length}\r\nContent-Length: 4\r\n")),
        )
        .ends_with(&[400], no_number),
        case("`Content-Length: +N`", sized(&format!("Content-Length: +{length}\r\n")))
            .ends_with(&[400], no_number),
        case(
            "`Transfer-Encoding: chunked, chunked`",
            then_smuggled(in_chunks("Transfer-Encoding: chunked, chunked\r\n")),
        )
        .ends_with(&[501], "RFC 9112, 6.1: an unsupported coding, or `chunked` more than once"),
        case(
            "`Transfer-Encoding : chunked`",
            then_smuggled(in_chunks("Transfer-Encoding : chunked\r\n")),
        )
        .ends_with(&[400], "RFC 9112, 5.1 and 5.2: no white space before the colon, no folded lines"),
        case(
            "a chunk longer than its size",
            then_smuggled(delivery(
                GOOD,
                BODY,
                CHUNKED,
                format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", length - 1),
            )),
        )
        .ends_with(&[400], grammar),
        case(
            "a chunk size beyond 64 bits",
            then_smuggled(delivery(GOOD, BODY, CHUNKED, format!("1{length:016x}\r\n{BODY}\r\n0\r\n\r\n"))),
        )
        .ends_with(&[400], grammar),
    ]
}

pub(super) fn requests() -> Vec<Case> {
    let host = "RFC 9112, 3.2: exactly one valid `Host` is required";
    let unsigned =
        "the answer is that to a wrong signature, and does not tell which sources there are";
    let wrong = || {
        let good = String::from_utf8(good_with("")).unwrap();
        good.replace("sha256=", "sha256=00").into_bytes()
    };
    let mut cases = vec![
        case(
            "five in a row: 200, 401, 200, 401, 200",
            [
                good_with(""),
                wrong(),
                good_with("X: y\r\n"),
                first_line("POST /v1/webhooks/unknown"),
                in_chunks(CHUNKED),
            ]
            .concat(),
        )
        .gets(
            &[200, 401, 200, 401, 200],
            "RFC 9112, 9.3.2: responses come in the order of the requests",
        ),
        case(
            "a wrong signature, then an invalid request, then another",
            [wrong(), b"\x01\r\n\r\n".to_vec(), both_smuggled()].concat(),
        )
        .ends_with(
            &[401, 400],
            "RFC 9112, 9.3: nothing is executed after an error",
        ),
        case(
            "one with `Connection: close`, then another",
            then_smuggled(good_with("Connection: close\r\n")),
        )
        .ends_with(&[200], "RFC 9112, 9.6: later requests are not executed"),
        case("the signature twice, the same", {
            let good = String::from_utf8(good_with("")).unwrap();
            let lines = good.split_inclusive("\r\n");
            let twice = lines.map(|line| {
                let times = if line.starts_with("x-hub-signature") {
                    2
                } else {
                    1
                };
                line.repeat(times)
            });
            twice.collect::<String>()
        })
        .gets(&[200], "each value of the header counts"),
        case(
            "the id twice",
            good_with(&format!("X-GitHub-Delivery: {SMUGGLED}\r\n")),
        )
        .gets(
            &[200],
            "an id that is ambiguous is none: the hash of the content is",
        ),
        case(
            "101 headers",
            then_smuggled(good_with(&"x: y\r\n".repeat(101))),
        )
        .ends_with(&[431], "RFC 6585, 5"),
    ];
    let no_host = |hosts: &str| {
        let good = String::from_utf8(good_with("")).unwrap();
        then_smuggled(good.replacen("Host: localhost\r\n", hosts, 1))
    };
    for (name, hosts) in [
        ("no `Host`", ""),
        ("`Host: a`, twice", "Host: a\r\nHost: a\r\n"),
        ("`Host: a/b`", "Host: a/b\r\n"),
    ] {
        cases.push(case(name, no_host(hosts)).ends_with(&[400], host));
    }
    for method in ["GET", "PUT", "DELETE", "PATCH", "TRACE", "post"] {
        let line = format!("{method} /v1/webhooks/github");
        cases.push(case(format!("`{line}`"), first_line(&line)).gets(&[401], unsigned));
    }
    for (path, status, why) in [
        ("/v1/webhooks/unknown", &[401], unsigned),
        (
            "/v1/webhooks/GitHub",
            &[401],
            "RFC 3986, 6.2.2.1: paths are case-sensitive, so there is no such source",
        ),
        (
            "/v1/webhooks/github/",
            &[404],
            "RFC 3986, 3.3: an empty segment is a segment",
        ),
        (
            "//v1/webhooks/github",
            &[404],
            "RFC 3986, 3.3: an empty segment is a segment",
        ),
        (
            "/v1/../v1/webhooks/github",
            &[404],
            "RFC 3986, 6.2.2.3: dot segments are not removed",
        ),
    ] {
        let line = format!("POST {path}");
        cases.push(case(format!("`{line}`"), first_line(&line)).gets(status, why));
    }
    cases
}

pub(super) fn slow() -> Vec<Case> {
    let too_slow = "RFC 9110, 15.5.9";
    vec![
        case(
            "half a body",
            delivery(GOOD, BODY, &format!("Content-Length: {}\r\n", BODY.len()), &BODY[1..]),
        )
        .ends_with(&[408], too_slow),
        case(
            "a body, a byte every 50 ms",
            delivery(GOOD, BODY, "Content-Length: 100000\r\n", "{"),
        )
        .then(Then::Dribbles(b' '))
        .ends_with(&[408], too_slow),
        case(
            "trailers, a byte every 50 ms",
            delivery(
                SMUGGLED,
                BODY,
                CHUNKED,
                [chunk(BODY), b"0\r\nx: ".to_vec()].concat(),
            ),
        )
        .then(Then::Dribbles(b'x'))
        .ends_with(&[408], too_slow),
        case(
            "`Expect: 100-continue`, and no body",
            delivery(
                GOOD,
                BODY,
                &format!("Expect: 100-continue\r\nContent-Length: {}\r\n", BODY.len()),
                "",
            ),
        )
        .ends_with(&[100, 408], "RFC 9110, 10.1.1 and 15.5.9"),
        case(
            "`Expect: 100-continue` without a signature, and no body",
            "POST /v1/webhooks/github HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        )
        .ends_with(&[401], "RFC 9110, 10.1.1: refused by its head, so that no body is asked for"),
    ]
}

pub(super) fn lengths() -> Vec<Case> {
    let incomplete = "RFC 9112, 8: incomplete, so not executed";
    let too_long = "RFC 9110, 15.5.14; the server reads on for a while, so that a client that is still sending gets the response";
    let sized = |bytes: usize| {
        let body = format!("\"{}\"", "x".repeat(bytes - 2));
        let lines = format!("Content-Length: {bytes}\r\n");
        delivery(SMUGGLED, &body, &lines, &body)
    };
    vec![
        case("a delivery, then a closed half", good_with(""))
            .then(Then::ClosesItsHalf)
            .ends_with(&[200], "RFC 9112, 9.6: answered, then closed"),
        case(
            "half a body, then a closed half",
            delivery(
                SMUGGLED,
                BODY,
                &format!("Content-Length: {}\r\n", BODY.len()),
                &BODY[1..],
            ),
        )
        .then(Then::ClosesItsHalf)
        .ends_with(&[400], incomplete),
        case(
            "chunks without the last one, then a closed half",
            delivery(SMUGGLED, BODY, CHUNKED, chunk(BODY)),
        )
        .then(Then::ClosesItsHalf)
        .ends_with(&[400], incomplete),
        case("a body of 1 MiB and a byte", sized((1 << 20) + 1)).ends_with(&[413], too_long),
        case(
            "10 MiB in chunks",
            delivery(
                SMUGGLED,
                BODY,
                CHUNKED,
                chunk(" ".repeat(1 << 20)).repeat(10),
            ),
        )
        .ends_with(&[413], too_long),
        case(
            "`Content-Length` of 2^60 bytes",
            delivery(
                SMUGGLED,
                BODY,
                "Content-Length: 1152921504606846976\r\n",
                "",
            ),
        )
        .ends_with(&[413], too_long),
    ]
}
