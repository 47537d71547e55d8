//! A time, in half the room.

use std::time::Duration;

use tokio::time::Instant;

/// A time by the clock of one store: nanoseconds since that was made. It takes half the room of an [`Instant`], and every record has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// What never comes: 584 years after the store was made.
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// What the clock says at `time`, of a store that was made at `began`.
    pub(super) fn of(time: Instant, began: Instant) -> Self {
        Self(nanos(time.saturating_duration_since(began)))
    }

    /// So much later.
    pub(super) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// How long it is since then; nothing where that is not before.
    pub(super) fn since(self, then: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(then.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_late_to_be_told_never_comes() {
        let began = Instant::now();
        let soon = Moment::of(began + Duration::from_secs(1), began);
        assert_eq!(soon.after(Duration::MAX), Moment::NEVER);
        assert_eq!(
            soon.after(Duration::from_secs(1)).since(soon),
            Duration::from_secs(1)
        );
        assert_eq!(soon.since(Moment::NEVER), Duration::ZERO);
        assert_eq!(
            soon.since(Moment::of(began, began + Duration::from_secs(9))),
            Duration::from_secs(1)
        );
    }
}
