//! Keeps a session with the server, in the background.
//!
//! The crate never replaces a connection that went silent, and lets commands ride on its reconnects for seconds. So connections are
//! made and judged here, and a command only ever takes the session that stands, or learns that there is none.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, cmd};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::facts::{Facts, Identity};
use super::failure::Failure;
use super::line::{Line, Patience};
use super::session::Session;
use super::target::Target;
use crate::store::{Health, StoreSettings};

/// Keeps a session with the server, and what is known of that.
pub(super) struct Keeper {
    target: Arc<Target>,
    timeout: Duration,
    wait_replicas: u32,
    allow_eviction: bool,
    probe: Cmd,
    standing: watch::Sender<Standing>,
    known: Mutex<Known>,
}

/// Whether there is a session.
#[derive(Clone)]
enum Standing {
    /// There is one.
    Up(Arc<Session>),
    /// Somebody is at it, and did not fail yet.
    Connecting,
    /// The last try failed, and why.
    Down(String),
}

/// What is known of the server.
#[derive(Default)]
struct Known {
    facts: Option<Facts>,
    identity: Option<Identity>,
    epoch_changes: u64,
    /// Since when, and until when, probes were answered without a break.
    steady: Option<(Instant, Instant)>,
    /// What the last probe was told, if that was a no.
    refusal: Option<String>,
}

impl Keeper {
    /// Knows nothing yet.
    pub(super) fn new(target: Target, settings: &StoreSettings) -> Self {
        Self {
            target: Arc::new(target),
            timeout: settings.timeout,
            wait_replicas: settings.wait_replicas,
            allow_eviction: settings.allow_eviction,
            // What a heartbeat needs, asked of a key that is not there: it is refused where a heartbeat would be.
            probe: cmd("PEXPIRE")
                .arg(format!("{}:probe", settings.prefix))
                .arg(1)
                .to_owned(),
            standing: watch::Sender::new(Standing::Connecting),
            known: Mutex::default(),
        }
    }

    /// Connects, watches, connects again; for ever.
    pub(super) async fn keep(&self) {
        let mut backoff = MIN_BACKOFF;
        loop {
            let opened = Instant::now();
            let failure = match self.open().await {
                Ok(session) => {
                    let session = Arc::new(session);
                    self.standing
                        .send_replace(Standing::Up(Arc::clone(&session)));
                    let why = self.watch(&session).await;
                    self.known().steady = None;
                    tracing::warn!(server = %self.target, why, "the session with redis ended");
                    if opened.elapsed() > MAX_BACKOFF {
                        backoff = MIN_BACKOFF;
                        // Commands wait for the first try, so that a restart of a connection refuses none.
                        self.standing.send_replace(Standing::Connecting);
                        continue;
                    }
                    why
                }
                Err(failure) => failure,
            };
            let news = match &*self.standing.borrow() {
                Standing::Down(before) => *before != failure,
                Standing::Up(_) | Standing::Connecting => true,
            };
            if news {
                tracing::warn!(server = %self.target, failure, "no session with redis");
            }
            self.standing.send_replace(Standing::Down(failure));
            sleep(jitter(backoff)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// The session that stands. Waits while a first try is under way, and not for a server that is known to be away.
    pub(super) async fn session(&self, patience: Patience) -> Result<Arc<Session>, Failure> {
        if let Standing::Up(session) = &*self.standing.borrow() {
            return Ok(Arc::clone(session));
        }
        self.decided(patience.until(), |_| true).await
    }

    /// A session other than `lost`, which turned out to be of no more use.
    pub(super) async fn session_after(
        &self,
        lost: &Arc<Session>,
        patience: Patience,
    ) -> Result<Arc<Session>, Failure> {
        lost.retire();
        self.decided(patience.until(), |session| !Arc::ptr_eq(session, lost))
            .await
    }

    /// Ready when it is known whether there is a server, or when the time is over.
    pub(super) async fn settled(&self, within: Duration) {
        let up = |standing: &Standing| matches!(standing, Standing::Up(_));
        let _ = timeout(within, self.standing.subscribe().wait_for(up)).await;
    }

    /// The policy under which the server may drop records, unless that is allowed.
    pub(super) fn evicts(&self) -> Option<String> {
        let known = self.known();
        let policy = known.facts.as_ref()?.evicts()?;
        (!self.allow_eviction).then(|| policy.to_owned())
    }

    /// Says that heartbeats may not have arrived: a break of what [`Self::steady`] measures.
    pub(super) fn shaken(&self) {
        self.known().steady = None;
    }

    /// For how long the same server took heartbeats without a break.
    pub(super) fn steady(&self) -> Duration {
        match self.known().steady {
            Some((since, last)) if last.elapsed() < STALE => last.saturating_duration_since(since),
            _ => Duration::ZERO,
        }
    }

    /// How it stands.
    pub(super) fn health(&self) -> Health {
        let steady = self.steady() > Duration::ZERO;
        let known = self.known();
        let mut notes = Vec::new();
        let connected = match &*self.standing.borrow() {
            Standing::Up(_) => {
                notes.push(format!("redis at {}", self.target));
                true
            }
            Standing::Connecting => {
                notes.push(format!("redis at {}: connecting", self.target));
                false
            }
            Standing::Down(why) => {
                notes.push(format!("redis at {}: {why}", self.target));
                false
            }
        };
        if let Some(refusal) = &known.refusal {
            notes.push(format!("it refuses heartbeats: {refusal}"));
        }
        let facts = known.facts.as_ref();
        notes.extend(facts.map(Facts::notes).unwrap_or_default());
        if known.epoch_changes > 0 {
            notes.push(format!(
                "another server, or a restarted one, stood in its place {} times",
                known.epoch_changes
            ));
        }
        let evicts = !self.allow_eviction && facts.is_some_and(|facts| facts.evicts().is_some());
        let full = facts.is_some_and(|facts| facts.full);
        Health {
            up: connected && steady && !evicts && !full,
            notes,
            epoch_changes: known.epoch_changes,
        }
    }

    async fn open(&self) -> Result<Session, String> {
        let bound = self.timeout.max(CONNECT);
        let opening = Session::open(&self.target, self.wait_replicas, Patience::of(bound));
        match timeout(bound, opening).await {
            Ok(Ok((session, facts))) => {
                self.learn(facts);
                Ok(session)
            }
            Ok(Err(Failure::NoConnection(why))) => Err(why),
            Ok(Err(failure)) => Err(crate::store::StoreError::from(failure).to_string()),
            Err(_) => Err("it does not answer".to_owned()),
        }
    }

    /// Probes every connection of a session, until one of them is of no more use; says why.
    async fn watch(&self, session: &Session) -> String {
        let mut misses = Misses::default();
        let mut asked = Instant::now();
        loop {
            let round = async {
                self.probe(session, &mut misses).await?;
                if asked.elapsed() > ASK_FACTS {
                    asked = Instant::now();
                    self.ask(session).await?;
                }
                sleep(PROBE).await;
                Ok::<_, String>(())
            };
            tokio::select! {
                biased;
                () = session.retired() => return "a command found it broken".to_owned(),
                round = round => if let Err(why) = round {
                    return why;
                },
            }
        }
    }

    async fn probe(&self, session: &Session, misses: &mut Misses) -> Result<(), String> {
        let started = Instant::now();
        let ping = cmd("PING");
        let (express, front, bulk) = tokio::join!(
            self.listen(&session.express, &self.probe),
            self.listen(&session.front, &ping),
            self.listen(&session.bulk, &ping),
        );
        {
            let mut known = self.known();
            match &express {
                Heard::Yes => {
                    known.refusal = None;
                    let since = known.steady.map_or_else(Instant::now, |(since, _)| since);
                    known.steady = Some((since, started));
                }
                Heard::No(code) => {
                    known.refusal = Some(code.clone());
                    known.steady = None;
                }
                Heard::Slow | Heard::Silence | Heard::Broken(_) => known.steady = None,
            }
        }
        if matches!(&express, Heard::No(code) if code == "READONLY") {
            return Err("the server became a replica".to_owned());
        }
        misses.count([express, front, bulk])
    }

    async fn listen(&self, line: &Line, command: &Cmd) -> Heard {
        let before = (line.heard(), line.moved());
        match line.ask(command, Patience::of(self.timeout)).await {
            Ok(_) => Heard::Yes,
            Err(Failure::Refused(code)) => Heard::No(code),
            Err(Failure::Late) if line.heard() > before.0 => Heard::Slow,
            // A large write on its way: more than any buffer would swallow of small commands.
            Err(Failure::Late) if line.moved() > before.1 + LARGE_WRITE => Heard::Slow,
            Err(Failure::Late) => Heard::Silence,
            Err(failure) => Heard::Broken(crate::store::StoreError::from(failure).to_string()),
        }
    }

    async fn ask(&self, session: &Session) -> Result<(), String> {
        match session.facts(Patience::of(self.timeout)).await {
            Ok(facts) if facts.replica => Err("the server became a replica".to_owned()),
            Ok(facts) => {
                self.learn(facts);
                Ok(())
            }
            // The probes judge the connection.
            Err(_) => Ok(()),
        }
    }

    fn learn(&self, facts: Facts) {
        let mut known = self.known();
        let told = known.facts.as_ref().map(Facts::notes);
        if told.as_ref() != Some(&facts.notes()) {
            tracing::info!(server = %self.target, notes = ?facts.notes(), "redis");
        }
        if facts.identity.is_some() && facts.identity != known.identity {
            if known.identity.is_some() {
                known.epoch_changes += 1;
                tracing::warn!(server = %self.target, "another redis, or a restarted one, stands in the place of the one before");
            }
            known.identity = facts.identity.clone();
            known.steady = None;
        }
        known.facts = Some(facts);
    }

    async fn decided(
        &self,
        until: Instant,
        fits: impl Fn(&Arc<Session>) -> bool,
    ) -> Result<Arc<Session>, Failure> {
        let mut standing = self.standing.subscribe();
        let decided = standing.wait_for(|standing| match standing {
            Standing::Up(session) => fits(session),
            Standing::Connecting => false,
            Standing::Down(_) => true,
        });
        match timeout_at(until, decided).await {
            Ok(Ok(standing)) => match &*standing {
                Standing::Up(session) => Ok(Arc::clone(session)),
                Standing::Connecting => Err(Failure::NoConnection("connecting".to_owned())),
                Standing::Down(why) => Err(Failure::NoConnection(why.clone())),
            },
            Ok(Err(_)) => Err(Failure::NoConnection("closed".to_owned())),
            Err(_) => Err(Failure::NoConnection("connecting".to_owned())),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a probe heard.
enum Heard {
    Yes,
    /// The server said no, with this code.
    No(String),
    /// Not the answer yet, but bytes.
    Slow,
    Silence,
    Broken(String),
}

/// How often in a row each connection was silent.
#[derive(Default)]
struct Misses([u32; 3]);

impl Misses {
    fn count(&mut self, heard: [Heard; 3]) -> Result<(), String> {
        for (misses, heard) in self.0.iter_mut().zip(heard) {
            match heard {
                Heard::Yes | Heard::No(_) | Heard::Slow => *misses = 0,
                Heard::Broken(why) => return Err(why),
                Heard::Silence => *misses += 1,
            }
            if *misses >= MAX_MISSES {
                return Err("it went silent".to_owned());
            }
        }
        Ok(())
    }
}

/// Between three quarters and five quarters of a duration, so that proxies do not come back all at once.
fn jitter(duration: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 512;
    duration.mul_f64(0.75 + random as f64 / 1024.0)
}

const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Least time given to make three connections and log in.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two probes.
const PROBE: Duration = Duration::from_millis(250);
/// Age at which the last good probe proves nothing any more.
const STALE: Duration = Duration::from_secs(1);
/// Between two questions about the server itself.
const ASK_FACTS: Duration = Duration::from_secs(2);
const MAX_MISSES: u32 = 2;
const LARGE_WRITE: u64 = 64 * 1024;
