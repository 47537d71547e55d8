//! Tells the service manager that started the process, systemd for one, how far it has come: `sd_notify(3)`.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody asked, and nothing is told. That a manager cannot be told is logged, and no
//! reason to stop.

use std::env;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Clients are served: after the start, and after each reload, whether it was taken or refused.
pub(super) fn serving() {
    tell("READY=1\nSTATUS=serving\n");
}

/// The configuration is being read again. [`serving`] has to come after it: under `Type=notify-reload`, `systemctl reload` waits
/// for that.
pub(super) fn reloading() {
    // By this the manager knows that its own SIGHUP is meant.
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
    tell(&format!(
        "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading\n"
    ));
}

/// The drain has begun, and ends within `limit`, even where the manager's own limit (`TimeoutStopSec`) is shorter.
pub(super) fn draining(limit: Duration) {
    let micros = limit.as_micros();
    tell(&format!(
        "STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=draining\n"
    ));
}

fn tell(message: &str) {
    if let Err(error) = send(message) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn send(message: &str) -> io::Result<()> {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => without_file(name)?,
        None => SocketAddr::from_pathname(&socket)?,
    };
    let own = UnixDatagram::unbound()?;
    // A manager that reads nothing must not hold up the program.
    own.set_nonblocking(true)?;
    own.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

/// A socket that is in no directory.
#[cfg(target_os = "linux")]
fn without_file(name: &[u8]) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn without_file(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
