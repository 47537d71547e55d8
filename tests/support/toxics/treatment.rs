//! What the toxics do to what is at the front of a direction.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Ending;
use super::dice::Dice;
use super::direction::{Direction, Read, What};
use super::kind::Kind;
use super::plan::Installed;
use super::steps::{Pieces, Step, lateness};

impl Direction<'_> {
    /// Makes the steps of what is at the front.
    pub(super) fn prepare(&mut self) {
        while self.steps.is_empty() && !self.queue.is_empty() {
            let mut read = self.queue.pop_front().unwrap();
            let begun = *read.begun.get_or_insert_with(Instant::now);
            let plan = Arc::clone(&self.plan);
            let toxics: Vec<_> = plan
                .toxics
                .iter()
                .filter(|toxic| self.marks.get(&toxic.id).is_some_and(|mark| mark.hit))
                .collect();
            let mut at = read.at;
            for toxic in &toxics {
                let late = lateness(toxic, read.dice);
                at += late;
                if !late.is_zero() {
                    self.count_read(&mut read, toxic);
                }
            }
            let steps = match &read.what {
                What::Data(data) => {
                    let pieces = Pieces::whole(data.len(), at);
                    self.treat(pieces, &toxics, &mut read, begun)
                }
                What::End => vec![self.treat_end(at, &toxics, &mut read, begun)],
                What::Error => vec![Step::End {
                    ending: Ending::Reset,
                    at,
                    by: None,
                }],
            };
            if !steps.is_empty() {
                self.steps = steps.into();
                self.queue.push_front(read);
            }
        }
    }

    fn treat(
        &mut self,
        mut pieces: Pieces,
        toxics: &[&Arc<Installed>],
        read: &mut Read,
        begun: Instant,
    ) -> Vec<Step> {
        for toxic in toxics {
            let mark = self.marks.get_mut(&toxic.id).unwrap();
            let passed = self.passed - mark.from;
            let by = Some(toxic.kind.name());
            match toxic.kind {
                Kind::Bandwidth { rate } => {
                    pieces.pace(rate, self.free);
                    self.count_read(read, toxic);
                }
                Kind::Slicer {
                    average_size,
                    size_variation,
                    delay,
                } => {
                    let delay = Duration::from_micros(delay);
                    let mut dice = Dice::of(read.dice, toxic.id, 1);
                    let more =
                        pieces.slice(average_size, size_variation, delay, self.free, &mut dice);
                    if more || !delay.is_zero() {
                        self.count_read(read, toxic);
                    }
                }
                Kind::LimitData { bytes } | Kind::Cut { bytes, .. } => {
                    let left = bytes.saturating_sub(passed);
                    let ending = match toxic.kind {
                        Kind::Cut { reset: true, .. } => Ending::Reset,
                        _ => Ending::Close,
                    };
                    if pieces.length() >= left {
                        pieces.truncate(left, |at| Step::End { ending, at, by });
                    }
                }
                Kind::Timeout { .. } => {
                    mark.since = Instant::now();
                    pieces.vanish();
                    self.count_connection(toxic.id, "timeout");
                }
                Kind::ResetPeer { timeout } => {
                    let at = begun + Duration::from_millis(timeout);
                    let ending = Ending::Reset;
                    pieces.truncate(0, |_| Step::End { ending, at, by });
                }
                Kind::Swallow { bytes, close, .. } => {
                    let left = bytes.saturating_sub(passed);
                    if pieces.length() > left && *mark.swallows.get_or_insert_with(|| toxic.take())
                    {
                        pieces.truncate(left, |at| match close {
                            true => Step::End {
                                ending: Ending::Close,
                                at,
                                by,
                            },
                            false => Step::Void { by: "swallow" },
                        });
                    }
                }
                Kind::Latency { .. } | Kind::SlowClose { .. } | Kind::Silence {} => {}
            }
            if pieces.is_gone() {
                break;
            }
        }
        pieces.into_steps().collect()
    }

    fn treat_end(
        &mut self,
        mut at: Instant,
        toxics: &[&Arc<Installed>],
        read: &mut Read,
        begun: Instant,
    ) -> Step {
        for toxic in toxics {
            match toxic.kind {
                Kind::SlowClose { delay } => {
                    at = at.max(begun) + Duration::from_millis(delay);
                    self.count_read(read, toxic);
                }
                Kind::ResetPeer { timeout } => {
                    return Step::End {
                        ending: Ending::Reset,
                        at: begun + Duration::from_millis(timeout),
                        by: Some("reset_peer"),
                    };
                }
                _ => {}
            }
        }
        Step::Finish { at }
    }

    fn count_read(&self, read: &mut Read, toxic: &Installed) {
        if !read.counted.contains(&toxic.id) {
            read.counted.push(toxic.id);
            self.passage.fired.count(toxic.kind.name(), 1);
        }
    }

    pub(super) fn count_connection(&mut self, toxic: u64, kind: &'static str) {
        if let Some(mark) = self.marks.get_mut(&toxic)
            && !mark.counted
        {
            mark.counted = true;
            self.passage.fired.count(kind, 1);
        }
    }
}
