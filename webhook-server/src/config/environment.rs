//! The variables that set options, from the process and from `.env`, as flags.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::CommandFactory;
use zeroize::Zeroizing;

use super::env_file::{self, EnvFileError, Strictness};
use super::{CommandLine, Task, text};

/// The variables that hold several values, one per line, and are cleaned line by line.
const MULTI_LINE: [&str; 2] = ["WEBHOOK_SECRETS", "API_TOKENS"];

/// The variables that a health check needs; what is wrong with others is no concern of its.
const FOR_HEALTHCHECK: [&str; 4] = ["BIND_ADDR", "TLS_CERT_FILE", "LOG_LEVEL", "LOG_FORMAT"];

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// Each variable that is set, as the flag that says the same.
    pub(super) flags: Vec<OsString>,
    /// Sentences for the log about the file.
    pub(super) warnings: Vec<String>,
}

/// A variable of an option, and its flag.
struct Variable {
    name: String,
    flag: String,
}

impl Environment {
    /// The environment of this process, as `task` needs it.
    pub(super) fn of_process(task: Option<&Task>) -> Self {
        let none = BTreeMap::new();
        let variables = variables(task);
        let flags = variables.iter().filter_map(|it| it.as_flag(&none));
        Self {
            flags: flags.collect(),
            warnings: Vec::new(),
        }
    }

    /// The same, and the file at `path` for variables that are unset or empty.
    pub(super) fn with_file(task: Option<&Task>, path: &Path) -> Result<Self, EnvFileError> {
        let strictness = match task {
            Some(Task::Healthcheck) => Strictness::Lenient,
            _ => Strictness::Strict,
        };
        let all = variables(None);
        let known: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        let file = env_file::read(path, &known, strictness)?;
        file.export(&known);
        let variables = variables(task);
        let flags = variables.iter().filter_map(|it| it.as_flag(&file.values));
        Ok(Self {
            flags: flags.collect(),
            warnings: file.warnings,
        })
    }
}

/// The variables that `task` reads.
fn variables(task: Option<&Task>) -> Vec<Variable> {
    let command = CommandLine::command();
    let known = command.get_arguments().filter_map(|arg| {
        Some(Variable {
            name: arg.get_env()?.to_str()?.to_owned(),
            flag: arg.get_long()?.to_owned(),
        })
    });
    let is_healthcheck = matches!(task, Some(Task::Healthcheck));
    known
        .filter(|it| !is_healthcheck || FOR_HEALTHCHECK.contains(&it.name.as_str()))
        .collect()
}

impl Variable {
    /// `--flag=value`, where the process or else the file sets the variable to something.
    fn as_flag(&self, file: &BTreeMap<String, Zeroizing<String>>) -> Option<OsString> {
        let of_process = std::env::var_os(&self.name);
        let of_process = of_process.and_then(|value| self.clean(&value));
        let value = of_process.or_else(|| {
            let value = file.get(&self.name)?;
            self.clean(OsStr::new(value.as_str()))
        })?;
        let mut flag = OsString::from(format!("--{}=", self.flag));
        flag.push(value);
        Some(flag)
    }

    /// `value` without what env files and secret stores leave around it; `None` where that is all.
    fn clean(&self, value: &OsStr) -> Option<OsString> {
        let Some(value) = value.to_str() else {
            return Some(value.to_owned());
        };
        let cleaned = text::value(value);
        if cleaned.is_empty() {
            return None;
        }
        let is_multi_line = MULTI_LINE.contains(&self.name.as_str());
        Some(if is_multi_line { value } else { cleaned }.into())
    }
}
