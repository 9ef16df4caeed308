//! Database URLs as people have them in their `.env`.

mod log;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgSslMode;
use webhook_postgres::{PgError, PgOptions};

/// What marks a password.
const MARK: &str = "hunter2";

/// Another mark, of the same kinds of characters (letters, of which one is a hexadecimal digit, and
/// a digit): whatever is shown of a URL must not tell the two apart.
const OTHER_MARK: &str = "gvmsdq3";

/// How people's frameworks begin their URLs.
const SCHEMES: [&str; 6] = [
    "postgres",
    "postgresql",
    "postgresql+asyncpg",
    "postgresql+pg8000",
    "postgresql+psycopg",
    "postgresql+psycopg2",
];

/// A database URL is read or refused, every part of it arrives as it was meant, and nothing shows
/// its password.
///
/// The input is text: a URL in one line, or what comes before a password, the password, and what
/// comes after it, in a line each, and perhaps a user, a database and an application's name.
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

/// Reads `url`; says what came of it, and what was logged meanwhile.
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

/// `password`, with the mark in it.
fn marked(password: &str) -> String {
    if password.contains(MARK) {
        password.to_owned()
    } else {
        format!("{password}{MARK}")
    }
}

/// Whatever stands around a password, and whether or not that can be read, nothing shows it.
fn check_secrecy(before: &str, password: &str, after: &str) {
    let user = before.split_once("://").map_or(before, |(_, user)| user);
    // Else what follows the colon is no password.
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

/// Whether a password as it is could as well be one that ends at its `@`, and then a host and
/// parameters with another `@` in a value: such a one must be written with `%40`.
fn is_misread(password: &str) -> bool {
    let rest = password.split_once('@').map_or("", |(_, rest)| rest);
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    query.contains('=')
}

/// Whether a password as it is leaves open where it ends.
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

/// All that can be seen of `url`: what it is read as, or why it is not, and what is logged.
fn shown(url: &str) -> String {
    let (read, log) = read(url);
    check(read.as_ref());
    match read {
        Ok(options) => format!("{options:?} {log}"),
        Err(error) => format!("{error} {error:?} {log}"),
    }
}

/// A password is read as it is, as far as a URL may hold it so, and in any case when encoded.
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

/// The password that is read from a URL with `password` in it; `None` where it is refused.
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

/// Every part of a URL is kept, whatever its driver is called; what cannot be kept is refused.
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
        // An empty name is the user's.
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
