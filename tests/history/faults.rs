//! What went wrong, where, and from when to when.

use std::sync::Mutex;

use super::history::{At, now};

/// A fault that was made, or that the machine made of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub on: On,
    pub kind: String,
    pub from: At,
    pub until: At,
    /// Whether it touched anything.
    pub fired: bool,
}

/// Where a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// Between clients and this proxy.
    Front(usize),
    /// Between this proxy and the upstream.
    Upstream(usize),
    /// Between this proxy and the store.
    StoreLink(usize),
    /// The store itself.
    Store,
    /// All records were dropped.
    Flush,
    Killed(usize),
    Frozen(usize),
    /// The machine did not run this process in time.
    Machine,
}

/// All faults of a run.
#[derive(Debug, Default)]
pub struct Faults {
    all: Mutex<Vec<Fault>>,
}

impl Faults {
    /// A fault begins; it lasts until [`Faults::end`], and counts as fired.
    pub fn begin(&self, on: On, kind: impl Into<String>) -> usize {
        let mut all = self.all.lock().unwrap();
        all.push(Fault {
            on,
            kind: kind.into(),
            from: now(),
            until: At::MAX,
            fired: true,
        });
        all.len() - 1
    }

    pub fn end(&self, fault: usize) {
        self.end_as(fault, true);
    }

    /// Ends one that perhaps touched nothing.
    pub fn end_as(&self, fault: usize, fired: bool) {
        let fault = &mut self.all.lock().unwrap()[fault];
        fault.until = now();
        fault.fired = fired;
    }

    /// One that is over.
    pub fn add(&self, fault: Fault) {
        self.all.lock().unwrap().push(fault);
    }

    pub fn all(&self) -> Vec<Fault> {
        self.all.lock().unwrap().clone()
    }
}

impl Fault {
    pub fn overlaps(&self, from: At, until: At) -> bool {
        self.fired && self.from <= until && from <= self.until
    }
}

/// The kind of fault that nobody made.
pub const STALL: &str = "this machine stood still";
