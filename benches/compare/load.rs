//! The clients.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::options::Options;
use crate::support::tally::{Pace, Tally};
use crate::support::{Requests, Wire};

/// What a request goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// It has no key.
    PassThrough,
    /// Its key is new: it is claimed, forwarded, and its answer kept.
    First,
    /// Its answer is there.
    Replay,
}

/// Keep-alive connections, each of which sends a small POST when it has the answer to the one before, or when the next one is due.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) path: Path,
    /// Sets its keys apart from those of all others; up to 22 characters.
    pub(crate) name: String,
}

impl Path {
    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::First => "first request",
            Self::Replay => "replay",
        }
    }

    /// How many requests the upstream sees of each.
    pub(crate) const fn forwarded(self) -> f64 {
        match self {
            Self::PassThrough | Self::First => 1.0,
            Self::Replay => 0.0,
        }
    }
}

impl Load {
    /// Asks once, so that a replay has what it replays.
    pub(crate) async fn once(&self) -> Result<(), String> {
        let asked = async {
            Wire::connect(self.address)
                .await?
                .ask(self.requests(0).next())
                .await
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(201)) => Ok(()),
            Ok(Ok(status)) => Err(format!("answered {status}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("not answered".to_owned()),
        }
    }

    /// Asks for so long.
    pub(crate) async fn run(&self, duration: Duration, options: &Options) -> Tally {
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for number in 0..options.connections {
            let pace = options
                .rate
                .map(|rate| Pace::new(start, rate, number, options.connections));
            let requests = self.requests(number);
            clients.spawn(client(self.address, requests, pace, start + duration));
        }
        clients
            .join_all()
            .await
            .into_iter()
            .fold(Tally::default(), Tally::with)
    }

    fn requests(&self, connection: usize) -> Requests {
        match self.path {
            Path::PassThrough => Requests::without_key(),
            Path::First => Requests::with_new_keys(&format!("{}-{connection:04}", self.name)),
            Path::Replay => Requests::with_key(&self.name),
        }
    }
}

async fn client(
    address: SocketAddr,
    mut requests: Requests,
    mut pace: Option<Pace>,
    end: Instant,
) -> Tally {
    let mut tally = Tally::default();
    let mut open = None;
    loop {
        let begun = match &mut pace {
            Some(pace) if pace.due < end => pace.next().await,
            None if Instant::now() < end => Instant::now(),
            _ => return tally,
        };
        let asked = async {
            let mut wire = match open.take() {
                Some(wire) => wire,
                None => Wire::connect(address).await?,
            };
            let status = wire.ask(requests.next()).await?;
            open = Some(wire);
            std::io::Result::Ok(status)
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(201)) => {
                tally.answer(begun);
            }
            failed => {
                tally.failed += 1;
                if !matches!(failed, Ok(Ok(_))) {
                    // Nobody there: no need to ask as fast as can be.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
}

/// After this an answer is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(10);
