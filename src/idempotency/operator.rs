//! What an operator may do to a record, pure.
//!
//! Every order is a compare-and-set on the record as it was shown: its token in its state ([`Expect::Shown`]), or, without force, its
//! claim lapsed in the very step that writes ([`Expect::Lapsed`]). What is written stands under a new token, so that a holder that is still
//! running can neither settle nor renew.
//!
//! | shown | release | delete | executed | not executed |
//! |---|---|---|---|---|
//! | nothing | – | – | – | – |
//! | in flight, lease live or untold | force | force | force | force |
//! | in flight, lapsed, store not watched for one lease | force | force | force | force |
//! | in flight, lapsed | yes | yes | yes | yes |
//! | unknown | yes | yes | yes | yes |
//! | released | – | yes | force | – |
//! | completed | force | yes | force | force |
//!
//! Release is for what is stuck, and a completed record is not: most likely it was settled since the operator looked, and to let it run
//! again takes force. Delete says itself that the record goes, settled or not. What a resolution contradicts, it needs force for.

use std::time::Duration;

use super::expect::Expect;
use super::origin::Origin;
use super::record::{Record, State, StoredResponse, UnixMillis};
use super::token::Token;
use super::transition::{Lapse, Seen, Terms};

/// What an operator orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// It may run again.
    Release,
    /// It may run again, and what the record holds of the request and its answer is forgotten.
    Delete,
    /// It was carried out; with the answer that duplicates get, if there is one to give.
    Executed(Option<StoredResponse>),
    /// It was not carried out, by none of its attempts.
    NotExecuted,
}

/// Why an order is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no record.
    #[error("there is no record")]
    NothingThere,
    /// Somebody is at work on it, for all that is known. Force overrides it.
    #[error("its lease is live: somebody is at work on it")]
    LeaseLive,
    /// Its lease lapsed, and heartbeats may have been lost with the store: it was not watched for one whole lease. After so long it may be.
    /// Force overrides it.
    #[error("its lease lapsed, and the store was not watched for long enough to believe it")]
    Unwatched(Duration),
    /// It is settled in this state, and the order contradicts that. Force overrides it.
    #[error("it is settled already: {}", .0.name())]
    AlreadySettled(State),
    /// It may run again as it is.
    #[error("it is released already")]
    AlreadyReleased,
}

impl Refused {
    /// Whether the same order with force is carried out.
    pub const fn yields_to_force(self) -> bool {
        match self {
            Self::LeaseLive | Self::Unwatched(_) | Self::AlreadySettled(_) => true,
            Self::NothingThere | Self::AlreadyReleased => false,
        }
    }
}

/// What follows from an order on a record as it was shown: what to write in its place, and what the store is to expect there.
///
/// `steady` is for how long the store was seen without a break, as for [`decide`](super::decide): a lapse is believed only after one whole
/// lease of it. `token` is a new one. Of `terms`, those of the record's route, `retention` and `failed_retention` count.
///
/// # Errors
///
/// Why it is not done.
pub fn ordered(
    seen: Option<&Seen>,
    steady: Duration,
    order: Order,
    force: bool,
    token: Token,
    terms: Terms,
    now: UnixMillis,
) -> Result<(Expect, Record), Refused> {
    let seen = seen.ok_or(Refused::NothingThere)?;
    let expect = permitted(seen, steady, &order, force)?;
    Ok((expect, written(&seen.record, order, token, terms, now)))
}

/// Whether the record of a claim, `now`, is as an operator settled it while that very claim was running: no other attempt came between.
pub fn overruled(claim: &Record, now: &Record) -> bool {
    let ordered = now
        .error
        .as_deref()
        .is_some_and(|said| SAID.contains(&said));
    // A claim keeps what the record said that it is made over; whoever settles it does not.
    matches!(now.state, State::Released | State::Completed)
        && ordered
        && (now.attempts, now.created) == (claim.attempts, claim.created)
}

fn permitted(seen: &Seen, steady: Duration, order: &Order, force: bool) -> Result<Expect, Refused> {
    let record = &seen.record;
    let shown = Expect::Shown(record.token, record.state);
    match (record.state, order) {
        (State::InFlight, _) if force => Ok(shown),
        (State::InFlight, _) => match seen.lapse {
            Lapse::Live | Lapse::Untold => Err(Refused::LeaseLive),
            Lapse::Lapsed if steady < record.lease => {
                Err(Refused::Unwatched(record.lease.saturating_sub(steady)))
            }
            Lapse::Lapsed => Ok(Expect::Lapsed(record.token)),
        },
        (State::Unknown, _) | (_, Order::Delete) => Ok(shown),
        (State::Released, Order::Release | Order::NotExecuted) => Err(Refused::AlreadyReleased),
        (state @ (State::Released | State::Completed), _) if !force => {
            Err(Refused::AlreadySettled(state))
        }
        (State::Released | State::Completed, _) => Ok(shown),
    }
}

fn written(seen: &Record, order: Order, token: Token, terms: Terms, now: UnixMillis) -> Record {
    // Never less than it has: a holder that comes back finds a record, or else it would bring its claim back. That of a claim may still
    // be at work when one order follows another.
    let kept = |terms: Duration| terms.max(seen.ttl);
    let released = |error: &str| Record {
        token,
        state: State::Released,
        ttl: kept(terms.failed_retention),
        in_doubt: false,
        settled: Some(now),
        expires: None,
        error: Some(error.to_owned()),
        response: None,
        ..seen.clone()
    };
    match order {
        Order::Release => released(RELEASED),
        Order::NotExecuted => released(NOT_EXECUTED),
        Order::Delete => Record {
            fingerprint: None,
            credentials: None,
            status: None,
            trace: None,
            origin: Origin::new(
                seen.origin.route(),
                seen.origin.method(),
                "",
                Default::default(),
            ),
            ..released(DELETED)
        },
        Order::Executed(response) => Record {
            token,
            state: State::Completed,
            ttl: kept(terms.retention),
            in_doubt: false,
            settled: Some(now),
            expires: Some(now.after(kept(terms.retention))),
            status: response.as_ref().map_or(seen.status, |it| Some(it.status)),
            error: Some(EXECUTED.to_owned()),
            response,
            ..seen.clone()
        },
    }
}

/// What a record says of an operator's order, where it tells what went wrong last.
const RELEASED: &str = "released by an operator";
const DELETED: &str = "deleted by an operator";
const EXECUTED: &str = "resolved as executed by an operator";
const NOT_EXECUTED: &str = "resolved as not executed by an operator";
const SAID: [&str; 4] = [RELEASED, DELETED, EXECUTED, NOT_EXECUTED];

#[cfg(test)]
mod tests;
