//! What a write asks of the record that it replaces.

use super::record::{Record, State};
use super::token::Token;
use crate::fault::{Seeded, seeded};

/// What a write asks of the record that it replaces; checked and written by the store in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// This token, released: a new claim over it.
    Released(Token),
    /// This token, unknown: a take-over.
    Unknown(Token),
    /// This token, in flight, and its lease lapsed by the store's own clock in this very step: a take-over.
    Lapsed(Token),
    /// This token, in flight or unknown, or no record at all: a settlement.
    Held(Token),
    /// This token in this state, and nothing else: an operator's order on the record that was shown.
    Shown(Token, State),
}

/// What a store found of a record, as far as an expectation asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The record's token.
    pub token: Token,
    /// The record's state.
    pub state: State,
    /// Whether its lease lapsed, by the store's clock, now.
    pub lapsed: bool,
}

/// What a store does with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Write it.
    Write,
    /// Write it, in the place of a record that the store lost.
    Restore,
    /// Nothing to write: the record stands as the write would have it. An earlier try arrived, and its reply was lost.
    Stands,
    /// Write nothing.
    Stale,
}

impl Expect {
    /// The token that is to be there.
    pub fn token(self) -> Token {
        match self {
            Self::Released(token)
            | Self::Unknown(token)
            | Self::Lapsed(token)
            | Self::Held(token)
            | Self::Shown(token, _) => token,
        }
    }

    /// Rules on a write that would put `next` in the place of `current`.
    pub fn rule(self, current: Option<Standing>, next: &Record) -> Ruling {
        self.rule_on(current, next.token, next.state)
    }

    /// Rules on a write that would put a record of this token in this state in the place of `current`.
    pub fn rule_on(self, current: Option<Standing>, next: Token, state: State) -> Ruling {
        let Some(current) = current else {
            return if matches!(self, Self::Held(_)) {
                Ruling::Restore
            } else {
                Ruling::Stale
            };
        };
        if current.token == next && current.state == state {
            return Ruling::Stands;
        }
        let met = match self {
            Self::Released(token) => current.token == token && current.state == State::Released,
            Self::Unknown(token) => current.token == token && current.state == State::Unknown,
            Self::Lapsed(token) => {
                current.token == token
                    && current.state == State::InFlight
                    && (current.lapsed || seeded(Seeded::TakeOverAsksForNoLapse))
            }
            Self::Held(token) => {
                (current.token == token || seeded(Seeded::SettleComparesNoToken))
                    && matches!(current.state, State::InFlight | State::Unknown)
            }
            Self::Shown(token, state) => current.token == token && current.state == state,
        };
        if met { Ruling::Write } else { Ruling::Stale }
    }
}

/// Whether a heartbeat of `token` may renew the lease: only its own, and only in flight.
pub fn may_renew(current: Option<Standing>, token: Token) -> bool {
    current.is_some_and(|current| {
        current.token == token
            && (current.state == State::InFlight || seeded(Seeded::RenewComparesNoState))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::transition::tests::{attempt, settled};

    const STATES: [State; 4] = [
        State::InFlight,
        State::Unknown,
        State::Released,
        State::Completed,
    ];

    fn token(of: u8) -> Token {
        Token::from_bytes([of; 16])
    }

    /// Every record that a store can hold of one of three tokens.
    fn standings() -> Vec<Standing> {
        let mut all = Vec::new();
        for of in 1..=3 {
            for state in STATES {
                for lapsed in [false, true] {
                    all.push(Standing {
                        token: token(of),
                        state,
                        lapsed,
                    });
                }
            }
        }
        all
    }

    fn expectations() -> Vec<Expect> {
        let mut all = vec![
            Expect::Released(token(1)),
            Expect::Unknown(token(1)),
            Expect::Lapsed(token(1)),
            Expect::Held(token(1)),
        ];
        all.extend(STATES.map(|state| Expect::Shown(token(1), state)));
        all
    }

    /// A claim by token 2, what token 1 settles, and what an operator writes under token 3.
    fn writes() -> Vec<Record> {
        let mut writes = vec![attempt(2).claim()];
        writes.extend(STATES[1..].iter().map(|state| settled(1, *state)));
        writes.extend([State::Released, State::Completed].map(|state| settled(3, state)));
        writes
    }

    #[test]
    fn a_write_goes_through_only_where_the_record_is_as_expected() {
        let mut written = 0;
        for expect in expectations() {
            for current in standings() {
                for next in writes() {
                    let stands = current.token == next.token && current.state == next.state;
                    let met = current.token == token(1)
                        && matches!(
                            (expect, current.state, current.lapsed),
                            (Expect::Released(_), State::Released, _)
                                | (Expect::Unknown(_), State::Unknown, _)
                                | (Expect::Lapsed(_), State::InFlight, true)
                                | (Expect::Held(_), State::InFlight | State::Unknown, _)
                        )
                        || matches!(expect, Expect::Shown(_, state)
                            if (current.token, current.state) == (token(1), state));
                    let expected = match (stands, met) {
                        (true, _) => Ruling::Stands,
                        (false, true) => Ruling::Write,
                        (false, false) => Ruling::Stale,
                    };
                    written += u32::from(expected == Ruling::Write);
                    assert_eq!(
                        expect.rule(Some(current), &next),
                        expected,
                        "{expect:?} {current:?} {:?}",
                        next.state
                    );
                }
            }
        }
        assert!(written > 0);
    }

    #[test]
    fn a_lost_record_comes_back_by_its_settlement_and_by_nothing_else() {
        for expect in expectations() {
            for next in writes() {
                let expected = match expect {
                    Expect::Held(_) => Ruling::Restore,
                    _ => Ruling::Stale,
                };
                assert_eq!(expect.rule(None, &next), expected, "{expect:?}");
            }
        }
    }

    #[test]
    fn nothing_is_written_over_a_completed_record_but_an_operators_order() {
        for expect in expectations() {
            if matches!(expect, Expect::Shown(_, State::Completed)) {
                continue;
            }
            for current in standings() {
                for next in writes() {
                    if current.state == State::Completed {
                        let ruling = expect.rule(Some(current), &next);
                        assert!(
                            matches!(ruling, Ruling::Stale | Ruling::Stands),
                            "{ruling:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_write_again_changes_nothing_and_succeeds() {
        for expect in expectations() {
            for current in standings() {
                for next in writes() {
                    if expect.rule(Some(current), &next) == Ruling::Write {
                        let after = Standing {
                            token: next.token,
                            state: next.state,
                            lapsed: false,
                        };
                        assert_eq!(expect.rule(Some(after), &next), Ruling::Stands);
                    }
                }
            }
        }
    }

    #[test]
    fn a_heartbeat_renews_its_own_claim_in_flight_lapsed_or_not() {
        assert!(!may_renew(None, token(1)));
        for current in standings() {
            assert_eq!(
                may_renew(Some(current), token(1)),
                current.token == token(1) && current.state == State::InFlight,
                "{current:?}"
            );
        }
    }
}
