//! Which outcomes may be unknown: only those that something can have made so.
//!
//! An exchange is a request that claimed its key, or may have. A fault explains what it touched while an exchange ran: the way to the upstream while the
//! request was there; the process, the store and the way to it from the claim until the settlement. An exchange that is known to have
//! settled before a request began explains nothing of what that request was told; nor does anything, once somebody was told that the key is completed.
//! Links to clients explain nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks::violation;
use super::evidence::{Evidence, Violation};
use super::faults::{Fault, On};
use super::history::{Asked, At, CellId, Class, by_cell};
use super::ledger::Visit;

/// An outcome is unknown only where something can have made it so.
pub fn unknowns_are_explained(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    let visits = evidence.visits_of();
    for (cell, asked) in by_cell(&evidence.asked) {
        let causes = Causes::new(evidence, &visits, cell, &asked, true);
        let mut told = asked.iter().filter(|asked| asked.class() == Class::Unknown);
        if let Some(told) = told.find(|told| !causes.explain(told)) {
            let what = format!(
                "request {}: nothing explains that the outcome is unknown",
                told.id
            );
            violations.push(violation("unknowns are explained", cell, what));
        }
    }
    violations
}

/// How much the check above lets pass: the share of the requests told something else that would have been explained, had they been told that the outcome is unknown.
/// With a machine that stood still as an explanation, or not.
pub fn excused(evidence: &Evidence, stalls: bool) -> f64 {
    let visits = evidence.visits_of();
    let (mut excused, mut all) = (0, 0);
    for (cell, asked) in by_cell(&evidence.asked) {
        let causes = Causes::new(evidence, &visits, cell, &asked, stalls);
        for told in asked.iter().filter(|told| told.class() != Class::Unknown) {
            all += 1;
            excused += usize::from(causes.explain(told));
        }
    }
    excused as f64 / all.max(1) as f64
}

/// What can have made the outcome of one key unknown.
struct Causes<'a> {
    evidence: &'a Evidence,
    exchanges: Vec<Exchange<'a>>,
    /// Who was first told that the key is completed.
    completed: Option<&'a Asked>,
    /// Whether a machine that stood still explains anything.
    stalls: bool,
}

/// A request that claimed its key, or may have.
struct Exchange<'a> {
    asked: &'a Asked,
    visit: Option<&'a Visit>,
    /// When it was over at the latest, if its store took the settlement.
    until: At,
    /// From when on the store has its end for certain.
    settled: Option<At>,
}

impl<'a> Causes<'a> {
    fn new(
        evidence: &'a Evidence,
        visits: &BTreeMap<CellId, Vec<&'a Visit>>,
        cell: CellId,
        asked: &[&'a Asked],
        stalls: bool,
    ) -> Self {
        let of_cell = visits.get(&cell).map_or(&[][..], Vec::as_slice);
        let exchange = |asked: &&'a Asked| {
            let visit = of_cell.iter().find(|visit| visit.request == asked.id);
            Exchange::of(evidence, asked, visit.copied())
        };
        let says_completed =
            |asked: &&&Asked| matches!(asked.class(), Class::Stored(_) | Class::Replay(_));
        let completed = asked.iter().filter(says_completed);
        Self {
            evidence,
            completed: completed.min_by_key(|asked| asked.end).copied(),
            exchanges: asked.iter().filter_map(exchange).collect(),
            stalls,
        }
    }

    fn explain(&self, told: &Asked) -> bool {
        let completed = self.completed.is_some_and(|completed| {
            let dropped = self.evidence.flushed_between(completed.start, told.end);
            completed.end < told.start && !dropped
        });
        if completed {
            return false;
        }
        let open = self.exchanges.iter().filter(|exchange| {
            exchange.asked.start <= told.end
                && exchange.settled.is_none_or(|settled| settled >= told.start)
        });
        open.into_iter().any(|exchange| {
            let lost = exchange.visit.is_some_and(may_be_lost);
            lost || self.by_fault(exchange, told)
        })
    }

    fn by_fault(&self, exchange: &Exchange<'_>, told: &Asked) -> bool {
        let proxy = exchange.asked.proxy;
        let from = exchange.asked.start;
        let until = exchange.until.min(told.end);
        let during = |tail: Duration, until: At, on: &dyn Fn(On) -> bool| {
            let mut faults = self.evidence.faults.iter();
            let meets = |fault: &Fault| fault.overlaps(from.saturating_sub(tail), until);
            faults.any(|fault| on(fault.on) && meets(fault))
        };
        let to_store = |on| matches!(on, On::Store | On::Flush) || on == On::StoreLink(proxy);
        let killed = |on| on == On::Killed(proxy);
        // A connection that is dead in silence is kept for a while.
        during(KEPT, until, &|on| on == On::Upstream(proxy))
            || during(Duration::ZERO, until, &|on| {
                killed(on) || on == On::Frozen(proxy) || (on == On::Machine && self.stalls)
            })
            // Once all is healed, a holder that lives has told the store.
            || (during(KEPT, until, &to_store)
                && (!told.sweep || during(Duration::ZERO, told.end, &killed)))
    }
}

impl<'a> Exchange<'a> {
    /// None for a request that was answered without a claim.
    fn of(evidence: &Evidence, asked: &'a Asked, visit: Option<&'a Visit>) -> Option<Self> {
        let error = asked.answer().and_then(|answer| answer.error.as_deref());
        let state = asked.answer().and_then(|answer| answer.state.as_deref());
        let is_own = match asked.class() {
            Class::Unknown => !matches!(error, Some("outcome-unknown")),
            Class::NotNow => matches!(error, Some("store-unavailable")),
            Class::Stored(_) | Class::Told(_) | Class::Released => true,
            // It may have gone on.
            Class::GoesOn | Class::None => true,
            Class::Replay(_) | Class::InProgress | Class::KeyReused | Class::Odd => false,
        };
        if !is_own && visit.is_none() {
            return None;
        }
        let settled = match asked.class() {
            Class::Stored(_) => Some(asked.end),
            Class::Released if state == Some("released") => Some(asked.end),
            _ => None,
        };
        let times = evidence.times;
        // Whoever was answered by it knows that it is over, or that the store does not take its end.
        let until = match (asked.class(), visit) {
            (Class::GoesOn | Class::None, Some(visit)) => visit.received + times.upstream + BUSY,
            (Class::GoesOn | Class::None, None) => {
                asked.end + times.store + times.upstream * 2 + BUSY
            }
            _ => asked.end,
        };
        Some(Self {
            asked,
            visit,
            until,
            settled,
        })
    }
}

/// Whether a proxy may have been left without the end of this visit.
pub fn may_be_lost(visit: &Visit) -> bool {
    let slow = |end: At| end - visit.received > SLOW;
    visit.act.is_misbehaviour() || visit.answer.as_ref().is_none_or(|sent| slow(sent.at))
}

/// As long as an upstream may take before a proxy on a busy machine gives up on it.
const SLOW: Duration = Duration::from_millis(500);
/// As long as a proxy keeps a connection that is idle, or does not notice that it is dead.
pub const KEPT: Duration = Duration::from_millis(1_000);
/// What a busy machine adds to the length of an exchange.
const BUSY: Duration = Duration::from_millis(500);
