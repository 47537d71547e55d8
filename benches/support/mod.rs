//! What the benches share: an upstream, the other end of a connection, and the programs that they start.
//!
//! Linux alone: what a process costs is read from `/proc`.
// Each bench uses its part of it.
#![allow(dead_code, unused_imports)]

pub(crate) mod installed;
pub(crate) mod message;
pub(crate) mod process;
pub(crate) mod run;
pub(crate) mod spread;
pub(crate) mod tally;
pub(crate) mod upstream;
pub(crate) mod usage;
pub(crate) mod wire;

pub(crate) use installed::is_installed;
pub(crate) use message::Requests;
pub(crate) use process::Process;
pub(crate) use run::run;
pub(crate) use upstream::Upstream;
pub(crate) use wire::Wire;
