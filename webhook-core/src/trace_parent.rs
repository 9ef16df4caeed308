//! [`TraceParent`]: the position in a distributed trace, as the header `traceparent` states it.

use std::fmt;

use crate::headers::Headers;

/// The longest value that is read. Versions after `00` may add parts.
const MAX_BYTES: usize = 256;

/// A valid value of the header `traceparent` (W3C Trace Context, section 3.2): the position in a distributed
/// trace from which an event or a request came.
///
/// ```
/// use webhook_core::TraceParent;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let parent = TraceParent::parse(text).expect("a valid value");
/// assert_eq!(parent.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes());
/// assert!(parent.is_sampled());
/// assert_eq!(parent.to_string(), text);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// The name of the header under which a program stores with an event the trace of its acceptance, whose attempts
    /// continue it.
    ///
    /// Programs that keep headers of senders keep their names in lower case, so that no `traceparent` of a stranger is
    /// taken for this one. Everything else that looks for `traceparent` ignores the case.
    pub const STORED_HEADER: &'static str = "Traceparent";

    /// Reads what is stored as [`STORED_HEADER`](Self::STORED_HEADER) among the headers of an event.
    pub fn stored_in(headers: &Headers) -> Option<Self> {
        let (_, value) = headers
            .iter()
            .find(|(name, _)| *name == Self::STORED_HEADER)?;
        Self::parse(std::str::from_utf8(value).ok()?)
    }

    /// Creates a value of version `00`. `None` if an id is all zeros.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) -> Option<Self> {
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self {
            trace_id,
            span_id,
            flags: u8::from(is_sampled),
        })
    }

    /// Reads a value of any version, or returns `None` if it is not valid. What later versions add is left out.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let mut parts = text.splitn(5, '-');
        let [version] = bytes(parts.next()?)?;
        let trace_id = bytes(parts.next()?)?;
        let span_id = bytes(parts.next()?)?;
        let [flags] = bytes(parts.next()?)?;
        let is_version = match version {
            0 => parts.next().is_none(),
            version => version != 0xff,
        };
        Self::new(trace_id, span_id, false)
            .filter(|_| is_version)
            .map(|parent| Self { flags, ..parent })
    }

    /// Returns the id of the trace.
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Returns the id of the span, which is the parent of the spans that follow.
    pub const fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Whether its author records the trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// As the value of the header, of version `00`: 55 bytes.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace_id = u128::from_be_bytes(self.trace_id);
        let span_id = u64::from_be_bytes(self.span_id);
        // Version 00 defines no other flags.
        let flags = self.flags & 1;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

/// Reads exactly `N` bytes in lower-case hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut read = [0; N];
    for (byte, pair) in read.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = 16 * digit(pair[0])? + digit(pair[1])?;
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_values_are_read() {
        for (text, is_sampled) in [
            (VALID.to_owned(), true),
            (VALID.replace("-01", "-00"), false),
            // Other flags say nothing about the sampling.
            (VALID.replace("-01", "-fe"), false),
            // A later version may add parts.
            (format!("cc{}-what-follows", &VALID[2..]), true),
            (format!("01{}", &VALID[2..]), true),
        ] {
            let parent = TraceParent::parse(&text).unwrap();
            assert_eq!(parent.is_sampled(), is_sampled, "{text}");
            let written = parent.to_string();
            assert_eq!(written[..53], VALID[..53]);
            assert_eq!(written.ends_with("-01"), is_sampled);
        }
    }

    #[test]
    fn stored_contexts_are_those_of_the_program_itself() {
        let headers = |name: &str, value: &str| Headers::try_from_iter([(name, value)]).unwrap();
        let stored = |name, value| TraceParent::stored_in(&headers(name, value));
        assert_eq!(stored("Traceparent", VALID), TraceParent::parse(VALID));
        assert_eq!(stored("traceparent", VALID), None, "that of a sender");
        assert_eq!(stored("Traceparent", "x"), None);
    }

    #[test]
    fn other_values_are_invalid() {
        for text in [
            "",
            "00",
            "-",
            "---",
            &VALID[1..],
            &VALID[..54],
            &VALID.to_uppercase(),
            &format!("{VALID}-"),
            &format!("{VALID}-00"),
            &format!("{VALID} "),
            &format!(" {VALID}"),
            &format!("{VALID},{VALID}"),
            &format!("ff{}", &VALID[2..]),
            &VALID.replace("00f067aa0ba902b7", "0000000000000000"),
            &VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &VALID.replace("4bf9", "4bg9"),
            &VALID.replace("4bf9", "4Bf9"),
            &VALID.replace("4bf9", "éf9"),
            &VALID.replace('-', "_"),
            &format!("cc{}-{}", &VALID[2..], "x".repeat(256)),
            &format!("cc{}-\u{7f}", &VALID[2..]),
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
        assert_eq!(TraceParent::new([0; 16], [1; 8], true), None);
        assert_eq!(TraceParent::new([1; 16], [0; 8], true), None);
    }
}
