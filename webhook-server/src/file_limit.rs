//! The operating system's limit on open files, of which every connection is one.

/// Open files other than connections of clients: the log, the runtime, the database's.
#[cfg(unix)]
const OTHERS: u64 = 256;

/// Raises this process's limit, within what the system allows, so that it holds `connections`;
/// returns how many it holds.
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
    // Where it is refused, the old limit holds.
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    let held = usize::try_from(files.saturating_sub(OTHERS)).unwrap_or(connections);
    let held = held.clamp(1, connections);
    if held < connections {
        tracing::info!(
            max_connections = held,
            open_files = files,
            "MAX_CONNECTIONS lowered to what the limit on open files allows"
        );
    }
    held
}

/// There is no such limit.
#[cfg(not(unix))]
pub(crate) fn raise(connections: usize) -> usize {
    connections
}
