//! What became of requests in the last hour, by the minute.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Outcome;

/// What became of requests in the last hour, by the minute, in this process. Counting is one addition; [`Activity::sample`], called
/// every second or so, puts what was counted into the minute that it is.
#[derive(Debug, Default)]
pub struct Activity {
    executed: AtomicU64,
    replayed: AtomicU64,
    refused: AtomicU64,
    released: AtomicU64,
    unknown: AtomicU64,
    without_guarantee: AtomicU64,
    /// At most [`MINUTES`], one after the other without a gap.
    minutes: Mutex<VecDeque<Minute>>,
}

/// What became of the requests of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    /// When it begins.
    pub start: SystemTime,
    /// Sent to the upstream, and done by what it answered; that answer is kept, but where it is too large or not to be kept.
    pub executed: u64,
    /// Answered from the store, after waiting or at once.
    pub replayed: u64,
    /// Not sent to the upstream, and answered with an error; duplicates of what is unknown among them.
    pub refused: u64,
    /// Not carried out, by what the upstream said or since it was not reached: the key may be used again.
    pub released: u64,
    /// Sent to the upstream, and its answer was lost or leaves it open: nobody knows what became of it. It may have had no key.
    pub unknown: u64,
    /// Sent to the upstream without a claim, since the store was away: it may be carried out twice.
    pub without_guarantee: u64,
}

impl Activity {
    /// Counts a request. What no policy covers and what is only observed is not counted.
    pub fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Executed => &self.executed,
            Outcome::Replayed | Outcome::Waited => &self.replayed,
            Outcome::InProgress
            | Outcome::KeyReused
            | Outcome::KeyMissing
            | Outcome::KeyInvalid
            | Outcome::ScopeAmbiguous
            | Outcome::StoreError
            | Outcome::ResponseNotStored
            | Outcome::CredentialsChanged
            | Outcome::Overloaded
            | Outcome::Draining
            | Outcome::BadRequest
            | Outcome::BodyTooLarge => &self.refused,
            Outcome::Released | Outcome::UpstreamUnreachable => &self.released,
            Outcome::OutcomeUnknown | Outcome::UpstreamFailed | Outcome::UpstreamTimeout => {
                &self.unknown
            }
            Outcome::ForwardedWithoutGuarantee => &self.without_guarantee,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a duplicate that was refused since what became of the first is unknown: that one is counted.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts what was counted since the last time into the minute of `now`.
    pub fn sample(&self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = UNIX_EPOCH + Duration::from_secs(since.as_secs() / 60 * 60);
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = minutes.back().map_or(start, |minute| minute.start);
        let gone = start.duration_since(last).unwrap_or_default();
        let further = usize::try_from(gone.as_secs() / 60).unwrap_or(usize::MAX);
        // More than an hour of silence leaves nothing of what was before. A clock set back goes on in the last minute.
        for ago in (0..further.min(MINUTES)).rev() {
            minutes.push_back(Minute::beginning(start - MINUTE * ago as u32));
        }
        if minutes.is_empty() {
            minutes.push_back(Minute::beginning(start));
        }
        let surplus = minutes.len().saturating_sub(MINUTES);
        minutes.drain(..surplus);
        if let Some(minute) = minutes.back_mut() {
            minute.executed += self.executed.swap(0, Ordering::Relaxed);
            minute.replayed += self.replayed.swap(0, Ordering::Relaxed);
            minute.refused += self.refused.swap(0, Ordering::Relaxed);
            minute.released += self.released.swap(0, Ordering::Relaxed);
            minute.unknown += self.unknown.swap(0, Ordering::Relaxed);
            minute.without_guarantee += self.without_guarantee.swap(0, Ordering::Relaxed);
        }
    }

    /// The minutes since the start, at most an hour; the one that is running comes last.
    pub fn minutes(&self) -> Vec<Minute> {
        let minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        minutes.iter().copied().collect()
    }
}

impl Minute {
    fn beginning(start: SystemTime) -> Self {
        Self {
            start,
            executed: 0,
            replayed: 0,
            refused: 0,
            released: 0,
            unknown: 0,
            without_guarantee: 0,
        }
    }
}

/// How many are kept.
const MINUTES: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn executed(activity: &Activity) -> Vec<u64> {
        let minutes = activity.minutes().into_iter();
        minutes.map(|minute| minute.executed).collect()
    }

    #[test]
    fn what_was_counted_is_in_its_minute_and_quiet_minutes_are_zero() {
        let activity = Activity::default();
        activity.count(Outcome::Executed);
        activity.sample(at(6_010));
        activity.count(Outcome::Executed);
        activity.count(Outcome::Waited);
        activity.count(Outcome::KeyReused);
        activity.count(Outcome::Released);
        activity.count(Outcome::UpstreamTimeout);
        activity.count(Outcome::ForwardedWithoutGuarantee);
        activity.count_refused();
        activity.count(Outcome::Bypassed);
        activity.count(Outcome::ObservedExecuted);
        activity.sample(at(6_059));
        activity.count(Outcome::Executed);
        activity.sample(at(6_180));
        assert_eq!(executed(&activity), [2, 0, 0, 1]);
        let first = Minute {
            start: at(6_000),
            executed: 2,
            replayed: 1,
            refused: 2,
            released: 1,
            unknown: 1,
            without_guarantee: 1,
        };
        assert_eq!(activity.minutes()[0], first);
        assert_eq!(activity.minutes()[3].start, at(6_180));
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let activity = Activity::default();
        for minute in 0..100 {
            activity.count(Outcome::Executed);
            activity.sample(at(minute * 60));
        }
        assert_eq!(executed(&activity), [1; 60]);
        assert_eq!(activity.minutes()[0].start, at(40 * 60));
        // Asleep for a year.
        activity.count(Outcome::Executed);
        activity.sample(at(31_536_000));
        assert_eq!(executed(&activity).iter().sum::<u64>(), 1);
        assert_eq!(activity.minutes().len(), 60);
    }

    #[test]
    fn a_clock_that_is_set_back_loses_nothing() {
        let activity = Activity::default();
        activity.count(Outcome::Executed);
        activity.sample(at(6_000));
        activity.count(Outcome::Executed);
        activity.sample(at(60));
        assert_eq!(executed(&activity), [2]);
    }
}
