//! The disk of an SQLite file fails for a while.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::backend::SqliteFile;
use crate::disk::{Disk, Mode};
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

/// The file system becomes read-only.
pub(super) async fn read_only(run: Run) -> anyhow::Result<Tally> {
    fails(run, Mode::ReadOnly).await
}

/// Writes fail after their first half.
pub(super) async fn writes(run: Run) -> anyhow::Result<Tally> {
    fails(run, Mode::WriteFails).await
}

/// Syncs fail.
pub(super) async fn syncs(run: Run) -> anyhow::Result<Tally> {
    fails(run, Mode::SyncFails).await
}

/// Two nodes use the file. One of them is killed meanwhile, and starts on the failing disk.
async fn fails(run: Run, mode: Mode) -> anyhow::Result<Tally> {
    let shim = run.tools.disk_shim().await?;
    let mut rig = Rig::<SqliteFile>::new(&run).await?;
    let disk = Disk::new(shim, rig.folder.path(), "disk")?;
    for _ in 0..2 {
        let mut setup = rig.setup();
        setup.variables.extend(disk.variables(rig.database.path()));
        rig.start(setup)?;
    }
    rig.ready().await?;
    let load = rig.load();
    rig.about_during(0.2).await;
    disk.set(mode)?;
    rig.refuses().await?;
    rig.nodes[0].signal(Signal::KILL);
    let end = Instant::now() + Duration::from_secs_f64(run.seconds * 0.4);
    while rig.goes_on(end)? {
        sleep(Duration::from_millis(10)).await;
    }
    disk.set(Mode::Works)?;
    rig.healed().await?;
    rig.during(0.2).await;
    rig.finish(load).await
}
