//! Requests, built once and patched in place, and their keys.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::signed::{self, SIGNATURE_DIGITS, SIGNATURE_HEADER, SOURCES};

/// The length of the body of a typical event.
pub(crate) const BODY_BYTES: usize = 300;

/// Hands out the keys of one database.
///
/// Keys are random, as the ids of real senders are, so that the cost of random inserts into the
/// unique index is measured.
#[derive(Debug)]
pub(crate) struct Keys {
    salt: u64,
    issued: AtomicU64,
}

impl Keys {
    pub(crate) fn new(salt: u64) -> Self {
        Self {
            salt,
            issued: AtomicU64::new(0),
        }
    }

    /// Returns how many different keys have been handed out.
    pub(crate) fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    fn unique(&self) -> u64 {
        self.scatter(self.issued.fetch_add(1, Ordering::Relaxed))
    }

    fn hot(&self) -> u64 {
        self.issued.fetch_max(1, Ordering::Relaxed);
        self.scatter(0)
    }

    fn repeated(&self, random: u64) -> u64 {
        match self.issued() {
            0 => self.unique(),
            issued => self.scatter(random % issued),
        }
    }

    /// SplitMix64's finaliser. It is one to one, so different numbers give different keys.
    fn scatter(&self, number: u64) -> u64 {
        mix(number.wrapping_add(self.salt))
    }
}

/// A key of an event that is stored before a run. [`Keys`] of a salt above all these numbers do not
/// hand it out.
pub(crate) fn preloaded_key(number: u64) -> u64 {
    mix(number)
}

/// How often a run repeats keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Every key is new.
    Unique,
    /// Some requests repeat a key that was sent before.
    Repeats {
        /// The percentage of those requests.
        percent: u64,
    },
    /// All requests have the same key.
    Hot,
}

/// Where the requests of a run go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// The route of transactions.
    Transactions,
    /// The sources of [`signed`], evenly. The deliveries are signed.
    Sources,
}

/// Makes the requests of one connection.
#[derive(Debug)]
pub(crate) struct Requests {
    templates: Vec<Template>,
    choice: Choice,
    random: u64,
}

impl Requests {
    /// Draws bodies evenly from `sizes`.
    pub(crate) fn new(
        host: &str,
        destination: Destination,
        sizes: &[usize],
        choice: Choice,
        seed: u64,
    ) -> Self {
        let of_size = |&size: &usize| {
            let body = body(0, size);
            match destination {
                Destination::Transactions => vec![Template::new(host, &body)],
                Destination::Sources => {
                    let key = signed::Key::new();
                    (0..SOURCES)
                        .map(|source| Template::signed(host, source, &body, key.clone()))
                        .collect()
                }
            }
        };
        Self {
            templates: sizes.iter().flat_map(of_size).collect(),
            choice,
            random: mix(seed),
        }
    }

    /// Returns the bytes of the next request.
    pub(crate) fn next(&mut self, keys: &Keys) -> &[u8] {
        let random = self.draw();
        let key = match self.choice {
            Choice::Unique => keys.unique(),
            Choice::Hot => keys.hot(),
            Choice::Repeats { percent } if random % 100 < percent => keys.repeated(self.draw()),
            Choice::Repeats { .. } => keys.unique(),
        };
        let count = self.templates.len() as u64;
        let index = if count == 1 { 0 } else { self.draw() % count };
        let index = usize::try_from(index).expect("less than the number of templates");
        self.templates[index].with_key(key)
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

const KEY_DIGITS: usize = 16;
const BEFORE_KEY: &str = r#"{"transaction_id":"txn_"#;
const AFTER_KEY: &str = r#"","source_account":"acc_user_789","destination_account":"acc_merchant_456","amount":1500.50,"currency":"USD","reference":""#;
const END: &str = r#""}"#;

/// A request whose key can be replaced in place.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    body_at: usize,
    /// Where the signature is, and what it is made with.
    signature: Option<(usize, signed::Key)>,
}

impl Template {
    fn new(host: &str, body: &[u8]) -> Self {
        Self::of("/v1/webhooks/transactions", host, "", body)
    }

    fn signed(host: &str, source: usize, body: &[u8], key: signed::Key) -> Self {
        let digits = "0".repeat(SIGNATURE_DIGITS);
        let line = format!("{SIGNATURE_HEADER}{digits}\r\n");
        let template = Self::of(&signed::path(source), host, &line, body);
        let line_at = memchr::memmem::find(&template.bytes, line.as_bytes());
        let signature_at = line_at.expect("it has this line") + SIGNATURE_HEADER.len();
        Self {
            signature: Some((signature_at, key)),
            ..template
        }
    }

    /// A request with these `lines` in its head.
    fn of(path: &str, host: &str, lines: &str, body: &[u8]) -> Self {
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        let body_at = bytes.len();
        bytes.extend_from_slice(body);
        Self {
            bytes,
            body_at,
            signature: None,
        }
    }

    fn with_key(&mut self, key: u64) -> &[u8] {
        let key_at = self.body_at + BEFORE_KEY.len();
        write_hex(&mut self.bytes[key_at..][..KEY_DIGITS], key);
        if let Some((signature_at, key)) = &self.signature {
            let tag = key.sign(&self.bytes[self.body_at..]);
            let digits = self.bytes[*signature_at..].chunks_exact_mut(2);
            for (byte, digits) in tag.into_iter().zip(digits) {
                write_hex(digits, byte.into());
            }
        }
        &self.bytes
    }
}

/// Makes a transaction of at least `bytes` bytes; an unknown member pads it.
pub(crate) fn body(key: u64, body_bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(body_bytes);
    body.extend_from_slice(BEFORE_KEY.as_bytes());
    let key_at = body.len();
    body.resize(key_at + KEY_DIGITS, b'0');
    write_hex(&mut body[key_at..], key);
    body.extend_from_slice(AFTER_KEY.as_bytes());
    // Random letters, since a body that compresses well would distort the figures.
    let mut random = 0_u64;
    while body.len() + END.len() < body_bytes {
        random = random.wrapping_add(1);
        body.push(b"abcdefghijklmnopqrstuvwxyz234567"[(mix(random) & 31) as usize]);
    }
    body.extend_from_slice(END.as_bytes());
    body
}

fn write_hex(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn bodies_have_their_size_and_are_transactions() {
        use webhook_server::transaction::Transaction;
        for size in [300, 4096, 65_536] {
            let body = body(7, size);
            assert_eq!(body.len(), size);
            let transaction = Transaction::from_json(&body).unwrap();
            assert_eq!(transaction.id(), "txn_0000000000000007");
        }
    }

    #[test]
    fn signed_deliveries_are_verified_by_the_sources() {
        use std::time::SystemTime;

        use webhook_sources::{Outcome, Request, Secrets, Source, SourceOptions, spec::SourceSpec};

        let keys = Keys::new(1);
        let mut requests = Requests::new("h", Destination::Sources, &[1024], Choice::Unique, 1);
        let spec: SourceSpec = toml::from_str(signed::SPECIFICATION).unwrap();
        let secrets = Secrets::of([signed::SECRET]);
        let source = Source::new(spec, &secrets, SourceOptions::default()).unwrap();
        for _ in 0..100 {
            let bytes = requests.next(&keys);
            let body_at = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap() + 4;
            let signature_at = memchr::memmem::find(bytes, SIGNATURE_HEADER.as_bytes()).unwrap();
            let signature = &bytes[signature_at + SIGNATURE_HEADER.len()..][..SIGNATURE_DIGITS];
            let request = Request {
                method: "POST",
                target: "/",
                headers: &[("x-signature", signature)],
                body: &bytes[body_at..],
            };
            let outcome = source.receive(&request, SystemTime::now());
            assert!(matches!(outcome, Outcome::Received(_)), "{outcome:?}");
        }
    }

    #[test]
    fn unique_keys_differ_and_repeats_do_not() {
        let keys = Keys::new(42);
        let mut unique = Requests::new("h", Destination::Transactions, &[300], Choice::Unique, 1);
        let sent: HashSet<Vec<u8>> = (0..1000).map(|_| unique.next(&keys).to_vec()).collect();
        assert_eq!((sent.len(), keys.issued()), (1000, 1000));
        let mut repeats = Requests::new(
            "h",
            Destination::Transactions,
            &[300],
            Choice::Repeats { percent: 100 },
            2,
        );
        assert!((0..1000).all(|_| sent.contains(repeats.next(&keys))));
        assert_eq!(keys.issued(), 1000);
    }
}
