//! Authentication: who may deliver, read and operate.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::http::request::Parts;
use webhook_sources::{Request, Unverified};
use webhook_ui::{Caller, Scope, TokenDigest, Tokens};

use super::local;
use super::problem::Problem;
use super::rejections::{RejectionKind, Rejections};
use super::senders::Verifier;
use crate::metrics::Refused;

/// What the server authenticates senders and readers by.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    /// Verifies the signatures of deliveries. Without it, `anonymous_access` decides who may deliver.
    pub senders: Option<Arc<dyn Verifier>>,
    /// The tokens of readers and operators. Without them, `anonymous_access` decides who may read.
    pub tokens: Option<Tokens>,
    /// Who may make requests that need neither a signature nor a token.
    pub anonymous_access: AnonymousAccess,
}

/// Who may deliver without a signature where no signatures are configured, and read without a
/// token where no tokens are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnonymousAccess {
    /// Programs on this machine, but no page in a browser and no proxy on it: the `Host` must be a
    /// loopback name or address, and no header may show another origin or a proxy. Other requests
    /// get 403. For servers that listen on a loopback address.
    #[default]
    LocalPrograms,
    /// Everyone, because something else authenticates clients: a proxy, or client certificates.
    Everyone,
}

impl AuthConfig {
    /// Whether the admin API and the dashboard are served: to holders of tokens if one of them has the scope `operate`,
    /// and without tokens to programs and people on this machine, on a server that only they may use.
    pub fn serves_operators(&self) -> bool {
        match self.tokens {
            Some(_) => self.has_token_for(Scope::Operate),
            None => self.anonymous_access == AnonymousAccess::LocalPrograms,
        }
    }

    /// Whether one of the tokens allows what `scope` does.
    pub fn has_token_for(&self, scope: Scope) -> bool {
        let tokens = self.tokens.as_ref().map_or(&[][..], Tokens::all);
        tokens.iter().any(|token| token.scope().includes(scope))
    }
}

/// A configuration, and how many deliveries each of its secrets has verified.
#[derive(Debug)]
struct Current {
    config: AuthConfig,
    since: SystemTime,
    verified: Vec<AtomicU64>,
}

impl Default for Current {
    fn default() -> Self {
        Self::new(AuthConfig::default())
    }
}

impl Current {
    fn new(config: AuthConfig) -> Self {
        let secrets = config.senders.as_ref().map_or(0, |it| it.secret_count());
        Self {
            config,
            since: SystemTime::now(),
            verified: (0..secrets).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// Authenticates requests, and counts those that it rejects.
///
/// The configuration can be replaced at any time. A request is checked against the one that is
/// current when the check begins.
#[derive(Debug, Default)]
pub struct Auth {
    current: RwLock<Arc<Current>>,
    rejections: Rejections,
}

impl Auth {
    /// Authenticates by `config`.
    pub fn new(config: AuthConfig) -> Self {
        Self {
            current: RwLock::new(Arc::new(Current::new(config))),
            rejections: Rejections::default(),
        }
    }

    /// Authenticates by `config` from now on.
    pub fn replace(&self, config: AuthConfig) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(Current::new(config));
    }

    /// Whether deliveries must be signed.
    pub(super) fn verifies_senders(&self) -> bool {
        self.current().config.senders.is_some()
    }

    /// How many deliveries each secret has verified since the configuration was set, by the
    /// secret's position.
    pub fn verified_by_secret(&self) -> Vec<u64> {
        let current = self.current();
        let counts = current.verified.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// When the configuration was set.
    pub(super) fn since(&self) -> SystemTime {
        self.current().since
    }

    /// Logs how many requests were rejected since the last call, with the reasons, the addresses of
    /// the clients, and how many deliveries each secret has verified. Logs nothing if there were
    /// none.
    pub fn log_rejections(&self) {
        self.rejections.log_summary(&self.verified_by_secret());
    }

    /// Rejects a delivery whose headers alone show that its signature is missing or wrong, before its
    /// body is read. Without signatures, checks the client against [`AnonymousAccess`].
    pub(super) fn check_signature_headers(
        &self,
        client: Option<IpAddr>,
        head: &Parts,
    ) -> Result<(), Problem> {
        let config = &self.current().config;
        let Some(senders) = &config.senders else {
            return self.check_anonymous(config, client, head);
        };
        let headers = collected(&head.headers);
        let checked = senders.check_head(&request(&headers, b""), SystemTime::now());
        checked.map_err(|reason| self.reject_sender(client, &reason))
    }

    /// Rejects a delivery whose signature is wrong. Returns the position of the secret that signed it; `None` if
    /// deliveries need no signature.
    pub(super) fn check_sender(
        &self,
        client: Option<IpAddr>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Option<usize>, Problem> {
        let current = self.current();
        let Some(senders) = &current.config.senders else {
            return Ok(None);
        };
        let headers = collected(headers);
        let verified = senders.verify(&request(&headers, body), SystemTime::now());
        let secret = verified.map_err(|reason| self.reject_sender(client, &reason))?;
        if let Some(count) = current.verified.get(secret) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Some(secret))
    }

    fn reject_sender(&self, client: Option<IpAddr>, reason: &Unverified) -> Problem {
        self.note_refused(None, client, reason);
        Problem::unsigned().counted(Refused::unverified(reason))
    }

    /// Counts a request that `source` refuses, or one to no source.
    pub(super) fn note_refused(
        &self,
        source: Option<&str>,
        client: Option<IpAddr>,
        reason: &dyn Display,
    ) {
        self.rejections
            .log(RejectionKind::Signature, source, client, reason);
    }

    /// Counts a verified delivery that is over a limit of its source.
    pub(super) fn note_limited(&self, source: &str, client: Option<IpAddr>, limit: &dyn Display) {
        self.rejections
            .log(RejectionKind::SourceLimit, Some(source), client, limit);
    }

    /// Counts a request of `client` over a rate limit.
    pub(super) fn note_rate_limited(&self, client: Option<IpAddr>) {
        self.rejections
            .log(RejectionKind::Rate, None, client, &"rate limit exceeded");
    }

    /// Rejects a request without a token that allows to read the events of `source`. Without tokens, checks the
    /// client against [`AnonymousAccess`]. The answer to the holder of a token of another source is `hidden`.
    pub(super) fn check_reader(
        &self,
        client: Option<IpAddr>,
        head: &Parts,
        source: &str,
        hidden: fn() -> Problem,
    ) -> Result<(), Problem> {
        let config = &self.current().config;
        let Some(known) = &config.tokens else {
            return self.check_anonymous(config, client, head);
        };
        let token = self.match_token(known, client, &head.headers, Scope::Read)?;
        match token.source() {
            Some(own) if own.as_str() != source => Err(hidden()),
            _ => Ok(()),
        }
    }

    /// Rejects clients to which [`AnonymousAccess`] does not apply.
    fn check_anonymous(
        &self,
        config: &AuthConfig,
        client: Option<IpAddr>,
        head: &Parts,
    ) -> Result<(), Problem> {
        if config.anonymous_access == AnonymousAccess::Everyone {
            return Ok(());
        }
        local::check(head).map_err(|reason| {
            self.rejections
                .log(RejectionKind::NotLocal, None, client, &reason);
            Problem::not_local(&reason)
        })
    }

    /// Who makes a request to the admin API or the dashboard: the holder of a token, or, on an open server, a program
    /// or a person on this machine. 404 where [nobody](AuthConfig::serves_operators) may.
    pub(super) fn operator(&self, client: Option<IpAddr>, head: &Parts) -> Result<Caller, Problem> {
        let config = &self.current().config;
        if !config.serves_operators() {
            return Err(Problem::no_such_path());
        }
        match &config.tokens {
            Some(known) => {
                let token = self.match_token(known, client, &head.headers, Scope::Read)?;
                Ok(token.caller().at(client))
            }
            None => {
                self.check_anonymous(config, client, head)?;
                Ok(Caller::anonymous("somebody on this machine").at(client))
            }
        }
    }

    /// The tokens of those who may use the admin API and the dashboard; `None` if no token allows it.
    pub(super) fn operators(&self) -> Option<Tokens> {
        let config = &self.current().config;
        config
            .tokens
            .clone()
            .filter(|_| config.has_token_for(Scope::Operate))
    }

    /// Rejects a request without a token that allows to read metrics. Without tokens, only programs on this machine
    /// may read them, and only where nobody else can make requests; if tokens are configured and none of them allows
    /// it, nobody may.
    pub(super) fn check_metrics(
        &self,
        client: Option<IpAddr>,
        head: &Parts,
    ) -> Result<(), Problem> {
        let config = &self.current().config;
        match &config.tokens {
            Some(known) if config.has_token_for(Scope::Metrics) => {
                let token = self.match_token(known, client, &head.headers, Scope::Metrics)?;
                match token.source() {
                    Some(_) => Err(Problem::no_such_path()),
                    None => Ok(()),
                }
            }
            None if config.anonymous_access == AnonymousAccess::LocalPrograms => {
                self.check_anonymous(config, client, head)
            }
            _ => Err(Problem::no_such_path()),
        }
    }

    fn match_token<'a>(
        &self,
        known: &'a Tokens,
        client: Option<IpAddr>,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<&'a TokenDigest, Problem> {
        known.allow(scope, headers).ok_or_else(|| {
            let kind = match scope {
                Scope::Read => RejectionKind::ReadToken,
                Scope::Operate => RejectionKind::OperateToken,
                Scope::Metrics => RejectionKind::MetricsToken,
            };
            self.rejections
                .log(kind, None, client, &"missing or unknown token");
            Problem::without_token()
        })
    }

    fn current(&self) -> Arc<Current> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

/// All headers, each as often as it occurs.
fn collected(headers: &HeaderMap) -> Vec<(&str, &[u8])> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

/// A delivery of transactions. No scheme of theirs signs the path or the query.
const fn request<'a>(headers: &'a [(&'a str, &'a [u8])], body: &'a [u8]) -> Request<'a> {
    Request {
        method: "POST",
        target: "/v1/webhooks/transactions",
        headers,
        body,
    }
}
