//! A state of the model: the store, the attempts, the commands on their way, and what really happened upstream.

use idemproxy::idempotency::Expect;

use crate::cell::{Cell, Command, Reply, Who, token};
use crate::setup::Setup;

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// What the store holds.
    pub cell: Option<Cell>,
    /// Whether the store was watched for a lease without a break.
    pub steady: bool,
    /// The attempts, the first of them number 1.
    pub attempts: Vec<Actor>,
    /// Commands whose sender no longer waits, and that may still arrive.
    pub late: Vec<Command>,
    /// What an operator was shown.
    pub shown: Option<Cell>,
    /// What may still go wrong.
    pub left: Left,
    /// What was ever seen to go wrong.
    pub sins: Sins,
}

/// One exchange: its request, its task in a proxy, its janitor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    pub at: At,
    /// More than a third of the lease passed since its last acknowledged write was sent. A lease lapses no sooner.
    pub late: bool,
    /// It does not take a step.
    pub frozen: bool,
    /// It was frozen, and has not renewed since.
    pub slept: bool,
    /// The command that it waits for.
    pub waits: Option<Wire>,
    /// The claim that it made or asks for.
    pub claim: Option<Cell>,
    /// How often it asked the store for the claim.
    pub rounds: u8,
    /// What really happened.
    pub upstream: Upstream,
    /// Another claim was written over its own.
    pub superseded: bool,
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Not come in.
    Idle,
    /// Asks for its claim.
    Acquiring,
    /// Has its claim; nothing was sent.
    Ready,
    /// Renews before the first byte.
    Renewing,
    /// Bytes went to the upstream.
    Executing,
    /// Writes its end.
    Settling,
    /// Its client was told 503; the janitor asks for the claim again.
    Asking,
    /// The janitor writes its end.
    TakingBack,
    /// Killed.
    Crashed,
    /// Over.
    Done(End),
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Settled as its outcome said.
    Settled,
    /// Its settlement met another claim.
    Lost,
    /// Answered from the record: whose answer.
    Replayed(Who),
    /// 409 `in-progress`.
    InProgress,
    /// Any other refusal.
    Refused,
    /// 503, and the janitor took back what there was.
    TakenBack,
    /// 503, and there was nothing to take back.
    Unavailable,
}

/// A command on its way, or its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wire {
    pub command: Command,
    pub reply: Option<Reply>,
    /// More than a third of the lease passed since it was sent.
    pub late: bool,
}

/// What really happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upstream {
    /// It never got a byte.
    Nothing,
    /// It may still do it, whoever listens.
    Working,
    /// It did it this often.
    Done(u8),
    /// It did not, and will not.
    Refused,
}

/// What may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub losses: u8,
    pub crashes: u8,
    pub freezes: u8,
    pub outages: u8,
    pub unknowns: u8,
    pub forgets: u8,
    pub expiries: u8,
    pub orders: u8,
}

/// What was ever seen to go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sins {
    /// A first byte was sent by one whose claim was not in the store.
    pub sent_without_claim: bool,
    /// A claim was taken from a holder that was alive, awake and heard of.
    pub taken_from_the_living: bool,
    /// A completed record was written over.
    pub completed_changed: bool,
    /// The store forgot, so that what follows from it is no fault of ours.
    pub forgotten: bool,
    /// An operator let the key run again.
    pub let_run: bool,
}

impl World {
    pub fn new(setup: &Setup) -> Self {
        let actor = Actor {
            at: At::Idle,
            late: false,
            frozen: false,
            slept: false,
            waits: None,
            claim: None,
            rounds: 0,
            upstream: Upstream::Nothing,
            superseded: false,
        };
        Self {
            cell: None,
            steady: true,
            attempts: vec![actor; setup.payloads.len()],
            late: Vec::new(),
            shown: None,
            left: Left {
                losses: setup.losses,
                crashes: setup.crashes,
                freezes: setup.freezes,
                outages: setup.outages,
                unknowns: setup.unknowns,
                forgets: setup.forgets,
                expiries: setup.expiries,
                orders: setup.orders,
            },
            sins: Sins::default(),
        }
    }

    pub fn of(&self, who: Who) -> &Actor {
        &self.attempts[usize::from(who) - 1]
    }

    pub fn of_mut(&mut self, who: Who) -> &mut Actor {
        &mut self.attempts[usize::from(who) - 1]
    }

    /// How often the effect happened.
    pub fn effects(&self) -> u8 {
        self.attempts
            .iter()
            .map(|actor| match actor.upstream {
                Upstream::Done(times) => times,
                _ => 0,
            })
            .sum()
    }

    /// A take-over of a claim that is still on its way as the claim lapses goes back to a look before its last renewal: more than a lease ago.
    pub fn lose_old_take_overs(&mut self) {
        let Some(holder) = self.cell.map(|cell| token(cell.by)) else {
            return;
        };
        let old = |command: &Command| matches!(command, Command::Replace(Expect::Lapsed(of), _) if *of == holder);
        self.late.retain(|late| !old(late));
        for wire in self.attempts.iter_mut().filter_map(|it| it.waits.as_mut()) {
            if old(&wire.command) {
                wire.reply.get_or_insert(Reply::Stale);
            }
        }
    }

    /// Whether an attempt ended like this.
    pub fn any(&self, end: impl Fn(End) -> bool) -> bool {
        self.attempts
            .iter()
            .any(|actor| matches!(actor.at, At::Done(it) if end(it)))
    }
}

impl Actor {
    /// Alive and able to take a step.
    pub fn awake(&self) -> bool {
        !self.frozen && !matches!(self.at, At::Idle | At::Crashed | At::Done(_))
    }

    /// Has its own claim, for all it knows.
    pub fn holds(&self) -> bool {
        matches!(
            self.at,
            At::Ready | At::Renewing | At::Executing | At::Settling
        )
    }

    /// Time passes, more than a third of the lease.
    pub fn delay(&mut self) {
        self.late = true;
        if let Some(wire) = &mut self.waits {
            wire.late = true;
        }
    }

    pub fn ask(&mut self, command: Command) {
        self.waits = Some(Wire {
            command,
            reply: None,
            late: false,
        });
    }
}
