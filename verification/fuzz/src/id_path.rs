//! The id in the path of `GET /v1/transactions/{id}`, asked for over a connection to a real server.

mod server;

use std::cell::RefCell;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use webhook_core::MAX_KEY_BYTES;

use server::{Answer, Server};

/// What RFC 3986, section 3.3, allows in a segment of a path beside letters, digits and escapes.
const PLAIN: &[u8] = b"-._~!$&'()*+,;=:@";

/// A path names the transaction whose id it is when decoded, or none; and every id has a path.
///
/// The input is a segment of a path, and also an id that is to be encoded as one.
pub fn id_path(input: &[u8]) {
    thread_local! {
        static SERVER: RefCell<Server> = RefCell::new(Server::start());
    }
    SERVER.with_borrow_mut(|server| {
        // Those bytes end the request's first line, or a part of it.
        if !input.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            check_segment(input, &server.get(input));
        }
        let id = String::from_utf8_lossy(input);
        let path = utf8_percent_encode(&id, NON_ALPHANUMERIC).to_string();
        check_id(&id, &server.get(path.as_bytes()));
    });
}

/// The least length of a segment that the server may find too long.
const LONG_SEGMENT_BYTES: usize = 8_000;

/// Every id that can be one is found; the server's store knows all of them.
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

/// A segment as it came, which may hold anything.
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

/// Each `%` and two digits for their byte, which must be UTF-8 together.
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
