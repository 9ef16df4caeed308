//! Other protocols, other methods, and requests in a row.

use super::case::{Case, GET, case, delivery, get, get_with, good_with, smuggled};

pub(super) fn protocols() -> Vec<Case> {
    let ignored = "RFC 9110, 7.8: the upgrade is ignored; the connection stays HTTP/1.1";
    vec![
        case(
            "h2c: `Upgrade: h2c` with `HTTP2-Settings`, then a request",
            get_with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"),
        )
        .gets(&[200], ignored),
        case(
            "a delivery with `Upgrade: h2c`",
            good_with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"),
        )
        .gets(&[202], ignored),
        case(
            "`Upgrade: websocket`",
            get_with("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
        )
        .gets(&[200], ignored),
        case(
            "the HTTP/2 preface",
            [
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
                smuggled(),
            ]
            .concat(),
        )
        .ends_with(&[], "RFC 9113, 3.4: HTTP/2 is not supported, and its clients do not read HTTP/1.1"),
        case(
            "`CONNECT b.example:443`, then a request",
            [
                b"CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n".to_vec(),
                smuggled(),
            ]
            .concat(),
        )
        .ends_with(&[405], "RFC 9110, 9.3.6: there are no tunnels; later bytes may be meant for one"),
        case(
            "`TRACE /`",
            "TRACE / HTTP/1.1\r\nHost: localhost\r\nCookie: c\r\n\r\n",
        )
        .gets(&[405], "RFC 9110, 9.3.8: nothing is echoed"),
        case(
            "`X-HTTP-Method-Override: POST` in a GET",
            get_with("X-HTTP-Method-Override: POST\r\nX-Original-URL: /v1/webhooks/transactions\r\n"),
        )
        .gets(&[200], "RFC 9110, 5.1: unknown fields are ignored"),
        case(
            "`Expect: something`",
            get_with("Expect: something\r\n"),
        )
        .gets(&[200], "RFC 9110, 10.1.1: 417 is optional; the header is ignored"),
    ]
}

pub(super) fn in_a_row() -> Vec<Case> {
    vec![
        case(
            "eight in a row: 202, 404, 400, 405, 200, 202, 415, 204",
            [
                good_with(""),
                get("/nope").into_bytes(),
                delivery("Content-Length: 1\r\n", "{"),
                b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
                GET.into(),
                good_with("X: y\r\n"),
                good_with("Content-Encoding: gzip\r\n"),
                b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            ]
            .concat(),
        )
        .gets(
            &[202, 404, 400, 405, 200, 202, 415, 204],
            "RFC 9112, 9.3.2: responses come in the order of the requests",
        ),
        case(
            "three in a row, then an invalid one, then another",
            [
                GET.repeat(3).into_bytes(),
                b"\x01\r\n\r\n".to_vec(),
                smuggled(),
            ]
            .concat(),
        )
        .ends_with(
            &[200, 200, 200, 400],
            "RFC 9112, 9.3: nothing is executed after an error",
        ),
        case(
            "one with `Connection: close`, then another",
            [get_with("Connection: close\r\n").into_bytes(), smuggled()].concat(),
        )
        .ends_with(&[200], "RFC 9112, 9.6: later requests are not executed"),
        case(
            "one with `Connection: close` and `Connection: keep-alive`, then another",
            [
                get_with("Connection: close\r\nConnection: keep-alive\r\n").into_bytes(),
                smuggled(),
            ]
            .concat(),
        )
        .ends_with(&[200], "RFC 9112, 9.3: `close` wins"),
    ]
}
