//! The checks can fail: each fault that is built in on purpose is found by the check that has to find it, which passes without the
//! fault.
//!
//! `cargo test --features faults --test seeded -- --nocapture` prints which check found which. The checks are tests of the other
//! suites, built with the same feature.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test fails by an unwrap"
)]

mod checks;
mod suites;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::checks::{CHECKS, Check};
use crate::suites::Suites;

#[test]
fn every_seeded_fault_is_found() {
    let suites = Suites::build(&CHECKS.map(|check| check.suite));
    let began = Instant::now();
    let sound = each(suites.names(), |suite| {
        let mine = CHECKS.iter().filter(|check| check.suite == suite);
        let tests: BTreeSet<_> = mine.map(|check| check.test).collect();
        let (run, count) = (suites.run(suite, &tests, None), tests.len());
        let passed = run
            .output
            .contains(&format!("ok. {count} passed; 0 failed"));
        assert!(passed, "without a fault, {suite}:\n{}", run.output);
        run.took
    });
    println!(
        "{:6.1} s of sound checks",
        sound.iter().sum::<Duration>().as_secs_f64()
    );
    let mut failures = Vec::new();
    let found = each(CHECKS.to_vec(), |check| {
        let run = suites.run(
            check.suite,
            &BTreeSet::from([check.test]),
            Some(check.fault),
        );
        (check, run)
    });
    println!("{:<28}{:>5}  found by", "fault", "s");
    for (check, run) in found {
        let Check { fault, suite, test } = check;
        println!("{fault:<28}{:5.1}  {suite} {test}", run.took.as_secs_f64());
        if !run
            .said
            .lines()
            .any(|line| line == format!("fault: seeded {fault}"))
        {
            failures.push(format!("{fault} never came to bear in {suite} {test}"));
        } else if !run
            .output
            .contains("test result: FAILED. 0 passed; 1 failed;")
        {
            failures.push(format!(
                "{fault} was not found by {suite} {test}:\n{}",
                run.output
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let faults: BTreeSet<_> = CHECKS.iter().map(|check| check.fault).collect();
    println!(
        "{} faults found in {:.1} s",
        faults.len(),
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn every_fault_that_can_be_built_in_has_a_check() {
    let source = include_str!("../../src/fault/armed.rs");
    let (_, table) = source.split_once("const FAULTS").unwrap();
    let known: BTreeSet<_> = table.split('"').skip(1).step_by(2).collect();
    let checked: BTreeSet<_> = CHECKS.iter().map(|check| check.fault).collect();
    assert!(known.len() >= 15);
    assert_eq!(known, checked);
}

/// Does `work` for each of `items`, two at a time.
fn each<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let items = Mutex::new(items.into_iter().enumerate().collect::<VecDeque<_>>());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = items.lock().unwrap().pop_front();
                    let Some((number, item)) = next else { return };
                    let result = work(item);
                    done.lock().unwrap().push((number, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
