//! Files that the program may have open at once, sockets included.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// Raises what the system allows the program to what it may have, and warns where that is less than it may need.
///
/// The lower one of the two limits is for programs that call `select`, which this one does not.
pub(super) fn make_room(settings: &Settings, lanes: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    let allowed = if raised.is_ok() { maximum } else { current };
    let needed = needed(settings, lanes);
    // Nothing is no limit.
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "fewer open files are allowed than max_connections of clients and upstreams may need: then nobody is accepted, and requests get 502; raise the limit (ulimit -n, LimitNOFILE), or lower max_connections"
        );
    }
}

fn needed(settings: &Settings, lanes: usize) -> u64 {
    let upstreams = settings.upstreams.iter();
    let upstreams = upstreams.map(|upstream| upstream.max_connections as u64);
    upstreams
        .fold(settings.server.max_connections as u64, u64::saturating_add)
        .saturating_add(OTHERS)
        .saturating_add(OF_A_LANE.saturating_mul(lanes as u64))
}

/// Clients that are turned away (128), operators (64), the store, what is read and logged.
const OTHERS: u64 = 256;
/// What waits for its sockets (4), and its connections to the store.
const OF_A_LANE: u64 = 16;
