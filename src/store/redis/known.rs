//! What is known of the server, by the probes and by its own word.

use std::time::Duration;

use tokio::time::Instant;

use super::facts::{Facts, Identity};

/// What is known of the server.
#[derive(Default)]
pub(super) struct Known {
    facts: Option<Facts>,
    identity: Option<Identity>,
    epoch_changes: u64,
    /// When the first probe of an unbroken row was answered, and when the last answered one was sent.
    steady: Option<(Instant, Instant)>,
    /// What the last probe was told, if that was a no.
    refusal: Option<String>,
}

impl Known {
    /// Takes in what the server says of itself. True where that is news.
    pub(super) fn learn(&mut self, facts: Facts) -> bool {
        if facts.identity.is_some() && facts.identity != self.identity {
            if self.identity.is_some() {
                self.epoch_changes += 1;
            }
            self.identity = facts.identity.clone();
            self.steady = None;
        }
        let news = self.notes_of_facts() != facts.notes();
        self.facts = Some(facts);
        news
    }

    /// A probe sent at `sent` was answered at `now`.
    pub(super) fn answered(&mut self, sent: Instant, now: Instant) {
        self.refusal = None;
        // Who slept did not watch.
        let unbroken = self
            .steady
            .filter(|(_, last)| sent.saturating_duration_since(*last) < STALE);
        self.steady = Some((unbroken.map_or(now, |(since, _)| since), sent));
    }

    /// A probe was told no.
    pub(super) fn refused(&mut self, code: String) {
        self.refusal = Some(code);
        self.steady = None;
    }

    /// Something was lost or late: heartbeats may not have arrived.
    pub(super) fn shaken(&mut self) {
        self.steady = None;
    }

    /// For how long the same server was seen to take heartbeats without a break.
    pub(super) fn steady(&self, now: Instant) -> Duration {
        match self.steady {
            Some((since, last)) if self.fresh(now) => last.saturating_duration_since(since),
            _ => Duration::ZERO,
        }
    }

    /// Whether the last probe was answered, and lately.
    pub(super) fn fresh(&self, now: Instant) -> bool {
        self.steady
            .is_some_and(|(_, last)| now.saturating_duration_since(last) < STALE)
    }

    /// The policy under which the server may drop records, if it has one.
    pub(super) fn evicts(&self) -> Option<&str> {
        self.facts.as_ref()?.evicts()
    }

    /// Whether its memory is full.
    pub(super) fn full(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.full)
    }

    /// How often another server stood in the place of the one before.
    pub(super) fn epoch_changes(&self) -> u64 {
        self.epoch_changes
    }

    /// What an operator should know, a line each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.notes_of_facts();
        if let Some(refusal) = &self.refusal {
            notes.push(format!("it refuses heartbeats: {refusal}"));
        }
        if self.epoch_changes > 0 {
            notes.push(format!(
                "another server, or a restarted one, stood in its place {} times",
                self.epoch_changes
            ));
        }
        notes
    }

    fn notes_of_facts(&self) -> Vec<String> {
        self.facts.as_ref().map(Facts::notes).unwrap_or_default()
    }
}

/// Age at which the last good probe proves nothing any more.
const STALE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run: &str) -> Facts {
        Facts::read(&format!("run_id:{run}\nmaster_replid:h\n"))
    }

    fn watched(known: &mut Known, from: Instant, rounds: u32) -> Instant {
        let step = Duration::from_millis(250);
        for round in 0..rounds {
            known.answered(
                from + step * round,
                from + step * round + Duration::from_millis(10),
            );
        }
        from + step * rounds
    }

    #[test]
    fn steadiness_is_from_the_first_answer_to_the_last_question() {
        let mut known = Known::default();
        let begun = Instant::now();
        let now = watched(&mut known, begun, 9);
        assert_eq!(known.steady(now), Duration::from_millis(1990));
        assert_eq!(
            known.steady(now + STALE),
            Duration::ZERO,
            "nobody looked since"
        );
    }

    #[test]
    fn who_slept_did_not_watch() {
        let mut known = Known::default();
        let now = watched(&mut known, Instant::now(), 9);
        let woken = now + Duration::from_secs(60);
        known.answered(woken, woken);
        assert_eq!(known.steady(woken), Duration::ZERO);
    }

    #[test]
    fn a_refusal_a_shake_and_another_server_end_it() {
        let breaks: [fn(&mut Known); 3] = [
            |known| known.refused("READONLY".to_owned()),
            Known::shaken,
            |known| {
                known.learn(server("b"));
            },
        ];
        for end in breaks {
            let mut known = Known::default();
            known.learn(server("a"));
            let now = watched(&mut known, Instant::now(), 9);
            assert!(known.steady(now) > Duration::ZERO);
            end(&mut known);
            assert_eq!(known.steady(now), Duration::ZERO);
            known.answered(now, now);
            assert_eq!(known.steady(now), Duration::ZERO, "it begins anew");
        }
    }

    #[test]
    fn the_same_server_met_again_is_no_other() {
        let mut known = Known::default();
        for (run, changes) in [("a", 0), ("a", 0), ("b", 1), ("b", 1), ("a", 2)] {
            known.learn(server(run));
            assert_eq!(known.epoch_changes(), changes);
        }
        known.learn(Facts::default());
        assert_eq!(
            known.epoch_changes(),
            2,
            "a server that does not say is not another"
        );
    }
}
