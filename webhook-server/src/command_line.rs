//! The command line: which task to run, and with which options.

mod environment;
mod errors;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::backend::{NOT_MIGRATED, NOT_SHARED};
use crate::commands::{OperatorCommand, Prune};
use crate::config::{BackendUrl, Config, EnvFileError, LogFilter, Otel};
use crate::http::{Expiry, Scope, TokenName};
use crate::views::parse_kind;
use environment::{Environment, Needs};
use webhook_core::Kind;

/// A parsed command line, with the options that environment variables set.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "webhook-server",
    version,
    about = "A durable inbox for webhooks.",
    long_about = "A durable inbox for webhooks. It answers a sender once the event is durable. Later it \
        forwards the event to your app, or processes it, until that succeeds or all attempts are used \
        up.\n\nEvery option can be set by its flag, by its environment variable, or by a line of the file \
        .env in the working directory, in this order of precedence. An empty variable counts as unset.",
    args_override_self = true
)]
pub struct CommandLine {
    /// The task to run; `None` runs the server.
    #[command(subcommand)]
    pub task: Option<Task>,
    /// The options.
    #[command(flatten)]
    pub config: Config,
    /// Warnings for the log about how options were set.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

/// A task to run instead of the server.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "a process has one of them")]
pub enum Task {
    /// Bring the database schema, or the tables in the SQLite file, up to date
    Migrate,
    /// Check whether the server on BIND_ADDR is alive. Exit codes: 0 alive, 1 not alive
    Healthcheck,
    /// Create an API token, and print it with its digest for API_TOKENS
    Token {
        /// What the token allows: read (states, and bodies with masked values), metrics, or operate, which
        /// includes both
        scope: Scope,
        /// A name for the log, such as who uses the token
        #[arg(long)]
        name: Option<TokenName>,
        /// Only for the events of this source
        #[arg(long, value_name = "NAME", value_parser = parse_kind)]
        source: Option<Kind>,
        /// The day from which on the token is not valid, in UTC, such as 2027-01-01
        #[arg(long, value_name = "DATE", value_parser = parse_expiry)]
        expires: Option<Expiry>,
    },
    /// Create a key that signs what is forwarded, and print it: for FORWARD_SECRETS, or for sign_with of a
    /// source. The app verifies signatures with the same key
    Secret,
    /// Print a script that completes commands and options in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands into a folder
    Man {
        /// The folder, such as /usr/local/share/man/man1
        #[arg(value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
    /// A command for operators.
    #[command(flatten)]
    Operator(OperatorCommand),
}

/// Refuses a token that would never be valid.
fn parse_expiry(text: &str) -> Result<Expiry, String> {
    let expiry: Expiry = text.parse()?;
    if expiry.is_over(SystemTime::now()) {
        return Err("expected a day after today, in UTC".to_owned());
    }
    Ok(expiry)
}

impl Task {
    /// Whether the task needs neither variables nor the file `.env`.
    const fn needs_no_options(&self) -> bool {
        matches!(
            self,
            Self::Token { .. } | Self::Secret | Self::Completions { .. } | Self::Man { .. }
        )
    }
}

impl CommandLine {
    /// Parses `args`, of which the first is the name of the program, and the environment variables.
    ///
    /// # Errors
    ///
    /// When an option is wrong: the error names its variable, the value unless it may be a secret, and
    /// what is expected. Also for `--help` and `--version`: the error is their text.
    pub fn read<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, clap::Error> {
        Self::read_in(args, |needs| Ok(Environment::of_process(needs)))
    }

    /// As [`read`](Self::read), and takes variables that are not set from the file at `env_file`, if
    /// there is one. Those that are no options, such as `PGSSLROOTCERT`, are put into the environment
    /// of the process: call this before starting threads.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and when the file cannot be read, or a line that may set an option
    /// does not parse. `--help`, `--version`, `token`, `secret`, `completions` and `man` do not read the file. `healthcheck`
    /// ignores lines that do not parse.
    pub fn read_with_env_file<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
        env_file: &Path,
    ) -> Result<Self, clap::Error> {
        Self::read_in(args, |needs| Environment::with_file(needs, env_file))
    }

    fn read_in<A: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = A>,
        environment: impl FnOnce(Needs) -> Result<Environment, EnvFileError>,
    ) -> Result<Self, clap::Error> {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        // Variables are read below: clap would not treat an empty one as unset.
        let mut command = Self::command().mut_args(|arg| arg.global(true).env(None::<&str>));
        let by_flags = match command.try_get_matches_from_mut(&args) {
            Ok(matches) => matches,
            Err(error) if error.kind() == ErrorKind::DisplayHelp => return Err(help(&args, error)),
            Err(error) => return Err(errors::explain(error, &args, &mut command)),
        };
        let line = Self::from_arg_matches(&by_flags)
            .map_err(|error| errors::explain(error, &args, &mut command))?;
        if let Some(Task::Token {
            scope: Scope::Metrics,
            source: Some(_),
            ..
        }) = &line.task
        {
            return Err(command.error(
                ErrorKind::ArgumentConflict,
                "metrics are those of all sources, so a token for them cannot be for one source: leave out \
                 --source, or make one of the scope read",
            ));
        }
        if line.task.as_ref().is_some_and(Task::needs_no_options) {
            return Ok(line);
        }
        let needs = match line.task {
            Some(Task::Healthcheck) => Needs::Healthcheck,
            _ => Needs::All,
        };
        let environment = environment(needs)
            .map_err(|error| command.error(ErrorKind::Io, webhook_core::with_causes(&error)))?;
        let others = environment.others();
        // The last of several flags wins, so those of the environment come first.
        let program = args.iter().take(1).cloned();
        let rest = args.iter().skip(1).cloned();
        let args: Vec<OsString> = program.chain(environment.flags).chain(rest).collect();
        let matches = command
            .try_get_matches_from_mut(&args)
            .map_err(|error| errors::explain(error, &args, &mut command))?;
        let mut line = Self::from_arg_matches(&matches)
            .map_err(|error| errors::explain(error, &args, &mut command))?;
        let is_default = matches.value_source("log_level") == Some(ValueSource::DefaultValue);
        match line.task {
            Some(Task::Operator(OperatorCommand::Conformance(_))) if is_default => {
                line.config.log_level = LogFilter::for_conformance();
            }
            Some(Task::Operator(_)) if is_default => {
                line.config.log_level = LogFilter::for_commands();
            }
            _ => {}
        }
        if matches!(line.task, Some(Task::Healthcheck)) {
            return Ok(line);
        }
        line.check(&mut command)?;
        line.warnings = environment.warnings;
        let is_doctor = matches!(line.task, Some(Task::Operator(OperatorCommand::Doctor(_))));
        let is_check = matches!(line.task, Some(Task::Operator(OperatorCommand::Check(_))));
        if line.task.is_none() || is_doctor || is_check {
            match Otel::read(others, &mut line.warnings) {
                Ok(otel) => line.config.otel = otel,
                // It finds what else is wrong as well.
                Err(wrong) if is_doctor => line.warnings.push(wrong),
                Err(wrong) => return Err(command.error(ErrorKind::ValueValidation, wrong)),
            }
        }
        line.warnings.extend(exposed(&by_flags, &line));
        if let Some(prune) = line.unforced_prune() {
            let warning = line
                .config
                .pruned_key_age_warning(prune.key_age(), prune.is_of_transactions());
            line.warnings.extend(warning);
        }
        Ok(line)
    }

    /// Refuses options that contradict each other, or are not safe.
    fn check(&self, command: &mut Command) -> Result<(), clap::Error> {
        let mut conflict = |wrong: &str| command.error(ErrorKind::ArgumentConflict, wrong);
        let config = &self.config;
        if let Some(Task::Operator(OperatorCommand::Check(_) | OperatorCommand::Doctor(_))) =
            &self.task
        {
            // They say themselves what is wrong, all of it.
            return Ok(());
        }
        config.check().map_err(&mut conflict)?;
        let backend = config.named_backend();
        match &self.task {
            None => {
                if let Some(backend) = &backend {
                    config.check_role(backend).map_err(&mut conflict)?;
                }
                config
                    .check_key_retention()
                    .map_err(|wrong| conflict(&wrong))?;
                return config
                    .check_anonymous_access()
                    .map_err(|wrong| command.error(ErrorKind::MissingRequiredArgument, wrong));
            }
            Some(Task::Migrate) if backend == Some(BackendUrl::Memory) => {
                return Err(conflict(NOT_MIGRATED));
            }
            Some(Task::Operator(command))
                if backend == Some(BackendUrl::Memory) && command.uses_database_url() =>
            {
                return Err(conflict(NOT_SHARED));
            }
            Some(_) => {}
        }
        match self.unforced_prune() {
            Some(prune) if prune.is_of_transactions() => config
                .check_pruned_key_age(prune.key_age())
                .map_err(|wrong| conflict(&wrong)),
            _ => Ok(()),
        }
    }

    /// The command `prune`, if it was given without `--force`.
    fn unforced_prune(&self) -> Option<&Prune> {
        match &self.task {
            Some(Task::Operator(OperatorCommand::Prune(prune))) if !prune.is_forced() => {
                Some(prune)
            }
            _ => None,
        }
    }
}

/// The options of the server that the help of a command shows. Commands take the others, too, but few need
/// them, and fifty options would hide those of the command.
const SHOWN_WITH_COMMANDS: [&str; 7] = [
    "database_url",
    "database_url_file",
    "partitions",
    "bind_addr",
    "operator_addr",
    "config_file",
    "log_level",
];

/// The name of the command among `args`, of which the first is the name of the program.
fn subcommand<'a>(
    args: impl IntoIterator<Item = &'a OsString>,
    command: &Command,
) -> Option<String> {
    let mut args = args.into_iter().skip(1);
    args.find_map(|arg| Some(command.find_subcommand(arg)?.get_name().to_owned()))
}

/// The help text that `args` ask for, with the names of the variables. Returns `otherwise` if there is
/// none.
fn help(args: &[OsString], otherwise: clap::Error) -> clap::Error {
    let mut command = CommandLine::command();
    let before_help = args
        .iter()
        .take_while(|arg| !["-h", "--help"].map(OsStr::new).contains(&arg.as_os_str()));
    let named = subcommand(before_help, &command);
    let needs_options = !matches!(
        named.as_deref(),
        Some("token" | "secret" | "completions" | "man")
    );
    if let Some(name) = named.as_ref().filter(|_| needs_options) {
        command = command.mut_subcommand(name, |command| {
            let own = command.get_after_help().map(|it| format!("{it}\n\n"));
            let own = own.unwrap_or_default();
            command.after_help(format!(
                "{own}All options of the server can be set, too: see `webhook-server --help`."
            ))
        });
    }
    // The values of variables are not shown: any of them may hold a secret by mistake.
    let command = command.mut_args(|arg| {
        let is_shown = needs_options && SHOWN_WITH_COMMANDS.contains(&arg.get_id().as_str());
        let is_hidden = named.is_some() && !is_shown;
        arg.global(true).hide_env_values(true).hide(is_hidden)
    });
    let read = command.try_get_matches_from(args);
    read.err().unwrap_or(otherwise)
}

/// Warns of secrets in flags, which every user of the machine can read.
fn exposed(by_flags: &ArgMatches, line: &CommandLine) -> Vec<String> {
    let is_flag = |id| by_flags.value_source(id) == Some(ValueSource::CommandLine);
    let url = line.config.database_url.as_ref();
    let shows_password = is_flag("database_url") && url.is_some_and(|url| url.holds_password());
    let shown = [
        (
            shows_password,
            "--database-url",
            "DATABASE_URL_FILE or DATABASE_URL",
        ),
        (
            matches!(&line.task, Some(Task::Operator(command)) if command.shows_password()),
            "--from or --to",
            "DATABASE_URL_FILE or DATABASE_URL",
        ),
        (
            by_flags.subcommand().is_some_and(|(_, command)| {
                let has_token = matches!(command.try_contains_id("token"), Ok(true));
                has_token && command.value_source("token") == Some(ValueSource::CommandLine)
            }),
            "--token",
            "WEBHOOK_SERVER_TOKEN",
        ),
        (
            is_flag("webhook_secrets"),
            "--webhook-secrets",
            "WEBHOOK_SECRETS_FILE or WEBHOOK_SECRETS",
        ),
        (
            is_flag("forward_secrets"),
            "--forward-secrets",
            "FORWARD_SECRETS_FILE or FORWARD_SECRETS",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_an_empty_command_line() {
        let line = CommandLine::read_in(["webhook-server"], |_| Ok(Environment::default()));
        let read = line.unwrap().config;
        assert_eq!(format!("{read:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn tokens_that_would_never_be_valid_are_refused() {
        let read = |expires: &str| {
            let args = ["webhook-server", "token", "read", "--expires", expires];
            CommandLine::read_in(args, |_| Ok(Environment::default()))
        };
        let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
        for day in ["1970-01-01".to_owned(), today.date().to_string()] {
            let error = read(&day).unwrap_err().to_string();
            assert!(
                error.contains(&day) && error.contains("a day after today"),
                "{error}"
            );
        }
        assert!(read("9999-12-31").is_ok());
    }

    #[test]
    fn tokens_for_the_metrics_of_one_source_are_refused() {
        for (scope, is_right) in [("read", true), ("operate", true), ("metrics", false)] {
            let args = ["webhook-server", "token", scope, "--source", "shop"];
            let read = CommandLine::read_in(args, |_| Ok(Environment::default()));
            assert_eq!(read.is_ok(), is_right, "{scope}");
            if let Err(error) = read {
                assert!(error.to_string().contains("leave out --source"), "{error}");
            }
        }
    }

    #[test]
    fn help_of_a_command_leaves_out_most_options_of_the_server() {
        let help = |line: &str| {
            let read = CommandLine::read_in(line.split(' '), |_| Ok(Environment::default()));
            read.unwrap_err().to_string()
        };
        for line in [
            "webhook-server replay --help",
            "webhook-server replay -h",
            "webhook-server --log-level off replay --help",
            "webhook-server help replay",
        ] {
            let text = help(line);
            for shown in ["--dry-run", "--database-url ", "`webhook-server --help`"] {
                assert!(text.contains(shown), "{line}: {shown} is missing: {text}");
            }
            assert!(!text.contains("--drain-seconds"), "{line}: {text}");
        }
        assert!(!help("webhook-server secret --help").contains("--database-url"));
        for line in ["webhook-server --help", "webhook-server --help replay"] {
            assert!(help(line).contains("--drain-seconds"), "{line}");
        }
    }
}
