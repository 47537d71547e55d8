//! What has to hold in every state, and what has to be seen in some.

use idemproxy::idempotency::State;
use stateright::Property;

use crate::cell::{Cell, OPERATOR};
use crate::protocol::retries;
use crate::setup::Setup;
use crate::world::{Actor, At, End, Upstream, World};

pub const ONCE: &str = "no effect happens twice under reject";
pub const ONE_AT_A_TIME: &str = "of those who execute awake, one at most";
pub const FIRST_BYTE: &str = "who sends the first byte holds the claim";
pub const TAKE_OVER: &str = "nothing is taken from a holder that is awake and heard of";
pub const COMPLETED: &str = "a completed record stays as it is";
pub const REPLAY: &str = "every replay is the answer of an effect, and the same";
pub const RELEASED: &str = "a released record is true: nobody did it, and nobody will";
pub const SETTLED: &str = "an effect is recorded, unless its claim was taken over";
pub const LEFT_BEHIND: &str = "no claim of one that is over stands in flight";
pub const ALONE: &str = "who comes after all others are over is not told in-progress";

pub const SEE_REPLAY: &str = "a replay";
pub const SEE_TAKE_OVER: &str = "a take-over";
pub const SEE_TAKEN_BACK: &str = "a claim taken back";
pub const SEE_LOST: &str = "a settlement that met another claim";
pub const SEE_TWO_SENT: &str = "two that were sent";
pub const SEE_LET_RUN: &str = "an effect after an operator let the key run again";
pub const SEE_RESOLVED: &str = "a key that an operator said was carried out";
pub const SEE_UNKNOWN: &str = "an unknown outcome refused";

/// Every property; those that a setup does not promise hold of themselves.
pub fn all() -> Vec<Property<Setup>> {
    vec![
        Property::always(ONCE, |setup: &Setup, world: &World| {
            retries(setup) || forgiven(setup, world) || world.effects() <= 1
        }),
        Property::always(ONE_AT_A_TIME, |setup: &Setup, world: &World| {
            let executes =
                |actor: &&Actor| actor.at == At::Executing && actor.awake() && !actor.slept;
            excused(setup, world) || world.attempts.iter().filter(executes).count() <= 1
        }),
        Property::always(FIRST_BYTE, |setup: &Setup, world: &World| {
            excused(setup, world) || !world.sins.sent_without_claim
        }),
        Property::always(TAKE_OVER, |_: &Setup, world: &World| {
            !world.sins.taken_from_the_living
        }),
        Property::always(COMPLETED, |_: &Setup, world: &World| {
            !world.sins.completed_changed
        }),
        Property::always(REPLAY, |setup: &Setup, world: &World| {
            let mut replays = world.attempts.iter().filter_map(|actor| match actor.at {
                At::Done(End::Replayed(whose)) => Some(whose),
                _ => None,
            });
            let Some(first) = replays.next() else {
                return true;
            };
            matches!(world.of(first).upstream, Upstream::Done(_))
                && (forgiven(setup, world) || replays.all(|other| other == first))
        }),
        Property::always(RELEASED, |setup: &Setup, world: &World| {
            let not_done = |upstream| matches!(upstream, Upstream::Nothing | Upstream::Refused);
            forgiven(setup, world)
                || !world.cell.is_some_and(|cell| cell.is(State::Released))
                || world
                    .attempts
                    .iter()
                    .all(|actor| not_done(actor.upstream) || actor.at == At::Executing)
        }),
        Property::always(SETTLED, |setup: &Setup, world: &World| {
            excused(setup, world)
                || world.attempts.iter().all(|actor| {
                    !(actor.at == At::Done(End::Lost)
                        && matches!(actor.upstream, Upstream::Done(_)))
                        || actor.superseded
                })
        }),
        Property::always(LEFT_BEHIND, |setup: &Setup, world: &World| {
            excused(setup, world)
                || !world.cell.is_some_and(|cell| {
                    cell.is(State::InFlight) && matches!(world.of(cell.by).at, At::Done(_))
                })
        }),
        Property::always(ALONE, |setup: &Setup, world: &World| {
            !setup.one_client || excused(setup, world) || !world.any(|end| end == End::InProgress)
        }),
        Property::sometimes(SEE_REPLAY, |_: &Setup, world: &World| {
            world.any(|end| matches!(end, End::Replayed(_)))
        }),
        Property::sometimes(SEE_TAKE_OVER, |_: &Setup, world: &World| {
            world.cell.is_some_and(|cell| cell.in_doubt)
        }),
        Property::sometimes(SEE_TAKEN_BACK, |_: &Setup, world: &World| {
            world.any(|end| end == End::TakenBack)
        }),
        Property::sometimes(SEE_LOST, |_: &Setup, world: &World| {
            world.any(|end| end == End::Lost)
        }),
        Property::sometimes(SEE_TWO_SENT, |_: &Setup, world: &World| {
            let sent = |actor: &&Actor| actor.upstream != Upstream::Nothing;
            world.attempts.iter().filter(sent).count() > 1
        }),
        Property::sometimes(SEE_LET_RUN, |_: &Setup, world: &World| {
            world.sins.let_run && world.effects() > 1
        }),
        Property::sometimes(SEE_RESOLVED, |_: &Setup, world: &World| {
            let by_hand = |cell: Cell| cell.by == OPERATOR && cell.is(State::Completed);
            world.cell.is_some_and(by_hand)
        }),
        Property::sometimes(SEE_UNKNOWN, |_: &Setup, world: &World| {
            world.any(|end| end == End::Refused)
        }),
    ]
}

/// The same, or an operator let the key run again.
fn forgiven(setup: &Setup, world: &World) -> bool {
    excused(setup, world) || world.sins.let_run
}

/// A store that forgot, or a record that came to its end by the operator's own word, lets a key run again.
fn excused(setup: &Setup, world: &World) -> bool {
    world.sins.forgotten || world.left.expiries < setup.expiries
}
