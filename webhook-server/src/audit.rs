//! What operators do by commands: one line in the log for each action, and a record in the store that it changes.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};
use webhook_core::{ActionRecord, Admin};

/// The most characters of arguments in a line: a command may name many ids. Longer arguments are shortened.
const MAX_ARGUMENTS: usize = 2_000;

/// How many values of a list are in a line of shortened arguments.
const SHORT_LIST: usize = 10;

/// How many characters of a text are in a line of shortened arguments.
const SHORT_TEXT: usize = 100;

/// The result of an action in its audit record, as the admin API has it.
const DONE: &str = "done";

/// A running action. Its line is written when it ends, or when it is dropped.
pub(crate) struct Audit {
    action: &'static str,
    arguments: Value,
    is_written: bool,
}

impl Audit {
    /// Begins an action. Its `arguments`, which must not contain a secret, are written as a JSON object, without
    /// those that are null or false.
    pub(crate) fn begin(
        action: &'static str,
        arguments: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Self {
        let given = arguments
            .into_iter()
            .filter(|(_, value)| !matches!(value, Value::Null | Value::Bool(false)));
        let given: Map<_, _> = given
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let mut given = Value::from(given);
        if given.to_string().chars().count() > MAX_ARGUMENTS {
            shorten(&mut given);
        }
        Self {
            action,
            arguments: given,
            is_written: false,
        }
    }

    /// Ends the action, and writes its line.
    pub(crate) fn end(mut self, result: &impl Serialize) {
        self.write(&serde_json::to_string(result).unwrap_or_else(|_| "unknown".to_owned()));
    }

    /// Ends the action, writes its line, and keeps an audit record of what it did to `target` in its store, with the
    /// number of events that it changed. A store that fails does not fail the action.
    pub(crate) async fn end_in(
        self,
        admin: &dyn Admin,
        target: &str,
        count: Option<u64>,
        result: &impl Serialize,
    ) {
        let shown = serde_json::to_value(result).unwrap_or_default();
        let details = json!({ "arguments": self.arguments, "result": shown });
        let actor = format!("command ({})", Who::current());
        let record = ActionRecord::new(&*actor, &*self.action.replace('-', "_"), target)
            .with_details(details.to_string())
            .with_count(count)
            .with_result(DONE);
        let action = self.action;
        self.end(result);
        if let Err(error) = admin.record_action(&record).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                action,
                "the action is done, but only this log knows of it: failed to keep its audit record; see that the database \
                 role may insert into the table actions"
            );
        }
    }

    fn write(&mut self, result: &str) {
        self.is_written = true;
        let Who {
            user,
            uid,
            sudo_user,
        } = Who::current();
        tracing::info!(
            action = self.action,
            user,
            uid,
            sudo_user,
            arguments = %self.arguments,
            result,
            "an operator ran a command"
        );
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if !self.is_written {
            self.write("failed or interrupted; may be partly done");
        }
    }
}

/// Shortens the lists and texts in `value`, so that it stays JSON.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(SHORT_TEXT) {
                text.truncate(end);
                text.push('…');
            }
        }
        Value::Array(values) => {
            let more = values.len().saturating_sub(SHORT_LIST);
            values.truncate(SHORT_LIST);
            values.iter_mut().for_each(shorten);
            if more > 0 {
                values.push(format!("… and {more} more").into());
            }
        }
        Value::Object(values) => values.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, self.uid) {
            (Some(user), _) => write!(f, "user {user}")?,
            (None, Some(uid)) => write!(f, "uid {uid}")?,
            (None, None) => f.write_str("unknown user")?,
        }
        match &self.sudo_user {
            Some(sudo_user) => write!(f, ", by sudo of {sudo_user}"),
            None => Ok(()),
        }
    }
}

/// The user who runs this process.
struct Who {
    user: Option<String>,
    uid: Option<u32>,
    /// The user who ran sudo.
    sudo_user: Option<String>,
}

impl Who {
    #[cfg(unix)]
    fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        Self {
            // Not $USER, which anybody can set.
            user: std::fs::read_to_string("/etc/passwd")
                .ok()
                .and_then(|users| name_of(uid, &users)),
            uid: Some(uid),
            sudo_user: std::env::var("SUDO_USER").ok(),
        }
    }

    #[cfg(not(unix))]
    fn current() -> Self {
        Self {
            user: std::env::var("USERNAME").ok(),
            uid: None,
            sudo_user: None,
        }
    }
}

/// The name that `users`, a file like /etc/passwd, gives `uid`.
#[cfg(unix)]
fn name_of(uid: u32, users: &str) -> Option<String> {
    let user = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid).then_some(name)
    });
    user.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    #[cfg(unix)]
    fn user_names_are_found_by_number() {
        let users =
            "# comment\n\nroot:x:0:0:root:/root:/bin/sh\nbroken:x\nana:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_of(0, users).as_deref(), Some("root"));
        assert_eq!(name_of(1_000, users).as_deref(), Some("ana"));
        assert_eq!(name_of(7, users), None);
    }

    #[test]
    fn arguments_are_json_without_what_is_not_given() {
        let audit = Audit::begin(
            "requeue",
            [
                ("kind", json!("stripe")),
                ("ids", json!(["evt_\"1\""])),
                ("reason", json!(None::<String>)),
                ("all_failed", json!(false)),
            ],
        );
        let arguments = audit.arguments.to_string();
        assert_eq!(arguments, r#"{"ids":["evt_\"1\""],"kind":"stripe"}"#);
    }

    #[test]
    fn long_arguments_are_shortened_and_stay_json() {
        let ids = vec!["ß".repeat(1_000); 500];
        let arguments = [("ids", json!(ids)), ("reason", json!("x".repeat(9_000)))];
        let audit = Audit::begin("requeue", arguments);
        let arguments = audit.arguments.to_string();
        assert!(arguments.chars().count() <= MAX_ARGUMENTS);
        let read: Value = serde_json::from_str(&arguments).unwrap();
        assert_eq!(read["ids"][0], format!("{}…", "ß".repeat(SHORT_TEXT)));
        assert_eq!(read["ids"][SHORT_LIST], "… and 490 more");
        assert_eq!(read["reason"], format!("{}…", "x".repeat(SHORT_TEXT)));
    }
}
