//! [`Access`]: who makes a request, and [`Caller`]: what they may do.

use std::fmt;
use std::net::IpAddr;

use http::request::Parts;
use webhook_core::Kind;

use crate::Problem;
use crate::tokens::Scope;

/// Decides who makes a request. [`Tokens`](crate::Tokens) is one that knows tokens.
pub trait Access: Send + Sync + 'static {
    /// Who makes the request with this head: by its token, or without one where that is allowed. `client` is the
    /// address, where it is known.
    ///
    /// # Errors
    ///
    /// The answer, if that is nobody who may make requests.
    fn caller(&self, head: &Parts, client: Option<IpAddr>) -> Result<Caller, Problem>;

    /// Who has this token; `None` if nobody has it, or if it does not allow to read. For signing in.
    fn of_token(&self, token: &str) -> Option<Caller>;

    /// Whether the token of a caller still exists, with the same rights: a session ends when it does not.
    fn is_current(&self, caller: &Caller) -> bool;
}

/// Nobody may make requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAccess;

impl Access for NoAccess {
    fn caller(&self, _head: &Parts, _client: Option<IpAddr>) -> Result<Caller, Problem> {
        Err(Problem::no_such_path())
    }

    fn of_token(&self, _token: &str) -> Option<Caller> {
        None
    }

    fn is_current(&self, _caller: &Caller) -> bool {
        false
    }
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caller {
    /// The name of the token, for the audit records; of somebody without one, why none was needed.
    pub name: String,
    /// What the caller may do.
    pub scope: Scope,
    /// The only source that the caller may see; `None` for all of them.
    pub source: Option<Kind>,
    /// Whether nobody had to show a token.
    pub is_anonymous: bool,
    /// The digest of the token; `None` without one.
    pub token_digest: Option<[u8; 32]>,
    /// The address of the client, where it is known.
    pub client: Option<IpAddr>,
}

impl Caller {
    /// Somebody with a token of this name and digest.
    pub fn with_token(name: impl Into<String>, scope: Scope, token_digest: [u8; 32]) -> Self {
        Self {
            name: name.into(),
            scope,
            source: None,
            is_anonymous: false,
            token_digest: Some(token_digest),
            client: None,
        }
    }

    /// Somebody who needs no token, for this reason, and may do everything.
    pub fn anonymous(reason: impl Into<String>) -> Self {
        Self {
            name: reason.into(),
            scope: Scope::Operate,
            source: None,
            is_anonymous: true,
            token_digest: None,
            client: None,
        }
    }

    /// Restricts the caller to a source.
    #[must_use]
    pub fn of_source(self, source: impl Into<Option<Kind>>) -> Self {
        Self {
            source: source.into(),
            ..self
        }
    }

    /// Sets the address of the client.
    #[must_use]
    pub fn at(self, client: Option<IpAddr>) -> Self {
        Self { client, ..self }
    }

    /// Whether the caller may act, and see bodies unmasked.
    pub fn may_operate(&self) -> bool {
        self.scope.includes(Scope::Operate)
    }

    /// Whether the caller may see `source`.
    pub fn sees(&self, source: &Kind) -> bool {
        self.source.as_ref().is_none_or(|own| own == source)
    }

    /// Whether the caller may see the source with this name.
    pub fn sees_name(&self, source: &str) -> bool {
        self.source
            .as_ref()
            .is_none_or(|own| own.as_str() == source)
    }

    /// Rejects callers who may not act.
    ///
    /// # Errors
    ///
    /// 403.
    pub fn check_operate(&self) -> Result<(), Problem> {
        if self.may_operate() {
            Ok(())
        } else {
            Err(Problem::needs_operate())
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The address of a client, which whoever serves a [`Ui`](crate::Ui) may put into the extensions of a request: the one
/// of the connection, or the one that a trusted proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

/// Says that a browser reached a proxy by HTTPS, which whoever serves a [`Ui`](crate::Ui) may put into the extensions of a
/// request if a trusted proxy says so. The cookie of a session is then `Secure`, even if the proxy replaces the host by a
/// loopback address, for which it need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverHttps;
