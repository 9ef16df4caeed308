//! Faults once each, at the smallest size. `cargo run -p faults` runs them at any size, and those too
//! that take long by their nature, need more than every machine has, or are not survived.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use faults::{FAULTS, LIES, Run, Tools, Unsupported, usual_place};
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
        Tools::prepare(node, server, place())
            .await
            .expect("PostgreSQL is there"),
    );
    *shared = Arc::downgrade(&tools);
    tools
}

/// In memory where there is room: no test crashes the operating system.
fn place() -> PathBuf {
    const ENOUGH: u64 = 1 << 30;
    let memory = PathBuf::from("/dev/shm");
    match rustix::fs::statvfs(&memory) {
        Ok(disk) if disk.f_bavail * disk.f_frsize >= ENOUGH => memory,
        _ => usual_place(),
    }
}

async fn survived(name: &str) {
    let fault = FAULTS.iter().find(|fault| fault.name == name);
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
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_and_not_kept_is_noticed() {
    let tally = LIES.run(smallest().await).await.unwrap();
    let lost = tally.violations.iter().filter(|it| it.starts_with("LOST"));
    assert!(lost.count() > 0, "{tally:?}");
}

macro_rules! survived {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                survived($name).await;
            }
        )*
    };
}

survived! {
    kill_node: "kill-node",
    kill_worker: "kill-worker",
    kill_all: "kill-all",
    failpoints: "failpoints",
    postgres_kill: "postgres-kill",
    postgres_backend: "postgres-backend",
    cuts: "cuts",
    stall: "stall",
    pooler: "pooler",
    full_disk: "full-disk",
    no_connections: "no-connections",
    locked: "locked",
    no_time: "no-time",
    read_only: "read-only",
    no_rights: "no-rights",
    half_migrated: "half-migrated",
    newer_schema: "newer-schema",
    older_schema: "older-schema",
    failover: "failover",
    rolling_restart: "rolling-restart",
    poison_panic: "poison-panic",
    poison_body: "poison-body",
    clock: "clock",
}
