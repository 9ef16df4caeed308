//! The corpora: the inputs that every test run replays.
//!
//! `corpus/<target>/` has a file for each input that somebody wrote down, named after what it is.
//! `corpus/<target>.txt` has a line for each input that libFuzzer found: its bytes, escaped as in a
//! Rust byte string. Lines are sorted, so that a change shows which inputs it adds.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One input, and where it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The file of the input, or its line in the packed file.
    pub place: String,
    /// The bytes of the input.
    pub bytes: Vec<u8>,
}

/// Returns all inputs of a target.
///
/// # Errors
///
/// Returns an error when the corpus cannot be read, or a line of it is not an escaped byte string.
pub fn inputs(target: &str) -> io::Result<Vec<Input>> {
    let mut inputs = named(target)?;
    for (index, line) in packed_lines(target)?.iter().enumerate() {
        let place = format!("corpus/{target}.txt:{}", index + 1);
        let bytes = unescape(line).ok_or_else(|| {
            io::Error::other(format!("{place} is not an escaped byte string: {line}"))
        })?;
        inputs.push(Input { place, bytes });
    }
    Ok(inputs)
}

/// Writes all inputs of a target into a folder, a file each.
///
/// # Errors
///
/// Returns an error when the corpus cannot be read or the folder cannot be written.
pub fn unpack(target: &str, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, input) in inputs(target)?.iter().enumerate() {
        fs::write(folder.join(format!("{number:05}")), &input.bytes)?;
    }
    Ok(())
}

/// Adds inputs to the packed file of a target.
///
/// # Errors
///
/// Returns an error when a file cannot be read, or the packed file cannot be written.
pub fn add(target: &str, files: &[PathBuf]) -> io::Result<()> {
    let mut lines: BTreeSet<_> = packed_lines(target)?.into_iter().collect();
    for file in files {
        lines.insert(fs::read(file)?.escape_ascii().to_string());
    }
    let mut text = String::new();
    for line in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
    fs::write(packed_file(target), text)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn packed_file(target: &str) -> PathBuf {
    folder().join(format!("{target}.txt"))
}

fn named(target: &str) -> io::Result<Vec<Input>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder().join(target))? {
        files.push(entry?.path());
    }
    files.sort();
    let read = |file: PathBuf| {
        Ok(Input {
            bytes: fs::read(&file)?,
            place: file.display().to_string(),
        })
    };
    files.into_iter().map(read).collect()
}

/// Returns the lines of the packed file, or none if there is no file.
fn packed_lines(target: &str) -> io::Result<Vec<String>> {
    match fs::read_to_string(packed_file(target)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reverses [`<[u8]>::escape_ascii`].
fn unescape(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
                }
                quoted @ (b'\'' | b'"' | b'\\') => quoted,
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_unescaped_as_it_was_escaped() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        let line = bytes.escape_ascii().to_string();
        assert!(!line.contains(['\n', '\r']), "{line}");
        assert_eq!(unescape(&line), Some(bytes));
        assert_eq!(unescape(""), Some(Vec::new()));
    }

    #[test]
    fn broken_lines_are_rejected() {
        for line in ["\\", "\\q", "\\x1", "\\xzz"] {
            assert_eq!(unescape(line), None, "{line}");
        }
    }
}
