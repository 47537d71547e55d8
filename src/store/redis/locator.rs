//! Where the server is, that is to be written to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::SetupError;
use super::facts::{Facts, Identity};
use super::sentinel::{self, Sentinels};
use super::target::Target;
use super::transport::Transport;

/// Where the server is, that is to be written to.
pub(super) enum Locator {
    /// Always there.
    Server(Arc<Target>),
    /// Where sentinels say.
    Sentinels(Box<Sentinels>),
}

/// The server that is to be written to.
pub(super) struct Found {
    pub(super) target: Arc<Target>,
    /// Where nobody vouches for the address: who was met there before, and who alone may be there now.
    pub(super) only: Option<Identity>,
}

impl Locator {
    /// Reads `redis://…` or `redis+sentinel://…`.
    pub(super) fn parse(url: &str, transport: &Transport) -> Result<Self, SetupError> {
        if url.starts_with(sentinel::SCHEME) {
            Ok(Self::Sentinels(Box::new(Sentinels::parse(url, transport)?)))
        } else {
            Ok(Target::parse(url)?.over(transport).into())
        }
    }

    /// The host of the one server; empty where sentinels say.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Server(target) => target.address().0,
            Self::Sentinels(_) => "",
        }
    }

    /// The server that is to be written to; or why it is not known. The time is bounded.
    pub(super) async fn find(&self) -> Result<Found, String> {
        match self {
            Self::Server(target) => Ok(Found::whoever(target)),
            Self::Sentinels(sentinels) => sentinels.find().await,
        }
    }

    /// Who was met at `target`, and is written to.
    pub(super) fn met(&self, target: &Arc<Target>, identity: Option<&Identity>) {
        if let Self::Sentinels(sentinels) = self {
            sentinels.met(target, identity);
        }
    }

    /// Ready when another server than `target` is to be written to; says so.
    pub(super) async fn moved(&self, target: &Target) -> String {
        match self {
            Self::Server(_) => std::future::pending().await,
            Self::Sentinels(sentinels) => loop {
                sleep(POLL).await;
                if let Ok(primary) = sentinels.primary().await
                    && primary.address() != target.address()
                {
                    return format!("the sentinels name another primary, {primary}");
                }
            },
        }
    }

    /// What an operator should know beside its name, where `target` is written to.
    pub(super) fn notes(&self, target: Option<&Target>) -> Vec<String> {
        let Self::Sentinels(sentinels) = self else {
            return Vec::new();
        };
        let primary = target.map(|target| format!("the primary is {target}"));
        let trouble = sentinels.trouble();
        let trouble = trouble.map(|why| format!("a failover would not be noticed: {why}"));
        primary.into_iter().chain(trouble).collect()
    }
}

impl Found {
    /// Whoever is there.
    pub(super) fn whoever(target: &Arc<Target>) -> Self {
        Self {
            target: Arc::clone(target),
            only: None,
        }
    }

    /// Whether this is it, by its own word.
    pub(super) fn is(&self, facts: &Facts) -> bool {
        self.only.is_none() || self.only == facts.identity
    }
}

impl From<Target> for Locator {
    fn from(target: Target) -> Self {
        Self::Server(Arc::new(target))
    }
}

impl std::fmt::Display for Locator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(target) => target.fmt(f),
            Self::Sentinels(sentinels) => sentinels.fmt(f),
        }
    }
}

/// Between two questions to the sentinels, while all is well.
const POLL: Duration = Duration::from_secs(1);
