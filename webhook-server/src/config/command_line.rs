//! The command line: what to do, and how.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::environment::Environment;
use super::{Config, EnvFileError, LogFilter, explain};
use crate::commands::OperatorCommand;
use crate::http::{Scope, TokenName};

/// What the command line asks for.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "webhook-server",
    version,
    about = "A durable inbox for webhooks.",
    long_about = "A durable inbox for webhooks: answers 202 once a transaction is durable, and \
        processes it later, once.\n\nEvery option is also read from its environment variable, and \
        that from a file .env in the working directory; flags win over variables, and variables \
        over the file. An empty variable counts as unset.",
    args_override_self = true
)]
pub struct CommandLine {
    /// What to do; nothing means to serve.
    #[command(subcommand)]
    pub task: Option<Task>,
    /// How to do it.
    #[command(flatten)]
    pub config: Config,
    /// Sentences for the log about how options were given.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

/// What to do instead of serving.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// Bring the database's schema up to date, and end
    Migrate,
    /// Ask the server on BIND_ADDR whether it is alive: ends with 0 if so, else with 1
    Healthcheck,
    /// Make a token, and write it with the digest for API_TOKENS
    Token {
        /// What it allows: read, or operate, which includes it
        scope: Scope,
        /// A name for the log: who uses the token, or for what
        #[arg(long)]
        name: Option<TokenName>,
    },
    /// What operators do.
    #[command(flatten)]
    Operator(OperatorCommand),
}

impl CommandLine {
    /// Reads the command line `args`, its first being the program's name, and the environment.
    ///
    /// # Errors
    ///
    /// Help and version, too, are errors here. What does not parse is one that names the
    /// variable, the value unless it is a secret, and what would be right.
    pub fn read<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        Self::read_in(args, |task| Ok(Environment::of_process(task)))
    }

    /// The same, and the file at `env_file`, where there is one, for variables that are not set.
    /// Those of its variables that are no options are put into the environment of the process:
    /// call this before there are threads.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and when the file cannot be read, or a line that may set an option
    /// is not understood. What needs no options (help, version, a new token) does not read the
    /// file, and a health check takes what it understands.
    pub fn read_with_env_file<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
        env_file: &Path,
    ) -> Result<Self, clap::Error> {
        Self::read_in(args, |task| Environment::with_file(task, env_file))
    }

    pub(super) fn read_in<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
        environment: impl FnOnce(Option<&Task>) -> Result<Environment, EnvFileError>,
    ) -> Result<Self, clap::Error> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        // clap would take variables as they are, and could not tell an empty one from an unset one.
        let mut command = Self::command().mut_args(|arg| arg.global(true).env(None::<&str>));
        let explained =
            |error, args: &[OsString], command: &mut Command| explain::error(error, args, command);
        let by_flags = match command.try_get_matches_from_mut(&args) {
            Ok(matches) => matches,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => return Err(help(&args, error)),
            Err(error) => return Err(explained(error, &args, &mut command)),
        };
        let line = Self::from_arg_matches(&by_flags)
            .map_err(|error| explained(error, &args, &mut command))?;
        if matches!(line.task, Some(Task::Token { .. })) {
            return Ok(line);
        }
        let environment = environment(line.task.as_ref())
            .map_err(|error| command.error(ErrorKind::Io, crate::with_causes(&error)))?;
        // Later flags win, so that those of the environment come first.
        let program = args.iter().take(1).cloned();
        let rest = args.iter().skip(1).cloned();
        let args: Vec<OsString> = program.chain(environment.flags).chain(rest).collect();
        let matches = command
            .try_get_matches_from_mut(&args)
            .map_err(|error| explained(error, &args, &mut command))?;
        let mut line = Self::from_arg_matches(&matches)
            .map_err(|error| explained(error, &args, &mut command))?;
        let is_default = matches.value_source("log_level") == Some(ValueSource::DefaultValue);
        if is_default && matches!(line.task, Some(Task::Operator(_))) {
            line.config.log_level = LogFilter::warnings();
        }
        if matches!(line.task, Some(Task::Healthcheck)) {
            return Ok(line);
        }
        line.check(&mut command)?;
        line.warnings = environment.warnings;
        line.warnings.extend(exposed(&by_flags, &line.config));
        if let Some(task) = &line.task {
            let warning = line.config.unknown_replay_warning(Some(task));
            line.warnings.extend(warning);
        }
        Ok(line)
    }

    /// Refuses what parses but makes no sense together, or is not safe.
    fn check(&self, command: &mut Command) -> Result<(), clap::Error> {
        let task = self.task.as_ref();
        self.config
            .check(task)
            .map_err(|wrong| command.error(ErrorKind::ArgumentConflict, wrong))?;
        self.config
            .check_replays(task)
            .map_err(|wrong| command.error(ErrorKind::ArgumentConflict, wrong))?;
        if task.is_none() {
            self.config
                .check_anonymous_access()
                .map_err(|wrong| command.error(ErrorKind::MissingRequiredArgument, wrong))?;
        }
        Ok(())
    }
}

/// The help that `args` ask for, with the names of variables.
fn help(args: &[OsString], otherwise: clap::Error) -> clap::Error {
    let command = CommandLine::command();
    // Values are not shown: a secret may stand in a variable that is not meant for it.
    let command = command.mut_args(|arg| arg.global(true).hide_env_values(true));
    let read = command.try_get_matches_from(args);
    read.err().unwrap_or(otherwise)
}

/// Warnings of secrets among the flags, which every user of the machine can read.
fn exposed(by_flags: &ArgMatches, config: &Config) -> Vec<String> {
    let is_flag = |id| by_flags.value_source(id) == Some(ValueSource::CommandLine);
    let url = config.database_url.as_ref();
    let shows_password = is_flag("database_url") && url.is_some_and(|url| url.holds_password());
    let shown = [
        (
            shows_password,
            "--database-url",
            "DATABASE_URL_FILE or DATABASE_URL",
        ),
        (
            is_flag("webhook_secrets"),
            "--webhook-secrets",
            "WEBHOOK_SECRETS_FILE or WEBHOOK_SECRETS",
        ),
    ];
    let shown = shown.into_iter().filter(|(is_shown, ..)| *is_shown);
    shown
        .map(|(_, flag, instead)| {
            format!(
                "every user of this machine can read the secret of {flag} in the list of \
                 processes: set {instead} instead"
            )
        })
        .collect()
}

/// The configuration that holds where neither flags nor variables say otherwise.
pub(super) fn defaults() -> Config {
    CommandLine::read_in(["webhook-server"], |_| Ok(Environment::default()))
        .expect("the defaults parse, since tests read them")
        .config
}
