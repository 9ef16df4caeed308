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
        found.push(CHECK.ok(
            "none of the options is published, and only the owner reads the files that options name",
        ));
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

/// Who may read the file, whether this process may write it, and how much room its folder has.
#[cfg(unix)]
fn sqlite_file(path: &Path) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt as _;

    const CHECK: Check = Check("disk");
    let mut found = Vec::new();
    if let Err(error) = writable(path)
        && error != rustix::io::Errno::NOENT
    {
        found.push(CHECK.error(
            format!("this user may not write to {}: {error}", path.display()),
            "run it as the user of the server, or chown the file to that user",
        ));
    }
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
    if let Err(error) = writable(folder) {
        found.push(CHECK.error(
            format!("this user may not create files in the folder {shown}: {error}"),
            "run it as the user of the server, or chown the folder to that user: SQLite keeps files beside its own",
        ));
    }
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

/// Whether this process may write a file, or create files in a folder. Unlike the mode, this knows of read-only
/// file systems.
#[cfg(unix)]
fn writable(path: &Path) -> rustix::io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};

    let access = match path.is_dir() {
        true => Access::WRITE_OK | Access::EXEC_OK,
        false => Access::WRITE_OK,
    };
    accessat(CWD, path, access, AtFlags::EACCESS)
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

    #[test]
    #[cfg(unix)]
    fn files_and_folders_that_cannot_be_written_are_errors() {
        use std::os::unix::fs::PermissionsExt;
        use testkit::folder::{Folder, default_parent};

        let folder = Folder::create(&default_parent(), "doctor", None).unwrap();
        let file = folder.path().join("webhook.db");
        std::fs::write(&file, "").unwrap();
        let errors = |found: Vec<Finding>| {
            let errors = found.into_iter().filter(|it| it.level == Level::Error);
            errors.map(|it| it.message).collect::<Vec<_>>()
        };
        let set_mode = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        assert_eq!(errors(sqlite_file(&file)), [""; 0]);
        set_mode(&file, 0o400);
        set_mode(folder.path(), 0o500);
        let errors = errors(sqlite_file(&file));
        set_mode(folder.path(), 0o700);
        // Root may write everywhere, whatever the mode is.
        let expected = match rustix::process::geteuid().is_root() {
            true => &[][..],
            false => &["may not write to", "may not create files in the folder"],
        };
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for part in expected {
            assert!(errors.iter().any(|it| it.contains(part)), "{errors:?}");
        }
    }
}
