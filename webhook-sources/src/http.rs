//! Collects requests from the types of the crate `http`.

use http::request::Parts;

use crate::Request;

/// The head of a request, collected from [`http::request::Parts`].
///
/// ```
/// use webhook_sources::http::RequestParts;
///
/// let request = http::Request::post("/webhooks?a=1").header("x-id", "7").body(b"{}")?;
/// let (parts, body) = request.into_parts();
/// let parts = RequestParts::new(&parts);
/// let request = parts.request(body);
/// assert_eq!((request.method, request.query(), request.body), ("POST", "a=1", &b"{}"[..]));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RequestParts<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> RequestParts<'a> {
    /// Collects the head of a request.
    pub fn new(parts: &'a Parts) -> Self {
        let target = parts.uri.path_and_query();
        let header = |(name, value): (&'a http::HeaderName, &'a http::HeaderValue)| {
            (name.as_str(), value.as_bytes())
        };
        Self {
            method: parts.method.as_str(),
            target: target.map_or("/", |it| it.as_str()),
            headers: parts.headers.iter().map(header).collect(),
        }
    }

    /// The request with its body, which is empty for [`Source::check_head`](crate::Source::check_head).
    pub fn request<'b>(&'b self, body: &'b [u8]) -> Request<'b> {
        Request {
            method: self.method,
            target: self.target,
            headers: &self.headers,
            body,
        }
    }
}
