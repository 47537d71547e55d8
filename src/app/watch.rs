//! A reload whenever the content of the configuration changes.
//!
//! It is read every second, and not heard of from the system (inotify): Kubernetes changes a ConfigMap by turning a link in a directory
//! above, of which a watch on the file says nothing; on network file systems a watch says nothing at all; and a digest tells a change
//! from a touch. Reading some kilobytes a second costs nothing.

use std::sync::Arc;
use std::time::Duration;

use super::reload::Reloader;

/// Reloads whenever the content is another than was last tried, for as long as it is polled and the configuration says so.
pub(super) async fn watch(reloader: Arc<Reloader>) {
    let mut seen = None;
    loop {
        tokio::time::sleep(EVERY).await;
        if !reloader.watches() {
            seen = None;
            continue;
        }
        let reader = reloader.clone();
        let Ok(content) = tokio::task::spawn_blocking(move || reader.content()).await else {
            continue;
        };
        // Seen twice the same, it is not half of what somebody still writes.
        if seen.replace(content) == Some(content) && content != reloader.tried() {
            // What came of it was said.
            let _ = reloader.reload("a change of its content", false).await;
        }
    }
}

const EVERY: Duration = Duration::from_secs(1);
