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
    /// The server's wall clock, and when it was asked for last.
    clock: Option<(Duration, Instant)>,
    /// When the first probe of an unbroken row was answered, and when the last answered one was sent.
    steady: Option<(Instant, Instant)>,
    /// What the last probe was told, if that was a no.
    refusal: Option<String>,
}

impl Known {
    /// Takes in what the server says of itself. True where that is news.
    pub(super) fn learn(&mut self, mut facts: Facts) -> bool {
        if facts.identity.is_some() && facts.identity != self.identity {
            if self.identity.is_some() {
                self.epoch_changes += 1;
            }
            self.identity = facts.identity.clone();
            self.steady = None;
        }
        // One that no longer says may still evict.
        let policy = facts.policy.take();
        facts.policy = policy.or_else(|| self.facts.as_ref()?.policy.clone());
        let news = self.notes_of_facts() != facts.notes();
        self.facts = Some(facts);
        news
    }

    /// The server's wall clock was asked for at `sent`, and told by `now`. Times to live are counted by it: a step forward lapses
    /// leases that their holders keep up, and they must have time to renew them.
    pub(super) fn told_time(&mut self, time: Option<Duration>, sent: Instant, now: Instant) {
        if let (Some((before, since)), Some(time)) = (self.clock, time)
            && time.saturating_sub(before) > now.saturating_duration_since(since) + STEP
        {
            self.steady = None;
        }
        self.clock = time.map(|time| (time, sent)).or(self.clock);
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

    /// Keys that it dropped for want of memory since it started.
    pub(super) fn evicted(&self) -> u64 {
        self.facts.as_ref().map_or(0, |facts| facts.evicted)
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
/// By how much the server's wall clock may gain on ours between two looks at it.
const STEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run: &str) -> Facts {
        Facts::read(&format!("run_id:{run}\nmaster_replid:h\n"))
    }

    #[test]
    fn evicted_keys_are_those_that_the_server_tells_of() {
        let mut known = Known::default();
        assert_eq!(known.evicted(), 0);
        known.learn(Facts::read("run_id:a\nevicted_keys:3\n"));
        assert_eq!(known.evicted(), 3);
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
    fn a_wall_clock_that_steps_forward_ends_it() {
        let mut known = Known::default();
        let now = watched(&mut known, Instant::now(), 9);
        let told = |known: &mut Known, time, at| {
            known.told_time(Some(Duration::from_secs(time)), at, at);
            known.steady(now) > Duration::ZERO
        };
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(told(&mut known, 1000, now));
        assert!(told(&mut known, 1002, later(2)));
        assert!(told(&mut known, 900, later(4)), "a step back keeps leases");
        known.told_time(None, later(6), later(6));
        assert!(told(&mut known, 904, later(8)), "as much as went by");
        assert!(!told(&mut known, 908, later(10)));
    }

    #[test]
    fn a_policy_is_remembered_where_the_server_no_longer_says() {
        let mut known = Known::default();
        known.learn(Facts::read("maxmemory_policy:allkeys-lru\n"));
        known.learn(Facts::default());
        assert_eq!(known.evicts(), Some("allkeys-lru"));
        known.learn(Facts::read("maxmemory_policy:noeviction\n"));
        assert_eq!(known.evicts(), None);
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
