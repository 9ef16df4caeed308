//! Fuzzes the id in the path of `GET /v1/transactions/{id}`, over a connection to a real server.

mod server;

use std::cell::RefCell;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use webhook_core::MAX_KEY_BYTES;

use server::{Answer, Server};

/// The characters that RFC 3986, section 3.3, allows in a path segment besides letters, digits and
/// escapes.
const PLAIN: &[u8] = b"-._~!$&'()*+,;=:@";

/// Checks that a path finds the transaction with its decoded id, or none, and that every id has a
/// path.
///
/// The input is used as a segment of a path, and as an id that is encoded into one.
pub fn id_path(input: &[u8]) {
    thread_local! {
        static SERVER: RefCell<Server> = RefCell::new(Server::start());
    }
    SERVER.with_borrow_mut(|server| {
        // These bytes end the request line or a part of it.
        if !input.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            check_segment(input, &server.get(input));
        }
        let id = String::from_utf8_lossy(input);
        let path = utf8_percent_encode(&id, NON_ALPHANUMERIC).to_string();
        check_id(&id, &server.get(path.as_bytes()));
    });
}

/// The shortest segment that the server may reject as too long.
const LONG_SEGMENT_BYTES: usize = 8_000;

/// Checks that every valid id is found. The server's store has an event for each.
fn check_id(id: &str, answer: &Answer) {
    if id.is_empty() {
        assert_eq!(*answer, Answer::NotFound("Not found".to_owned()));
    } else if can_be_a_key(id) {
        assert_eq!(*answer, Answer::Shown(id.to_owned()));
    } else if *answer != Answer::TooLong {
        assert_eq!(
            *answer,
            Answer::NotFound("Transaction not found".to_owned())
        );
    }
}

/// Checks an arbitrary segment, unescaped.
fn check_segment(input: &[u8], answer: &Answer) {
    if *answer == Answer::BadRequest {
        let is_strict = |byte: &u8| byte.is_ascii_alphanumeric() || PLAIN.contains(byte);
        let is_odd = |byte: &u8| !is_strict(byte) && !b"%/?".contains(byte);
        assert!(input.iter().any(is_odd), "a proper path is understood");
        return;
    }
    if *answer == Answer::TooLong {
        assert!(input.len() > LONG_SEGMENT_BYTES, "{} bytes", input.len());
        return;
    }
    let end = input.iter().position(|byte| b"?#".contains(byte));
    let segment = &input[..end.unwrap_or(input.len())];
    if segment.is_empty() || segment.contains(&b'/') {
        assert_eq!(*answer, Answer::NotFound("Not found".to_owned()));
        return;
    }
    match decode(segment).filter(|id| can_be_a_key(id)) {
        Some(id) => assert_eq!(*answer, Answer::Shown(id)),
        None => assert_eq!(
            *answer,
            Answer::NotFound("Transaction not found".to_owned())
        ),
    }
}

fn can_be_a_key(id: &str) -> bool {
    !id.chars().any(char::is_control) && (1..=MAX_KEY_BYTES).contains(&id.len())
}

/// Replaces each `%` and two digits by their byte. All bytes together must be UTF-8.
fn decode(segment: &[u8]) -> Option<String> {
    let mut pieces = segment.split(|&byte| byte == b'%');
    let mut bytes = pieces.next()?.to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        for digit in digits {
            if !digit.is_ascii_hexdigit() {
                return None;
            }
        }
        let digits = str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest);
    }
    String::from_utf8(bytes).ok()
}
