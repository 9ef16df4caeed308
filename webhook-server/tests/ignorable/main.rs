//! Tests that need something which not every system has. There they are ignored, with the reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod dashboard;
mod many_connections;
mod postgres_18;
mod prometheus;
mod schemathesis;
#[expect(dead_code, reason = "the other tests need more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other: some of them open all the files that they may.
    arguments.test_threads = Some(1);
    let mut trials = many_connections::trials();
    trials.extend(prometheus::trials());
    trials.extend(dashboard::trials());
    trials.extend(postgres_18::trials());
    trials.extend(schemathesis::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
