//! A store that fails as it is told, and a proxy on it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use idemproxy::config::{self, Overrides};
use idemproxy::downstream::{Shutdown, serve};
use idemproxy::idempotency::{Expect, Record, RecordId, Seen, Token};
use idemproxy::lanes::{Lanes, Tasks};
use idemproxy::proxy::{Idempotency, Parameters, Setup, Stop};
use idemproxy::store::{Health, Inserted, Listing, Memory, Replaced, Store, StoreError, Wanted};
use idemproxy::telemetry::{Metrics, Traces};
use idemproxy::upstream;
use tokio::net::TcpListener;

use crate::support::{Answer, Client, Gate, Request, Upstream, patiently, post};

/// What goes wrong with one operation.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is not carried out, and the caller is told so.
    Refused,
    /// It is carried out, and its reply is lost.
    ReplyLost,
    /// It never arrives.
    RequestLost,
    /// It is carried out when the gate opens, and nobody waits for the reply.
    Late(Gate),
    /// It is carried out when the gate opens, and answers then.
    Held(Gate),
    /// What is there cannot be read.
    Unreadable,
}

/// One of the operations of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Replace,
    Renew,
    Look,
}

/// Records in memory, with faults.
pub struct FaultyStore {
    memory: Mutex<Arc<Memory>>,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    once: VecDeque<(Operation, Fault)>,
    always: Vec<(Option<Operation>, Fault)>,
    /// This operation, counted from one and over all kinds, meets this.
    nth: Option<(usize, Fault)>,
    log: Vec<Operation>,
    /// From the next operation of this kind on, it was not watched.
    unwatched_from: Option<Operation>,
    unwatched: bool,
}

impl FaultyStore {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: Mutex::new(memory()),
            plan: Mutex::default(),
        })
    }

    /// From the next operation of this kind on, nobody knows for how long the store was there.
    pub fn unwatched_from(&self, operation: Operation) {
        self.plan().unwatched_from = Some(operation);
    }

    /// The next operation of this kind meets this.
    pub fn once(&self, operation: Operation, fault: Fault) {
        self.plan().once.push_back((operation, fault));
    }

    /// Every operation of this kind does.
    pub fn always(&self, operation: Operation, fault: Fault) {
        self.plan().always.push((Some(operation), fault));
    }

    /// Every operation does.
    pub fn down(&self, fault: Fault) {
        self.plan().always.push((None, fault));
    }

    /// The `n`-th operation from now does.
    pub fn nth(&self, n: usize, fault: Fault) {
        let mut plan = self.plan();
        let so_far = plan.log.len();
        plan.nth = Some((so_far + n, fault));
    }

    /// Nothing fails any more.
    pub fn up(&self) {
        let mut plan = self.plan();
        plan.once.clear();
        plan.always.clear();
        plan.nth = None;
    }

    /// Loses every record.
    pub fn forget(&self) {
        *self.memory.lock().unwrap() = memory();
    }

    /// How many operations there were.
    pub fn count(&self) -> usize {
        self.plan().log.len()
    }

    /// How many of this kind there were.
    pub fn count_of(&self, operation: Operation) -> usize {
        let plan = self.plan();
        plan.log.iter().filter(|found| **found == operation).count()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap()
    }

    fn fault(&self, operation: Operation) -> Fault {
        let mut plan = self.plan();
        plan.log.push(operation);
        plan.unwatched |= plan.unwatched_from == Some(operation);
        let number = plan.log.len();
        if let Some((nth, fault)) = &plan.nth
            && *nth == number
        {
            return fault.clone();
        }
        if let Some(at) = plan.once.iter().position(|(kind, _)| *kind == operation) {
            return plan.once.remove(at).unwrap().1;
        }
        let fits = |kind: &Option<Operation>| kind.is_none_or(|kind| kind == operation);
        let always = plan.always.iter().find(|(kind, _)| fits(kind));
        always.map_or(Fault::None, |(_, fault)| fault.clone())
    }

    async fn meet<T: Send + 'static>(
        &self,
        operation: Operation,
        carry_out: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let lost = || StoreError::Unanswered("lost".to_owned());
        match self.fault(operation) {
            Fault::None => carry_out.await,
            Fault::Refused => Err(StoreError::Refused("down".to_owned())),
            Fault::RequestLost => Err(lost()),
            Fault::Unreadable => Err(StoreError::Unreadable("version 9".to_owned())),
            Fault::ReplyLost => {
                let _ = carry_out.await;
                Err(lost())
            }
            Fault::Late(gate) => {
                tokio::spawn(async move {
                    gate.cancelled().await;
                    let _ = carry_out.await;
                });
                Err(lost())
            }
            Fault::Held(gate) => {
                gate.cancelled().await;
                carry_out.await
            }
        }
    }

    fn memory(&self) -> Arc<Memory> {
        self.memory.lock().unwrap().clone()
    }
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(u64::MAX))
}

impl Store for FaultyStore {
    async fn insert(&self, id: RecordId, record: &Record) -> Result<Inserted, StoreError> {
        let (memory, record) = (self.memory(), record.clone());
        self.meet(Operation::Insert, async move {
            memory.insert(id, &record).await
        })
        .await
    }

    async fn replace(
        &self,
        id: RecordId,
        expect: Expect,
        record: &Record,
    ) -> Result<Replaced, StoreError> {
        let (memory, record) = (self.memory(), record.clone());
        self.meet(Operation::Replace, async move {
            memory.replace(id, expect, &record).await
        })
        .await
    }

    async fn renew(&self, id: RecordId, token: Token) -> Result<Replaced, StoreError> {
        let memory = self.memory();
        self.meet(
            Operation::Renew,
            async move { memory.renew(id, token).await },
        )
        .await
    }

    async fn look(&self, id: RecordId) -> Result<Option<Seen>, StoreError> {
        let memory = self.memory();
        self.meet(Operation::Look, async move { memory.look(id).await })
            .await
    }

    async fn list(
        &self,
        after: Option<RecordId>,
        limit: usize,
        wanted: Wanted<'_>,
    ) -> Result<Listing, StoreError> {
        self.memory().list(after, limit, wanted).await
    }

    fn steady(&self, _: RecordId) -> Duration {
        if self.plan().unwatched {
            Duration::ZERO
        } else {
            Duration::MAX
        }
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

/// An upstream, a faulty store, and a proxy on both. Several may share one store and upstream.
pub struct Faulty {
    pub upstream: Arc<Upstream>,
    pub store: Arc<FaultyStore>,
    pub metrics: Arc<Metrics>,
    pub stop: Stop,
    pub tasks: Tasks,
    address: SocketAddr,
    shutdown: Shutdown,
}

impl Faulty {
    /// With the lines of `[policy]`.
    pub async fn policy(policy: &str) -> Self {
        Self::beside(
            Arc::new(Upstream::start().await),
            FaultyStore::new(),
            policy,
        )
        .await
    }

    /// Another proxy on the same store and upstream.
    pub async fn another(&self, policy: &str) -> Self {
        Self::beside(self.upstream.clone(), self.store.clone(), policy).await
    }

    async fn beside(upstream: Arc<Upstream>, store: Arc<FaultyStore>, policy: &str) -> Self {
        let toml = format!("upstream = \"{}\"\n[policy]\n{policy}", upstream.url());
        let settings = config::from_toml("", &toml, &Overrides::default())
            .unwrap_or_else(|faults| panic!("{faults}"));
        let client = upstream::Upstream::new(&settings.upstreams[0]).unwrap();
        let (metrics, tasks, stop) = (Arc::new(Metrics::new()), Tasks::default(), Stop::default());
        let proxy = Idempotency::new(Parameters {
            setup: Setup {
                authorities: vec![client.authority().parse().unwrap()],
                inner: client,
                routes: settings.routes,
                jwt: settings.jwt,
                trust_forwarded: settings.server.trust_forwarded.clone(),
                max_in_flight: settings.server.max_in_flight,
                max_buffered_total: settings.server.max_buffered_total,
                max_waiters: settings.server.max_waiters,
                body_idle_timeout: settings.server.body_idle_timeout,
                voice: settings.server.voice.clone(),
            },
            store: store.clone(),
            service: settings.service,
            secret: settings.store.secret,
            metrics: metrics.clone(),
            traces: Traces::default(),
            log_keys: false,
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let (server, draining, counted) = (
            settings.server.into_shared(),
            shutdown.clone(),
            metrics.clone(),
        );
        tokio::spawn(async move {
            let lanes = Lanes::default();
            serve(&lanes, listener, server, proxy, draining, counted).await;
        });
        Self {
            upstream,
            store,
            metrics,
            stop,
            tasks,
            address,
            shutdown,
        }
    }

    pub async fn send(&self, request: &Request) -> Answer {
        Client::once(self.address, request).await
    }

    /// `POST /orders` with a key and a body.
    pub async fn post(&self, key: &str, body: &str) -> Answer {
        self.send(&post("/orders", key, body)).await
    }

    /// A client that has sent this request, and waits.
    pub async fn begin(&self, request: &Request) -> Client {
        let mut client = Client::connect(self.address).await;
        client.send(&request.bytes()).await;
        client
    }

    /// Sends a request until its answer is not that it should be sent again.
    pub async fn settled(&self, request: &Request) -> Answer {
        patiently(async {
            loop {
                let answer = self.send(request).await;
                if answer.field("retry-after").is_none() {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Waits until nothing is done in the background any more.
    pub async fn tasks_settle(&self) {
        while !self.tasks.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A value of the metrics page.
    pub fn metric(&self, line: &str) -> f64 {
        let page = self.metrics.encode().unwrap();
        page.lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or(0.0)
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.shutdown.close();
    }
}
