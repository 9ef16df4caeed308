//! A request, as this crate sees it.

use std::fmt;

/// A request that was received: its head, and all of its body.
///
/// Any HTTP library can provide this. With the feature `http`, [`RequestParts`](crate::http::RequestParts) collects
/// it from the types of the crate `http`.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The path with the query, as it stands in the request.
    pub target: &'a str,
    /// All headers: a header that occurs twice is here twice. Names are compared without regard to case.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body, as it was received: decompressed, reformatted or re-encoded bytes have another signature.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// All values of the header `name`, in their order.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// The query: what follows the first `?` of the target.
    pub fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// Shows neither the body, nor the query or the values of headers, which may hold secrets.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &path)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
