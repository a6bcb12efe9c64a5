//! File descriptors: how many this process may have open, and how many connections that leaves.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors beside those of connections: segments, lookup store, blobs, threads.
pub(crate) const BESIDE: u64 = 256;

/// Below this a server does not start.
pub(crate) const LEAST: u64 = 64;

/// How many may be open; none when there is no limit.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the limit as far as the system lets, where `connections` need it, and says how many
/// connections fit: the rest would take the descriptors that the log needs.
pub(crate) fn make_room(connections: usize) -> usize {
    let wanted = (connections as u64).saturating_add(BESIDE);
    let mut limits = getrlimit(Resource::Nofile);
    if limits.current.is_some_and(|current| current < wanted) {
        limits.current = Some(limits.maximum.map_or(wanted, |most| most.min(wanted)));
        if let Err(error) = setrlimit(Resource::Nofile, limits) {
            tracing::warn!(%error, "the limit of descriptors could not be raised");
        }
    }
    match limit() {
        Some(limit) if limit < wanted => {
            let fit = fitting(limit).min(connections);
            tracing::warn!(
                limit,
                connections = fit,
                "descriptors are few: fewer connections are taken than http.connections_max"
            );
            fit
        }
        Some(_) | None => connections,
    }
}

/// Connections under this limit: what is left of it, or a quarter where nothing would be left.
fn fitting(limit: u64) -> usize {
    let left = limit.saturating_sub(BESIDE).max(limit / 4);
    usize::try_from(left).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_for_connections() {
        assert_eq!(fitting(1_024), 768);
        assert_eq!(fitting(60), 15);
        assert_eq!(fitting(2), 1);
        assert!(make_room(16) <= 16);
    }
}
