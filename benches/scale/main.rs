//! Whether the cost of a request stays as it is where there is more of everything: connections, routes, keys, duplicates, requests
//! that hang.
//!
//! Upstream and clients are within the bench, a thread each; every proxy is a process of its own. A cost is processor time of the
//! proxy for a request, and what is told is a ratio: both sides are measured in turn, in every round, under the same load.
//!
//! `docs/benchmarks.md` says what the rows mean.

mod clients;
mod cost;
mod latency;
mod memory;
mod options;
mod proxy;
mod table;

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use self::options::{Options, Part};
use self::table::Table;
use crate::support::{Upstream, is_installed, told_to_end, usage};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    // What is dropped here ends the programs that it started.
    let ended = tokio::select! {
        ended = measure(&options) => ended,
        () = told_to_end() => Err("ended by a signal".to_owned()),
    };
    match ended {
        Ok(table) => {
            print!("\n{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What the parts share.
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) directory: &'a Path,
    pub(crate) upstream: Upstream,
    /// Whether there can be one.
    pub(crate) redis: bool,
}

async fn measure(options: &Options) -> Result<Table, String> {
    allow_connections();
    let directory = TempDir::new().map_err(|error| error.to_string())?;
    let bench = Bench {
        options,
        directory: directory.path(),
        upstream: Upstream::start().map_err(|error| error.to_string())?,
        redis: is_installed("redis-server"),
    };
    if !bench.redis {
        eprintln!("without Redis: redis-server is not installed");
    }
    let mut table = Table::default();
    let (busy, all) = usage::machine();
    for part in &options.parts {
        eprintln!("{}", part.name());
        match part {
            Part::Memory => memory::measure(&bench, &mut table).await,
            Part::Connections => cost::connections(&bench, &mut table).await,
            Part::Routes => cost::routes(&bench, &mut table).await,
            Part::Keys => cost::keys(&bench, &mut table).await,
            Part::Latency => latency::at_a_rate(&bench, &mut table).await,
            Part::Herd => latency::herd(&bench, &mut table).await,
            Part::Hang => latency::hang(&bench, &mut table).await,
        }
        .map_err(|error| format!("{}: {error}", part.name()))?;
    }
    let (busy_then, all_then) = usage::machine();
    table.busy = (busy_then - busy) / (all_then - all).max(1.0);
    Ok(table)
}

/// As many as the system has for this process, and so for those that it starts.
fn allow_connections() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is not allowed there are fewer, and the bench says so when it runs out of them.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}
