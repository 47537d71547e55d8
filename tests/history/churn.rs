//! What links suffer: one toxic after another, dealt from a shuffled deck.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::faults::{Fault, On};
use super::history::now;
use super::options::Dice;
use super::toxics::{Toxic, ToxicLink};
use super::world::{Backing, PROXIES, World, change};

/// Faults on links, one after another.
pub struct Churn {
    dice: Dice,
    deck: Deck,
}

/// What several of them have still to deal, so that every kind has its turn soon.
pub type Deck = Arc<Mutex<Vec<(Place, &'static str)>>>;

/// Which of the three links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Front,
    Upstream,
    Store,
}

impl Churn {
    pub fn new(dice: Dice, deck: Deck) -> Self {
        Self { dice, deck }
    }

    /// One fault after another, until `over`.
    pub async fn run(&mut self, world: &World, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let (place, kind) = {
                let mut left = self.deck.lock().unwrap();
                if left.is_empty() {
                    *left = deck(world);
                    self.dice.shuffle(&mut left);
                }
                left.pop().expect("a full deck")
            };
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
                Some(toxic) => suffer(link, toxic, lasts, world.has_extras()).await,
                None => {
                    change(link, json!({"enabled": false})).await;
                    sleep(lasts).await;
                    change(link, json!({"enabled": true})).await;
                    true
                }
            };
            if !fired {
                self.deck.lock().unwrap().insert(0, (place, kind));
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

/// Every kind of fault that links can have.
pub fn kinds(world: &World) -> Vec<String> {
    let deck = deck(world);
    let name = |(place, kind): &(Place, &str)| format!("{place:?} link: {kind}").to_lowercase();
    deck.iter().map(name).collect()
}

/// A toxic for this time, or longer where it has not touched anything yet. Whether it did; a real Toxiproxy does not tell (`counted`).
async fn suffer(link: &ToxicLink, toxic: Toxic, lasts: Duration, counted: bool) -> bool {
    let kind = toxic.kind;
    let before = link.fired().await;
    let name = link.add(toxic).await;
    sleep(lasts).await;
    let give_up = now() + 4 * lasts;
    let fired = loop {
        let fired = link.fired().await;
        let fired = !counted || fired.get(kind) != before.get(kind);
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
