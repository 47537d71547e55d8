//! Traffic such as users have, for a program that counts what it runs: the compiler then builds it anew, for what it saw.
//!
//! `benches/run trained` builds both, and runs this between. Each store has a process of its own, which is ended as an operator ends it:
//! only then does it write its counts. Upstream and clients are within. Every answer is checked, since a program that learns from
//! failures would be fast at those.

mod client;
mod request;
mod setting;
mod upstream;
mod visit;

#[path = "../../tests/support/authority.rs"]
mod authority;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tempfile::TempDir;

use self::setting::SETTINGS;

/// Sends the program what users send, and checks what it answers.
#[derive(Parser)]
struct Options {
    /// The program.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_idemproxy"))]
    program: PathBuf,
    /// How often each client asks all that it asks.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    support::run(train(&options)).await
}

async fn train(options: &Options) -> Result<bool, String> {
    let directory = TempDir::new().map_err(|error| error.to_string())?;
    for setting in &SETTINGS {
        if let Some(program) = setting.missing() {
            eprintln!("without {}: {program} is not installed", setting.name);
            continue;
        }
        let trained = setting.train(options, directory.path()).await;
        let requests = trained.map_err(|error| format!("{}: {error}", setting.name))?;
        eprintln!("trained with {requests} requests: {}", setting.name);
    }
    Ok(true)
}
