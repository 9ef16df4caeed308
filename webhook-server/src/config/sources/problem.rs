//! What is wrong with `webhook.toml`, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::super::files::FileError;

/// Why `webhook.toml` cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourcesError {
    /// The file cannot be read.
    File(FileError),
    /// The file, or a secret that it names, is wrong.
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, in the order of the file; at least one.
        problems: Vec<Problem>,
    },
}

impl SourcesError {
    /// A line for each thing that is wrong, which begins with its place: `webhook.toml:3:1: …`.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::File(error) => vec![webhook_core::with_causes(error)],
            Self::Invalid { path, problems } => problems
                .iter()
                .map(|problem| format!("{}:{problem}", path.display()))
                .collect(),
        }
    }
}

/// All lines, separated by semicolons: the log has one line for an error.
impl fmt::Display for SourcesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Invalid { .. } => f.write_str(&self.lines().join("; ")),
        }
    }
}

impl std::error::Error for SourcesError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(error) => error.source(),
            Self::Invalid { .. } => None,
        }
    }
}

/// One thing that is wrong with a file: `LINE:COLUMN: what`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// The key, and what is wrong with it. It quotes no value: any may be a secret by mistake.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Collects what is wrong with a text.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    text: &'a str,
    found: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(super) const fn of(text: &'a str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let (line, column) = position(self.text, span.start);
        self.found.push(Problem {
            line,
            column,
            message: message.into(),
        });
    }

    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.found.len()
    }

    /// Removes those after the first `kept` in lines that have one of the first `kept`: what the parser made of
    /// a line that it could not read says nothing.
    pub(super) fn prefer_first(&mut self, kept: usize) {
        let lines: Vec<usize> = self.found.iter().take(kept).map(|it| it.line).collect();
        let mut index = 0;
        self.found.retain(|problem| {
            index += 1;
            index <= kept || !lines.contains(&problem.line)
        });
    }

    /// `Ok` if there are none.
    pub(super) fn into_result(self, path: &Path) -> Result<(), SourcesError> {
        let mut problems = self.found;
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort();
        problems.dedup();
        Err(SourcesError::Invalid {
            path: path.to_owned(),
            problems,
        })
    }
}

/// The line and the column of the byte `at` in `text`, from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (line, before[start..].chars().count() + 1)
}

/// `key` for an error, if it is like a name. What is written where a key should be may be a secret.
pub(super) fn shown(key: &str) -> Option<&str> {
    const MAX_CHARS: usize = 32;
    let is_like_name = |byte: u8| byte.is_ascii_lowercase() || b"_-".contains(&byte);
    (!key.is_empty() && key.len() <= MAX_CHARS && key.bytes().all(is_like_name)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_from_one_in_characters() {
        let text = "a\nßß = 1\n";
        for (at, expected) in [(0, (1, 1)), (2, (2, 1)), (6, (2, 3)), (99, (3, 1))] {
            assert_eq!(position(text, at), expected, "{at}");
        }
    }

    #[test]
    fn keys_that_may_be_secrets_are_not_shown() {
        assert_eq!(shown("tolerence"), Some("tolerence"));
        for key in ["", "hunter2", "whsec_ABC", "a b", &"x".repeat(33)] {
            assert_eq!(shown(key), None, "{key}");
        }
    }
}
