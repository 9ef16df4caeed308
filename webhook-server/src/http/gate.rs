//! Who may deliver, and who may read.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use hyper::HeaderMap;
use webhook_core::signature::{Delivery, HeaderValues, Unverified, Verifier};

use super::problem::Problem;
use super::refusals::Refusals;
use super::tokens::{self, Scope, TokenDigest};

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Knows who may deliver; without one, anybody may.
    pub senders: Option<Arc<dyn Verifier>>,
    /// Those who may read; `None` where anybody may.
    pub tokens: Option<Vec<TokenDigest>>,
}

impl Rules {
    /// Whether there is a token for operators.
    pub fn know_operators(&self) -> bool {
        let mut tokens = self.tokens.iter().flatten();
        tokens.any(|token| token.scope() == Scope::Operate)
    }
}

/// Lets through what its rules allow.
///
/// They can be replaced at any time: a request is judged by those that it finds.
#[derive(Debug, Default)]
pub struct Gate {
    rules: RwLock<Arc<Rules>>,
    refused: Refusals,
}

impl Gate {
    /// A gate with these rules.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules: RwLock::new(Arc::new(rules)),
            refused: Refusals::default(),
        }
    }

    /// Judges by `rules` from now on.
    pub fn replace(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// How many requests were refused so far.
    pub fn refused(&self) -> u64 {
        self.refused.count()
    }

    /// Whether senders sign.
    pub(super) fn verifies_senders(&self) -> bool {
        self.rules().senders.is_some()
    }

    /// Refuses a delivery whose headers alone show that no sender signed it, before its body is
    /// read.
    pub(super) fn check_signature_headers(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(senders) = &self.rules().senders else {
            return Ok(());
        };
        let header = |name: &str| values(headers, name);
        let checked = senders.check_headers(&header, SystemTime::now());
        checked.map_err(|reason| self.refuse_sender(&reason))
    }

    /// Refuses a delivery that is not its sender's.
    pub(super) fn check_sender(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        let Some(senders) = &self.rules().senders else {
            return Ok(());
        };
        let header = |name: &str| values(headers, name);
        let delivery = Delivery::new(&header, body, SystemTime::now());
        let verified = senders.verify(&delivery).map(drop);
        verified.map_err(|reason| self.refuse_sender(&reason))
    }

    fn refuse_sender(&self, reason: &Unverified) -> Problem {
        self.refused.note("delivery", reason);
        Problem::unsigned()
    }

    pub(super) fn check_token(&self, headers: &HeaderMap, scope: Scope) -> Result<(), Problem> {
        match &self.rules().tokens {
            Some(known) => self.check_known(known, headers, scope),
            None => Ok(()),
        }
    }

    /// Operators always need a token: where no token allows it, nobody is one.
    pub(super) fn check_operator(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let rules = self.rules();
        match &rules.tokens {
            Some(known) if rules.know_operators() => {
                self.check_known(known, headers, Scope::Operate)
            }
            _ => Err(Problem::no_such_path()),
        }
    }

    fn check_known(
        &self,
        known: &[TokenDigest],
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<(), Problem> {
        if tokens::allow(known, scope, headers) {
            return Ok(());
        }
        self.refused.note(scope, "no such token");
        Err(Problem::without_token())
    }

    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rules)
    }
}

/// All values of the header `name`.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> HeaderValues<'a> {
    let values = headers.get_all(name).iter();
    values.map(|value| value.as_bytes()).collect()
}
