//! What the kernel still has to bring over.

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

/// The connections with bytes that the other end did not have yet, at one moment.
///
/// As far as the system tells: Linux does, of IPv4.
struct Unsent {
    at: Instant,
    connections: HashSet<(String, String)>,
}

/// Waits until the other end's kernel has all that was written, which a reset would throw away; but not for ever.
pub(super) async fn arrived(stream: &TcpStream) {
    let (Ok(SocketAddr::V4(here)), Ok(SocketAddr::V4(there))) =
        (stream.local_addr(), stream.peer_addr())
    else {
        return;
    };
    let connection = (in_table(here), in_table(there));
    let give_up = Instant::now() + PATIENCE;
    let mut since = Instant::now();
    while Instant::now() < give_up {
        let seen = {
            let unsent = UNSENT.lock().unwrap_or_else(PoisonError::into_inner);
            let unsent = unsent.as_ref();
            unsent
                .filter(|unsent| unsent.at >= since)
                .map(|unsent| !unsent.connections.contains(&connection))
        };
        match seen {
            Some(true) => return,
            Some(false) => since = Instant::now(),
            // The table is long where connections are many: one look at a time, for all that wait.
            None if !LOOKING.swap(true, Ordering::AcqRel) => {
                std::thread::spawn(renew);
            }
            None => {}
        }
        tokio::time::sleep(SOON).await;
    }
}

fn renew() {
    let unsent = Unsent {
        at: Instant::now(),
        connections: look(),
    };
    *UNSENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(unsent);
    LOOKING.store(false, Ordering::Release);
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

const SOON: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(5);

static LOOKING: AtomicBool = AtomicBool::new(false);
static UNSENT: Mutex<Option<Unsent>> = Mutex::new(None);
