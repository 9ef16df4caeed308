//! The variables that set options, from the process and from `.env`, as flags.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Args, Command};
use zeroize::Zeroizing;

use crate::config::env_file::{self, EnvFileError, Strictness};
use crate::config::{Config, text};

/// Variables that hold several values, one per line. Their readers clean each line.
const MULTI_LINE: [&str; 3] = ["WEBHOOK_SECRETS", "API_TOKENS", "FORWARD_SECRETS"];

/// The variables that a health check needs. It must not fail because of mistakes in others.
const FOR_HEALTHCHECK: [&str; 4] = ["BIND_ADDR", "TLS_CERT_FILE", "LOG_LEVEL", "LOG_FORMAT"];

/// The options that environment variables set.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// A flag for each variable that is set, with the same value.
    pub(super) flags: Vec<OsString>,
    /// Warnings about `.env` for the log.
    pub(super) warnings: Vec<String>,
    /// Whether variables of the process are read that set no option. Those of `.env` are among them.
    is_of_process: bool,
}

/// Which variables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Those of all options.
    All,
    /// Those of a health check.
    Healthcheck,
}

/// The variable of an option, and its flag.
struct Variable {
    name: String,
    flag: String,
}

impl Environment {
    /// Reads the variables of this process.
    pub(super) fn of_process(needs: Needs) -> Self {
        let none = BTreeMap::new();
        let variables = variables(needs);
        let flags = variables.iter().filter_map(|it| it.as_flag(&none));
        Self {
            flags: flags.collect(),
            warnings: Vec::new(),
            is_of_process: true,
        }
    }

    /// Reads the variables of this process, and those that are unset or empty from the file at `path`.
    pub(super) fn with_file(needs: Needs, path: &Path) -> Result<Self, EnvFileError> {
        let strictness = match needs {
            Needs::Healthcheck => Strictness::Lenient,
            Needs::All => Strictness::Strict,
        };
        let all = variables(Needs::All);
        let known: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        let file = env_file::read(path, &known, strictness)?;
        file.export(&known);
        let variables = variables(needs);
        let flags = variables.iter().filter_map(|it| it.as_flag(&file.values));
        Ok(Self {
            flags: flags.collect(),
            warnings: file.warnings,
            is_of_process: true,
        })
    }

    /// Reads variables that set no option.
    pub(super) fn others(&self) -> impl Fn(&str) -> Option<String> + use<> {
        let is_of_process = self.is_of_process;
        move |name| {
            let value = is_of_process.then(|| std::env::var_os(name))??;
            Some(value.to_string_lossy().into_owned())
        }
    }
}

/// The variables of the options that are read.
fn variables(needs: Needs) -> Vec<Variable> {
    let options = Config::augment_args(Command::new("webhook-server"));
    let variables = options.get_arguments().filter_map(|arg| {
        Some(Variable {
            name: arg.get_env()?.to_str()?.to_owned(),
            flag: arg.get_long()?.to_owned(),
        })
    });
    variables
        .filter(|it| needs == Needs::All || FOR_HEALTHCHECK.contains(&it.name.as_str()))
        .collect()
}

impl Variable {
    /// `--flag=value`, with the value of the process, or else of the file. `None` if neither sets the
    /// variable, or if it is empty.
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

    /// `value` without the blanks and quotation marks that env files and secret stores leave around it.
    /// `None` if nothing is left.
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
