//! The operator's listener.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keys::Caller;
use super::{Admin, pages};
use crate::wire::{Paced, Unaccepted};

/// Answers operators at `listener` until `shutdown` ends, and returns when every connection is finished.
///
/// Stop it last: probes should see the drain.
pub async fn serve_admin(listener: TcpListener, admin: Admin, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let turns = Arc::new(Semaphore::new(MAX_CHANGES));
    let mut unaccepted = Unaccepted::new("operators");
    let mut shutdown = pin!(shutdown);
    loop {
        // Beyond the limit they wait in the backlog.
        let accepted = async { (slots.clone().acquire_owned().await, listener.accept().await) };
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            (slot, accepted) = accepted => match accepted {
                Ok((socket, peer)) => {
                    let (admin, stop) = (admin.clone(), stop.clone());
                    let turns = turns.clone();
                    let caller = Caller { peer, turns };
                    tasks.spawn(async move {
                        let _slot = slot;
                        connection(socket, caller, admin, stop).await;
                    });
                }
                Err(error) => {
                    unaccepted.rest_after(&error).await;
                }
            },
        }
    }
    drop(listener);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

async fn connection(socket: TcpStream, caller: Caller, admin: Admin, stop: CancellationToken) {
    let service = service_fn(|request| {
        let answer = pages::answer(&admin, request, caller.clone());
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    // A reader that stopped reading must not keep a place from a probe.
    let socket = Paced::new(socket, WRITE_TIMEOUT);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(socket), service));
    // How a connection of an operator ends is nobody's concern.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(GOODBYE, connection).await;
}

const MAX_CONNECTIONS: usize = 64;
const MAX_CHANGES: usize = 8;
const MAX_HEAD: usize = 16 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const GOODBYE: Duration = Duration::from_secs(1);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
