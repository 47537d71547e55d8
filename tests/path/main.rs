//! The path of a request over real sockets: every row of the tables of the life of a key, and the rules below them.
//!
//! The suite is compiled once for each store.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::duplicate_mod,
    reason = "a test fails by an unwrap, and the suite runs on every store"
)]

#[path = "../support/harness.rs"]
mod support;
#[path = "../support/tokens.rs"]
mod tokens;

mod alike;
mod bodies;
mod explained;
mod faulty;
mod formats;
mod in_series;
mod observed;
mod probes_faults;
mod redis_faults;
mod sealed;
mod sources;
mod store_faults;
mod waits_faults;
mod world;

/// The suite, on one store.
macro_rules! suite {
    ($name:ident, $backing:ident $(, $more:ident)*) => {
        #[path = "."]
        mod $name {
            const STORE: crate::world::Backing = crate::world::Backing::$backing;

            mod answers;
            mod found;
            mod keys;
            mod limits;
            mod observe;
            mod peers;
            mod probes;
            mod rules;
            mod scopes;
            mod settled;
            mod stopping;
            mod uploads;
            mod voice;
            mod waits;
            $(mod $more;)*
        }
    };
}

suite!(memory, Memory);
suite!(embedded, Embedded, killed, left_behind);
suite!(redis, Redis, killed, waits_elsewhere);
