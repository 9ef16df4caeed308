//! Faults once each, at the smallest size. `cargo run -p faults` runs them at any size, and those too
//! that take long by their nature, need more than every machine has, or are not survived.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use faults::{FAULTS, LIES, Run, Tools, Unsupported};
use testkit::folder::parent_in_memory;
use tokio::sync::Mutex;

/// Shared by the tests that run at the same time, and gone with the last of them.
static TOOLS: Mutex<Weak<Tools>> = Mutex::const_new(Weak::new());

/// Set where a fault that this machine cannot do is no failure of the test.
const SKIP: &str = "FAULTS_SKIP_UNSUPPORTED";

async fn tools() -> Arc<Tools> {
    let mut shared = TOOLS.lock().await;
    if let Some(tools) = shared.upgrade() {
        return tools;
    }
    let node = PathBuf::from(env!("CARGO_BIN_EXE_faults-node"));
    let server = PathBuf::from(env!("CARGO_BIN_EXE_faults-server"));
    let tools = Arc::new(
        Tools::prepare(node, server, parent_in_memory())
            .await
            .expect("PostgreSQL is there"),
    );
    *shared = Arc::downgrade(&tools);
    tools
}

async fn survived(name: &str) {
    let fault = FAULTS.iter().find(|fault| fault.test_name() == name);
    let fault = fault.expect("there is such a fault");
    match fault.run(smallest().await).await {
        Ok(tally) => {
            assert_eq!(tally.violations, Vec::<String>::new());
            assert!(tally.acknowledged > 0 && tally.processed > 0, "{tally:?}");
        }
        Err(error) if error.is::<Unsupported>() && std::env::var_os(SKIP).is_some() => {
            eprintln!("NOT RUN: {name}: {error}");
        }
        Err(error) => panic!("{name}: {error:#}"),
    }
}

async fn smallest() -> Run {
    Run {
        tools: tools().await,
        seconds: 1.5,
        rate: 150.0,
        seed: 1,
        former_server: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_and_not_kept_is_noticed() {
    let tally = LIES.run(smallest().await).await.unwrap();
    let lost = tally.violations.iter().filter(|it| it.starts_with("LOST"));
    assert!(lost.count() > 0, "{tally:?}");
}

macro_rules! survived {
    ($($test:ident,)*) => {
        const TESTS: &[&str] = &[$(stringify!($test)),*];

        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                survived(stringify!($test)).await;
            }
        )*
    };
}

#[test]
fn every_fault_has_a_test_or_says_why_not() {
    for fault in FAULTS {
        let is_tested = TESTS.contains(&fault.test_name().as_str());
        assert_ne!(is_tested, fault.no_test.is_some(), "{fault:?}");
    }
}

survived! {
    kill_node,
    kill_api,
    kill_worker,
    kill_all,
    failpoints,
    postgres_kill,
    postgres_immediate,
    postgres_backend,
    cuts,
    stall,
    silence,
    pooler,
    full_disk,
    no_connections,
    locked,
    no_time,
    read_only,
    no_rights,
    settings_reloaded,
    hostile_role,
    half_migrated,
    newer_schema,
    older_schema,
    failover,
    rolling_restart,
    rolling_restart_server,
    upgrade,
    log_sink,
    poison_kill,
    poison_hang,
    poison_panic,
    poison_body,
    clock,
}
