//! One exchange as the proxy makes it, against the memory store behind a bad network.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idemproxy::idempotency::{
    Attempt, Expect, Fingerprint, Origin, Outcome, Payload, Record, RecordId, Refusal, Seen, State,
    StoredResponse, Terms, Token, UnixMillis, UnknownOutcome, Verdict, Verified, decide, settle,
};
use idemproxy::store::{Inserted, Replaced, Store, StoreError};
use tokio::time::{Instant, sleep};

use crate::flaky::Flaky;

pub const LEASE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);
const TERMS: Terms = Terms {
    lease: LEASE,
    retention: DAY,
    failed_retention: DAY,
    unknown_retention: DAY,
};

/// What all exchanges share, and what really happened.
pub struct Stage {
    pub store: Arc<Flaky>,
    pub policy: UnknownOutcome,
    pub keys: Vec<Mutex<Ledger>>,
    pub counts: Counts,
}

/// What really happened to one key.
#[derive(Default)]
pub struct Ledger {
    /// Times that the effect happened.
    pub effects: u32,
    /// The answer that duplicates got.
    pub replayed: Option<u32>,
    /// Whose claims nobody settles.
    pub killed: Vec<Token>,
    /// Who executes, and when the last acknowledged write of its lease was sent.
    executing: Vec<(u32, Instant)>,
}

/// How often what was seen.
#[derive(Default)]
pub struct Counts {
    pub killed: AtomicU32,
    pub slept: AtomicU32,
    pub gave_up: AtomicU32,
    pub taken_back: AtomicU32,
    pub taken_over: AtomicU32,
    pub replayed: AtomicU32,
    pub lost_claims: AtomicU32,
}

/// One request.
pub struct Exchange {
    pub stage: Arc<Stage>,
    pub key: usize,
    pub who: u32,
}

/// What was written, and when it was sent.
struct Claim {
    record: Record,
    known: Instant,
}

pub fn id(key: usize) -> RecordId {
    RecordId::from_bytes([key as u8; 16])
}

impl Exchange {
    /// From the claim to its end; not to be cancelled.
    pub async fn run(self) {
        let Some(mut claim) = self.acquire().await else {
            return;
        };
        let chance = &self.stage.store.chance;
        if chance.percent(20) {
            // It sleeps, or waits for a connection.
            sleep(LEASE * chance.below(200) as u32 / 100).await;
        }
        while claim.known.elapsed() > LEASE / 3 {
            let sent = Instant::now();
            if self.store().renew(id(self.key), self.token()).await != Ok(Replaced::Applied) {
                count(&self.stage.counts.gave_up);
                return self.settle(&claim.record, released()).await;
            }
            claim.known = sent;
        }
        self.first_byte(claim.known);
        if let Some(outcome) = self.execute().await {
            self.settle(&claim.record, outcome).await;
        }
    }

    async fn acquire(&self) -> Option<Claim> {
        let attempt = self.attempt();
        'insert: loop {
            let (record, known) = (attempt.claim(), Instant::now());
            let mut seen = match self.store().insert(id(self.key), &record).await {
                Ok(Inserted::Created) => return Some(Claim { record, known }),
                Ok(Inserted::Occupied(seen)) => seen,
                Err(_) => return self.take_back(None, record).await,
            };
            for _ in 0..4 {
                match decide(
                    &seen,
                    &attempt,
                    self.stage.policy,
                    self.store().steady(id(self.key)),
                ) {
                    Verdict::Mine => {
                        let record = seen.record;
                        return Some(Claim { record, known });
                    }
                    Verdict::Claim(expect) => {
                        let chance = &self.store().chance;
                        if chance.percent(30) {
                            // What it saw grows old.
                            sleep(LEASE * chance.below(50) as u32 / 100).await;
                        }
                        let (record, known) = (attempt.claim_over(&seen.record), Instant::now());
                        match self.store().replace(id(self.key), expect, &record).await {
                            Ok(Replaced::Stale) => {}
                            Ok(_) => {
                                if record.in_doubt {
                                    count(&self.stage.counts.taken_over);
                                }
                                return Some(Claim { record, known });
                            }
                            Err(_) => return self.take_back(Some(expect), record).await,
                        }
                    }
                    Verdict::Look => {}
                    Verdict::Replay => {
                        self.replay(&seen);
                        return None;
                    }
                    Verdict::Refuse(refusal) => {
                        assert!(matches!(
                            refusal,
                            Refusal::InProgress | Refusal::OutcomeUnknown
                        ));
                        return None;
                    }
                    Verdict::Hash | Verdict::Verify | Verdict::Probe(_) => {
                        unreachable!("bodies are whole here, and nobody probes")
                    }
                }
                match self.store().look(id(self.key)).await {
                    Ok(Some(found)) => *seen = found,
                    Ok(None) => continue 'insert,
                    Err(_) => return None,
                }
            }
            return None;
        }
    }

    /// The janitor: asks for the claim again until it is answered, and gives it up if it is its own.
    async fn take_back<T>(&self, expect: Option<Expect>, record: Record) -> Option<T> {
        let own = loop {
            let asked = match expect {
                None => self.store().insert(id(self.key), &record).await.map(|it| {
                    let own = |seen: &Seen| {
                        seen.record.token == record.token && seen.record.state == State::InFlight
                    };
                    matches!(&it, Inserted::Created)
                        || matches!(&it, Inserted::Occupied(seen) if own(seen))
                }),
                Some(expect) => self
                    .store()
                    .replace(id(self.key), expect, &record)
                    .await
                    .map(|it| it != Replaced::Stale),
            };
            if let Ok(own) = asked {
                break own;
            }
        };
        if own {
            count(&self.stage.counts.taken_back);
            self.settle(&record, released()).await;
        }
        None
    }

    /// Bytes go upstream for as long as they do. Nothing, if it is killed meanwhile.
    async fn execute(&self) -> Option<Outcome> {
        let chance = &self.stage.store.chance;
        let ending = chance.below(100);
        let thirds = chance.below(5);
        let does_it = ending < 50 || (ending >= 70 && chance.percent(50));
        let effect_at = chance.below(thirds + 1);
        for third in 0..=thirds {
            if does_it && third == effect_at {
                self.ledger(|ledger| ledger.effects += 1);
            }
            if third == thirds {
                break;
            }
            if chance.percent(8) {
                count(&self.stage.counts.slept);
                sleep(LEASE * 2).await;
            }
            sleep(LEASE / 3).await;
            let sent = Instant::now();
            match self.store().renew(id(self.key), self.token()).await {
                Ok(Replaced::Applied) => self.ledger(|ledger| ledger.renewed(self.who, sent)),
                Ok(_) => count(&self.stage.counts.lost_claims),
                Err(StoreError::Unanswered(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.ledger(|ledger| ledger.executing.retain(|(who, _)| *who != self.who));
        match ending {
            0..50 => Some(self.completed()),
            50..70 => Some(released()),
            70..85 => Some(Outcome::Unknown {
                status: Some(502),
                error: None,
            }),
            _ => {
                count(&self.stage.counts.killed);
                self.ledger(|ledger| ledger.killed.push(self.token()));
                None
            }
        }
    }

    async fn settle(&self, claim: &Record, outcome: Outcome) {
        let record = settle(claim.clone(), TERMS, outcome, None, UnixMillis::default());
        let expect = Expect::Held(self.token());
        while self
            .store()
            .replace(id(self.key), expect, &record)
            .await
            .is_err()
        {}
    }

    /// Nobody starts who does not hold the claim, or beside another that is heard of.
    fn first_byte(&self, known: Instant) {
        if self.forgotten() == 0 {
            let memory = self.stage.store.memory();
            let found = futures_util::FutureExt::now_or_never(memory.look(id(self.key)));
            let record = found.unwrap().unwrap().unwrap().record;
            assert_eq!(
                (record.token, record.state),
                (self.token(), State::InFlight)
            );
        }
        self.ledger(|ledger| {
            for (_, renewed) in &ledger.executing {
                assert!(
                    self.forgotten() > 0 || renewed.elapsed() > LEASE,
                    "two at once"
                );
            }
            ledger.executing.push((self.who, known));
        });
    }

    fn replay(&self, seen: &Seen) {
        count(&self.stage.counts.replayed);
        let body = &seen.record.response.as_ref().unwrap().body;
        let whose = u32::from_be_bytes(body[..].try_into().unwrap());
        self.ledger(|ledger| {
            let first = *ledger.replayed.get_or_insert(whose);
            assert!(self.forgotten() > 0 || first == whose, "two answers");
            assert!(ledger.effects > 0);
        });
    }

    fn attempt(&self) -> Attempt {
        let mut fingerprint = Fingerprint::default();
        fingerprint.add_digest("body", [1; 16]);
        Attempt {
            token: self.token(),
            terms: TERMS,
            now: UnixMillis::default(),
            payload: Payload::Whole(fingerprint),
            credentials: None,
            named: false,
            verified: Verified::No,
            origin: Origin::default(),
            trace: None,
        }
    }

    fn completed(&self) -> Outcome {
        Outcome::Completed {
            status: 200,
            response: Some(StoredResponse {
                status: 200,
                headers: Default::default(),
                body: self.who.to_be_bytes().to_vec().into(),
                trailers: Default::default(),
            }),
        }
    }

    fn token(&self) -> Token {
        Token::from_bytes(u128::from(self.who).to_be_bytes())
    }

    fn store(&self) -> &Arc<Flaky> {
        &self.stage.store
    }

    fn forgotten(&self) -> u32 {
        self.stage.store.forgotten.load(Ordering::Relaxed)
    }

    fn ledger<T>(&self, write: impl FnOnce(&mut Ledger) -> T) -> T {
        write(&mut self.stage.keys[self.key].lock().unwrap())
    }
}

impl Ledger {
    fn renewed(&mut self, who: u32, sent: Instant) {
        for (_, renewed) in self.executing.iter_mut().filter(|(it, _)| *it == who) {
            *renewed = sent;
        }
    }
}

fn released() -> Outcome {
    Outcome::Released {
        status: None,
        error: None,
    }
}

fn count(counter: &AtomicU32) {
    counter.fetch_add(1, Ordering::Relaxed);
}
