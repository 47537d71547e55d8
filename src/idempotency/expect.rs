//! What a write asks of the record that it replaces.

use super::record::{Record, State};
use super::token::Token;

/// What a write asks of the record that it replaces; checked and written by the store in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// This token, released: a new claim over it.
    Released(Token),
    /// This token, unknown: a take-over, or an operator's word.
    Unknown(Token),
    /// This token, in flight, and its lease lapsed by the store's own clock in this very step: a take-over.
    Lapsed(Token),
    /// This token, in flight or unknown, or no record at all: a settlement.
    Held(Token),
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
    /// Rules on a write that would put `next` in the place of `current`.
    pub fn rule(self, current: Option<Standing>, next: &Record) -> Ruling {
        let Some(current) = current else {
            return if matches!(self, Self::Held(_)) {
                Ruling::Restore
            } else {
                Ruling::Stale
            };
        };
        if current.token == next.token && current.state == next.state {
            return Ruling::Stands;
        }
        let met = match self {
            Self::Released(token) => current.token == token && current.state == State::Released,
            Self::Unknown(token) => current.token == token && current.state == State::Unknown,
            Self::Lapsed(token) => {
                current.token == token && current.state == State::InFlight && current.lapsed
            }
            Self::Held(token) => {
                current.token == token && matches!(current.state, State::InFlight | State::Unknown)
            }
        };
        if met { Ruling::Write } else { Ruling::Stale }
    }
}

/// Whether a heartbeat of `token` may renew the lease: only its own, and only in flight.
pub fn may_renew(current: Option<Standing>, token: Token) -> bool {
    current.is_some_and(|current| current.token == token && current.state == State::InFlight)
}
