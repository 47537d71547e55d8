//! The time by which records expire.

use std::time::{Duration, Instant, SystemTime};

use crate::idempotency::UnixMillis;

/// Milliseconds since 1970, never running back.
///
/// Read once when the store opens: the later of the wall clock and the time last written into the file; from there on monotonic. So a wall clock
/// that is set while the proxy runs changes nothing, and one that starts in the past (a machine without a battery) does not make
/// what is written now expire as soon as it is right again. Time that the machine sleeps, or that is lost by a clock that stood back,
/// only lets records live longer. A clock that is far ahead when the store opens ends records early: nothing
/// tells it from a long time switched off.
#[derive(Debug)]
pub(super) struct Clock {
    base: u64,
    opened: Instant,
}

impl Clock {
    /// A clock that is not behind `last`.
    pub(super) fn starting(last: u64) -> Self {
        let wall = SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |elapsed| elapsed.as_millis() as u64);
        Self {
            base: wall.max(last),
            opened: Instant::now(),
        }
    }

    /// When the store was opened.
    pub(super) fn opened(&self) -> UnixMillis {
        UnixMillis(self.base)
    }

    /// Since the store was opened.
    pub(super) fn running(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Now.
    pub(super) fn now(&self) -> u64 {
        self.base
            .saturating_add(self.opened.elapsed().as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_wall_clock_that_was_set_back_does_not_take_the_store_back() {
        let ahead = Clock::starting(0).now() + 86_400_000;
        assert!(Clock::starting(ahead).now() >= ahead);
    }
}
