//! How long an idle connection may be trusted, learnt from what this upstream does to them.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of an upstream's patience with idle connections.
///
/// A close after the idle time t lowers the limit to t/2: far enough from t that the close and the next request do
/// not meet. It doubles with every minute without a lower close. Not trusted at all, until a connection was seen alive at the age
/// [`SWIFT`], is an upstream of which nothing is known yet, and for a minute one that closes right after its answers or
/// has left a request in doubt.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Where the limit stood at `since`; nothing learnt: no limit of ours.
    learnt: Option<(Duration, Instant)>,
    trusted: bool,
}

impl Patience {
    /// The idle age from which on a connection is not for a request that must not end in doubt.
    pub(super) fn limit(&self, now: Instant) -> Duration {
        match self.learnt {
            _ if !self.trusted => Duration::ZERO,
            None => Duration::MAX,
            Some((limit, since)) => limit.saturating_mul(1 << minutes(since, now).min(30)),
        }
    }

    /// The upstream closed a connection that had been idle for `age`.
    pub(super) fn closed(&mut self, age: Duration, now: Instant) {
        if age < SWIFT {
            self.trusted = false;
            self.learnt = Some((SWIFT / 2, now));
        } else if age / 2 <= self.limit(now) {
            self.learnt = Some((age / 2, now));
        }
    }

    /// A request that met the close of a connection idle for `age` is in doubt: no more trust for now, whatever the age.
    pub(super) fn cost_a_request(&mut self, age: Duration, now: Instant) {
        let limit = self.limit(now).min(age / 2).max(SWIFT / 2);
        *self = Self {
            learnt: Some((limit, now)),
            trusted: false,
        };
    }

    /// A connection idle for `age` was found alive.
    pub(super) fn survived(&mut self, age: Duration, now: Instant) {
        let forgiven = self.learnt.is_none_or(|(_, since)| minutes(since, now) > 0);
        if age >= SWIFT && forgiven {
            self.trusted = true;
        }
    }
}

fn minutes(since: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(since).as_secs() / 60
}

/// Whoever closes sooner than this closes after every answer; nobody's keep-alive is that short.
const SWIFT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn nobody_is_trusted_before_a_connection_has_survived() {
        let now = Instant::now();
        let mut patience = Patience::default();
        assert_eq!(patience.limit(now), Duration::ZERO);
        patience.survived(Duration::from_millis(1), now);
        assert_eq!(patience.limit(now), Duration::ZERO);
        patience.survived(SWIFT, now);
        assert_eq!(patience.limit(now), Duration::MAX);
    }

    #[test]
    fn a_close_halves_the_age_it_was_seen_at_and_a_later_one_does_not_raise_it() {
        let now = Instant::now();
        let mut patience = Patience {
            trusted: true,
            ..Patience::default()
        };
        patience.closed(Duration::from_secs(4), now);
        assert_eq!(patience.limit(now), Duration::from_secs(2));
        patience.closed(Duration::from_secs(10), now);
        assert_eq!(patience.limit(now), Duration::from_secs(2));
        patience.closed(Duration::from_secs(1), now);
        assert_eq!(patience.limit(now), Duration::from_millis(500));
    }

    #[test]
    fn the_limit_doubles_with_every_quiet_minute() {
        let now = Instant::now();
        let mut patience = Patience {
            trusted: true,
            ..Patience::default()
        };
        patience.closed(Duration::from_secs(1), now);
        assert_eq!(patience.limit(now + MINUTE), Duration::from_secs(1));
        assert_eq!(patience.limit(now + 3 * MINUTE), Duration::from_secs(4));
        assert!(patience.limit(now + 100_000 * MINUTE) > Duration::from_secs(3600));
    }

    #[test]
    fn closing_at_once_ends_all_trust_for_a_minute_and_until_one_survives() {
        let now = Instant::now();
        let mut patience = Patience {
            trusted: true,
            ..Patience::default()
        };
        patience.closed(Duration::from_millis(2), now);
        assert_eq!(patience.limit(now), Duration::ZERO);
        patience.survived(Duration::from_secs(1), now);
        assert_eq!(patience.limit(now), Duration::ZERO);
        assert_eq!(patience.limit(now + MINUTE), Duration::ZERO);
        patience.survived(Duration::from_secs(1), now + MINUTE);
        assert_eq!(patience.limit(now + MINUTE), SWIFT);
    }

    #[test]
    fn a_request_in_doubt_ends_all_trust_for_a_minute_too() {
        let now = Instant::now();
        let mut patience = Patience {
            trusted: true,
            ..Patience::default()
        };
        patience.cost_a_request(Duration::from_secs(2), now);
        patience.survived(Duration::from_secs(1), now);
        assert_eq!(patience.limit(now), Duration::ZERO);
        patience.survived(Duration::from_secs(1), now + MINUTE);
        assert_eq!(patience.limit(now + MINUTE), Duration::from_secs(2));
    }
}
