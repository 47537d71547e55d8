//! What one node says of the whole cluster.

use std::collections::HashSet;

use ::redis::{Value, cmd};

use super::slot::SLOTS;
use crate::store::redis::address::Address;
use crate::store::redis::failure::Failure;
use crate::store::redis::line::{Line, Patience};

/// What one node says of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Grows with every change that the cluster agreed on: what says less was said by a node that lags behind.
    pub(super) epoch: u64,
    /// Who has which slots.
    pub(super) shards: Vec<Shard>,
}

/// A range of slots, and who has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// The first slot and the last.
    pub(super) slots: (u16, u16),
    pub(super) primary: Member,
    pub(super) replicas: Vec<Member>,
}

/// A node, as the cluster names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) address: Address,
    /// Empty before 4.0.
    pub(super) id: String,
}

impl Layout {
    /// Asks the node at the other end, which was reached by the name `host`.
    ///
    /// # Errors
    ///
    /// A node that was cut off from the others is as good as none: `CLUSTERDOWN`.
    pub(super) async fn ask(line: &Line, host: &str, patience: Patience) -> Result<Self, Failure> {
        let info = cmd("CLUSTER").arg("INFO").to_owned();
        let Value::BulkString(info) = line.ask(&info, patience).await? else {
            return Err(Failure::Unintelligible);
        };
        let info = String::from_utf8_lossy(&info).into_owned();
        let field = |name: &str| {
            let found = info.lines().find_map(|line| line.strip_prefix(name));
            found.map(str::trim_end)
        };
        // One that lacks slots says the same, unless it is set to go on without them.
        let epoch = field("cluster_current_epoch:").and_then(|epoch| epoch.parse().ok());
        if field("cluster_state:") != Some("ok") {
            return Err(Failure::Refused("CLUSTERDOWN".to_owned()));
        }
        let slots = cmd("CLUSTER").arg("SLOTS").to_owned();
        let shards = read(line.ask(&slots, patience).await?, host);
        Ok(Self {
            epoch: epoch.unwrap_or_default(),
            shards: shards.ok_or(Failure::Unintelligible)?,
        })
    }

    /// How many nodes are primaries here that were replicas of another one before: failovers, and not slots that moved.
    pub(super) fn promotions_since(&self, before: &Self) -> u64 {
        let replicas = before.shards.iter().flat_map(|shard| &shard.replicas);
        let replicas: HashSet<&str> = replicas.map(|member| member.id.as_str()).collect();
        let primaries = self.shards.iter().map(|shard| shard.primary.id.as_str());
        let promoted: HashSet<&str> = primaries
            .filter(|id| !id.is_empty() && replicas.contains(id))
            .collect();
        promoted.len() as u64
    }

    /// Everyone in it, primaries first.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        let primaries = self.shards.iter().map(|shard| &shard.primary);
        primaries.chain(self.shards.iter().flat_map(|shard| &shard.replicas))
    }
}

/// Reads the reply to `CLUSTER SLOTS`.
fn read(answer: Value, host: &str) -> Option<Vec<Shard>> {
    let Value::Array(ranges) = answer else {
        return None;
    };
    let shards = ranges.into_iter().map(|range| {
        let Value::Array(parts) = range else {
            return None;
        };
        let mut parts = parts.into_iter();
        let mut slot = || match parts.next() {
            Some(Value::Int(slot)) => u16::try_from(slot).ok().filter(|slot| *slot < SLOTS),
            _ => None,
        };
        let slots = (slot()?, slot()?);
        let mut members = parts.map(|part| member(part, host));
        Some(Shard {
            slots,
            primary: members.next()??,
            replicas: members.flatten().collect(),
        })
    });
    shards.collect()
}

fn member(part: Value, asked: &str) -> Option<Member> {
    let Value::Array(parts) = part else {
        return None;
    };
    let text = |value: Option<&Value>| match value {
        Some(Value::BulkString(text)) => String::from_utf8_lossy(text).into_owned(),
        Some(Value::SimpleString(text)) => text.clone(),
        _ => String::new(),
    };
    let Some(Value::Int(port)) = parts.get(1) else {
        return None;
    };
    let host = match text(parts.first()).as_str() {
        // It has no hostname, and hostnames are preferred.
        "?" => match parts.get(3) {
            Some(Value::Array(metadata)) => {
                let mut pairs = metadata.chunks_exact(2);
                let ip = pairs.find(|pair| text(pair.first()) == "ip")?;
                text(ip.get(1))
            }
            _ => return None,
        },
        host => host.to_owned(),
    };
    // A node that does not know its own name is where it was asked.
    let host = if host.is_empty() {
        asked.to_owned()
    } else {
        host
    };
    Some(Member {
        address: Address {
            host,
            port: u16::try_from(*port).ok()?,
        },
        id: text(parts.get(2)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: Value, port: i64, id: &str) -> Value {
        let id = Value::BulkString(id.as_bytes().to_vec());
        Value::Array(vec![host, Value::Int(port), id, Value::Array(Vec::new())])
    }

    fn named(host: &str) -> Value {
        Value::BulkString(host.as_bytes().to_vec())
    }

    fn layout(shards: &[(u16, u16, &str, &str)]) -> Layout {
        let member = |id: &str| Member {
            address: Address {
                host: id.to_owned(),
                port: 1,
            },
            id: id.to_owned(),
        };
        let shards = shards.iter().map(|(first, last, primary, replica)| Shard {
            slots: (*first, *last),
            primary: member(primary),
            replicas: vec![member(replica)],
        });
        Layout {
            epoch: 1,
            shards: shards.collect(),
        }
    }

    #[test]
    fn ranges_are_read_with_their_nodes_and_a_node_without_a_name_is_where_it_was_asked() {
        let answer = Value::Array(vec![
            Value::Array(vec![
                Value::Int(0),
                Value::Int(9),
                node(named("a"), 1, "A"),
                node(named("b"), 2, "B"),
            ]),
            Value::Array(vec![
                Value::Int(10),
                Value::Int(16_383),
                node(Value::Nil, 3, "C"),
            ]),
        ]);
        let shards = read(answer, "seed").unwrap();
        assert_eq!(shards[0].slots, (0, 9));
        assert_eq!(shards[0].primary.address.to_string(), "a:1");
        assert_eq!(shards[0].replicas[0].id, "B");
        assert_eq!(shards[1].primary.address.to_string(), "seed:3");
    }

    #[test]
    fn a_node_without_a_hostname_is_at_its_ip() {
        let node = |metadata: &[&str]| {
            let metadata = metadata.iter().map(|text| named(text)).collect();
            let id = named("c6c80778b00582c59ae5c041008b4901be7cf063");
            let node = vec![named("?"), Value::Int(7001), id, Value::Array(metadata)];
            let range = vec![Value::Int(0), Value::Int(100), Value::Array(node)];
            let shards = read(Value::Array(vec![Value::Array(range)]), "seed");
            shards.map(|shards| shards[0].primary.address.to_string())
        };
        assert_eq!(node(&["ip", "10.0.0.2"]).as_deref(), Some("10.0.0.2:7001"));
        let more = ["shard", "ip", "ip", "10.0.0.2"];
        assert_eq!(node(&more).as_deref(), Some("10.0.0.2:7001"));
        // A node that met nobody yet, of itself.
        assert_eq!(node(&["ip", ""]).as_deref(), Some("seed:7001"));
        assert_eq!(node(&[]), None);
    }

    #[test]
    fn nonsense_is_not_read() {
        let beyond = Value::Array(vec![
            Value::Int(0),
            Value::Int(16_384),
            node(named("a"), 1, "A"),
        ]);
        let nobody = Value::Array(vec![Value::Int(0), Value::Int(1)]);
        for range in [beyond, nobody, Value::Nil] {
            assert_eq!(read(Value::Array(vec![range]), "seed"), None);
        }
        assert_eq!(read(Value::Nil, "seed"), None);
    }

    #[test]
    fn a_replica_in_the_place_of_its_primary_is_a_promotion_and_a_slot_that_moved_is_none() {
        let before = layout(&[(0, 99, "A", "a"), (100, 199, "B", "b")]);
        assert_eq!(before.promotions_since(&before), 0);
        let moved = layout(&[(0, 49, "A", "a"), (50, 199, "B", "b")]);
        assert_eq!(moved.promotions_since(&before), 0);
        let promoted = layout(&[(0, 49, "a", "A"), (60, 99, "a", "A"), (100, 199, "B", "b")]);
        assert_eq!(promoted.promotions_since(&before), 1);
        assert_eq!(before.promotions_since(&promoted), 1, "and back");
    }
}
