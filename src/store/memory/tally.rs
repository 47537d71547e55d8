//! A sum that many threads change, and hardly ever ask for.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::lanes::{PARTS, Spread};

/// A sum to which each lane adds for itself; what a lane has gathered becomes part of the common sum when it is more than its slack.
#[derive(Debug)]
pub(super) struct Tally {
    common: AtomicI64,
    gathered: Spread<AtomicI64>,
    /// Of each lane.
    slack: u64,
}

impl Tally {
    /// Nothing yet; but for what is just being added, the [common sum](Self::about) is not further from the sum than `slack`.
    pub(super) fn new(slack: u64) -> Self {
        Self {
            common: AtomicI64::new(0),
            gathered: Spread::default(),
            slack: slack / PARTS as u64,
        }
    }

    /// How far the common sum may be from the sum.
    pub(super) fn slack(&self) -> u64 {
        self.slack * PARTS as u64
    }

    /// Adds so much, or takes it off.
    pub(super) fn add(&self, more: i64) {
        let gathered = self.gathered.mine();
        let sum = gathered.fetch_add(more, Ordering::Relaxed) + more;
        if sum.unsigned_abs() > self.slack {
            // Whatever others put there meanwhile goes with it, or is left for the next time.
            let sum = gathered.swap(0, Ordering::Relaxed);
            self.common.fetch_add(sum, Ordering::Relaxed);
        }
    }

    /// The common sum.
    pub(super) fn about(&self) -> u64 {
        shown(self.common.load(Ordering::Relaxed))
    }

    /// The sum, but for what is just being added.
    pub(super) fn sum(&self) -> u64 {
        let gathered = self.gathered.iter();
        let gathered: i64 = gathered.map(|it| it.load(Ordering::Relaxed)).sum();
        shown(self.common.load(Ordering::Relaxed) + gathered)
    }
}

/// What is taken off may be there before what it is taken off of.
fn shown(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lanes::Threads;

    #[test]
    fn without_slack_every_change_counts_at_once() {
        let tally = Tally::new(PARTS as u64 - 1);
        for (more, sum) in [(5, 5), (-2, 3), (-4, 0), (1, 0), (7, 7)] {
            tally.add(more);
            assert_eq!((tally.about(), tally.sum()), (sum, sum), "{more}");
        }
    }

    #[tokio::test]
    async fn the_common_sum_is_never_further_off_than_the_slack() {
        const SLACK: u64 = 160;
        let threads = Threads::start(PARTS, Duration::from_secs(1)).unwrap();
        let (lanes, tally) = (threads.lanes(), std::sync::Arc::new(Tally::new(SLACK)));
        let mut sum = 0;
        for round in 1..40 {
            for lane in 0..lanes.count() {
                let more = if round % 3 == 0 { -13 } else { 7 + lane as i64 };
                sum += more;
                let own = tally.clone();
                let add = async move { own.add(more) };
                lanes.runtime(lane).unwrap().spawn(add).await.unwrap();
                assert_eq!(tally.sum(), sum as u64);
                assert!(tally.about().abs_diff(sum as u64) <= SLACK);
            }
        }
        assert!(sum as u64 > SLACK);
        tokio::task::spawn_blocking(|| threads.stop())
            .await
            .unwrap();
    }
}
