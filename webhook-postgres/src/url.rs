//! Parses database URLs, in the spellings that `.env` files contain.

mod parameters;

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::PgError;
use crate::options::{Durability, PgOptions, Pooler};
use crate::schema::Schema;
use parameters::{HONOURED, Parameters};

/// The port on which Supabase's pooler shares connections by transaction.
const SUPABASE_TRANSACTION_PORT: u16 = 6543;

/// Parses a database URL: `postgresql://user:password@host:port/database?parameter=value`.
///
/// SQLAlchemy's URLs (`postgresql+psycopg2://`, `+psycopg`, `+asyncpg`) are accepted as well.
///
/// - `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, `application_name`, `options`, `host`, `hostaddr`,
///   `port`, `dbname`, `user` and `password` have libpq's meaning, except that the system's certificate
///   authorities are trusted in addition to those of `sslrootcert`. `ssl` is asyncpg's name for `sslmode`.
/// - `sslmode=require` and `sslmode=verify-ca` with `sslrootcert` verify as `verify-full` does, which is
///   stricter than libpq: without a check of the host name, a certificate from any public authority would be
///   accepted. Unix sockets use no TLS.
/// - `channel_binding=require` raises `sslmode` to `verify-full`: there is no SCRAM-SHA-256-PLUS, and a
///   verified server excludes a man in the middle as well.
/// - `pooler=transaction`, `pooler=none` and `pooler=detect` set [`PgOptions::pooler`]; `pgbouncer=true` and
///   port 6543 mean `transaction`.
/// - `durability=asynchronous` sets [`Durability::Asynchronous`].
/// - `schema=orders_inbox` sets [`PgOptions::schema`].
/// - `connect_timeout` sets [`PgOptions::acquire_timeout`], in seconds.
/// - `hostaddr`, or PGHOSTADDR, is the address to connect to. A host that is given as well is not used, and
///   cannot be verified.
/// - Unknown parameters are errors, and so are parameters that cannot be honoured, such as `require_auth`,
///   `gssencmode=require`, `service` and several hosts. The same holds for libpq's environment variables, such
///   as `PGREQUIREAUTH`.
impl FromStr for PgOptions {
    type Err = PgError;

    fn from_str(url: &str) -> Result<Self, PgError> {
        read_in(url, |name| std::env::var(name).ok())
    }
}

/// Parses `url`; `variable` reads environment variables.
fn read_in(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<PgOptions, PgError> {
    let url = unwrapped(url);
    let rest = after_scheme(url)?;
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
    let mut parameters = Parameters::default();
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    parameters.set("user", decode(user)?);
    parameters.set("password", decode(password)?);
    let (authority, database) = address.split_once('/').unwrap_or((address, ""));
    let (host, port) = split_host(authority)?;
    parameters.set("host", decode(host)?);
    parameters.set("port", decode(port)?);
    parameters.set("dbname", decode(database)?);

    // Otherwise a name may be part of a password.
    let may_name = !query.contains('@') && !query.contains("password");
    let mut pooler = None;
    let mut acquire_timeout = None;
    let mut durability = Durability::default();
    let mut schema = Schema::default();
    let mut session_options = Vec::new();
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
                        return Err(wrong("`pooler` must be `transaction`, `none` or `detect`"));
                    }
                });
            }
            "pgbouncer" => match value.as_str() {
                "true" => pooler = pooler.or(Some(Pooler::Transaction)),
                "false" => {}
                _ => return Err(wrong("`pgbouncer` must be `true` or `false`")),
            },
            "durability" => {
                durability = match value.as_str() {
                    "synchronous" => Durability::Synchronous,
                    "asynchronous" => Durability::Asynchronous,
                    _ => {
                        return Err(wrong(
                            "`durability` must be `synchronous` or `asynchronous`",
                        ));
                    }
                };
            }
            "schema" => {
                schema = Schema::new(&value).map_err(|_| {
                    wrong(
                        "`schema` must have 1 to 48 characters out of a-z, 0-9 and _, and begin \
                         neither with a digit nor with pg_",
                    )
                })?;
            }
            "connect_timeout" => {
                let seconds: u32 = value
                    .parse()
                    .map_err(|_| wrong("`connect_timeout` must be a number of seconds"))?;
                // To libpq, 0 means no limit; here everything has one.
                acquire_timeout = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
            }
            "ssl" => {
                parameters.take("ssl", value.clone(), may_name)?;
                parameters.take("sslmode", ssl_mode(&value).to_owned(), may_name)?;
            }
            "options" => session_options.push((name, value)),
            _ if name.starts_with("options[") => session_options.push((name, value)),
            // An empty parameter does not replace the part of the address.
            "host" | "port" | "dbname" | "user" | "password" if value.is_empty() => {}
            _ => parameters.take(&name, value, may_name)?,
        }
    }
    parameters.add_environment(variable)?;
    parameters.settle_security(std::env::home_dir())?;
    let mut options = PgOptions::new(connection(&parameters, &session_options)?);
    let by_port =
        (options.connection.get_port() == SUPABASE_TRANSACTION_PORT).then_some(Pooler::Transaction);
    options.pooler = pooler.or(by_port).unwrap_or_default();
    options.durability = durability;
    options.schema = schema;
    options.tls_files = parameters.tls_files();
    if let Some(timeout) = acquire_timeout {
        options.acquire_timeout = timeout;
    }
    Ok(options)
}

/// Removes what is often pasted along with a URL: white space, a byte order mark, quotation marks.
fn unwrapped(url: &str) -> &str {
    let url = url.trim_start_matches('\u{feff}').trim();
    let within = |mark: char| url.strip_prefix(mark)?.strip_suffix(mark);
    within('"').or_else(|| within('\'')).unwrap_or(url).trim()
}

/// Returns the part after the scheme. No error shows the scheme, since it may be part of a password.
fn after_scheme(url: &str) -> Result<&str, PgError> {
    let (scheme, rest) = url
        .split_once("://")
        // Otherwise it may be a password with these characters.
        .filter(|(scheme, _)| is_scheme(scheme))
        .ok_or_else(|| {
            wrong(
                "it must begin with `postgresql://`; keywords and values (`host=… dbname=…`) are \
                 not supported",
            )
        })?;
    let (dialect, driver) = match scheme.split_once('+') {
        Some((dialect, driver)) => (dialect, Some(driver)),
        None => (scheme, None),
    };
    if !matches!(dialect, "postgresql" | "postgres") {
        return Err(wrong("its scheme is not `postgresql`"));
    }
    match driver {
        None | Some("psycopg" | "psycopg2" | "psycopg2cffi" | "asyncpg" | "pg8000") => Ok(rest),
        Some(_) => Err(wrong("its driver, after the `+`, is unknown: remove it")),
    }
}

/// Splits the host from the port. An IPv6 address is written in brackets, which are not part of it.
fn split_host(authority: &str) -> Result<(&str, &str), PgError> {
    if authority.contains(',') {
        return Err(several_hosts());
    }
    let Some(bracketed) = authority.strip_prefix('[') else {
        return Ok(authority.split_once(':').unwrap_or((authority, "")));
    };
    let broken = || wrong("the IPv6 address in it must be written as `[::1]` or `[::1]:5432`");
    let (host, rest) = bracketed.split_once(']').ok_or_else(broken)?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if rest.is_empty() && !host.is_empty() => Ok((host, "")),
        None => Err(broken()),
    }
}

/// Passes the parameters to sqlx in a URL, since only then sqlx looks for a password in `~/.pgpass`. All are
/// query parameters, so that no rule for hosts and paths changes them.
fn connection(
    parameters: &Parameters,
    session_options: &[(String, String)],
) -> Result<PgConnectOptions, PgError> {
    if let Some(port) = parameters.value("port")
        && !matches!(port.parse::<u16>(), Ok(1..))
    {
        return Err(wrong("its port must be a number from 1 to 65535"));
    }
    let hosts = ["host", "hostaddr", "port"];
    if hosts
        .iter()
        .any(|name| parameters.value(name).is_some_and(|it| it.contains(',')))
    {
        return Err(several_hosts());
    }
    let address = parameters.value("hostaddr");
    if address.is_some_and(|it| it.parse::<std::net::IpAddr>().is_err()) {
        return Err(wrong("`hostaddr` must be an IP address"));
    }
    let names = HONOURED.into_iter().chain(["host", "port", "hostaddr"]);
    let mut query = Vec::new();
    let trusts_system = parameters.value("sslrootcert") == Some("system");
    for name in names {
        // sqlx would connect to a socket if the host were a folder.
        let is_replaced = name == "host" && address.is_some();
        if let Some(value) = parameters.value(name)
            && !(trusts_system && name == "sslrootcert")
            && !is_replaced
        {
            query.push((name, value));
        }
    }
    query.extend(
        session_options
            .iter()
            .map(|(name, value)| (&**name, &**value)),
    );
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let query: Vec<_> = query
        .into_iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    let mut connection: PgConnectOptions = format!("postgresql://?{}", query.join("&"))
        .parse()
        // Each parameter was checked before, and sqlx's error may show one.
        .map_err(|_: sqlx::Error| wrong("one of its parameters has a value that cannot be used"))?;
    if trusts_system {
        // sqlx would read `system` in PGSSLROOTCERT as the name of a file. Nothing is added to the system's
        // authorities.
        connection = connection.ssl_root_cert_from_pem(Vec::new());
    }
    if connection.get_socket().is_some() || connection.get_host().starts_with('/') {
        // libpq ignores `sslmode` for sockets, and servers offer no TLS there.
        connection = connection.ssl_mode(PgSslMode::Disable);
    }
    Ok(connection)
}

fn several_hosts() -> PgError {
    wrong("it names several hosts, which are not supported: name one, or a proxy in front of them")
}

/// Whether `text` has only the characters of a scheme (RFC 3986, section 3.1; SQLAlchemy uses `_` too).
fn is_scheme(text: &str) -> bool {
    let may_hold = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    text.bytes().all(may_hold)
}

/// Splits off the user and the password, without the `@`. The password may be unencoded, as it often is in
/// `.env` files, and as SQLAlchemy accepts it.
fn split_credentials(rest: &str) -> Result<(&str, &str), PgError> {
    let authority = &rest[..authority_end(rest)];
    let end = match (authority.rfind('@'), rest.find('@')) {
        (Some(at), _) => at,
        (None, Some(at)) if authority.contains(':') && !authority.starts_with('[') => {
            if is_host_and_port(authority) && is_in_value(&rest[..at]) {
                return Err(unclear());
            }
            // The password contains one of the characters that end an authority.
            let further = &rest[at..];
            at + further[..authority_end(further)].rfind('@').unwrap_or(0)
        }
        _ => return Ok(("", rest)),
    };
    Ok((&rest[..end], &rest[end + 1..]))
}

fn authority_end(text: &str) -> usize {
    text.find(['/', '?', '#']).unwrap_or(text.len())
}

fn is_host_and_port(authority: &str) -> bool {
    let port = authority.split_once(':').map_or("", |(_, port)| port);
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the part after `text` may be the value of a parameter.
fn is_in_value(text: &str) -> bool {
    text.split_once('?')
        .is_some_and(|(_, query)| query.contains('='))
}

/// The `sslmode` for a value of asyncpg's `ssl`, which may also be a Python `bool`.
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

/// The error for a URL that can be read in two ways. A guess might connect to another host, and show part of
/// the password as the host's name.
fn unclear() -> PgError {
    wrong(
        "it is ambiguous which `@` ends the user and password: write an `@` in the password as `%40`, and a \
         `/` or `?` in it as `%2F` or `%3F`",
    )
}

fn wrong(detail: impl Into<String>) -> PgError {
    PgError::Url {
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests;
