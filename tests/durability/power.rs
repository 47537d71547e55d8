//! Power losses.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use idemproxy::idempotency::RecordId;
use idemproxy::store::{Embedded, Store, StoreError, StoreSettings, Sync};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::check::{Found, check};
use crate::disk::Disk;
use crate::mishap::{Cut, Figures, Mood};
use crate::records::claim;
use crate::support::patiently;
use crate::workload::{Client, Told};
use crate::{headroom, length, settings};

#[test]
fn nothing_acknowledged_is_lost_to_power_losses() {
    let losses = length("IDEMPROXY_POWER_LOSSES", 150);
    let mut chance = Chance::of_this_run("power losses");
    let mut worlds: Vec<_> = (0..losses.div_ceil(LOSSES))
        .map(|world| (world, chance.fork()))
        .collect();
    let mut total = Sum::default();
    while !worlds.is_empty() {
        let rest = worlds.split_off(worlds.len().min(AT_ONCE));
        thread::scope(|scope| {
            let running: Vec<_> = worlds
                .drain(..)
                .map(|(world, chance)| scope.spawn(move || World::new(world, chance).run()))
                .collect();
            for world in running {
                total.add(&world.join().expect("a world in which nothing was lost"));
            }
        });
        worlds = rest;
    }
    println!("power losses, synced always: {total:#?}");
    let Sum {
        figures,
        found,
        told,
        ..
    } = &total;
    assert!(total.losses >= losses, "{losses} were asked for");
    assert!(total.in_recovery * 8 > total.losses);
    assert!(figures.cut_at_sync > 0 && figures.cut_at_write > 0 && figures.cut_at_resize > 0);
    assert!(figures.torn > 0 && figures.kept > 0 && figures.dropped > 0 && figures.lengths > 0);
    assert!(figures.grown > 0);
    assert!(told.acknowledged > 10 * total.losses && told.unanswered > 0 && told.refused > 0);
    assert!(told.raced > 0 && told.stale > 0 && told.taken_over > 0);
    assert!(found.unknown > 0 && found.stood > 0 && found.fell > 0);
    assert!(found.swept > 0, "nothing expired while it ran");
    assert_eq!(found.forgotten, 0);
}

/// It may forget the last 50 ms; what it has is whole, and the file opens.
#[test]
fn a_store_that_syncs_late_may_forget_and_is_not_damaged() {
    let mut chance = Chance::of_this_run("power losses, synced late");
    let mut total = Sum::default();
    for world in 0..length("IDEMPROXY_POWER_LOSSES", 150).div_ceil(LOSSES * 8) {
        let mut world = World::new(world, chance.fork());
        world.settings.sync = Sync::Never;
        world.promise = Sync::Never;
        total.add(&world.run());
    }
    println!("power losses, synced late: {total:#?}");
    assert!(total.found.kept > 0 && total.found.forgotten > 0);
}

/// The check itself: what a store that syncs late forgets is not what one that syncs always may.
#[test]
#[should_panic(expected = "was acknowledged")]
fn a_loss_is_found_out() {
    let mut chance = Chance::of_this_run("a loss that is found out");
    for number in 0..10 {
        let mut world = World::new(number, chance.fork());
        world.dir.disable_cleanup(false);
        world.settings.sync = Sync::Never;
        world.run();
    }
}

#[tokio::test]
async fn while_the_file_does_not_open_again_a_look_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    headroom(dir.path());
    let disk = Arc::<Disk>::default();
    let store = disk.open(dir.path(), &settings(dir.path())).unwrap();
    let id = |byte| RecordId::from_bytes([byte; 16]);
    store.insert(id(1), &claim()).await.unwrap();
    disk.cut();
    let written = store.insert(id(2), &claim()).await;
    assert!(
        matches!(written, Err(StoreError::Unanswered(_))),
        "{written:?}"
    );
    // No more than a moment after the answer, since one tries again each second.
    for _ in 0..3 {
        let seen = patiently(store.look(id(1))).await;
        assert!(matches!(seen, Err(StoreError::Refused(_))), "{seen:?}");
    }
    let mood = Mood::any(&mut Chance::of_this_run("a file that does not open"));
    disk.power_on(mood, &mut Chance::of_this_run("a disk that is there again"))
        .unwrap();
}

/// A directory on a simulated disk, its clients, and what came of both.
struct World {
    number: usize,
    dir: TempDir,
    disk: Arc<Disk>,
    settings: StoreSettings,
    /// What its clients were promised.
    promise: Sync,
    clients: Vec<Client>,
    chance: Chance,
    sum: Sum,
}

/// What happened.
#[derive(Clone, Debug, Default)]
struct Sum {
    losses: usize,
    /// Of them, before the store had opened.
    in_recovery: usize,
    /// Of them, while nothing was written, and after it was closed.
    idle: usize,
    closed: usize,
    found: Found,
    told: Told,
    figures: Figures,
}

impl World {
    fn new(number: usize, mut chance: Chance) -> Self {
        let mut dir = TempDir::new().unwrap();
        // Kept for whoever looks into a failure.
        dir.disable_cleanup(true);
        Self {
            number,
            disk: Arc::default(),
            settings: settings(dir.path()),
            promise: Sync::Always,
            clients: (0..CLIENTS).map(|_| Client::new(chance.fork())).collect(),
            dir,
            chance,
            sum: Sum::default(),
        }
    }

    fn run(mut self) -> Sum {
        println!("world {} in {}", self.number, self.dir.path().display());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            // Its first loss may come while the file is made.
            self.disk.arm(Cut::Any, self.chance.below(60));
            let mut store = self.open();
            while self.sum.losses < LOSSES {
                self.live(&store).await;
                self.lose(store);
                store = self.open();
                let before = self.sum.found.swept;
                let mut found = check(&store, &mut self.clients, self.promise).await;
                // Told of all the time by now.
                found.swept = found.swept.saturating_sub(before);
                self.sum.found.add(found);
            }
        });
        self.dir.disable_cleanup(false);
        self.sum.figures = self.disk.figures();
        for client in &self.clients {
            self.sum.told.add(client.told);
        }
        self.sum
    }

    /// Clients at work until the power goes, or they have done enough.
    async fn live(&mut self, store: &Embedded) {
        let long = self.chance.percent(12);
        let cut = self.chance.pick(&[
            Cut::Sync,
            Cut::Sync,
            Cut::Write,
            Cut::Write,
            Cut::Resize,
            Cut::Any,
        ]);
        let after = match cut {
            Cut::Sync => self.chance.below(40),
            Cut::Resize => 0,
            _ => self.chance.below(300),
        };
        let (steps, pause) = if long {
            (40, Duration::from_millis(40))
        } else {
            self.disk.arm(cut, after);
            (self.chance.within(5..40), Duration::ZERO)
        };
        let disk = &self.disk;
        let work = self
            .clients
            .iter_mut()
            .map(|client| client.work(store, disk, steps, pause));
        let late = async {
            if long {
                // About when the first sweep comes.
                tokio::time::sleep(Duration::from_millis(990)).await;
                disk.arm(cut, after / 4);
            }
        };
        tokio::join!(join_all(work), late);
    }

    /// The power goes, now at the latest; or while it closes, or after that.
    fn lose(&mut self, store: Embedded) {
        if !self.disk.is_off() {
            if self.chance.percent(50) {
                self.disk.cut();
                self.sum.idle += 1;
            } else {
                self.disk.arm(Cut::Any, self.chance.below(6));
                self.sum.closed += 1;
            }
        }
        drop(store);
        self.sum.losses += 1;
        self.power_on();
    }

    /// Opens the store; in a third of the cases the power goes again meanwhile.
    fn open(&mut self) -> Embedded {
        loop {
            if self.chance.percent(35) {
                let after = self.chance.below(5);
                self.disk.arm(Cut::Any, after);
            }
            headroom(self.dir.path());
            let opened = self.disk.open(self.dir.path(), &self.settings);
            match opened {
                Ok(store) if !self.disk.is_off() => {
                    self.disk.disarm();
                    return store;
                }
                opened if self.disk.is_off() => {
                    drop(opened);
                    self.sum.losses += 1;
                    self.sum.in_recovery += 1;
                    self.power_on();
                }
                opened => panic!(
                    "world {}, loss {}: {opened:?}",
                    self.number, self.sum.losses
                ),
            }
        }
    }

    fn power_on(&mut self) {
        let mood = Mood::any(&mut self.chance);
        self.disk.power_on(mood, &mut self.chance).unwrap();
    }
}

/// Adds up fields of the same name.
macro_rules! add {
    ($to:expr, $from:expr; $($field:ident),*) => { $($to.$field += $from.$field;)* };
}

impl Sum {
    fn add(&mut self, other: &Self) {
        add!(self, other; losses, in_recovery, idle, closed);
        self.found.add(other.found);
        self.told.add(other.told);
        self.figures.add(&other.figures);
    }
}

impl Found {
    fn add(&mut self, other: Self) {
        add!(self, other; kept, unknown, stood, fell, swept, forgotten);
    }
}

impl Told {
    fn add(&mut self, other: Self) {
        add!(self, other; acknowledged, unanswered, refused, stale, raced, taken_over);
    }
}

impl Figures {
    fn add(&mut self, other: &Self) {
        add!(self, other; operations, cut_at_write, cut_at_sync, cut_at_resize, grown, shrunk, kept, dropped, torn, lengths, lied);
    }
}

/// Losses in one directory.
const LOSSES: usize = 10;
/// Directories at a time.
const AT_ONCE: usize = 6;
/// Clients of each.
const CLIENTS: usize = 6;
