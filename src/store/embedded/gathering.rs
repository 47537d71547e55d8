//! When a transaction takes no more.

use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

/// Takes what is queued and, under load, what comes a moment later.
///
/// Those answered by a commit come back within a moment, one after another. A transaction begun with the first of them would hold little else,
/// and the rest would wait for it and for the next. So after a transaction that was shared it waits a little, as long as more comes; one
/// who writes alone never waits.
#[derive(Debug)]
pub(super) struct Gathering {
    pauses: u32,
    /// How many there were at the pause before.
    then: usize,
}

impl Gathering {
    /// For the transaction after one of `together` jobs.
    pub(super) fn after(together: usize) -> Self {
        Self {
            pauses: if together > ALONE { PAUSES } else { 0 },
            then: 0,
        }
    }

    /// The next one, `taken` being how many there are.
    pub(super) fn next<T>(&mut self, queue: &Receiver<T>, taken: usize) -> Option<T> {
        loop {
            if let Ok(next) = queue.try_recv() {
                return Some(next);
            }
            if self.pauses == 0 || taken == self.then {
                return None;
            }
            self.pauses -= 1;
            self.then = taken;
            // Not a wait for the queue, which would be woken for each one.
            thread::sleep(PAUSE);
        }
    }
}

/// Jobs of a transaction that is not shared enough to wait for others.
const ALONE: usize = 2;
/// Most pauses for a transaction.
const PAUSES: u32 = 4;
/// A pause: a fraction of what a sync takes.
const PAUSE: Duration = Duration::from_micros(250);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_writes_alone_waits_for_nobody() {
        let (queue, requests) = mpsc::channel();
        queue.send(1).unwrap();
        for together in [0, 1, ALONE] {
            assert_eq!(Gathering::after(together).pauses, 0);
        }
        let mut shared = Gathering::after(ALONE + 1);
        assert_eq!(shared.next(&requests, 0), Some(1));
        assert_eq!(shared.next(&requests, 1), None);
        // Nothing more came in one pause, and it did not take the others.
        assert_eq!(shared.pauses, PAUSES - 1);
    }
}
