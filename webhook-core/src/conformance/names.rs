//! Unusual keys, kinds and bodies: all are kept byte for byte.

use super::Backend;
use super::steps::*;
use crate::{Accepted, Kind, MAX_KEY_BYTES, MAX_KIND_BYTES, NewEvent, Outcome};

/// Keys that look the same to people, collations or normal forms are different.
pub async fn similar_keys_are_different(backend: Backend) {
    let names = [
        "a",
        "A",
        "á",
        "a\u{301}",
        "ａ",
        "a ",
        " a",
        "a\u{a0}",
        "a\u{200d}",
        "a\u{feff}",
        "å",
        "\u{212b}",
        "ss",
        "ß",
        "ẞ",
        "i",
        "ı",
        "İ",
        "I",
        "1",
        "01",
        "1.0",
        "+1",
        "-0",
        "0",
        "Α",
        "А",
        "ﬁ",
        "fi",
        "e-1",
        "E-1",
        "a-b",
        "ab",
        "a_b",
        "a.b",
    ];
    all_distinct(&backend, &names).await;
}

/// Keys with special meanings elsewhere are ordinary keys.
pub async fn keys_are_never_interpreted(backend: Backend) {
    let names = [
        "'; DROP TABLE events; --",
        "\"",
        "\\",
        "\\\\",
        "\\N",
        "\\x00",
        "%",
        "_",
        "*",
        "?",
        "$1",
        "{}",
        "{a,b}",
        "{\"a\"}",
        "(a,b)",
        "NULL",
        "null",
        "true",
        ",",
        ";",
        "''",
        "../../etc/passwd",
        "%00",
        "&#0;",
        "<b>",
        "${HOME}",
        " ",
        "\u{2028}",
        "\u{202e}rtl",
    ];
    all_distinct(&backend, &names).await;
}

/// Keys with a character of every Unicode plane, those never assigned included.
pub async fn keys_of_every_unicode_plane_are_kept(backend: Backend) {
    let mut names: Vec<String> = planes().map(String::from).collect();
    names.push(planes().collect());
    // The ends of what UTF-8 writes in two, three and four bytes, and noncharacters.
    let ends = "\u{a0}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{fffe}\u{ffff}\u{10000}\u{10ffff}";
    names.extend(ends.chars().map(String::from));
    names.push(ends.to_owned());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    all_distinct(&backend, &names).await;
}

/// Keys of the largest length, which differ only in their last byte or their length.
pub async fn the_longest_keys_are_kept(backend: Backend) {
    let stem = "k".repeat(MAX_KEY_BYTES - 1);
    let names = [
        stem.clone(),
        format!("{stem}a"),
        format!("{stem}b"),
        "\u{10ffff}".repeat(MAX_KEY_BYTES / 4),
        "é".repeat(MAX_KEY_BYTES / 2),
        // Incompressible, as far as a key can be.
        incompressible(MAX_KEY_BYTES)
            .map(|byte| char::from(b'!' + byte % 94))
            .collect(),
    ];
    assert_eq!(names[1].len(), MAX_KEY_BYTES);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    all_distinct(&backend, &names).await;
}

/// Kinds of every allowed character and length; they are compared as exactly as keys.
pub async fn unusual_kinds_are_kept(backend: Backend) {
    let longest = "z".repeat(MAX_KIND_BYTES);
    let names = ["-", ".", "_", "0", "a", "a.", "a-", "a_", &longest];
    let kinds = names.map(|name| Kind::new(name.to_owned()).expect("a valid kind"));
    let batch: Vec<_> = kinds
        .iter()
        .map(|kind| event_of(kind, "same-key", kind.as_str()))
        .collect();
    backend.accept_new(&batch).await;
    for kind in kinds {
        let claim = crate::Claim {
            kind: kind.clone(),
            ..up_to(9)
        };
        let claimed = backend.claim_one(&claim).await;
        assert_eq!(claimed.body, kind.as_str().to_owned());
    }
}

/// An empty body is a body.
pub async fn an_empty_body_is_kept(backend: Backend) {
    kept(&backend, vec![Vec::new()]).await;
}

/// Bodies of a mebibyte, compressible or not.
pub async fn large_bodies_are_kept(backend: Backend) {
    const MEBIBYTE: usize = 1 << 20;
    let bodies = vec![
        vec![0; MEBIBYTE],
        vec![b'x'; MEBIBYTE],
        incompressible(MEBIBYTE).collect(),
        incompressible(MEBIBYTE - 1).collect(),
    ];
    kept(&backend, bodies).await;
}

/// Bodies of every byte, and of bytes that are not UTF-8.
pub async fn bodies_need_not_be_text(backend: Backend) {
    let bodies: [&[u8]; 9] = [
        b"\0",
        b"\0\0\0",
        b"a\0b",
        b"\xff\xfe",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\\x00",
        b"\r\n",
    ];
    let mut bodies: Vec<_> = bodies.map(<[u8]>::to_vec).into();
    bodies.push((0..=u8::MAX).collect());
    kept(&backend, bodies).await;
}

/// Bodies with characters of every Unicode plane.
pub async fn bodies_of_every_unicode_plane_are_kept(backend: Backend) {
    let mut bodies: Vec<_> = planes().map(|c| c.to_string().into_bytes()).collect();
    bodies.push(planes().collect::<String>().into_bytes());
    kept(&backend, bodies).await;
}

/// A body is kept unchanged: not parsed, trimmed or normalised.
pub async fn bodies_are_never_interpreted(backend: Backend) {
    let bodies = [
        r#"{"b":1,"a":2,"a":3}"#,
        " {\"amount\" : 1500.50 }\n",
        "{\"amount\":1e999999999}",
        "{",
        "null",
        "\u{feff}{}",
        "e\u{301}",
        "'; DROP TABLE events; --",
    ];
    let bodies = bodies.map(|body| body.as_bytes().to_vec());
    kept(&backend, bodies.into()).await;
}

/// A character of each plane. Most planes have none assigned; all may occur.
fn planes() -> impl Iterator<Item = char> {
    (0..=0x10).filter_map(|plane| char::from_u32(plane * 0x1_0000 + 0x1234))
}

/// Bytes that no compression shortens, the same in every run (xorshift64*, Vigna 2016).
fn incompressible(length: usize) -> impl Iterator<Item = u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
    })
    .take(length)
}

/// Accepts an event for each name, all in one batch, and finds and claims each of them.
async fn all_distinct(backend: &Backend, names: &[&str]) {
    let batch: Vec<_> = names.iter().map(|name| event(name, name)).collect();
    backend.accept_new(&batch).await;
    let again = backend.accept(&batch).await;
    assert!(again.iter().all(|it| *it == Accepted::Duplicate));
    assert_all_kept(backend, &batch).await;
}

/// Accepts an event for each body, all in one batch, and finds and claims each of them.
async fn kept(backend: &Backend, bodies: Vec<Vec<u8>>) {
    let batch: Vec<_> = bodies
        .into_iter()
        .enumerate()
        .map(|(number, body)| {
            let mut event = event(&format!("body-{number}"), "");
            event.envelope.body = body.into();
            event
        })
        .collect();
    backend.accept_new(&batch).await;
    assert_all_kept(backend, &batch).await;
}

async fn assert_all_kept(backend: &Backend, batch: &[NewEvent]) {
    let refs: Vec<_> = batch.iter().map(reference).collect();
    let found = backend.find(&refs).await;
    for (event, found) in batch.iter().zip(&found) {
        let found = found.as_ref().map(|found| &found.envelope);
        // Not assert_eq: some bodies are too long to print.
        assert!(found == Some(&event.envelope), "{:?}", event.envelope.key);
    }
    let claimed = backend.claim_within(&up_to(batch.len()), batch.len()).await;
    for event in batch {
        let envelope = &event.envelope;
        let claimed = claimed.iter().find(|it| it.key == envelope.key);
        let claimed = claimed.unwrap_or_else(|| panic!("{:?} is not due", envelope.key));
        assert!(claimed.body == envelope.body, "{:?}", envelope.key);
        backend.settle_one(claimed.lease, Outcome::Processed).await;
    }
}
