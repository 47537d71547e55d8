//! How the client's side stops.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Moves listeners and connections from running to closed. Clones share one phase, and it only advances.
#[derive(Clone, Debug)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: AtomicU8,
    /// The word that a phase is reached, which goes out once it can be read.
    draining: Notify,
    closed: Notify,
}

impl Shutdown {
    /// Running.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                phase: AtomicU8::new(Phase::Running as u8),
                draining: Notify::new(),
                closed: Notify::new(),
            }),
        }
    }

    /// From now on nothing is accepted; idle connections are closed, others after the exchange they are in (HTTP/2: with GOAWAY).
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// The deadline passed: connections are dropped.
    pub fn close(&self) {
        self.advance(Phase::Closed);
    }

    /// Waits until it drains, or is closed.
    pub fn draining(&self) -> Reached<'_> {
        self.reached(Phase::Draining, &self.inner.draining)
    }

    /// Waits until it is closed.
    pub fn closed(&self) -> Reached<'_> {
        self.reached(Phase::Closed, &self.inner.closed)
    }

    fn reached<'a>(&'a self, phase: Phase, word: &'a Notify) -> Reached<'a> {
        Reached {
            now: &self.inner.phase,
            awaited: phase as u8,
            // It comes from here on, polled or not.
            word: word.notified(),
            woken: None,
        }
    }

    fn advance(&self, phase: Phase) {
        self.inner.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.inner.draining.notify_waiters();
        if phase == Phase::Closed {
            self.inner.closed.notify_waiters();
        }
    }
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Draining,
    Closed,
}

pin_project! {
    /// Waits for a phase.
    ///
    /// A connection asks at each of its polls, and all of them have one list of those who wait, behind a lock: it is taken at the
    /// first poll, and from then on one number is read.
    #[must_use = "it does nothing unless it is polled"]
    pub struct Reached<'a> {
        now: &'a AtomicU8,
        awaited: u8,
        #[pin]
        word: Notified<'a>,
        // Whom the word wakes, once it was asked for.
        woken: Option<Waker>,
    }
}

impl Future for Reached<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.now.load(Ordering::Acquire) >= *this.awaited {
            return Poll::Ready(());
        }
        let is_woken = |waker: &Waker| waker.will_wake(cx.waker());
        if this.woken.as_ref().is_some_and(is_woken) {
            return Poll::Pending;
        }
        *this.woken = Some(cx.waker().clone());
        this.word.poll(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Waits in a task, once it was polled by a waker that wakes nobody.
    fn waiting(shutdown: &Shutdown, phase: Phase) -> JoinHandle<()> {
        let shutdown = shutdown.clone();
        let mut reached = Box::pin(async move {
            match phase {
                Phase::Closed => shutdown.closed().await,
                _ => shutdown.draining().await,
            }
        });
        assert!(reached.as_mut().now_or_never().is_none());
        tokio::spawn(reached)
    }

    #[tokio::test]
    async fn who_waits_for_the_last_phase_sleeps_through_the_one_before() {
        let shutdown = Shutdown::new();
        let draining = waiting(&shutdown, Phase::Draining);
        let closed = waiting(&shutdown, Phase::Closed);
        tokio::task::yield_now().await;
        shutdown.drain();
        timeout(PATIENCE, draining).await.unwrap().unwrap();
        assert!(!closed.is_finished());
        shutdown.close();
        timeout(PATIENCE, closed).await.unwrap().unwrap();
        shutdown.drain();
        assert!(shutdown.closed().now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_comes_between_a_phase_and_its_word_hears_of_the_next() {
        let shutdown = Shutdown::new();
        shutdown
            .inner
            .phase
            .fetch_max(Phase::Draining as u8, Ordering::AcqRel);
        let closed = waiting(&shutdown, Phase::Closed);
        tokio::task::yield_now().await;
        shutdown.inner.draining.notify_waiters();
        tokio::task::yield_now().await;
        shutdown.close();
        timeout(PATIENCE, closed).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_phase_that_came_before_the_first_poll_is_heard_of() {
        let shutdown = Shutdown::new();
        let reached = shutdown.draining();
        shutdown.drain();
        assert!(reached.now_or_never().is_some());
    }
}
