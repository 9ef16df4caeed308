//! A host whose clock is wrong by hours or years, and changes in steps.

use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt as _;
use rustix::process::Signal;
use testkit::tools::find_or_install;
use testkit::wait::{Limit, PATIENCE};
use tokio::time::{Instant, sleep};

use crate::backend::Backend;
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

use super::Unsupported;

/// More than ten years, so that it shows in the log.
const FAR: &str = "+4000d";

/// One of two nodes has a wrong clock.
pub(super) async fn inject<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let library = find_or_install("faketime")
        .await
        .map_err(|error| Unsupported(format!("{error:#}")))?;
    let mut rig = Rig::<B>::new(&run).await?;
    let clock = rig.folder.path().join("clock");
    set(&clock, FAR)?;
    let mut setup = rig.setup();
    setup.variables.extend([
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // Monotonic clocks do not step on any system.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]);
    // A new SQLite file gets its time from the node that creates it.
    rig.start_nodes(1).await?;
    rig.start(setup)?;
    rig.ready().await?;
    let limit = Limit::of(PATIENCE);
    while rig.nodes.iter().any(|node| node.log().is_empty()) {
        limit.pause(|| "every node has logged something").await?;
    }
    let log = rig.nodes[1].log();
    if year_of(&log) <= year_of(&rig.nodes[0].log()) {
        let right = format!("the clock is not wrong: {log}");
        rig.violations.push(right);
    }
    let load = rig.load();
    let end = Instant::now() + Duration::from_secs_f64(run.seconds);
    // It connects or opens the file again while its clock is wrong.
    rig.nodes[1].signal(Signal::KILL);
    while Instant::now() < end {
        let hours = rig.random.random_range(-48..48);
        set(&clock, &format!("{hours:+}h"))?;
        let pause = rig.random.random_range(50..500);
        sleep(Duration::from_millis(pause)).await;
    }
    set(&clock, "+0")?;
    rig.healed().await?;
    rig.finish(load).await
}

/// Steps the clock, which takes effect at once.
fn set(clock: &PathBuf, offset: &str) -> std::io::Result<()> {
    let next = clock.with_extension("next");
    std::fs::write(&next, format!("{offset}\n"))?;
    std::fs::rename(next, clock)
}

/// Returns the year of the first line of a log.
fn year_of(log: &str) -> Option<u32> {
    log.get(..4)?.parse().ok()
}
