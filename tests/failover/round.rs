//! One failover, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::support::*;
use crate::tally::Tally;

/// How many replicas must have what is to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmed {
    ByNone,
    /// All that can be promoted.
    ByAll,
}

/// What a client was told of its key.
#[derive(Default)]
struct Told {
    /// The answer that was said to be stored.
    stored: Option<String>,
    /// An answer that was replayed.
    replayed: Option<String>,
    stored_before: bool,
    under_way: bool,
    /// What it was told at last, by each proxy.
    last: Vec<Answer>,
}

/// Sends keys through two proxies, kills the primary, waits for another, and sends every key again until it is answered.
pub(crate) async fn round(seed: u64, confirmed: Confirmed) -> Tally {
    let mut dice = Dice::new(seed);
    let replicas = 1 + dice.below(2) as usize;
    let upstream = Upstream::start().await;
    // What is not waited for may come later: then it is certain that some is missing.
    let (wait, late) = match confirmed {
        Confirmed::ByNone => (0, [1000, 2000]),
        Confirmed::ByAll => (replicas, [100, 250]),
    };
    let late: Vec<Duration> = (0..replicas)
        .map(|_| dice.millis(late[0], late[1]))
        .collect();
    let mut servers = Servers::start(&late).await;
    // A settlement that is lost leaves a claim that nobody holds; it is not waited for longer than need be.
    let lease = match confirmed {
        Confirmed::ByNone => "3s",
        Confirmed::ByAll => "30s",
    };
    let config = configuration(&upstream, &servers.sentinels, wait, lease);
    let proxies = Arc::new([Proxy::start(&config).await, Proxy::start(&config).await]);
    for proxy in proxies.iter() {
        proxy.reaches("idemproxy_store_up", 1.0).await;
    }
    script(&upstream, &mut dice);
    let (phase, _) = watch::channel(Phase::Before);
    let killed = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..KEYS)
        .map(|number| {
            let client = Client {
                request: post("/orders", &format!("key-{number}"), "an order"),
                proxies: Arc::clone(&proxies),
                phase: phase.subscribe(),
                killed: Arc::clone(&killed),
            };
            tokio::spawn(client.insist(dice.millis(0, 2600), number % 2))
        })
        .collect();
    sleep(dice.millis(1600, 2600)).await;
    killed.store(true, Ordering::SeqCst);
    servers.kill_primary();
    let promoted = servers.fail_over().await;
    // There is one less to confirm.
    let _another = (wait > 0).then(|| follow(promoted));
    phase.send_replace(Phase::After);
    let mut tally = Tally {
        rounds: 1,
        keys: KEYS as u64,
        ..Tally::default()
    };
    for (number, client) in clients.into_iter().enumerate() {
        let told = client.await.unwrap();
        judge(
            &mut tally,
            &format!("seed {seed} key-{number}"),
            number,
            &told,
            &upstream,
        );
    }
    tally
}

fn judge(tally: &mut Tally, name: &str, number: usize, told: &Told, upstream: &Upstream) {
    let key = format!("key-{number}");
    let ledger = upstream.ledger();
    let ran = ledger
        .iter()
        .filter(|entry| entry.field("idempotency-key") == Some(&key));
    let ran = ran.count();
    let unchanged = |text: &String| {
        told.last
            .iter()
            .all(|last| last.status == 201 && last.text() == *text)
    };
    let lost = told.stored.as_ref().is_some_and(|text| !unchanged(text));
    let withdrawn = !lost && told.replayed.as_ref().is_some_and(|text| !unchanged(text));
    tally.stored_before += u64::from(told.stored_before);
    tally.under_way += u64::from(told.under_way);
    tally.twice += u64::from(ran > 1);
    tally.lost += u64::from(lost);
    tally.withdrawn += u64::from(withdrawn);
    tally.unknown += u64::from(told.last.iter().any(|last| last.status != 201));
    if ran > 1 || lost || withdrawn {
        let last: Vec<String> = told
            .last
            .iter()
            .map(|last| match last.field("x-idempotency-error") {
                Some(error) => error,
                None => last.text(),
            })
            .collect();
        tally.wrong.push(format!(
            "{name}: ran {ran} times, stored {:?}, replayed {:?}, at last {last:?}",
            told.stored, told.replayed
        ));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    /// There is another primary.
    After,
}

/// A client that does not rest before its key is answered for good, and asks again after the failover.
struct Client {
    request: Request,
    proxies: Arc<[Proxy; 2]>,
    phase: watch::Receiver<Phase>,
    killed: Arc<AtomicBool>,
}

impl Client {
    async fn insist(mut self, after: Duration, mut proxy: usize) -> Told {
        sleep(after).await;
        let mut told = Told::default();
        let begun_before = !self.killed();
        self.answered(&mut proxy, &mut told).await;
        let answered_after = self.killed();
        told.under_way = begun_before && answered_after;
        told.stored_before = told.stored.is_some() && !answered_after;
        let mut phase = self.phase.clone();
        phase
            .wait_for(|phase| *phase == Phase::After)
            .await
            .unwrap();
        self.phase = phase;
        for mut proxy in 0..2 {
            let last = self.answered(&mut proxy, &mut told).await;
            told.last.push(last);
        }
        told
    }

    /// Sends the request until the answer is not that it should be sent again.
    async fn answered(&self, proxy: &mut usize, told: &mut Told) -> Answer {
        let insisting = async {
            loop {
                let answer = self.proxies[*proxy].send(&self.request).await;
                if answer.field("x-idempotency-replay").is_some() {
                    told.replayed.get_or_insert_with(|| answer.text());
                } else if answer.field("x-idempotency-stored").as_deref() == Some("true") {
                    told.stored.get_or_insert_with(|| answer.text());
                }
                if answer.field("retry-after").is_none() {
                    return answer;
                }
                *proxy = 1 - *proxy;
                sleep(Duration::from_millis(50)).await;
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(120), insisting).await;
        answer.expect("an answer for good")
    }

    fn killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }
}

/// A primary, replicas that follow it from afar, and sentinels.
struct Servers {
    primary: RedisServer,
    links: Vec<Link>,
    _replicas: Vec<RedisServer>,
    sentinels: Sentinels,
}

impl Servers {
    async fn start(late: &[Duration]) -> Self {
        let replicas = late.len();
        let primary = RedisServer::with(PROMPT);
        let mut links = Vec::new();
        let mut following = Vec::new();
        for _ in 0..replicas {
            let link = Link::to(primary.port()).await;
            following.push(follow(link.port()));
            links.push(link);
        }
        let follow = format!("connected_slaves:{replicas}\r");
        eventually(|| {
            let info = info(&primary);
            info.contains(&follow) && info.matches("state=online").count() == replicas
        })
        .await;
        let sentinels = Sentinels::watch(primary.port(), replicas);
        for (link, by) in links.iter().zip(late) {
            link.delay_replies(*by);
        }
        Self {
            primary,
            links,
            _replicas: following,
            sentinels,
        }
    }

    /// With what was on its way to the replicas.
    fn kill_primary(&mut self) {
        for link in &self.links {
            link.cut();
        }
        self.primary.stop();
    }

    async fn fail_over(&self) -> u16 {
        self.sentinels.fail_over(self.primary.port()).await
    }
}

/// A replica of the server behind a port.
fn follow(port: u16) -> RedisServer {
    let port = port.to_string();
    RedisServer::with(&[PROMPT, &["--replicaof", "127.0.0.1", &port]].concat())
}

fn info(server: &RedisServer) -> String {
    redis::from_redis_value(server.command(&["INFO", "replication"])).unwrap()
}

/// What the upstream does with each key: it answers soon, or in a while.
fn script(upstream: &Upstream, dice: &mut Dice) {
    for number in 0..KEYS {
        let reply = Reply::new(201).body(format!("effect {number}"));
        if dice.below(2) == 0 {
            upstream.next(reply);
            continue;
        }
        let (gate, after) = (Gate::new(), dice.millis(0, 6000));
        upstream.next(reply.after(&gate));
        tokio::spawn(async move {
            sleep(after).await;
            gate.cancel();
        });
    }
}

fn configuration(upstream: &Upstream, sentinels: &Sentinels, wait: usize, lease: &str) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"{}\"\nservice = \"failover\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [store]\nurl = \"{}\"\nwait_replicas = {wait}\ntimeout = \"2s\"\n[policy]\nclient_timeout = \"5s\"\nlease = \"{lease}\"\n",
        upstream.url(),
        sentinels.url()
    )
}

const KEYS: usize = 40;
/// A replica that comes is not made to wait for others.
const PROMPT: &[&str] = &["--repl-diskless-sync-delay", "0"];
