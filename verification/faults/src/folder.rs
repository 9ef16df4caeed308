//! Folders that go when they are no longer needed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::tools::Owner;

/// A folder of its own, removed with this value.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// An empty folder in `place` that belongs to `owner`.
    pub(crate) fn create(place: &Path, purpose: &str, owner: Option<Owner>) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("faults-{purpose}-{}-{number}", std::process::id());
        let path = place.join(name);
        std::fs::create_dir(&path)?;
        if let Some(owner) = owner {
            owner.take(&path)?;
        }
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it, for somebody to look into.
    pub(crate) fn keep(mut self) -> PathBuf {
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
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}
