//! What the operating system allows a server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Each waiting client is an open connection, and many systems allow a process no more than 1,024 files unless it asks for
/// more: as many as it may.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!("no more than {:?} open files: {e}", limit.current);
    }
}
