//! Which file systems a database file may be on.

use std::path::Path;

use crate::error::SqliteError;
#[cfg(target_os = "linux")]
use crate::file::folder_of;

/// What a file system is, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileSystem {
    /// Known to be one on which SQLite's write-ahead log does not work: it needs locks and memory that all
    /// processes share (<https://sqlite.org/wal.html>).
    Network(&'static str),
    /// May be local or not.
    Unclear(&'static str),
    Other,
}

/// Refuses a file on a network file system, and warns of one that may be on such.
pub(crate) fn check(path: &Path) -> Result<(), SqliteError> {
    match of(path) {
        FileSystem::Network(file_system) => Err(SqliteError::NetworkFileSystem {
            path: path.to_owned(),
            file_system,
        }),
        FileSystem::Unclear(file_system) => {
            tracing::warn!(
                path = %path.display(),
                file_system,
                "the database file must be on a local disk, and may not be: on a network file \
                 system it can be damaged"
            );
            Ok(())
        }
        FileSystem::Other => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn of(path: &Path) -> FileSystem {
    // The file may not exist yet; its folder does, or opening the file fails.
    let status = rustix::fs::statfs(path).or_else(|_| rustix::fs::statfs(folder_of(path)));
    // Its type depends on the platform; the number has 32 bits.
    status.map_or(FileSystem::Other, |status| {
        with_number(i128::from(status.f_type) & 0xffff_ffff)
    })
}

#[cfg(not(target_os = "linux"))]
fn of(_: &Path) -> FileSystem {
    FileSystem::Other
}

/// The file systems by their numbers, from Linux' `linux/magic.h` and statfs(2).
#[cfg(target_os = "linux")]
fn with_number(number: i128) -> FileSystem {
    match number {
        0x0000_6969 => FileSystem::Network("NFS"),
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => FileSystem::Network("SMB"),
        0x5346_414f | 0x6b41_4653 => FileSystem::Network("AFS"),
        0x0102_1997 => FileSystem::Network("9P"),
        0x00c3_6400 => FileSystem::Unclear("Ceph"),
        0x6573_5546 => FileSystem::Unclear("FUSE"),
        _ => FileSystem::Other,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        for (number, file_system) in [
            (0x6969, FileSystem::Network("NFS")),
            (0xfe53_4d42, FileSystem::Network("SMB")),
            (0x0102_1997, FileSystem::Network("9P")),
            (0x6573_5546, FileSystem::Unclear("FUSE")),
            (0xef53, FileSystem::Other),
        ] {
            assert_eq!(with_number(number), file_system, "{number:#x}");
        }
    }

    #[test]
    fn a_local_file_system_is_accepted() {
        let folder = std::env::temp_dir();
        assert_eq!(of(&folder.join("no-such-file")), of(&folder));
        assert_eq!(of(Path::new("/proc/self/status")), FileSystem::Other);
        assert_eq!(of(Path::new("no-such-file")), of(Path::new(".")));
    }
}
