//! The commands `completions` and `man`, which need neither a configuration nor a database.

use std::io::{self, Write as _, stdout};
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::command_line::CommandLine;

/// The name of the program.
const PROGRAM: &str = "webhook-server";

/// Prints the completions of commands and options for `shell`.
pub(crate) fn completions(shell: Shell) -> io::Result<()> {
    // As the program reads them: each command takes all options.
    let mut command = CommandLine::command().mut_args(|arg| arg.global(true));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, PROGRAM, &mut script);
    stdout().lock().write_all(&script)
}

/// Writes the manual page, and those of all commands, into `folder`; without one, prints the first.
pub(crate) fn man(folder: Option<&Path>) -> io::Result<()> {
    match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            clap_mangen::generate_to(command(), folder)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command()).render(&mut page)?;
            stdout().lock().write_all(&page)
        }
    }
}

/// The command line without the values of variables, any of which may be a secret. Options of the server are in its
/// own page only.
fn command() -> Command {
    let hide = |command: Command| command.mut_args(|arg| arg.hide_env_values(true));
    hide(CommandLine::command()).mut_subcommands(hide)
}
