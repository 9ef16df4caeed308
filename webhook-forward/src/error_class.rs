//! What went wrong with an attempt, as one word of a closed list.

use std::fmt;

/// What went wrong with an attempt to forward an event: one word of a closed list, for counters, filters and details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The host name does not resolve.
    Dns,
    /// No address takes a connection.
    Connect,
    /// The certificate of the destination is not accepted.
    TlsVerify,
    /// The TLS handshake fails for another reason than the destination's certificate.
    TlsHandshake,
    /// There is no connection in time.
    TimeoutConnect,
    /// There is no answer in time.
    TimeoutResponse,
    /// The connection breaks before the answer.
    Reset,
    /// The destination has only addresses that events are not forwarded to.
    BlockedAddress,
    /// The answer is a redirect (3xx), which is not followed.
    Redirect,
    /// The answer is 4xx.
    Status4xx,
    /// The answer is 5xx.
    Status5xx,
    /// The answer asks for fewer requests (429, or 503 with `Retry-After`).
    Throttled,
    /// The answer is 410.
    Gone,
    /// The attempt was ended from here, before an answer.
    Aborted,
    /// The head of the answer is larger than what is read.
    TooLarge,
    /// What the destination sends is not HTTP, or not an answer.
    Protocol,
}

impl ErrorClass {
    /// All classes.
    pub const ALL: [Self; 16] = [
        Self::Dns,
        Self::Connect,
        Self::TlsVerify,
        Self::TlsHandshake,
        Self::TimeoutConnect,
        Self::TimeoutResponse,
        Self::Reset,
        Self::BlockedAddress,
        Self::Redirect,
        Self::Status4xx,
        Self::Status5xx,
        Self::Throttled,
        Self::Gone,
        Self::Aborted,
        Self::TooLarge,
        Self::Protocol,
    ];

    /// The word for this class, in lower case: `dns`, `tls_verify`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::TlsVerify => "tls_verify",
            Self::TlsHandshake => "tls_handshake",
            Self::TimeoutConnect => "timeout_connect",
            Self::TimeoutResponse => "timeout_response",
            Self::Reset => "reset",
            Self::BlockedAddress => "blocked_address",
            Self::Redirect => "redirect",
            Self::Status4xx => "status_4xx",
            Self::Status5xx => "status_5xx",
            Self::Throttled => "throttled",
            Self::Gone => "gone",
            Self::Aborted => "aborted",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_and_in_snake_case() {
        let mut words: Vec<_> = ErrorClass::ALL.iter().map(|class| class.as_str()).collect();
        for word in &words {
            assert!(
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{word}"
            );
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ErrorClass::ALL.len());
    }
}
