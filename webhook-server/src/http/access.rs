//! Who may use the admin API and the dashboard of this server.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::http::request::Parts;
use webhook_ui::{Access, Caller};

use super::Auth;
use super::rates::Rates;

/// Operators with tokens; where nobody needs one, programs and people on this machine.
pub(super) struct OperatorAccess {
    auth: Arc<Auth>,
    rates: Arc<Rates>,
}

impl OperatorAccess {
    pub(super) fn new(auth: &Arc<Auth>, rates: &Arc<Rates>) -> Self {
        Self {
            auth: Arc::clone(auth),
            rates: Arc::clone(rates),
        }
    }
}

impl Access for OperatorAccess {
    fn caller(&self, head: &Parts, client: Option<IpAddr>) -> Result<Caller, webhook_ui::Problem> {
        let caller = self.auth.operator(client, head)?;
        let counted = self.rates.check_all();
        counted.inspect_err(|_| self.auth.note_rate_limited(client))?;
        Ok(caller)
    }

    fn of_token(&self, token: &str) -> Option<Caller> {
        let tokens = self.auth.operators()?;
        Access::of_token(&tokens, token)
    }

    fn is_current(&self, caller: &Caller) -> bool {
        let tokens = self.auth.operators();
        tokens.is_some_and(|tokens| Access::is_current(&tokens, caller))
    }
}
