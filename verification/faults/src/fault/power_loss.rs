//! Power is lost while an SQLite file is written to.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use sqlx::query;
use sqlx::sqlite::SqliteConnection;
use tokio::time::{Instant, sleep};

use crate::backend::{Backend as _, SqliteFile};
use crate::disk::{Call, Disk, Image, Mode, Replay};
use crate::reconcile::Tally;
use crate::rig::{Promised, Rig, Run};
use crate::senders::brief;

/// The number of images that are checked for each second of load.
const IMAGES_PER_SECOND: u128 = 60;

/// The number of places at which the write-ahead log is cut, for each second of load.
const CUTS_PER_SECOND: u128 = 20;

/// The number of violations after which no more images are checked.
const ENOUGH: usize = 20;

/// The number of times that a node runs until power is lost.
const LIVES: usize = 3;

/// The number of attempts of an event, some of whose handlers are killed.
const ATTEMPTS: u32 = 100;

/// The number of times that syncs fail until the node is killed meanwhile.
const KILLED_EVERY: u32 = 3;

/// Checks what the disk could hold after a loss of power at many moments. The run then continues on
/// one of these images, as a machine does when its power is back.
pub(super) async fn inject(run: Run) -> anyhow::Result<Tally> {
    power_returns(run, [&[Mode::Works]; LIVES]).await
}

/// Does the same on a disk whose syncs fail from time to time. What such a sync leaves unwritten is not
/// written by the next one. Now and then the node is killed meanwhile, and starts again while the system
/// still has in memory what it did not write.
pub(super) async fn after_failed_syncs(run: Run) -> anyhow::Result<Tally> {
    let all: &[Mode] = &[Mode::SyncFails];
    let database: &[Mode] = &[Mode::DatabaseSyncFails];
    let either: &[Mode] = &[Mode::SyncFails, Mode::DatabaseSyncFails];
    power_returns(run, [all, database, either]).await
}

async fn power_returns(run: Run, at_times: [&[Mode]; LIVES]) -> anyhow::Result<Tally> {
    let mut rig = Rig::<SqliteFile>::new(&run).await?;
    rig.max_attempts = ATTEMPTS;
    let mut base = Image::default();
    let mut images = Images::default();
    for (life, at_times) in at_times.into_iter().enumerate() {
        let calls = live(&mut rig, life, Mode::Works, at_times).await?;
        if life == 0 && at_times == [Mode::Works] {
            cut(&mut rig, &mut images).await?;
        }
        base = crash(&mut rig, &base, &calls, &mut images).await?;
        base.write(rig.database.path())?;
    }
    rig.notes.push(images.to_string());
    rig.start_nodes(1).await?;
    let load = rig.load();
    rig.healed().await?;
    rig.finish(load).await
}

/// Checks the images of a disk that does nothing when it is told to sync the database file, which must
/// be noticed.
pub(super) async fn without_database_syncs(run: Run) -> anyhow::Result<Tally> {
    without_syncs(run, Mode::DatabaseSyncIgnored).await
}

/// Does the same for the write-ahead log.
pub(super) async fn without_wal_syncs(run: Run) -> anyhow::Result<Tally> {
    without_syncs(run, Mode::WalSyncIgnored).await
}

/// Does the same for the folder.
pub(super) async fn without_folder_syncs(run: Run) -> anyhow::Result<Tally> {
    without_syncs(run, Mode::FolderSyncIgnored).await
}

async fn without_syncs(run: Run, ignored: Mode) -> anyhow::Result<Tally> {
    let mut rig = Rig::<SqliteFile>::new(&run).await?;
    rig.expects_violations = true;
    let calls = live(&mut rig, LIVES - 1, ignored, &[ignored]).await?;
    crash(&mut rig, &Image::default(), &calls, &mut Images::default()).await?;
    rig.start_nodes(1).await?;
    let load = rig.load();
    rig.finish(load).await
}

/// Runs a node under load on a disk that is in a mode of `at_times` now and then, until the node ends.
/// Returns what it did with its files.
async fn live(
    rig: &mut Rig<SqliteFile>,
    life: usize,
    mostly: Mode,
    at_times: &[Mode],
) -> anyhow::Result<Vec<Call>> {
    let shim = rig.run.tools.disk_shim().await?;
    let disk = Disk::new(shim, rig.folder.path(), &format!("life-{life}"))?;
    disk.set(mostly)?;
    // The node must be able to end soon.
    rig.mix = brief;
    let mut setup = rig.setup();
    setup.variables.extend(disk.variables(rig.database.path()));
    // At first the log is not copied into the file, so that it is long when it is cut. Later, that
    // happens all the time.
    let pages = if life == 0 { "1000000" } else { "16" };
    let pages = ("FAULTS_CHECKPOINT_PAGES", pages.to_owned());
    setup.variables.push(pages);
    rig.start(setup)?;
    rig.ready().await?;
    let load = rig.load();
    let end = Instant::now() + Duration::from_secs_f64(rig.run.seconds * 0.4);
    loop {
        let pause = rig.random.random_range(30..150);
        sleep(Duration::from_millis(pause)).await;
        if Instant::now() >= end {
            break;
        }
        let mode = at_times[rig.random.random_range(0..at_times.len())];
        let reader = if mode == Mode::DatabaseSyncFails {
            Some(hold_log(rig).await?)
        } else {
            None
        };
        disk.set(mode)?;
        drop(reader);
        let pause = rig.random.random_range(1..40);
        sleep(Duration::from_millis(pause)).await;
        if mode == Mode::SyncFails && rig.random.random_ratio(1, KILLED_EVERY) {
            rig.nodes[0].signal(Signal::KILL);
        }
        disk.set(mostly)?;
    }
    let mut node = rig.nodes.remove(0);
    // An orderly end has moments of its own: those when the file is closed.
    let signal = if life == 1 {
        Signal::TERM
    } else {
        Signal::KILL
    };
    node.end(signal).await?;
    load.finish().await?;
    disk.calls()
}

/// Begins to read, so that the log is copied only in part and without a sync of the database file, and
/// waits until that is likely. The rest is copied when the reader ends.
async fn hold_log(rig: &mut Rig<SqliteFile>) -> anyhow::Result<SqliteConnection> {
    let mut reader = rig.database.connect().await?;
    query("BEGIN").execute(&mut reader).await?;
    query("SELECT count(*) FROM events")
        .execute(&mut reader)
        .await?;
    let pause = rig.random.random_range(20..80);
    sleep(Duration::from_millis(pause)).await;
    Ok(reader)
}

/// Counts of what was checked.
#[derive(Debug, Default)]
struct Images {
    checked: u32,
    /// Those with something that was not synced.
    open: u32,
    cuts: usize,
}

impl fmt::Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            checked,
            open,
            cuts,
        } = self;
        write!(
            f,
            "{checked} images checked, {open} of them of moments with unsynced writes; {cuts} cuts of the log"
        )
    }
}

/// Checks images of random moments of the record, and of its end, and returns the last one.
async fn crash(
    rig: &mut Rig<SqliteFile>,
    base: &Image,
    calls: &[Call],
    images: &mut Images,
) -> anyhow::Result<Image> {
    let mut random = StdRng::seed_from_u64(rig.random.random());
    let mut moments: Vec<usize> = (0..rig.count(IMAGES_PER_SECOND))
        .map(|_| random.random_range(0..=calls.len()))
        .collect();
    moments.push(calls.len());
    moments.sort_unstable();
    let mut replay = Replay::from(base);
    let mut done = 0;
    let mut last = Image::default();
    for moment in moments {
        while done < moment {
            replay.advance(&calls[done], &mut random);
            done += 1;
        }
        last = replay.image(&mut random);
        if rig.violations.len() >= ENOUGH {
            continue;
        }
        // What was told before the next call began.
        let before_us = calls.get(moment).map_or(i64::MAX, |next| next.at_us);
        let found = rig
            .violations_of(&last, Promised::Before(before_us))
            .await?;
        rig.found(&format!("power lost at call {moment}"), found);
        images.checked += 1;
        images.open += u32::from(replay.is_open());
    }
    Ok(last)
}

/// Cuts the write-ahead log at random places: what is left must be the state of one moment.
async fn cut(rig: &mut Rig<SqliteFile>, images: &mut Images) -> anyhow::Result<()> {
    let image = Image::read(rig.database.path())?;
    images.cuts = rig.count(CUTS_PER_SECOND);
    for _ in 0..images.cuts {
        let length = rig.random.random_range(0..=image.wal_length());
        let found = rig
            .violations_of(&image.with_wal_cut(length), Promised::Nothing)
            .await?;
        rig.found(&format!("log cut at byte {length}"), found);
    }
    Ok(())
}
