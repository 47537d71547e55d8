//! What is kept in memory of the file is what stands in it, whatever happens; and a reader finds what was acknowledged.

use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redb::BackendError;

use super::index::Index;
use super::*;
use crate::idempotency::sample::in_flight;
use crate::idempotency::{Lapse, State, StoredResponse};
use crate::store::{Location, Sync};

/// What is done to a store.
#[derive(Clone, Debug)]
enum Step {
    /// These writes in one transaction.
    Write(Vec<Write>),
    /// A heartbeat is written down.
    Extend(u8),
    Sweep,
    /// What was not durable is.
    Sync,
    /// From now on the disk does so: 0 well, 1 takes no writes, 2 neither reads nor writes.
    Disk(u8),
    Mend,
    /// The proxy stops, and starts again.
    Restart,
}

/// A write to one of a few records.
#[derive(Clone, Debug)]
struct Write {
    id: u8,
    /// Which of the writes that what is there lends itself to.
    choice: u8,
    /// Whether it expires at once.
    brief: bool,
    body: usize,
    token: [u8; 16],
}

/// A store whose writer takes one step at a time.
struct World {
    writer: Writer,
    queue: SyncSender<Request>,
    requests: Receiver<Request>,
}

/// A file on a disk that can fail, and never syncs.
#[derive(Debug)]
struct Flaky(FileBackend, Arc<AtomicU8>);

/// What the checks came by.
#[derive(Debug, Default)]
struct Tally {
    kept: u64,
    evicted: u64,
    failed: u64,
    closed: u64,
    removed: u64,
}

#[test]
fn what_is_kept_in_memory_is_what_stands_in_the_file() {
    let mut tally = Tally::default();
    let tally_of = std::cell::RefCell::new(&mut tally);
    let config = Config {
        cases: std::env::var("PROPTEST_CASES")
            .map_or(0, |cases| cases.parse().unwrap())
            .max(24),
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), 30..90);
    TestRunner::new(config)
        .run(&(any::<bool>(), steps), |(always, steps)| {
            run(always, steps, &mut tally_of.borrow_mut());
            Ok(())
        })
        .unwrap();
    println!("{tally:?}");
    let Tally {
        kept,
        evicted,
        failed,
        closed,
        removed,
    } = tally;
    assert!(kept > 0 && evicted > 0 && failed > 0 && closed > 0 && removed > 0);
}

fn step() -> impl Strategy<Value = Step> {
    let write = (
        0..IDS,
        any::<u8>(),
        prop::bool::weighted(0.2),
        0..400_usize,
        any::<[u8; 16]>(),
    );
    let write = write.prop_map(|(id, choice, brief, body, token)| Write {
        id,
        choice,
        brief,
        body,
        token,
    });
    prop_oneof![
        20 => prop::collection::vec(write, 1..5).prop_map(Step::Write),
        3 => (0..IDS).prop_map(Step::Extend),
        2 => Just(Step::Sweep),
        2 => Just(Step::Sync),
        2 => prop_oneof![3 => Just(0_u8), 1 => Just(1), 1 => Just(2)].prop_map(Step::Disk),
        2 => Just(Step::Mend),
        1 => Just(Step::Restart),
    ]
}

fn run(always: bool, steps: Vec<Step>, tally: &mut Tally) {
    let dir = tempfile::tempdir().unwrap();
    make_headroom(dir.path());
    let disk = Arc::new(AtomicU8::new(0));
    let settings = settings(dir.path(), if always { Sync::Always } else { Sync::Never });
    let mut world = World::open(&settings, &disk);
    for step in steps {
        let before = world.writer.usage.records;
        match step {
            Step::Write(writes) => world.write(&writes),
            Step::Extend(of) => {
                if let Some(seen) = world.seen(of, &disk) {
                    world.serve(vec![Request::Extend(id(of), seen.record.token)]);
                }
            }
            // What expired is looked at by the end of that second.
            Step::Sweep => world.writer.sweep(world.writer.witness.clock.now() + 1000),
            Step::Sync => world.writer.note_time(),
            Step::Disk(does) => disk.store(does, Ordering::SeqCst),
            Step::Mend => {
                make_headroom(dir.path());
                world.writer.mend();
            }
            Step::Restart => {
                disk.store(0, Ordering::SeqCst);
                world.writer.detach();
                drop(world);
                world = World::open(&settings, &disk);
            }
        }
        tally.removed += u64::from(world.writer.usage.records < before);
        tally.failed += u64::from(world.writer.failures > 0);
        world.check(&disk, tally);
    }
}

impl World {
    fn open(settings: &StoreSettings, disk: &Arc<AtomicU8>) -> Self {
        let Location::Embedded(dir) = &settings.location else {
            unreachable!("the settings are those of an embedded store");
        };
        let disk = Arc::clone(disk);
        let backend = move |file| Ok(Flaky(FileBackend::new(file)?, Arc::clone(&disk)));
        let (writer, _) = Writer::open(dir, settings, backend, TINY).unwrap();
        let (queue, requests) = mpsc::sync_channel(QUEUE);
        Self {
            writer,
            queue,
            requests,
        }
    }

    /// The disk fails as what was written is to be made durable, and is well again.
    fn lose_a_commit(&mut self, disk: &AtomicU8) {
        disk.store(1, Ordering::SeqCst);
        self.writer.note_time();
        assert_eq!(self.writer.failures, 1);
        disk.store(0, Ordering::SeqCst);
        // The file opens, and then takes claims.
        self.writer.mend();
        self.writer.mend();
    }

    /// What stands at this id, whatever the disk does now.
    fn seen(&self, of: u8, disk: &AtomicU8) -> Option<Seen> {
        let does = disk.swap(0, Ordering::SeqCst);
        let database = self.writer.database();
        let cell =
            database.and_then(|it| tables::look(&it, &self.writer.witness.index, id(of)).unwrap());
        disk.store(does, Ordering::SeqCst);
        cell.and_then(|cell| self.writer.witness.view(id(of), cell).unwrap())
    }

    fn write(&mut self, writes: &[Write]) {
        let jobs = writes.iter().map(|write| {
            let id = id(write.id);
            // What is in memory may be behind what another of these writes puts there: some are stale.
            let cell = self.writer.witness.recent.of(id);
            let seen = cell.and_then(|cell| self.writer.witness.view(id, cell).unwrap());
            let (expect, record) = write.over(seen.as_ref());
            // Kept: a job whose answer nobody waits for is not done.
            let (reply, answer) = oneshot::channel();
            let job = Job {
                id,
                expect,
                cell: Cell::new(id, &record, &self.writer.witness).unwrap(),
                stamp: Stamp::of(&record),
                reply,
                _large: None,
            };
            (answer, Request::Write(job))
        });
        let (answers, requests): (Vec<_>, Vec<_>) = jobs.unzip();
        self.serve(requests);
        drop(answers);
    }

    fn serve(&mut self, requests: Vec<Request>) {
        for request in requests {
            self.queue.try_send(request).map_err(|_| "full").unwrap();
        }
        let first = self.requests.recv().unwrap();
        self.writer.serve(first, &self.requests);
    }

    /// What is in memory stands in the file, byte for byte, and nothing is in memory while there is no file; and every record in the file has
    /// its place in memory, and counts.
    fn check(&self, disk: &AtomicU8, tally: &mut Tally) {
        let does = disk.swap(0, Ordering::SeqCst);
        let witness = &self.writer.witness;
        let database = self.writer.database();
        tally.closed += u64::from(database.is_none());
        for of in 0..IDS {
            let kept = witness.recent.of(id(of));
            let file = database
                .as_ref()
                .and_then(|it| tables::look(it, &witness.index, id(of)).unwrap());
            match (kept, file) {
                (Some(kept), file) => {
                    let file = file.as_ref().map(Cell::value);
                    assert_eq!(Some(kept.value()), file, "{of}");
                    tally.kept += 1;
                }
                (None, Some(_)) => tally.evicted += 1,
                (None, None) => {}
            }
        }
        if let Some(database) = database {
            let (usage, index, _) = tables::survey(&database).unwrap();
            let all = |index: &Index| index.after(None, usize::MAX);
            assert_eq!(all(&witness.index), all(&index));
            assert_eq!(self.writer.usage, usage);
        }
        disk.store(does, Ordering::SeqCst);
    }
}

impl Write {
    /// What it expects, and what it writes, over what is there.
    fn over(&self, seen: Option<&Seen>) -> (Option<Expect>, Record) {
        let mut record = Record {
            token: Token::from_bytes(self.token),
            ttl: Duration::from_secs(if self.brief { 0 } else { 3600 }),
            ..in_flight(1)
        };
        let Some(Seen { record: there, .. }) = seen else {
            return (None, record);
        };
        let expect = match (there.state, self.choice % 4) {
            (_, 3) => Expect::Held(record.token),
            (State::InFlight | State::Unknown, 0) => Expect::Held(there.token),
            (State::InFlight, _) => Expect::Lapsed(there.token),
            (State::Unknown, _) => Expect::Unknown(there.token),
            (State::Released, _) => Expect::Released(there.token),
            (State::Completed, _) => Expect::Shown(there.token, there.state),
        };
        if let Expect::Held(token) = expect {
            record.token = token;
        }
        if let Expect::Held(_) | Expect::Shown(..) = expect {
            record.state = [State::Completed, State::Released][usize::from(self.choice / 4 % 2)];
            record.response = (record.state == State::Completed).then(|| StoredResponse {
                status: 201,
                headers: Default::default(),
                body: Bytes::from(vec![self.choice; self.body]),
                trailers: Default::default(),
            });
        }
        // So that some claims lapse at once.
        record.lease = Duration::from_millis(u64::from(self.choice / 8 % 2) * 1000);
        (Some(expect), record)
    }
}

impl Flaky {
    fn does(&self, reading: bool) -> io::Result<()> {
        match self.1.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 if reading => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

impl StorageBackend for Flaky {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.does(true)?;
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.does(false)?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.does(false)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.does(false)?;
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
}

#[test]
fn a_removal_that_the_disk_lost_again_leaves_no_hole() {
    for claimed_again in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        make_headroom(dir.path());
        let disk = Arc::new(AtomicU8::new(0));
        let settings = settings(dir.path(), Sync::Never);
        let claim = |brief| Write {
            id: 1,
            choice: 0,
            brief,
            body: 0,
            token: [u8::from(brief); 16],
        };
        let soon = |world: &World| world.writer.witness.clock.now() + 1000;
        let mut world = World::open(&settings, &disk);
        world.write(&[claim(true)]);
        world.writer.note_time();
        world.writer.sweep(soon(&world));
        assert_eq!(world.writer.usage.records, 0);
        world.lose_a_commit(&disk);
        assert_eq!(world.writer.usage.records, 1, "the removal was not lost");
        if claimed_again {
            world.write(&[claim(false)]);
        } else {
            world.writer.sweep(soon(&world));
        }
        world.check(&disk, &mut Tally::default());
        assert_eq!(world.writer.usage.records, u64::from(claimed_again));
        world.writer.detach();
        drop(world);
        World::open(&settings, &disk).check(&disk, &mut Tally::default());
    }
}

#[test]
fn a_claim_whose_settlement_the_disk_lost_again_is_in_doubt() {
    let dir = tempfile::tempdir().unwrap();
    make_headroom(dir.path());
    let disk = Arc::new(AtomicU8::new(0));
    let mut world = World::open(&settings(dir.path(), Sync::Never), &disk);
    let write = || Write {
        id: 1,
        choice: 8,
        brief: false,
        body: 0,
        token: [1; 16],
    };
    world.write(&[write()]);
    world.writer.note_time();
    world.write(&[write()]);
    assert_eq!(world.seen(1, &disk).unwrap().record.state, State::Completed);
    world.lose_a_commit(&disk);
    let seen = world.seen(1, &disk).unwrap();
    assert_eq!(seen.record.state, State::InFlight, "nothing was lost");
    assert_eq!(seen.lapse, Lapse::Lapsed);
}

#[test]
fn between_a_commit_and_its_note_readers_go_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    make_headroom(dir.path());
    let settings = settings(dir.path(), Sync::Always);
    let mut world = World::open(&settings, &Arc::default());
    let claim = Write {
        id: 1,
        choice: 0,
        brief: false,
        body: 0,
        token: [1; 16],
    };
    world.write(&[claim]);
    let writer = &mut world.writer;
    let witness = Arc::clone(&writer.witness);
    let before = witness.recent.of(id(1)).unwrap();
    let database = writer.database().unwrap();
    let txn = writer.begin(&database).unwrap();
    let mut tables = tables::Tables::open(&txn, &witness.index, writer.usage).unwrap();
    let (place, _) = witness.index.place(id(1));
    let after = before.expiring(before.expiry + 1);
    tables.put(id(1), place, after.clone()).unwrap();
    let changes = tables.close().unwrap();
    assert!(witness.recent.of(id(1)).is_some());
    writer.commit(txn, &changes).unwrap();
    assert!(witness.recent.of(id(1)).is_none());
    let found = tables::look(&database, &witness.index, id(1));
    assert_eq!(found.unwrap().unwrap().value(), after.value());
    writer.settled(&mut transaction::Transaction {
        changes,
        ..Default::default()
    });
    assert_eq!(witness.recent.of(id(1)).unwrap().value(), after.value());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_finds_what_was_acknowledged_or_what_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), Sync::Never);
    let (writer, database) = Writer::open(dir.path(), &settings, FileBackend::new, TINY).unwrap();
    let store = Arc::new(Embedded::start(writer, database, &settings).unwrap());
    // Records of which each is written again and again, under tokens that grow.
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
    let token = |number: u64| Token::from_bytes(u128::from(number).to_be_bytes());
    let mut tasks = Vec::new();
    for of in 0..8 {
        let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
        tasks.push(tokio::spawn(async move {
            for number in 1..=ROUNDS {
                let record = Record {
                    token: token(number),
                    state: State::Completed,
                    ttl: Duration::from_secs(3600),
                    ..in_flight(1)
                };
                if number == 1 {
                    let inserted = store.insert(id(of), &record).await;
                    assert_eq!(inserted, Ok(Inserted::Created));
                } else {
                    let expect = Expect::Shown(token(number - 1), State::Completed);
                    let replaced = store.replace(id(of), expect, &record).await;
                    assert_eq!(replaced, Ok(Replaced::Applied));
                }
                acknowledged[usize::from(of)].store(number, Ordering::SeqCst);
            }
        }));
    }
    for of in 0..8 {
        let (store, acknowledged) = (Arc::clone(&store), Arc::clone(&acknowledged));
        tasks.push(tokio::spawn(async move {
            let mut last = 0;
            while last < u128::from(ROUNDS) {
                let at_least = u128::from(acknowledged[usize::from(of)].load(Ordering::SeqCst));
                let seen = store.look(id(of)).await.unwrap();
                let found =
                    seen.map_or(0, |seen| u128::from_be_bytes(*seen.record.token.as_bytes()));
                assert!(
                    found >= at_least.max(last),
                    "{found} after {at_least} and {last}"
                );
                last = found;
                tokio::task::yield_now().await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn large_answers_wait_their_turn_beside_a_disk_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), Sync::Never);
    let (writer, database) = Writer::open(dir.path(), &settings, FileBackend::new, TINY).unwrap();
    let mut store = Embedded::start(writer, database, &settings).unwrap();
    // In the place of the writer.
    let (queue, requests) = mpsc::sync_channel(QUEUE);
    let real = store.queue.replace(queue);
    let answer = |bytes| Record {
        state: State::Completed,
        response: Some(StoredResponse {
            status: 201,
            headers: [("x-pad", vec![0; 64 * 1024])].into_iter().collect(),
            body: Bytes::from(vec![0; bytes]),
            trailers: Default::default(),
        }),
        ..in_flight(1)
    };
    // Of 1 MiB with all that is written beside the body.
    let beside = Cell::bytes_of(&answer(0), &store.witness.codec);
    let record = answer((1 << 20) - beside);
    let settle = |of| Box::pin(store.replace(id(of), Expect::Held(record.token), &record));
    let mut waiting: Vec<_> = (0..80).map(settle).collect();
    for one in &mut waiting {
        assert!(futures_util::poll!(one).is_pending());
    }
    assert_eq!(requests.try_iter().count(), 64);
    // Those were dropped, as by a writer that ended.
    let mut rest = waiting.split_off(64);
    for one in &mut rest {
        assert!(futures_util::poll!(one).is_pending());
    }
    assert_eq!(requests.try_iter().count(), 16);
    drop((waiting, rest));
    store.queue = real;
}

/// Writing it in earnest takes longer than all the steps.
fn make_headroom(dir: &Path) {
    let file = File::create(dir.join("headroom")).unwrap();
    file.set_len(4 << 20).unwrap();
}

fn id(of: u8) -> RecordId {
    RecordId::from_bytes([of; 16])
}

fn settings(dir: &Path, sync: Sync) -> StoreSettings {
    StoreSettings {
        location: Location::Embedded(dir.to_owned()),
        prefix: "idemproxy".to_owned(),
        timeout: Duration::from_secs(60),
        sync,
        max_bytes: 4 << 30,
        wait_replicas: 0,
        allow_eviction: false,
        codec: Default::default(),
        secret: Default::default(),
        tls: Default::default(),
    }
}

const IDS: u8 = 48;
/// Memory for a few of the records.
const TINY: usize = 16 * 1024;
/// Writes to each record while it is read.
const ROUNDS: u64 = 300;
