//! Where clients and operators connect.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::StartError;
use crate::admin::{Admin, serve_admin};

/// The operators' listener, which answers probes from before the store is open to after the last exchange.
pub(super) struct Operators {
    pub(super) address: SocketAddr,
    pub(super) serving: JoinHandle<()>,
    pub(super) stop: DropGuard,
}

impl Operators {
    pub(super) fn serve(address: SocketAddr, admin: Admin) -> Result<Self, StartError> {
        let failed = |error| StartError::Listen { address, error };
        let listener = listen(address)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = tokio::spawn(serve_admin(listener, admin, stopped));
        Ok(Self {
            address,
            serving,
            stop: stop.drop_guard(),
        })
    }
}

pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A restart must not wait for the connections of the process before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| StartError::Listen { address, error })
}

/// Connections that wait to be accepted: a fleet that reconnects at once must not be turned away by the kernel.
const BACKLOG: u32 = 4096;
