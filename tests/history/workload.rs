//! Clients that retry until they are answered for good, click twice, leave early, and come back later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join;
use futures_util::stream::iter;
use http::Request;
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client;
use super::history::{Asked, At, CALLERS, Cell, CellId, Class, Route, now};
use super::options::Dice;
use super::world::{Backing, PROXIES, World};

/// How a client asks.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub other_body: bool,
    pub patience: Duration,
    pub sweep: bool,
}

impl Manner {
    /// Waits as long as any answer may take.
    pub const PATIENT: Self = Self {
        other_body: false,
        patience: PATIENCE,
        sweep: false,
    };
}

/// Sends one request, and notes what came of it.
pub async fn ask(world: &World, cell: CellId, proxy: usize, manner: Manner) -> Asked {
    let name = world.history.name_of(cell);
    let proxy = name.home.unwrap_or(proxy);
    let id = world.history.request();
    let path = match name.route {
        Route::Once => "/orders",
        Route::Again => "/again",
    };
    let mut request = Request::post(path)
        .header("Host", "api.example")
        .header("Idempotency-Key", &name.key)
        .header("X-Request", id);
    if let Some(caller) = CALLERS[name.caller] {
        request = request.header("Authorization", caller);
    }
    let body = body(world.seed, &name.key, manner.other_body);
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let start = now();
    let said = client::ask(world.front[proxy].address(), request, manner.patience).await;
    let asked = Asked {
        id,
        cell,
        other_body: manner.other_body,
        proxy,
        start,
        end: now(),
        patience: manner.patience,
        sweep: manner.sweep,
        said,
    };
    world.history.add(asked.clone());
    asked
}

/// Runs so many operations, evenly over this time, and more at the same rate until it is `enough`; waits for the last.
pub async fn run(
    world: &Arc<World>,
    wave: u64,
    keys: usize,
    over: Duration,
    enough: &Arc<AtomicBool>,
) {
    let next = Arc::new(AtomicUsize::new(0));
    let began = now();
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (world, next, enough) = (world.clone(), next.clone(), enough.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = began + over.mul_f64(number as f64 / keys as f64);
                while number >= keys && now() < due && !enough.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(20)).await;
                }
                if number >= keys && enough.load(Ordering::Relaxed) {
                    return;
                }
                sleep(due.saturating_sub(now())).await;
                let name = format!("operation {number} of wave {wave}");
                operation(&world, Dice::new(world.seed, &[name.as_bytes()])).await;
            }
        });
    }
    workers.join_all().await;
}

/// Asks each of these once more, after everything is healed, until the answer says what became of the key. What has no end in time is left, for the
/// checks to find.
pub async fn sweep(world: &World, cells: std::ops::Range<CellId>) {
    let give_up = now() + SWEEP;
    let swept = iter(cells).map(|cell| async move {
        let manner = Manner {
            sweep: true,
            ..Manner::PATIENT
        };
        while now() < give_up {
            let class = ask(world, cell, cell % PROXIES, manner).await.class();
            let waits = matches!(
                class,
                Class::InProgress
                    | Class::GoesOn
                    | Class::NotNow
                    | Class::None
                    | Class::Released
                    | Class::Told(_)
            );
            if !waits {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    });
    swept.buffer_unordered(SWEEPERS).collect::<()>().await;
}

/// One key from its first request to its last; or a key that two callers use at once.
async fn operation(world: &World, mut dice: Dice) {
    let route = if dice.percent(8) {
        Route::Again
    } else {
        Route::Once
    };
    let caller = dice.below(CALLERS.len());
    let cell = world.new_cell(caller, route, &mut dice);
    if dice.percent(10) {
        let Cell { key, home, .. } = world.history.name_of(cell);
        let other = (caller + 1 + dice.below(CALLERS.len() - 1)) % CALLERS.len();
        let other = world.cell_of(&key, other, route, home.unwrap_or(0));
        let others = Dice::new(dice.next(), &[b"other caller"]);
        join(
            carry_through(world, cell, dice),
            carry_through(world, other, others),
        )
        .await;
    } else {
        carry_through(world, cell, dice).await;
    }
}

async fn carry_through(world: &World, cell: CellId, mut dice: Dice) {
    let answered = until_answered(world, cell, &mut dice).await;
    if !answered || !dice.percent(35) {
        return;
    }
    sleep(Duration::from_millis(dice.between(0, 1_500))).await;
    let manner = Manner {
        other_body: dice.percent(30),
        ..Manner::PATIENT
    };
    ask(world, cell, dice.below(PROXIES), manner).await;
}

/// Retries as a good client does. True when an answer said that it is stored.
async fn until_answered(world: &World, cell: CellId, dice: &mut Dice) -> bool {
    let give_up = now() + Duration::from_secs(20);
    let mut in_doubt: Option<(At, u32)> = None;
    for tries in 0.. {
        let manner = Manner {
            patience: match dice.below(10) {
                0..=1 => Duration::from_millis(dice.between(5, 200)),
                2..=6 => Duration::from_millis(dice.between(400, 1_500)),
                _ => PATIENCE,
            },
            ..Manner::PATIENT
        };
        let first = ask(world, cell, dice.below(PROXIES), manner);
        let classes = if dice.percent(15) {
            let late = Duration::from_millis(dice.below(10) as u64 * dice.below(10) as u64);
            let second = dice.below(PROXIES);
            let second = async {
                sleep(late).await;
                ask(world, cell, second, Manner::PATIENT).await
            };
            let (first, second) = join(first, second).await;
            vec![first.class(), second.class()]
        } else {
            vec![first.await.class()]
        };
        for class in classes {
            match class {
                Class::Stored(_) | Class::Replay(_) => return true,
                Class::Told(_) if dice.percent(40) => return false,
                Class::Unknown => {
                    let (since, times) = in_doubt.unwrap_or((now(), 0));
                    in_doubt = Some((since, times + 1));
                    if times >= 2 && now() - since > world.times.lease {
                        return false;
                    }
                }
                _ => {}
            }
        }
        if now() > give_up {
            return false;
        }
        let backoff = 30 << tries.min(5);
        sleep(Duration::from_millis(dice.between(backoff / 2, backoff))).await;
    }
    false
}

/// The same for all callers of a key: whoever mixes them up finds nothing else that differs.
fn body(seed: u64, key: &str, other: bool) -> Vec<u8> {
    let mut dice = Dice::new(seed, &[b"body", key.as_bytes(), &[u8::from(other)]]);
    let length = dice.below(1_000) + 8;
    dice.bytes(length)
}

/// Longer than any answer may take.
pub const PATIENCE: Duration = Duration::from_secs(8);
const WORKERS: usize = 64;
/// Longer than a sweep takes on a busy machine.
const SWEEP: Duration = Duration::from_secs(60);
/// Few, so that a busy machine is no outage.
const SWEEPERS: usize = 12;

/// How many operations a second are begun.
pub fn rate(backing: Backing) -> f64 {
    match backing {
        Backing::Redis => 45.0,
        Backing::Embedded => 30.0,
    }
}
