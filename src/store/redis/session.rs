//! The connections to one server, and the operations over them.
//!
//! Bodies go apart from claims, and each lane has a front and an express of its own:
//!
//! - *front* carries `SET … NX GET PX …`, whose answers may be large;
//! - *express* carries what is small both ways: heartbeats, settlements without a large body, probes;
//! - *bulk* carries what is known to be large.
//!
//! A claim whose answer is stuck behind a large one on the front is not given up: the express tells what came of it, and meanwhile
//! further claims take the express, by a script that leaves large answers to bulk.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::redis::{Cmd, RedisResult, ScriptInvocation, Value, cmd};
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Named;
use super::answer::{Look, found, looked, replaced, whole};
use super::facts::{self, Facts};
use super::failure::Failure;
use super::line::{Line, Patience};
use super::replicated::Replicated;
use super::script::{self, MAX_TTL, Scripts};
use super::target::Target;
use crate::fault::{Seeded, seeded};
use crate::idempotency::{Expect, Record, Seen, State, Token};
use crate::lanes::{Lanes, PerLane};
use crate::store::Replaced;

/// The connections to one server. A copy shares them.
#[derive(Clone)]
pub(super) struct Session {
    /// Where it is.
    pub(super) target: Arc<Target>,
    pub(super) front: PerLane<Line>,
    pub(super) express: PerLane<Line>,
    pub(super) bulk: Line,
    replicated: Option<Arc<Replicated>>,
    scripts: Arc<Scripts>,
    modern: bool,
    /// Whether what it is asked is about slots that are on their way to this server.
    asking: bool,
    /// Asked for once: a user who may not ask would fill the server's log of refusals.
    snapshots: Option<String>,
    /// Claims on the front that wait longer than usual.
    behind: Arc<AtomicUsize>,
    retired: CancellationToken,
}

impl Session {
    /// Connects, and asks the server about itself. The caller bounds the time.
    pub(super) async fn open(
        target: &Arc<Target>,
        lanes: &Lanes,
        wait_replicas: u32,
        patience: Patience,
    ) -> Result<(Self, Facts), Failure> {
        let open = || {
            let target = Arc::clone(target);
            async move { Line::open(&target).await }
        };
        let (front, express, bulk) =
            tokio::try_join!(lanes.each(open), lanes.each(open), Line::open(target))?;
        let mut facts = Facts::ask(&bulk, patience).await?;
        if facts.replica {
            return Err(Failure::NoConnection("the server is a replica".to_owned()));
        }
        let lines = front.iter().chain(express.iter());
        let told = try_join_all(lines.map(|line| Facts::ask(line, patience))).await?;
        // Behind one address may stand several servers.
        if told.iter().any(|told| told.identity != facts.identity) {
            return Err(Failure::NoConnection(
                "its address leads to several servers".to_owned(),
            ));
        }
        facts.snapshots = facts::ask_snapshots(&bulk, patience).await?;
        let modern = facts.modern();
        let session = Self {
            target: Arc::clone(target),
            front,
            express,
            bulk,
            replicated: (wait_replicas > 0).then(|| {
                let identity = facts.identity.clone();
                Arc::new(Replicated::new(Arc::clone(target), identity, wait_replicas))
            }),
            snapshots: facts.snapshots.clone(),
            scripts: Arc::new(Scripts::new(modern)),
            modern,
            asking: false,
            behind: Arc::default(),
            retired: CancellationToken::new(),
        };
        Ok((session, facts))
    }

    /// The same connections, for a slot that is on its way to this server.
    pub(super) fn asking(&self) -> Self {
        Self {
            front: self.front.map(|line| line.asking(true)),
            express: self.express.map(|line| line.asking(true)),
            bulk: self.bulk.asking(true),
            asking: true,
            ..self.clone()
        }
    }

    /// Asks the server about itself.
    pub(super) async fn facts(&self, patience: Patience) -> Result<Facts, Failure> {
        let facts = Facts::ask(self.express.mine(), patience).await?;
        Ok(Facts {
            snapshots: self.snapshots.clone(),
            ..facts
        })
    }

    /// Says that this session is of no more use; commands under way go on.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// Ready when somebody found that this session is of no more use.
    pub(super) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Writes the frame of `record` where there is nothing, or brings back what is there.
    pub(super) async fn claim(
        &self,
        named: Named<'_>,
        record: &Record,
        frame: &[u8],
        patience: Patience,
    ) -> Result<Option<Seen>, Failure> {
        let ttl = ttl(record);
        if let Some(replicated) = &self.replicated {
            let claimed =
                self.claim_replicated(replicated, named, record.token, frame, ttl, patience);
            return Box::pin(claimed).await;
        }
        if self.modern && self.behind.load(Ordering::Relaxed) == 0 {
            let command = set_nx_get(named.key, frame, ttl);
            return self
                .claim_on_front(named, record.token, &command, patience)
                .await;
        }
        let mut claim = self.scripts.claim.key(named.key);
        claim.arg(frame).arg(ttl).arg(SMALL);
        let answer = self.express.mine().run(&claim, patience).await?;
        self.found_or_in_bulk(named, answer, patience).await
    }

    /// What is there, and whether its lease lapsed.
    pub(super) async fn look(
        &self,
        named: Named<'_>,
        patience: Patience,
    ) -> Result<Option<Seen>, Failure> {
        let answer = self.look_small(named.key, patience).await?;
        self.found_or_in_bulk(named, answer, patience).await
    }

    /// Writes the frame of `record` in the place of one that meets `expect`.
    pub(super) async fn replace(
        &self,
        key: &str,
        expect: Expect,
        record: &Record,
        frame: &[u8],
        patience: Patience,
    ) -> Result<Replaced, Failure> {
        let script = match record.state {
            State::InFlight => &self.scripts.claim_over,
            State::Unknown | State::Released | State::Completed => &self.scripts.settle,
        };
        let (token, states) = script::terms(&expect);
        let mut invocation = script.key(key);
        invocation
            .arg(frame)
            .arg(ttl(record))
            .arg(token)
            .arg(states)
            .arg(u8::from(matches!(expect, Expect::Held(_))))
            .arg(u8::from(matches!(expect, Expect::Lapsed(_))))
            .arg(u8::from(self.replicated.is_some()));
        let (line, patience) = if frame.len() > SMALL {
            (&self.bulk, patience.while_moving())
        } else {
            (self.express.mine(), patience)
        };
        if let Some(replicated) = &self.replicated {
            let replacing = self.replace_replicated(replicated, &invocation, patience);
            return Box::pin(replacing).await;
        }
        replaced(line.run(&invocation, patience).await?)
    }

    /// Begins lease and time to live anew.
    pub(super) async fn renew(
        &self,
        key: &str,
        token: Token,
        patience: Patience,
    ) -> Result<Replaced, Failure> {
        let mut renew = self.scripts.renew.key(key);
        renew.arg(token.as_bytes().as_slice());
        replaced(self.express.mine().run(&renew, patience).await?)
    }

    /// Goes on through all keys from `cursor`: a slice of them (`SCAN`).
    pub(super) async fn scan(
        &self,
        cursor: &[u8],
        pattern: &str,
        patience: Patience,
    ) -> Result<Value, Failure> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern);
        scan.arg("COUNT").arg(SCANNED);
        self.bulk.ask(&scan, patience.while_moving()).await
    }

    /// The first bytes of what is there, how much there is, and what is left of its time to live.
    pub(super) async fn beginning(
        &self,
        key: &str,
        bytes: usize,
        patience: Patience,
    ) -> Result<Value, Failure> {
        let mut head = self.scripts.head.key(key);
        head.arg(bytes);
        self.bulk.run(&head, patience.while_moving()).await
    }

    async fn replace_replicated(
        &self,
        replicated: &Replicated,
        invocation: &ScriptInvocation<'_>,
        patience: Patience,
    ) -> Result<Replaced, Failure> {
        let line = replicated.line(self.asking, patience).await?;
        let came_of_it = replaced(line.run(invocation, patience).await?)?;
        if came_of_it == Replaced::Stale {
            replicated.give_back(line);
        } else {
            replicated.confirm(line, patience).await?;
        }
        Ok(came_of_it)
    }

    async fn claim_on_front(
        &self,
        named: Named<'_>,
        token: Token,
        command: &Cmd,
        patience: Patience,
    ) -> Result<Option<Seen>, Failure> {
        let mut answer = pin!(self.front.mine().send(command));
        let usual = (Instant::now() + patience.timeout() / 4).min(patience.until());
        if let Ok(answer) = timeout_at(usual, &mut answer).await {
            return found(named, answer?);
        }
        // Put aside, as it is rare and large.
        Box::pin(self.claim_behind(named, token, answer, patience)).await
    }

    /// A claim whose answer is late, and perhaps behind a large one.
    async fn claim_behind(
        &self,
        named: Named<'_>,
        token: Token,
        mut answer: Pin<&mut (impl Future<Output = RedisResult<Value>> + Send)>,
        patience: Patience,
    ) -> Result<Option<Seen>, Failure> {
        let _behind = Behind::new(&self.behind);
        let looking = async {
            loop {
                match looked(named, self.look_small(named.key, patience).await?)? {
                    // The claim has not arrived yet.
                    Look::Whole(None) => sleep(patience.timeout() / 16).await,
                    look => return Ok::<_, Failure>(look),
                }
            }
        };
        let patience = tokio::select! {
            biased;
            answer = self.front.mine().within(patience, answer.as_mut()) => return found(named, answer?),
            look = looking => match look {
                // This claim arrived, and its answer did not yet.
                Ok(Look::Whole(Some(seen))) if is_claim(&seen.record, token) => return Ok(None),
                Ok(Look::Whole(seen)) => return Ok(seen),
                // It is on its way already.
                Ok(Look::Large) => patience.while_moving(),
                Err(_) => patience,
            },
        };
        found(named, self.front.mine().within(patience, answer).await?)
    }

    async fn claim_replicated(
        &self,
        replicated: &Replicated,
        named: Named<'_>,
        token: Token,
        frame: &[u8],
        ttl: i64,
        patience: Patience,
    ) -> Result<Option<Seen>, Failure> {
        let line = replicated.line(self.asking, patience).await?;
        let bulk = patience.while_moving();
        let found = if self.modern {
            found(
                named,
                line.ask(&set_nx_get(named.key, frame, ttl), bulk).await?,
            )?
        } else {
            let mut claim = self.scripts.claim.key(named.key);
            claim.arg(frame).arg(ttl).arg(i64::MAX);
            whole(looked(named, line.run(&claim, bulk).await?)?)?
        };
        match &found {
            None => {}
            // An earlier try of this claim arrived. WAIT counts the writes of its own connection: there has to be one.
            Some(seen) if is_claim(&seen.record, token) => {
                let mut renew = self.scripts.renew.key(named.key);
                renew.arg(token.as_bytes().as_slice());
                let renewed = line.run(&renew, patience).await;
                if replaced(renewed.map_err(Failure::after_a_write)?)? != Replaced::Applied {
                    return Err(Failure::Unreplicated("the claim went by".to_owned()));
                }
            }
            Some(_) => {
                replicated.give_back(line);
                return Ok(found);
            }
        }
        let large = frame.len() > SMALL;
        let patience = if large { bulk } else { patience };
        replicated.confirm(line, patience).await?;
        Ok(found)
    }

    async fn look_small(&self, key: &str, patience: Patience) -> Result<Value, Failure> {
        if seeded(Seeded::LapseOfTwoReplies) {
            let frame = self
                .express
                .mine()
                .ask(cmd("GET").arg(key), patience)
                .await?;
            let left = self
                .express
                .mine()
                .ask(cmd("PTTL").arg(key), patience)
                .await?;
            return Ok(match frame {
                Value::Nil => Value::Array(vec![Value::Int(script::NOTHING)]),
                frame => Value::Array(vec![Value::Int(script::FOUND), left, frame]),
            });
        }
        let mut look = self.scripts.look.key(key);
        look.arg(SMALL);
        self.express.mine().run(&look, patience).await
    }

    async fn found_or_in_bulk(
        &self,
        named: Named<'_>,
        answer: Value,
        patience: Patience,
    ) -> Result<Option<Seen>, Failure> {
        match looked(named, answer)? {
            Look::Whole(seen) => Ok(seen),
            Look::Large => Box::pin(self.in_bulk(named, patience)).await,
        }
    }

    async fn in_bulk(&self, named: Named<'_>, patience: Patience) -> Result<Option<Seen>, Failure> {
        let mut look = self.scripts.look.key(named.key);
        look.arg(i64::MAX);
        let answer = self.bulk.run(&look, patience.while_moving()).await?;
        whole(looked(named, answer)?)
    }
}

/// Counts a claim that waits longer than usual, while it waits.
struct Behind<'a>(&'a AtomicUsize);

impl<'a> Behind<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Behind<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_claim(record: &Record, token: Token) -> bool {
    record.token == token && record.state == State::InFlight
}

fn set_nx_get(key: &str, frame: &[u8], ttl: i64) -> Cmd {
    let mut command = Cmd::with_capacity(7, key.len() + frame.len() + TERMS);
    command.arg("SET").arg(key).arg(frame);
    command.arg("NX").arg("GET").arg("PX").arg(ttl);
    command
}

fn ttl(record: &Record) -> i64 {
    i64::try_from(record.ttl.as_millis())
        .unwrap_or(MAX_TTL)
        .clamp(1, MAX_TTL)
}

/// Keys that the server looks at in one step of a listing: less than half a millisecond of its time.
const SCANNED: usize = 200;
/// Bytes of a record that may go beside claims and heartbeats.
const SMALL: usize = 32 * 1024;
/// Bytes of what is said of a claim beside its key and its frame, at most.
const TERMS: usize = 40;
