//! How many instructions a request takes, by callgrind, held to bounds: counts repeat where times do not.
//!
//! `benches/run counts` builds the program and runs this. One request is sent after the other on one connection, and the program has
//! one processor, so one thread for them: what several threads do to each other is not counted.

mod bounds;
mod callgrind;

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::bounds::Bounds;
use self::callgrind::{CASES, count};

/// Counts the instructions of a request, and holds them to benches/counts/bounds.toml.
#[derive(Parser)]
struct Options {
    /// The program.
    #[arg(long)]
    program: PathBuf,
    /// The profile with which it was built: each has figures of its own.
    #[arg(long, default_value = "counts")]
    profile: String,
    /// How many requests of each kind are counted.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    /// Only those cases whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// Where what callgrind wrote of each case is kept, for callgrind_annotate.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/counts"))]
    out: PathBuf,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    support::run(held(&options)).await
}

/// Whether every count is within its bound.
async fn held(options: &Options) -> Result<bool, String> {
    let bounds = Bounds::read()?;
    let mut held = true;
    println!("instructions for each request, profile {}", options.profile);
    for case in CASES
        .iter()
        .filter(|case| case.name.contains(&options.only))
    {
        if let Some(program) = case.missing() {
            println!("{:16} # not counted: {program} is not installed", case.name);
            continue;
        }
        let counted = count(&options.program, case, options.requests, &options.out).await;
        let counted = counted.map_err(|error| format!("{}: {error}", case.name))?;
        let verdict = bounds.verdict(&options.profile, case.name, counted);
        println!("{:16} = {counted:7}  {verdict}", case.name);
        held &= verdict.is_held();
    }
    if !held {
        println!("{}", bounds::ADVICE);
    }
    Ok(held)
}
