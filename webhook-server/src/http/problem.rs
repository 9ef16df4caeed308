//! Error answers: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use webhook_core::{Error, FieldError, InvalidPayload, StoreError};

use super::answer::{Answer, answer};
use super::local::NotLocal;
use crate::metrics::Refused;

/// What went wrong with a request.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    allow: Option<&'static str>,
    retry_after_seconds: Option<u16>,
    /// The challenge that a 401 must have (RFC 9110, section 15.5.2).
    challenge: Option<Cow<'static, str>>,
    close: bool,
    /// How it is counted if it is the answer of a source.
    refused: Refused,
    /// Whether the source has listed the request among those that it refused.
    is_listed: bool,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            errors: Vec::new(),
            allow: None,
            retry_after_seconds: None,
            challenge: None,
            close: false,
            refused: Refused::ByStatus,
            is_listed: false,
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found")
    }

    pub(super) fn no_such_event() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Event not found")
    }

    pub(super) fn no_such_transaction() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Transaction not found")
    }

    /// The same for every reason, so that a forger does not learn how far a forged signature got.
    pub(super) fn unsigned() -> Self {
        Self {
            challenge: Some("Webhook-Signature".into()),
            ..Self::new(StatusCode::UNAUTHORIZED, "Signature missing or wrong")
        }
    }

    /// The answer of a source to a request that it refuses: as [`unsigned`](Self::unsigned), with the status of
    /// the source, and the challenge among `headers` if there is one.
    pub(super) fn refused_by_source(status: u16, headers: &[(&'static str, String)]) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
        let Self { challenge, .. } = Self::unsigned();
        let mut challenges = headers
            .iter()
            .filter(|(name, _)| *name == WWW_AUTHENTICATE.as_str());
        Self {
            status,
            challenge: match challenges.next() {
                Some((_, challenge)) => Some(challenge.clone().into()),
                None => challenge.filter(|_| status == StatusCode::UNAUTHORIZED),
            },
            ..Self::unsigned()
        }
    }

    pub(super) fn without_token() -> Self {
        Self {
            challenge: Some("Bearer".into()),
            ..Self::new(StatusCode::UNAUTHORIZED, "Token missing or wrong")
        }
    }

    pub(super) fn not_local(reason: &NotLocal) -> Self {
        let detail = format!(
            "Without signatures or tokens, only programs on this machine may make requests: {reason}"
        );
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("Method not allowed; allowed: {allow}"),
            )
        }
    }

    pub(super) fn too_many_requests(retry_after_seconds: u16) -> Self {
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests")
        }
    }

    pub(super) fn unavailable(detail: &'static str, retry_after_seconds: u16) -> Self {
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// A bug. It is logged, and the client does not learn what it is.
    pub(super) fn internal(error: impl std::error::Error + 'static) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
    }

    /// Also closes the connection after the answer.
    pub(super) fn closing(self) -> Self {
        Self {
            close: true,
            ..self
        }
    }

    /// Is counted as `refused` if it is the answer of a source.
    pub(super) fn counted(self, refused: Refused) -> Self {
        Self { refused, ..self }
    }

    pub(super) const fn refused(&self) -> Refused {
        self.refused
    }

    /// The source has listed the request.
    pub(super) fn listed(self) -> Self {
        Self {
            is_listed: true,
            ..self
        }
    }

    pub(super) const fn is_listed(&self) -> bool {
        self.is_listed
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn closes(&self) -> bool {
        self.close
    }

    pub(super) fn into_answer(self) -> Answer {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: self.errors.iter().map(Pointed::from).collect(),
        };
        let body = serde_json::to_vec(&document).expect("strings and numbers are JSON");
        let mut answer = answer(self.status, "application/problem+json", body);
        let headers = answer.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(challenge) = self.challenge
            && let Ok(challenge) = HeaderValue::try_from(&*challenge)
        {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

/// The same for the admin API and the dashboard.
impl From<Problem> for webhook_ui::Problem {
    fn from(problem: Problem) -> Self {
        match problem.status {
            StatusCode::UNAUTHORIZED => Self::without_token(),
            StatusCode::TOO_MANY_REQUESTS => {
                let seconds = problem.retry_after_seconds.unwrap_or(1);
                Self::too_many_requests(problem.detail, seconds)
            }
            status => Self::new(status, problem.detail),
        }
    }
}

/// The answer to a sender for an error of the inbox.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let problem = match error {
            Error::Invalid(invalid) => return invalid.into(),
            Error::Store(error) => error.into(),
            Error::TimedOut { .. } => Self::unavailable("Store too slow", 1),
            Error::Overloaded => Self::unavailable("Too many deliveries under way", 1),
            Error::Closed => Self::unavailable("Shutting down", 1),
            error => Self::internal(error),
        };
        problem.counted(Refused::Counted)
    }
}

/// The answer to a client for an error of the store.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => Self::unavailable("Store unavailable", 1),
            StoreError::Full { .. } => Self::unavailable("Store full", 10),
            // The payload is valid, so a store that refuses it shows a bug. Senders drop a delivery
            // after a 4xx, and retry it after a 5xx.
            error => Self::internal(error),
        }
    }
}

impl From<InvalidPayload> for Problem {
    fn from(invalid: InvalidPayload) -> Self {
        match invalid {
            InvalidPayload::Malformed { detail } => {
                Self::new(StatusCode::BAD_REQUEST, format!("Malformed body: {detail}"))
            }
            InvalidPayload::Fields(errors) => Self {
                errors,
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid transaction")
            },
            InvalidPayload::Key(reason) => Self {
                errors: vec![FieldError::new("/transaction_id", reason.to_string())],
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid transaction")
            },
            invalid => Self::internal(invalid),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Pointed<'a>>,
}

#[derive(Serialize)]
struct Pointed<'a> {
    pointer: &'a str,
    detail: &'a str,
}

impl<'a> From<&'a FieldError> for Pointed<'a> {
    fn from(error: &'a FieldError) -> Self {
        Self {
            pointer: &error.pointer,
            detail: &error.detail,
        }
    }
}
