//! Connections that could not be accepted.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

/// Rests after an accept that failed, and says so: at once, and then once a second at most.
#[derive(Debug)]
pub(crate) struct Unaccepted {
    whose: &'static str,
    said: Option<Instant>,
    unsaid: u64,
}

impl Unaccepted {
    /// For the listener of those who are called `whose` in the log.
    pub(crate) fn new(whose: &'static str) -> Self {
        Self {
            whose,
            said: None,
            unsaid: 0,
        }
    }

    /// Waits before the next accept if this one failed for want of something, such as file descriptors.
    pub(crate) async fn rest_after(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
        ) {
            return;
        }
        if let Some(unsaid) = self.is_due() {
            let of = self.whose;
            tracing::warn!(of, %error, unsaid, "no connection can be accepted");
        }
        tokio::time::sleep(REST).await;
    }

    /// How many failures went unsaid, if it is time to say so.
    fn is_due(&mut self) -> Option<u64> {
        if self.said.is_some_and(|said| said.elapsed() < SAID_EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

const REST: Duration = Duration::from_millis(100);
const SAID_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_lasts_is_said_once_a_second() {
        let mut unaccepted = Unaccepted::new("clients");
        assert_eq!(unaccepted.is_due(), Some(0));
        for _ in 0..9 {
            tokio::time::sleep(REST).await;
            assert_eq!(unaccepted.is_due(), None);
        }
        tokio::time::sleep(REST).await;
        assert_eq!(unaccepted.is_due(), Some(9));
        assert_eq!(unaccepted.is_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_left_before_it_was_accepted_holds_up_nobody() {
        let before = Instant::now();
        let mut unaccepted = Unaccepted::new("clients");
        let left = io::Error::from(io::ErrorKind::ConnectionAborted);
        unaccepted.rest_after(&left).await;
        assert_eq!((unaccepted.said, before.elapsed()), (None, Duration::ZERO));
        unaccepted
            .rest_after(&io::Error::other("too many open files"))
            .await;
        assert_eq!(before.elapsed(), REST);
    }
}
