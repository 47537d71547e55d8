//! What an answer says, and whether two of them agree.

use std::fmt;
use std::ops::AddAssign;

use crate::round::Round;
use crate::support::{Answer, Ending};

/// What an answer says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was carried out just now.
    Executed,
    /// It was carried out before, and this is the answer.
    Replayed,
    /// It was carried out before, and the answer was not kept.
    NotStored,
    /// Nobody knows.
    Unknown,
    /// Not yet to be told.
    InProgress,
}

/// Reads it off an answer.
pub fn found(answer: &Answer) -> Found {
    match answer.field("x-idempotency-error").as_deref() {
        Some("outcome-unknown") => Found::Unknown,
        Some("response-not-stored") => Found::NotStored,
        Some("in-progress") => Found::InProgress,
        Some(other) => panic!("{other}: {answer:?}"),
        None if answer.field("x-idempotency-replay").is_some() => Found::Replayed,
        None => {
            assert_eq!(answer.status, 201, "{answer:?}");
            Found::Executed
        }
    }
}

/// What was told first, as far as it arrived, is what is told now.
pub fn agrees(round: &Round<'_>, first: Option<&Answer>, now: &Answer) {
    let Some(first) = first else { return };
    assert_eq!(now.ending, Ending::Whole, "{round}: {now:?}");
    if found(first) == Found::Unknown {
        assert_eq!(
            found(now),
            Found::Unknown,
            "{round}: {first:?}, and then {now:?}"
        );
        return;
    }
    match found(now) {
        Found::Replayed => {
            assert_eq!(now.status, first.status, "{round}");
            assert_eq!(now.all("x-effect"), first.all("x-effect"), "{round}");
            assert!(
                now.body.starts_with(&first.body),
                "{round}: {first:?}, and then {now:?}"
            );
            assert!(
                first.ending == Ending::Cut || first.body == now.body,
                "{round}: {now:?}"
            );
        }
        Found::NotStored => {
            assert_ne!(
                first.all("x-idempotency-stored"),
                ["true"],
                "{round}: {first:?}"
            );
            assert_eq!(now.document()["status_code"], 201, "{round}: {now:?}");
        }
        // The first one broke off: its client knows no more than that.
        Found::Unknown if first.ending == Ending::Cut => {
            assert_ne!(
                first.all("x-idempotency-stored"),
                ["true"],
                "{round}: {first:?}"
            );
        }
        _ => panic!("{round}: {first:?}, and then {now:?}"),
    }
}

/// How often what was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub died: u64,
    executed: u64,
    replayed: u64,
    not_stored: u64,
    unknown: u64,
}

impl Tally {
    pub const HEADING: &str = " died  keys  executed replayed not kept  unknown";

    pub fn of(all: impl IntoIterator<Item = Found>) -> Self {
        let mut tally = Self::default();
        for found in all {
            match found {
                Found::Executed => tally.executed += 1,
                Found::Replayed => tally.replayed += 1,
                Found::NotStored => tally.not_stored += 1,
                Found::Unknown => tally.unknown += 1,
                Found::InProgress => panic!("still in progress"),
            }
        }
        tally
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.died += other.died;
        self.executed += other.executed;
        self.replayed += other.replayed;
        self.not_stored += other.not_stored;
        self.unknown += other.unknown;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.executed + self.replayed + self.not_stored + self.unknown;
        write!(
            formatter,
            "{:5} {keys:5} {:9} {:8} {:8} {:8}",
            self.died, self.executed, self.replayed, self.not_stored, self.unknown,
        )
    }
}
