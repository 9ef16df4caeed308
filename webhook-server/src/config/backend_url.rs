//! What `DATABASE_URL` names: an SQLite file, PostgreSQL, or memory.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::{Config, DatabaseUrl, Role, text};

/// The SQLite file without `DATABASE_URL`.
const DEFAULT_FILE: &str = "webhook.db";

/// systemd sets it to the directories of `StateDirectory=` in a unit, separated by colons.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// Where events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BackendUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://…`, which is parsed when it is used.
    Postgres(DatabaseUrl),
    /// `memory:`
    Memory,
    /// The partitions of one inbox, in their order: files, or databases in which each partition has a schema.
    Partitions(Vec<Self>),
}

impl BackendUrl {
    /// The SQLite file that is used without a URL: in the first directory of `STATE_DIRECTORY`, or else
    /// in the working directory.
    pub(crate) fn default_file() -> Self {
        let variable = std::env::var_os(STATE_DIRECTORY);
        Self::Sqlite(default_file(variable.as_deref()))
    }
}

fn default_file(state_directory: Option<&OsStr>) -> PathBuf {
    // The paths of systemd are not quoted, and have no colons but those between them.
    let directories = state_directory.map(std::env::split_paths);
    let first = directories.and_then(|mut directories| directories.next());
    first.unwrap_or_default().join(DEFAULT_FILE)
}

impl Config {
    /// What `url` names, or what is used without one.
    ///
    /// # Errors
    ///
    /// When the URL is in none of the forms, or does not suit `PARTITIONS`. No error quotes it.
    pub(crate) fn backend(
        &self,
        url: Option<&DatabaseUrl>,
    ) -> Result<BackendUrl, InvalidDatabaseUrl> {
        let mut urls = match url {
            Some(url) => url.backends()?,
            None => vec![BackendUrl::default_file()],
        };
        let count = self.partitions.get();
        match urls.len() {
            1 if count == 1 => return Ok(urls.remove(0)),
            _ if count == 1 => return Err(InvalidDatabaseUrl::SeveralUrls),
            urls if urls > count => {
                return Err(InvalidDatabaseUrl::FewPartitions {
                    urls,
                    partitions: count,
                });
            }
            _ => {}
        }
        let partitions = urls.iter().cycle().take(count).enumerate();
        let partitions = partitions.map(|(index, url)| match url {
            BackendUrl::Sqlite(path) => Ok(BackendUrl::Sqlite(partition_file(path, index))),
            BackendUrl::Postgres(url) => Ok(BackendUrl::Postgres(url.clone())),
            BackendUrl::Memory | BackendUrl::Partitions(_) => {
                Err(InvalidDatabaseUrl::MemoryPartitions)
            }
        });
        Ok(BackendUrl::Partitions(
            partitions.collect::<Result<_, _>>()?,
        ))
    }
}

/// The file of a partition: `webhook-3.db` for `webhook.db`.
pub(crate) fn partition_file(path: &Path, index: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The file that `PARTITIONS` divides, by that of its first partition.
pub(crate) fn file_of_partitions(first: &Path) -> PathBuf {
    let stem = first.file_stem().unwrap_or_default().as_encoded_bytes();
    let name = first.file_name().unwrap_or_default();
    let (Some(name), Ok(stem)) = (name.to_str(), std::str::from_utf8(stem)) else {
        return first.to_owned();
    };
    let base = stem.strip_suffix("-0").unwrap_or(stem);
    first.with_file_name(format!("{base}{}", &name[stem.len()..]))
}

impl DatabaseUrl {
    /// The backends that the URL names: several only where it is the URLs of several databases of PostgreSQL.
    fn backends(&self) -> Result<Vec<BackendUrl>, InvalidDatabaseUrl> {
        // Otherwise the password of one URL may end up in the name of a file or a database, which errors show.
        if self.is_mixed() {
            return Err(InvalidDatabaseUrl::MixedUrls);
        }
        match self.of_several() {
            Some(urls) => Ok(urls
                .map(|url| BackendUrl::Postgres(url.to_owned().into()))
                .collect()),
            None => Ok(vec![self.backend()?]),
        }
    }

    /// The backend that the URL names.
    ///
    /// # Errors
    ///
    /// When the URL is in none of the forms. The parameters of PostgreSQL are not checked. No error
    /// quotes the URL, which may be a password in the wrong place.
    pub(crate) fn backend(&self) -> Result<BackendUrl, InvalidDatabaseUrl> {
        let url = text::value(self.expose());
        if url == "memory:" {
            Ok(BackendUrl::Memory)
        } else if let Some(path) = url.strip_prefix("sqlite:") {
            sqlite_path(path.strip_prefix("//").unwrap_or(path)).map(BackendUrl::Sqlite)
        } else if url.starts_with("postgres") {
            Ok(BackendUrl::Postgres(self.clone()))
        } else {
            Err(InvalidDatabaseUrl::UnknownForm)
        }
    }
}

/// The path in a URL, decoded as sqlx does it.
fn sqlite_path(encoded: &str) -> Result<PathBuf, InvalidDatabaseUrl> {
    if encoded.contains('?') {
        return Err(InvalidDatabaseUrl::SqliteParameters);
    }
    let path = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| InvalidDatabaseUrl::SqlitePath)?;
    match &*path {
        "" => Err(InvalidDatabaseUrl::NoSqlitePath),
        ":memory:" => Err(InvalidDatabaseUrl::SqliteInMemory),
        path if path.contains('\0') => Err(InvalidDatabaseUrl::SqlitePath),
        path => Ok(PathBuf::from(path)),
    }
}

/// Why `DATABASE_URL` names no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDatabaseUrl {
    /// The URL begins with none of the schemes.
    #[error(
        "expected sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or memory:, and the URL, which \
         is not shown, is none of them"
    )]
    UnknownForm,
    /// The path of the SQLite file is empty.
    #[error("sqlite: must be followed by the path of a file, as in sqlite:webhook.db")]
    NoSqlitePath,
    /// The path of the SQLite file cannot be decoded.
    #[error(
        "the path after sqlite: is not UTF-8 without NUL characters; % in a path must be written as %25"
    )]
    SqlitePath,
    /// The URL of the SQLite file has parameters.
    #[error("sqlite: has no parameters; ? in a path must be written as %3F")]
    SqliteParameters,
    /// SQLite's own name for a database in memory.
    #[error("sqlite::memory: is not supported; write memory: to keep events in memory")]
    SqliteInMemory,
    /// Several URLs, and no partitions.
    #[error(
        "there are several URLs, which is for an inbox that is divided into partitions: set PARTITIONS to their \
         number, at least, or remove all URLs but one"
    )]
    SeveralUrls,
    /// Several URLs of different backends, or several SQLite files.
    #[error(
        "several URLs must all be of PostgreSQL, with spaces between them; SQLite has one URL, and the files of the \
         partitions are beside the one that it names"
    )]
    MixedUrls,
    /// More URLs than partitions.
    #[error(
        "there are {urls} URLs for {partitions} partitions (PARTITIONS), so not every database would have one"
    )]
    FewPartitions {
        /// How many URLs there are.
        urls: usize,
        /// How many partitions there are.
        partitions: usize,
    },
    /// Partitions in memory.
    #[error(
        "memory: cannot be divided into partitions: unset PARTITIONS, or set DATABASE_URL to sqlite:PATH or \
         postgres://…"
    )]
    MemoryPartitions,
}

impl Config {
    /// Refuses to serve in this role from `backend`.
    pub(crate) fn check_role(&self, backend: &BackendUrl) -> Result<(), &'static str> {
        match (self.role, backend) {
            (Role::All, _) | (_, BackendUrl::Postgres(_)) => Ok(()),
            (_, BackendUrl::Partitions(partitions)) => {
                partitions.iter().try_for_each(|it| self.check_role(it))
            }
            (_, BackendUrl::Sqlite(_)) => Err(
                "ROLE (--role) api and worker need PostgreSQL in DATABASE_URL (--database-url): an \
                 SQLite file is used by one server, which receives and processes",
            ),
            (_, BackendUrl::Memory) => Err(
                "ROLE (--role) api and worker need PostgreSQL in DATABASE_URL (--database-url): \
                 events in memory are visible to one process only",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn backend(url: &str) -> Result<BackendUrl, InvalidDatabaseUrl> {
        DatabaseUrl::from(url.to_owned()).backend()
    }

    #[test]
    fn urls_name_backends() {
        for (url, path) in [
            ("sqlite:webhook.db", "webhook.db"),
            ("sqlite://webhook.db", "webhook.db"),
            ("sqlite:./data/webhook.db", "./data/webhook.db"),
            ("sqlite:/var/lib/webhook.db", "/var/lib/webhook.db"),
            ("sqlite:///var/lib/webhook.db", "/var/lib/webhook.db"),
            ("sqlite:a%20b%3F%25.db", "a b?%.db"),
            ("sqlite:a b#c.db", "a b#c.db"),
            (" \"sqlite:webhook.db\"\n", "webhook.db"),
        ] {
            assert_eq!(backend(url), Ok(BackendUrl::Sqlite(path.into())), "{url}");
        }
        assert_eq!(backend("memory:"), Ok(BackendUrl::Memory));
        for url in [
            "postgres://db",
            "postgresql://db",
            "postgresql+asyncpg://db",
        ] {
            assert!(matches!(backend(url), Ok(BackendUrl::Postgres(_))), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_and_not_quoted() {
        for (url, error) in [
            ("", InvalidDatabaseUrl::UnknownForm),
            ("hunter2", InvalidDatabaseUrl::UnknownForm),
            ("hunter2.db", InvalidDatabaseUrl::UnknownForm),
            (
                "mysql://app:hunter2@db/app",
                InvalidDatabaseUrl::UnknownForm,
            ),
            ("host=db password=hunter2", InvalidDatabaseUrl::UnknownForm),
            ("memory", InvalidDatabaseUrl::UnknownForm),
            ("memory:hunter2", InvalidDatabaseUrl::UnknownForm),
            ("sqlite", InvalidDatabaseUrl::UnknownForm),
            ("sqlite:", InvalidDatabaseUrl::NoSqlitePath),
            ("sqlite://", InvalidDatabaseUrl::NoSqlitePath),
            ("sqlite::memory:", InvalidDatabaseUrl::SqliteInMemory),
            ("sqlite://:memory:", InvalidDatabaseUrl::SqliteInMemory),
            (
                "sqlite:hunter2?mode=ro",
                InvalidDatabaseUrl::SqliteParameters,
            ),
            ("sqlite:hunter2%FF", InvalidDatabaseUrl::SqlitePath),
            ("sqlite:hunter2%00", InvalidDatabaseUrl::SqlitePath),
        ] {
            assert_eq!(backend(url), Err(error), "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        let forms = InvalidDatabaseUrl::UnknownForm.to_string();
        for form in ["sqlite:PATH", "postgres://", "memory:"] {
            assert!(forms.contains(form), "{forms}");
        }
    }

    #[test]
    fn partitions_are_files_or_schemas_in_turn() {
        let config = |partitions| Config {
            partitions: NonZeroUsize::new(partitions).unwrap(),
            ..Config::default()
        };
        let named = |partitions, url: &str| {
            config(partitions).backend(Some(&DatabaseUrl::from(url.to_owned())))
        };
        let files = |paths: &[&str]| {
            let files = paths.iter().map(|path| BackendUrl::Sqlite(path.into()));
            Ok(BackendUrl::Partitions(files.collect()))
        };
        assert_eq!(
            named(2, "sqlite:/srv/a.b/hooks.db"),
            files(&["/srv/a.b/hooks-0.db", "/srv/a.b/hooks-1.db"])
        );
        assert_eq!(named(2, "sqlite:hooks"), files(&["hooks-0", "hooks-1"]));
        for path in ["/srv/a.b/hooks.db", "hooks", "a-0.db", "ö.db"] {
            let first = partition_file(Path::new(path), 0);
            assert_eq!(file_of_partitions(&first), Path::new(path));
        }
        let postgres = |url: &str| BackendUrl::Postgres(DatabaseUrl::from(url.to_owned()));
        let (a, b) = ("postgres://a/x", "postgresql://b:5432/x");
        assert_eq!(
            named(3, &format!(" {a}  {b}\n")),
            Ok(BackendUrl::Partitions(vec![
                postgres(a),
                postgres(b),
                postgres(a)
            ]))
        );
        assert_eq!(named(1, a), Ok(postgres(a)));
        // A space in a password has never been a separator.
        let spaced = "postgres://app:hunter 2@a/x";
        assert_eq!(named(1, spaced), Ok(postgres(spaced)));
        for (partitions, url, error) in [
            (2, "memory:", InvalidDatabaseUrl::MemoryPartitions),
            (
                1,
                "postgres://a postgres://b",
                InvalidDatabaseUrl::SeveralUrls,
            ),
            (
                2,
                "postgres://a postgres://b postgres://c",
                InvalidDatabaseUrl::FewPartitions {
                    urls: 3,
                    partitions: 2,
                },
            ),
            (
                2,
                "sqlite:a.db postgres://app:hunter2@b/x",
                InvalidDatabaseUrl::MixedUrls,
            ),
            (2, "sqlite:a.db sqlite:b.db", InvalidDatabaseUrl::MixedUrls),
            (
                2,
                "postgres://a/x mysql://app:hunter2@b/x",
                InvalidDatabaseUrl::MixedUrls,
            ),
            (
                1,
                "postgres://a/x,postgres://b/x",
                InvalidDatabaseUrl::MixedUrls,
            ),
        ] {
            assert_eq!(named(partitions, url), Err(error), "{url}");
        }
    }

    #[test]
    fn default_file_is_in_the_first_state_directory() {
        for (variable, file) in [
            (None, "webhook.db"),
            (Some(""), "webhook.db"),
            (Some("/var/lib/webhook"), "/var/lib/webhook/webhook.db"),
            (Some("/var/lib/a:/var/lib/b"), "/var/lib/a/webhook.db"),
        ] {
            assert_eq!(default_file(variable.map(OsStr::new)), PathBuf::from(file));
        }
    }
}
