//! The audit log: one line for each action of an operator, by command or over HTTP.

use std::fmt::Debug;
use std::net::IpAddr;

use serde::Serialize;

/// The most characters of arguments in a line: a command may name many ids.
const MAX_ARGUMENTS: usize = 2_000;

/// A running action. Its line is written when it ends, or when it is dropped.
pub(crate) struct Audit {
    action: &'static str,
    arguments: String,
    /// Who made the request over HTTP; `None` for a command.
    caller: Option<Caller>,
    is_written: bool,
}

/// An operator who makes a request over HTTP.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The name of the token, or the first digits of its digest.
    pub(crate) token: String,
    /// The address of the client; `None` if it is not connected by a network.
    pub(crate) addr: Option<IpAddr>,
}

impl Audit {
    /// Begins an action. `arguments` must not contain a secret.
    pub(crate) fn begin(action: &'static str, arguments: &impl Debug) -> Self {
        let mut arguments = format!("{arguments:?}");
        if let Some((end, _)) = arguments.char_indices().nth(MAX_ARGUMENTS) {
            arguments.truncate(end);
            arguments.push('…');
        }
        Self {
            action,
            arguments,
            caller: None,
            is_written: false,
        }
    }

    /// Notes that `caller` requested the action over HTTP.
    pub(crate) fn by(mut self, caller: Caller) -> Self {
        self.caller = Some(caller);
        self
    }

    /// Ends the action, and writes its line.
    pub(crate) fn end(mut self, result: &impl Serialize) {
        self.write(&serde_json::to_string(result).unwrap_or_else(|_| "unknown".to_owned()));
    }

    fn write(&mut self, result: &str) {
        self.is_written = true;
        if let Some(Caller { token, addr }) = &self.caller {
            tracing::info!(
                action = self.action,
                token,
                addr = addr.map(tracing::field::display),
                arguments = self.arguments,
                result,
                "an operator made a request"
            );
            return;
        }
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
            arguments = self.arguments,
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_found_by_number() {
        let users =
            "# comment\n\nroot:x:0:0:root:/root:/bin/sh\nbroken:x\nana:x:1000:1000::/:/bin/sh\n";
        assert_eq!(name_of(0, users).as_deref(), Some("root"));
        assert_eq!(name_of(1_000, users).as_deref(), Some("ana"));
        assert_eq!(name_of(7, users), None);
    }

    #[test]
    fn long_arguments_are_cut() {
        let audit = Audit::begin("requeue", &"x".repeat(10_000));
        assert_eq!(audit.arguments.chars().count(), MAX_ARGUMENTS + 1);
    }
}
