//! What a lane has heard of its sockets.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::LANE;

/// Who is told of what arrives on a socket: the runtime of the lane where it was opened, if it was opened on one.
///
/// A lane that has nothing to do asks the system what has arrived, on all of its sockets at once, and whoever waits for one is told before
/// anything else is done. So of a socket that was at rest when it began to ask, and of which nobody was told, it is known that nothing had
/// arrived by then. (It is told of 1,024 at once, and of the others the next time.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hearing(Option<usize>);

impl Hearing {
    /// Of a socket that is opened here.
    pub(crate) fn here() -> Self {
        Self(LANE.get())
    }

    /// Whether this is its lane, and that began to ask the system, for the last time, less than `ago` before `now`.
    pub(crate) fn asked(self, ago: Duration, now: Instant) -> bool {
        let is_recent = |at| now.saturating_duration_since(at) < ago;
        self.0.is_some() && self.0 == LANE.get() && ASKED.get().is_some_and(is_recent)
    }
}

/// This lane asks the system from now on, and waits until something has arrived. What counts is when it began: a process that was stopped
/// meanwhile goes on without an answer.
pub(super) fn asks() {
    ASKED.set(Some(Instant::now()));
}

thread_local! {
    static ASKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Threads;
    use super::*;

    const WHILE: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_lane_has_asked_since_a_time_if_it_had_nothing_to_do_then() {
        let threads = Threads::start(2, Duration::from_secs(1)).unwrap();
        let lanes = threads.lanes();
        let on = |lane| lanes.runtime(lane).unwrap();
        let first = on(0).spawn(async {
            let (hearing, since) = (Hearing::here(), Instant::now());
            let asked_since = |since: Instant| {
                let now = Instant::now();
                hearing.asked(now - since, now)
            };
            assert!(!asked_since(since), "it was at work all the time");
            let mut slept = false;
            for _ in 0..20 {
                tokio::time::sleep(WHILE).await;
                assert!(asked_since(since));
                slept |= !asked_since(Instant::now() - WHILE / 2);
            }
            assert!(slept, "what counts is when it began to");
            hearing
        });
        let hearing = first.await.unwrap();
        assert!(!hearing.asked(LONG, Instant::now()), "this is no lane");
        let second = on(1).spawn(async move {
            tokio::time::sleep(WHILE).await;
            let now = Instant::now();
            assert!(Hearing::here().asked(LONG, now));
            assert!(!hearing.asked(LONG, now), "this is another lane");
        });
        second.await.unwrap();
        assert!(!Hearing::here().asked(LONG, Instant::now()));
        tokio::task::spawn_blocking(|| threads.stop())
            .await
            .unwrap();
    }
}
