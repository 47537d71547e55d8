//! What the toxics make of the bytes at the front.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::Ending;
use super::dice::Dice;
use super::kind::Kind;
use super::plan::Installed;

/// What is done next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// So many bytes go on, not before this time.
    Pass { length: usize, at: Instant },
    /// The source has ended, and its end goes on.
    Finish { at: Instant },
    /// The connection ends; counted as this fault.
    End {
        ending: Ending,
        at: Instant,
        by: Option<&'static str>,
    },
    /// Nothing passes any more, in this direction.
    Void { by: &'static str },
}

/// The bytes of one read, as they go through one toxic after the other.
pub(super) struct Pieces {
    /// Length of each, and when it may go.
    pieces: Vec<(usize, Instant)>,
    tail: Option<Step>,
}

impl Pieces {
    pub(super) fn whole(length: usize, at: Instant) -> Self {
        Self {
            pieces: vec![(length, at)],
            tail: None,
        }
    }

    pub(super) fn into_steps(self) -> impl Iterator<Item = Step> {
        self.pieces
            .into_iter()
            .map(|(length, at)| Step::Pass { length, at })
            .chain(self.tail)
    }

    /// At `rate` thousands of bytes a second, from when the wire is free.
    pub(super) fn pace(&mut self, rate: u64, mut free: Instant) {
        let unit = match usize::try_from(rate) {
            Ok(rate) if rate > 0 => rate.saturating_mul(PACE),
            _ => usize::MAX,
        };
        self.split(|length, at| {
            let mut parts = Vec::new();
            let mut rest = length;
            while rest > 0 {
                let part = rest.min(unit);
                let cost = match rate {
                    0 => NEVER,
                    _ => Duration::from_secs_f64(part as f64 / (rate as f64 * 1000.0)),
                };
                free = free.max(at) + cost;
                parts.push((part, free));
                rest -= part;
            }
            parts
        });
    }

    /// In pieces of about `size`. Returns whether it made more of them.
    pub(super) fn slice(
        &mut self,
        size: u64,
        variation: u64,
        delay: Duration,
        mut free: Instant,
        dice: &mut Dice,
    ) -> bool {
        let before = self.pieces.len();
        let least = size.saturating_sub(variation);
        let span = size.saturating_add(variation) - least;
        self.split(|length, at| {
            let mut parts = Vec::new();
            let mut rest = length;
            while rest > 0 {
                let part = usize::try_from(least + dice.up_to(span)).unwrap_or(usize::MAX);
                let part = rest.min(part.max(1));
                free = free.max(at) + delay;
                parts.push((part, free));
                rest -= part;
            }
            parts
        });
        self.pieces.len() > before
    }

    /// Nothing after so many bytes; then this.
    pub(super) fn truncate(&mut self, bytes: u64, tail: impl FnOnce(Instant) -> Step) {
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut last = self.pieces.first().map(|(_, at)| *at);
        self.pieces.retain_mut(|(length, at)| {
            *length = left.min(*length);
            left -= *length;
            if *length > 0 {
                last = Some(*at);
            }
            *length > 0
        });
        self.tail = Some(tail(last.unwrap_or_else(Instant::now)));
    }

    /// Nothing of it goes on.
    pub(super) fn vanish(&mut self) {
        self.pieces.clear();
        self.tail = None;
    }

    pub(super) fn length(&self) -> u64 {
        self.pieces.iter().map(|(length, _)| *length as u64).sum()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_none()
    }

    fn split(&mut self, mut parts: impl FnMut(usize, Instant) -> Vec<(usize, Instant)>) {
        self.pieces = self
            .pieces
            .drain(..)
            .flat_map(|(length, at)| parts(length, at))
            .collect();
    }
}

/// How much later a latency lets bytes arrive, of which `dice` are the luck.
pub(super) fn lateness(toxic: &Installed, dice: u64) -> Duration {
    let Kind::Latency { latency, jitter } = toxic.kind else {
        return Duration::ZERO;
    };
    let luck = Dice::of(dice, toxic.id, 0).up_to(jitter.saturating_mul(2));
    Duration::from_millis(latency.saturating_add(luck).saturating_sub(jitter))
}

/// Milliseconds of the wire that a paced piece takes at most.
const PACE: usize = 20;
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
