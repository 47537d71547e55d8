//! The model for the checker: which steps there are, and what has to hold.

use idemproxy::idempotency::{Expect, State};
use stateright::{Model, Property};

use crate::cell::{Cell, Command, OPERATOR, Reply, Who, apply};
use crate::protocol;
use crate::setup::{Fault, Setup};
use crate::world::{Actor, At, Upstream, Wire, World};

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A request comes in.
    Start(Who),
    /// Its command reaches the store.
    Arrive(Who),
    /// It reads the reply.
    Hear(Who),
    /// The reply is lost, or the command late.
    TimeOut(Who),
    /// A command arrives that nobody waits for.
    ArriveLate(usize),
    /// Time passes before it has sent anything, with nobody asleep.
    Dawdle(Who),
    /// It falls asleep, for as long as a lease may be.
    Freeze(Who),
    /// It wakes.
    Wake(Who),
    /// It is killed.
    Crash(Who),
    /// It is about to send the first byte.
    Send(Who),
    /// The upstream never got a byte.
    NotSent(Who),
    /// The upstream does it, whoever listens.
    Effect(Who),
    /// The upstream says that it did not and will not.
    Refuse(Who),
    /// The answer was read: carried out.
    Answered(Who),
    /// The exchange ended, and nobody knows.
    Unanswered(Who),
    /// It renews its lease, late.
    Heartbeat(Who),
    /// The lease of the record in the store lapses.
    Lapse,
    /// The store is away for longer than a lease.
    Outage,
    /// The store was watched for a lease since.
    Steady,
    /// The store loses its record.
    Forget,
    /// A settled record reaches the end of its retention.
    Expire,
    /// An operator is shown the record.
    Show,
    /// The operator orders something on it; the order arrives later.
    Order(Word),
}

/// What an operator says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It may run again.
    Release,
    /// It was carried out.
    Executed,
}

impl Model for Setup {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (who, actor) in (1..).zip(&world.attempts) {
            if actor.at == At::Idle && may_start(self, world, who) {
                steps.push(Step::Start(who));
            }
            if actor.upstream == Upstream::Working {
                steps.push(Step::Effect(who));
            }
            if let Some(wire) = actor.waits.filter(|_| actor.at != At::Crashed)
                && wire.reply.is_none()
            {
                steps.push(Step::Arrive(who));
            }
            if actor.frozen {
                steps.push(Step::Wake(who));
            }
            if !actor.awake() {
                continue;
            }
            if let Some(wire) = actor.waits {
                if wire.reply.is_some() {
                    steps.push(Step::Hear(who));
                }
                if world.left.losses > 0 {
                    steps.push(Step::TimeOut(who));
                }
            }
            if world.left.crashes > 0 {
                steps.push(Step::Crash(who));
            }
            if world.left.freezes > 0 {
                steps.push(Step::Freeze(who));
            }
            match actor.at {
                At::Acquiring | At::Renewing
                    if world.left.freezes > 0 && actor.waits.is_some_and(|wire| !wire.late) =>
                {
                    steps.push(Step::Dawdle(who));
                }
                At::Ready => steps.extend([Step::Send(who), Step::NotSent(who)]),
                At::Executing => {
                    if actor.late && actor.waits.is_none() && !actor.superseded {
                        steps.push(Step::Heartbeat(who));
                    }
                    match actor.upstream {
                        Upstream::Working => steps.push(Step::Refuse(who)),
                        Upstream::Done(_) => steps.push(Step::Answered(who)),
                        Upstream::Nothing | Upstream::Refused => {}
                    }
                    if world.left.unknowns > 0 {
                        steps.push(Step::Unanswered(who));
                    }
                }
                _ => {}
            }
        }
        steps.extend((0..world.late.len()).map(Step::ArriveLate));
        if may_lapse(world) {
            steps.push(Step::Lapse);
        }
        if world.left.outages > 0 && world.attempts.iter().any(|actor| actor.holds()) {
            steps.push(Step::Outage);
        }
        // Within a lease, whoever is awake has renewed or settled.
        let unheard = |actor: &Actor| {
            actor.awake()
                && !actor.superseded
                && (actor.at == At::Settling || (actor.at == At::Executing && actor.late))
        };
        if !world.steady && !world.attempts.iter().any(unheard) {
            steps.push(Step::Steady);
        }
        if world.left.forgets > 0 && world.cell.is_some() {
            steps.push(Step::Forget);
        }
        if world.left.expiries > 0 && world.cell.is_some_and(|cell| !cell.is(State::InFlight)) {
            steps.push(Step::Expire);
        }
        if world.left.orders > 0 {
            if world.cell.is_some() && world.cell != world.shown {
                steps.push(Step::Show);
            }
            let words = [Word::Release, Word::Executed].into_iter();
            let permitted = words.filter(|word| protocol::order(self, world, *word).is_some());
            steps.extend(permitted.map(Step::Order));
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Start(who) => protocol::start(self, &mut world, who),
            Step::Arrive(who) => {
                let command = world.of(who).waits?.command;
                let reply = arrive(self, &mut world, command);
                world.of_mut(who).waits.as_mut()?.reply = Some(reply);
            }
            Step::Hear(who) => {
                let reply = world.of(who).waits?.reply?;
                protocol::receive(self, &mut world, who, reply);
            }
            Step::TimeOut(who) => {
                world.left.losses -= 1;
                protocol::time_out(self, &mut world, who);
            }
            Step::ArriveLate(at) => {
                let command = world.late.remove(at);
                arrive(self, &mut world, command);
            }
            Step::Dawdle(who) => world.of_mut(who).delay(),
            Step::Freeze(who) => {
                world.left.freezes -= 1;
                let actor = world.of_mut(who);
                actor.frozen = true;
                actor.slept = true;
                actor.delay();
            }
            Step::Wake(who) => world.of_mut(who).frozen = false,
            Step::Crash(who) => {
                world.left.crashes -= 1;
                let actor = world.of_mut(who);
                actor.at = At::Crashed;
                if let Some(wire) = actor.waits.take()
                    && wire.reply.is_none()
                {
                    world.late.push(wire.command);
                }
            }
            Step::Send(who) => protocol::send(self, &mut world, who),
            Step::NotSent(who) => protocol::finish(self, &mut world, who, State::Released),
            Step::Effect(who) => world.of_mut(who).upstream = Upstream::Done(1),
            Step::Refuse(who) => {
                world.of_mut(who).upstream = Upstream::Refused;
                protocol::finish(self, &mut world, who, State::Released);
            }
            Step::Answered(who) => protocol::finish(self, &mut world, who, State::Completed),
            Step::Unanswered(who) => {
                world.left.unknowns -= 1;
                if self.fault == Some(Fault::RetryUnanswered) {
                    let actor = world.of_mut(who);
                    if actor.upstream == Upstream::Done(1) {
                        actor.upstream = Upstream::Done(2);
                    }
                }
                protocol::finish(self, &mut world, who, State::Unknown);
            }
            Step::Heartbeat(who) => protocol::heartbeat(&mut world, who),
            Step::Lapse if self.fault == Some(Fault::ExpiryIsTheLease) => world.cell = None,
            Step::Lapse => {
                if self.fault != Some(Fault::CommandOutlivesLease) {
                    world.lose_old_take_overs();
                }
                world.cell.as_mut()?.lapsed = true;
            }
            Step::Outage => {
                world.left.outages -= 1;
                world.steady = false;
                for actor in world.attempts.iter_mut().filter(|actor| actor.holds()) {
                    actor.delay();
                }
            }
            Step::Steady => world.steady = true,
            Step::Forget => {
                world.left.forgets -= 1;
                world.sins.forgotten = true;
                world.cell = None;
            }
            Step::Expire => {
                world.left.expiries -= 1;
                world.cell = None;
            }
            Step::Show => world.shown = world.cell,
            Step::Order(word) => {
                let command = protocol::order(self, &world, word)?;
                world.left.orders -= 1;
                world.shown = None;
                world.late.push(command);
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties::all()
    }
}

/// A command reaches the store; what it does there is watched.
fn arrive(setup: &Setup, world: &mut World, command: Command) -> Reply {
    let before = world.cell;
    let reply = apply(setup, &mut world.cell, command);
    let (Some(before), Some(after)) = (before, world.cell) else {
        return reply;
    };
    if before.by == after.by && before.state == after.state {
        return reply;
    }
    world.sins.completed_changed |= before.is(State::Completed);
    if before.by != after.by {
        if let Command::Replace(Expect::Lapsed(_), _) = command {
            let holder = world.of(before.by);
            world.sins.taken_from_the_living |=
                holder.awake() && !holder.slept && in_charge(holder);
        }
        if before.by != OPERATOR {
            world.of_mut(before.by).superseded = true;
        }
        world.sins.let_run |= after.by == OPERATOR && after.is(State::Released);
    }
    reply
}

/// Bytes went upstream, and somebody watches over them.
fn in_charge(actor: &Actor) -> bool {
    actor.upstream != Upstream::Nothing && matches!(actor.at, At::Executing | At::Settling)
}

fn may_start(setup: &Setup, world: &World, who: Who) -> bool {
    let over = |actor: &Actor| matches!(actor.at, At::Done(_) | At::Crashed);
    let earlier = &world.attempts[..usize::from(who) - 1];
    if setup.one_client {
        earlier.iter().all(over)
    } else {
        // Attempts of one body are alike until they begin: they begin in order.
        earlier.iter().all(|actor| actor.at != At::Idle)
    }
}

/// A lease lapses only if its holder has not renewed for so long; who is over does not renew.
fn may_lapse(world: &World) -> bool {
    let unheard = |cell: &Cell| {
        let holder = world.of(cell.by);
        let late = match holder.waits {
            // Its last write arrived, whether or not it knows.
            Some(Wire {
                reply: Some(Reply::Created | Reply::Applied),
                late,
                ..
            }) => late,
            _ => holder.late,
        };
        late || !holder.holds() && holder.at != At::Acquiring
    };
    world
        .cell
        .is_some_and(|cell| cell.is(State::InFlight) && !cell.lapsed && unheard(&cell))
}
