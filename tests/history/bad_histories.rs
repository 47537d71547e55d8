//! Each check finds what it is there for, in a history made by hand; and finds nothing in a good one.

use std::time::Duration;

use super::checks;
use super::evidence::{Evidence, Violation};
use super::explained::{excused, unknowns_are_explained};
use super::faults::{Fault, On};
use super::history::{Answer, Asked, At, Cell, Route, Said};
use super::ledger::{Act, Sent, Visit};
use super::linear::linearizable;
use super::workload::PATIENCE;
use super::world::Times;

#[test]
fn a_good_history_passes() {
    assert_eq!(found(&good()), Vec::<&str>::new());
}

#[test]
fn a_second_effect_is_found() {
    let mut bad = good();
    bad.visits.push(visit(2, 0, Some(ms(130))));
    assert_eq!(
        names(checks::at_most_one_effect(&bad)),
        ["at most one effect"]
    );
    bad.cells[0].route = Route::Again;
    assert!(checks::at_most_one_effect(&bad).is_empty());
}

#[test]
fn another_answer_to_the_same_key_is_found() {
    let mut bad = good();
    bad.visits.push(visit(2, 0, None));
    bad.asked.push(asked(3, 400, told("replay", 2)));
    assert_eq!(names(checks::one_answer(&bad)), ["one answer"]);
    assert_eq!(names(checks::stored_stays(&bad)), ["stored stays"]);
    assert_eq!(names(linearizable(&bad)), ["linearizable"]);
}

#[test]
fn an_answer_that_was_altered_is_found() {
    for alter in [
        (|answer| answer.status = 200) as fn(&mut Answer),
        |answer| answer.body += 1,
        |answer| answer.headers += 1,
        |answer| answer.visit = Some(9),
    ] {
        let mut bad = good();
        let Said::Answer(answer) = &mut bad.asked[1].said else {
            unreachable!()
        };
        alter(answer);
        assert_eq!(names(checks::as_it_was_sent(&bad)), ["as it was sent"]);
    }
}

#[test]
fn an_answer_that_was_never_sent_whole_is_found() {
    let mut bad = good();
    bad.visits[0].answer = None;
    let names = names(checks::as_it_was_sent(&bad));
    assert!(!names.is_empty() && names.iter().all(|name| *name == "as it was sent"));
}

#[test]
fn a_key_that_is_not_answered_when_all_is_healed_is_found() {
    let mut bad = good();
    bad.asked[1].sweep = true;
    assert!(checks::answered_when_healed(&bad).is_empty());
    bad.asked[1].said = Said::Broken("it ended early".to_owned());
    assert_eq!(
        names(checks::answered_when_healed(&bad)),
        ["answered when healed"]
    );
}

#[test]
fn an_answer_to_another_caller_is_found() {
    let mut bad = good();
    bad.cells.push(Cell {
        caller: 3,
        ..bad.cells[0].clone()
    });
    bad.asked.push(Asked {
        cell: 1,
        ..asked(3, 400, told("replay", 1))
    });
    assert_eq!(names(checks::own_caller_only(&bad)), ["own caller only"]);
}

#[test]
fn a_first_answer_to_another_request_is_found() {
    let mut bad = good();
    bad.asked.push(asked(3, 400, told("stored", 1)));
    assert_eq!(names(checks::own_caller_only(&bad)), ["own caller only"]);
}

#[test]
fn a_stored_answer_that_is_gone_is_found() {
    for later in [
        problem(409, "outcome-unknown", "unknown"),
        problem(409, "in-progress", "in-flight"),
    ] {
        let mut bad = good();
        bad.asked[1].said = later;
        assert_eq!(names(checks::stored_stays(&bad)), ["stored stays"]);
        assert_eq!(names(linearizable(&bad)), ["linearizable"]);
    }
    let mut bad = good();
    bad.asked[1].sweep = true;
    bad.asked[1].said = problem(503, "store-unavailable", "-");
    assert_eq!(names(checks::stored_stays(&bad)), ["stored stays"]);
}

#[test]
fn a_flush_exempts_what_was_there_and_came_after_it() {
    let mut evidence = good();
    evidence.visits.push(visit(2, 0, Some(ms(330))));
    evidence.visits[1].request = 5;
    evidence.asked.push(asked(5, 300, told("stored", 2)));
    assert!(found(&evidence).contains(&"at most one effect"));
    evidence.faults.push(fault(On::Flush, 250, 251));
    let (violations, exempt) = checks::check(&evidence);
    assert_eq!((names(violations), exempt), (vec![], 1));
    // What was before it is not exempt.
    evidence.visits.push(visit(3, 0, Some(ms(240))));
    evidence.visits[2].request = 6;
    assert_eq!(found(&evidence), ["at most one effect"]);
    // Nor is a key that came later.
    evidence.visits.pop();
    evidence.faults[0] = fault(On::Flush, 10, 20);
    assert!(found(&evidence).contains(&"at most one effect"));
}

#[test]
fn an_outcome_that_nothing_makes_unknown_is_found() {
    let unknown = |sweep| {
        let mut bad = good();
        bad.asked = vec![Asked {
            sweep,
            ..asked(1, 100, problem(502, "upstream-failed", "unknown"))
        }];
        bad
    };
    let explained = |mut evidence: Evidence, on| {
        evidence.faults = vec![fault(on, 90, 120)];
        unknowns_are_explained(&evidence).is_empty()
    };
    assert_eq!(
        names(unknowns_are_explained(&unknown(false))),
        ["unknowns are explained"]
    );
    for on in [
        On::Front(0),
        On::Upstream(1),
        On::Killed(2),
        On::StoreLink(1),
    ] {
        assert!(!explained(unknown(false), on), "{on:?}");
    }
    for on in [
        On::Upstream(0),
        On::Killed(0),
        On::Frozen(0),
        On::StoreLink(0),
        On::Store,
    ] {
        assert!(explained(unknown(false), on), "{on:?}");
    }
    assert!(!explained(unknown(true), On::Store));
    let mut lost = unknown(true);
    lost.visits[0].act = Act::Close {
        effect: true,
        reset: false,
    };
    assert!(unknowns_are_explained(&lost).is_empty());
}

#[test]
fn a_fault_explains_only_what_ran_meanwhile() {
    let mut bad = good();
    bad.asked[1].said = problem(409, "outcome-unknown", "unknown");
    // The first one says that it is settled; the second one claims nothing.
    bad.faults = vec![fault(On::Killed(0), 90, 300), fault(On::Store, 90, 300)];
    let names_of = |evidence: &Evidence| names(unknowns_are_explained(evidence));
    assert_eq!(names_of(&bad), ["unknowns are explained"]);
    // A client that left does not know; and what comes after its exchange explains nothing.
    bad.asked[0].said = Said::Nothing;
    assert!(names_of(&bad).is_empty());
    bad.asked[1].start = ms(5_000);
    bad.asked[1].end = ms(5_050);
    bad.faults = vec![fault(On::Killed(0), 3_000, 3_100)];
    assert_eq!(names_of(&bad), ["unknowns are explained"]);
    bad.faults = vec![fault(On::Machine, 110, 300)];
    assert!(names_of(&bad).is_empty());
    assert!(excused(&bad, true) > excused(&bad, false));
}

#[test]
fn a_false_released_is_found() {
    let mut bad = good();
    bad.asked[1].said = problem(502, "upstream-unreachable", "released");
    assert_eq!(names(checks::released_is_true(&bad)), ["released is true"]);
}

#[test]
fn a_request_that_arrived_after_all_is_found() {
    for said in [
        told("replay", 1),
        problem(409, "outcome-unknown", "unknown"),
        problem(503, "store-unavailable", "-"),
        problem(502, "upstream-unreachable", "released"),
    ] {
        let mut bad = good();
        bad.asked[0].said = said;
        assert_eq!(names(checks::not_forwarded(&bad)), ["not forwarded"]);
    }
    let mut bad = good();
    bad.visits.push(visit(2, 0, None));
    bad.visits[1].request = 1;
    assert_eq!(names(checks::not_forwarded(&bad)), ["not forwarded"]);
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    for said in [
        problem(422, "key-reused", "completed"),
        problem(409, "credentials-changed", "completed"),
        problem(400, "key-invalid", "-"),
    ] {
        let mut bad = good();
        bad.asked[1].said = said;
        assert_eq!(names(checks::refusals_are_due(&bad)), ["refusals are due"]);
    }
    let mut bad = good();
    bad.asked[1].other_body = true;
    assert_eq!(names(checks::refusals_are_due(&bad)), ["refusals are due"]);
    bad.asked[1].said = problem(422, "key-reused", "completed");
    assert!(checks::refusals_are_due(&bad).is_empty());
}

#[test]
fn a_request_that_hangs_is_found() {
    let mut bad = good();
    bad.asked[1].said = Said::Nothing;
    assert_eq!(names(checks::nothing_hangs(&bad)), ["nothing hangs"]);
    bad.asked[1].patience = ms(100);
    assert!(checks::nothing_hangs(&bad).is_empty());
}

#[test]
fn what_was_in_doubt_may_be_stored_later_and_not_the_other_way_round() {
    let mut late = good();
    let (first, second) = (
        told("stored", 1),
        problem(409, "outcome-unknown", "unknown"),
    );
    late.asked[0] = asked(2, 100, second.clone());
    late.asked[1] = asked(1, 90, first.clone());
    late.asked[1].end = ms(300);
    assert!(linearizable(&late).is_empty());
    late.asked[0].start = ms(310);
    late.asked[0].end = ms(320);
    assert_eq!(names(linearizable(&late)), ["linearizable"]);
}

#[test]
fn an_answer_that_nobody_heard_is_replayed() {
    let mut evidence = good();
    evidence.asked[0].said = Said::Nothing;
    assert!(linearizable(&evidence).is_empty());
    // But not one that was never given.
    evidence.visits[0].answer = None;
    assert_eq!(names(linearizable(&evidence)), ["linearizable"]);
}

/// One key: its effect, its answer, and a replay of it.
fn good() -> Evidence {
    Evidence {
        cells: vec![Cell {
            key: "k".to_owned(),
            caller: 1,
            route: Route::Once,
            home: None,
        }],
        asked: vec![
            asked(1, 100, told("stored", 1)),
            asked(2, 200, told("replay", 1)),
        ],
        visits: vec![visit(1, 0, Some(ms(110)))],
        faults: Vec::new(),
        times: Times::HARSH,
    }
}

fn asked(id: u64, start: u64, said: Said) -> Asked {
    Asked {
        id,
        cell: 0,
        other_body: false,
        proxy: 0,
        start: ms(start),
        end: ms(start + 50),
        patience: PATIENCE,
        sweep: false,
        said,
    }
}

fn told(how: &str, visit: u64) -> Said {
    Said::Answer(Answer {
        status: 201,
        body: visit,
        headers: visit,
        visit: Some(visit),
        stored: (how != "replay").then_some(how == "stored"),
        replay: how == "replay",
        state: Some("completed".to_owned()),
        ..Answer::default()
    })
}

fn problem(status: u16, error: &str, state: &str) -> Said {
    Said::Answer(Answer {
        status,
        error: Some(error.to_owned()),
        state: (state != "-").then(|| state.to_owned()),
        ..Answer::default()
    })
}

/// A visit of the request of its number.
fn visit(number: u64, received: u64, effect: Option<At>) -> Visit {
    Visit {
        number,
        key: "k".to_owned(),
        caller: super::history::CALLERS[1].unwrap().to_owned(),
        request: number,
        body: 0,
        received: ms(received + 105),
        act: Act::Do,
        effect,
        answer: Some(Sent {
            at: ms(received + 120),
            status: 201,
            body: number,
            headers: number,
        }),
    }
}

fn fault(on: On, from: u64, until: u64) -> Fault {
    Fault {
        on,
        kind: "made up".to_owned(),
        from: ms(from),
        until: ms(until),
        fired: true,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn found(evidence: &Evidence) -> Vec<&'static str> {
    names(checks::check(evidence).0)
}

fn names(violations: Vec<Violation>) -> Vec<&'static str> {
    let mut names: Vec<_> = violations.iter().map(|found| found.check).collect();
    names.dedup();
    names
}
