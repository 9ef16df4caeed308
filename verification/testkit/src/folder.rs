//! Temporary folders.

use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;

/// A folder of its own, removed with this value.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

/// The user that PostgreSQL runs as where this process is root: PostgreSQL refuses to run as root.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// The user's id.
    pub uid: u32,
    /// The id of the user's group.
    pub gid: u32,
}

impl Folder {
    /// Makes an empty folder in `parent`, which belongs to `owner`; `purpose` is part of its name.
    ///
    /// # Errors
    ///
    /// When it cannot be made or given to `owner`.
    pub fn create(parent: &Path, purpose: &str, owner: Option<Owner>) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{purpose}-{}-{number}", std::process::id()));
        std::fs::create_dir(&path)?;
        if let Some(owner) = owner {
            owner.take(&path)?;
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it for somebody to look into, and returns where it is.
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // A process that has just been killed may still write for a moment.
            for _ in 0..10 {
                if std::fs::remove_dir_all(&self.path).is_ok() || !self.path.exists() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Owner {
    /// Makes it the owner of a file or a folder.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn take(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    /// The user `postgres`, or `nobody`; none where this process is not root.
    ///
    /// # Errors
    ///
    /// When there is neither of them.
    pub fn needed() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd")?;
        let find = |name: &str| {
            let line = users
                .lines()
                .find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Self {
                uid: fields.next()?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
            })
        };
        let owner = find("postgres").or_else(|| find("nobody"));
        Ok(Some(owner.context("there is no user postgres or nobody")?))
    }
}

/// Where folders are made unless the caller wants another place: root's own TMPDIR may be closed to
/// the user that PostgreSQL runs as.
pub fn default_parent() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        PathBuf::from("/tmp")
    } else {
        std::env::temp_dir()
    }
}

/// A parent of folders in memory, where the system has a gigabyte of room there; else
/// [`default_parent`]. It suits tests that do not crash the operating system.
pub fn parent_in_memory() -> PathBuf {
    const ENOUGH: u64 = 1 << 30;
    let memory = PathBuf::from("/dev/shm");
    match rustix::fs::statvfs(&memory) {
        Ok(disk) if disk.f_bavail * disk.f_frsize >= ENOUGH => memory,
        _ => default_parent(),
    }
}
