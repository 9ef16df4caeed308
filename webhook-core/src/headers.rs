//! [`Headers`]: the HTTP headers that are stored with an event.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// The largest number of headers of an event.
pub const MAX_HEADERS: usize = 64;

/// The largest size of the headers of an event in bytes: names and values, plus two bytes for each header.
pub const MAX_HEADERS_BYTES: usize = 16 * 1024;

/// Headers of a delivery that the receiver chose to store with the event, such as the content type, the event
/// type or `traceparent`.
///
/// There are at most [`MAX_HEADERS`] headers with at most [`MAX_HEADERS_BYTES`]. Their order, repeated names
/// and the case of names are kept; look-ups ignore the case. `Headers` are cheap to clone.
///
/// They are not compared when a redelivery is found to be a duplicate or a conflict.
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
    /// `name:value\n` for each header. A name has no colon, and a value has no line feed.
    Bytes,
);

impl Headers {
    /// Creates an empty list of headers.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Creates headers from pairs of a name and a value, in their order.
    ///
    /// # Errors
    ///
    /// The same as for [`append`](Self::append).
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

    /// Appends a header.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if `name` is not a token (RFC 9110, section 5.6.2), if `value` contains control characters
    /// other than tabs, or if there are too many headers or bytes. Nothing changes then.
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

    /// Returns the first value of the header `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Returns the first value of the header `name` if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Returns all values of the header `name`, in their order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Returns all names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let lines = self.0.split_inclusive(|&byte| byte == b'\n');
        lines.filter_map(|line| {
            let line = line.strip_suffix(b"\n")?;
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            Some((name, &line[colon + 1..]))
        })
    }

    /// Returns the number of headers.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the headers as stores save them: `name:value` and a line feed for each header.
    pub fn as_encoded(&self) -> &Bytes {
        &self.0
    }

    /// Copies the headers to a buffer of their own. A clone keeps the whole buffer alive of which the headers
    /// are a part, for example the response of a database.
    #[must_use]
    pub fn to_owned_buffer(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// Restores headers from their stored form.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if `encoded` does not come from [`as_encoded`](Self::as_encoded).
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

/// The reason why headers are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The name is empty, or has a character that is not allowed in header names.
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
    /// There are too many headers.
    #[error("more than {MAX_HEADERS} headers")]
    TooMany,
    /// The headers have too many bytes.
    #[error("headers of more than {MAX_HEADERS_BYTES} bytes")]
    TooLong,
    /// The stored form is damaged.
    #[error("stored headers are damaged")]
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
        // Checked first, so that no error contains a longer name.
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
