//! The headers that are kept with an event.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// How many headers an event may have.
pub const MAX_HEADERS: usize = 64;

/// How many bytes the headers of an event may have: names, values, and two bytes more for each.
pub const MAX_HEADERS_BYTES: usize = 16 * 1024;

/// Names and values that came with an event and that its receiver chose to keep, such as the media
/// type, the event's type or `traceparent`.
///
/// At most [`MAX_HEADERS`], and at most [`MAX_HEADERS_BYTES`]. Order, repeats and the case of names
/// are kept. Names are found whatever their case. Cheap to clone.
///
/// They take no part in deciding whether a redelivery is a duplicate.
///
/// ```
/// use webhook_core::Headers;
///
/// let headers = Headers::try_from_iter([("Content-Type", "application/json"), ("X-Github-Event", "push")])?;
/// assert_eq!(headers.get_str("x-github-event"), Some("push"));
/// # Ok::<(), webhook_core::InvalidHeader>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers(
    /// `name:value\n` for each. A name has no colon, and a value has no line feed.
    Bytes,
);

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Takes `headers`, pairs of a name and a value, in their order.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn try_from_iter<N: AsRef<str>, V: AsRef<[u8]>>(
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, InvalidHeader> {
        let mut text = BytesMut::new();
        let mut count = 0;
        for (name, value) in headers {
            put(&mut text, &mut count, name.as_ref(), value.as_ref())?;
        }
        Ok(Self(text.freeze()))
    }

    /// Adds a header after the others.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`], and nothing changes, when `name` is not a token (RFC 9110, section 5.6.2),
    /// when `value` contains control characters other than tabs, or when it is too much.
    pub fn append(
        &mut self,
        name: impl AsRef<str>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), InvalidHeader> {
        let mut count = self.len();
        let mut text = BytesMut::from(self.0.as_ref());
        put(&mut text, &mut count, name.as_ref(), value.as_ref())?;
        self.0 = text.freeze();
        Ok(())
    }

    /// The first value of the header `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The first value of the header `name` where it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values of the header `name`, in their order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let lines = self.0.split_inclusive(|&byte| byte == b'\n');
        lines.filter_map(|line| {
            let line = line.strip_suffix(b"\n")?;
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            Some((name, &line[colon + 1..]))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The headers as a store keeps them: `name:value` and a line feed for each; empty for none.
    pub fn as_encoded(&self) -> &Bytes {
        &self.0
    }

    /// The same headers in a buffer of their own. A clone keeps the whole buffer alive that the
    /// headers are a part of, for example a database's answer.
    #[must_use]
    pub fn to_owned_buffer(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// Headers read back from a store.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] when `encoded` is not what [`as_encoded`](Self::as_encoded) gives.
    pub fn from_encoded(encoded: Bytes) -> Result<Self, InvalidHeader> {
        if encoded.is_empty() {
            return Ok(Self(encoded));
        }
        let headers = Self(encoded);
        let mut bytes = 0;
        let mut count = 0;
        for (name, value) in headers.iter() {
            check(name, value, &mut count, bytes)?;
            bytes += encoded_bytes(name, value);
        }
        if bytes == headers.0.len() {
            Ok(headers)
        } else {
            Err(InvalidHeader::Encoding)
        }
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self
            .iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(value)));
        f.debug_map().entries(headers).finish()
    }
}

/// Why headers cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The name is empty, or has a character that names of headers do not have.
    #[error("header name {name:?} is not a token")]
    Name {
        /// The name.
        name: String,
    },
    /// The value has a control character other than a tab.
    #[error("value of header {name} contains a control character")]
    Value {
        /// The header's name.
        name: String,
    },
    /// There are too many.
    #[error("more than {MAX_HEADERS} headers")]
    TooMany,
    /// They are too long.
    #[error("headers of more than {MAX_HEADERS_BYTES} bytes")]
    TooLong,
    /// It is not the encoding that stores keep.
    #[error("not an encoding of headers")]
    Encoding,
}

fn put(
    text: &mut BytesMut,
    count: &mut usize,
    name: &str,
    value: &[u8],
) -> Result<(), InvalidHeader> {
    check(name, value, count, text.len())?;
    text.reserve(encoded_bytes(name, value));
    text.put_slice(name.as_bytes());
    text.put_u8(b':');
    text.put_slice(value);
    text.put_u8(b'\n');
    Ok(())
}

/// Checks one more header, after `count` others of `bytes` bytes.
fn check(name: &str, value: &[u8], count: &mut usize, bytes: usize) -> Result<(), InvalidHeader> {
    *count += 1;
    if *count > MAX_HEADERS {
        Err(InvalidHeader::TooMany)
    } else if bytes + encoded_bytes(name, value) > MAX_HEADERS_BYTES {
        // Before the others, so that no error holds a name longer than this.
        Err(InvalidHeader::TooLong)
    } else if name.is_empty() || !name.bytes().all(is_token) {
        Err(InvalidHeader::Name { name: name.into() })
    } else if value
        .iter()
        .any(|&byte| byte.is_ascii_control() && byte != b'\t')
    {
        Err(InvalidHeader::Value { name: name.into() })
    } else {
        Ok(())
    }
}

const fn encoded_bytes(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + 2
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_repeats_case_and_bytes_are_kept() {
        let given: [(&str, &[u8]); 5] = [
            ("Content-Type", b"text/plain; a=b:c"),
            ("X-Tag", b"\xff\t "),
            ("x-tag", b""),
            ("!#$%&'*+-.^_`|~09azAZ", b":"),
            ("X-Tag", "\u{1f4a9}".as_bytes()),
        ];
        let headers = Headers::try_from_iter(given).unwrap();
        assert_eq!(headers.iter().collect::<Vec<_>>(), given);
        assert_eq!(headers.len(), 5);
        let tags: Vec<_> = headers.get_all("X-TAG").collect();
        assert_eq!(tags, [given[1].1, given[2].1, given[4].1]);
        assert_eq!(headers.get("content-type"), Some(given[0].1));
        assert_eq!(headers.get_str("x-tag"), None);
        assert_eq!(headers.get("x"), None);
        let stored = headers.as_encoded().clone();
        assert_eq!(Headers::from_encoded(stored), Ok(headers.clone()));
        let mut appended = Headers::new();
        for (name, value) in given {
            appended.append(name, value).unwrap();
        }
        assert_eq!(appended, headers);
        assert!(Headers::new().is_empty() && !headers.is_empty());
        assert_eq!(Headers::from_encoded(Bytes::new()), Ok(Headers::new()));
    }

    #[test]
    fn invalid_names_and_values_are_refused() {
        for name in ["", "a b", "a:b", "a\n", "é", "a\0", "(a)", "a/b", "\"", ","] {
            let error = Headers::try_from_iter([(name, "1")]).unwrap_err();
            assert_eq!(error, InvalidHeader::Name { name: name.into() });
        }
        for value in ["\n", "a\r\nb: c", "\0", "\u{7f}"] {
            let error = Headers::try_from_iter([("a", value)]).unwrap_err();
            assert_eq!(error, InvalidHeader::Value { name: "a".into() });
        }
        let mut headers = Headers::new();
        assert!(headers.append("a", "\n").is_err());
        assert!(headers.is_empty());
    }

    #[test]
    fn there_are_limits() {
        let many = |count| Headers::try_from_iter((0..count).map(|_| ("a", "")));
        assert_eq!(many(MAX_HEADERS).unwrap().len(), MAX_HEADERS);
        assert_eq!(many(MAX_HEADERS + 1), Err(InvalidHeader::TooMany));
        let long = |bytes| Headers::try_from_iter([("a", vec![b'x'; bytes - 3])]);
        let longest = long(MAX_HEADERS_BYTES).unwrap();
        assert_eq!(longest.as_encoded().len(), MAX_HEADERS_BYTES);
        assert_eq!(long(MAX_HEADERS_BYTES + 1), Err(InvalidHeader::TooLong));
        assert_eq!(longest.clone().append("b", ""), Err(InvalidHeader::TooLong));
        assert!(Headers::from_encoded(longest.as_encoded().clone()).is_ok());
    }

    #[test]
    fn damaged_encodings_are_refused() {
        let mut broken: Vec<Vec<u8>> = [
            &b"a"[..],
            b"a\n",
            b"a:1",
            b":1\n",
            b"\n",
            b"a:1\n\n",
            b"a:1\nb",
            b"\xff:1\n",
            b"a b:1\n",
            b"a:\0\n",
        ]
        .map(Vec::from)
        .into();
        broken.push(b"a:\n".repeat(MAX_HEADERS + 1));
        broken.push([b"a:", &*vec![b'x'; MAX_HEADERS_BYTES], b"\n"].concat());
        for encoded in broken {
            let encoded = Bytes::from(encoded);
            assert!(
                Headers::from_encoded(encoded.clone()).is_err(),
                "{encoded:?}"
            );
        }
    }
}
