//! What the operating system asks of the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ready at the next SIGTERM or SIGINT. SIGHUP does nothing yet, and does not end the process either.
///
/// # Errors
///
/// If the system takes no handlers.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                () = received(&mut hangup) => {
                    tracing::warn!("SIGHUP: the configuration is not reloaded in this version; restart to apply it");
                }
            }
        }
    })
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}
