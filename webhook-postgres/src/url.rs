//! Reads database URLs as people have them in their `.env`.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;

use crate::error::PgError;
use crate::options::{Durability, PgOptions, Pooler};

/// The port on which Supabase's pooler shares connections by transaction.
const SUPABASE_TRANSACTION_PORT: u16 = 6543;

/// What sqlx reads by itself, in libpq's meaning.
const LIBPQ: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
];

pub(crate) fn read(url: &str) -> Result<PgOptions, PgError> {
    let (scheme, rest) = url
        .split_once("://")
        // Else it may be a password that has these characters.
        .filter(|(scheme, _)| is_scheme(scheme))
        .ok_or_else(|| wrong("it should begin with `postgresql://`"))?;
    let (dialect, driver) = match scheme.split_once('+') {
        Some((dialect, driver)) => (dialect, Some(driver)),
        None => (scheme, None),
    };
    if !matches!(dialect, "postgresql" | "postgres") {
        return Err(wrong(format!(
            "its scheme is `{dialect}`, it should be `postgresql`"
        )));
    }
    if !matches!(
        driver,
        None | Some("psycopg" | "psycopg2" | "psycopg2cffi" | "asyncpg" | "pg8000")
    ) {
        return Err(wrong(format!(
            "its driver `{}` is unknown",
            driver.unwrap_or_default()
        )));
    }
    let (credentials, rest) = split_credentials(rest)?;
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    if address.contains('#') || query.contains('#') {
        return Err(wrong("a `#` in it must be written as `%23`"));
    }
    if address.contains('@') {
        return Err(unclear());
    }
    if url.contains('\0') || url.contains("%00") {
        return Err(wrong("it must not hold a NUL"));
    }
    let path = address.split_once('/').map_or("", |(_, path)| path);
    if decode(path)?.split('/').any(|it| matches!(it, "." | "..")) {
        // They would be resolved, as in a file's path, and the database would be another one.
        return Err(wrong("its database must not be named `.` or `..`"));
    }
    // Else these may be parts of a password.
    let names_are_clear = !query.contains('@');

    let mut kept = Vec::new();
    let mut pooler = None;
    let mut acquire_timeout = None;
    let mut durability = Durability::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, raw) = pair.split_once('=').unwrap_or((pair, ""));
        if name.contains('@') {
            return Err(unclear());
        }
        let name = decode(name)?;
        let value = decode(raw)?;
        match name.as_str() {
            "pooler" => {
                pooler = Some(match value.as_str() {
                    "transaction" => Pooler::Transaction,
                    "none" => Pooler::None,
                    "detect" => Pooler::Detect,
                    _ => {
                        return Err(wrong(
                            "`pooler` should be `transaction`, `none` or `detect`",
                        ));
                    }
                });
            }
            "pgbouncer" => match value.as_str() {
                "true" => pooler = pooler.or(Some(Pooler::Transaction)),
                "false" => {}
                _ => return Err(wrong("`pgbouncer` should be `true` or `false`")),
            },
            "durability" => {
                durability = match value.as_str() {
                    "synchronous" => Durability::Synchronous,
                    "asynchronous" => Durability::Asynchronous,
                    _ => {
                        return Err(wrong(
                            "`durability` should be `synchronous` or `asynchronous`",
                        ));
                    }
                };
            }
            "connect_timeout" => {
                let seconds: u32 = value
                    .parse()
                    .map_err(|_| wrong("`connect_timeout` should be a number of seconds"))?;
                // Zero means for ever to libpq; here everything has a limit.
                acquire_timeout = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
            }
            "ssl" => kept.push(format!("sslmode={}", ssl_mode(&value))),
            name if LIBPQ.contains(&name) || name.starts_with("options[") => {
                kept.push(pair.to_owned());
            }
            name if name.starts_with("ssl") => {
                return Err(wrong(if names_are_clear {
                    format!("its parameter `{name}` is unknown")
                } else {
                    "a parameter that begins with `ssl` is unknown".to_owned()
                }));
            }
            name => tracing::warn!(
                parameter = names_are_clear.then_some(name),
                "unknown database URL parameter ignored"
            ),
        }
    }
    let mut clean = format!("postgresql://{credentials}{address}");
    if !kept.is_empty() {
        clean.push('?');
        clean.push_str(&kept.join("&"));
    }
    let connection: PgConnectOptions = clean.parse().map_err(|error: sqlx::Error| {
        // Those errors name a value at most of a parameter such as `sslmode`, or a part of the
        // URL's form; never the credentials.
        wrong(match error {
            sqlx::Error::Configuration(source) => source.to_string(),
            other => other.to_string(),
        })
    })?;
    let by_port =
        (connection.get_port() == SUPABASE_TRANSACTION_PORT).then_some(Pooler::Transaction);
    let mut options = PgOptions::new(connection);
    options.pooler = pooler.or(by_port).unwrap_or_default();
    options.durability = durability;
    if let Some(timeout) = acquire_timeout {
        options.acquire_timeout = timeout;
    }
    Ok(options)
}

/// Letters, digits and what may stand between them (RFC 3986, section 3.1; SQLAlchemy has `_` too).
fn is_scheme(text: &str) -> bool {
    let may_hold = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    text.bytes().all(may_hold)
}

/// Splits off the user and the password, with their `@`, and makes them fit for a URL: passwords
/// stand in `.env` files as they are, and SQLAlchemy takes them so.
fn split_credentials(rest: &str) -> Result<(String, &str), PgError> {
    let authority = &rest[..authority_end(rest)];
    let end = match (authority.rfind('@'), rest.find('@')) {
        (Some(at), _) => at,
        (None, Some(at)) if authority.contains(':') && !authority.starts_with('[') => {
            if is_host_and_port(authority) && is_in_value(&rest[..at]) {
                return Err(unclear());
            }
            // The password has one of the characters that end an authority.
            let further = &rest[at..];
            at + further[..authority_end(further)].rfind('@').unwrap_or(0)
        }
        _ => return Ok((String::new(), rest)),
    };
    let (credentials, rest) = rest.split_at(end + 1);
    let credentials = credentials
        .replace('/', "%2F")
        .replace('?', "%3F")
        .replace('#', "%23");
    Ok((credentials, rest))
}

fn authority_end(text: &str) -> usize {
    text.find(['/', '?', '#']).unwrap_or(text.len())
}

fn is_host_and_port(authority: &str) -> bool {
    let port = authority.split_once(':').map_or("", |(_, port)| port);
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether what follows `text` may be a parameter's value.
fn is_in_value(text: &str) -> bool {
    text.split_once('?')
        .is_some_and(|(_, query)| query.contains('='))
}

/// asyncpg's `ssl`, which also takes what Python's `bool` prints.
fn ssl_mode(value: &str) -> &str {
    match value {
        "true" | "True" | "1" => "require",
        "false" | "False" | "0" => "disable",
        mode => mode,
    }
}

fn decode(part: &str) -> Result<String, PgError> {
    percent_decode_str(part)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| wrong("a part of it is not UTF-8"))
}

/// What may be a password and a host, or neither, is not guessed at: a wrong guess would connect to
/// another host, and show a part of the password as its name.
fn unclear() -> PgError {
    wrong(
        "which `@` ends its credentials is not clear: any other must be written as `%40`, and a `/` \
         or `?` in its password as `%2F` or `%3F`",
    )
}

fn wrong(detail: impl Into<String>) -> PgError {
    PgError::Url {
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgSslMode;

    use super::*;

    fn refused(url: &str) -> String {
        read(url).unwrap_err().to_string()
    }

    #[test]
    fn urls_of_sqlalchemy_are_read() {
        for scheme in [
            "postgresql",
            "postgres",
            "postgresql+psycopg2",
            "postgresql+psycopg",
            "postgresql+asyncpg",
        ] {
            let options = read(&format!("{scheme}://app:s%40cret@db:5433/inbox")).unwrap();
            assert_eq!(options.connection.get_host(), "db");
            assert_eq!(options.connection.get_port(), 5433);
            assert_eq!(options.connection.get_username(), "app");
            assert_eq!(options.connection.get_database(), Some("inbox"));
            assert_eq!(options.pooler, Pooler::Detect);
        }
    }

    #[test]
    fn asyncpg_says_ssl() {
        for (value, mode) in [
            ("require", PgSslMode::Require),
            ("verify-full", PgSslMode::VerifyFull),
            ("true", PgSslMode::Require),
            ("false", PgSslMode::Disable),
        ] {
            let options = read(&format!("postgresql+asyncpg://a@b/c?ssl={value}")).unwrap();
            assert_eq!(
                format!("{:?}", options.connection.get_ssl_mode()),
                format!("{mode:?}")
            );
        }
    }

    #[test]
    fn the_pooler_is_named_or_known_by_its_port() {
        let pooler = |url: &str| read(url).unwrap().pooler;
        assert_eq!(
            pooler("postgres://a@b/c?pooler=transaction"),
            Pooler::Transaction
        );
        assert_eq!(
            pooler("postgres://a@b/c?pgbouncer=true"),
            Pooler::Transaction
        );
        assert_eq!(pooler("postgres://a@b:6543/c"), Pooler::Transaction);
        assert_eq!(pooler("postgres://a@b:6543/c?pooler=none"), Pooler::None);
        assert_eq!(pooler("postgres://a@b/c?pgbouncer=false"), Pooler::Detect);
        assert!(refused("postgres://a@b/c?pooler=session").contains("`pooler` should be"));
    }

    #[test]
    fn unknown_parameters_are_ignored_unless_they_mean_security() {
        assert!(read("postgres://a@b/c?schema=public&channel_binding=require").is_ok());
        assert!(refused("postgres://a@b/c?sslmod=require").contains("`sslmod` is unknown"));
        assert!(refused("postgres://a@b/c?sslmode=requir").contains("requir"));
    }

    #[test]
    fn no_error_names_the_password() {
        for url in [
            "mysql://app:hunter2@db/inbox",
            "postgresql+odbc://app:hunter2@db/inbox",
            "postgresql://app:hunter2@db:port/inbox",
            "postgresql://app:hunter2@db/inbox#",
            "postgresql://app:hunter2@db/inbox?sslmode=off",
            "app:hunter2@db/inbox",
            "app:hunter2://@db/inbox",
            "postgresql+app:hunter2://@db/inbox",
            "postgresql://app:p@ss/hunter2@db/inbox",
            "postgresql://app:p@hunter2/ss@db/inbox",
            "postgresql://app:p@hunter2?ss@db/inbox",
            "postgresql://app:p@ss?sslhunter2=x@db/inbox",
        ] {
            let message = format!("{:?}", read(url).unwrap_err());
            assert!(!message.contains("hunter2"), "{message}");
        }
        let options = read("postgresql://app:hunter2@db/inbox").unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn passwords_are_taken_as_they_are() {
        for password in [
            "s?cret", "s/cret", "s#cret", "s@cret", "s%3Fcret", "s:cret", "s/c@ret", "1/2?cret",
        ] {
            let url = format!("postgresql://app:{password}@db:5433/inbox?pooler=none");
            let options = read(&url).unwrap();
            assert_eq!(options.connection.get_host(), "db", "{password}");
            assert_eq!(options.connection.get_port(), 5433, "{password}");
            assert_eq!(options.connection.get_username(), "app", "{password}");
            assert_eq!(options.pooler, Pooler::None, "{password}");
        }
        let options = read("postgresql://db/inbox?application_name=a@b").unwrap();
        assert_eq!(options.connection.get_host(), "db");
        assert_eq!(options.connection.get_application_name(), Some("a@b"));
    }

    #[test]
    fn what_follows_a_host_is_no_password() {
        for address in ["[::1]", "[::1]:5432"] {
            let url = format!("postgresql://{address}/inbox?user=a@b");
            let options = read(&url).unwrap();
            assert_eq!(options.connection.get_host(), "[::1]", "{url}");
            assert_eq!(options.connection.get_username(), "a@b", "{url}");
        }
        let options = read("postgresql:///inbox?host=/run/a:b&user=a@b").unwrap();
        assert_eq!(options.connection.get_username(), "a@b");
        for unclear in [
            "postgresql://db:5432/inbox?user=a@b",
            "postgresql://db/in@box",
            "postgresql://db/inbox?us@er=a",
        ] {
            assert!(refused(unclear).contains("`%40`"), "{unclear}");
        }
        let options = read("postgresql://db:5432/inbox?user=a%40b").unwrap();
        assert_eq!(options.connection.get_username(), "a@b");
        assert_eq!(options.connection.get_host(), "db");
    }

    #[test]
    fn a_database_is_no_path() {
        for name in [".", "..", "%2E%2e", "a/../b"] {
            let message = refused(&format!("postgresql://app@db/{name}"));
            assert!(message.contains("its database"), "{message}");
        }
        let options = read("postgresql://app@db/%2Fa.b").unwrap();
        assert_eq!(options.connection.get_database(), Some("/a.b"));
    }

    #[test]
    fn no_part_holds_a_nul() {
        for url in ["postgresql://a%00b@db/c", "postgresql://a@db/c?dbname=x\0"] {
            assert!(refused(url).contains("NUL"), "{url:?}");
        }
    }

    #[test]
    fn the_time_to_connect_is_bounded() {
        let timeout = |url: &str| read(url).unwrap().acquire_timeout;
        assert_eq!(
            timeout("postgres://a@b/c?connect_timeout=3"),
            Duration::from_secs(3)
        );
        assert_eq!(
            timeout("postgres://a@b/c?connect_timeout=0"),
            Duration::from_secs(5)
        );
    }
}
