//! Without the feature: nothing.

use super::{Place, Seeded};

/// Whether this build is for tests.
pub(crate) const BUILT_IN: bool = false;

/// Nothing.
#[inline(always)]
pub(crate) const fn reach(_: Place) {}

/// No.
#[inline(always)]
pub(crate) const fn seeded(_: Seeded) -> bool {
    false
}

/// The same script.
#[inline(always)]
pub(crate) const fn seed_script(script: String) -> String {
    script
}
