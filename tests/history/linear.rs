//! Whether what clients saw of one operation can have happened in one order.
//!
//! # What a key may do, one request after another
//!
//! A key is `Open` until the upstream's final answer is known somewhere. Then it is `Done`, for ever, with one answer. In between a client may be
//! *told* the answer while the store has not taken it yet: then it becomes `Done` with this answer, or remains in doubt if the proxy dies with it.
//!
//! - `Stored(v)`, the first answer and kept: from `Open` or from `Told(v)` to `Done(v)`.
//! - `Told(v)`, the first answer and not kept yet: from `Open` to `Told(v)`. A superseded attempt under `retry` tells its own at any time, and changes nothing.
//! - `Replay(v)`: only in `Done(v)`, or in `Told(v)`, which the background has written.
//! - `NotDone`: released, unknown, in progress. All three say that the key is not completed, so all are allowed in `Open` and in `Told`, and
//!   none in `Done`. Among themselves they come in any order: a lapsed claim is renewed by its holder (unknown, then in progress), a holder of
//!   an unknown key ends late (unknown, then stored), a lost claim is given up (unknown, then released).
//! - `Reused`, for another body: only after the first one was seen.
//! - A request that the upstream answered for good, whose own client did not hear of it, may complete the key at any time after its start, or never (`Late`).
//!
//! What says nothing of the key (no answer, 503, a request that goes on without its client) is left out. Real time is what the tester adds: an answer that ended before a request began comes before it.

use std::collections::BTreeMap;

use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use super::checks::violation;
use super::evidence::{Evidence, Violation};
use super::history::{Asked, At, Class, Outcome, Route, by_cell, outcome_of};
use super::ledger::Visit;

/// The requests of each operation can have happened in an order in which a single key would have answered so.
pub fn linearizable(evidence: &Evidence) -> Vec<Violation> {
    let visits = evidence.visits_of();
    let mut violations = Vec::new();
    for (cell, asked) in by_cell(&evidence.asked) {
        let visits = visits.get(&cell).map_or(&[][..], Vec::as_slice);
        let retry = evidence.cells[cell].route == Route::Again;
        if !can_be(&asked, visits, retry) {
            let what = "no order of its requests explains its answers".to_owned();
            violations.push(violation("linearizable", cell, what));
        }
    }
    violations
}

/// One key.
#[derive(Clone, Debug)]
struct Key {
    state: State,
    /// Whether what is in doubt runs again.
    retry: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Told(u64),
    Done(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Ask,
    /// An answer that came for good, and was not told.
    Late(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ret {
    Stored(u64),
    Told(u64),
    Replay(u64),
    NotDone,
    Reused,
    Silent,
}

impl SequentialSpec for Key {
    type Op = Op;
    type Ret = Ret;

    /// Only of what never returned.
    fn invoke(&mut self, op: &Op) -> Ret {
        if let (Op::Late(visit), false) = (op, matches!(self.state, State::Done(_))) {
            self.state = State::Done(*visit);
        }
        Ret::Silent
    }

    fn is_valid_step(&mut self, _: &Op, ret: &Ret) -> bool {
        let next = match (self.state, *ret) {
            (State::Open, Ret::Stored(visit)) => State::Done(visit),
            (State::Told(told), Ret::Stored(visit)) if told == visit || self.retry => {
                State::Done(visit)
            }
            (State::Open, Ret::Told(visit)) => State::Told(visit),
            (state, Ret::Told(_)) if self.retry => state,
            (State::Told(told) | State::Done(told), Ret::Replay(visit)) if told == visit => {
                State::Done(visit)
            }
            (state @ (State::Open | State::Told(_)), Ret::NotDone) => state,
            (state, Ret::Reused) => state,
            _ => return false,
        };
        self.state = next;
        true
    }
}

/// Requests that follow each other are on one thread.
struct Thread<'a> {
    asked: Vec<&'a Asked>,
}

fn can_be(asked: &[&Asked], visits: &[&Visit], retry: bool) -> bool {
    let mut threads: Vec<Thread<'_>> = Vec::new();
    for asked in asked.iter().filter(|asked| ret(&asked.class()).is_some()) {
        let free = threads.iter_mut().find(|thread| {
            thread
                .asked
                .last()
                .is_none_or(|last| last.end < asked.start)
        });
        match free {
            Some(thread) => {
                // What comes after on the same thread says the same, and says it longer.
                let same = |last: &&Asked| ret(&last.class()) == ret(&asked.class());
                if thread.asked.last().is_some_and(same)
                    && ret(&asked.class()) == Some(Ret::NotDone)
                {
                    thread.asked.pop();
                }
                thread.asked.push(asked);
            }
            None => threads.push(Thread { asked: vec![asked] }),
        }
    }
    let mut events: Vec<(At, bool, usize, Step)> = Vec::new();
    for (number, thread) in threads.iter().enumerate() {
        for asked in &thread.asked {
            let ret = ret(&asked.class()).expect("only these are there");
            events.push((asked.start, true, number, Step::Invoke(Op::Ask)));
            events.push((asked.end, false, number, Step::Return(ret)));
        }
    }
    let told: Vec<u64> = asked
        .iter()
        .filter(|asked| matches!(asked.class(), Class::Stored(_) | Class::Told(_)))
        .map(|asked| asked.id)
        .collect();
    let starts: BTreeMap<u64, At> = asked.iter().map(|asked| (asked.id, asked.start)).collect();
    for (number, visit) in visits.iter().enumerate() {
        let last = visit
            .answer
            .as_ref()
            .is_some_and(|sent| outcome_of(sent.status) == Outcome::Final);
        if last && !told.contains(&visit.request) {
            let start = starts
                .get(&visit.request)
                .copied()
                .unwrap_or(visit.received);
            events.push((
                start,
                true,
                threads.len() + number,
                Step::Invoke(Op::Late(visit.number)),
            ));
        }
    }
    // An answer and a request of the same moment are taken for concurrent.
    events.sort_by_key(|(at, is_request, ..)| (*at, !*is_request));
    let state = State::Open;
    let mut tester = LinearizabilityTester::new(Key { state, retry });
    for (_, _, thread, step) in events {
        let noted = match step {
            Step::Invoke(op) => tester.on_invoke(thread, op).map(|_| ()),
            Step::Return(ret) => tester.on_return(thread, ret).map(|_| ()),
        };
        noted.expect("requests of one thread follow each other");
    }
    tester.is_consistent()
}

enum Step {
    Invoke(Op),
    Return(Ret),
}

/// What an answer says of the key, if anything.
fn ret(class: &Class) -> Option<Ret> {
    Some(match class {
        Class::Stored(visit) => Ret::Stored(*visit),
        Class::Told(visit) => Ret::Told(*visit),
        Class::Replay(visit) => Ret::Replay(*visit),
        Class::Released | Class::Unknown | Class::InProgress => Ret::NotDone,
        Class::KeyReused => Ret::Reused,
        Class::NotNow | Class::GoesOn | Class::None | Class::Odd => return None,
    })
}
