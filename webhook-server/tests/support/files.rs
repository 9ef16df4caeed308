//! Files of one test, gone with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of them.
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("files-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    /// Writes one, and says where it is.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let file = self.path(name);
        std::fs::write(&file, content).unwrap();
        file
    }

    /// Where a file of this name would be.
    pub(crate) fn path(&self, name: &str) -> String {
        let file = self.folder.join(name);
        file.into_os_string().into_string().unwrap()
    }

    /// The names of all files, with their contents. Of those that processes share, and of locks, which have the id of a
    /// process, only the names.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(&self.folder).unwrap();
        let files = files.map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            let content = match name.ends_with("-shm") || name.ends_with("-lock") {
                true => Vec::new(),
                false => std::fs::read(file.path()).unwrap(),
            };
            (name, content)
        });
        files.collect()
    }

    /// Makes a named pipe, and says where it is.
    pub(crate) fn pipe(&self, name: &str) -> String {
        let file = self.path(name);
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &file,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        file
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
