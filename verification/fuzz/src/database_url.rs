//! Fuzzes database URLs, as people have them in their `.env`.

mod log;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgSslMode;
use webhook_postgres::{PgError, PgOptions};

/// The mark that a password contains.
const MARK: &str = "hunter2";

/// Another mark, made of the same kinds of characters: letters, of which one is a hexadecimal
/// digit, and a digit. Output must not differ between a URL with this mark and one with the other.
const OTHER_MARK: &str = "gvmsdq3";

/// The schemes of URLs in common frameworks.
const SCHEMES: [&str; 6] = [
    "postgres",
    "postgresql",
    "postgresql+asyncpg",
    "postgresql+pg8000",
    "postgresql+psycopg",
    "postgresql+psycopg2",
];

/// Checks that a database URL is parsed or refused, that every part of it is kept as it was meant,
/// and that no output shows its password.
///
/// The input is text: either a URL on one line, or the text before a password, the password, and
/// the text after it, on a line each, optionally followed by a user, a database and an application
/// name.
pub fn database_url(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines: Vec<&str> = text.split('\n').collect();
    match lines.as_slice() {
        [url] => check(read(url).0.as_ref()),
        [before, password, after, parts @ ..] => {
            let password = marked(password);
            check_secrecy(before, &password, after);
            check_exactness(&password);
            if let [user, database, application, ..] = parts {
                check_parts(user, database, application);
            }
        }
        _ => {}
    }
}

/// Parses `url`; returns the result and what was logged.
fn read(url: &str) -> (Result<PgOptions, PgError>, String) {
    log::of(|| url.parse())
}

fn check(read: Result<&PgOptions, &PgError>) {
    match read {
        Ok(options) => {
            assert!(!options.acquire_timeout.is_zero());
            assert!(!format!("{options:?}").is_empty());
        }
        Err(PgError::Url { detail }) => assert!(!detail.is_empty()),
        Err(other) => panic!("nothing connects here: {other:?}"),
    }
}

/// Returns `password` with the mark in it.
fn marked(password: &str) -> String {
    if password.contains(MARK) {
        password.to_owned()
    } else {
        format!("{password}{MARK}")
    }
}

/// Checks that a password is never shown, whatever surrounds it, even in a URL that is refused.
fn check_secrecy(before: &str, password: &str, after: &str) {
    let user = before.split_once("://").map_or(before, |(_, user)| user);
    // Otherwise the text after the colon is not a password.
    let is_behind_scheme = before.contains("://") || !password.starts_with("//");
    let is_password = is_behind_scheme && !user.contains(['/', '?', '#', '@', ':']);
    if is_password && !is_misread(password) {
        check_hidden(password, |it| format!("{before}:{it}@{after}"));
    }
    check_hidden(password, |it| {
        format!("postgresql://db/inbox?password={}&{after}", encoded(it))
    });
    if !before.contains(['?', '#']) {
        check_hidden(password, |it| format!("{before}?password={}", encoded(it)));
    }
}

/// Returns whether an unescaped password can be read as a shorter one that ends at its `@`,
/// followed by a host and by parameters with another `@` in a value. Such a password must be
/// written with `%40`.
fn is_misread(password: &str) -> bool {
    let rest = password.split_once('@').map_or("", |(_, rest)| rest);
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    query.contains('=')
}

/// Returns whether it is ambiguous where an unescaped password ends.
fn is_unclear(password: &str) -> bool {
    let has_host = |(_, rest): (&str, &str)| rest.contains(['/', '?', '#']);
    let digits = password.trim_start_matches(|it: char| it.is_ascii_digit());
    let is_port = digits.len() < password.len() && digits.starts_with(['/', '?', '#']);
    let query = password.split_once('?').map_or("", |(_, query)| query);
    password.split_once('@').is_some_and(has_host) || is_port && query.contains('=')
}

fn check_hidden(password: &str, url: impl Fn(&str) -> String) {
    let one = shown(&url(password));
    let other = shown(&url(&password.replace(MARK, OTHER_MARK)));
    assert_eq!(one, other, "{}", url(password));
}

/// Returns all output about `url`: the parsed options or the error, and the log.
fn shown(url: &str) -> String {
    let (read, log) = read(url);
    check(read.as_ref());
    match read {
        Ok(options) => format!("{options:?} {log}"),
        Err(error) => format!("{error} {error:?} {log}"),
    }
}

/// Checks that a password is read unchanged: always if it is encoded, and unescaped where a URL
/// allows it.
fn check_exactness(password: &str) {
    let expected = (!password.contains('\0')).then_some(password);
    assert_eq!(password_in(&encoded(password)).as_deref(), expected);
    let is_plain = |it: char| it != '%' && !it.is_control();
    if !password.chars().all(is_plain) || is_misread(password) {
        return;
    }
    match password_in(password) {
        Some(read) => assert_eq!(read, password),
        None => assert!(is_unclear(password), "{password:?} is refused"),
    }
}

/// Returns the password that is read from a URL with `password` in it, or `None` if it is refused.
fn password_in(password: &str) -> Option<String> {
    let url = format!("postgresql+psycopg2://app:{password}@db:5433/inbox?pooler=none");
    let options: PgOptions = url.parse().ok()?;
    assert_eq!(options.connection.get_host(), "db");
    assert_eq!(options.connection.get_port(), 5433);
    assert_eq!(options.connection.get_username(), "app");
    assert_eq!(options.connection.get_database(), Some("inbox"));
    let written = options.connection.to_url_lossy();
    let password = percent_decode_str(written.password().unwrap_or_default());
    Some(password.decode_utf8().expect("a text").into_owned())
}

/// Checks that every part of a URL is kept, whatever its scheme, or the URL is refused.
fn check_parts(user: &str, database: &str, application: &str) {
    let cannot_be = |text: &str| text.contains('\0');
    let is_refused = [user, database, application].into_iter().any(cannot_be);
    for scheme in SCHEMES {
        let url = format!(
            "{scheme}://u{}@db.internal:5433/{}?application_name={}&sslmode=verify-full",
            encoded(user),
            encoded(database),
            encoded(application)
        );
        let read: Result<PgOptions, _> = url.parse();
        assert_eq!(read.is_err(), is_refused, "{url}");
        let Ok(PgOptions { connection, .. }) = read else {
            return;
        };
        assert_eq!(connection.get_username(), format!("u{user}"));
        assert_eq!(connection.get_host(), "db.internal");
        assert_eq!(connection.get_port(), 5433);
        // Without a database name, the user name is used.
        let database = (!database.is_empty()).then_some(database);
        assert_eq!(connection.get_database(), database);
        let application = (!application.is_empty()).then_some(application);
        assert_eq!(connection.get_application_name(), application);
        assert!(matches!(connection.get_ssl_mode(), PgSslMode::VerifyFull));
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
