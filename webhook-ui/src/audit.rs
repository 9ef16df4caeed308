//! Audit records: each action of an operator leaves one.

use serde_json::{Value, json};

use crate::access::Caller;
use crate::{Problem, Ui};

/// A running action. It is written when it ends, or when it is dropped.
pub(crate) struct Action {
    name: &'static str,
    actor: String,
    client: Option<std::net::IpAddr>,
    target: String,
    details: Value,
    is_written: bool,
}

impl Action {
    /// Begins an action of `caller` on `target`: a source, an event or a filter.
    pub(crate) fn begin(name: &'static str, caller: &Caller, target: String) -> Self {
        Self {
            name,
            actor: caller.name.clone(),
            client: caller.client,
            target,
            details: Value::Null,
            is_written: false,
        }
    }

    /// Adds details, which must not have a secret.
    pub(crate) fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// Ends the action with this result, and returns the result.
    pub(crate) async fn end<T>(
        mut self,
        _ui: &Ui,
        result: Result<T, Problem>,
    ) -> Result<T, Problem> {
        let line = match &result {
            Ok(_) => json!({ "status": 200 }),
            Err(problem) => json!({
                "status": problem.status().as_u16(),
                "detail": problem.detail(),
            }),
        };
        self.log(&line.to_string());
        result
    }

    fn log(&mut self, result: &str) {
        self.is_written = true;
        let mut arguments = json!({ "target": self.target });
        if let (Value::Object(arguments), Value::Object(details)) = (&mut arguments, &self.details)
        {
            arguments.extend(details.clone());
        }
        tracing::info!(
            action = self.name,
            token = self.actor,
            addr = self.client.map(tracing::field::display),
            %arguments,
            result,
            "an operator made a request"
        );
    }
}

impl Drop for Action {
    fn drop(&mut self) {
        if !self.is_written {
            self.log("failed or interrupted; may be partly done");
        }
    }
}
