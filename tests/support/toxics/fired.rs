//! How often faults acted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts, by the type of the fault.
#[derive(Debug, Default)]
pub(super) struct Fired(Mutex<BTreeMap<&'static str, u64>>);

impl Fired {
    pub(super) fn count(&self, kind: &'static str, times: u64) {
        if times > 0 {
            *self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(kind)
                .or_default() += times;
        }
    }

    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
