//! Clients of a store on a disk whose power goes: what they asked, and what they were told.

use std::time::Duration;

use bytes::Bytes;
use idemproxy::idempotency::{Expect, Record, RecordId, State};
use idemproxy::store::{Embedded, Inserted, Replaced, Store, StoreError};

use crate::chance::Chance;
use crate::disk::Disk;
use crate::records::{claim, completed, fresh_id, settled};

/// One client: its keys are its own.
pub struct Client {
    pub keys: Vec<Key>,
    pub chance: Chance,
    pub told: Told,
}

/// One key, as its client knows it.
pub struct Key {
    pub id: RecordId,
    /// What was acknowledged last, or was there when the store opened.
    pub known: Option<Record>,
    /// Written when the power went, and not answered.
    pub doubts: Vec<Record>,
    /// All that was ever written, or may have been.
    pub past: Vec<Record>,
    /// It may end at any time.
    pub brief: bool,
    /// It was there, and its time was over when the store opened.
    pub ended: bool,
}

/// How often clients were told what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub acknowledged: usize,
    pub unanswered: usize,
    pub refused: usize,
    pub stale: usize,
    pub raced: usize,
    pub taken_over: usize,
}

/// The power went.
pub struct Gone;

impl Client {
    pub fn new(chance: Chance) -> Self {
        Self {
            keys: Vec::new(),
            chance,
            told: Told::default(),
        }
    }

    /// Works until the power goes, or `steps` are done, with a pause before each.
    pub async fn work(&mut self, store: &Embedded, disk: &Disk, steps: usize, pause: Duration) {
        for _ in 0..steps {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if disk.is_off() || self.step(store, disk).await.is_err() {
                return;
            }
        }
    }

    async fn step(&mut self, store: &Embedded, disk: &Disk) -> Result<(), Gone> {
        let old = (0..4).find_map(|_| {
            let at = self.chance.below(self.keys.len().max(1));
            let key = self.keys.get(at)?;
            (!key.brief && key.known.is_some()).then_some(at)
        });
        match old {
            Some(at) if self.chance.percent(45) => self.go_on(at, store, disk).await,
            _ => self.begin(store, disk).await,
        }
    }

    /// A key that was never seen.
    async fn begin(&mut self, store: &Embedded, disk: &Disk) -> Result<(), Gone> {
        let mut key = Key {
            id: fresh_id(),
            known: None,
            doubts: Vec::new(),
            past: Vec::new(),
            brief: false,
            ended: false,
        };
        let next = claim();
        let done = match self.chance.below(10) {
            // Two proxies in one: only one gets it.
            0 => {
                let other = claim();
                let both = (store.insert(key.id, &next), store.insert(key.id, &other));
                let (first, second) = tokio::join!(both.0, both.1);
                self.told.raced += 1;
                let created = |answer: &Result<_, _>| *answer == Ok(Inserted::Created);
                assert!(!(created(&first) && created(&second)), "claimed twice");
                for (answer, record, rival) in [
                    (first, next.clone(), &other),
                    (second, other.clone(), &next),
                ] {
                    if let Ok(Inserted::Occupied(seen)) = answer {
                        assert_eq!(&seen.record, rival);
                    } else {
                        let answer = answer.map(|inserted| inserted == Inserted::Created);
                        // Whichever it is, the key is kept below.
                        let _ = self.told(&mut key, record, answer, disk);
                    }
                }
                Ok(())
            }
            // A store that lost it gets it back.
            1 => {
                let record = completed(&next, self.body(next.token.as_bytes()));
                self.settle(&mut key, store, disk, record).await
            }
            // One that ends soon, and is swept.
            2 | 3 => {
                key.brief = true;
                let ttl = Duration::from_millis(200);
                let record = completed(&Record { ttl, ..next }, self.body(&[7]));
                self.insert(&mut key, store, disk, record).await
            }
            _ => {
                let done = self.insert(&mut key, store, disk, next).await;
                self.keys.push(key);
                let at = self.keys.len() - 1;
                return match done {
                    Ok(()) if self.chance.percent(70) => self.go_on(at, store, disk).await,
                    done => done,
                };
            }
        };
        self.keys.push(key);
        done
    }

    /// What may be done with a key as it is.
    async fn go_on(&mut self, at: usize, store: &Embedded, disk: &Disk) -> Result<(), Gone> {
        let mut key = self.keys.swap_remove(at);
        let known = key.known.clone().expect("chosen so");
        let next = claim();
        let done = match known.state {
            State::InFlight | State::Unknown if self.chance.percent(60) => {
                if known.state == State::InFlight {
                    match store.renew(key.id, known.token).await {
                        Ok(Replaced::Applied) => {}
                        other => assert!(disk.is_off(), "{other:?}"),
                    }
                }
                let record = match self.chance.below(4) {
                    0 => settled(&known, State::Released),
                    1 if known.state == State::InFlight => settled(&known, State::Unknown),
                    _ => completed(&known, self.body(known.token.as_bytes())),
                };
                self.settle(&mut key, store, disk, record).await
            }
            State::Unknown => {
                self.told.taken_over += 1;
                let expect = Expect::Unknown(known.token);
                self.replace(&mut key, store, disk, expect, next).await
            }
            State::Released => {
                let expect = Expect::Released(known.token);
                self.replace(&mut key, store, disk, expect, next).await
            }
            // Not its own: refused by the writer itself.
            State::InFlight | State::Completed => {
                let record = completed(&next, "never");
                let answer = store
                    .replace(key.id, Expect::Held(next.token), &record)
                    .await;
                match answer {
                    Ok(Replaced::Stale) => {
                        self.told.stale += 1;
                        Ok(())
                    }
                    Err(StoreError::Refused(_) | StoreError::Unanswered(_)) if disk.is_off() => {
                        Err(Gone)
                    }
                    other => panic!("{other:?} over {:?}", known.state),
                }
            }
        };
        self.keys.push(key);
        done
    }

    async fn insert(
        &mut self,
        key: &mut Key,
        store: &Embedded,
        disk: &Disk,
        record: Record,
    ) -> Result<(), Gone> {
        let answer = store.insert(key.id, &record).await;
        self.told(
            key,
            record,
            answer.map(|inserted| inserted == Inserted::Created),
            disk,
        )
    }

    async fn settle(
        &mut self,
        key: &mut Key,
        store: &Embedded,
        disk: &Disk,
        record: Record,
    ) -> Result<(), Gone> {
        let expect = Expect::Held(record.token);
        self.replace(key, store, disk, expect, record).await
    }

    async fn replace(
        &mut self,
        key: &mut Key,
        store: &Embedded,
        disk: &Disk,
        expect: Expect,
        record: Record,
    ) -> Result<(), Gone> {
        let answer = store.replace(key.id, expect, &record).await;
        self.told(
            key,
            record,
            answer.map(|replaced| replaced != Replaced::Stale),
            disk,
        )
    }

    /// Notes what was said to a write.
    fn told(
        &mut self,
        key: &mut Key,
        record: Record,
        answer: Result<bool, StoreError>,
        disk: &Disk,
    ) -> Result<(), Gone> {
        match answer {
            Ok(true) => {
                self.told.acknowledged += 1;
                key.past.push(record.clone());
                key.known = Some(record);
                return Ok(());
            }
            Err(StoreError::Unanswered(_)) if disk.is_off() => {
                self.told.unanswered += 1;
                key.past.push(record.clone());
                key.doubts.push(record);
            }
            // It was not carried out, and will not be.
            Err(StoreError::Refused(_)) if disk.is_off() => self.told.refused += 1,
            other => panic!(
                "{other:?} to a write of {:?} over {:?}",
                record.state, key.known
            ),
        }
        Err(Gone)
    }

    /// Bytes of `pattern`, mostly few, sometimes many pages of them.
    fn body(&mut self, pattern: &[u8]) -> Bytes {
        let length = match self.chance.below(40) {
            0 => self.chance.within(66_000..200_000),
            1..=6 => self.chance.within(4000..66_000),
            _ => self.chance.below(1500),
        };
        pattern.iter().copied().cycle().take(length).collect()
    }
}
