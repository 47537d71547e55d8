//! The nodes of a cluster.
//!
//! Each primary is kept like a single server, with sessions and a steadiness of its own (`Node`). Which one is asked is told by the
//! slot of the key (`slot`) and the `map`; the map is asked for in the background (`inquiry`, `layout`), again whenever it proved
//! wrong or a node was lost, and every two seconds.
//!
//! The crate's own cluster client is not used: it sends commands again by itself, and hides which node answered.
//!
//! - *`MOVED` and `ASK`* say that nothing was carried out: the node they name is asked the same. `MOVED` changes the map, `ASK` does not.
//! - *Steady* is the smaller of what is seen of the node and of what is seen of the slot there. A slot that moves, or a replica that
//!   takes the place of its primary, begins anew; an `ASK` that is met in a slot has it begin
//!   anew. A migration that nobody here met, and that was taken back, is not seen.
//! - *A node that lags behind*, or was cut off, tells an old map: a map of an older epoch is not taken while somebody has a newer one.

mod inquiry;
mod layout;
mod map;
mod seeds;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use self::inquiry::Inquiry;
use self::slot::slot_of;
use super::SetupError;
use super::address::Address;
use super::failure::Failure;
use super::line::Patience;
use super::node::Node;
use super::servers::Place;
use super::transport::Transport;
use crate::lanes::Lanes;
use crate::store::{Health, StoreSettings};

/// The nodes of a cluster.
pub(super) struct Cluster {
    inquiry: Arc<Inquiry>,
    _inquiring: AbortOnDropHandle<()>,
}

/// How its URLs begin.
const URL: &str = "redis+cluster://";

impl Cluster {
    /// Whether a URL is one of a cluster.
    pub(super) fn is_meant_by(url: &str) -> bool {
        url.starts_with(URL)
    }

    /// Whether a URL of a cluster is well formed.
    pub(super) fn reads(url: &str) -> bool {
        seeds::parse(url, &Transport::Plain).is_ok()
    }

    /// Begins to look for it.
    pub(super) fn find(
        url: &str,
        transport: &Transport,
        settings: &StoreSettings,
        lanes: &Lanes,
    ) -> Result<Self, SetupError> {
        let (seed, others) = seeds::parse(url, transport)?;
        let inquiry = Arc::new(Inquiry::new(seed, others, settings, lanes));
        let inquiring = Arc::clone(&inquiry);
        Ok(Self {
            inquiry,
            _inquiring: AbortOnDropHandle::new(tokio::spawn(
                async move { inquiring.go_on().await },
            )),
        })
    }

    /// Ready when every primary was reached, or when the time is over.
    pub(super) async fn settled(&self, within: Duration) {
        let all = async {
            self.inquiry.settled().await;
            for node in self.inquiry.primaries() {
                node.settled(within).await;
            }
        };
        let _ = timeout(within, all).await;
    }

    /// The policy under which one of them may drop records, unless that is allowed.
    pub(super) fn evicts(&self) -> Option<String> {
        let mut nodes = self.inquiry.primaries().into_iter();
        nodes.find_map(|node| node.evicts())
    }

    /// Who is asked about a key. Waits while it is not known yet who has it.
    pub(super) async fn place(&self, key: &str, patience: Patience) -> Result<Place, Failure> {
        self.inquiry.decided(patience).await?;
        match self.inquiry.holder(slot_of(key)) {
            Some(node) => Ok(Place::at(node)),
            None => {
                self.inquiry.doubt(None);
                Err(Failure::NoConnection("no node has its slot".to_owned()))
            }
        }
    }

    /// Each node that has slots.
    ///
    /// # Errors
    ///
    /// A slot has none.
    pub(super) async fn all(&self, patience: Patience) -> Result<Vec<Arc<Node>>, Failure> {
        self.inquiry.decided(patience).await?;
        self.inquiry.holders()
    }

    /// Who is asked next, where one said that the key is elsewhere; nobody, where it did not say where.
    pub(super) fn redirected(&self, from: &Place, failure: &Failure) -> Option<Place> {
        let (Failure::Moved { slot, to } | Failure::Ask { slot, to }) = failure else {
            return None;
        };
        let asking = matches!(failure, Failure::Ask { .. });
        let Some(to) = named(to, from.node.host()) else {
            // Heartbeats of this slot are refused as well.
            if asking {
                from.node.shaken();
            }
            self.inquiry.doubt(None);
            return None;
        };
        let node = if asking {
            self.inquiry.on_its_way(*slot, &to)
        } else {
            let node = self.inquiry.moved(*slot, &to);
            self.inquiry.doubt(Some(to));
            node
        };
        Some(Place { node, asking })
    }

    /// Says that the map may be wrong: a node was lost.
    pub(super) fn doubtful(&self) {
        self.inquiry.doubt(None);
    }

    /// Says that a heartbeat may not have arrived.
    pub(super) fn shaken(&self, key: &str) {
        if let Some(node) = self.inquiry.holder(slot_of(key)) {
            node.shaken();
        }
    }

    /// For how long the same node took heartbeats of this key without a break.
    pub(super) fn steady(&self, key: &str) -> Duration {
        self.inquiry.steady(slot_of(key), Instant::now())
    }

    /// How it stands: up where every slot has a node that is up.
    pub(super) fn health(&self) -> Health {
        self.inquiry.health()
    }
}

/// Which node a redirection means.
fn named(to: &Address, asked: &str) -> Option<Address> {
    match to.host.as_str() {
        // It has no hostname, and hostnames are preferred: the map has its address.
        "?" => None,
        // One that does not know its name: another port of the same host.
        "" => Some(Address {
            host: asked.to_owned(),
            port: to.port,
        }),
        _ => Some(to.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_without_a_host_stays_there_and_one_to_nobody_is_not_guessed() {
        let meant = |text| named(&Address::parse(text).unwrap(), "10.0.0.1");
        let meant = |text| meant(text).map(|to| to.to_string());
        assert_eq!(meant(":7001").as_deref(), Some("10.0.0.1:7001"));
        assert_eq!(meant("10.0.0.2:7001").as_deref(), Some("10.0.0.2:7001"));
        assert_eq!(meant("?:7001"), None);
    }
}
