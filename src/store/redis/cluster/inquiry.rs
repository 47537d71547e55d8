//! Asks for the map of a cluster in the background, and keeps the nodes that it names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::layout::Layout;
use super::map::Map;
use super::slot::{SLOTS, slot_of};
use crate::lanes::Lanes;
use crate::store::redis::address::Address;
use crate::store::redis::failure::Failure;
use crate::store::redis::keeper::Keeper;
use crate::store::redis::line::{Line, Patience};
use crate::store::redis::node::Node;
use crate::store::redis::target::Target;
use crate::store::{Health, StoreSettings};

/// Asks for the map of a cluster, and keeps the nodes that it names.
pub(super) struct Inquiry {
    /// The first one, and the others.
    seed: Target,
    seeds: Vec<Target>,
    settings: StoreSettings,
    lanes: Lanes,
    known: Mutex<Known>,
    progress: watch::Sender<Progress>,
    doubt: Notify,
}

/// Whether there is a map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nobody answered yet, and not everybody was asked.
    Asking,
    /// Nobody tells.
    Nothing,
    /// There is one.
    Known,
}

/// What is known of the cluster.
#[derive(Default)]
struct Known {
    map: Option<Map>,
    nodes: HashMap<Address, Kept>,
    /// Who was said to know better than the map.
    hint: Option<Address>,
    /// Why the last round told nothing.
    trouble: Option<String>,
    /// When a round told something last.
    told: Option<Instant>,
    /// Of nodes that are gone.
    epoch_changes: u64,
}

struct Kept {
    node: Arc<Node>,
    /// When somebody was last sent there by another node.
    sent: Option<Instant>,
    /// Number of its probe's key; 0 where there is none.
    probe: u32,
    /// The slots among which a key was looked for last.
    searched: Vec<(u16, u16)>,
}

impl Inquiry {
    /// Knows nothing yet.
    pub(super) fn new(
        seed: Target,
        seeds: Vec<Target>,
        settings: &StoreSettings,
        lanes: &Lanes,
    ) -> Self {
        Self {
            seed,
            seeds,
            settings: settings.clone(),
            lanes: lanes.clone(),
            known: Mutex::default(),
            progress: watch::Sender::new(Progress::Asking),
            doubt: Notify::new(),
        }
    }

    /// Asks, waits, asks again; for ever.
    pub(super) async fn go_on(&self) {
        loop {
            let round = self.ask().await;
            let trouble = round.err();
            let news = {
                let mut known = self.known();
                std::mem::replace(&mut known.trouble, trouble.clone()) != trouble
            };
            if let Some(why) = trouble.filter(|_| news) {
                tracing::warn!(
                    why,
                    "nobody tells which node of the redis cluster has which slots"
                );
            }
            self.progress.send_replace(if self.known().map.is_some() {
                Progress::Known
            } else {
                Progress::Nothing
            });
            // A storm of redirections is one question.
            sleep(GAP).await;
            let pause = if self.health().up { PAUSE } else { HASTE };
            let _ = timeout(pause, self.doubt.notified()).await;
        }
    }

    /// Says that the map may be wrong, and who is said to know better.
    pub(super) fn doubt(&self, hint: Option<Address>) {
        if hint.is_some() {
            self.known().hint = hint;
        }
        self.doubt.notify_one();
    }

    /// Ready when there is a map.
    pub(super) async fn settled(&self) {
        let mut progress = self.progress.subscribe();
        let _ = progress.wait_for(|now| *now == Progress::Known).await;
    }

    /// Waits while everybody is asked for the first time.
    ///
    /// # Errors
    ///
    /// There is no map.
    pub(super) async fn decided(&self, patience: Patience) -> Result<(), Failure> {
        let mut progress = self.progress.subscribe();
        let decided = progress.wait_for(|now| *now != Progress::Asking);
        match timeout_at(patience.until(), decided).await {
            Ok(Ok(now)) if *now == Progress::Known => Ok(()),
            _ => {
                let why = self.known().trouble.clone();
                Err(Failure::NoConnection(
                    why.unwrap_or_else(|| "looking for the cluster".to_owned()),
                ))
            }
        }
    }

    /// Who has this slot.
    pub(super) fn holder(&self, slot: u16) -> Option<Arc<Node>> {
        let known = self.known();
        let holder = known.map.as_ref()?.holder(slot)?;
        known.nodes.get(holder).map(|kept| Arc::clone(&kept.node))
    }

    /// Everybody who has a slot, by the map and by redirections since.
    ///
    /// # Errors
    ///
    /// Slots that nobody has.
    pub(super) fn holders(&self) -> Result<Vec<Arc<Node>>, Failure> {
        let known = self.known();
        let orphans = |slots: usize| Failure::NoConnection(format!("{slots} slots have no node"));
        let map = known
            .map
            .as_ref()
            .ok_or_else(|| orphans(usize::from(SLOTS)))?;
        if map.orphans() > 0 {
            return Err(orphans(map.orphans()));
        }
        let node = |address| {
            let kept = known.nodes.get(address);
            kept.map(|kept| Arc::clone(&kept.node))
                .ok_or_else(|| Failure::NoConnection("a node is not known yet".to_owned()))
        };
        map.holders().into_iter().map(node).collect()
    }

    /// A node said that another one has this slot: who that is.
    pub(super) fn moved(&self, slot: u16, to: &Address) -> Arc<Node> {
        let mut known = self.known();
        if let Some(map) = &mut known.map {
            map.moved(slot, to, Instant::now());
        }
        self.sent(&mut known, to)
    }

    /// A node said that this slot is on its way: where to.
    pub(super) fn on_its_way(&self, slot: u16, to: &Address) -> Arc<Node> {
        let mut known = self.known();
        if let Some(map) = &mut known.map {
            map.on_its_way(slot, Instant::now());
        }
        self.sent(&mut known, to)
    }

    /// For how long the same node took heartbeats of this slot without a break.
    pub(super) fn steady(&self, slot: u16, now: Instant) -> Duration {
        let known = self.known();
        let Some(map) = &known.map else {
            return Duration::ZERO;
        };
        let node = map.holder(slot).and_then(|holder| known.nodes.get(holder));
        // Slots may have come and gone while nobody looked.
        let node = node.filter(|_| known.is_fresh(now));
        node.map_or(Duration::ZERO, |kept| {
            kept.node.steady().min(map.steady(slot, now))
        })
    }

    /// Every node that has slots.
    pub(super) fn primaries(&self) -> Vec<Arc<Node>> {
        self.known().primaries().map(|(_, node)| node).collect()
    }

    /// How the cluster stands.
    pub(super) fn health(&self) -> Health {
        let known = self.known();
        let trouble = known.trouble.iter();
        let mut notes: Vec<String> = trouble
            .map(|why| format!("redis cluster: nobody tells who has which slots: {why}"))
            .collect();
        let whole = known.map.as_ref().is_some_and(|map| map.orphans() == 0);
        let mut up = whole && known.is_fresh(Instant::now());
        let mut evicted = 0;
        for (_, node) in known.primaries() {
            let health = node.health();
            up &= health.up;
            evicted += health.evicted;
            notes.push(health.notes.join("; "));
        }
        if let Some(map) = &known.map {
            if map.orphans() > 0 {
                let orphans = map.orphans();
                notes.push(format!("redis cluster: {orphans} slots have no node"));
            }
            if map.promotions() > 0 {
                let promotions = map.promotions();
                notes.push(format!(
                    "redis cluster: replicas took the place of their primary {promotions} times"
                ));
            }
        }
        Health {
            up,
            notes,
            epoch_changes: known.epoch_changes(),
            evicted,
            left: 0,
        }
    }

    /// Asks one after another, until somebody has a map that is no older than the one before.
    async fn ask(&self) -> Result<(), String> {
        let least = self
            .known()
            .map
            .as_ref()
            .map_or(0, |map| map.layout().epoch);
        let mut trouble = "no node is known".to_owned();
        let mut older: Option<Layout> = None;
        for source in self.sources() {
            match self.ask_one(&source).await {
                Ok(layout) if layout.epoch >= least => {
                    self.learn(layout);
                    return Ok(());
                }
                Ok(layout) => {
                    if older
                        .as_ref()
                        .is_none_or(|older| older.epoch < layout.epoch)
                    {
                        older = Some(layout);
                    }
                }
                Err(failure) => trouble = format!("{}: {}", source.name(), failure.why()),
            }
        }
        // A cluster that was made anew counts from the beginning.
        older.map(|layout| self.learn(layout)).ok_or(trouble)
    }

    async fn ask_one(&self, source: &Source) -> Result<Layout, Failure> {
        // Nobody waits for it in an operation.
        let bound = self.settings.timeout.max(CONNECT);
        let asking = async {
            match source {
                Source::Node(node) => {
                    let session = node.standing();
                    let away = || Failure::NoConnection("no session".to_owned());
                    let session = session.ok_or_else(away)?;
                    Layout::ask(session.express.mine(), node.host(), Patience::of(bound)).await
                }
                Source::Stranger(target) => {
                    let line = Line::open(target).await?;
                    Layout::ask(&line, target.address().0, Patience::of(bound)).await
                }
            }
        };
        let answer = timeout(bound, asking).await;
        answer.unwrap_or(Err(Failure::Late))
    }

    /// Who may tell the map: who is said to know, nodes that do well, everyone that was ever named, and the seeds.
    fn sources(&self) -> Vec<Source> {
        let mut known = self.known();
        let hint = known.hint.take();
        let mut sources = Vec::new();
        let mut nodes: Vec<_> = known.nodes.iter().collect();
        // Looked at once each: how steady one is changes meanwhile.
        nodes.sort_by_cached_key(|(address, kept)| {
            (
                Some(*address) != hint.as_ref(),
                std::cmp::Reverse(kept.node.steady()),
            )
        });
        for (_, kept) in &nodes {
            if kept.node.standing().is_some() {
                sources.push(Source::Node(Arc::clone(&kept.node)));
            }
        }
        if let Some(map) = &known.map {
            for member in map.layout().members() {
                let up = known.nodes.get(&member.address);
                if up.is_none_or(|kept| kept.node.standing().is_none()) {
                    sources.push(Source::Stranger(self.seed.beside(&member.address)));
                }
            }
        }
        let seeds = std::iter::once(&self.seed).chain(&self.seeds);
        sources.extend(seeds.cloned().map(Source::Stranger));
        sources
    }

    fn learn(&self, layout: Layout) {
        let now = Instant::now();
        let mut known = self.known();
        let promotions = known.map.as_ref().map_or(0, Map::promotions);
        let map = match known.map.take() {
            Some(mut map) => {
                map.learn(layout, now);
                map
            }
            None => Map::new(layout, now),
        };
        if map.promotions() > promotions {
            tracing::warn!("a replica took the place of its primary in the redis cluster");
        }
        let mut ranges: HashMap<Address, Vec<(u16, u16)>> = HashMap::new();
        for shard in &map.layout().shards {
            let address = shard.primary.address.clone();
            ranges.entry(address).or_default().push(shard.slots);
        }
        known.map = Some(map);
        known.told = Some(now);
        let kept = std::mem::take(&mut known.nodes);
        let (stay, go): (HashMap<_, _>, HashMap<_, _>) =
            kept.into_iter().partition(|(address, kept)| {
                let lately = kept.sent.is_some_and(|sent| sent + GRACE > now);
                ranges.contains_key(address) || lately
            });
        known.nodes = stay;
        known.epoch_changes += epoch_changes(&go);
        for (address, ranges) in ranges {
            let kept = self.kept(&mut known, &address);
            kept.choose_probe(&self.settings.prefix, ranges);
        }
    }

    fn sent(&self, known: &mut Known, to: &Address) -> Arc<Node> {
        let kept = self.kept(known, to);
        kept.sent = Some(Instant::now());
        Arc::clone(&kept.node)
    }

    fn kept<'a>(&self, known: &'a mut Known, address: &Address) -> &'a mut Kept {
        known.nodes.entry(address.clone()).or_insert_with(|| {
            let keeper = Keeper::of_a_node(self.seed.beside(address), &self.settings, &self.lanes);
            Kept {
                node: Arc::new(Node::keep(keeper)),
                sent: None,
                probe: 0,
                searched: Vec::new(),
            }
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn primaries(&self) -> impl Iterator<Item = (&Address, Arc<Node>)> {
        let shards = self.map.iter().flat_map(|map| &map.layout().shards);
        let mut addresses: Vec<&Address> = shards.map(|shard| &shard.primary.address).collect();
        addresses.sort_by_key(|address| (&address.host, address.port));
        addresses.dedup();
        let node = |address| Some((address, Arc::clone(&self.nodes.get(address)?.node)));
        addresses.into_iter().filter_map(node)
    }

    /// Whether the map was told lately.
    fn is_fresh(&self, now: Instant) -> bool {
        self.told.is_some_and(|told| told + STALE > now)
    }

    fn epoch_changes(&self) -> u64 {
        let promotions = self.map.as_ref().map_or(0, Map::promotions);
        self.epoch_changes + promotions + epoch_changes(&self.nodes)
    }
}

impl Kept {
    /// Finds a key of a slot that the node has, and probes with that.
    fn choose_probe(&mut self, prefix: &str, ranges: Vec<(u16, u16)>) {
        let fits = |number: &u32| {
            let slot = slot_of(&probe_key(prefix, *number));
            let mut ranges = ranges.iter();
            ranges.any(|(first, last)| (*first..=*last).contains(&slot))
        };
        let astray = self.node.astray();
        if !astray && (self.searched == ranges || self.probe > 0 && fits(&self.probe)) {
            return;
        }
        // With a hash tag in the prefix, all keys have one slot.
        let tagged = slot_of(&probe_key(prefix, 1)) == slot_of(&probe_key(prefix, 2));
        let keys = if tagged { 1 } else { PROBE_KEYS };
        let from = if tagged { 1 } else { self.probe + 1 };
        let found = (from..).take(keys).find(fits);
        self.probe = found.unwrap_or_default();
        let key = found.map(|number| probe_key(prefix, number));
        self.node.probe_with(key.as_deref());
        self.searched = ranges;
    }
}

/// Who can be asked for the map.
enum Source {
    Node(Arc<Node>),
    Stranger(Target),
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Node(node) => node.name(),
            Self::Stranger(target) => target.to_string(),
        }
    }
}

fn probe_key(prefix: &str, number: u32) -> String {
    format!("{prefix}:probe:{number}")
}

fn epoch_changes(nodes: &HashMap<Address, Kept>) -> u64 {
    let changes = nodes.values().map(|kept| kept.node.health().epoch_changes);
    changes.sum()
}

/// Least time between two rounds.
const GAP: Duration = Duration::from_millis(50);
/// Between two rounds, while all is well, and while it is not.
const PAUSE: Duration = Duration::from_secs(2);
const HASTE: Duration = Duration::from_millis(250);
/// After which a map proves nothing any more. With every node away a round may take long, but then nothing is up anyway.
const STALE: Duration = Duration::from_secs(10);
/// Least bound on one question, connecting included.
const CONNECT: Duration = Duration::from_secs(1);
/// For how long a node is kept that has no slots, after somebody was sent there.
const GRACE: Duration = Duration::from_secs(60);
/// How many keys are tried for one that is in a slot of the node.
const PROBE_KEYS: usize = 1 << 16;
