//! Reads database URLs as people have them in their `.env`.

mod parameters;

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::PgError;
use crate::options::{Durability, PgOptions, Pooler};
use crate::schema::Schema;
use parameters::{HONOURED, Parameters};

/// The port on which Supabase's pooler shares connections by transaction.
const SUPABASE_TRANSACTION_PORT: u16 = 6543;

pub(crate) fn read(url: &str) -> Result<PgOptions, PgError> {
    read_in(url, |name| std::env::var(name).ok())
}

/// Reads `url`, in the environment that `variable` gives.
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

    // Else a name may be a part of a password.
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
            "schema" => {
                schema = Schema::new(&value).map_err(|_| {
                    wrong(
                        "`schema` should have 1 to 48 characters out of a-z, 0-9 and _, and begin \
                         neither with a digit nor with pg_",
                    )
                })?;
            }
            "connect_timeout" => {
                let seconds: u32 = value
                    .parse()
                    .map_err(|_| wrong("`connect_timeout` should be a number of seconds"))?;
                // Zero means for ever to libpq; here everything has a limit.
                acquire_timeout = (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)));
            }
            "ssl" => {
                parameters.take("ssl", value.clone(), may_name)?;
                parameters.take("sslmode", ssl_mode(&value).to_owned(), may_name)?;
            }
            "options" => session_options.push((name, value)),
            _ if name.starts_with("options[") => session_options.push((name, value)),
            // An empty part keeps what the address says.
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

/// Removes what is pasted along with a URL: white space, a byte order mark, quotation marks.
fn unwrapped(url: &str) -> &str {
    let url = url.trim_start_matches('\u{feff}').trim();
    let within = |mark: char| url.strip_prefix(mark)?.strip_suffix(mark);
    within('"').or_else(|| within('\'')).unwrap_or(url).trim()
}

/// What follows the scheme. No error shows the scheme, since it may be a part of a password.
fn after_scheme(url: &str) -> Result<&str, PgError> {
    let (scheme, rest) = url
        .split_once("://")
        // Else it may be a password that has these characters.
        .filter(|(scheme, _)| is_scheme(scheme))
        .ok_or_else(|| {
            wrong(
                "it should begin with `postgresql://`; keywords and values (`host=… dbname=…`) are \
                 not supported",
            )
        })?;
    let (dialect, driver) = match scheme.split_once('+') {
        Some((dialect, driver)) => (dialect, Some(driver)),
        None => (scheme, None),
    };
    if !matches!(dialect, "postgresql" | "postgres") {
        return Err(wrong("its scheme is another one than `postgresql`"));
    }
    match driver {
        None | Some("psycopg" | "psycopg2" | "psycopg2cffi" | "asyncpg" | "pg8000") => Ok(rest),
        Some(_) => Err(wrong("its driver, after the `+`, is unknown: leave it out")),
    }
}

/// Splits the host from the port; an IPv6 address stands in brackets, which are not a part of it.
fn split_host(authority: &str) -> Result<(&str, &str), PgError> {
    if authority.contains(',') {
        return Err(several_hosts());
    }
    let Some(bracketed) = authority.strip_prefix('[') else {
        return Ok(authority.split_once(':').unwrap_or((authority, "")));
    };
    let broken = || wrong("the IPv6 address in it should be written as `[::1]` or `[::1]:5432`");
    let (host, rest) = bracketed.split_once(']').ok_or_else(broken)?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if rest.is_empty() && !host.is_empty() => Ok((host, "")),
        None => Err(broken()),
    }
}

/// Hands the parameters to sqlx, by its URLs: only these look for a password in `~/.pgpass`. All are
/// parameters of the query, so that no rule for hosts and paths changes them.
fn connection(
    parameters: &Parameters,
    session_options: &[(String, String)],
) -> Result<PgConnectOptions, PgError> {
    if let Some(port) = parameters.value("port")
        && !matches!(port.parse::<u16>(), Ok(1..))
    {
        return Err(wrong("its port should be a number from 1 to 65535"));
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
        return Err(wrong("`hostaddr` should be an IP address"));
    }
    let names = HONOURED.into_iter().chain(["host", "port", "hostaddr"]);
    let mut query = Vec::new();
    let trusts_system = parameters.value("sslrootcert") == Some("system");
    for name in names {
        // sqlx would connect to the socket of a host that is a folder.
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
        // Each part was checked before, and sqlx's error may show one.
        .map_err(|_: sqlx::Error| wrong("one of its parameters has a value that cannot be used"))?;
    if trusts_system {
        // sqlx takes `system` in PGSSLROOTCERT for the name of a file; none is added to the system's.
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

/// Letters, digits and what may stand between them (RFC 3986, section 3.1; SQLAlchemy has `_` too).
fn is_scheme(text: &str) -> bool {
    let may_hold = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    text.bytes().all(may_hold)
}

/// Splits off the user and the password, without their `@`: passwords stand in `.env` files
/// as they are, and SQLAlchemy takes them so.
fn split_credentials(rest: &str) -> Result<(&str, &str), PgError> {
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
mod tests;
