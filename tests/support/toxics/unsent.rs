//! What the kernel still has to bring over.

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::time::Instant;

/// The connections with bytes that the other end does not have yet, at one moment.
///
/// As far as the system tells: Linux does, of IPv4.
#[derive(Default)]
struct Unsent {
    at: Option<Instant>,
    connections: HashSet<(String, String)>,
}

/// Whether the other end's kernel has all that was written before `since`; a reset would throw away the rest.
pub(super) fn has_arrived(stream: &TcpStream, since: Instant) -> bool {
    let (Ok(SocketAddr::V4(here)), Ok(SocketAddr::V4(there))) =
        (stream.local_addr(), stream.peer_addr())
    else {
        return true;
    };
    // The table is long where connections are many: those that wait at the same time share a look at it.
    let mut unsent = UNSENT.lock().unwrap_or_else(PoisonError::into_inner);
    let unsent = unsent.get_or_insert_default();
    if unsent.at.is_none_or(|at| at < since) {
        unsent.at = Some(Instant::now());
        unsent.connections = look();
    }
    !unsent
        .connections
        .contains(&(in_table(here), in_table(there)))
}

fn look() -> HashSet<(String, String)> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let unsent = |line: &str| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let (here, there) = (columns.next()?, columns.next()?);
        let queues = columns.nth(1)?;
        (!queues.starts_with("00000000:")).then(|| (here.to_owned(), there.to_owned()))
    };
    table.lines().skip(1).filter_map(unsent).collect()
}

fn in_table(address: SocketAddrV4) -> String {
    let ip = u32::from_ne_bytes(address.ip().octets());
    format!("{ip:08X}:{:04X}", address.port())
}

static UNSENT: Mutex<Option<Unsent>> = Mutex::new(None);
