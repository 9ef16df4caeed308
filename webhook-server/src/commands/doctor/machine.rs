//! What `doctor` finds on this machine: secrets and certificates, the modes of files, limits and room.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Check, Finding};
use crate::config::{BackendUrl, Config, env_file_exposure};
use crate::core_dumps::would_dump_core;
use crate::file_limit;

/// How long a certificate must be valid to be no matter of concern.
const RENEWAL: Duration = Duration::from_secs(14 * 86_400);

/// Less room than this for the SQLite file is a warning, and less than a tenth of it an error.
const LITTLE_ROOM_BYTES: u64 = 1 << 30;

/// Secrets, who may read their files, and until when certificates are valid.
pub(super) fn secrets(config: &Config) -> Vec<Finding> {
    const CHECK: Check = Check("secrets");
    let mut found = Vec::new();
    for variable in config.published_secrets() {
        found.push(CHECK.error(
            format!("{variable} holds a secret that is printed in documents"),
            "make another one: everybody can sign with this one",
        ));
    }
    let exposed = config.exposed_files().into_iter();
    for exposure in exposed.chain(env_file_exposure()) {
        found.push(CHECK.warning(exposure, "chmod 600, and chown to the user of the server"));
    }
    if found.is_empty() {
        found.push(CHECK.ok("none is published, and only the owner reads their files"));
    }
    found.extend(certificate(config));
    found
}

/// Until when the certificate of the server is valid. What else is wrong with it is an error of the configuration.
fn certificate(config: &Config) -> Option<Finding> {
    const CHECK: Check = Check("certificate");
    let not_after = config.tls.not_after()?;
    let until = jiff::Timestamp::try_from(not_after).map_or_else(
        |_| "an unknown time".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    );
    let advice = "renew it, and send SIGHUP to the server";
    Some(match not_after.duration_since(SystemTime::now()) {
        Err(_) => CHECK.error(format!("TLS_CERT_FILE was valid until {until}"), advice),
        Ok(left) if left < RENEWAL => {
            CHECK.warning(format!("TLS_CERT_FILE is valid until {until}"), advice)
        }
        Ok(_) => CHECK.ok(format!("TLS_CERT_FILE is valid until {until}")),
    })
}

/// The limits of this process, and the room for its events.
pub(super) fn limits(config: &Config) -> Vec<Finding> {
    let mut found = vec![open_files(config), core_dumps()];
    let url = config.read_database_url().ok();
    match url.and_then(|url| config.backend(url.as_ref()).ok()) {
        Some(BackendUrl::Sqlite(path)) => found.extend(sqlite_file(&path)),
        // The files are in one folder.
        Some(BackendUrl::Partitions(partitions)) => {
            if let Some(BackendUrl::Sqlite(path)) = partitions.first() {
                found.extend(sqlite_file(path));
            }
        }
        _ => {}
    }
    found
}

/// This process has set its limit as the server does.
fn core_dumps() -> Finding {
    const CHECK: Check = Check("core dumps");
    if would_dump_core() {
        CHECK.warning(
            "a crash of the server writes its memory, with secrets and bodies, to disk",
            "set the limit to 0: `ulimit -c 0`, or LimitCORE=0 of the systemd unit",
        )
    } else {
        CHECK.ok("a crash of the server writes no memory to disk")
    }
}

fn open_files(config: &Config) -> Finding {
    const CHECK: Check = Check("open files");
    let connections = config.max_connections;
    let allowed = file_limit::allowed(connections);
    if allowed < connections {
        return CHECK.warning(
            format!(
                "the limit on open files allows {allowed} connections, and MAX_CONNECTIONS is {connections}"
            ),
            "raise it: `ulimit -n`, or LimitNOFILE= of the systemd unit",
        );
    }
    CHECK.ok(format!(
        "the limit allows all {connections} connections of MAX_CONNECTIONS"
    ))
}

/// Who may read the file, and how much room its folder has.
#[cfg(unix)]
fn sqlite_file(path: &Path) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt as _;

    const CHECK: Check = Check("disk");
    let mut found = Vec::new();
    if let Ok(metadata) = std::fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        found.push(CHECK.warning(
            format!("others than its owner have access to {}", path.display()),
            format!("chmod 600 {}", path.display()),
        ));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let shown = folder.display();
    let system = match rustix::fs::statvfs(folder) {
        Ok(system) => system,
        Err(error) => {
            found.push(CHECK.error(
                format!("the folder {shown} of the SQLite file: {error}"),
                "create it, owned by the user of the server",
            ));
            return found;
        }
    };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let message = format!("{} MiB are free in the folder {shown}", free >> 20);
    found.push(if free >= LITTLE_ROOM_BYTES {
        CHECK.ok(message)
    } else {
        let advice = "make room, or set RETENTION_DAYS: without room, deliveries get 503";
        match free < LITTLE_ROOM_BYTES / 10 {
            true => CHECK.error(message, advice),
            false => CHECK.warning(message, advice),
        }
    });
    found
}

#[cfg(not(unix))]
fn sqlite_file(_: &Path) -> Vec<Finding> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    #[cfg(unix)]
    fn folders_that_are_missing_are_errors() {
        let found = sqlite_file(Path::new("/nonexistent/webhook.db"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].level, Level::Error, "{found:?}");
        assert!(!sqlite_file(Path::new("webhook.db")).is_empty());
    }
}
