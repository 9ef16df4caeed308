//! The limit on open files, to which every connection counts.

/// Open files that are no connections of clients: those of the log, the runtime and the database.
#[cfg(unix)]
const OTHERS: u64 = 256;

/// Raises the limit of this process, as far as the system allows, so that it is enough for
/// `connections`. Returns how many it is enough for.
#[cfg(unix)]
pub(crate) fn raise(connections: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return connections;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
    // If this fails, the old limit stays.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    let allowed = usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(connections);
    let allowed = allowed.clamp(1, connections);
    if allowed < connections {
        tracing::info!(
            max_connections = allowed,
            open_files = files,
            "MAX_CONNECTIONS lowered: the limit on open files allows no more; raise it (ulimit -n)"
        );
    }
    allowed
}

/// How many of `connections` the limit allows once it is raised.
#[cfg(unix)]
pub(crate) fn allowed(connections: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let files = limit.maximum.unwrap_or(u64::MAX);
    let allowed = usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(connections);
    allowed.clamp(1, connections.max(1))
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub(crate) const fn allowed(connections: usize) -> usize {
    connections
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub(crate) fn raise(connections: usize) -> usize {
    connections
}
