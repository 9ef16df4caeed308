//! Database URLs as people have them in their `.env`.

mod log;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::ConnectOptions as _;
use webhook_postgres::{PgError, PgOptions};

/// What marks a password.
const MARK: &str = "hunter2";

/// Another mark, of the same kinds of characters (letters, of which one is a hexadecimal digit, and
/// a digit): whatever is shown of a URL must not tell the two apart.
const OTHER_MARK: &str = "gvmsdq3";

/// A database URL is read or refused, its password arrives as it was meant, and nothing shows it.
///
/// The input is text: a URL in one line, or what comes before a password, the password, and what
/// comes after it, in a line each.
pub fn database_url(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines: Vec<&str> = text.split('\n').collect();
    match lines.as_slice() {
        [url] => check(read(url).0.as_ref()),
        [before, password, after, ..] => {
            let password = marked(password);
            check_secrecy(before, &password, after);
            check_exactness(&password);
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
    let is_password = !user.contains(['/', '?', '#', '@', ':']) && !is_ambiguous(password);
    if is_password && !is_shown_so_far(before, password, after) {
        check_hidden(password, |it| format!("{before}:{it}@{after}"));
    }
    // An `@` there, and a colon somewhere before it, make credentials of all that is before.
    if !after.contains('@') {
        check_hidden(password, |it| {
            format!("postgresql://db/inbox?password={}&{after}", encoded(it))
        });
    }
    if !before.contains(['?', '#']) {
        check_hidden(password, |it| format!("{before}?password={}", encoded(it)));
    }
}

/// Whether a password stands before the first `://`, and is shown as part of a wrong scheme.
fn is_shown_so_far(before: &str, password: &str, after: &str) -> bool {
    !before.contains("://") && format!(":{password}@{after}").contains("://")
}

/// Whether a password as it is could as well be one that ends at its `@`, and then a host and a
/// path: such a one must be written with `%40`.
fn is_ambiguous(password: &str) -> bool {
    let rest = password.split_once('@').map_or("", |(_, rest)| rest);
    rest.contains(['/', '?', '#'])
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
    assert_eq!(password_in(&encoded(password)), Ok(password.to_owned()));
    let is_plain = |it: char| it != '%' && !it.is_control();
    if password.chars().all(is_plain) && !is_ambiguous(password) {
        assert_eq!(password_in(password), Ok(password.to_owned()));
    }
}

/// The password that is read from a URL with `password` in it.
fn password_in(password: &str) -> Result<String, String> {
    let url = format!("postgresql+psycopg2://app:{password}@db:5433/inbox?pooler=none");
    let options: PgOptions = url.parse().map_err(|error| format!("{error}"))?;
    assert_eq!(options.connection.get_host(), "db");
    assert_eq!(options.connection.get_port(), 5433);
    assert_eq!(options.connection.get_username(), "app");
    assert_eq!(options.connection.get_database(), Some("inbox"));
    let written = options.connection.to_url_lossy();
    let password = percent_decode_str(written.password().unwrap_or_default());
    let password = password.decode_utf8().map_err(|error| error.to_string())?;
    Ok(password.into_owned())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
