//! A real Redis Cluster, of the test's own.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redis::Value;

use super::RedisServer;

/// A cluster on 127.0.0.1: three primaries, each with so many replicas; killed when dropped.
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    ids: Vec<String>,
}

/// Slots of a cluster.
const SLOTS: usize = 16_384;
const PRIMARIES: usize = 3;

impl RedisCluster {
    /// Starts a cluster whose primaries have a replica each, and waits until all agree.
    pub fn start() -> Self {
        Self::with(1, &[])
    }

    /// Starts a cluster whose primaries have so many replicas, with further arguments for each node, and waits until all agree.
    pub fn with(replicas: usize, arguments: &[&str]) -> Self {
        let mut words = vec![
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
        ];
        words.extend(arguments);
        let nodes: Vec<RedisServer> = (0..PRIMARIES * (1 + replicas))
            .map(|_| RedisServer::on_two_ports("--cluster-port", &words))
            .collect();
        let ids = nodes
            .iter()
            .map(|node| text(node.command(&["CLUSTER", "MYID"])))
            .collect();
        let cluster = Self { nodes, ids };
        cluster.form();
        cluster
    }

    /// One cluster for all tests of this process. A process of its own waits for the end of this one, and kills the nodes: what is
    /// static is never dropped.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let cluster = Self::start();
            let pids = cluster.nodes.iter().map(|node| node.pid().to_string());
            let directories = cluster.nodes.iter().map(|node| node.directory());
            let warden = Command::new("sh")
                .args(["-c", "cat; kill -9 $0; rm -rf \"$@\""])
                .arg(pids.collect::<Vec<_>>().join(" "))
                .args(directories)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // The pipe is closed by the end of this process, however that comes.
            std::mem::forget(warden);
            cluster
        })
    }

    /// Its URL, with one node as the seed.
    pub fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{}", self.nodes[0].port())
    }

    /// All nodes; at first, the three primaries come first, and node `n` is replicated by `n + 3`.
    pub fn node(&self, at: usize) -> &RedisServer {
        &self.nodes[at]
    }

    /// One node, to be killed.
    pub fn node_mut(&mut self, at: usize) -> &mut RedisServer {
        &mut self.nodes[at]
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> u16 {
        let slot = self.nodes[1].command(&["CLUSTER", "KEYSLOT", key]);
        redis::from_redis_value(slot).unwrap()
    }

    /// Who has a slot, as the node `asked` says.
    pub fn holder_by(&self, asked: usize, slot: u16) -> Option<usize> {
        let Ok(Value::Array(ranges)) = self.nodes[asked].try_command(&["CLUSTER", "SLOTS"]) else {
            return None;
        };
        ranges.iter().find_map(|range| match range {
            Value::Array(parts) => match &parts[..] {
                [
                    Value::Int(first),
                    Value::Int(last),
                    Value::Array(primary),
                    ..,
                ] if (*first..=*last).contains(&i64::from(slot)) => {
                    let id = text(primary[2].clone());
                    self.ids.iter().position(|known| *known == id)
                }
                _ => None,
            },
            _ => None,
        })
    }

    /// Who has a slot, as the first node that answers says.
    pub fn holder(&self, slot: u16) -> usize {
        (0..self.size())
            .find_map(|asked| self.holder_by(asked, slot))
            .expect("somebody knows")
    }

    /// Begins to move a slot; none of its keys is moved yet.
    pub fn begin_to_move(&self, slot: u16, to: usize) {
        let (from, slot) = (self.holder(slot), slot.to_string());
        let set = ["CLUSTER", "SETSLOT", slot.as_str()];
        self.nodes[to].command(&[&set[..], &["IMPORTING", &self.ids[from]]].concat());
        self.nodes[from].command(&[&set[..], &["MIGRATING", &self.ids[to]]].concat());
    }

    /// Moves the keys of a slot, so many at most; true where none is left.
    pub fn move_keys(&self, slot: u16, to: usize, most: usize) -> bool {
        let from = self.holder(slot);
        let port = self.nodes[to].port().to_string();
        let most = most.to_string();
        let keys = ["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &most];
        let keys: Vec<String> = redis::from_redis_value(self.nodes[from].command(&keys)).unwrap();
        if !keys.is_empty() {
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            self.nodes[from].command(&words);
        }
        keys.is_empty()
    }

    /// Ends a move: the target has the slot. All primaries are told, the target first.
    ///
    /// Where two primaries have one epoch, the older holder may win the slot back, and the target then deletes its keys.
    pub fn end_move(&self, slot: u16, to: usize) {
        wait("the epochs are told apart by all", || self.epochs_differ());
        let text = slot.to_string();
        let words = ["CLUSTER", "SETSLOT", &text, "NODE", &self.ids[to]];
        self.nodes[to].command(&words);
        for node in &self.nodes {
            // Replicas refuse it.
            let _ = node.try_command(&words);
        }
        wait("the slot has moved", || {
            (0..PRIMARIES).all(|asked| self.holder_by(asked, slot) == Some(to))
        });
    }

    /// Whether all nodes know one and the same epoch of each primary, and no two primaries share one.
    fn epochs_differ(&self) -> bool {
        let mut told = self.nodes.iter().filter_map(|node| {
            let nodes = text(node.try_command(&["CLUSTER", "NODES"]).ok()?);
            let epochs = nodes.lines().filter_map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                let leads = fields[2].contains("master") && !fields[2].contains("fail");
                leads.then(|| (fields[6].to_owned(), fields[0].to_owned()))
            });
            Some(epochs.collect::<BTreeMap<_, _>>())
        });
        let Some(first) = told.next() else {
            return false;
        };
        first.len() == PRIMARIES && told.all(|other| other == first)
    }

    /// How often nodes said no with this code since they started.
    pub fn refusals(&self, code: &str) -> u64 {
        let counted = self.nodes.iter().map(|node| {
            let info = text(node.command(&["INFO", "errorstats"]));
            let start = format!("errorstat_{code}:count=");
            let count = info.lines().find_map(|line| line.strip_prefix(&start));
            count.map_or(0, |count| count.trim_end().parse().unwrap())
        });
        counted.sum()
    }

    /// Moves a slot with all of its keys.
    pub fn move_slot(&self, slot: u16, to: usize) {
        self.begin_to_move(slot, to);
        while !self.move_keys(slot, to, 10) {}
        self.end_move(slot, to);
    }

    /// Waits until a replica has taken the place of this node, and the others know; which one.
    pub fn promoted(&self, killed: usize, slot: u16) -> usize {
        let asked: Vec<usize> = (0..self.size()).filter(|node| *node != killed).collect();
        let mut promoted = None;
        wait("a replica is promoted", || {
            let told: Vec<_> = asked
                .iter()
                .map(|node| self.holder_by(*node, slot))
                .collect();
            promoted = told[0];
            told.iter()
                .all(|node| *node == promoted && promoted.is_some_and(|node| node != killed))
        });
        promoted.unwrap()
    }

    /// By hand rather than by `redis-cli --cluster create`, which takes seconds.
    fn form(&self) {
        let share = SLOTS.div_ceil(PRIMARIES);
        for (at, node) in self.nodes.iter().enumerate() {
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
            if at < PRIMARIES {
                let (first, last) = (share * at, (share * (at + 1)).min(SLOTS) - 1);
                let range = [first.to_string(), last.to_string()];
                node.command(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
            }
        }
        // Everybody meets everybody: gossip alone takes its time.
        for (at, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[at + 1..] {
                let (port, bus) = (other.port().to_string(), other.second_port().to_string());
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
            }
        }
        wait("all nodes know each other", || {
            self.infos("cluster_known_nodes")
                == BTreeMap::from([(self.size().to_string(), self.size())])
        });
        for at in PRIMARIES..self.size() {
            let primary = &self.ids[at % PRIMARIES];
            wait("a replica knows its primary", || {
                self.nodes[at]
                    .try_command(&["CLUSTER", "REPLICATE", primary])
                    .is_ok()
            });
        }
        wait("all slots are served", || {
            self.infos("cluster_state") == BTreeMap::from([("ok".to_owned(), self.size())])
        });
        let followed = (self.size() / PRIMARIES - 1).to_string();
        wait("the replicas follow", || {
            self.nodes[..PRIMARIES].iter().all(|node| {
                let info = text(node.command(&["INFO", "replication"]));
                info.contains(&format!("connected_slaves:{followed}\r"))
                    && info.matches("state=online").count().to_string() == followed
            })
        });
        wait("all name the replicas", || {
            let told = |node: &RedisServer| text(node.command(&["CLUSTER", "NODES"]));
            self.nodes
                .iter()
                .all(|node| told(node).matches("slave").count() == self.size() - PRIMARIES)
        });
    }

    /// How many nodes say what in this field of `CLUSTER INFO`.
    fn infos(&self, field: &str) -> BTreeMap<String, usize> {
        let mut infos = BTreeMap::new();
        for node in &self.nodes {
            let info = text(node.command(&["CLUSTER", "INFO"]));
            let value = info
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
                .unwrap_or_default();
            *infos.entry(value.trim_end().to_owned()).or_insert(0) += 1;
        }
        infos
    }
}

fn text(value: Value) -> String {
    redis::from_redis_value(value).unwrap()
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < give_up, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
