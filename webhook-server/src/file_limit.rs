//! The operating system's limit on open files, of which every connection is one.

/// Open files other than connections of clients: the log, the runtime, the database's.
#[cfg(unix)]
const OTHERS: u64 = 256;

/// Raises this process's limit, within what the system allows, so that it holds `connections`;
/// logs where it does not.
#[cfg(unix)]
pub(crate) fn raise(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let reachable = limit.maximum.map_or(wanted, |most| most.min(wanted));
    limit.current = Some(reachable);
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() || reachable < wanted {
        tracing::warn!(
            max_connections = connections,
            open_files = getrlimit(Resource::Nofile).current,
            "the limit on open files is below MAX_CONNECTIONS"
        );
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub(crate) fn raise(_: usize) {}
