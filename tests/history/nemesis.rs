//! What goes wrong, and when: a seeded deck of faults, each between two times of peace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join3;
use serde_json::json;
use tokio::time::sleep;

use super::faults::{Fault, On};
use super::history::now;
use super::options::Dice;
use super::scenarios;
use super::toxics::{Toxic, ToxicLink};
use super::world::{Backing, PROXIES, World, change};

/// Deals faults until a run is over.
pub struct Nemesis {
    dice: Dice,
    deck: Vec<Blow>,
    /// What links suffer meanwhile.
    links: [Churn; 2],
    dealt: usize,
}

/// What a cycle of the nemesis is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Kill,
    KillTwo,
    Freeze,
    FreezeTwo,
    RedisKill,
    RedisFreeze,
    RedisAndProxyKill,
    Blackhole,
    Full,
    ReadOnly,
    ScriptFlush,
    /// Links alone.
    Links,
    // One thing at a time, so that what follows has one cause.
    LostClaim,
    DeafProxy,
    UnsettledHolder,
    SleepingHolder,
    OvertakenHolder,
}

/// Faults on links, one after another.
struct Churn {
    dice: Dice,
    deck: Vec<(Place, &'static str)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Front,
    Upstream,
    Store,
}

impl Nemesis {
    pub fn new(world: &World) -> Self {
        let dice = |name: &[u8]| Dice::new(world.seed, &[b"nemesis", name]);
        Self {
            dice: dice(b"blows"),
            deck: Vec::new(),
            links: [b"1", b"2"].map(|name| Churn {
                dice: dice(name),
                deck: Vec::new(),
            }),
            dealt: 0,
        }
    }

    /// Deals blows until `over`, and, the `last` time, until each was dealt; and heals.
    pub async fn run(&mut self, world: &World, over: &AtomicBool, last: bool) {
        let least = if last { blows(world.backing).len() } else { 0 };
        while self.dealt < least || !over.load(Ordering::Relaxed) {
            if self.deck.is_empty() {
                self.deck = blows(world.backing).to_vec();
                self.dice.shuffle(&mut self.deck);
            }
            let blow = self.deck.pop().expect("a full deck");
            self.dealt += 1;
            let ended = AtomicBool::new(false);
            if blow.is_alone() {
                strike(world, blow, &mut self.dice, &ended).await;
            } else {
                let [first, second] = &mut self.links;
                join3(
                    strike(world, blow, &mut self.dice, &ended),
                    first.run(world, &ended),
                    second.run(world, &ended),
                )
                .await;
            }
            world.heal().await;
            sleep(Duration::from_millis(self.dice.between(150, 500))).await;
        }
    }
}

impl Blow {
    fn is_alone(self) -> bool {
        matches!(
            self,
            Self::LostClaim
                | Self::DeafProxy
                | Self::UnsettledHolder
                | Self::SleepingHolder
                | Self::OvertakenHolder
        )
    }
}

/// All that can go wrong with a store of this kind.
fn blows(backing: Backing) -> &'static [Blow] {
    match backing {
        Backing::Redis => &[
            Blow::Kill,
            Blow::Kill,
            Blow::KillTwo,
            Blow::Freeze,
            Blow::FreezeTwo,
            Blow::RedisKill,
            Blow::RedisKill,
            Blow::RedisFreeze,
            Blow::RedisAndProxyKill,
            Blow::Blackhole,
            Blow::Full,
            Blow::ReadOnly,
            Blow::ScriptFlush,
            Blow::Links,
            Blow::LostClaim,
            Blow::DeafProxy,
            Blow::UnsettledHolder,
            Blow::SleepingHolder,
            Blow::OvertakenHolder,
        ],
        Backing::Embedded => &[
            Blow::Kill,
            Blow::Kill,
            Blow::KillTwo,
            Blow::Freeze,
            Blow::FreezeTwo,
            Blow::Links,
        ],
    }
}

async fn strike(world: &World, blow: Blow, dice: &mut Dice, ended: &AtomicBool) {
    let proxy = dice.below(PROXIES);
    let other = (proxy + 1) % PROXIES;
    let lease = world.times.lease;
    let mut ms = |low, high| Duration::from_millis(dice.between(low, high));
    match blow {
        Blow::Kill => world.crash(proxy, ms(0, 900)).await,
        Blow::KillTwo => {
            let later = ms(0, 300);
            let second = async {
                sleep(later).await;
                world.crash(other, ms(0, 500)).await;
            };
            tokio::join!(world.crash(proxy, Duration::ZERO), second);
        }
        Blow::Freeze => {
            let asleep = lease + ms(100, 800);
            world.frozen(proxy, sleep(asleep)).await;
        }
        Blow::FreezeTwo => {
            let (short, long) = (ms(200, 1_000), lease + ms(100, 500));
            tokio::join!(
                world.frozen(proxy, sleep(short)),
                world.frozen(other, sleep(long))
            );
        }
        Blow::RedisKill => world.crash_redis(ms(0, 1_200)).await,
        Blow::RedisFreeze => world.freeze_redis(ms(250, 1_800)).await,
        Blow::RedisAndProxyKill => {
            let (redis, away) = (ms(200, 800), ms(0, 300));
            tokio::join!(world.crash_redis(redis), world.crash(proxy, away));
        }
        Blow::Blackhole => {
            let lasts = ms(300, 1_500);
            let fault = world.faults.begin(On::Store, "redis blackholed");
            for link in &world.store {
                link.add(Toxic::timeout(Duration::ZERO).up()).await;
            }
            sleep(lasts).await;
            for link in &world.store {
                link.clear().await;
            }
            world.faults.end(fault);
        }
        Blow::Full => {
            let full = ["CONFIG", "SET", "maxmemory", "1"];
            let empty = ["CONFIG", "SET", "maxmemory", "0"];
            let lasts = ms(300, 1_200);
            world
                .order_redis("redis filled up", &full, lasts, &empty)
                .await;
        }
        Blow::ReadOnly => {
            // A primary that does not exist.
            let demote = ["REPLICAOF", "127.0.0.1", "1"];
            let promote = ["REPLICAOF", "NO", "ONE"];
            let lasts = ms(300, 1_200);
            world
                .order_redis("redis made read-only", &demote, lasts, &promote)
                .await;
        }
        Blow::ScriptFlush => {
            for _ in 0..5 {
                let flush = ["SCRIPT", "FLUSH"];
                let lasts = ms(20, 200);
                world
                    .order_redis("redis flushed of its scripts", &flush, lasts, &flush)
                    .await;
            }
        }
        Blow::Links => sleep(ms(1_500, 3_000)).await,
        Blow::LostClaim => scenarios::lost_claim(world, proxy).await,
        Blow::DeafProxy => scenarios::deaf_proxy(world, proxy).await,
        Blow::UnsettledHolder => scenarios::unsettled_holder(world, proxy).await,
        Blow::SleepingHolder => scenarios::sleeping_holder(world, proxy).await,
        Blow::OvertakenHolder => scenarios::overtaken_holder(world, proxy).await,
    }
    ended.store(true, Ordering::Relaxed);
}

impl Churn {
    async fn run(&mut self, world: &World, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            if self.deck.is_empty() {
                self.deck = deck(world);
                self.dice.shuffle(&mut self.deck);
            }
            let (place, kind) = self.deck.pop().expect("a full deck");
            let number = self.dice.below(PROXIES);
            let (link, on) = match place {
                Place::Front => (&world.front[number], On::Front(number)),
                Place::Upstream => (&world.up[number], On::Upstream(number)),
                Place::Store => (&world.store[number], On::StoreLink(number)),
            };
            let fault = Fault {
                on,
                kind: format!("{place:?} link: {kind}").to_lowercase(),
                from: now(),
                until: now(),
                fired: false,
            };
            let lasts = Duration::from_millis(self.dice.between(150, 600));
            let fired = match self.toxic(kind) {
                Some(toxic) => suffer(link, toxic, lasts).await,
                None => {
                    change(link, json!({"enabled": false})).await;
                    sleep(lasts).await;
                    change(link, json!({"enabled": true})).await;
                    true
                }
            };
            if !fired {
                self.deck.insert(0, (place, kind));
            }
            let until = now();
            world.faults.add(Fault {
                until,
                fired,
                ..fault
            });
            sleep(Duration::from_millis(self.dice.between(20, 200))).await;
        }
    }

    /// None stands for a link that is disabled.
    fn toxic(&mut self, kind: &str) -> Option<Toxic> {
        let dice = &mut self.dice;
        let mut ms = |low, high| Duration::from_millis(dice.between(low, high));
        let toxic = match kind {
            "latency" => Toxic::latency(ms(5, 700), ms(1, 100)),
            "bandwidth" => Toxic::bandwidth(dice.between(1, 20)),
            "slow_close" => Toxic::slow_close(ms(50, 500)),
            "timeout" => Toxic::timeout(ms(0, 300)),
            "slicer" => Toxic::slicer(40, 20, Duration::from_micros(dice.between(50, 3_000))),
            "limit_data" => Toxic::limit_data(dice.between(0, 2_000)),
            "reset_peer" => Toxic::reset_peer(ms(0, 50)),
            "silence" => Toxic::silence(),
            "cut" if dice.percent(50) => Toxic::cut_by_reset(dice.between(0, 1_500)),
            "cut" => Toxic::cut(dice.between(0, 1_500)),
            "swallow" => Toxic::swallow(dice.between(1, 4)),
            "disabled" => return None,
            other => panic!("no toxic {other}"),
        };
        let toxicity = [0.3, 1.0][dice.below(2)];
        // Half of the links have few connections at a time.
        let toxic = toxic.toxicity(if kind == "latency" { toxicity } else { 1.0 });
        Some(if dice.percent(50) && kind != "swallow" {
            toxic.up()
        } else {
            toxic.down()
        })
    }
}

/// A toxic for this time, or longer where it has not touched anything yet. Whether it did; a real Toxiproxy does not tell.
async fn suffer(link: &ToxicLink, toxic: Toxic, lasts: Duration) -> bool {
    let kind = toxic.kind;
    let before = link.fired().await;
    let name = link.add(toxic).await;
    sleep(lasts).await;
    let give_up = now() + 4 * lasts;
    let fired = loop {
        let fired = link.fired().await;
        let fired = fired.is_empty() || fired.get(kind) != before.get(kind);
        if fired || now() > give_up {
            break fired;
        }
        sleep(Duration::from_millis(100)).await;
    };
    link.remove(&name).await;
    fired
}

fn deck(world: &World) -> Vec<(Place, &'static str)> {
    let mut places = vec![Place::Front, Place::Upstream];
    if world.backing == Backing::Redis {
        places.push(Place::Store);
    }
    let extras = if world.has_extras() { EXTRAS } else { &[] };
    let kinds = || KINDS.iter().chain(extras);
    let of = |place: &Place| kinds().map(|kind| (*place, *kind)).collect::<Vec<_>>();
    places.iter().flat_map(of).collect()
}

/// Every kind of fault that a run must see.
pub fn required(world: &World) -> Vec<String> {
    let mut required: Vec<String> = deck(world)
        .iter()
        .map(|(place, kind)| format!("{place:?} link: {kind}").to_lowercase())
        .collect();
    required.extend(["proxy killed", "proxy frozen"].map(str::to_owned));
    if world.backing == Backing::Redis {
        let kinds = [
            "redis killed and restarted",
            "redis frozen",
            "redis blackholed",
            "redis filled up",
            "redis made read-only",
            "redis flushed of its scripts",
            "redis flushed of its data",
        ];
        required.extend(kinds.map(str::to_owned));
    }
    required
}

const KINDS: &[&str] = &[
    "latency",
    "bandwidth",
    "slow_close",
    "timeout",
    "slicer",
    "limit_data",
    "reset_peer",
    "disabled",
];

/// What a real Toxiproxy lacks.
const EXTRAS: &[&str] = &["silence", "cut", "swallow"];
