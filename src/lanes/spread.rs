//! What each lane counts for itself.

use std::sync::Arc;

use super::here;

/// One of a thing for each lane, in lines of memory of its own: what one lane writes, no other waits for. Lanes whose numbers differ by a
/// multiple of [`PARTS`] share one. A copy is the same ones.
#[derive(Debug, Default)]
pub(crate) struct Spread<T>(Arc<[Lines<T>; PARTS]>);

/// Processors fetch two lines at a time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lines<T>(T);

/// Each takes 128 bytes at least, of everything that is counted so.
pub(crate) const PARTS: usize = 8;

impl<T> Spread<T> {
    /// That of the lane where this is called; elsewhere that of the first.
    pub(crate) fn mine(&self) -> &T {
        &self.0[here() % PARTS].0
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Lines(part)| part)
    }
}

impl<T> Clone for Spread<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
