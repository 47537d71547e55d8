//! What the benches share: an upstream, the other end of a connection, and the programs that they start.
//!
//! Linux alone: what a process costs is read from `/proc`.
// Each bench uses its part of it.
#![allow(dead_code)]

pub mod message;
pub mod process;
pub mod signals;
pub mod upstream;
pub mod wire;

pub use message::Requests;
pub use process::Process;
pub use signals::told_to_end;
pub use upstream::Upstream;
pub use wire::Wire;
