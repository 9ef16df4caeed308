//! The processor time and memory of processes, read from /proc, which show the bottleneck.
//!
//! Systems without /proc (all but Linux) show nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

/// How many cores a group of processes kept busy on average.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Share {
    pub(crate) who: &'static str,
    pub(crate) cores: f64,
}

/// The processes whose processor time is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) servers: Vec<u32>,
    pub(crate) postmaster: Option<u32>,
    pub(crate) pooler: Option<u32>,
}

/// The processor time used up to a moment.
#[derive(Debug)]
pub(crate) struct Usage {
    taken: Instant,
    seconds: BTreeMap<&'static str, f64>,
}

impl Watched {
    pub(crate) fn usage(&self) -> Usage {
        let mut seconds = BTreeMap::new();
        let servers: Option<f64> = self.servers.iter().map(|&pid| own_seconds(pid)).sum();
        let all = [
            ("server", servers.filter(|_| !self.servers.is_empty())),
            ("postgres", self.postmaster.and_then(family_seconds)),
            ("pooler", self.pooler.and_then(own_seconds)),
            ("generator", own_seconds(std::process::id())),
            ("machine", machine_seconds()),
        ];
        for (who, used) in all {
            if let Some(used) = used {
                seconds.insert(who, used);
            }
        }
        Usage {
            taken: Instant::now(),
            seconds,
        }
    }
}

impl Usage {
    /// Returns how much each group used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Vec<Share> {
        let elapsed = (self.taken - earlier.taken).as_secs_f64();
        self.seconds
            .iter()
            .filter_map(|(who, now)| {
                let before = earlier.seconds.get(who)?;
                Some(Share {
                    who,
                    cores: (now - before).max(0.0) / elapsed,
                })
            })
            .collect()
    }
}

/// Returns the resident memory of a process.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The folder of this program, which the server is built into, too.
pub(crate) fn build_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("a program is in a folder")?;
    Ok(folder.to_owned())
}

/// Returns how many bytes a process has had written to disks.
pub(crate) fn written_bytes(pid: u32) -> Option<i64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

/// Returns the parent of a process.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// Returns the name of a process.
pub(crate) fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Returns the fields of /proc/PID/stat from the state on (field 3 in proc(5)).
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // A name may contain any character, even closing parentheses.
    let fields = &stat[stat.rfind(')')? + 1..];
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// Fields utime and stime, and cutime and cstime of children that ended.
fn ticks(pid: u32) -> Option<(f64, f64)> {
    let stat = stat(pid)?;
    let field = |index: usize| stat.get(index)?.parse::<f64>().ok();
    Some((field(11)? + field(12)?, field(13)? + field(14)?))
}

/// The processor time of this process's children that ended.
pub(crate) fn ended_children_seconds() -> Option<f64> {
    Some(ticks(std::process::id())?.1 / per_second())
}

fn per_second() -> f64 {
    // At most a few hundred.
    rustix::param::clock_ticks_per_second() as f64
}

fn own_seconds(pid: u32) -> Option<f64> {
    Some(ticks(pid)?.0 / per_second())
}

/// The processor time of a process and its children, including those that ended.
fn family_seconds(pid: u32) -> Option<f64> {
    let (own, ended) = ticks(pid)?;
    let children = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let child: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        (parent(child)? == pid).then(|| ticks(child))?
    });
    let living: f64 = children.map(|(own, _)| own).sum();
    Some((own + ended + living) / per_second())
}

/// The processor time of the machine, without idling and waiting for disks.
fn machine_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<f64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guests are part of user.
    let busy: f64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&at| fields.get(at))
        .sum();
    Some(busy / per_second())
}
