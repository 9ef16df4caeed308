//! `webhook-server`: see `webhook-server --help`.

use std::error::Error;
use std::path::Path;
use std::process::exit;

use webhook_server::config::CommandLine;

/// The exit code of what could be understood and still failed.
const FAILURE: i32 = 1;

fn main() {
    webhook_server::forbid_core_dumps();
    let line = CommandLine::read_with_env_file(std::env::args_os(), Path::new(".env"))
        .unwrap_or_else(|error| error.exit());
    if let Err(error) =
        webhook_server::start_logging(&line.config.log_level, line.config.log_format)
    {
        eprintln!("error: failed to start the log: {error}");
        exit(FAILURE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "failed to start");
            exit(FAILURE);
        }
    };
    match runtime.block_on(webhook_server::run(&line)) {
        // Ends at once what a second signal left behind.
        Ok(code) => exit(code),
        // Who typed a command reads a sentence, not a log.
        Err(webhook_server::RunError::Operate(error)) => {
            eprintln!("error: {}", webhook_server::printable(&error));
            exit(FAILURE);
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "failed");
            exit(FAILURE);
        }
    }
}
