//! An end before the end.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until this process is told to end. Whoever waits then drops what it started.
pub(crate) async fn told_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminated) => terminated.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
