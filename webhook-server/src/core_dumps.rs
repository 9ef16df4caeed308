//! Core dumps, which would hold keys and secrets.

/// Keeps the system from writing this process's memory to disk when it crashes.
#[cfg(unix)]
pub(crate) fn forbid_core_dumps() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Core);
    // Linux ignores a limit of 0 where a program receives dumps, and takes 1 as "none" there. A
    // file of one byte holds nothing.
    let most = limit.maximum.unwrap_or(1);
    limit.current = Some(most.min(1));
    // A process may always lower its limit.
    let _ = setrlimit(Resource::Core, limit);
}

/// There is no such limit.
#[cfg(not(unix))]
pub(crate) const fn forbid_core_dumps() {}
