//! The methods that a path allows.

use hyper::Method;

use super::problem::Problem;

const READ: &str = "GET, HEAD, OPTIONS";
const WRITE: &str = "OPTIONS, POST";
/// The methods that some path allows.
pub(super) const ANY: &str = "GET, HEAD, OPTIONS, POST";

/// A request whose method its path allows.
#[derive(Debug)]
pub(super) enum Allowed<T> {
    /// A request for `T`.
    Run(T),
    /// OPTIONS, which asks for the methods in `Allow`.
    Options(&'static str),
}

impl<T> Allowed<T> {
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Allowed<U> {
        match self {
            Self::Run(request) => Allowed::Run(convert(request)),
            Self::Options(allow) => Allowed::Options(allow),
        }
    }
}

/// Allows GET and HEAD, for what `route` returns, and OPTIONS.
pub(super) fn read<T>(
    method: &Method,
    route: impl FnOnce() -> Result<T, Problem>,
) -> Result<Allowed<T>, Problem> {
    match *method {
        Method::GET | Method::HEAD => route().map(Allowed::Run),
        Method::OPTIONS => Ok(Allowed::Options(READ)),
        _ => Err(Problem::method_not_allowed(READ)),
    }
}

/// Allows POST, for what `route` returns, and OPTIONS.
pub(super) fn write<T>(
    method: &Method,
    route: impl FnOnce() -> Result<T, Problem>,
) -> Result<Allowed<T>, Problem> {
    match *method {
        Method::POST => route().map(Allowed::Run),
        Method::OPTIONS => Ok(Allowed::Options(WRITE)),
        _ => Err(Problem::method_not_allowed(WRITE)),
    }
}
