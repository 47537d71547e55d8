//! The proxy beside nginx and haproxy: what passing through, a first request and a replay cost.
//!
//! Everything runs on this machine: upstream and generator within the bench, a thread each, and each proxy as a process of its own,
//! of which the processor time is read. That figure is the one to compare: requests a second depend on who else wants the
//! processors, and here the bench itself does. Rounds alternate over all rows, and a row shows their median and range.
//!
//! `docs/benchmarks.md` says what the columns mean.

mod load;
mod options;
mod plot;
mod report;
mod sample;
mod system;

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use clap::Parser;
use tempfile::TempDir;

use self::load::Path;
use self::options::Options;
use self::report::Row;
use self::sample::Sample;
use self::system::System;
use crate::support::{Upstream, told_to_end};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    // What is dropped here ends the programs that it started.
    let ended = tokio::select! {
        ended = compare(&options) => ended,
        () = told_to_end() => Err("ended by a signal".to_owned()),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and reports; whether every row is what it says.
async fn compare(options: &Options) -> Result<bool, String> {
    let directory = TempDir::new().map_err(|error| error.to_string())?;
    let upstream = Upstream::start().map_err(|error| error.to_string())?;
    let mut systems = Vec::new();
    for &kind in &options.systems {
        match kind.missing() {
            Some(program) => eprintln!("without {}: {program} is not installed", kind.name()),
            None => {
                let system = System::start(kind, directory.path(), upstream.address(), options);
                systems.push(
                    system
                        .await
                        .map_err(|error| format!("{}: {error}", kind.name()))?,
                );
            }
        }
    }
    let own = systems
        .iter()
        .map(|system| system.kind)
        .find(|kind| kind.is_ours());
    let pairs: Vec<(&System, Path)> = systems
        .iter()
        .flat_map(|system| {
            system
                .kind
                .paths(own)
                .iter()
                .map(move |path| (system, *path))
        })
        .collect();

    let mut samples: Vec<Vec<Sample>> = pairs.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for turn in 0..pairs.len() {
            // In another order each time, so that none always comes after the same one.
            let which = (turn + round * pairs.len() / options.rounds) % pairs.len();
            let (system, path) = pairs[which];
            let sample = Sample::take(system, path, round, &upstream, options).await?;
            eprintln!("round {round}: {sample}");
            samples[which].push(sample);
        }
    }
    let row = |((system, path), samples): (&(&System, Path), Vec<Sample>)| {
        Row::new(system.kind, *path, samples)
    };
    let rows: Vec<Row> = pairs.iter().zip(samples).map(row).collect();
    report::write(&rows, options).map_err(|error| error.to_string())?;
    Ok(rows.iter().all(Row::is_honest))
}
