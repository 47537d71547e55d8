//! What goes wrong, and when: a seeded deck of faults, each between two times of peace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join4;
use tokio::time::sleep;

use super::churn::{self, Churn, Deck};
use super::faults::On;
use super::history::{At, now};
use super::options::Dice;
use super::scenarios;
use super::toxics::Toxic;
use super::world::{Backing, PROXIES, World};

/// Deals faults until a run is over.
pub struct Nemesis {
    dice: Dice,
    deck: Vec<Blow>,
    /// What links suffer meanwhile.
    links: [Churn; 3],
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

impl Nemesis {
    pub fn new(world: &World) -> Self {
        let dice = |name: &[u8]| Dice::new(world.seed, &[b"nemesis", name]);
        let deck = Deck::default();
        Self {
            dice: dice(b"blows"),
            deck: Vec::new(),
            links: [b"1", b"2", b"3"].map(|name| Churn::new(dice(name), deck.clone())),
            dealt: 0,
        }
    }

    /// Deals blows until then, and heals. The `last` time goes on until each blow was dealt and every required fault touched something, if that
    /// comes in time.
    pub async fn run(&mut self, world: &World, until: At, last: bool) {
        let give_up = until + PATIENCE;
        while now() < until || (last && !self.is_through(world) && now() < give_up) {
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
                let [first, second, third] = &mut self.links;
                join4(
                    strike(world, blow, &mut self.dice, &ended),
                    first.run(world, &ended),
                    second.run(world, &ended),
                    third.run(world, &ended),
                )
                .await;
            }
            world.heal().await;
            sleep(Duration::from_millis(self.dice.between(150, 500))).await;
        }
    }

    fn is_through(&self, world: &World) -> bool {
        let faults = world.faults.all();
        let fired = |kind: &String| {
            let mut faults = faults.iter();
            faults.any(|fault| fault.fired && fault.kind == *kind)
        };
        self.dealt >= blows(world.backing).len() && required(world).iter().all(fired)
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

/// Every kind of fault that a run must see.
pub fn required(world: &World) -> Vec<String> {
    let mut required = churn::kinds(world);
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

/// How much longer the last deck may take.
const PATIENCE: Duration = Duration::from_secs(90);
