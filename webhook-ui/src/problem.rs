//! [`Problem`]: an error answer, `application/problem+json` (RFC 9457).

use std::borrow::Cow;
use std::error::Error;

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use webhook_core::StoreError;

use crate::UiBody;

/// What went wrong with a request, for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    allow: Option<&'static str>,
    retry_after_seconds: Option<u16>,
    asks_for_token: bool,
}

/// The JSON document of a problem.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDocument<'a> {
    /// Always `about:blank`: the status says what kind of problem it is.
    r#type: &'static str,
    /// The name of the status.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What went wrong with this request, for people.
    detail: &'a str,
}

impl Problem {
    /// A problem with this status. `detail` says what is wrong, and what would be right.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            allow: None,
            retry_after_seconds: None,
            asks_for_token: false,
        }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: the request has no valid token.
    pub fn without_token() -> Self {
        Self {
            asks_for_token: true,
            ..Self::new(StatusCode::UNAUTHORIZED, "Token missing or wrong")
        }
    }

    /// 403: the caller may not do that.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 403: the action needs a token of the scope `operate`.
    pub fn needs_operate() -> Self {
        Self::forbidden("The token does not allow that: its scope must be operate")
    }

    /// 404: there is nothing at that path, or nothing that the caller may see.
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found")
    }

    /// 404: there is no such event, or the caller may not see it.
    pub fn no_such_event() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Event not found")
    }

    /// 404: there is no such source, or the caller may not see it.
    pub fn no_such_source() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Source not found")
    }

    /// 404: there is no such job, or the caller may not see it.
    pub fn no_such_job() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Job not found")
    }

    /// 405: the path does not have that method.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("Method not allowed; allowed: {allow}"),
            )
        }
    }

    /// 409: the state of the event, job or source does not allow that.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 413: the body is longer than `bytes`.
    pub fn too_long(bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("Body longer than {bytes} bytes"),
        )
    }

    /// 429: too many requests of this client.
    pub fn too_many_requests(
        detail: impl Into<Cow<'static, str>>,
        retry_after_seconds: u16,
    ) -> Self {
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
        }
    }

    /// 500: an error of this program, which is logged.
    pub fn internal(error: impl Error + 'static) -> Self {
        tracing::error!(error = &error as &dyn Error, "failed to answer a request");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
    }

    /// 501: the process around the inbox does not offer that.
    pub fn not_offered(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, detail)
    }

    /// 502: a destination did not take what it was sent.
    pub fn bad_gateway(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, detail)
    }

    /// 503: the store cannot answer now, or a limit is reached.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after_seconds: u16) -> Self {
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The name of the status, such as `Not Found`.
    pub fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    /// The answer, as JSON.
    pub fn into_response(self) -> Response<UiBody> {
        let document = ProblemDocument {
            r#type: "about:blank",
            title: self.title(),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(UiBody::full(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, json);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.add_headers(headers);
        response
    }

    /// Adds the headers that an answer with this problem must have, whatever its body is.
    pub(crate) fn add_headers(&self, headers: &mut http::HeaderMap) {
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.asks_for_token {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } => match error.partition() {
                Some((index, count)) => Self::unavailable(
                    format!("Store unavailable: partition {index} of {count}"),
                    1,
                ),
                None => Self::unavailable("Store unavailable", 1),
            },
            StoreError::Full { .. } => Self::unavailable("Store full", 10),
            error => Self::internal(error),
        }
    }
}
