//! What the operating system asks of the process.

use std::sync::Weak;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::notify;
use super::reload::Reloader;

/// Cancelled at the first SIGTERM or SIGINT, and at the second: stop, and stop waiting.
///
/// # Errors
///
/// If the system takes no handlers.
pub(super) fn stop_signals() -> std::io::Result<(CancellationToken, CancellationToken)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let both = (stop.clone(), hurry.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => {}
                Some(()) = interrupt.recv() => {}
                else => return,
            }
            if stop.is_cancelled() {
                hurry.cancel();
            }
            stop.cancel();
        }
    });
    Ok(both)
}

/// SIGHUPs from now on, none of which ends the process any more.
///
/// # Errors
///
/// If the system takes no handler.
pub(super) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Reloads at each SIGHUP, for as long as there is something to reload; at those that come during a reload once more.
pub(super) async fn reload_at(mut hangups: Signal, reloader: Weak<Reloader>) {
    while hangups.recv().await.is_some() {
        if let Some(reloader) = reloader.upgrade() {
            notify::reloading();
            // What came of it was said.
            let _ = reloader.reload("SIGHUP", false).await;
            notify::serving();
        }
    }
}
