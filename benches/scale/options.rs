//! What can be chosen.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures idemproxy where there is much of something.
#[derive(Parser)]
pub(crate) struct Options {
    /// idemproxy, built as it is shipped.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_idemproxy"))]
    pub(crate) program: PathBuf,
    /// What is measured.
    #[arg(long = "only", value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
    pub(crate) parts: Vec<Part>,
    /// How often the two sides of a ratio are measured.
    #[arg(long, default_value_t = 5, value_parser = positive)]
    pub(crate) rounds: usize,
    /// For how long each time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// How many connections are many, for the cost of a request.
    #[arg(long, default_value_t = 5000)]
    pub(crate) connections: usize,
    /// How many connections rest, for the memory of each.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) resting: usize,
    /// How many routes are many.
    #[arg(long, default_value_t = 1000)]
    pub(crate) routes: usize,
    /// How many keys are many. They are asked one by one: a million takes minutes.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) keys: usize,
    /// Requests a second, for latencies.
    #[arg(long, default_value_t = 2000)]
    pub(crate) rate: usize,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected 1 or more".to_owned())
}

/// Of the table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Memory: at rest, busy, for each connection.
    Memory,
    /// Cost of a request over few and over many connections.
    Connections,
    /// Cost of a request with few and with many routes.
    Routes,
    /// Cost of a request with few and with many keys in the store.
    Keys,
    /// Latency over the upstream alone.
    Latency,
    /// One key asked by many at once.
    Herd,
    /// Requests beside others that hang.
    Hang,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Memory,
        Self::Connections,
        Self::Routes,
        Self::Keys,
        Self::Latency,
        Self::Herd,
        Self::Hang,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Connections => "connections",
            Self::Routes => "routes",
            Self::Keys => "keys",
            Self::Latency => "latency",
            Self::Herd => "herd",
            Self::Hang => "hang",
        }
    }
}
