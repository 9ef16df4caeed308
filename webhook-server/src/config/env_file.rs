//! The file `.env`.

use std::io;
use std::path::Path;

/// Reads the variables of the file at `path`, where there is one, into the environment; those set
/// already stay as they are. To be called before there are threads.
///
/// # Errors
///
/// When there is a file but it cannot be read. The error does not quote it: it holds secrets.
pub fn read_env_file(path: &Path) -> Result<(), EnvFileError> {
    match dotenvy::from_path(path) {
        Ok(()) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(dotenvy::Error::Io(source)) => Err(EnvFileError::Unreadable(source)),
        Err(_) => {
            let text = std::fs::read_to_string(path).map_err(EnvFileError::Unreadable)?;
            Err(EnvFileError::Malformed {
                line: first_malformed(&text),
            })
        }
    }
}

/// Why `.env` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvFileError {
    /// It is there and cannot be read.
    #[error("cannot read .env")]
    Unreadable(#[source] io::Error),
    /// A line of it is not understood.
    #[error("cannot understand .env, line {line}: values with spaces, $ or # need single quotes")]
    Malformed {
        /// Which line, from 1.
        line: usize,
    },
}

/// The number of the first line that is none by itself.
fn first_malformed(text: &str) -> usize {
    let lines = text.lines();
    let is_good = |line: &str| dotenvy::from_read_iter(line.as_bytes()).all(|it| it.is_ok());
    lines.take_while(|line| is_good(line)).count() + 1
}
