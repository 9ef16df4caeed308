//! Runs each fault once, at the smallest size. `cargo run -p faults` runs them at any size.
//!
//! Every fault of the list is a test here. A fault that needs a long run or an unusual machine is
//! ignored, with the reason. A fault that this machine cannot run (because it may not mount a disk,
//! for example) fails, or is ignored with the reason if `FAULTS_SKIP_UNSUPPORTED` is set.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use faults::{FAULTS, Fault, LIES, Run, Tally, Tools, Unsupported};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use testkit::folder::parent_in_memory;
use tokio::runtime::Runtime;

/// If it is set, tests of faults that this machine cannot run are ignored instead of failing.
const SKIP: &str = "FAULTS_SKIP_UNSUPPORTED";

fn main() -> ExitCode {
    let node = PathBuf::from(env!("CARGO_BIN_EXE_faults-node"));
    let server = PathBuf::from(env!("CARGO_BIN_EXE_faults-server"));
    let tools = Arc::new(Tools::new(node, server, parent_in_memory()));
    let mut trials: Vec<_> = FAULTS
        .iter()
        .map(|fault| {
            let tools = Arc::clone(&tools);
            Trial::ignorable_test(fault.test_name(), move || survives(fault, &tools))
        })
        .collect();
    trials.extend(LIES.iter().map(|fault| {
        let tools = Arc::clone(&tools);
        let name = format!("{}_are_noticed", fault.test_name());
        Trial::ignorable_test(name, move || is_noticed(fault, &tools))
    }));
    let mut arguments = Arguments::from_args();
    // Half of a run's time is spent waiting: for delays, leases and pauses. With twice as many runs as
    // processors, those of many nodes became too slow to recover in time.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = processors + processors.div_ceil(2);
    arguments.test_threads.get_or_insert(at_once);
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Dropping the tools deletes their folder.
    drop(tools);
    conclusion.exit_code()
}

fn survives(fault: &Fault, tools: &Arc<Tools>) -> Result<Completion, Failed> {
    if let Some(reason) = fault.no_test {
        return Ok(Completion::ignored_with(reason));
    }
    judged(run(fault, tools), |tally| {
        assert_eq!(tally.violations, Vec::<String>::new());
        assert!(tally.acknowledged > 0 && tally.processed > 0, "{tally:?}");
    })
}

/// Judges the tally of a run that this machine can do.
fn judged(run: anyhow::Result<Tally>, judge: impl FnOnce(&Tally)) -> Result<Completion, Failed> {
    match run {
        Ok(tally) => {
            judge(&tally);
            Ok(Completion::Completed)
        }
        Err(error) if error.is::<Unsupported>() && std::env::var_os(SKIP).is_some() => {
            Ok(Completion::ignored_with(error))
        }
        Err(error) => Err(format!("{error:#}").into()),
    }
}

/// A node that acknowledges events without storing them must be detected, and so must a disk that
/// loses what it was told to sync.
fn is_noticed(fault: &Fault, tools: &Arc<Tools>) -> Result<Completion, Failed> {
    judged(run(fault, tools), |tally| {
        let lost = tally.violations.iter().filter(|it| it.starts_with("LOST"));
        assert!(lost.count() > 0, "{tally:?}");
    })
}

fn run(fault: &Fault, tools: &Arc<Tools>) -> anyhow::Result<Tally> {
    Runtime::new()?.block_on(async {
        let run = Run {
            tools: Arc::clone(tools),
            seconds: 1.5,
            rate: 150.0,
            seed: 1,
            former_server: None,
        };
        fault.run(run).await
    })
}
