//! What must hold of every run: pure functions of the evidence, each under the name of what it finds broken.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Violation, name};
use super::explained::unknowns_are_explained;
use super::faults::On;
use super::history::{Asked, CellId, Class, Route, Said, by_cell};
use super::ledger::Visit;
use super::linear;
use super::workload::PATIENCE;

/// Everything that is wrong with a run, and how many keys a flush left out of what came after it.
pub fn check(evidence: &Evidence) -> (Vec<Violation>, usize) {
    let (kept, exempt) = evidence.before_flushes();
    let mut violations = Vec::new();
    for of_records in [
        at_most_one_effect,
        one_answer,
        stored_stays,
        released_is_true,
        linear::linearizable,
    ] {
        violations.extend(of_records(&kept));
    }
    for of_everything in [
        as_it_was_sent,
        own_caller_only,
        unknowns_are_explained,
        not_forwarded,
        refusals_are_due,
        nothing_hangs,
        answered_when_healed,
    ] {
        violations.extend(of_everything(evidence));
    }
    (violations, exempt)
}

/// An operation has one effect at most. Where the policy says to run again what is in doubt, this is not promised.
pub fn at_most_one_effect(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (cell, visits) in evidence.visits_of() {
        let effects = visits.iter().filter(|visit| visit.effect.is_some()).count();
        if effects > 1 && evidence.cells[cell].route == Route::Once {
            violations.push(violation(
                "at most one effect",
                cell,
                format!("{effects} effects"),
            ));
        }
    }
    violations
}

/// All final answers to an operation are of one visit. Where doubt runs again, an attempt that was superseded may tell its own client its own
/// answer, and says that it is not stored.
pub fn one_answer(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (cell, asked) in by_cell(&evidence.asked) {
        let once = evidence.cells[cell].route == Route::Once;
        let mut visits: Vec<u64> = asked
            .iter()
            .filter_map(|asked| match asked.class() {
                Class::Stored(visit) | Class::Replay(visit) => Some(visit),
                Class::Told(visit) if once => Some(visit),
                _ => None,
            })
            .collect();
        visits.sort_unstable();
        visits.dedup();
        if visits.len() > 1 {
            let what = format!("answers of the visits {visits:?}");
            violations.push(violation("one answer", cell, what));
        }
    }
    violations
}

/// Every answer of the upstream, first or again, has the status, the bytes and the end-to-end headers that the upstream sent; and it did send all of it.
pub fn as_it_was_sent(evidence: &Evidence) -> Vec<Violation> {
    each_answer(evidence, |asked, visit| {
        let answer = asked.answer()?;
        let same = visit.answer.as_ref().is_some_and(|sent| {
            (answer.status, answer.body, answer.headers) == (sent.status, sent.body, sent.headers)
        });
        (!same).then(|| {
            (
                "as it was sent",
                format!("request {} got another answer than was sent", asked.id),
            )
        })
    })
}

/// No answer reaches another key, another caller, or, but as a replay, another request.
pub fn own_caller_only(evidence: &Evidence) -> Vec<Violation> {
    each_answer(evidence, |asked, visit| {
        let own = name(&evidence.cells[asked.cell]) == (&visit.key, &visit.caller);
        let first = asked.answer()?.replay || visit.request == asked.id;
        (!own || !first).then(|| {
            let what = format!(
                "request {} got the answer to request {} of {:?}, {:?}",
                asked.id, visit.request, visit.key, visit.caller
            );
            ("own caller only", what)
        })
    })
}

/// After an answer that is stored, each later request of the same body that says anything of the key gets it again; also the last one of all.
pub fn stored_stays(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (cell, asked) in by_cell(&evidence.asked) {
        let told = asked.iter().filter_map(|asked| match asked.class() {
            Class::Stored(visit) | Class::Replay(visit) => Some((asked.end, visit, asked.id)),
            _ => None,
        });
        let Some((since, visit, first)) = told.min() else {
            continue;
        };
        let later = asked
            .iter()
            .filter(|asked| asked.start > since && !asked.other_body);
        for again in later.clone() {
            if !matches!(again.class(), Class::NotNow | Class::GoesOn | Class::None)
                && again.class() != Class::Replay(visit)
            {
                let what = format!(
                    "request {first} was told that it is stored, request {} got {:?}",
                    again.id,
                    again.class()
                );
                violations.push(violation("stored stays", cell, what));
                break;
            }
        }
        let swept = later.rev().find(|again| again.sweep);
        if swept.is_some_and(|last| last.class() != Class::Replay(visit)) {
            let what =
                format!("request {first} was told that it is stored, and the sweep did not get it");
            violations.push(violation("stored stays", cell, what));
        }
    }
    violations
}

/// No answer says `released` after an effect, nor of the request that had it.
pub fn released_is_true(evidence: &Evidence) -> Vec<Violation> {
    let visits = evidence.visits_of();
    let mut violations = Vec::new();
    for asked in &evidence.asked {
        let state = asked.answer().and_then(|answer| answer.state.as_deref());
        if state != Some("released") || evidence.cells[asked.cell].route == Route::Again {
            continue;
        }
        for visit in visits.get(&asked.cell).into_iter().flatten() {
            let own = visit.request == asked.id;
            if visit
                .effect
                .is_some_and(|effect| own || effect < asked.start)
            {
                let what = format!(
                    "request {} says released, visit {} had an effect",
                    asked.id, visit.number
                );
                violations.push(violation("released is true", asked.cell, what));
            }
        }
    }
    violations
}

/// What an answer says was not sent did not arrive, and no request arrives twice.
pub fn not_forwarded(evidence: &Evidence) -> Vec<Violation> {
    let mut arrived: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for visit in &evidence.visits {
        arrived.entry(visit.request).or_default().push(visit.number);
    }
    let mut violations = Vec::new();
    for asked in &evidence.asked {
        let arrived = arrived.get(&asked.id).map_or(&[][..], Vec::as_slice);
        let says_not = asked.answer().is_some_and(|answer| {
            let refused = matches!(
                asked.class(),
                Class::Replay(_) | Class::KeyReused | Class::NotNow
            );
            let not_sent = answer.error.as_deref() == Some("upstream-unreachable");
            refused || not_sent || (answer.status == 409 && answer.error.is_some())
        });
        if arrived.len() > usize::from(!says_not) {
            let what = format!(
                "request {} ({:?}) arrived as {arrived:?}",
                asked.id,
                asked.class()
            );
            violations.push(violation("not forwarded", asked.cell, what));
        }
    }
    violations
}

/// A request is refused for another body only if it had one, and for nothing that these clients do not do.
pub fn refusals_are_due(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (cell, asked) in by_cell(&evidence.asked) {
        let began = asked[0].start;
        for asked in asked {
            let wrong = match asked.class() {
                Class::Odd => true,
                Class::NotNow | Class::GoesOn | Class::None => false,
                // Another body is sent only after an answer that is stored.
                class => {
                    asked.other_body != (class == Class::KeyReused)
                        && !evidence.flushed_between(began, asked.end)
                }
            };
            if wrong {
                let what = format!("request {}: {:?} {:?}", asked.id, asked.class(), asked.said);
                violations.push(violation("refusals are due", cell, what));
            }
        }
    }
    violations
}

/// A client that waits as long as anything may take is answered, or its connection ends; unless its own link or its proxy stood still.
pub fn nothing_hangs(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    for asked in &evidence.asked {
        if asked.said != Said::Nothing || asked.patience < PATIENCE {
            continue;
        }
        let proxy = asked.proxy;
        let excused = evidence.faults.iter().any(|fault| {
            let on = [On::Front(proxy), On::Frozen(proxy), On::Machine].contains(&fault.on);
            on && fault.overlaps(asked.start, asked.end)
        });
        if !excused {
            let what = format!("request {} was never answered", asked.id);
            violations.push(violation("nothing hangs", asked.cell, what));
        }
    }
    violations
}

/// Once all is healed, every key has an answer, and in time: the upstream's, or that nobody knows.
pub fn answered_when_healed(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !evidence.asked.iter().any(|asked| asked.sweep) {
        return violations;
    }
    let asked = by_cell(&evidence.asked);
    for cell in 0..evidence.cells.len() {
        let of_cell = || asked.get(&cell).into_iter().flatten();
        // A flush may have left the key to the other body.
        let flushed = |last: &Asked| {
            let first = of_cell().map(|asked| asked.start).min();
            first.is_some_and(|first| evidence.flushed_between(first, last.end))
        };
        let what = match of_cell().rev().find(|asked| asked.sweep) {
            Some(last) if matches!(last.class(), Class::KeyReused) && flushed(last) => continue,
            Some(last)
                if matches!(
                    last.class(),
                    Class::Stored(_) | Class::Replay(_) | Class::Unknown
                ) =>
            {
                continue;
            }
            Some(last) => format!("request {} got {:?}", last.id, last.said),
            None => "the sweep did not come to it in time".to_owned(),
        };
        violations.push(violation("answered when healed", cell, what));
    }
    violations
}

/// What is wrong with an answer, by the visit that it names.
fn each_answer(
    evidence: &Evidence,
    wrong: impl Fn(&Asked, &Visit) -> Option<(&'static str, String)>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    for asked in &evidence.asked {
        let Some(number) = asked.answer().and_then(|answer| answer.visit) else {
            continue;
        };
        let found = match evidence.visit(number) {
            Some(visit) => wrong(asked, visit),
            None => Some((
                "as it was sent",
                format!("request {} got visit {number}, which never was", asked.id),
            )),
        };
        if let Some((check, what)) = found {
            violations.push(violation(check, asked.cell, what));
        }
    }
    violations
}

pub fn violation(check: &'static str, cell: CellId, what: String) -> Violation {
    Violation { check, cell, what }
}
