//! What the operating system asks of the process.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::notify;

/// Cancelled at the first SIGTERM or SIGINT, and at the second: stop, and stop waiting. SIGHUP does nothing yet, and does not
/// end the process either.
///
/// # Errors
///
/// If the system takes no handlers.
pub(super) fn stop_signals() -> std::io::Result<(CancellationToken, CancellationToken)> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let both = (stop.clone(), hurry.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = terminate.recv() => {}
                Some(()) = interrupt.recv() => {}
                Some(()) = hangup.recv() => {
                    notify::reloading();
                    tracing::warn!("SIGHUP: the configuration is not reloaded in this version; restart to apply it");
                    notify::serving();
                    continue;
                }
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
