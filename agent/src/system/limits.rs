//! The limits that the kernel sets for this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are kept for all but streams: the reactor, the log, the
/// tunnels, lookups, what tells of the network. Of a small limit, the half.
const RESERVED_DESCRIPTORS: u64 = 64;

/// Raises the number of open files as far as allowed, and says how many
/// streams that leaves room for: each takes one.
pub fn raise_open_files() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // `None` is no limit at all.
    let limit = if raised.is_ok() { maximum } else { current };
    let limit = limit.unwrap_or(u64::MAX);
    let streams = limit.saturating_sub(RESERVED_DESCRIPTORS.min(limit / 2));
    usize::try_from(streams).unwrap_or(usize::MAX)
}
