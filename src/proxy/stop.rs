//! When to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use crate::lanes::PerLane;

/// When to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// From now on nothing new is begun.
    pub draining: Signal,
    /// From now on nothing is sent under a claim, nor waited for: what still runs is settled as unknown, within half a second (a tick
    /// of its lane).
    pub deadline: Signal,
}

/// A moment that comes once. A copy is the same one.
///
/// As a [`CancellationToken`], but each request asks for it, and waits for it if it lasts: so it is asked for without a lock, and those who
/// wait are in a list of their lane's own.
#[derive(Clone, Debug)]
pub struct Signal {
    came: Arc<AtomicBool>,
    lanes: PerLane<CancellationToken>,
}

impl Stop {
    /// One that is asked for on so many lanes.
    pub fn with_lanes(lanes: usize) -> Self {
        Self {
            draining: Signal::with_lanes(lanes),
            deadline: Signal::with_lanes(lanes),
        }
    }
}

impl Signal {
    fn with_lanes(lanes: usize) -> Self {
        Self {
            came: Arc::default(),
            lanes: PerLane::new(lanes, |_| CancellationToken::new()),
        }
    }

    /// It comes now.
    pub fn cancel(&self) {
        self.came.store(true, Ordering::Release);
        for lane in self.lanes.iter() {
            lane.cancel();
        }
    }

    /// Whether it came.
    pub fn is_cancelled(&self) -> bool {
        self.came.load(Ordering::Acquire)
    }

    /// Waits for it.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send {
        self.lanes.mine().cancelled()
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::with_lanes(1)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn all_lanes_hear_of_it() {
        let Stop { draining, deadline } = Stop::with_lanes(3);
        let mut waiting: Vec<_> = (draining.lanes.iter())
            .map(|lane| Box::pin(lane.cancelled()))
            .collect();
        for waiting in &mut waiting {
            assert!(waiting.now_or_never().is_none());
        }
        assert!(!draining.is_cancelled());
        draining.clone().cancel();
        assert!(draining.is_cancelled() && !deadline.is_cancelled());
        for waiting in waiting {
            waiting.await;
        }
        draining.cancelled().await;
    }
}
