//! The client's side, over real sockets and byte by byte.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod drain;
mod exchanges;
mod limits;
mod smuggling;
mod support;
mod uploads;
