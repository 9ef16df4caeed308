//! Audit records: each action of an operator leaves one.

use std::future::Future;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use webhook_core::ActionRecord;

use crate::access::Caller;
use crate::{Problem, Ui};

/// The result of an action that was done, in audit records.
const DONE: &str = "done";

/// The result of an action whose client went away.
const INTERRUPTED: &str = "failed or interrupted; may be partly done";

/// A running action. It is written when it ends, or when it is dropped.
pub(crate) struct Action {
    ui: Ui,
    name: &'static str,
    actor: String,
    client: Option<std::net::IpAddr>,
    target: String,
    details: Value,
    count: Option<u64>,
    is_written: bool,
}

impl Action {
    /// Begins an action of `caller` on `target`: a source, an event or a filter.
    pub(crate) fn begin(ui: &Ui, name: &'static str, caller: &Caller, target: String) -> Self {
        Self {
            ui: ui.clone(),
            name,
            actor: caller.name.clone(),
            client: caller.client,
            target,
            details: Value::Null,
            count: None,
            is_written: false,
        }
    }

    /// Adds details, which must not have a secret.
    pub(crate) fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// Says how many events the action has changed.
    pub(crate) fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Ends the action with this result, and returns the result.
    pub(crate) async fn end<T>(mut self, result: Result<T, Problem>) -> Result<T, Problem> {
        let mut line = match &result {
            Ok(_) => json!({ "status": 200 }),
            Err(problem) => json!({
                "status": problem.status().as_u16(),
                "detail": problem.detail(),
            }),
        };
        if let (Value::Object(members), Some(count)) = (&mut line, self.count) {
            members.insert("count".to_owned(), count.into());
        }
        self.log(&line.to_string());
        let outcome = match &result {
            Ok(_) => DONE,
            Err(problem) => problem.detail(),
        };
        // In a task of its own: the client may go away meanwhile.
        if let Err(error) = tokio::spawn(self.keep(outcome)).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, action = self.name, "failed to keep an audit record");
        }
        result
    }

    /// Keeps the record in the store.
    fn keep(&self, outcome: &str) -> impl Future<Output = ()> + Send + use<> {
        let record = ActionRecord::new(&*self.actor, self.name, &*self.target)
            .with_details(self.details.to_string())
            .with_count(self.count)
            .with_result(outcome);
        let (ui, action) = (self.ui.clone(), self.name);
        async move {
            if let Err(error) = ui.admin().record_action(&record).await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, action, "failed to keep an audit record");
            }
        }
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
            self.log(INTERRUPTED);
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(self.keep(INTERRUPTED));
            }
        }
    }
}
