//! `webhook-server`, for the harness to start: the same line for line, but built with it.

use std::process::exit;

use webhook_server::config::CommandLine;

fn main() {
    let line = CommandLine::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let started = webhook_server::start_logging(&line.config.log_level, line.config.log_format);
    let (Ok(runtime), Ok(())) = (runtime, started) else {
        eprintln!("error: failed to start");
        exit(1);
    };
    match runtime.block_on(webhook_server::run(&line)) {
        Ok(code) => {
            webhook_server::flush_log();
            exit(code)
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "failed");
            webhook_server::flush_log();
            exit(1);
        }
    }
}
