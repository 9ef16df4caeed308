//! A failed attempt with the details that its handler kept.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use webhook_core::FailedAttempt;

use super::{as_instant, body};

/// A failed attempt. It has at most one of the two members for details.
#[derive(Serialize)]
pub(super) struct Attempt<'a> {
    attempt: u32,
    #[serde(serialize_with = "as_instant")]
    ended_at: SystemTime,
    reason: &'a str,
    /// The details, if they are a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
    /// Any other details.
    #[serde(skip_serializing_if = "Option::is_none")]
    details_base64: Option<String>,
}

impl<'a> Attempt<'a> {
    pub(super) fn of(attempt: &'a FailedAttempt) -> Self {
        let details = attempt.reason.details();
        let object = details.and_then(|it| body::json_object(it));
        let other = details.filter(|_| object.is_none());
        Self {
            attempt: attempt.attempt.number(),
            ended_at: attempt.ended_at,
            reason: attempt.reason.as_str(),
            details: object,
            details_base64: other.map(|it| STANDARD.encode(it)),
        }
    }
}

/// The details of a request that failed, in a line: class of the error, status of the answer, address of the peer
/// and how long it took. `None` if the details have none of these.
pub(crate) fn details_line(attempt: &FailedAttempt) -> Option<String> {
    let object = body::json_object(attempt.reason.details()?)?;
    let details: Value = serde_json::from_str(object.get()).ok()?;
    let text = |member: &str| details[member].as_str().map(str::to_owned);
    let status = details["status"].as_u64();
    let total_ms = details["timings_ms"]["total"].as_number();
    let parts: Vec<String> = [
        text("error_class"),
        status.map(|status| format!("status {status}")),
        text("peer").map(|peer| format!("peer {peer}")),
        total_ms.map(|total_ms| format!("{total_ms} ms")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use webhook_core::{Attempt as Number, FailureReason, Reason};

    use super::*;

    fn failed(details: Option<&'static [u8]>) -> FailedAttempt {
        let reason = Reason::new("answered 503");
        let reason = match details {
            Some(details) => reason.with_details(details.into()),
            None => reason,
        };
        let ended_at = SystemTime::UNIX_EPOCH;
        FailedAttempt::new(Number::FIRST, ended_at, FailureReason::from(reason))
    }

    fn members(details: Option<&'static [u8]>) -> String {
        let document = serde_json::to_string(&Attempt::of(&failed(details))).unwrap();
        let (_, members) = document.split_once(r#""reason":"answered 503""#).unwrap();
        members.trim_end_matches('}').to_owned()
    }

    #[test]
    fn details_are_shown_as_they_are_if_they_are_an_object() {
        assert_eq!(members(None), "");
        let object = br#" {"status": 503, "body":[1.50]"#;
        let whole = br#" {"status": 503, "body":[1.50]} "#;
        assert_eq!(
            members(Some(whole)),
            r#","details":{"status": 503, "body":[1.50]"#
        );
        assert!(members(Some(object)).starts_with(r#","details_base64":"IHsi"#));
        assert_eq!(members(Some(b"")), r#","details_base64":"""#);
        assert_eq!(members(Some(b"[1]")), r#","details_base64":"WzFd""#);
        assert_eq!(members(Some(b"\xff\x00")), r#","details_base64":"/wA=""#);
        // Many parsers refuse a lone surrogate.
        let odd = members(Some(br#"{"a":"\ud800"}"#));
        assert!(odd.starts_with(r#","details_base64":"#), "{odd}");
    }

    #[test]
    fn line_has_the_members_that_are_there() {
        let line = |details: &'static str| details_line(&failed(Some(details.as_bytes())));
        let all = r#"{"error_class":"status_5xx","status":503,"peer":"10.0.0.7:3000",
            "timings_ms":{"dns":null,"total":12},"headers":[]}"#;
        assert_eq!(
            line(all).unwrap(),
            "status_5xx, status 503, peer 10.0.0.7:3000, 12 ms"
        );
        let some = r#"{"error_class":"dns","status":null,"peer":7,"timings_ms":{"total":1.5}}"#;
        assert_eq!(line(some).unwrap(), "dns, 1.5 ms");
        for nothing in [r#"{"timings_ms":[]}"#, "{}", "[]", "", r#""status""#] {
            assert_eq!(line(nothing), None, "{nothing}");
        }
        assert_eq!(details_line(&failed(None)), None);
    }
}
