//! The program `webhook-server`, from its command line to its exit code.

use std::error::Error;
use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::process::exit;

use crate::command_line::CommandLine;
use crate::config::env_file;
use crate::core_dumps::forbid_core_dumps;
use crate::logging::{flush_log, print_to_stderr, printable, start as start_logging};
use crate::run::{RunError, run};

/// The exit code of a failure; usage errors have 2.
const FAILURE: i32 = 1;

/// Runs the program by the command line of this process, and exits.
pub fn main() -> ! {
    forbid_core_dumps();
    let line = CommandLine::read_with_env_file(std::env::args_os(), Path::new(env_file::NAME))
        .unwrap_or_else(|error| end(explain(&error)));
    if let Err(error) = start_logging(&line.config.log_level, line.config.log_format) {
        print_to_stderr(&format!(
            "error: failed to start the log: {}",
            printable(&error)
        ));
        end(FAILURE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "failed to start");
            end(FAILURE);
        }
    };
    match runtime.block_on(run(&line)) {
        Ok(code) => end(code),
        // The user of a command gets a message instead of a log line.
        Err(RunError::Command(error)) => {
            print_to_stderr(&format!("error: {}", printable(&error)));
            end(FAILURE);
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "failed");
            end(FAILURE);
        }
    }
}

/// Exits at once, even if tasks are still running.
fn end(code: i32) -> ! {
    flush_log();
    exit(code)
}

/// Prints the help, the version, or what is wrong with the command line. Returns the exit code.
fn explain(error: &clap::Error) -> i32 {
    let text = error.render();
    if !error.use_stderr() {
        // If standard output is closed, the exit code stays the same.
        let _ = error.print();
    } else if stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        print_to_stderr(&text.ansi().to_string());
    } else {
        print_to_stderr(&text.to_string());
    }
    error.exit_code()
}
