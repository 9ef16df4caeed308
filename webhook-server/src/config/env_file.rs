//! The file `.env`.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::files::{self, FileError, Guard, THE_FILE};
use super::{DatabaseUrl, text};

/// The name of the file.
pub(crate) const NAME: &str = ".env";

/// The most lines of a value in quotation marks.
const MAX_VALUE_LINES: usize = 200;

/// The most lines that get a warning of their own.
const MAX_WARNINGS: usize = 10;

/// Variables whose values may be secrets. A line below one may be a part of the secret.
const SECRET: [&str; 3] = ["DATABASE_URL", "WEBHOOK_SECRETS", "API_TOKENS"];

/// Variables whose values are secrets, or have a password.
const HELD: [&str; 3] = ["DATABASE_URL", "WEBHOOK_SECRETS", "FORWARD_SECRETS"];

/// What happens to a line that does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It is an error if it may set an option.
    Strict,
    /// It is ignored.
    Lenient,
}

/// The content of the file.
#[derive(Debug, Default)]
pub(crate) struct EnvFile {
    /// The variables. If one is set several times, the last value counts.
    pub(crate) values: BTreeMap<String, Zeroizing<String>>,
    /// Warnings for the log.
    pub(crate) warnings: Vec<String>,
}

/// Reads the file at `path`, if there is one. `known` are the variables of options.
pub(crate) fn read(
    path: &Path,
    known: &[&str],
    strictness: Strictness,
) -> Result<EnvFile, EnvFileError> {
    let file = match files::read_quietly(THE_FILE, path, Guard::Secret) {
        Ok(file) => file,
        Err(error) if error.is_not_found() || strictness == Strictness::Lenient => {
            return Ok(EnvFile::default());
        }
        Err(error) => return Err(EnvFileError::Unreadable(error)),
    };
    let mut read = parse(&file.text, known, strictness)?;
    if read.holds_secret() {
        read.warnings.extend(file.exposure);
    }
    Ok(read)
}

/// What is wrong with the access to the file in the working directory, if it holds a secret.
pub(crate) fn exposure() -> Option<String> {
    let file = files::read_quietly(THE_FILE, Path::new(NAME), Guard::Secret).ok()?;
    let read = parse(&file.text, &HELD, Strictness::Lenient).ok()?;
    file.exposure.filter(|_| read.holds_secret())
}

impl EnvFile {
    /// Whether a variable has a value that is secret in any case: the digests of tokens are not.
    fn holds_secret(&self) -> bool {
        let mut values = HELD
            .iter()
            .filter_map(|name| Some((name, self.values.get(*name)?)));
        values.any(|(name, value)| match *name {
            "DATABASE_URL" => DatabaseUrl::from(value.to_string()).holds_password(),
            _ => !value.is_empty(),
        })
    }

    /// Puts the variables that are no options, such as `PGSSLROOTCERT`, into the environment, unless
    /// they are set there. `known` are the variables of options.
    pub(crate) fn export(&self, known: &[&str]) {
        let is_unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let mut assignments = Zeroizing::new(String::new());
        for (name, value) in &self.values {
            if known.contains(&name.as_str()) || value.is_empty() || !is_unset(name) {
                continue;
            }
            assignments.push_str(name);
            assignments.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\n' => assignments.push_str("\\n"),
                    '\\' | '"' | '$' => assignments.extend(['\\', c]),
                    c => assignments.push(c),
                }
            }
            assignments.push_str("\"\n");
        }
        // The text is well-formed, so this does not fail.
        let _ = dotenvy::from_read_override(assignments.as_bytes());
    }
}

/// Why `.env` cannot be used. No error quotes it, because it may contain secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvFileError {
    /// The file exists and cannot be read.
    #[error("failed to read .env")]
    Unreadable(#[source] FileError),
    /// A line does not parse.
    #[error("invalid line {line} of .env: values with spaces, $ or # need single quotes")]
    Malformed {
        /// The number of the line, from 1.
        line: usize,
    },
    /// A value refers to a variable that is not set, and would lose that part.
    #[error(
        "invalid line {line} of .env: the $ in it refers to a variable that is not set; put the \
         value into single quotes"
    )]
    Unset {
        /// The number of the line, from 1.
        line: usize,
    },
}

/// Parses the text of the file.
pub(crate) fn parse(
    text: &str,
    known: &[&str],
    strictness: Strictness,
) -> Result<EnvFile, EnvFileError> {
    let is_strict = strictness == Strictness::Strict;
    let lines: Vec<&str> = text.lines().collect();
    let mut file = EnvFile::default();
    let mut good = Zeroizing::new(String::with_capacity(text.len() + 1));
    let (mut follows_secret, mut ignored) = (false, 0);
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let number = at + 1;
        let bare = text::trim(line);
        if bare.is_empty() || bare.starts_with('#') {
            at += 1;
            continue;
        }
        let name = name_of(bare);
        let Some(length) = value_length(&lines[at..], known) else {
            let may_set_option = match name {
                Some(name) => mentions(name, known),
                None => follows_secret || mentions(bare, known) || bare.contains("whsec_"),
            };
            if is_strict && may_set_option {
                return Err(EnvFileError::Malformed { line: number });
            }
            ignored += 1;
            if ignored <= MAX_WARNINGS {
                file.warnings.push(format!(
                    "line {number} of .env is ignored because it does not parse: put values with \
                     spaces, $ or # into single quotes"
                ));
            }
            at += 1;
            continue;
        };
        let entry = Zeroizing::new(lines[at..at + length].join("\n"));
        let is_known = name.is_some_and(|name| known.contains(&name));
        if is_strict && is_known && loses_variable(&entry, &good) {
            return Err(EnvFileError::Unset { line: number });
        }
        good.push_str(text::trim(&entry));
        good.push('\n');
        follows_secret = name.is_some_and(|name| SECRET.contains(&name));
        at += length;
    }
    if let Some(more) = ignored.checked_sub(MAX_WARNINGS).filter(|more| *more > 0) {
        file.warnings.push(match more {
            1 => "1 more line of .env is ignored because it does not parse".to_owned(),
            _ => format!("{more} more lines of .env are ignored because they do not parse"),
        });
    }
    for (name, value) in dotenvy::from_read_iter(good.as_bytes()).flatten() {
        file.values.insert(name, Zeroizing::new(value));
    }
    Ok(file)
}

/// The name in `NAME=…` and `export NAME=…`.
fn name_of(line: &str) -> Option<&str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let name = line.split_once('=')?.0.trim();
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    is_name.then_some(name)
}

/// Whether `text` contains the name of a `known` variable, in any case, with hyphens or underscores.
fn mentions(text: &str, known: &[&str]) -> bool {
    let text = text.to_ascii_uppercase().replace('-', "_");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = text.split(|c: char| !is_part(c));
    words.any(|word| known.contains(&word))
}

/// How many of `lines` the assignment at their beginning takes. `None` if there is none.
fn value_length(lines: &[&str], known: &[&str]) -> Option<usize> {
    let is_open = lines[0].contains(['"', '\'']);
    let most = if is_open { MAX_VALUE_LINES } else { 1 };
    let mut entry = Zeroizing::new(String::new());
    for (at, line) in lines.iter().take(most).enumerate() {
        // If a quotation mark is missing, the value must not swallow other options.
        if at > 0 && name_of(text::trim(line)).is_some_and(|name| known.contains(&name)) {
            return None;
        }
        entry.push_str(line);
        if is_assignment(&entry) {
            return Some(at + 1);
        }
        entry.push('\n');
    }
    None
}

fn is_assignment(entry: &str) -> bool {
    let entry = Zeroizing::new(format!("{}\n", text::trim(entry)));
    let mut read = dotenvy::from_read_iter(entry.as_bytes());
    matches!((read.next(), read.next()), (Some(Ok(_)), None))
}

/// Whether a `$` in `entry` names a variable that neither the environment nor the entries `before`
/// set.
fn loses_variable(entry: &str, before: &str) -> bool {
    let (mut is_single, mut is_double) = (false, false);
    let mut chars = entry.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if !is_single => drop(chars.next()),
            '\'' if !is_double => is_single = !is_single,
            '"' if !is_single => is_double = !is_double,
            '$' if !is_single => {
                let rest = entry[at + 1..].trim_start_matches('{');
                let end = rest.find(|c: char| !c.is_alphanumeric());
                let name = &rest[..end.unwrap_or(rest.len())];
                let is_before = || before.lines().any(|line| name_of(line) == Some(name));
                if name.is_empty() || (std::env::var_os(name).is_none() && !is_before()) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = [
        "DATABASE_URL",
        "LOG_LEVEL",
        "WEBHOOK_SECRETS",
        "FORWARD_SECRETS",
        "API_TOKENS",
    ];

    fn read(text: &str) -> Result<EnvFile, EnvFileError> {
        parse(text, &KNOWN, Strictness::Strict)
    }

    #[test]
    fn files_with_keys_or_passwords_hold_a_secret() {
        for (text, holds_secret) in [
            ("", false),
            ("LOG_LEVEL=info\nAPI_TOKENS=ci:read:3ee4", false),
            (
                "DATABASE_URL=postgres://app@db/app\nFORWARD_SECRETS=",
                false,
            ),
            ("DATABASE_URL=postgres://app:hunter2@db/app", true),
            ("WEBHOOK_SECRETS='a\nb'", true),
            ("FORWARD_SECRETS=whsec_a", true),
        ] {
            assert_eq!(read(text).unwrap().holds_secret(), holds_secret, "{text}");
        }
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let file = read("LOG_LEVEL=info\n# x\nexport LOG_LEVEL = 'debug' # y\nOTHER=\n").unwrap();
        assert_eq!(*file.values["LOG_LEVEL"], "debug");
        assert_eq!(*file.values["OTHER"], "");
        assert!(file.warnings.is_empty());
        let file = read("LOG_LEVEL=info\nLOG_LEVEL=\n").unwrap();
        assert_eq!(*file.values["LOG_LEVEL"], "");
    }

    #[test]
    fn values_may_have_several_lines_and_variables() {
        let text = "WEBHOOK_SECRETS=\"one\ntwo\"\nHOST=db\nDATABASE_URL=postgres://$HOST/x \n\
                    API_TOKENS='a$b'";
        let file = read(text).unwrap();
        assert_eq!(*file.values["WEBHOOK_SECRETS"], "one\ntwo");
        assert_eq!(*file.values["DATABASE_URL"], "postgres://db/x");
        assert_eq!(*file.values["API_TOKENS"], "a$b");
    }

    #[test]
    fn a_bad_line_that_may_set_an_option_is_an_error() {
        for (text, expected) in [
            ("LOG_LEVEL=info\nDATABASE_URL=a b\n", 2),
            ("\n\nDATABASE_URL: postgres://db\n", 3),
            ("database-url=x\n", 1),
            ("DATABASE_URL=\"postgres://db\nLOG_LEVEL=\"info\"\n", 1),
            ("WEBHOOK_SECRETS=one\ntwo\n", 2),
            ("A=1\nwhsec_abc\n", 2),
            ("OTHER=a b\nDATABASE_URL=it's\n", 2),
        ] {
            match read(text) {
                Err(EnvFileError::Malformed { line }) => assert_eq!(line, expected, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
            let lenient = parse(text, &KNOWN, Strictness::Lenient).unwrap();
            assert!(!lenient.warnings.is_empty(), "{text}");
        }
        for text in [
            "DATABASE_URL=postgres://u:p$unset_here@db\n",
            "DATABASE_URL=a$\n",
        ] {
            let error = read(text).unwrap_err();
            assert!(matches!(error, EnvFileError::Unset { line: 1 }), "{text}");
        }
    }

    #[test]
    fn a_bad_line_of_another_program_is_a_warning() {
        let file = read("{\"json\": 1}\nCMD=run $DATABASE_URL now\nLOG_LEVEL=info\n").unwrap();
        assert_eq!(*file.values["LOG_LEVEL"], "info");
        let numbers: Vec<_> = file.warnings.iter().map(|it| &it[..6]).collect();
        assert_eq!(numbers, ["line 1", "line 2"]);
        let file = read(&"no line\n".repeat(13)).unwrap();
        assert_eq!(file.warnings.len(), 11);
        assert!(file.warnings[10].starts_with("3 more lines"));
    }
}
