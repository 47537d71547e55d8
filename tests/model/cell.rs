//! The store of the model: one cell, ruled by the real core.

use std::time::Duration;

use idemproxy::idempotency::expect::{Ruling, Standing, may_renew};
use idemproxy::idempotency::{
    Attempt, Expect, Fingerprint, Lapse, Origin, Outcome, Payload, Record, Seen, State,
    StoredResponse, Terms, Token, UnixMillis, Verified, settle,
};

use crate::setup::{Fault, Setup};

/// Number of an attempt; its token, and the body of its answer.
pub type Who = u8;
/// Whose token stands on what an operator wrote. The bodies of all requests are alike where there is one.
pub const OPERATOR: Who = 99;

/// A record, as far as two of them can differ in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// Whose claim it is, or was.
    pub by: Who,
    /// Its state, as stored.
    pub state: u8,
    /// Whether an earlier attempt may have been carried out.
    pub in_doubt: bool,
    /// Whether its lease lapsed, by the store's clock.
    pub lapsed: bool,
    /// Whose answer is kept; 0 for none.
    pub answer: Who,
}

/// What an attempt asks of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    Insert(Cell),
    Replace(Expect, Cell),
    Renew(Who),
    Look,
}

/// What the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    Created,
    Occupied(Cell),
    Seen(Option<Cell>),
    Applied,
    Restored,
    Stale,
}

pub const LEASE: Duration = Duration::from_secs(30);
pub const TERMS: Terms = Terms {
    lease: LEASE,
    retention: Duration::from_secs(100),
    failed_retention: Duration::from_secs(200),
    unknown_retention: Duration::from_secs(400),
};

impl Cell {
    pub fn state(&self) -> State {
        State::from_byte(self.state).expect("made from a state")
    }

    pub fn is(&self, state: State) -> bool {
        self.state == state as u8
    }

    pub fn of(record: &Record) -> Self {
        Self {
            by: record.token.as_bytes()[0],
            state: record.state as u8,
            in_doubt: record.in_doubt,
            lapsed: false,
            answer: record
                .response
                .as_ref()
                .map_or(0, |response| response.body[0]),
        }
    }

    pub fn record(&self, setup: &Setup) -> Record {
        let claim = Record {
            in_doubt: self.in_doubt,
            ..attempt(setup, self.by).claim()
        };
        match self.state() {
            State::InFlight => claim,
            State::Completed if self.answer == 0 => Record {
                response: None,
                ..settle(
                    claim.clone(),
                    TERMS,
                    outcome(State::Completed, self.by),
                    None,
                    UnixMillis::default(),
                )
            },
            state => settle(
                claim,
                TERMS,
                outcome(state, self.by),
                None,
                UnixMillis::default(),
            ),
        }
    }

    pub fn seen(&self, setup: &Setup, lapse: Lapse) -> Seen {
        Seen {
            record: self.record(setup),
            lapse,
            quiet: None,
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            token: token(self.by),
            state: self.state(),
            lapsed: self.lapsed,
        }
    }
}

/// Carries a command out in one step, as every store does; or as a faulty one would.
pub fn apply(setup: &Setup, cell: &mut Option<Cell>, command: Command) -> Reply {
    match command {
        Command::Look => Reply::Seen(*cell),
        Command::Insert(next) => match *cell {
            Some(cell) => Reply::Occupied(cell),
            None => {
                *cell = Some(next);
                Reply::Created
            }
        },
        Command::Renew(who) => match cell {
            Some(cell)
                if setup.fault == Some(Fault::RenewComparesNothing)
                    || may_renew(Some(cell.standing()), token(who)) =>
            {
                cell.lapsed = false;
                Reply::Applied
            }
            _ => Reply::Stale,
        },
        Command::Replace(expect, next) => {
            let mut standing = cell.as_ref().map(Cell::standing);
            let expect = distort(setup.fault, expect, standing.as_mut());
            let ruling = expect.rule(standing, &next.record(setup));
            if matches!(ruling, Ruling::Write | Ruling::Restore) {
                *cell = Some(next);
            }
            match ruling {
                Ruling::Write | Ruling::Stands => Reply::Applied,
                Ruling::Restore => Reply::Restored,
                Ruling::Stale => Reply::Stale,
            }
        }
    }
}

pub fn token(who: Who) -> Token {
    Token::from_bytes([who; 16])
}

/// The request of attempt `who`.
pub fn attempt(setup: &Setup, who: Who) -> Attempt {
    let mut fingerprint = Fingerprint::default();
    let body = setup.payloads.get(usize::from(who) - 1).unwrap_or(&1);
    fingerprint.add_digest("body", [*body; 16]);
    Attempt {
        token: token(who),
        terms: TERMS,
        now: UnixMillis::default(),
        payload: Payload::Whole(fingerprint),
        credentials: None,
        named: false,
        verified: Verified::No,
        origin: Origin::default(),
        trace: None,
    }
}

/// How `who`'s claim ends.
pub fn outcome(state: State, who: Who) -> Outcome {
    match state {
        State::Completed => Outcome::Completed {
            status: 200,
            response: Some(StoredResponse {
                status: 200,
                headers: Default::default(),
                body: vec![who].into(),
                trailers: Default::default(),
            }),
        },
        State::Released => Outcome::Released {
            status: None,
            error: None,
        },
        State::Unknown | State::InFlight => Outcome::Unknown {
            status: None,
            error: None,
        },
    }
}

/// What a faulty store compares in the place of what it was asked to.
fn distort(fault: Option<Fault>, expect: Expect, standing: Option<&mut Standing>) -> Expect {
    let Some(standing) = standing else {
        return expect;
    };
    match (fault, expect) {
        (Some(Fault::LapseFromAnEarlierLook), Expect::Lapsed(_)) => standing.lapsed = true,
        (Some(Fault::SettleComparesNothing), Expect::Held(token)) => {
            standing.token = token;
            standing.state = State::InFlight;
        }
        (Some(Fault::OrderComparesTokenOnly), Expect::Lapsed(token) | Expect::Shown(token, _)) => {
            return if standing.token == token {
                Expect::Shown(token, standing.state)
            } else {
                expect
            };
        }
        (Some(Fault::AnyReleased), Expect::Released(_)) => {
            return Expect::Released(standing.token);
        }
        _ => {}
    }
    expect
}
