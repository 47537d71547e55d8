//! Clients over many connections, a few of which have a request under way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::tally::{Pace, Tally};
use crate::support::{Requests, Wire};

/// Keep-alive connections, over which the same number of requests is under way however many there are: each client has its share
/// of them, and takes them in turn.
pub(crate) struct Clients {
    address: SocketAddr,
    /// Of each client.
    shares: Vec<Vec<Wire>>,
}

impl Clients {
    /// Opens them.
    pub(crate) async fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
        let mut shares: Vec<Vec<Wire>> = Vec::new();
        shares.resize_with(AT_ONCE.min(connections), Vec::new);
        for number in 0..connections {
            let wire = Wire::connect_from(source(number), address).await?;
            let share = number % shares.len();
            shares[share].push(wire);
        }
        Ok(Self { address, shares })
    }

    /// Each client asks for so long: the next request when it has its answer, or all together at a rate. `requests` makes those of a client.
    pub(crate) async fn run(
        &mut self,
        duration: Duration,
        rate: Option<usize>,
        requests: impl Fn(usize) -> Requests,
    ) -> Tally {
        let start = Instant::now();
        let all = self.shares.len();
        let mut clients = JoinSet::new();
        for (number, share) in self.shares.drain(..).enumerate() {
            let client = Client {
                address: self.address,
                share,
                requests: requests(number),
                pace: rate.map(|rate| Pace::new(start, rate, number, all)),
                end: start + duration,
            };
            clients.spawn(client.run());
        }
        let mut sum = Tally::default();
        for (tally, share) in clients.join_all().await {
            sum = sum.with(tally);
            self.shares.push(share);
        }
        sum
    }

    /// Asks once over each connection.
    pub(crate) async fn each(&mut self, mut requests: Requests) -> Result<(), String> {
        for wire in self.shares.iter_mut().flatten() {
            match timeout(PATIENCE, wire.ask(requests.next())).await {
                Ok(Ok(201)) => (),
                Ok(Ok(status)) => return Err(format!("answered {status}")),
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_) => return Err("not answered".to_owned()),
            }
        }
        Ok(())
    }
}

/// Asks until then.
struct Client {
    address: SocketAddr,
    share: Vec<Wire>,
    requests: Requests,
    pace: Option<Pace>,
    end: Instant,
}

impl Client {
    async fn run(mut self) -> (Tally, Vec<Wire>) {
        let mut tally = Tally::default();
        for turn in 0.. {
            let begun = match &mut self.pace {
                Some(pace) if pace.due < self.end => pace.next().await,
                None if Instant::now() < self.end => Instant::now(),
                _ => break,
            };
            let at = turn % self.share.len();
            match timeout(PATIENCE, self.share[at].ask(self.requests.next())).await {
                Ok(Ok(201)) => tally.answer(begun),
                Ok(Ok(_)) => tally.failed += 1,
                _ => {
                    tally.failed += 1;
                    if let Ok(wire) = Wire::connect(self.address).await {
                        self.share[at] = wire;
                    }
                }
            }
        }
        (tally, self.share)
    }
}

/// Where a connection comes from: the ports of one address do not suffice for all.
fn source(number: usize) -> Ipv4Addr {
    let address = 2 + number / FROM_EACH;
    Ipv4Addr::new(127, 0, 0, u8::try_from(address).unwrap_or(u8::MAX))
}

/// Requests under way at once.
pub(crate) const AT_ONCE: usize = 64;
const FROM_EACH: usize = 5000;
/// After this an answer is not waited for any more.
const PATIENCE: Duration = Duration::from_secs(10);
