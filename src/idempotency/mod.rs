//! The core: what a key's life is, pure.
//!
//! No sockets, no store, no clock: time and randomness are arguments. Read [`transition`] first.
//!
//! # The algorithm
//!
//! A [`Record`] is a cell that is only ever compared and swapped.
//!
//! 1. An attempt makes a fresh [`Token`] and *inserts* an in-flight record, which works only where there is none.
//! 2. Where there is one, [`decide`] says what follows from it: replay, refuse, or claim over it with a *replace* that names
//!    the token it saw ([`Expect`]).
//!    A duplicate may wait instead of being refused ([`awaited()`]): it only reads.
//! 3. Whoever has the claim executes, and renews the lease while the upstream works.
//! 4. [`settle`] ends the claim with a *replace* that expects the token to be still its own.
//! 5. An operator may order what else becomes of a record ([`operator`]): a *replace* of the record as it was shown, under a new token.
//!
//! # Invariants
//!
//! - Every write but the first names the token of the record that it replaces, and the store compares and writes in one step.
//! - A record in flight or unknown ends by its `ttl`, which is never its lease; a lapsed lease frees nobody, it only makes the
//!   outcome unknown.
//! - Lapse is judged by the store's clock, in the step that acts upon it.
//! - A released record is true of every attempt at the key: one that took over a key in doubt never releases it. Only an operator may.
//! - A write that was lost may be sent again: a record that stands as the write would have it is taken as written
//!   ([`expect::Ruling::Stands`]), since tokens are unique.

mod awaited;
mod caller;
pub mod claim;
pub mod digest;
pub mod expect;
mod fields;
mod fingerprint;
mod id;
pub mod json;
mod json_body;
mod key;
mod key_format;
mod lookup;
pub mod observation;
pub mod operator;
mod origin;
mod record;
pub mod response_rule;
#[cfg(test)]
pub(crate) mod sample;
mod scratch;
mod secret;
mod statuses;
mod template;
mod token;
mod trace;
pub mod transition;

pub use awaited::{Awaited, awaited};
pub use caller::{Caller, TakenFrom, bearer_token};
pub use expect::Expect;
pub use fields::Fields;
pub use fingerprint::{Fingerprint, Part, PartHasher};
pub use id::{RecordId, Scope, ScopeParts};
pub use json_body::JsonBody;
pub use key::{Key, KeyError};
pub use key_format::{BadPattern, FormatError, KeyFormat, KeyPattern, Uuid7Bounds};
pub use lookup::{BadEscape, in_cookies, in_query};
pub use origin::Origin;
pub(crate) use origin::cut;
pub use record::{Record, State, StoredResponse, UnixMillis};
pub use response_rule::{Finality, ResponseRule, built_in};
pub use secret::Secret;
pub use statuses::{BadStatuses, Statuses};
pub use template::{BadTemplate, Template};
pub use token::Token;
pub use trace::Trace;
pub use transition::{
    Absence, Attempt, Lapse, Outcome, Payload, Refusal, Seen, Terms, UnknownOutcome, Verdict,
    Verified, absent, decide, found, settle, shown,
};
