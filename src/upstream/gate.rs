//! The last question before the first byte.

use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// A last question: may a request still be sent? It is asked when the connection is there, immediately before the first byte, and
/// again for each connection that is tried.
pub trait Gate: Send + Sync {
    /// Until then the answer is yes without asking.
    fn fresh_until(&self) -> Instant;

    /// Asked from then on: until when the answer is yes again, or nothing, which ends in
    /// [`NotSentReason::GateClosed`](super::NotSentReason::GateClosed).
    fn renew(&self) -> BoxFuture<'_, Option<Instant>>;
}

impl dyn Gate + '_ {
    /// Whether the request may still be sent; asked where that is not known.
    pub async fn is_open(&self) -> bool {
        // Renewing takes its time too, and this process may sleep through any of it.
        let mut fresh_until = self.fresh_until();
        while Instant::now() > fresh_until {
            match self.renew().await {
                Some(until) => fresh_until = until,
                None => return false,
            }
        }
        true
    }
}
