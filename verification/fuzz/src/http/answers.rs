//! Parses the server's answers without the server's code.

use serde_json::Value;

/// More headers than any answer has.
const MAX_HEADERS: usize = 32;

/// The statuses that an answer may have. 500 is never allowed.
const STATUSES: [u16; 15] = [
    100, 200, 202, 204, 400, 404, 405, 408, 413, 414, 415, 422, 431, 501, 503,
];

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Parses `bytes` as complete answers with nothing between or after them.
pub(super) fn of(mut bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(bytes);
        let Ok(httparse::Status::Complete(end)) = parsed else {
            panic!("no answer: {parsed:?} {}", bytes.escape_ascii());
        };
        // A request in HTTP/1.0 is answered in HTTP/1.0.
        assert!(matches!(head.version, Some(0 | 1)), "{:?}", head.version);
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("headers in ASCII");
        let headers: Vec<_> = head
            .headers
            .iter()
            .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
            .collect();
        let mut answer = Answer {
            status: head.code.expect("a status"),
            headers,
            body: Vec::new(),
        };
        bytes = &bytes[end..];
        let length = answer.length();
        // The answer to a HEAD has no body, and no body begins like a status line.
        if length > 0 && !bytes.is_empty() && !bytes.starts_with(b"HTTP/") {
            let (body, rest) = bytes.split_at_checked(length).expect("the whole body");
            (answer.body, bytes) = (body.to_vec(), rest);
        }
        answers.push(answer);
    }
    answers
}

impl Answer {
    /// Returns whether it is an interim answer, before the final one (RFC 9110, section 15.2).
    pub(super) fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Returns whether hyper sent it, because the bytes were not a valid request. The server's own
    /// refusals have a detail, except those to a HEAD.
    pub(super) fn is_of_hyper(&self) -> bool {
        matches!(self.status, 400 | 414 | 431) && self.body.is_empty()
    }

    /// Checks what holds for every answer.
    pub(super) fn check(&self) {
        assert!(STATUSES.contains(&self.status), "{self:?}");
        if self.body.is_empty() {
            return;
        }
        let is_problem = self.status >= 400;
        let subtype = if is_problem { "problem+json" } else { "json" };
        let media_type = format!("application/{subtype}");
        assert_eq!(self.header("content-type"), Some(media_type.as_str()));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        if is_problem {
            assert_eq!(self.document()["status"], self.status);
            assert!(!self.detail().is_empty());
        }
        if self.status == 202 {
            assert_eq!(self.document()["acknowledged"], true);
        }
    }

    /// Returns a text member of the body.
    pub(super) fn member(&self, name: &str) -> String {
        match &self.document()[name] {
            Value::String(text) => text.clone(),
            other => panic!("{name} is {other}"),
        }
    }

    /// Returns the detail of a problem, or an empty text if it has no body.
    pub(super) fn detail(&self) -> String {
        if self.status >= 400 && !self.body.is_empty() {
            self.member("detail")
        } else {
            String::new()
        }
    }

    fn document(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body in JSON")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is repeated: {self:?}");
        value
    }

    fn length(&self) -> usize {
        assert_eq!(self.header("transfer-encoding"), None);
        let length = self.header("content-length");
        assert!(
            length.is_some() || [100, 204].contains(&self.status),
            "an answer without an end: {self:?}"
        );
        length.map_or(0, |length| length.parse().expect("a length"))
    }
}
