//! Who may deliver, and who may read.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::http::request::Parts;
use webhook_sources::signature::{Delivery, HeaderValues, Unverified, Verified, Verifier};

use super::local;
use super::problem::Problem;
use super::refusals::{Kind, Refusals};
use super::tokens::{self, Scope, TokenDigest};

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Knows who may deliver; without one, everybody may whom `open_to` names.
    pub senders: Option<Arc<dyn Verifier>>,
    /// Those who may read; without them, everybody may whom `open_to` names.
    pub tokens: Option<Vec<TokenDigest>>,
    /// Who may do what takes no proof.
    pub open_to: OpenTo,
}

/// Who may deliver where senders do not sign, and read where readers have no tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpenTo {
    /// Programs on this machine, and no page in a browser and no proxy on it: the host is a
    /// loopback one, and no header shows another origin or a proxy. Other requests are answered
    /// 403. For addresses that only this machine reaches.
    #[default]
    ThisMachine,
    /// Everybody, because something else checks who comes: a proxy, or client certificates.
    Everybody,
}

impl Rules {
    /// Whether there is a token for operators.
    pub fn know_operators(&self) -> bool {
        let mut tokens = self.tokens.iter().flatten();
        tokens.any(|token| token.scope() == Scope::Operate)
    }
}

/// Rules, and how often each secret among them has verified a delivery.
#[derive(Debug, Default)]
struct Held {
    rules: Rules,
    verified: Vec<AtomicU64>,
}

impl Held {
    fn new(rules: Rules) -> Self {
        let secrets = rules.senders.as_ref().map_or(0, |it| it.secret_count());
        Self {
            rules,
            verified: (0..secrets).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// Lets through what its rules allow.
///
/// They can be replaced at any time: a request is judged by those that it finds.
#[derive(Debug, Default)]
pub struct Gate {
    rules: RwLock<Arc<Held>>,
    refused: Refusals,
}

impl Gate {
    /// A gate with these rules.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules: RwLock::new(Arc::new(Held::new(rules))),
            refused: Refusals::default(),
        }
    }

    /// Judges by `rules` from now on.
    pub fn replace(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Held::new(rules));
    }

    /// How many requests were refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.count()
    }

    /// Whether senders sign.
    pub(super) fn verifies_senders(&self) -> bool {
        self.held().rules.senders.is_some()
    }

    /// How many deliveries each secret has verified since the rules were set, by its position.
    pub fn verified_by_secret(&self) -> Vec<u64> {
        let held = self.held();
        let counts = held.verified.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Logs how many requests were refused since the last call, why and of whom, and which secrets
    /// verify deliveries; nothing where nothing was refused.
    pub fn log_refusals(&self) {
        self.refused.log_summary(&self.verified_by_secret());
    }

    /// Refuses a delivery whose headers alone show that no sender signed it, before its body is
    /// read. Where senders do not sign, refuses whoever the server is not open to.
    pub(super) fn check_signature_headers(
        &self,
        client: Option<IpAddr>,
        head: &Parts,
    ) -> Result<(), Problem> {
        let rules = &self.held().rules;
        let Some(senders) = &rules.senders else {
            return self.check_open(rules, client, head);
        };
        let header = |name: &str| values(&head.headers, name);
        let checked = senders.check_headers(&header, SystemTime::now());
        checked.map_err(|reason| self.refuse_sender(client, &reason))
    }

    /// Refuses a delivery that is not its sender's. `None` where senders do not sign.
    pub(super) fn check_sender(
        &self,
        client: Option<IpAddr>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Option<Verified>, Problem> {
        let held = self.held();
        let Some(senders) = &held.rules.senders else {
            return Ok(None);
        };
        let header = |name: &str| values(headers, name);
        let delivery = Delivery::new(&header, body, SystemTime::now());
        let verified = senders.verify(&delivery);
        let verified = verified.map_err(|reason| self.refuse_sender(client, &reason))?;
        if let Some(count) = held.verified.get(verified.secret_index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Some(verified))
    }

    fn refuse_sender(&self, client: Option<IpAddr>, reason: &Unverified) -> Problem {
        self.refused.note(Kind::Signature, client, reason);
        Problem::unsigned()
    }

    /// Counts a request of `client` that is one too many.
    pub(super) fn note_too_many(&self, client: Option<IpAddr>) {
        self.refused.note(Kind::Rate, client, &"too many of them");
    }

    pub(super) fn check_token(
        &self,
        client: Option<IpAddr>,
        head: &Parts,
        scope: Scope,
    ) -> Result<(), Problem> {
        let rules = &self.held().rules;
        match &rules.tokens {
            Some(known) => {
                let known = self.check_known(known, client, &head.headers, scope);
                known.map(drop)
            }
            None => self.check_open(rules, client, head),
        }
    }

    /// Refuses whoever may not do what takes no proof.
    fn check_open(
        &self,
        rules: &Rules,
        client: Option<IpAddr>,
        head: &Parts,
    ) -> Result<(), Problem> {
        if rules.open_to == OpenTo::Everybody {
            return Ok(());
        }
        local::check(head).map_err(|reason| {
            self.refused.note(Kind::NotLocal, client, &reason);
            Problem::not_local(&reason)
        })
    }

    /// Operators always need a token: where no token allows it, nobody is one. Returns what the log
    /// calls the token.
    pub(super) fn check_operator(
        &self,
        client: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<String, Problem> {
        let rules = &self.held().rules;
        match &rules.tokens {
            Some(known) if rules.know_operators() => {
                let token = self.check_known(known, client, headers, Scope::Operate)?;
                Ok(token.label())
            }
            _ => Err(Problem::no_such_path()),
        }
    }

    fn check_known<'a>(
        &self,
        known: &'a [TokenDigest],
        client: Option<IpAddr>,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<&'a TokenDigest, Problem> {
        tokens::allow(known, scope, headers).ok_or_else(|| {
            let kind = match scope {
                Scope::Read => Kind::ReadToken,
                Scope::Operate => Kind::OperateToken,
            };
            self.refused.note(kind, client, &"no such token");
            Problem::without_token()
        })
    }

    fn held(&self) -> Arc<Held> {
        let held = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&held)
    }
}

/// All values of the header `name`.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> HeaderValues<'a> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.as_bytes()).collect()
}
