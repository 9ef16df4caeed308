//! The database's disk has no free space.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use testkit::folder::Folder;
use testkit::wait::Limit;
use tokio::time::{Instant, sleep};

use crate::backend::SqliteFile;
use crate::reconcile::Tally;
use crate::rig::{Rig, Run};

use super::Unsupported;

/// Holds a cluster or a file, and the load of some seconds.
const SIZE: &str = "size=192m";

/// PostgreSQL's disk fills up, stays full for a while, and gets free space again.
pub(super) async fn on_postgres(run: Run) -> anyhow::Result<Tally> {
    let cluster = run.tools.cluster().await?;
    let disk = Mount::new(cluster.folder("disk")?)?;
    if let Some(owner) = cluster.programs.owner() {
        owner.take(disk.path())?;
    }
    let data = disk.path().join("data");
    let postgres = cluster.start_copy(&data, &["max_wal_size=16MB"]).await?;
    let mut rig = Rig::on(&run, cluster.folder("run")?, postgres);
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    let end = Instant::now() + Duration::from_secs_f64(run.seconds * 0.5);
    while rig.goes_on(end)? {
        // The fault also takes the space that PostgreSQL frees.
        fill(&disk.ballast())?;
        sleep(Duration::from_millis(10)).await;
    }
    std::fs::remove_file(disk.ballast())?;
    // If not even WAL can be written, the server shuts itself down, and a supervisor has to start
    // it again.
    let went_down = rig.database.has_ended()?;
    if went_down {
        rig.database.resume().await?;
        rig.notes.push("PostgreSQL had shut itself down".to_owned());
    } else {
        let limit = Limit::of(Duration::from_secs(30));
        if rig.database.await_answer(limit).await.is_err() {
            rig.database.resume().await?;
        }
    }
    rig.healed().await?;
    let tally = rig.finish(load).await;
    drop(disk);
    tally
}

/// The disk of an SQLite file fills up, stays full for a while, and gets free space again. One of two
/// nodes is killed meanwhile, and starts on the full disk.
pub(super) async fn on_sqlite(run: Run) -> anyhow::Result<Tally> {
    let disk = Mount::new(run.tools.folder("disk")?)?;
    let file = SqliteFile::within(disk.path());
    let mut rig = Rig::on(&run, run.tools.folder("run")?, file);
    rig.start_nodes(2).await?;
    let load = rig.load();
    rig.about_during(0.3).await;
    fill(&disk.ballast())?;
    rig.refuses().await?;
    rig.nodes[0].signal(Signal::KILL);
    let end = Instant::now() + Duration::from_secs_f64(run.seconds * 0.5);
    while rig.goes_on(end)? {
        // The fault also takes the space that SQLite frees.
        fill(&disk.ballast())?;
        sleep(Duration::from_millis(10)).await;
    }
    std::fs::remove_file(disk.ballast())?;
    rig.healed().await?;
    if !rig
        .nodes
        .iter()
        .any(|node| node.log().contains("disk is full"))
    {
        let unsaid = "no log says that the disk is full".to_owned();
        rig.violations.push(unsaid);
    }
    let tally = rig.finish(load).await;
    drop(disk);
    tally
}

/// Extends a file until the disk is full.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    for chunk in [1 << 20, 1 << 16, 1 << 12] {
        let zeroes = vec![0; chunk];
        loop {
            match file.write(&zeroes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// A small disk in memory, which is unmounted on drop.
struct Mount {
    /// The mount point, which is removed after the disk is unmounted.
    folder: Folder,
}

impl Mount {
    fn new(folder: Folder) -> anyhow::Result<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { folder }),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                let reason = format!("mounting a tmpfs: {}", why.trim());
                Err(Unsupported(reason).into())
            }
            Err(error) => Err(Unsupported(format!("mount: {error}")).into()),
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Unmounts lazily, because a server that has just been killed may still use it for a
        // moment.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
