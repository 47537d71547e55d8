//! What can be chosen.

use std::path::PathBuf;

use clap::Parser;

use super::system::Kind;

/// Compares the cost of a request through idemproxy with nginx and haproxy, where those are installed.
#[derive(Parser)]
pub(crate) struct Options {
    /// idemproxy, built as it is shipped.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_idemproxy"))]
    pub(crate) program: PathBuf,
    /// What is compared.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Kind::ALL)]
    pub(crate) systems: Vec<Kind>,
    /// How often each row is measured.
    #[arg(long, default_value_t = 3, value_parser = within::<1, 50>)]
    pub(crate) rounds: usize,
    /// For how long each time.
    #[arg(long, default_value_t = 2, value_parser = within::<1, 60>)]
    pub(crate) seconds: usize,
    /// How many connections send one request after the other.
    #[arg(long, default_value_t = 64, value_parser = within::<1, 1000>)]
    pub(crate) connections: usize,
    /// Requests a second, over all connections, instead of as many as can be: then the latencies say something.
    #[arg(long, value_parser = within::<1, 1_000_000>)]
    pub(crate) rate: Option<usize>,
    /// Workers of nginx and threads of haproxy. [default: as many as there are processors]
    #[arg(long, value_parser = within::<1, 64>)]
    pub(crate) workers: Option<usize>,
    /// A round in which other programs took more than this share of the machine counts only where none is better.
    #[arg(long, default_value_t = 0.06)]
    pub(crate) foreign: f64,
    /// Where table, plot and single measurements are written.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/compare"))]
    pub(crate) out: PathBuf,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Workers of nginx and threads of haproxy.
    pub(crate) fn workers(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.unwrap_or_else(processors)
    }
}

fn within<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (LEAST..=MOST).contains(&number) => Ok(number),
        _ => Err(format!("a number from {LEAST} to {MOST}")),
    }
}
