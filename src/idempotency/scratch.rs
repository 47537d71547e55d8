//! Memory to gather bytes in.

use std::cell::Cell;
use std::mem;
use std::ops::{Deref, DerefMut};

/// Memory to gather bytes in for a moment, empty at first. It is given back to its thread, for the next one: a request gathers several
/// times, and to allocate takes longer than that.
pub(super) struct Scratch(Vec<u8>);

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Scratch {
    /// This thread's, or new memory where somebody has that. There is room for `usual` bytes.
    pub(super) fn take(usual: usize) -> Self {
        let mut bytes = KEPT.try_with(Cell::take).unwrap_or_default();
        bytes.reserve(usual);
        Self(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.0);
        if bytes.capacity() <= KEEPS {
            bytes.clear();
            // A thread that ends keeps nothing.
            let _ = KEPT.try_with(|kept| kept.set(bytes));
        }
    }
}

impl Deref for Scratch {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// Bytes that a thread keeps at most.
const KEEPS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_empty_whoever_had_it_before() {
        for length in [0, 1, KEEPS, 2 * KEEPS] {
            let mut scratch = Scratch::take(8);
            assert!(scratch.is_empty() && scratch.capacity() >= 8);
            scratch.resize(length, b'x');
            let mut other = Scratch::take(8);
            assert!(other.is_empty());
            other.push(b'y');
        }
    }

    #[test]
    fn what_is_large_is_not_kept() {
        drop(Scratch::take(KEEPS + 1));
        assert!(KEPT.take().capacity() <= KEEPS);
        drop(Scratch::take(KEEPS / 2));
        assert!(KEPT.take().capacity() >= KEEPS / 2);
    }
}
