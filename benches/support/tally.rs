//! What clients count, and when they ask.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What came of many requests.
#[derive(Default)]
pub(crate) struct Tally {
    /// Requests that were answered with 201.
    pub(crate) answered: u64,
    /// Those that were answered otherwise, or not at all.
    pub(crate) failed: u64,
    /// How long the answers took, microseconds; where they are asked at a rate, from when they were due.
    pub(crate) latencies: Vec<u32>,
}

impl Tally {
    /// The latency under which this share of the answers came.
    pub(crate) fn latency(&mut self, share: f64) -> f64 {
        self.latencies.sort_unstable();
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at).copied().unwrap_or_default().into()
    }

    /// Counts one that was begun then, and answered now.
    pub(crate) fn answer(&mut self, begun: Instant) {
        self.answered += 1;
        let took = u32::try_from(begun.elapsed().as_micros());
        self.latencies.push(took.unwrap_or(u32::MAX));
    }

    /// Both together.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.answered += other.answered;
        self.failed += other.failed;
        self.latencies.extend(other.latencies);
        self
    }
}

/// When requests are due on a connection.
pub(crate) struct Pace {
    pub(crate) due: Instant,
    step: Duration,
}

impl Pace {
    /// One of `all` clients, which together ask so many requests a second, each in its turn.
    pub(crate) fn new(start: Instant, rate: usize, number: usize, all: usize) -> Self {
        let step = Duration::from_secs_f64(all as f64 / rate as f64);
        Self {
            due: start + step.mul_f64(number as f64 / all as f64),
            step,
        }
    }

    /// Waits until the next one is due. Its latency counts from when it was due where the connection was busy then: a proxy
    /// that is late is not asked less. Where it waited, it counts from the sending, since timers are late too.
    pub(crate) async fn next(&mut self) -> Instant {
        let due = self.due;
        self.due += self.step;
        if due <= Instant::now() {
            return due;
        }
        sleep_until(due).await;
        Instant::now()
    }
}
