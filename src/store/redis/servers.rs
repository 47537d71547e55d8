//! One server, or the nodes of a cluster: which is asked about a key.

use std::sync::Arc;
use std::time::Duration;

use super::SetupError;
use super::cluster::Cluster;
use super::failure::Failure;
use super::keeper::Keeper;
use super::line::Patience;
use super::locator::Locator;
use super::node::Node;
use super::session::Session;
use super::transport::{Transport, in_the_clear};
use crate::lanes::Lanes;
use crate::store::{Health, StoreSettings};

/// One server, or the nodes of a cluster.
pub(super) enum Servers {
    /// One server has all keys.
    Single(Arc<Node>),
    /// Each node has some slots.
    Cluster(Cluster),
}

/// Who is asked about a key.
pub(super) struct Place {
    pub(super) node: Arc<Node>,
    /// Whether the slot is still on its way there.
    pub(super) asking: bool,
}

impl Servers {
    /// Begins to look for what the URL names.
    pub(super) fn find(
        url: &str,
        settings: &StoreSettings,
        lanes: &Lanes,
    ) -> Result<Self, SetupError> {
        let transport = Transport::of(url, &settings.tls)?;
        let url = &in_the_clear(url);
        if Cluster::is_meant_by(url) {
            return Ok(Self::Cluster(Cluster::find(
                url, &transport, settings, lanes,
            )?));
        }
        let keeper = Keeper::new(Locator::parse(url, &transport)?, settings, lanes);
        Ok(Self::Single(Arc::new(Node::keep(keeper))))
    }

    /// Ready when they were reached, or when the time is over.
    pub(super) async fn settled(&self, within: Duration) {
        match self {
            Self::Single(node) => node.settled(within).await,
            Self::Cluster(cluster) => cluster.settled(within).await,
        }
    }

    /// The policy under which one of them may drop records, unless that is allowed.
    pub(super) fn evicts(&self) -> Option<String> {
        match self {
            Self::Single(node) => node.evicts(),
            Self::Cluster(cluster) => cluster.evicts(),
        }
    }

    /// Who is asked about a key.
    pub(super) async fn place(&self, key: &str, patience: Patience) -> Result<Place, Failure> {
        match self {
            Self::Single(node) => Ok(Place::at(Arc::clone(node))),
            Self::Cluster(cluster) => cluster.place(key, patience).await,
        }
    }

    /// Each that has keys.
    ///
    /// # Errors
    ///
    /// It is not known of every key who has it.
    pub(super) async fn all(&self, patience: Patience) -> Result<Vec<Arc<Node>>, Failure> {
        match self {
            Self::Single(node) => Ok(vec![Arc::clone(node)]),
            Self::Cluster(cluster) => cluster.all(patience).await,
        }
    }

    /// Who is asked next, where one said that the key is elsewhere.
    pub(super) fn redirected(&self, from: &Place, failure: &Failure) -> Option<Place> {
        match self {
            Self::Single(_) => None,
            Self::Cluster(cluster) => cluster.redirected(from, failure),
        }
    }

    /// Says that whoever was asked may not be the right one any more.
    pub(super) fn doubtful(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.doubtful();
        }
    }

    /// Says that a heartbeat may not have arrived.
    pub(super) fn shaken(&self, key: &str) {
        match self {
            Self::Single(node) => node.shaken(),
            Self::Cluster(cluster) => cluster.shaken(key),
        }
    }

    /// For how long the same server took heartbeats of the key without a break.
    pub(super) fn steady(&self, key: impl FnOnce() -> String) -> Duration {
        match self {
            Self::Single(node) => node.steady(),
            Self::Cluster(cluster) => cluster.steady(&key()),
        }
    }

    /// How they stand.
    pub(super) fn health(&self) -> Health {
        match self {
            Self::Single(node) => node.health(),
            Self::Cluster(cluster) => cluster.health(),
        }
    }
}

impl Place {
    /// A node that has the slot.
    pub(super) fn at(node: Arc<Node>) -> Self {
        Self {
            node,
            asking: false,
        }
    }

    /// The session, as this place is to be asked.
    pub(super) fn over(&self, session: &Arc<Session>) -> Arc<Session> {
        if self.asking {
            Arc::new(session.asking())
        } else {
            Arc::clone(session)
        }
    }
}
