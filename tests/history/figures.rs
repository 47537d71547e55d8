//! What happened in a run, in numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::evidence::Evidence;
use super::explained::excused;
use super::faults::{On, STALL};
use super::history::Class;
use super::world::Backing;

/// What happened in a run, in numbers.
#[derive(Debug)]
pub struct Figures {
    backing: Backing,
    keys: usize,
    /// Keys whose answer somebody was told.
    answered: usize,
    requests: usize,
    classes: BTreeMap<&'static str, usize>,
    effects: usize,
    /// By kind, those that touched something.
    fired: BTreeMap<String, u64>,
    /// Of the upstream, by kind.
    acts: BTreeMap<&'static str, u64>,
    /// Of the upstream, those that may leave a proxy without the outcome.
    misbehaved: usize,
    kills: usize,
    freezes: usize,
    lasted: f64,
    exempt: usize,
    /// The share of requests whose outcome could have been unknown: without a machine that stood still, and with it.
    excused: [f64; 2],
    violations: usize,
}

impl Figures {
    pub fn of(backing: Backing, evidence: &Evidence, exempt: usize, violations: usize) -> Self {
        let mut fired = BTreeMap::new();
        for fault in &evidence.faults {
            *fired.entry(fault.kind.clone()).or_default() += u64::from(fault.fired);
        }
        let mut acts = BTreeMap::new();
        for visit in &evidence.visits {
            *acts.entry(visit.act.name()).or_default() += 1;
        }
        let count = |on: fn(&On) -> bool| {
            let faults = evidence.faults.iter();
            faults.filter(|fault| fault.fired && on(&fault.on)).count()
        };
        let answered: BTreeSet<_> = evidence
            .asked
            .iter()
            .filter(|asked| matches!(asked.class(), Class::Stored(_) | Class::Replay(_)))
            .map(|asked| asked.cell)
            .collect();
        let ends = evidence.asked.iter().map(|asked| asked.end);
        let starts = evidence.asked.iter().map(|asked| asked.start);
        Self {
            backing,
            keys: evidence.cells.len(),
            answered: answered.len(),
            requests: evidence.asked.len(),
            classes: evidence.classes(),
            effects: evidence
                .visits
                .iter()
                .filter(|visit| visit.effect.is_some())
                .count(),
            fired,
            acts,
            misbehaved: evidence
                .visits
                .iter()
                .filter(|visit| visit.act.is_misbehaviour())
                .count(),
            kills: count(|on| matches!(on, On::Killed(_))),
            freezes: count(|on| matches!(on, On::Frozen(_))),
            lasted: ends.max().unwrap_or_default().as_secs_f64()
                - starts.min().unwrap_or_default().as_secs_f64(),
            exempt,
            excused: [false, true].map(|stalls| excused(evidence, stalls)),
            violations,
        }
    }

    /// How many faults of this kind touched something.
    pub fn fired(&self, kind: &str) -> u64 {
        self.fired.get(kind).copied().unwrap_or(0)
    }

    pub fn unknowns(&self) -> usize {
        self.class("unknown")
    }

    /// A history in which nobody was answered passes every check.
    pub fn require_answers(&self) {
        assert!(
            self.answered * 2 >= self.keys,
            "{} of {} keys were answered",
            self.answered,
            self.keys
        );
        assert!(self.class("replayed") * 4 >= self.keys, "too few replays");
        assert!(self.class("key reused") > 0, "no key was used twice");
        assert!(self.effects * 2 >= self.keys, "too few effects");
    }

    /// A check that excuses nearly everything passes nearly everything.
    pub fn require_few_excuses(&self) {
        assert!(
            self.excused[0] < 0.75,
            "{:.1} % of the requests could have been told unknown",
            self.excused[0] * 100.0
        );
    }

    fn class(&self, name: &str) -> usize {
        self.classes.get(name).copied().unwrap_or(0)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.fired.iter().filter(|(kind, _)| *kind != STALL);
        let nemesis: u64 = made.map(|(_, count)| count).sum();
        writeln!(
            f,
            "{:?}: {} keys, {} of them answered, {} requests, {} effects in {:.0} s",
            self.backing, self.keys, self.answered, self.requests, self.effects, self.lasted
        )?;
        writeln!(f, "  answers: {}", list(&self.classes))?;
        writeln!(f, "  upstream: {}", list(&self.acts))?;
        writeln!(
            f,
            "  faults fired: {nemesis}, and {} of the upstream; {} kills, {} freezes",
            self.misbehaved, self.kills, self.freezes
        )?;
        writeln!(f, "  by kind: {}", list(&self.fired))?;
        writeln!(
            f,
            "  keys that a flush left out of what came after it: {}",
            self.exempt
        )?;
        writeln!(
            f,
            "  requests that could have been told unknown: {:.1} %, and {:.1} % with the stalls of this machine",
            self.excused[0] * 100.0,
            self.excused[1] * 100.0
        )?;
        write!(f, "  violations: {}", self.violations)
    }
}

fn list<K: fmt::Display, V: fmt::Display>(counts: &BTreeMap<K, V>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counts.join(", ")
}
