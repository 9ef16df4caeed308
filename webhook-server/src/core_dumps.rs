//! Forbids core dumps, which would contain keys and secrets.

/// Keeps the system from writing the memory of this process to disk when it crashes.
#[cfg(unix)]
pub(crate) fn forbid_core_dumps() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Core);
    // If core dumps are piped to a program, Linux ignores a limit of 0, and takes 1 as "none". A core
    // file of one byte contains no secret.
    let most = limit.maximum.unwrap_or(1);
    limit.current = Some(most.min(1));
    // A process may always lower its limit.
    let _ = setrlimit(Resource::Core, limit);
}

/// Other systems have no such limit.
#[cfg(not(unix))]
pub(crate) const fn forbid_core_dumps() {}

/// Whether a crash of this process would write its memory to disk.
#[cfg(unix)]
pub(crate) fn would_dump_core() -> bool {
    use rustix::process::{Resource, getrlimit};

    getrlimit(Resource::Core)
        .current
        .is_none_or(|most| most > 1)
}

/// It is not known.
#[cfg(not(unix))]
pub(crate) const fn would_dump_core() -> bool {
    false
}
