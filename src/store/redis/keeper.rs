//! Keeps a session with the server, in the background.
//!
//! The crate never replaces a connection that went silent, and lets commands ride on its reconnects for seconds. So connections are
//! made and judged here, and a command only ever takes the session that stands, or learns that there is none.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, cmd};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::facts::Facts;
use super::failure::Failure;
use super::known::Known;
use super::line::{Line, Patience};
use super::locator::Locator;
use super::session::Session;
use super::target::Target;
use crate::lanes::Lanes;
use crate::store::{Health, StoreError, StoreSettings};

/// Keeps a session with the server, and what is known of that.
pub(super) struct Keeper {
    locator: Locator,
    timeout: Duration,
    wait_replicas: u32,
    allow_eviction: bool,
    lanes: Lanes,
    probe: Mutex<Arc<Cmd>>,
    /// Whether the server is one of several, and slots may leave it.
    clustered: bool,
    /// Whether a probe met a slot that is not there any more, or not for long.
    astray: AtomicBool,
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

impl Keeper {
    /// Knows nothing yet.
    pub(super) fn new(
        locator: impl Into<Locator>,
        settings: &StoreSettings,
        lanes: &Lanes,
    ) -> Self {
        Self {
            locator: locator.into(),
            timeout: settings.timeout,
            wait_replicas: settings.wait_replicas,
            allow_eviction: settings.allow_eviction,
            lanes: lanes.clone(),
            // What a heartbeat needs, asked of a key that is not there: it is refused where a heartbeat would be.
            probe: Mutex::new(Arc::new(heartbeat(&format!("{}:probe", settings.prefix)))),
            clustered: false,
            astray: AtomicBool::new(false),
            standing: watch::Sender::new(Standing::Connecting),
            known: Mutex::default(),
        }
    }

    /// For a node of a cluster: which of its keys to probe with is to be said, and may change.
    pub(super) fn of_a_node(target: Target, settings: &StoreSettings, lanes: &Lanes) -> Self {
        Self {
            probe: Mutex::new(Arc::new(cmd("PING"))),
            clustered: true,
            ..Self::new(target, settings, lanes)
        }
    }

    /// Where the server is; empty where sentinels say.
    pub(super) fn host(&self) -> &str {
        self.locator.host()
    }

    /// What it is called in words for operators.
    pub(super) fn name(&self) -> String {
        self.locator.to_string()
    }

    /// Probes with this key from now on, or with none.
    pub(super) fn probe_with(&self, key: Option<&str>) {
        let probe = key.map_or_else(|| cmd("PING"), heartbeat);
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(probe);
    }

    /// Whether its probes met a slot that is not there any more, or not for long, since this was asked last.
    pub(super) fn astray(&self) -> bool {
        self.astray.swap(false, Ordering::Relaxed)
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
                    self.shaken();
                    tracing::warn!(server = %self.locator, why, "the session with redis ended");
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
                tracing::warn!(server = %self.locator, failure, "no session with redis");
            }
            self.standing.send_replace(Standing::Down(failure));
            sleep(jitter(backoff)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// The session that stands. Waits while a first try is under way, and not for a server that is known to be away.
    pub(super) async fn session(&self, patience: Patience) -> Result<Arc<Session>, Failure> {
        if let Some(session) = self.standing() {
            return Ok(session);
        }
        self.decided(patience.until(), |_| true).await
    }

    /// The session that stands, if there is one.
    pub(super) fn standing(&self) -> Option<Arc<Session>> {
        match &*self.standing.borrow() {
            Standing::Up(session) => Some(Arc::clone(session)),
            Standing::Connecting | Standing::Down(_) => None,
        }
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
        known
            .evicts()
            .filter(|_| !self.allow_eviction)
            .map(str::to_owned)
    }

    /// Says that heartbeats may not have arrived: a break of what [`Self::steady`] measures.
    pub(super) fn shaken(&self) {
        self.known().shaken();
    }

    /// For how long the same server took heartbeats without a break.
    pub(super) fn steady(&self) -> Duration {
        self.known().steady(Instant::now())
    }

    /// How it stands.
    pub(super) fn health(&self) -> Health {
        let standing = self.standing.borrow().clone();
        let (session, state) = match standing {
            Standing::Up(session) => (Some(session), "connected".to_owned()),
            Standing::Connecting => (None, "connecting".to_owned()),
            Standing::Down(why) => (None, why),
        };
        let evicts = self.evicts().is_some();
        let known = self.known();
        let mut notes = vec![format!("redis at {}: {state}", self.locator)];
        let target = session.as_ref().map(|session| &*session.target);
        notes.extend(self.locator.notes(target));
        notes.extend(known.notes());
        Health {
            up: session.is_some() && known.fresh(Instant::now()) && !evicts && !known.full(),
            notes,
            epoch_changes: known.epoch_changes(),
            evicted: known.evicted(),
            left: 0,
        }
    }

    async fn open(&self) -> Result<Session, String> {
        let found = self.locator.find().await?;
        let bound = self.timeout.max(CONNECT);
        let sent = Instant::now();
        let opening = Session::open(
            &found.target,
            &self.lanes,
            self.wait_replicas,
            Patience::of(bound),
        );
        match timeout(bound, opening).await {
            Ok(Ok((_, facts))) if !found.is(&facts) => Err(STRANGER.to_owned()),
            Ok(Ok((session, facts))) => {
                self.learn(&session, facts, sent);
                Ok(session)
            }
            Ok(Err(failure)) => Err(failure.why()),
            Err(_) => Err("it does not answer".to_owned()),
        }
    }

    /// Attends to every connection of a session, until one of them is of no more use; says why.
    async fn watch(&self, session: &Session) -> String {
        let heartbeat = || Arc::clone(&self.probe.lock().unwrap_or_else(PoisonError::into_inner));
        let ping = Arc::new(cmd("PING"));
        let ping = || Arc::clone(&ping);
        tokio::select! {
            biased;
            () = session.retired() => "a command found it broken".to_owned(),
            why = self.attend(session.express.iter(), heartbeat, |sent, heard| self.note(sent, heard)) => why,
            why = self.attend(session.front.iter(), ping, |_, _| ()) => why,
            why = self.attend(std::iter::once(&session.bulk), ping, |_, _| ()) => why,
            why = self.inquire(session) => why,
            why = self.locator.moved(&session.target) => why,
        }
    }

    /// Probes connections, until one of them is of no more use; says why. What is noted is the worst that was heard, when all of them were:
    /// one that stands still keeps its own claims' heartbeats from arriving.
    async fn attend<'a>(
        &self,
        lines: impl Iterator<Item = &'a Line> + Clone,
        probe: impl Fn() -> Arc<Cmd>,
        mut note: impl FnMut(Instant, &Heard),
    ) -> String {
        let mut silent = 0;
        loop {
            let sent = Instant::now();
            let probe = probe();
            let heard = join_all(lines.clone().map(|line| self.listen(line, &probe))).await;
            let heard = heard.into_iter().max_by_key(Heard::rank);
            let heard = heard.unwrap_or(Heard::Yes);
            note(sent, &heard);
            match heard {
                Heard::No(code) if code == "READONLY" => return REPLICA.to_owned(),
                Heard::Yes | Heard::Elsewhere | Heard::No(_) | Heard::Slow => silent = 0,
                Heard::Silence => silent += 1,
                Heard::Broken(why) => return why,
            }
            if silent == MAX_SILENT {
                return "it went silent".to_owned();
            }
            sleep(PROBE).await;
        }
    }

    async fn listen(&self, line: &Line, probe: &Cmd) -> Heard {
        let (heard, moved) = (line.heard(), line.moved());
        match line.ask(probe, Patience::of(self.timeout)).await {
            Ok(_) => Heard::Yes,
            Err(Failure::Refused(code)) => Heard::No(code),
            Err(Failure::Moved { .. } | Failure::Ask { .. }) if self.clustered => Heard::Elsewhere,
            Err(Failure::Moved { .. } | Failure::Ask { .. }) => Heard::No("MOVED".to_owned()),
            Err(Failure::Late) if line.heard() > heard => Heard::Slow,
            // Small commands may move into a buffer of this machine and no further; so much is a large write on its way.
            Err(Failure::Late) if line.moved() > moved + LARGE_WRITE => Heard::Slow,
            Err(Failure::Late) => Heard::Silence,
            Err(failure) => Heard::Broken(StoreError::from(failure).to_string()),
        }
    }

    fn note(&self, sent: Instant, heard: &Heard) {
        let mut known = self.known();
        match heard {
            Heard::Yes => known.answered(sent, Instant::now()),
            // Whether slots were moved or the node was deposed is not known: it is seen anew from here.
            Heard::Elsewhere => {
                self.astray.store(true, Ordering::Relaxed);
                known.shaken();
                known.answered(sent, Instant::now());
            }
            Heard::No(code) => known.refused(code.clone()),
            Heard::Slow | Heard::Silence | Heard::Broken(_) => known.shaken(),
        }
    }

    /// Asks the server about itself, again and again, until it is one that must not be written to.
    async fn inquire(&self, session: &Session) -> String {
        loop {
            sleep(INQUIRE).await;
            let sent = Instant::now();
            match session.facts(Patience::of(self.timeout)).await {
                Ok(facts) if facts.replica => return REPLICA.to_owned(),
                Ok(facts) => self.learn(session, facts, sent),
                // The probes judge the connection.
                Err(_) => {}
            }
        }
    }

    fn learn(&self, session: &Session, facts: Facts, sent: Instant) {
        self.locator.met(&session.target, facts.identity.as_ref());
        let mut known = self.known();
        known.told_time(facts.time, sent, Instant::now());
        let epoch = known.epoch_changes();
        let news = known.learn(facts);
        if known.epoch_changes() > epoch {
            tracing::warn!(server = %self.locator, "another redis, or a restarted one, stands in the place of the one before");
        }
        if news {
            tracing::info!(server = %self.locator, notes = ?known.notes(), "redis");
        }
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
    /// It is there, and does not have the slot of the probe.
    Elsewhere,
    /// The server said no, with this code.
    No(String),
    /// Not the answer yet, but bytes.
    Slow,
    Silence,
    Broken(String),
}

impl Heard {
    /// How little it lets one hope.
    fn rank(&self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::Elsewhere => 1,
            Self::Slow => 2,
            Self::Silence => 3,
            Self::No(_) => 4,
            Self::Broken(_) => 5,
        }
    }
}

fn heartbeat(key: &str) -> Cmd {
    cmd("PEXPIRE").arg(key).arg(1).to_owned()
}

/// Between three quarters and five quarters of a duration, so that proxies do not come back all at once.
fn jitter(duration: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 512;
    duration.mul_f64(0.75 + random as f64 / 1024.0)
}

const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Least time given to make the connections and log in.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two probes.
const PROBE: Duration = Duration::from_millis(250);
/// Between two questions about the server itself.
const INQUIRE: Duration = Duration::from_secs(2);
/// Probes in a row without a byte, after which a connection is given up.
const MAX_SILENT: u32 = 2;
const LARGE_WRITE: u64 = 64 * 1024;
const REPLICA: &str = "the server is a replica";
const STRANGER: &str = "no sentinel answers, and the primary of before is not there any more";
