//! Slow clients, half-closed connections and long bodies.

use crate::support::client::post;
use crate::support::transaction;

use super::case::{Case, GET, SMUGGLED, Then, case, chunk, delivery, good_with, smuggled};

/// The arguments of the server that these cases meet, so that they take no longer than they must.
pub(super) const ARGS: [&str; 3] = [
    "--header-timeout-seconds=1",
    "--body-timeout-seconds=1",
    "--keep-alive-seconds=1",
];

pub(super) fn slow() -> Vec<Case> {
    let silence = "RFC 9112, 9.5: closed after the time-out; a 408 is optional";
    let too_slow = "RFC 9110, 15.5.9";
    let whole = smuggled();
    let part = || whole[..whole.len() - 1].to_vec();
    vec![
        case("nothing", "").ends_with(&[], silence),
        case("half a request line", "GET").ends_with(&[], silence),
        case("half a head", "GET / HTTP/1.1\r\nHost: localhost\r\nX").ends_with(&[], silence),
        case(
            "half a head, then a byte every 50 ms",
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        )
        .then(Then::Dribbles(b'x'))
        .ends_with(&[], silence),
        case("empty lines, one every 50 ms", "")
            .then(Then::Dribbles(b'\n'))
            .ends_with(&[], silence),
        case("half a body", part()).ends_with(&[408], too_slow),
        case(
            "a body, a byte every 50 ms",
            delivery("Content-Length: 100000\r\n", "{"),
        )
        .then(Then::Dribbles(b' '))
        .ends_with(&[408], too_slow),
        case(
            "a chunk extension, a byte every 50 ms",
            delivery("Transfer-Encoding: chunked\r\n", "1;"),
        )
        .then(Then::Dribbles(b'x'))
        .ends_with(&[408], too_slow),
        case(
            "trailers, a byte every 50 ms",
            delivery(
                "Transfer-Encoding: chunked\r\n",
                [chunk(transaction(SMUGGLED)), b"0\r\nx: ".to_vec()].concat(),
            ),
        )
        .then(Then::Dribbles(b'x'))
        .ends_with(&[408], too_slow),
        case(
            "the body of a request to an unknown path, a byte every 50 ms",
            "POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n",
        )
        .then(Then::Dribbles(b'x'))
        .ends_with(
            &[404],
            "RFC 9112, 9.6: answered and closed after the time-out",
        ),
        case("`Expect: 100-continue`, and no body", {
            let head =
                "Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 9\r\n";
            format!("POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\n{head}\r\n")
        })
        .ends_with(&[100, 408], "RFC 9110, 10.1.1 and 15.5.9"),
        case("one request, then nothing", GET).ends_with(&[200], silence),
        case(
            "endless requests from a client that does not read the responses",
            GET.repeat(1_000),
        )
        .then(Then::NeverReads)
        .ends_with(&[], "RFC 9112, 9.5: closed 5 s after the longest time-out"),
    ]
}

pub(super) fn half_closed() -> Vec<Case> {
    let incomplete = "RFC 9112, 8: incomplete, so not executed";
    let whole = smuggled();
    vec![
        case("a request", GET)
            .then(Then::ClosesItsHalf)
            .ends_with(&[200], "RFC 9112, 9.6: answered, then closed"),
        case("two deliveries", good_with("").repeat(2))
            .then(Then::ClosesItsHalf)
            .ends_with(&[202, 202], "RFC 9112, 9.6: answered, then closed"),
        case("nothing", "")
            .then(Then::ClosesItsHalf)
            .ends_with(&[], "RFC 9112, 9.6"),
        case("half a head", &whole[..20])
            .then(Then::ClosesItsHalf)
            .ends_with(&[], incomplete),
        case("half a body", &whole[..whole.len() - 1])
            .then(Then::ClosesItsHalf)
            .ends_with(&[400], incomplete),
        case(
            "chunks without the last one",
            delivery(
                "Transfer-Encoding: chunked\r\n",
                chunk(transaction(SMUGGLED)),
            ),
        )
        .then(Then::ClosesItsHalf)
        .ends_with(&[400], incomplete),
    ]
}

pub(super) fn long() -> Vec<Case> {
    let too_long = "RFC 9110, 15.5.14; the server reads on for a while, so that a client that is still sending gets the response";
    let million = " ".repeat(1 << 20);
    let padded = |id: &str, bytes: usize| {
        let body = transaction(id);
        let blanks = " ".repeat(bytes - body.len());
        post(body + &blanks)
    };
    vec![
        case("a body of 1 MiB", padded("long", 1 << 20))
            .gets(&[202], "the limit is `MAX_BODY_BYTES`"),
        case("one byte more", padded(SMUGGLED, (1 << 20) + 1)).ends_with(&[413], too_long),
        case("10 MiB", padded(SMUGGLED, 10 << 20)).ends_with(&[413], too_long),
        case(
            "10 MiB with `Expect: 100-continue`, sent without waiting",
            delivery(
                "Expect: 100-continue\r\nContent-Length: 10485760\r\n",
                million.repeat(10),
            ),
        )
        .ends_with(&[413], too_long),
        case(
            "10 MiB in chunks",
            delivery("Transfer-Encoding: chunked\r\n", chunk(&million).repeat(10)),
        )
        .ends_with(&[413], too_long),
        case(
            "a chunk of 2^64 - 1 bytes, of which 2 MiB arrive",
            delivery(
                "Transfer-Encoding: chunked\r\n",
                format!("ffffffffffffffff\r\n{}", million.repeat(2)),
            ),
        )
        .ends_with(&[413], too_long),
        case(
            "`Content-Length` of 2^64 - 1 bytes",
            delivery("Content-Length: 18446744073709551615\r\n", ""),
        )
        .ends_with(&[431], "RFC 9110, 8.6: too large to represent"),
        case(
            "`Content-Length` of 2^60 bytes",
            delivery("Content-Length: 1152921504606846976\r\n", ""),
        )
        .ends_with(&[413], too_long),
        case(
            "100,000 spaces, each in its own chunk",
            delivery("Transfer-Encoding: chunked\r\n", {
                "1\r\n \r\n".repeat(100_000) + "0\r\n\r\n"
            }),
        )
        .ends_with(
            &[400],
            "the server's limit: at most 1,024 pieces of less than 64 bytes on average",
        ),
    ]
}
