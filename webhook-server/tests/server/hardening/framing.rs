//! The end of a request, on which two servers in a row may disagree (request smuggling).

use crate::support::transaction;

use super::case::{Case, GOOD, case, chunk, delivery, get_with, good_with, smuggled};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// One body, whole, in chunks.
fn in_chunks() -> Vec<u8> {
    [chunk(transaction(GOOD)), b"0\r\n\r\n".to_vec()].concat()
}

/// A delivery in chunks, with these lines in its head, and another behind it.
fn chunked_then_smuggled(lines: &str) -> Vec<u8> {
    delivery(lines, [in_chunks(), smuggled()].concat())
}

/// A delivery whose length is in these lines, followed by another one.
fn sized_then_smuggled(lines: &str) -> Vec<u8> {
    delivery(lines, [transaction(GOOD).into_bytes(), smuggled()].concat())
}

pub(super) fn lengths() -> Vec<Case> {
    let length = transaction(GOOD).len();
    let hidden = [b"0\r\n\r\n".to_vec(), smuggled()].concat();
    let both = "RFC 9112, 6.1 and 6.3: only Transfer-Encoding counts, and the connection is closed";
    let no_number = "RFC 9112, 6.3: an invalid Content-Length is an unrecoverable error";
    let mut cases = vec![
        case(
            "`Content-Length` of everything, `Transfer-Encoding: chunked` with an empty body, then a request (CL.TE)",
            delivery(&format!("Content-Length: {}\r\n{CHUNKED}", hidden.len()), &hidden),
        )
        .ends_with(&[400], both),
        case(
            "the same, `Transfer-Encoding` first",
            delivery(&format!("{CHUNKED}Content-Length: {}\r\n", hidden.len()), &hidden),
        )
        .ends_with(&[400], both),
        case(
            "a request as the only chunk, `Content-Length: 4` (TE.CL)",
            delivery(
                &format!("Content-Length: 4\r\n{CHUNKED}"),
                [chunk(smuggled()), b"0\r\n\r\n".to_vec()].concat(),
            ),
        )
        .ends_with(&[400], both),
        case(
            "a valid chunked body with any `Content-Length`, then a request",
            chunked_then_smuggled(&format!("Content-Length: {length}\r\n{CHUNKED}")),
        )
        .ends_with(&[202], both),
        case(
            "`Content-Length` twice, different",
            sized_then_smuggled(&format!("Content-Length: {length}\r\nContent-Length: 4\r\n")),
        )
        .ends_with(&[400], no_number),
        case(
            "`Content-Length` twice, the same",
            delivery(
                &format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
                transaction(GOOD),
            ),
        )
        .gets(&[202], "RFC 9110, 8.6: equal values may count as one"),
        case(
            "`Content-Length` with leading zeros",
            delivery(&format!("Content-Length: 00{length}\r\n"), transaction(GOOD)),
        )
        .gets(&[202], "RFC 9110, 8.6: decimal digits"),
        case(
            "`Content-Length` surrounded by spaces and tabs",
            delivery(&format!("Content-Length: \t {length} \t\r\n"), transaction(GOOD)),
        )
        .gets(&[202], "RFC 9112, 5: optional white space around a value"),
    ];
    for value in [
        format!("{length}, {length}"),
        format!("{length}, 4"),
        format!("+{length}"),
        "-1".to_owned(),
        "0x10".to_owned(),
        "1e3".to_owned(),
        "1 0".to_owned(),
        "99999999999999999999999".to_owned(),
        String::new(),
    ] {
        let name = format!("`Content-Length: {value}`").replace(": `", ":` (empty)");
        let name = name.replace(&length.to_string(), "N");
        let bytes = sized_then_smuggled(&format!("Content-Length: {value}\r\n"));
        cases.push(case(name, bytes).ends_with(&[400], no_number));
    }
    cases.extend([
        case(
            "no length, but a body",
            delivery("", format!("{}\r\n\r\n", transaction(GOOD))),
        )
        .ends_with(&[400, 400], "RFC 9112, 6.3: the body is empty; the bytes that follow are not a request"),
        case(
            "a GET whose body is a request",
            [
                get_with(&format!("Content-Length: {}\r\n", smuggled().len())).into_bytes(),
                smuggled(),
            ]
            .concat(),
        )
        .gets(&[200], "RFC 9110, 9.3.1: the body is read and discarded"),
        case(
            "a GET whose chunked body is a request",
            [
                get_with(CHUNKED).into_bytes(),
                chunk(smuggled()),
                b"0\r\n\r\n".to_vec(),
            ]
            .concat(),
        )
        .ends_with(&[200], "RFC 9112, 9.3: the body is not read, so the connection is closed"),
        case(
            "a POST to another path whose body is a request",
            [
                format!(
                    "POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                    smuggled().len()
                )
                .into_bytes(),
                smuggled(),
            ]
            .concat(),
        )
        .gets(&[404], "RFC 9112, 9.3: the body is read and discarded"),
        case(
            "the same with `Expect: 100-continue`, and the body sent at once",
            [
                format!(
                    "POST /nope HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
                    smuggled().len()
                )
                .into_bytes(),
                smuggled(),
            ]
            .concat(),
        )
        .ends_with(&[404], "RFC 9110, 10.1.1: the server cannot know whether a body follows, so it closes the connection"),
    ]);
    cases
}

pub(super) fn transfer_codings() -> Vec<Case> {
    let length = transaction(GOOD).len();
    let not_last = "RFC 9112, 6.3: the length is unknown unless `chunked` comes last";
    let unknown = "RFC 9112, 6.1: an unsupported coding, or `chunked` more than once";
    let syntax = "RFC 9112, 5.1 and 5.2: no white space before the colon, no folded lines";
    let mut cases = Vec::new();
    for line in [
        "Transfer-Encoding: chunked",
        "transfer-encoding: Chunked",
        "Transfer-Encoding: \t chunked \t",
    ] {
        let bytes = delivery(&format!("{line}\r\n"), in_chunks());
        let name = format!("`{line}`").replace('\t', "\\t");
        cases.push(
            case(name, bytes).gets(&[202], "RFC 9112, 7: names of codings are case-insensitive"),
        );
    }
    for (lines, answer, why) in [
        ("Transfer-Encoding: chunked, chunked", &[501], unknown),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            &[501],
            unknown,
        ),
        ("Transfer-Encoding: gzip, chunked", &[501], unknown),
        ("Transfer-Encoding: identity, chunked", &[501], unknown),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            &[501],
            unknown,
        ),
        ("Transfer-Encoding: xchunked, chunked", &[501], unknown),
        ("Transfer-Encoding: ,chunked", &[501], unknown),
        ("Transfer-Encoding: xchunked", &[400], not_last),
        ("Transfer-Encoding: chunkedx", &[400], not_last),
        ("Transfer-Encoding: chunked, gzip", &[400], not_last),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            &[400],
            not_last,
        ),
        ("Transfer-Encoding: identity", &[400], not_last),
        ("Transfer-Encoding: \"chunked\"", &[400], not_last),
        ("Transfer-Encoding: chunked;q=1", &[400], not_last),
        ("Transfer-Encoding: chunked,", &[400], not_last),
        ("Transfer-Encoding:", &[400], not_last),
        ("Transfer-Encoding : chunked", &[400], syntax),
        ("Transfer-Encoding\t: chunked", &[400], syntax),
        (" Transfer-Encoding: chunked", &[400], syntax),
        ("X: y\r\n Transfer-Encoding: chunked", &[400], syntax),
        ("Transfer-Encoding:\r\n chunked", &[400], syntax),
        (
            "Transfer-Encoding: \u{b}chunked",
            &[400],
            "RFC 9110, 5.5: no control characters",
        ),
        (
            "Transfer-Encoding\0: chunked",
            &[400],
            "RFC 9110, 5.6.2: no control characters in field names",
        ),
    ] {
        let name = lines.escape_debug().to_string().replace("\\\"", "\"");
        let bytes = chunked_then_smuggled(&format!("{lines}\r\n"));
        cases.push(case(format!("`{name}`"), bytes).ends_with(answer, why));
    }
    cases.extend([
        case(
            "`Transfer_Encoding: chunked` with a `Content-Length`",
            good_with("Transfer_Encoding: chunked\r\n"),
        )
        .gets(&[202], "RFC 9110, 5.1: another, unknown field; ignored"),
        case(
            "`X: y\\nTransfer-Encoding: chunked` with a `Content-Length`",
            chunked_then_smuggled(&format!(
                "Content-Length: {length}\r\nX: y\nTransfer-Encoding: chunked\r\n"
            )),
        )
        .ends_with(
            &[202],
            "RFC 9112, 2.2: a bare LF ends a line, so both fields are present, and the connection is closed",
        ),
        case(
            "`X: y\\rTransfer-Encoding: chunked`",
            chunked_then_smuggled(&format!(
                "Content-Length: {length}\r\nX: y\rTransfer-Encoding: chunked\r\n"
            )),
        )
        .ends_with(&[400], "RFC 9112, 2.2: a bare CR is invalid"),
        case(
            "`Transfer-Encoding: chunked` in HTTP/1.0",
            String::from_utf8(chunked_then_smuggled(CHUNKED))
                .unwrap()
                .replacen("HTTP/1.1", "HTTP/1.0", 1),
        )
        .ends_with(&[400], "RFC 9112, 6.1: the framing is faulty"),
    ]);
    cases
}

pub(super) fn chunks() -> Vec<Case> {
    let body = transaction(GOOD);
    let length = body.len();
    let grammar = "RFC 9112, 7.1: not a valid chunk";
    let ignored = "RFC 9110, 6.5.1: trailers that would change framing, routing or authentication are ignored";
    let chunked = |rest: String| delivery(CHUNKED, rest);
    let extended =
        |extension: &str| chunked(format!("{length:x};{extension}\r\n{body}\r\n0\r\n\r\n"));
    let with_trailers =
        |trailers: &str| chunked(format!("{length:x}\r\n{body}\r\n0\r\n{trailers}\r\n"));
    let mut cases = Vec::new();
    for (name, size) in [
        ("a chunk size with `0x`", format!("0x{length:x}\r\n")),
        ("a chunk size with a sign", format!("+{length:x}\r\n")),
        ("a chunk size after a space", format!(" {length:x}\r\n")),
        ("no chunk size", "\r\n".to_owned()),
        (
            "a chunk size beyond 64 bits",
            format!("{length:017x}\r\n").replacen('0', "1", 1),
        ),
        ("a chunk size, then a bare LF", format!("{length:x}\n")),
        ("a chunk size, then a bare CR", format!("{length:x}\r")),
        (
            "a chunk longer than its size",
            format!("{:x}\r\n", length - 1),
        ),
        (
            "a chunk shorter than its size",
            format!("{:x}\r\n", length + 1),
        ),
    ] {
        let bytes = [chunked(format!("{size}{body}\r\n0\r\n\r\n")), smuggled()].concat();
        cases.push(case(name, bytes).ends_with(&[400], grammar));
    }
    cases.extend([
        case(
            "chunk sizes with leading zeros and trailing spaces",
            chunked(format!("000{length:X} \t\r\n{body}\r\n00\r\n\r\n")),
        )
        .gets(
            &[202],
            "RFC 9112, 7.1 and 7.1.1: hexadecimal digits, then white space that should be tolerated",
        ),
        case("chunk extensions", extended("a=b;c=\"d\";e"))
            .gets(&[202], "RFC 9112, 7.1.1: unknown extensions are ignored"),
        case(
            "chunk extensions of 16,383 bytes in all",
            extended(&"x".repeat(16_383)),
        )
        .gets(&[202], "RFC 9112, 7.1.1: their length is limited"),
        case(
            "chunk extensions of 16,384 bytes",
            extended(&"x".repeat(16_384)),
        )
        .ends_with(&[400], "RFC 9112, 7.1.1: their length is limited"),
        case("a bare LF in a chunk extension", extended("a\nb")).ends_with(&[400], grammar),
        case("a bare CR in a chunk extension", extended("a\rb")).ends_with(&[400], grammar),
        case("100 trailers", with_trailers(&"x: y\r\n".repeat(100)))
            .gets(&[202], "RFC 9112, 7.1.2: trailers are read and discarded"),
        case("101 trailers", with_trailers(&"x: y\r\n".repeat(101)))
            .ends_with(&[400], "RFC 9112, 7.1.2: limited like headers"),
        case(
            "trailers of 64 KiB",
            with_trailers(&format!("x: {}\r\n", "y".repeat(65_536))),
        )
        .ends_with(&[400], "RFC 9112, 7.1.2: limited like headers"),
        case(
            "a trailer `Content-Length: 4`",
            with_trailers("Content-Length: 4\r\n"),
        )
        .gets(&[202], ignored),
        case(
            "a trailer `Transfer-Encoding: chunked`",
            with_trailers(CHUNKED),
        )
        .gets(&[202], ignored),
        case("a trailer `Host: b`", with_trailers("Host: b\r\n")).gets(&[202], ignored),
        case("a trailer without a colon", with_trailers("broken\r\n"))
            .ends_with(&[400], "RFC 9112, 7.1.2: not a field line"),
        case("a folded trailer", with_trailers("x: y\r\n z\r\n"))
            .ends_with(&[400], "RFC 9112, 5.2: no folded lines"),
        case(
            "the last chunk, then a bare LF",
            [
                chunked(format!("{length:x}\r\n{body}\r\n0\n\n")),
                smuggled(),
            ]
            .concat(),
        )
        .ends_with(&[400], grammar),
    ]);
    cases
}
