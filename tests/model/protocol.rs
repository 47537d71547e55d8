//! What an attempt does with what it hears: the path of a request round the core, step by step.

use std::time::Duration;

use idemproxy::idempotency::operator::{Order, ordered};
use idemproxy::idempotency::{
    Expect, Lapse, Refusal, State, UnixMillis, UnknownOutcome, Verdict, decide, settle,
};

use crate::cell::{Cell, Command, LEASE, OPERATOR, Reply, TERMS, Who, attempt, outcome, token};
use crate::checks::Word;
use crate::setup::{Fault, Setup};
use crate::world::{At, End, Upstream, World};

/// Times that a request looks at a record before it gives up.
const ROUNDS: u8 = 4;

/// A request comes in, and claims its key.
pub fn start(setup: &Setup, world: &mut World, who: Who) {
    let claim = Cell::of(&attempt(setup, who).claim());
    let actor = world.of_mut(who);
    actor.at = At::Acquiring;
    actor.claim = Some(claim);
    actor.ask(Command::Insert(claim));
}

/// The reply that `who` waits for is read.
pub fn receive(setup: &Setup, world: &mut World, who: Who, reply: Reply) {
    let Some(wire) = world.of_mut(who).waits.take() else {
        return;
    };
    let claim = world.of(who).claim;
    match (world.of(who).at, reply) {
        (At::Acquiring, Reply::Created | Reply::Applied | Reply::Restored) => {
            hold(world, who, wire.late);
        }
        (At::Acquiring, Reply::Occupied(cell)) => {
            met(setup, world, who, cell, Lapse::Untold, wire.late);
        }
        (At::Acquiring, Reply::Seen(Some(cell))) => {
            let lapse = if cell.lapsed {
                Lapse::Lapsed
            } else {
                Lapse::Live
            };
            met(setup, world, who, cell, lapse, wire.late);
        }
        (At::Acquiring, Reply::Seen(None)) => start(setup, world, who),
        (At::Acquiring, Reply::Stale) => world.of_mut(who).ask(Command::Look),
        (At::Renewing, Reply::Applied) => {
            let actor = world.of_mut(who);
            actor.at = At::Ready;
            actor.slept &= wire.late;
            actor.late = wire.late && setup.fault != Some(Fault::ClockBeforeRenewalOnly);
        }
        // It gives up: nothing was sent.
        (At::Renewing, _) => finish(setup, world, who, State::Released),
        (At::Executing, Reply::Applied) => {
            let actor = world.of_mut(who);
            actor.late = wire.late;
            actor.slept &= wire.late;
        }
        // The claim is lost, and the execution cannot be stopped.
        (At::Executing, _) => {}
        (At::Settling, Reply::Stale) => world.of_mut(who).at = At::Done(End::Lost),
        (At::Settling, _) => world.of_mut(who).at = At::Done(End::Settled),
        (At::Asking, reply) => {
            let own = match reply {
                Reply::Created | Reply::Applied | Reply::Restored => true,
                Reply::Occupied(cell) => cell.by == who && cell.is(State::InFlight),
                Reply::Seen(_) | Reply::Stale => false,
            };
            if own {
                take_back(setup, world, who, claim);
            } else {
                world.of_mut(who).at = At::Done(End::Unavailable);
            }
        }
        (At::TakingBack, _) => world.of_mut(who).at = At::Done(End::TakenBack),
        (At::Idle | At::Ready | At::Crashed | At::Done(_), _) => {}
    }
}

/// No answer in time: what was asked may have been done, or may be later.
pub fn time_out(setup: &Setup, world: &mut World, who: Who) {
    let Some(wire) = world.of_mut(who).waits.take() else {
        return;
    };
    if wire.reply.is_none() {
        world.late.push(wire.command);
        world.late.sort_by_key(|command| format!("{command:?}"));
    }
    match (world.of(who).at, wire.command) {
        (At::Acquiring, Command::Look) => world.of_mut(who).at = At::Done(End::Unavailable),
        (At::Acquiring, _) if setup.fault == Some(Fault::NoJanitor) => {
            world.of_mut(who).at = At::Done(End::Unavailable);
        }
        (At::Acquiring, command) => {
            let actor = world.of_mut(who);
            actor.at = At::Asking;
            actor.ask(command);
        }
        (At::Renewing, _) => finish(setup, world, who, State::Released),
        (At::Executing, _) => {}
        (_, command) => world.of_mut(who).ask(command),
    }
}

/// The first byte goes upstream, unless too much time passed since the claim was known to stand.
pub fn send(setup: &Setup, world: &mut World, who: Who) {
    if world.of(who).late && setup.fault != Some(Fault::NoClock) {
        let actor = world.of_mut(who);
        actor.at = At::Renewing;
        actor.ask(Command::Renew(who));
        return;
    }
    let claimed = world
        .cell
        .is_some_and(|cell| cell.by == who && cell.is(State::InFlight));
    world.sins.sent_without_claim |= !claimed && !world.sins.forgotten;
    let actor = world.of_mut(who);
    actor.at = At::Executing;
    if actor.upstream == Upstream::Nothing {
        actor.upstream = Upstream::Working;
    }
}

/// The exchange is over, and its claim is settled.
pub fn finish(setup: &Setup, world: &mut World, who: Who, state: State) {
    let actor = world.of_mut(who);
    let Some(claim) = actor.claim else { return };
    // A heartbeat may be on its way still; nobody waits for it.
    if let Some(wire) = actor.waits.take()
        && wire.reply.is_none()
    {
        world.late.push(wire.command);
    }
    let command = settlement(setup, who, claim, state);
    let actor = world.of_mut(who);
    actor.at = At::Settling;
    actor.ask(command);
}

/// The lease of an exchange under way is renewed.
pub fn heartbeat(world: &mut World, who: Who) {
    world.of_mut(who).ask(Command::Renew(who));
}

/// What an operator asks of the store, who says this of the record that was shown; nothing where the core refuses.
pub fn order(setup: &Setup, world: &World, word: Word) -> Option<Command> {
    let cell = world.shown?;
    let lapse = if cell.lapsed {
        Lapse::Lapsed
    } else {
        Lapse::Live
    };
    let (expect, record) = ordered(
        Some(&cell.seen(setup, lapse)),
        steady(setup, world),
        match word {
            Word::Release => Order::Release,
            Word::Executed => Order::Executed(None),
        },
        false,
        token(OPERATOR),
        TERMS,
        UnixMillis::default(),
    )
    .ok()?;
    Some(Command::Replace(expect, Cell::of(&record)))
}

fn steady(setup: &Setup, world: &World) -> Duration {
    if world.steady || setup.fault == Some(Fault::OutageIsLapse) {
        LEASE
    } else {
        LEASE / 2
    }
}

fn met(setup: &Setup, world: &mut World, who: Who, cell: Cell, lapse: Lapse, late: bool) {
    let attempt = attempt(setup, who);
    let seen = cell.seen(setup, lapse);
    let verdict = decide(&seen, &attempt, setup.in_doubt, steady(setup, world));
    let actor = world.of_mut(who);
    actor.rounds += 1;
    if actor.rounds > ROUNDS {
        actor.at = At::Done(End::InProgress);
        return;
    }
    match verdict {
        Verdict::Mine => hold(world, who, late),
        Verdict::Claim(expect) => {
            let mut claim = Cell::of(&attempt.claim_over(&seen.record));
            if setup.fault == Some(Fault::ReleaseUnknownOutcome) {
                claim.in_doubt = false;
            }
            actor.claim = Some(claim);
            actor.ask(Command::Replace(expect, claim));
        }
        Verdict::Look => actor.ask(Command::Look),
        Verdict::Replay => actor.at = At::Done(End::Replayed(cell.answer)),
        Verdict::Refuse(Refusal::InProgress) => actor.at = At::Done(End::InProgress),
        Verdict::Refuse(_) => actor.at = At::Done(End::Refused),
        Verdict::Hash | Verdict::Verify | Verdict::Probe(_) => {
            unreachable!("bodies are whole here, and nobody probes")
        }
    }
}

fn hold(world: &mut World, who: Who, late: bool) {
    let actor = world.of_mut(who);
    actor.at = At::Ready;
    actor.late = late;
}

fn take_back(setup: &Setup, world: &mut World, who: Who, claim: Option<Cell>) {
    let Some(claim) = claim else { return };
    let command = settlement(setup, who, claim, State::Released);
    let actor = world.of_mut(who);
    actor.at = At::TakingBack;
    actor.ask(command);
}

fn settlement(setup: &Setup, who: Who, claim: Cell, state: State) -> Command {
    let record = settle(
        claim.record(setup),
        TERMS,
        outcome(state, who),
        None,
        UnixMillis::default(),
    );
    Command::Replace(Expect::Held(token(who)), Cell::of(&record))
}

/// Whether the policy lets a key in doubt run again.
pub fn retries(setup: &Setup) -> bool {
    setup.in_doubt == UnknownOutcome::Retry
}
