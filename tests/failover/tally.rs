//! What came of the rounds.

use std::fmt::{self, Display, Formatter};

/// What came of some rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Rounds in which Sentinel promoted a replica.
    pub rounds: u64,
    pub keys: u64,
    /// Keys whose answer was said to be stored before the primary was killed.
    pub stored_before: u64,
    /// Keys that were sent, and not answered, when the primary was killed.
    pub under_way: u64,
    /// Keys that ran more than once.
    pub twice: u64,
    /// Keys whose answer was said to be stored, and that were given another one later.
    pub lost: u64,
    /// Keys whose answer was replayed, never said to be stored by the one who ran it, and not replayed later.
    pub withdrawn: u64,
    /// Keys whose last answer is that the outcome is not known.
    pub unknown: u64,
    /// What was wrong, in words.
    pub wrong: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.keys += other.keys;
        self.stored_before += other.stored_before;
        self.under_way += other.under_way;
        self.twice += other.twice;
        self.lost += other.lost;
        self.withdrawn += other.withdrawn;
        self.unknown += other.unknown;
        self.wrong.extend_from_slice(&other.wrong);
    }

    /// Rounds in which nothing was answered or interrupted would pass any check.
    pub(crate) fn shows_something(&self) {
        assert!(self.stored_before > 0 && self.under_way > 0, "{self}");
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} failovers, {} keys ({} stored before, {} under way): {} ran twice, {} stored answers lost, {} replays withdrawn, \
             {} unknown",
            self.rounds,
            self.keys,
            self.stored_before,
            self.under_way,
            self.twice,
            self.lost,
            self.withdrawn,
            self.unknown
        )?;
        self.wrong
            .iter()
            .take(20)
            .try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}
