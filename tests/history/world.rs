//! Three proxies, a store, an upstream, and a link with faults between any two of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::faults::{Faults, On};
use super::history::{CALLERS, Cell, CellId, History, Route, now};
use super::options::{Dice, Options};
use super::proxies::Proxy;
use super::support::RedisServer;
use super::toxics::{ToxicLink, Toxics};
use super::upstream::Upstream;

/// Where the records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// One Redis, shared by three proxies.
    Redis,
    /// Each proxy has a directory, and keys, of its own.
    Embedded,
}

/// The durations of a run.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub lease: Duration,
    pub upstream: Duration,
    pub client: Duration,
    pub store: Duration,
}

/// Everything that a run needs.
pub struct World {
    pub backing: Backing,
    pub times: Times,
    pub seed: u64,
    pub front: Vec<ToxicLink>,
    pub up: Vec<ToxicLink>,
    /// None of the embedded store.
    pub store: Vec<ToxicLink>,
    pub upstream: Upstream,
    pub history: History,
    pub faults: Faults,
    /// None of the embedded store.
    pub redis_address: Option<SocketAddr>,
    /// Declared before what they use, so that they end first.
    proxies: Vec<tokio::sync::Mutex<Proxy>>,
    redis: Option<tokio::sync::Mutex<RedisServer>>,
    toxics: Toxics,
    directory: Mutex<Option<TempDir>>,
}

impl Times {
    /// So short that a run meets all of them.
    pub const HARSH: Self = Self {
        lease: Duration::from_millis(1_500),
        upstream: Duration::from_millis(1_000),
        client: Duration::from_millis(2_000),
        store: Duration::from_millis(400),
    };
    /// So long that only a fault could reach them.
    pub const CALM: Self = Self {
        lease: Duration::from_secs(30),
        upstream: Duration::from_secs(30),
        client: Duration::from_secs(30),
        store: Duration::from_secs(10),
    };

    /// The longest that an exchange goes on after its client was answered or left.
    pub fn linger(&self) -> Duration {
        self.upstream + self.client + self.lease * 2
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::HARSH
    }
}

impl World {
    pub async fn start(backing: Backing, times: Times, options: &Options) -> Self {
        let upstream = Upstream::start(options.seed).await;
        let toxics = Toxics::start().await;
        let redis = (backing == Backing::Redis).then(|| {
            block_in_place(|| {
                RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"])
            })
        });
        let directory = TempDir::new().unwrap();
        let (mut front, mut up, mut store, mut proxies) = (vec![], vec![], vec![], vec![]);
        for number in 0..PROXIES {
            let name = |part: &str| format!("history-{backing:?}-{part}-{number}");
            let to_upstream = toxics.link(&name("up"), upstream.address()).await;
            let url = if let Some(redis) = &redis {
                let server = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()));
                let link = toxics.link(&name("store"), server).await;
                let url = format!("redis://{}", link.address());
                store.push(link);
                url
            } else {
                let records = directory.path().join(format!("records-{number}"));
                format!("embedded:{}", records.display())
            };
            let meanwhile = if number == 1 { "wait" } else { "reject" };
            let configuration = configuration(to_upstream.address(), &url, times, meanwhile);
            let name_of_proxy = format!("proxy-{number}");
            let mut proxy = Proxy::new(
                &options.program,
                directory.path(),
                &name_of_proxy,
                &configuration,
            );
            let address = proxy.start().await;
            front.push(toxics.link(&name("front"), address).await);
            up.push(to_upstream);
            proxies.push(tokio::sync::Mutex::new(proxy));
        }
        Self {
            backing,
            times,
            seed: options.seed,
            front,
            up,
            store,
            upstream,
            history: History::default(),
            faults: Faults::default(),
            redis_address: redis
                .as_ref()
                .map(|redis| SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()))),
            proxies,
            redis: redis.map(tokio::sync::Mutex::new),
            toxics,
            directory: Mutex::new(Some(directory)),
        }
    }

    /// A new operation, with a key of its own.
    pub fn new_cell(&self, caller: usize, route: Route, dice: &mut Dice) -> CellId {
        let bytes = u128::from(dice.next()) << 64 | u128::from(dice.next());
        let key = uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid();
        self.cell_of(&key.to_string(), caller, route, dice.below(PROXIES))
    }

    /// The operation of a caller under this key.
    pub fn cell_of(&self, key: &str, caller: usize, route: Route, home: usize) -> CellId {
        assert!(caller < CALLERS.len());
        self.history.cell(Cell {
            key: key.to_owned(),
            caller,
            route,
            home: (self.backing == Backing::Embedded).then_some(home),
        })
    }

    /// Kills a proxy, and starts it again after this time.
    pub async fn crash(&self, proxy: usize, away: Duration) {
        let mut process = self.proxies[proxy].lock().await;
        let fault = self.faults.begin(On::Killed(proxy), "proxy killed");
        let ran = process.kill();
        sleep(away).await;
        let upstream = process.start().await.to_string();
        change(
            &self.front[proxy],
            json!({"upstream": upstream, "enabled": true}),
        )
        .await;
        self.faults.end_as(fault, ran);
    }

    /// Freezes a proxy; nobody kills it until it is thawed.
    pub async fn frozen<T>(&self, proxy: usize, meanwhile: impl Future<Output = T>) -> T {
        let process = self.proxies[proxy].lock().await;
        let fault = self.faults.begin(On::Frozen(proxy), "proxy frozen");
        process.freeze();
        let outcome = meanwhile.await;
        process.thaw();
        self.faults.end(fault);
        outcome
    }

    /// Stops Redis as a crash would, for this time.
    pub async fn crash_redis(&self, away: Duration) {
        let mut redis = self.redis().await;
        let fault = self.faults.begin(On::Store, "redis killed and restarted");
        block_in_place(|| redis.stop());
        sleep(away).await;
        block_in_place(|| redis.restart());
        self.faults.end(fault);
    }

    /// Freezes Redis for this time.
    pub async fn freeze_redis(&self, asleep: Duration) {
        let redis = self.redis().await;
        let fault = self.faults.begin(On::Store, "redis frozen");
        block_in_place(|| redis.freeze());
        sleep(asleep).await;
        block_in_place(|| redis.thaw());
        self.faults.end(fault);
    }

    /// Gives Redis an order, for this time, and then another.
    pub async fn order_redis(&self, kind: &str, order: &[&str], after: Duration, undo: &[&str]) {
        let redis = self.redis().await;
        let fault = self.faults.begin(On::Store, kind);
        block_in_place(|| redis.command(order));
        sleep(after).await;
        block_in_place(|| redis.command(undo));
        self.faults.end(fault);
    }

    /// Redis forgets all records.
    pub async fn flush(&self) {
        let redis = self.redis().await;
        let fault = self.faults.begin(On::Flush, "redis flushed of its data");
        block_in_place(|| redis.command(&["FLUSHALL"]));
        self.faults.end(fault);
    }

    /// Nothing is wrong any more: links pass, proxies run.
    pub async fn heal(&self) {
        self.toxics.reset().await;
        for proxy in &self.proxies {
            assert!(proxy.lock().await.runs(), "a proxy ended by itself");
        }
    }

    /// Whether links have faults that a real Toxiproxy lacks.
    pub fn has_extras(&self) -> bool {
        self.toxics.ours()
    }

    /// Where configurations, logs and records of the proxies are.
    pub fn path(&self) -> PathBuf {
        let directory = self.directory.lock().unwrap();
        directory.as_ref().expect("a run goes on").path().to_owned()
    }

    /// Keeps configurations, logs and records of the proxies, and tells where.
    pub fn keep(&self) -> Option<PathBuf> {
        self.directory.lock().unwrap().take().map(TempDir::keep)
    }

    /// One thing at a time is done to Redis itself: nobody gives orders to one that is frozen or away.
    async fn redis(&self) -> tokio::sync::MutexGuard<'_, RedisServer> {
        self.redis.as_ref().expect("a run over Redis").lock().await
    }
}

/// Changes a link. A program that is being started holds our sockets for a moment, so that an address may still be in use.
pub async fn change(link: &ToxicLink, change: Value) {
    let give_up = now() + Duration::from_secs(20);
    loop {
        let (status, answer) = link.call("POST", "", Some(&change)).await;
        if status == 200 {
            return;
        }
        assert!(now() < give_up, "{status} {answer}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The configuration of a proxy; `meanwhile` says what it does with a duplicate of a running request.
fn configuration(upstream: SocketAddr, store: &str, times: Times, meanwhile: &str) -> String {
    let ms = |time: Duration| format!("\"{}ms\"", time.as_millis());
    format!(
        r#"
listen = "127.0.0.1:0"
upstream = "http://{upstream}"
service = "history"
[admin]
listen = "127.0.0.1:0"
[store]
url = "{store}"
timeout = {store_timeout}
[upstream_connections]
idle_timeout = "500ms"
[policy]
lease = {lease}
upstream_timeout = {upstream_timeout}
client_timeout = {client_timeout}
in_flight = "{meanwhile}"
[[route]]
name = "again"
path = "/again"
unknown_outcome = "retry"
"#,
        store_timeout = ms(times.store),
        lease = ms(times.lease),
        upstream_timeout = ms(times.upstream),
        client_timeout = ms(times.client),
    )
}

pub const PROXIES: usize = 3;
