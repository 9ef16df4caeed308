//! Reads text files within limits of size and time, even if a path leads to a pipe or a device.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::warn;
use zeroize::Zeroizing;

use super::secret::looks_secret;
use super::text::{self, TextError};

/// The largest file that is read, in bytes. A bundle of all public authorities has a fifth of that.
const MAX_FILE_BYTES: usize = 1 << 20;

/// The name of a file that no variable and no key sets.
pub(super) const THE_FILE: &str = "the file";

/// How long a pipe may take to deliver its content.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before an empty pipe is read again.
const PIPE_PAUSE: Duration = Duration::from_millis(10);

/// Who may have access to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Only its owner, because it holds secrets.
    Secret,
    /// Others may read it but not write it, because it says whom to trust.
    Trust,
}

impl Guard {
    /// The mode bits that a file should not have.
    const fn unwanted(self) -> u32 {
        match self {
            Self::Secret => 0o077,
            Self::Trust => 0o022,
        }
    }
}

/// The content of a text file.
pub(super) struct TextFile {
    pub(super) text: Zeroizing<String>,
    /// A warning, if others have more access to the file than they should.
    pub(super) exposure: Option<String>,
}

/// Reads the text file at `path`, which the variable or key `name` sets, and logs a warning if others have
/// access to it that they should not have. Blocks for up to [`READ_TIMEOUT`] if it is a pipe.
pub(super) fn read(name: &str, path: &Path, guard: Guard) -> Result<Zeroizing<String>, FileError> {
    let file = read_quietly(name, path, guard)?;
    if let Some(exposure) = &file.exposure {
        warn!("{exposure}");
    }
    Ok(file.text)
}

/// As [`read`], but returns the warning instead of logging it.
pub(super) fn read_quietly(name: &str, path: &Path, guard: Guard) -> Result<TextFile, FileError> {
    let wrong = |problem| FileError::new(name, path, problem);
    let io = |source| wrong(FileProblem::Io(source));
    let mut file = open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(wrong(FileProblem::Directory));
    }
    let is_regular = metadata.is_file();
    let mut bytes = Zeroizing::new(Vec::new());
    read_bounded(&mut file, is_pipe(&metadata), &mut bytes).map_err(wrong)?;
    Ok(TextFile {
        text: text::decode(&bytes).map_err(|error| wrong(FileProblem::Text(error)))?,
        exposure: is_regular
            .then(|| exposure(name, path, &metadata, guard))
            .flatten(),
    })
}

/// Opens the file. Does not wait for a writer if it is a named pipe.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let nonblocking = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(nonblocking.bits()).map_err(io::Error::other)?;
    File::options().read(true).custom_flags(flags).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn is_pipe(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_: &std::fs::Metadata) -> bool {
    false
}

/// Reads to the end. A pipe without a writer looks as if it were at its end, and is read again.
fn read_bounded(
    file: &mut File,
    is_pipe: bool,
    bytes: &mut Zeroizing<Vec<u8>>,
) -> Result<(), FileProblem> {
    let deadline = Instant::now() + READ_TIMEOUT;
    let mut buffer = Zeroizing::new([0; 8192]);
    loop {
        match file.read(&mut *buffer) {
            Ok(0) if !is_pipe || !bytes.is_empty() => return Ok(()),
            Ok(length) if length > 0 => {
                append(bytes, &buffer[..length]);
                if bytes.len() > MAX_FILE_BYTES {
                    return Err(FileProblem::TooLong);
                }
                continue;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(FileProblem::Io(error)),
        }
        if Instant::now() >= deadline {
            return Err(FileProblem::TimedOut);
        }
        sleep(PIPE_PAUSE);
    }
}

/// Appends `chunk`. A `Vec` that grows by itself leaves a copy of the secret in the memory that it
/// frees. One that is large enough for every file takes a debug build tens of milliseconds to
/// overwrite in the end.
fn append(bytes: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let length = bytes.len() + chunk.len();
    if length > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * length));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(chunk);
}

#[cfg(unix)]
fn exposure(name: &str, path: &Path, metadata: &std::fs::Metadata, guard: Guard) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;

    let mode = metadata.permissions().mode() & 0o777;
    if mode & guard.unwanted() == 0 {
        return None;
    }
    let (verb, advice) = match guard {
        Guard::Secret => ("use", "u=rw,go="),
        Guard::Trust => ("change", "go-w"),
    };
    let path = path.display();
    let file = match name {
        THE_FILE => format!("the file {path}"),
        _ => format!("the file of {name}, {path}"),
    };
    Some(format!(
        "other users of this machine may {verb} {file} (mode {mode:04o}): run chmod {advice} on it"
    ))
}

#[cfg(not(unix))]
fn exposure(_: &str, _: &Path, _: &std::fs::Metadata, _: Guard) -> Option<String> {
    None
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {name}{}", shown(path))]
pub struct FileError {
    name: String,
    path: PathBuf,
    #[source]
    problem: FileProblem,
}

impl FileError {
    fn new(name: &str, path: &Path, problem: FileProblem) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            problem,
        }
    }

    /// Whether the file does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(&self.problem, FileProblem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum FileProblem {
    #[error(transparent)]
    Io(io::Error),
    #[error("it is a directory; name a file")]
    Directory,
    #[error("it has more than {MAX_FILE_BYTES} bytes")]
    TooLong,
    #[error(
        "it is a pipe or a device, and did not deliver all of its content within {READ_TIMEOUT:?}"
    )]
    TimedOut,
    #[error(transparent)]
    Text(TextError),
}

/// ` PATH`, unless the path may be a secret that was set instead of its file. It is shown if the file
/// exists, or if it has a directory that exists.
pub(super) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let is_path = path.exists() || parent.is_some_and(Path::is_dir);
    if is_path && !text.contains(text::is_unseen) && !looks_secret_path(&text) {
        return format!(" {text}");
    }
    ", which does not name a file in an existing directory".to_owned()
}

/// As [`looks_secret`], but the words "secret" and "password" are fine in a path.
fn looks_secret_path(text: &str) -> bool {
    looks_secret(
        &text
            .to_ascii_lowercase()
            .replace("secret", "")
            .replace("password", ""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_chunks_are_kept_in_order() {
        let mut bytes = Zeroizing::new(Vec::new());
        let mut expected = Vec::new();
        for (number, length) in (0..).zip([1, 0, 8192, 3, 8192, 8192]) {
            let chunk = vec![number; length];
            append(&mut bytes, &chunk);
            expected.extend(chunk);
        }
        assert_eq!(*bytes, expected);
    }
}
